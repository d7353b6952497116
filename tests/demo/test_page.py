"""The page as programs see it: what it answers, how many at a time, and what is left on the disk."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vocolab import audio
from vocolab.demo.conversion import Conversion
from vocolab.demo.limits import Limits
from vocolab.demo.results import Result
from vocolab.demo.speaking import Speaking
from vocolab.errors import VocolabError

gradio = pytest.importorskip("gradio", reason="the extra demo is not installed")
gradio_client = pytest.importorskip("gradio_client")
httpx = pytest.importorskip("httpx")

from vocolab.demo.page import build  # noqa: E402
from vocolab.demo.server import free_address, serving, workplace  # noqa: E402

LIMITS = Limits(seconds=10, voice_seconds=20, megabytes=0.5)
HTTP = {"trust_env": False, "timeout": 60}  # s: httpx gives up after 5, which a busy machine takes
OPTIONS = (4, True, -60, -16, True, 0, 0)  # k, pauses, their level, loudness, trimming, length, seed


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with workplace() as folder:
        yield folder


@pytest.fixture(scope="module")
def parts(vc, lm_checkpoint, place) -> tuple[Conversion, Speaking]:
    from vocolab.pipelines import TTS

    return Conversion(vc, LIMITS, place), Speaking(TTS.from_checkpoint(lm_checkpoint), LIMITS, place)


@pytest.fixture(scope="module")
def page(parts):
    return build(*parts, LIMITS)


@pytest.fixture(scope="module")
def address(page) -> Iterator[str]:
    with serving(page, "127.0.0.1", free_address("127.0.0.1", 0), LIMITS) as found:
        yield found


@pytest.fixture
def client(address, tmp_path):
    return gradio_client.Client(
        address, download_files=tmp_path / "downloads", verbose=False, httpx_kwargs={"timeout": 60}
    )


def converted(client, *files: Path, options=OPTIONS):
    source, *voice = [gradio_client.handle_file(file) for file in files]
    return client.predict(source, voice, None, *options, api_name="/convert")


def refusal(ask: Callable) -> str:
    with pytest.raises(gradio_client.exceptions.AppError) as error:
        ask()
    return str(error.value)


def test_a_conversion(client, speech_file, vc):
    speech, download, told, picture = converted(client, speech_file, speech_file)
    wav, rate = audio.read(speech)
    expected = vc.convert(speech_file, vc.get_voice([speech_file])).wav
    assert rate == 16000 and (wav - expected).abs().max() < 2 / 2**15
    name = f"{speech_file.stem}-as-{speech_file.stem}"
    assert Path(speech).name == f"{name}.wav" and told.startswith("4.4 s of speech, made in ")
    assert "value" not in picture or Path(picture["value"]).name == f"{name}.png"


def test_a_text(client, speech_file):
    options = (
        1.0,
        3,
        0.9,
        0.2,
        0,
        1.0,
        1.0,
        1,
        60,
    )  # speed, seed, temperatures, top k, top p, repetition, best of, frames
    file = gradio_client.handle_file(speech_file)
    speech, _, told, _ = client.predict("Some words.", [file], None, None, "en", *options, api_name="/speak")
    assert audio.info(speech).seconds == pytest.approx(2.4, abs=0.1) and "2.4 s of speech" in told


def test_mistakes_are_lines(client, speech_file, tmp_path, place):
    (tmp_path / "song.wav").write_text("la la la")
    line = refusal(lambda: converted(client, tmp_path / "song.wav", speech_file))
    assert "song.wav" in line and str(place) not in line and "Traceback" not in line
    audio.write(tmp_path / "long.flac", audio.read(speech_file)[0].repeat(3), 16000)
    line = refusal(lambda: converted(client, tmp_path / "long.flac", speech_file))
    assert line == "13.3 s, at most 10 s are taken here: long.flac: give a shorter recording"
    assert refusal(lambda: converted(client, speech_file)).startswith("no voice: upload recordings")


def test_a_fault_is_said_to_be_one(client, speech_file, parts, monkeypatch, caplog):
    monkeypatch.setattr(parts[0], "vc", None)
    with caplog.at_level(logging.ERROR):
        assert refusal(lambda: converted(client, speech_file, speech_file)).startswith("a fault in the program")
    assert "AttributeError" in caplog.text


def test_too_large_a_file_is_not_kept(address, place):
    before = sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)
    reply = httpx.post(f"{address}gradio_api/upload", files={"files": ("big.wav", bytes(2**19 + 1))}, **HTTP)
    assert reply.status_code == 413
    assert sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size) == before


def test_files_of_the_machine_are_not_read(address, speech_file):
    """A client that names a file of the machine, instead of uploading one, gets nothing of it."""
    file = {"path": str(speech_file), "meta": {"_type": "gradio.FileData"}}
    asked = httpx.post(f"{address}gradio_api/call/convert", json={"data": [file, [file], None, *OPTIONS]}, **HTTP)
    events = httpx.get(f"{address}gradio_api/call/convert/{asked.json()['event_id']}", **HTTP).text
    assert "event: error" in events and "event: complete" not in events
    assert httpx.get(f"{address}gradio_api/file={speech_file}", **HTTP).status_code == 403


def test_one_at_a_time(address, parts, speech_file, monkeypatch, tmp_path):
    """Whatever is asked for, by however many, in either tab."""
    at_work, most, lock = [], [], threading.Lock()

    def work(*_):
        with lock:
            at_work.append(1)
            most.append(len(at_work))
        time.sleep(0.3)
        at_work.pop()
        return Result(speech_file, speech_file, "done")

    for part in parts:
        monkeypatch.setattr(type(part), "__call__", lambda self, *_: work())
    clients = [
        gradio_client.Client(address, download_files=False, verbose=False, httpx_kwargs={"timeout": 60})
        for _ in range(2)
    ]
    jobs = [client.submit(None, None, None, *OPTIONS, api_name="/convert") for client in clients]
    jobs.append(clients[0].submit("a", None, None, "", "en", 1, 0, 1, 1, 0, 1, 1, 1, 60, api_name="/speak"))
    assert [job.result()[2] for job in jobs] == ["done"] * 3
    assert most == [1, 1, 1]


def test_a_server_that_does_not_start_is_told(parts, monkeypatch):
    def start(**_):
        raise gradio.exceptions.ServerFailedToStartError

    monkeypatch.setattr("gradio.http_server.start_server", start)
    with pytest.raises(VocolabError, match="did not start within 5 s"):
        with serving(build(*parts, LIMITS), "127.0.0.1", 7999, LIMITS):
            pass


def test_nothing_is_fetched_from_elsewhere(address):
    config = httpx.get(f"{address}config", **HTTP).json()
    assert config["stylesheets"] == [] and config["analytics_enabled"] is False and config["run_history"] is False


def test_all_files_are_known_to_the_one_who_deletes_them(address, page, client, place, speech_file):
    """Gradio deletes what is older than `keep`; here it is told to delete everything."""
    converted(client, speech_file, speech_file)
    assert list(place.glob("result-*/*.wav"))
    gradio.route_utils.delete_files_created_by_app(page, None)
    examples = set().union(*(getattr(block, "keep_in_cache", set()) for block in page.blocks.values()))
    assert [
        path for path in place.rglob("*") if path.is_file() and path.stat().st_size and str(path) not in examples
    ] == []
    assert refusal(lambda: client.predict(None, None, None, *OPTIONS, api_name="/convert")).startswith("no speech")


def test_what_gradio_forgets_is_deleted(client, place):
    old, new = place / "tmp-old", place / "tmp-new"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    refusal(lambda: client.predict(None, None, None, *OPTIONS, api_name="/convert"))
    assert new.exists() and not old.exists()


def test_nothing_is_left(vc, speech_file):
    before = dict(os.environ)
    with workplace() as folder:
        conversion = Conversion(vc, LIMITS, folder)
        with serving(build(conversion, None, LIMITS), "127.0.0.1", free_address("127.0.0.1", 0), LIMITS) as address:
            converted(
                gradio_client.Client(address, download_files=False, verbose=False, httpx_kwargs={"timeout": 60}),
                speech_file,
                speech_file,
            )
            assert list(folder.rglob("*.wav"))
    assert not folder.exists() and dict(os.environ) == before


def test_the_way_to_a_model_that_speaks_is_that_of_make_quickstart_tts():
    """Where no model is loaded, the tab names the trainings in their order, and the checkpoint of the last."""
    from vocolab.demo.speak_tab import NO_MODEL

    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    target = re.search(r"^quickstart-tts:.*?\n\n", makefile, re.M | re.S)[0]
    trainings = re.findall(r"fit -c (\S+)", target)
    assert re.findall(r"fit -c (\S+)", NO_MODEL) == trainings and len(trainings) > 1
    assert re.findall(r"--lm (\S+)", NO_MODEL) == re.findall(r"--checkpoint (\S+)", target)
