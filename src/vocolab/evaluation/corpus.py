"""The utterances of a corpus that are evaluated, and the recordings that tell its voices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vocolab import rng, shipped
from vocolab.data.corpora import Folder, Manifest, Utterance
from vocolab.data.corpora.listing import audio_files
from vocolab.errors import UsageError, VocolabError

ORDER = ("val", "test", "train")  # which split is evaluated, unless one is named


@dataclass(frozen=True)
class HeldOut:
    """What is evaluated of a corpus."""

    utterances: Sequence[Utterance]
    voices: Mapping[str, Sequence[Utterance]]  # by speaker: training speech, or, where a corpus has none, the same

    def references(self, voice: str, unlike: Utterance) -> list[Utterance]:
        """The recordings of a voice that are not `unlike` and do not say the same."""
        others = (u for u in self.voices.get(voice, ()) if u.path != unlike.path)
        return [u for u in others if u.text is None or u.text != unlike.text]

    def recordings(self) -> dict[str, list[Path]]:
        return {voice: [u.path for u in utterances] for voice, utterances in self.voices.items()}


def held_out(
    place: Path, root: Path | None = None, split: str | None = None, limit: int | None = None, seed: int = 0
) -> HeldOut:
    """What is evaluated of the corpus at `place`: a folder of speech, a manifest, a recipe, or the file of a recipe's
    slot `data.corpus`. Of a folder, all of it; of the others the split named, or the first of val, test and train that
    there is.

    `root`: where the corpus lies, instead of where the file says. `limit`: so many utterances, drawn by `seed`. Raises
    `VocolabError` where there are none.
    """
    splits = _splits(place, root)
    name = split or next(known for known in ORDER if known in splits)
    if name not in splits:
        raise UsageError(f"no split {name!r} in the corpus", place, f"give one of {', '.join(splits)}")
    chosen = _drawn(splits[name], limit, seed)
    pool = [*splits.get("train", ()), *splits[name]] if name != "train" else splits[name]
    voices: dict[str, list[Utterance]] = {}
    trained = {u.speaker for u in splits.get("train", ())}
    for u in pool:
        if name == "train" or u not in splits[name] or u.speaker not in trained:
            voices.setdefault(u.speaker, []).append(u)
    return HeldOut(chosen, voices)


def _drawn(utterances: Sequence[Utterance], limit: int | None, seed: int) -> list[Utterance]:
    if limit is None or limit >= len(utterances):
        return list(utterances)
    places = rng.permute(np.arange(limit), len(utterances), rng.mix(seed))
    return [utterances[place] for place in sorted(places)]


def _splits(place: Path, root: Path | None) -> dict[str, list[Utterance]]:
    place = shipped.find(place)
    if not place.exists():
        raise VocolabError("no such corpus", place, "give a folder, a manifest or a recipe with --corpus")
    if place.is_dir():
        return Folder(place, speaker=_by_chapters(place), val=0.0).splits()
    if place.suffix.lower() not in (".yaml", ".yml"):
        return _manifest(place, root)
    from vocolab.recipe import load_recipe

    overrides: dict[str, Any] = {} if root is None else {"data.corpus.root": str(root)}
    if re.search(r"^data\s*:", place.read_text(encoding="utf-8", errors="replace"), re.M):
        return load_recipe(place, overrides).data.corpus.splits()
    recipe = shipped.find("recipes/quickstart.yaml")  # any: only its slot for the corpus is used
    return load_recipe(recipe, {"data.corpus": str(place), **overrides}).data.corpus.splits()


def _manifest(place: Path, root: Path | None) -> dict[str, list[Utterance]]:
    try:
        return Manifest(place, root, val=0.0, test=0.0).splits()  # all rows
    except UsageError:  # its rows name their splits
        return Manifest(place, root).splits()


def _by_chapters(root: Path) -> str | None:
    """How the speaker is found in a path of LibriSpeech's, SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN; None elsewhere."""
    parts = [PurePosixPath(source).parts for source in audio_files(root)]
    chapters = parts and all(len(p) == 3 and p[2].startswith((f"{p[0]}-{p[1]}-", f"{p[0]}_{p[1]}_")) for p in parts)
    return r"^([^/]+)/" if chapters else None
