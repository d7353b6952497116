"""Fixtures every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import vocolab
from tests.contract import parametrize, seeded
from tests.server import Handler, serving

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where commands keep their last error, instead of the user's folder."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.setenv("LOCALAPPDATA", str(folder))
        yield folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        action="append",
        default=[],
        help="hold a part of your own to the tests of its kind (tests/contract.py)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


@pytest.fixture(scope="session")
def files_of_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture
def make(request: pytest.FixtureRequest, files_of_parts: Path) -> Callable:
    """Makes a new part, with the same weights each time (tests/contract.py)."""
    return seeded(request.param, files_of_parts)


@pytest.fixture
def server() -> Iterator[tuple[type[Handler], str]]:
    """What a server of this test's own serves, and its address."""
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def builtin_corpus() -> Path:
    """The folder of the built-in speech."""
    return Path(vocolab.__file__).parent / "assets" / "corpus"


@pytest.fixture(scope="session")
def speech_file(builtin_corpus: Path) -> Path:
    """One real utterance, Opus at 16 kHz mono."""
    return sorted(builtin_corpus.glob("synth/3001/*/*.opus"))[0]


@pytest.fixture(scope="session")
def speech_folder(builtin_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve real utterances of three speakers, SPEAKER/NAME.opus."""
    root = tmp_path_factory.mktemp("speech")
    for speaker in ("3001", "3002", "3003"):
        (root / speaker).mkdir()
        for file in sorted(builtin_corpus.glob(f"synth/{speaker}/*/*.opus"))[:4]:
            shutil.copy(file, root / speaker)
    return root


@pytest.fixture(scope="session")
def lm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model of the codes of a tiny k-means codec, as a run leaves it."""
    from tests.pipelines import tiny

    return tiny.write(tmp_path_factory.mktemp("lm") / "last.ckpt", tiny.language_model(), tiny.codec())


@pytest.fixture(scope="session")
def prefix_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained to go on from the beginnings of utterances whose whole texts it was given."""
    from tests.pipelines import tiny

    path = tmp_path_factory.mktemp("lm") / "prefix.ckpt"
    return tiny.write(path, tiny.language_model(), tiny.codec(), prompt="prefix")


@pytest.fixture(scope="session")
def mel_shards(speech_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of `speech_folder` with log-mel features; three utterances are validation."""
    folder = tmp_path_factory.mktemp("shards") / "mel"
    _mel_data(speech_folder, folder).prepare(workers=1)
    return folder


@pytest.fixture
def mel_data(speech_folder: Path, mel_shards: Path) -> Callable:
    """Builds a data module over `mel_shards`: crops of 16 frames, four at a time."""
    return lambda workers=0, size=4: _mel_data(speech_folder, mel_shards, workers, size)


def _mel_data(speech: Path, shards: Path, workers: int = 0, size: int = 4):
    from vocolab.data.batches import Crops, Utterances
    from vocolab.data.corpora import Folder
    from vocolab.data.module import SpeechDataModule
    from vocolab.encoders import Mel

    return SpeechDataModule(
        corpus=Folder(speech, val=["*-0003"]),
        encoder=Mel(),
        batches=Crops(frames=16, size=size),
        val_batches=Utterances(size=2),
        shards=str(shards),
        workers=workers,
    )
