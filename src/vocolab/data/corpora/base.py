"""The base class of corpora, and the utterances they list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab.parts import describe


@dataclass(frozen=True, slots=True)
class Utterance:
    """One file of speech."""

    key: str  # [A-Za-z0-9_-]+, unique in its split
    path: Path
    source: str  # the path relative to the corpus, as written into shards
    speaker: str
    chapter: str = ""  # recording session, where the corpus knows it
    text: str | None = None
    language: str = ""


class Corpus(ABC):
    """Utterances by split."""

    @abstractmethod
    def splits(self) -> dict[str, list[Utterance]]:
        """`{"train": [...], "val": [...], "test": [...]}`, each sorted by key; splits without utterances are left out.

        Raises `VocolabError` where nothing is found, naming the folder and the remedy.
        """

    def files(self) -> list[str] | None:
        """The sources of all utterances, sorted. Compared with those of earlier shards, they tell whether files came,
        went or were renamed. None where the spec tells that already.

        Override it where `splits` reads more than names, such as transcripts: every training calls it.
        """
        return sorted(u.source for utterances in self.splits().values() for u in utterances)

    def foreign(self) -> list[str]:
        """Files, relative to the corpus, that seem to hold speech in a format that is not read here."""
        return []

    def spec(self) -> dict[str, Any]:
        """The arguments of this corpus that decide its utterances, as `describe` gives them, with `root` absolute."""
        spec = describe(self)
        for name in ("download", "url"):  # where files are fetched from does not change them
            spec["init_args"].pop(name, None)
        if spec["init_args"].get("root") is not None:
            spec["init_args"]["root"] = str(Path(spec["init_args"]["root"]).expanduser().resolve())
        return spec
