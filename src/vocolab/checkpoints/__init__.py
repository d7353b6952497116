"""Model files: this project's, and the official layouts of HiFi-GAN and kNN-VC."""

from vocolab.checkpoints.content import fill, read_checkpoint, section
from vocolab.checkpoints.drafts import add_drafts, check_same_model
from vocolab.checkpoints.lm import LMCheckpoint, held_codec, lm_card, load_lm, read_lm, stated_sampling
from vocolab.checkpoints.official import export_hifigan, load_discriminator, official_names
from vocolab.checkpoints.training import (
    OfficialTraining,
    check_official,
    is_folder_of_training,
    read_training,
    write_training,
)
from vocolab.checkpoints.vocoder import VocoderCheckpoint, load_vocoder, load_weights

__all__ = [
    "LMCheckpoint",
    "OfficialTraining",
    "VocoderCheckpoint",
    "add_drafts",
    "check_official",
    "check_same_model",
    "export_hifigan",
    "fill",
    "held_codec",
    "is_folder_of_training",
    "lm_card",
    "load_discriminator",
    "load_lm",
    "load_vocoder",
    "load_weights",
    "official_names",
    "read_checkpoint",
    "read_lm",
    "read_training",
    "section",
    "stated_sampling",
    "write_training",
]
