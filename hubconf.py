"""kNN-VC's names for torch.hub: `torch.hub.load("path/of/this/clone", "knn_vc", source="local", device="cpu")`.

They live in `vocolab.pipelines.hub`, where an installed vocolab has them too.
"""

import sys
from pathlib import Path

dependencies = ["torch", "torchaudio", "numpy", "safetensors", "soundfile", "soxr", "filelock"]

sys.path.insert(0, str(Path(__file__).parent / "src"))  # a clone need not be installed

from vocolab.pipelines.hub import hifigan_wavlm, knn_vc, wavlm_large  # noqa: E402

__all__ = ["hifigan_wavlm", "knn_vc", "wavlm_large"]
