"""Full precision: what is set inside, and that everything is as before afterwards."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings

import pytest
import torch

from tests.data.parts import Quantiles
from tests.data.speech import librispeech
from tests.pipelines import tiny
from vocolab import audio
from vocolab.codecs import KMeansCodec
from vocolab.data.corpora import LibriSpeech
from vocolab.data.preparation.prepare import Prematch, Preparation, prepare
from vocolab.encoders import Mel
from vocolab.matching import Pool
from vocolab.pipelines import KNNVC, TTS
from vocolab.precision import any_length, full_precision
from vocolab.text import Characters, SymbolMap
from vocolab.vocoders import Vocos

b = torch.backends
NEW = {
    "all": b,
    "cuda": b.cudnn,
    "cuda.matmul": b.cuda.matmul,
    "cuda.conv": b.cudnn.conv,
    "cuda.rnn": b.cudnn.rnn,
    "mkldnn.matmul": b.mkldnn.matmul,
    "mkldnn.conv": b.mkldnn.conv,
    "mkldnn.rnn": b.mkldnn.rnn,
}
OLD = {
    "matmul": torch.get_float32_matmul_precision,
    "cublas": lambda: b.cuda.matmul.allow_tf32,
    "cudnn": lambda: b.cudnn.allow_tf32,
}


def state() -> dict:
    """What every switch says; of the old interface also that it refuses to say, as it does where both are mixed."""
    found = {name: switch.fp32_precision for name, switch in NEW.items()}
    for name, read in OLD.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "mixed"
    return found | {"benchmark": b.cudnn.benchmark}


def nothing():
    pass


def old_interface():
    torch.set_float32_matmul_precision("medium")
    b.cudnn.allow_tf32 = True
    b.cudnn.benchmark = True


def old_interface_off():
    b.cuda.matmul.allow_tf32 = False
    b.cudnn.allow_tf32 = False


def new_interface():
    b.cuda.matmul.fp32_precision = "tf32"
    b.cudnn.conv.fp32_precision = "ieee"
    b.cudnn.rnn.fp32_precision = "tf32"
    b.mkldnn.matmul.fp32_precision = "bf16"


def new_interface_from_the_top():
    b.fp32_precision = "bf16"
    b.cudnn.fp32_precision = "tf32"


SETTINGS = [nothing, old_interface, old_interface_off, new_interface, new_interface_from_the_top]


@pytest.fixture(autouse=True)
def as_at_the_start():
    """torch's own defaults for each test, and the session's afterwards."""

    def reset():
        torch.set_float32_matmul_precision("highest")
        b.cudnn.allow_tf32 = True
        for name, switch in NEW.items():
            switch.fp32_precision = "tf32" if name in ("cuda.conv", "cuda.rnn") else "none"
        b.cudnn.benchmark = False

    reset()
    yield
    reset()


def assert_full():
    found = state()
    assert {name: found[name] for name in NEW if "." in name} == dict.fromkeys([n for n in NEW if "." in n], "ieee")
    assert [found[name] for name in OLD] == ["highest", False, False]  # and the old interface can be read
    assert not found["benchmark"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_is_set_inside_and_restored_after(setting):
    setting()
    before = state()
    with full_precision():
        assert_full()
        with full_precision():
            assert_full()
        assert_full()
    assert state() == before
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert state() == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_later_change_from_the_top_still_reaches_what_it_reached(setting):
    """The values themselves are restored, not what they stood for."""

    def after_a_change() -> dict:
        b.fp32_precision, b.cudnn.fp32_precision = "none", "none"
        return state()

    setting()
    expected = after_a_change()
    setting()
    with full_precision():
        pass
    assert after_a_change() == expected


def test_autocast_is_off_inside_and_on_again_after():
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision():
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def test_as_a_decorator_for_each_call():
    @full_precision()
    def inside() -> bool:
        return b.cudnn.allow_tf32

    assert (inside(), inside(), b.cudnn.allow_tf32) == (False, False, True)


def test_threads_do_not_end_it_for_each_other():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with full_precision():
            entered.set()
            assert leave.wait(30)

    before = state()
    thread = threading.Thread(target=other)
    with full_precision():
        thread.start()
        assert entered.wait(30)
    assert_full()  # the other thread is inside
    leave.set()
    thread.join()
    assert state() == before


def test_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with full_precision():
            pass


def test_importing_the_package_sets_nothing():
    code = (
        "import torch; b = torch.backends; read = lambda: (b.cudnn.conv.fp32_precision, b.cuda.matmul.allow_tf32);"
        "before = read(); import vocolab.encoders, vocolab.codecs, vocolab.precision; assert read() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_any_length():
    b.cudnn.benchmark = True
    with pytest.raises(ZeroDivisionError), any_length():
        assert not b.cudnn.benchmark
        raise ZeroDivisionError
    assert b.cudnn.benchmark


@pytest.fixture
def seen(monkeypatch) -> dict[str, bool]:
    """By the method that makes numbers: whether precision was full in each of its calls so far."""
    found: dict[str, bool] = {}

    def watch(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def watched(*args, **kwargs):
            label = f"{kind.__name__}.{name}"
            found[label] = found.get(label, True) and not b.cudnn.allow_tf32
            return original(*args, **kwargs)

        monkeypatch.setattr(kind, name, watched)

    for kind, names in {
        Mel: ["layers"],
        Pool: ["__init__", "knn"],
        Quantiles: ["encode", "fit"],
        KMeansCodec: ["encode", "decode"],
    }.items():
        for name in names:
            watch(kind, name)
    return found


def test_what_preparation_stores_is_computed_in_it(seen, tmp_path):
    corpus = LibriSpeech(librispeech(tmp_path / "corpus", speakers=1, each=2, dev=1))
    prepare(Preparation(corpus, encoder=Mel(), prematch=Prematch(topk=2)), tmp_path / "a", 1, progress=False)
    prepare(Preparation(corpus, codec=Quantiles()), tmp_path / "b", 1, progress=False)
    names = ("Mel.layers", "Pool.__init__", "Pool.knn", "Quantiles.fit", "Quantiles.encode")
    assert seen == dict.fromkeys(names, True)
    assert b.cudnn.allow_tf32


def test_what_the_pipelines_match_and_encode_is_computed_in_it(seen):
    vc = KNNVC(Vocos(80, dim=16, blocks=1, hidden=16), Mel(), topk=1)
    wav = audio.read(tiny.SPEECH[0], 16000)[0][:16000]
    vc.match(vc.get_features(wav), vc.get_matching_set([wav], vad_trigger_level=0))
    tts = TTS(tiny.language_model(), tiny.codec(), Characters(), SymbolMap(tiny.SYMBOLS, ["en"]))
    tts("a", tiny.SPEECH[0], max_ar_steps=3)
    names = ("Mel.layers", "Pool.__init__", "Pool.knn", "KMeansCodec.encode", "KMeansCodec.decode")
    assert seen == dict.fromkeys(names, True)
    assert b.cudnn.allow_tf32
