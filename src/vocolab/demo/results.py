"""What a use of the page leaves: a sound file, a picture and a line of words."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from vocolab import audio
from vocolab.pictures import mel_figure

HOP_SECONDS = 0.02
SHORTEST = 0.1  # s: what is shorter is drawn with silence after it


def named(*paths: Path) -> str:
    """A name for a result that is made of these files."""
    return "-as-".join(path.stem[:40] for path in paths)


@dataclass(frozen=True)
class Result:
    """The files lie in a folder of their own, so that their names can be those that a download should have."""

    speech: Path
    picture: Path
    told: str


def leave(folder: Path, name: str, wav: Tensor, sample_rate: int, shown: Mapping[str, Tensor], told: str) -> Result:
    """Write speech (T,) as `name`.wav with the mels of the waveforms in `shown`, all of `sample_rate` Hz. Nothing stays
    where that fails.
    """
    place = Path(tempfile.mkdtemp(prefix="result-", dir=folder))
    try:
        speech = place / f"{name}.wav"
        audio.write(speech, wav, sample_rate)
        mels = {title: _mel(one, sample_rate) for title, one in shown.items()}
        return Result(speech, mel_figure(mels, place / f"{name}.png", HOP_SECONDS), told)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def sweep(folder: Path, age: float) -> None:
    """Delete what Gradio leaves in its folder: an empty file for each file of a voice, uploads that broke off, folders
    of results that it deleted. Only what is older than `age` seconds: an upload may be under way.
    """
    for path in [*folder.glob("tmp*"), *folder.glob("result-*")]:
        with suppress(OSError):  # another request may have been quicker
            if time.time() - path.stat().st_mtime > age:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _mel(wav: Tensor, sample_rate: int) -> Tensor:
    missing = round(SHORTEST * sample_rate) - len(wav)
    return audio.log_mel(F.pad(wav, (0, max(0, missing))), sample_rate, hop=round(sample_rate * HOP_SECONDS))
