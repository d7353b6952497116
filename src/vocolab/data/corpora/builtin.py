"""The speech that comes with the package: 26 minutes, 14 voices, four languages."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import vocolab
from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.listing import Transcripts, audio_files, split_off
from vocolab.errors import VocolabError

LANGUAGES = {"1001/10": "en", "1001/20": "es", "1002": "fr", "1003": "it", "1004": "ru"}  # the rest is English

# Sentences 2i and 2i+1 of the i-th synthetic voice (each of the 20 sentences once); every 20th of each real speaker.
HELD_OUT = (
    *(f"{3001 + i}-10-{2 * i + j:04d}" for i in range(10) for j in range(2)),
    *("1001-10-0007", "1001-10-0042", "1001-10-0071", "1002-30-0007", "1002-30-0042", "1002-30-0071"),
    *("1003-40-0008", "1003-40-0051", "1003-40-0085", "1004-50-0006", "1004-50-0044", "1004-50-0078"),
)


class BuiltinSpeech(Corpus):
    """The built-in excerpt (`vocolab/assets/corpus`, licences in its ATTRIBUTION.md).

    `val` and `test` list the keys that are held out; patterns such as `*-10-0003` are allowed. `speakers` lists the
    speakers that are used, patterns too: `30*` are the ten synthetic voices, who all read the same twenty sentences.
    """

    def __init__(self, val: Sequence[str] = HELD_OUT, test: Sequence[str] = (), speakers: Sequence[str] = ("*",)):
        self.val, self.test, self.speakers = list(val), list(test), list(speakers)

    def splits(self) -> dict[str, list[Utterance]]:
        root = Path(vocolab.__file__).parent / "assets" / "corpus"
        transcripts = Transcripts()
        utterances = [_utterance(root, source, transcripts) for source in audio_files(root)]
        if not utterances:
            raise VocolabError("the built-in speech is missing", root, "install vocolab again")
        splits = split_off(utterances, self.val, self.test)
        chosen = {split: [u for u in us if self._speaks(u)] for split, us in splits.items()}
        if not any(chosen.values()):
            raise VocolabError("no such speaker", ", ".join(self.speakers), "1001 to 1004 and 3001 to 3010 are there")
        return {split: us for split, us in chosen.items() if us}

    def _speaks(self, utterance: Utterance) -> bool:
        return any(fnmatch.fnmatchcase(utterance.speaker, pattern) for pattern in self.speakers)


def _utterance(root: Path, source: str, transcripts: Transcripts) -> Utterance:
    _, speaker, chapter, name = PurePosixPath(source).parts
    language = LANGUAGES.get(speaker) or LANGUAGES.get(f"{speaker}/{chapter}", "en")
    path = root / source
    return Utterance(PurePosixPath(name).stem, path, source, speaker, chapter, transcripts.of(path), language)
