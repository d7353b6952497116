"""The utterances of a run as its shards hold them: a report needs no corpus."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import soundfile

from vocolab.data.shards.manifest import read_manifest
from vocolab.data.shards.reader import ShardReader


@dataclass(eq=False)
class Stored:
    """An utterance of a shard, described as a corpus would."""

    reader: ShardReader
    row: int  # of its split's index
    folder: tempfile.TemporaryDirectory  # of the files that `path` writes; it goes with the last utterance
    key: str
    source: str
    speaker: str
    text: str | None
    language: str

    @cached_property
    def path(self) -> Path:
        """Its speech as a file, written when it is first asked for."""
        path = Path(self.folder.name) / f"{self.key}.wav"
        soundfile.write(path, self.reader.audio(self.row), self.reader.index.sample_rate, subtype="PCM_16")
        return path


def stored(shards: Path) -> dict[str, list[Stored]]:
    """The utterances of each split, sorted by key. Raises `VocolabError` where the shards are missing or damaged."""
    folder = tempfile.TemporaryDirectory(prefix="vocolab-report-")
    return {split: _split(shards, split, folder) for split in read_manifest(shards)["splits"]}


def _split(shards: Path, split: str, folder: tempfile.TemporaryDirectory) -> list[Stored]:
    reader = ShardReader(shards, split)
    found = []
    for row in range(len(reader.index)):
        about = reader.description(row)
        names = about["source"], about["speaker"], about.get("text"), about.get("language") or ""
        found.append(Stored(reader, row, folder, reader.key(row), *names))
    return sorted(found, key=lambda utterance: utterance.key)
