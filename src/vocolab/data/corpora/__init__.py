"""Corpora: the files of speech by split, with speakers and texts."""

from vocolab.data.corpora.base import Corpus, Utterance
from vocolab.data.corpora.builtin import BuiltinSpeech
from vocolab.data.corpora.folder import Folder
from vocolab.data.corpora.librispeech import LibriSpeech
from vocolab.data.corpora.libritts import LibriTTS
from vocolab.data.corpora.manifest import Manifest

__all__ = ["BuiltinSpeech", "Corpus", "Folder", "LibriSpeech", "LibriTTS", "Manifest", "Utterance"]
