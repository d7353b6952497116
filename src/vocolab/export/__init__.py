"""A model in forms that others take: one file of safetensors, a folder in the layout of the Hugging Face hub,
ONNX. (HiFi-GAN's official layout is written by `vocolab.checkpoints`.)
"""

from vocolab.export.folder import push_to_hub, save_pretrained
from vocolab.export.onnx import export_onnx
from vocolab.export.safetensors import consolidate, export_safetensors, read_model

__all__ = ["consolidate", "export_onnx", "export_safetensors", "push_to_hub", "read_model", "save_pretrained"]
