"""Corpora: the files of speech by split, with speakers and texts."""

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.builtin import BuiltinSpeech
from vocolab.data.corpora.folder import Folder
from vocolab.data.corpora.librispeech import LibriSpeech
from vocolab.data.corpora.libritts import LibriTTS, LibriTTSR
from vocolab.data.corpora.ljspeech import LJSpeech
from vocolab.data.corpora.manifest import Manifest
from vocolab.data.corpora.vctk import VCTK

__all__ = [
    "VCTK",
    "BuiltinSpeech",
    "Corpus",
    "Folder",
    "LJSpeech",
    "LibriSpeech",
    "LibriTTS",
    "LibriTTSR",
    "Manifest",
    "Utterance",
]
