"""What every corpus of speech files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


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
