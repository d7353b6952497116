"""What comes in is what was meant, and what is damaged is refused in one line."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vocolab import audio
from vocolab.errors import VocolabError

RATE = 16000


def tone(rate: int = RATE, seconds: float = 1.0, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * math.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def save(path: Path, samples: np.ndarray, rate: int = RATE, **kwargs) -> Path:
    soundfile.write(path, samples, rate, **kwargs)
    return path


def test_reads_the_built_in_speech(speech_file):
    wav, rate = audio.read(speech_file)
    about = audio.info(speech_file)
    assert (rate, about.sample_rate, about.channels) == (RATE, RATE, 1)
    assert wav.shape == (about.samples,) and wav.dtype == torch.float32
    assert 0.05 < wav.abs().max() <= 1.0


@pytest.mark.parametrize(
    ("name", "kwargs", "tolerance"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 1e-4),
        ("a.wav", {"subtype": "PCM_24"}, 1e-6),
        ("a.wav", {"subtype": "FLOAT"}, 0),
        ("a.wav", {"subtype": "PCM_U8"}, 1e-2),
        ("a.flac", {}, 1e-4),
        ("a.aiff", {}, 1e-4),
        ("a.ogg", {}, 0.05),
        ("a.mp3", {}, 0.05),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.05),
    ],
)
def test_formats(tmp_path, name, kwargs, tolerance):
    samples = tone()
    wav, rate = audio.read(save(tmp_path / name, samples, **kwargs))
    assert rate == RATE and len(wav) == len(samples)
    middle = slice(2000, -2000)  # lossy codecs ring at the ends
    assert np.abs(wav.numpy()[middle] - samples[middle]).max() <= tolerance


def test_stereo_44_1_khz_is_averaged_and_resampled(tmp_path):
    left, right = tone(44100, 2.0, 300), tone(44100, 2.0, 1000)
    path = save(tmp_path / "stereo.wav", np.stack([left, right], 1), 44100, subtype="FLOAT")
    assert audio.info(path) == audio.AudioInfo(44100, 88200, 2)
    wav, rate = audio.read(path, sample_rate=RATE)
    expected = (tone(RATE, 2.0, 300) + tone(RATE, 2.0, 1000)) / 2
    assert rate == RATE and len(wav) == len(expected)
    assert np.abs(wav.numpy() - expected)[500:-500].max() < 2e-3
    native, rate = audio.read(path)
    assert rate == 44100
    torch.testing.assert_close(native, torch.from_numpy((left + right) / 2))


def test_resampling_keeps_the_tone_and_removes_what_does_not_fit():
    for target in (8000, 22050, 24000, 48000):
        wav = audio.resample(torch.from_numpy(tone()), RATE, target)
        assert len(wav) == target
        assert np.abs(wav.numpy() - tone(target))[400:-400].max() < 2e-3
    high = audio.resample(torch.from_numpy(tone(48000, 1.0, 12000)), 48000, RATE)
    assert high[400:-400].abs().max() < 1e-3
    wav = torch.randn(100)
    assert audio.resample(wav, RATE, RATE) is wav


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_file_cut_short_is_an_error(tmp_path, name, part):
    noise = np.random.default_rng(0).normal(size=RATE).clip(-4, 4) / 5
    path = save(tmp_path / name, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(VocolabError, match=f"cut short.*{name}"):
        audio.read(path)


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_the_header_of_a_stream_which_states_no_length_is_believed(tmp_path, stated):
    path = save(tmp_path / "stream.wav", tone(), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(audio.read(path)[0]) == RATE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.wav", None, "no such file"),
        ("empty.wav", b"", "not a readable sound file"),
        ("text.wav", b"hello " * 50, "not a readable sound file"),
        ("text.raw", b"hello " * 50, "not a readable sound file"),
        ("text.xyz", b"hello " * 50, "not a readable sound file"),
    ],
)
def test_what_is_no_sound_is_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (audio.read, audio.info):
        with pytest.raises(VocolabError, match=f"{message}.*{name}") as raised:
            function(path)
        assert "\n" not in str(raised.value)


def test_a_folder_no_samples_and_samples_that_are_not_finite(tmp_path):
    with pytest.raises(VocolabError, match="a folder"):
        audio.read(tmp_path)
    with pytest.raises(VocolabError, match="no samples: .*none.wav"):
        audio.read(save(tmp_path / "none.wav", np.zeros(0, np.float32)))
    for bad in (math.nan, math.inf, -math.inf):
        samples = tone()
        samples[77] = bad
        with pytest.raises(VocolabError, match="not finite"):
            audio.read(save(tmp_path / "bad.wav", samples, subtype="FLOAT"))


def test_integers_are_written_as_they_are(tmp_path):
    pcm = torch.tensor([0, 1, -1, 32767, -32768], dtype=torch.int16)
    audio.write(tmp_path / "a.wav", pcm, RATE)
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == pcm.tolist()


def test_an_mp3_states_its_length_only_nearly(tmp_path):
    path = save(tmp_path / "a.mp3", tone(seconds=3))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = audio.read(path)[0]
    assert len(found) < audio.info(path).samples and np.abs(found.numpy()[2000:20000]).max() < 1


def test_a_format_that_cannot_be_seeked_is_read_in_order(tmp_path):
    path = save(tmp_path / "gsm.wav", tone(8000, 2.0, 300), 8000, subtype="GSM610")
    with soundfile.SoundFile(path) as file:
        assert not file.seekable()
    whole, rate = audio.read(path)
    assert rate == 8000 and 16000 <= len(whole) < 16400  # GSM's blocks are of 320 samples
    assert np.abs(whole.numpy()[1000:15000] - tone(8000, 2.0, 300)[1000:15000]).max() < 0.1
    assert torch.equal(audio.read(path, seconds=0.5)[0], whole[:4000])
    assert len(audio.read(path, RATE)[0]) == 2 * len(whole)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "gsm.wav"])
def test_blocks_are_the_whole(tmp_path, monkeypatch, name):
    kinds = {"gsm.wav": {"subtype": "GSM610"}}
    path = save(tmp_path / name, tone(8000, 1.0), 8000, **kinds.get(name, {}))
    whole = audio.read(path)[0]
    for block in (len(whole) // 2, 1000, len(whole) - 1):
        monkeypatch.setattr("vocolab.audio.io.BLOCK", block)
        assert torch.equal(audio.read(path)[0], whole)
        assert torch.equal(audio.read(path, seconds=0.4)[0], whole[:3200])
        assert torch.equal(audio.read(path, 11025)[0], audio.resample(whole, 8000, 11025))


def test_a_header_that_promises_more_than_memory_holds(tmp_path):
    path = save(tmp_path / "a.flac", tone())
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the highest bits of the number of samples: 65 billion of them
    path.write_bytes(content)
    assert audio.info(path).samples > 2**35
    with pytest.raises(VocolabError, match=r"cut short .*a\.flac"):
        audio.read(path)


@pytest.mark.skipif(os.name == "nt", reason="no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    for name in ("a.wav", "b.wav"):
        for function in (audio.read, audio.info):
            with pytest.raises(VocolabError, match=f"^a pipe or a device, not a sound file: .*{name}: write it to a "):
                function(tmp_path / name)


def test_a_rate_that_no_speech_has_is_a_damaged_header(tmp_path):
    """Three seconds of samples at 1 Hz would be resampled to half a day."""
    path = save(tmp_path / "a.wav", np.zeros(48000), 1)
    for function in (audio.read, audio.info):
        with pytest.raises(VocolabError, match="^a sample rate of 1 Hz: .*: replace the file"):
            function(path)
    assert audio.info(save(tmp_path / "b.wav", np.zeros(4000), 4000)).seconds == 1


@pytest.mark.parametrize("error", [ValueError("no\nway"), RuntimeError(), MemoryError(), AssertionError("x")])
def test_whatever_a_decoder_raises_belongs_to_the_file(speech_file, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", broken)
    with pytest.raises(VocolabError, match=f"sound file damaged or cut short .*{speech_file.name}") as raised:
        audio.read(speech_file)
    assert "\n" not in str(raised.value) and "()" not in str(raised.value)


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_names_that_are_not_utf_8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sp\xe9ech.wav"))
    try:
        shutil.copy(save(tmp_path / "a.wav", tone()), path)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert audio.find(tmp_path) == sorted([tmp_path / "a.wav", path])
    assert audio.info(path).samples == RATE and torch.equal(audio.read(path)[0], audio.read(tmp_path / "a.wav")[0])
    out = path.with_name("out" + path.name)
    audio.write(out, torch.zeros(500), RATE)
    assert len(audio.read(out)[0]) == 500


def test_a_name_too_long_for_the_disk(tmp_path):
    with pytest.raises(VocolabError, match="no such file"):
        audio.read(tmp_path / ("a" * 5000))
    with pytest.raises(VocolabError, match="no such file"):
        audio.find([tmp_path / ("a" * 5000)])


@pytest.mark.parametrize("scale", [32768, 128])
def test_integers_stored_as_floats_are_refused(tmp_path, speech_file, scale):
    wav, rate = audio.read(speech_file)
    path = save(tmp_path / "ints.wav", (wav * scale).round().numpy(), rate, subtype="FLOAT")
    with pytest.raises(VocolabError, match=r"far beyond ±1.*ints\.wav: divide them.*32768"):
        audio.read(path)


def test_of_several_channels_each_is_looked_at(tmp_path):
    opposite = np.stack([20 * tone(), -20 * tone()], 1)  # their mean is silence
    with pytest.raises(VocolabError, match="far beyond"):
        audio.read(save(tmp_path / "stereo.wav", opposite, subtype="FLOAT"))


def test_music_a_little_over_full_scale_is_read_as_it_is(tmp_path):
    wav = audio.read(save(tmp_path / "loud.wav", 15 * tone(), subtype="FLOAT"))[0]
    assert wav.abs().max() == pytest.approx(7.5, abs=0.01)


def test_find(tmp_path, builtin_corpus):
    for name in (
        "b/x.flac",
        "b/y.OPUS",
        "a.wav",
        "b/.hidden.wav",
        ".cache/z.wav",
        "b/notes.txt",
        "b/x.mp3",
        "b/data.mat",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [str(p.relative_to(tmp_path)) for p in audio.find(tmp_path)]
    assert names == ["a.wav", "b/x.flac", "b/x.mp3", "b/y.OPUS"]
    assert audio.find([tmp_path / "b/notes.txt", tmp_path / "a.wav"]) == [tmp_path / "b/notes.txt", tmp_path / "a.wav"]
    assert len(audio.find(builtin_corpus)) == 425
    with pytest.raises(VocolabError, match="no such file.*nowhere"):
        audio.find([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(VocolabError, match="no sound files.*empty"):
        audio.find(str(tmp_path / "empty"))
