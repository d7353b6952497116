"""A model in the forms in which others take it: one file of safetensors, and a folder in the layout of the Hugging Face
hub. (HiFi-GAN's official layout is written by `vocolab.checkpoints`.)
"""

from vocolab.export.folder import push_to_hub, save_pretrained
from vocolab.export.safetensors import consolidate, export_safetensors, read_model

__all__ = ["consolidate", "export_safetensors", "push_to_hub", "read_model", "save_pretrained"]
