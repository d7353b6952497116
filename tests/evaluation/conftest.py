"""A folder of recordings, and one of the same with noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vocolab import audio

STEMS = ("0000", "0001", "0002")


@pytest.fixture(scope="session")
def folders(builtin_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`generated` and `reference`: three sentences, the later the noisier, with their texts beside the references."""
    root = tmp_path_factory.mktemp("pairs")
    generator = torch.Generator().manual_seed(0)
    for place, stem in enumerate(STEMS):
        recording = next(builtin_corpus.glob(f"synth/3001/*/*-{stem}.opus"))
        wav, rate = audio.read(recording, seconds=2)
        noise = torch.randn(wav.shape, generator=generator)
        audio.write(root / "reference" / "3001" / f"{stem}.wav", wav, rate)
        audio.write(root / "generated" / f"{stem}.wav", wav + 0.01 * (1 + place) * noise, rate)
        (root / "reference" / "3001" / f"{stem}.txt").write_text(f"sentence <{stem}>")
    return root / "generated", root / "reference"
