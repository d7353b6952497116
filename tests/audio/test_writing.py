"""Writing of sound files."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vocolab import audio
from vocolab.errors import UsageError, VocolabError

RATE = 16000


def test_writing_rounds_to_the_nearest(tmp_path):
    audio.write(tmp_path / "a.wav", torch.tensor([0.4, 0.6, 1.4, -0.4, -0.6, -1.6]) / 32768, RATE)
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [0, 1, 1, 0, -1, -2]


@pytest.mark.parametrize("name", ["out.wav", "out.flac"])
def test_writing_is_mono_pcm16_and_exact(tmp_path, name):
    pcm = torch.randint(-32768, 32768, (4000,), dtype=torch.int32)
    audio.write(tmp_path / "new" / name, pcm / 32768, RATE)
    with soundfile.SoundFile(tmp_path / "new" / name) as file:
        assert (file.subtype, file.channels, file.samplerate) == ("PCM_16", 1, RATE)
        assert np.array_equal(file.read(dtype="int16"), pcm.numpy())


def test_writing_clips_and_never_wraps_around(tmp_path):
    audio.write(tmp_path / "loud.wav", torch.tensor([1.0, 1.5, 40.0, -1.0, -1.5, -40.0, 0.99999]), RATE)
    found = soundfile.read(tmp_path / "loud.wav", dtype="int16")[0]
    assert found.tolist() == [32767, 32767, 32767, -32768, -32768, -32768, 32767]


def test_writing_refuses(tmp_path):
    path = tmp_path / "out.wav"
    audio.write(path, torch.zeros(1, 500), RATE)  # one channel is as good as none
    with pytest.raises(VocolabError, match="output exists.*overwrite"):
        audio.write(path, torch.ones(500), RATE)
    assert not audio.read(path)[0].any()
    audio.write(path, torch.ones(500), RATE, overwrite=True)
    assert audio.read(path)[0].min() > 0.99
    with pytest.raises(VocolabError, match="not finite"):
        audio.write(path, torch.tensor([0.0, math.nan]), RATE, overwrite=True)
    with pytest.raises(VocolabError, match="one channel"):
        audio.write(path, torch.zeros(2, 500), RATE, overwrite=True)
    with pytest.raises(UsageError, match=r"\.mp3"):
        audio.write(tmp_path / "out.mp3", torch.zeros(500), RATE)
    with pytest.raises(VocolabError, match=r"cannot write .*out\.flac"):
        audio.write(tmp_path / "out.flac", torch.zeros(500), RATE, file_rate=2_000_000)  # beyond what FLAC can say
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.wav"]


def test_a_disk_that_refuses_leaves_no_file(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(VocolabError, match=r"cannot write .*out\.wav"):
            audio.write(tmp_path / "out.wav", torch.zeros(RATE), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def speech() -> torch.Tensor:
    return 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", sorted(audio.FORMATS.keys() - {""}))
def test_the_same_samples_give_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        audio.write(tmp_path / (name + suffix), speech(), RATE)
        time.sleep(0.01)  # libsndfile numbers Ogg streams by the clock
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_opus_can_be_read_and_its_pages_keep_their_checksums(tmp_path):
    """libogg drops a page whose checksum is wrong, so that samples would be missing."""
    wav = torch.sin(torch.arange(3 * RATE) * 0.1) / 2
    audio.write(tmp_path / "a.opus", wav, RATE)
    assert (tmp_path / "a.opus").read_bytes()[14:18] == b"\1\0\0\0"
    made, rate = audio.read(tmp_path / "a.opus")
    assert (rate, len(made)) == (RATE, len(wav))
    assert float((made - wav)[1000:-1000].abs().max()) < 0.05


def test_another_rate_in_the_file(tmp_path):
    wav = speech()
    audio.write(tmp_path / "a.wav", wav, RATE, file_rate=44100)
    made, rate = audio.read(tmp_path / "a.wav")
    assert rate == 44100
    torch.testing.assert_close(made, audio.resample(wav, RATE, 44100), atol=1 / 32768, rtol=0)


@pytest.mark.parametrize(
    ("rate", "known"), [(11025, 12000), (16000, 16000), (22050, 24000), (44100, 48000), (96000, 48000)]
)
def test_opus_takes_the_next_of_its_rates(tmp_path, rate, known):
    audio.write(tmp_path / "a.opus", speech(), RATE, file_rate=rate)
    assert audio.info(tmp_path / "a.opus").sample_rate == known


def test_blocks_are_the_whole(tmp_path, monkeypatch):
    audio.write(tmp_path / "a.flac", speech(), RATE, file_rate=22050)
    monkeypatch.setattr("vocolab.audio.writing.BLOCK", 999)
    audio.write(tmp_path / "b.flac", speech(), RATE, file_rate=22050)
    assert np.array_equal(*(soundfile.read(tmp_path / name)[0] for name in ("a.flac", "b.flac")))


def test_a_growing_file_has_the_bytes_of_one_written_at_once(tmp_path):
    wav = 1.2 * torch.sin(torch.arange(5000) / 7)
    audio.write(tmp_path / "whole.wav", wav, 16000)
    with audio.growing(tmp_path / "grown.wav", 16000) as add:
        for part in wav.split(777):
            add(part)
        assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["whole.wav"]
    assert (tmp_path / "grown.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_a_growing_file_that_is_not_finished_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "old.wav").write_text("old")
    for what in (KeyboardInterrupt, VocolabError("a", "b", "c")):
        with pytest.raises(type(what) if isinstance(what, Exception) else what):
            with audio.growing(tmp_path / "new.wav", 16000) as add:
                add(torch.zeros(100))
                raise what
    with pytest.raises(VocolabError, match="output exists"), audio.growing(tmp_path / "old.wav", 16000):
        pass
    with pytest.raises(VocolabError, match="samples that are not finite: .*new.wav"):
        with audio.growing(tmp_path / "new.wav", 16000) as add:
            add(torch.tensor([0.0, float("nan")]))
    monkeypatch.setattr("vocolab.audio.writing.WAV_BYTES", 1000)
    with pytest.raises(VocolabError, match="a WAV file holds no more than these 0.0 hours: .*new.wav: say the text in"):
        with audio.growing(tmp_path / "new.wav", 16000) as add:
            add(torch.zeros(400))
            add(torch.zeros(200))
    assert [p.name for p in tmp_path.iterdir()] == ["old.wav"] and (tmp_path / "old.wav").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_is_said_of_a_growing_file(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.open", lambda path, mode, to=open: to("/dev/full", mode))
    with pytest.raises(VocolabError, match="cannot write .*No space left.*a.wav: free space"):
        with audio.growing(tmp_path / "a.wav", 16000) as add:
            for _ in range(10):
                add(torch.zeros(2**16))
    assert not list(tmp_path.iterdir())
