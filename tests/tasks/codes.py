"""A recipe of a language model over the codes of a few real utterances, small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

RECIPE = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 3
  num_sanity_val_steps: 0
  check_val_every_n_epoch: null
  val_check_interval: 1000
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  gradient_clip_val: 10
checkpoint: {every_n_train_steps: 3, monitor: val/loss}
data:
  corpus: {class_path: LibriSpeech, init_args: {root: CORPUS}}
  codec:
    class_path: KMeansCodec
    init_args: {encoder: {class_path: Whisper, init_args: {layer: 1}}, levels: 2, size: 32, iterations: 2}
  text: Characters
  batches: {class_path: TokenBudget, init_args: {tokens: 700, prompt_seconds: 1.0}}
  shards: SHARDS
  prepare_workers: 1
model:
  class_path: VALLETask
  init_args:
    lm:
      class_path: Split
      init_args:
        ar: {class_path: AR, init_args: {backbone: {class_path: Transformer, init_args: SIZES}, symbols: 64}}
        nar: {class_path: NAR, init_args: {backbone: {class_path: RetNet, init_args: SIZES}, symbols: 64}}
    optimizer: torch.optim.AdamW
"""


def codes_recipe(corpus: Path, shards: Path, dropout: float = 0.1) -> str:
    """`corpus`: a LibriSpeech layout."""
    sizes = f"{{dim: 16, heads: 2, layers: 1, dropout: {dropout}}}"
    return RECIPE.replace("CORPUS", str(corpus)).replace("SHARDS", str(shards)).replace("SIZES", sizes)
