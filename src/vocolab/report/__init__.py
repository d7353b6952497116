"""The report on a trained model: speech, a picture and figures. `make quickstart` and `quickstart-tts` end with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vocolab import audio
from vocolab.checkpoints import read_checkpoint
from vocolab.checkpoints.content import last_of
from vocolab.files import atomic, local_path
from vocolab.report.speech import speech_report, wav_names
from vocolab.report.vocoder import vocoder_report


def report(
    run: Path,
    checkpoint: Path | None = None,
    source: str | None = None,
    target: str | None = None,
    limit: int | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Any], list[Path]]:
    """Let a run's model work on speech that it never trained on; write wavs, report.png and report.json into the run's
    folder, in place of those of an earlier report, whose other wavs are removed. Returns the figures and the files.
    `checkpoint`: of the run (default: its last), or an export of one, or of another run that went on from it. Updates
    and seconds of training are those of the run itself.

    A vocoder resynthesises held-out utterances, up to `limit` (default 100), and converts one, `source` (default: the
    first), to the speaker `target` (default: the next one). A language model says held-out texts, up to `limit`
    (default 6), beginning with that of `source`, each in its speaker's voice or in that of `target`.
    """
    run = Path(run)
    path = checkpoint or last_of(run)
    saved = read_checkpoint(path)
    if saved.get("vocolab", {}).get("kind") == "lm":
        found = speech_report(run, path, source, target, limit or 6, device)
    else:
        found = vocoder_report(run, path, source, target, limit or 100, device)
    figures = found.figures | _training(_trained(run, path, saved))
    files = [run / f"{name}.wav" for name in found.wavs]
    for file, wav in zip(files, found.wavs.values(), strict=True):
        audio.write(file, wav, found.sample_rate, overwrite=True)
    for file in _earlier(run):
        if file not in files:
            file.unlink(missing_ok=True)
    files += [run / "report.png", run / "report.json"]
    with atomic(files[-2]) as temporary:
        found.picture.savefig(temporary, dpi=110)
    with atomic(files[-1]) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
    return figures, files


def _earlier(run: Path) -> list[Path]:
    """The wavs of an earlier report on a language model, as its report.json names them. A new report on other texts
    would leave them behind.
    """
    try:
        said = json.loads((run / "report.json").read_text())["sentences"]
        names = wav_names([sentence["key"] for sentence in said])
    except (OSError, ValueError, LookupError, TypeError):  # none, a vocoder's, or no report at all
        return []
    return [run / f"{name}.wav" for name in names if Path(name).name == name]


def _trained(run: Path, path: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint that tells of the run's training: `saved`, read from `path`, or the run's last if that is not of
    the run.
    """
    own = last_of(run)
    elsewhere = run.resolve() not in local_path(path).resolve().parents
    return read_checkpoint(own) if elsewhere and own.is_file() else saved


def _training(saved: dict[str, Any]) -> dict[str, Any]:
    """Updates and seconds of training, as the checkpoint counts them; None where it does not."""
    timing: dict[str, Any] = next(
        (state for key, state in saved.get("callbacks", {}).items() if key.startswith("Timing")), {}
    )
    seconds = timing.get("seconds")  # None in a run without the Timing callback
    statistics = saved.get("vocolab", {}).get("statistics", {})  # an export has no other count of updates
    updates = saved.get("global_step", statistics.get("updates"))
    return {"train_seconds": seconds and round(seconds, 1), "updates": updates}
