"""`vocolab convert`: what it refuses before any work, and what it leaves."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vocolab import audio
from vocolab.cli import main
from vocolab.cli.conversions import Job, plan
from vocolab.errors import UsageError, VocolabError
from vocolab.parts import describe

SPEECH = Path(__file__).parents[2] / "src" / "vocolab" / "assets" / "corpus" / "synth"
SOURCE = SPEECH / "3001" / "10" / "3001-10-0000.opus"
REFERENCE = SPEECH / "3002" / "10" / "3002-10-0001.opus"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny untrained vocoder on one layer of the built-in Whisper, in the layout of a run's checkpoint."""
    from vocolab.encoders import Whisper
    from vocolab.vocoders import Vocos

    torch.manual_seed(0)
    encoder, vocoder = Whisper(layer=1), Vocos(in_channels=384, dim=16, blocks=1, hidden=16)
    card = {
        "format": 1,
        "kind": "vocoder",
        "vocoder": describe(vocoder),
        "encoder": describe(encoder),
        "matching": {"topk": 4, "matching_layer": 1, "synthesis_layer": 1},
        "sample_rate": 16000,
        "hop": 320,
    }
    path = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    state = {f"vocoder.{key}": value for key, value in vocoder.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 0, "pytorch-lightning_version": "2.6", "vocolab": card}, path)
    return path


@pytest.fixture
def convert(work, checkpoint, capsys):
    """Run the command; returns its status and the last line of standard error."""

    def run(*args: object) -> tuple[int, str]:
        status = main(["convert", "--checkpoint", checkpoint, "--device", "cpu", *args])
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return status, err.splitlines()[-1] if err else ""

    return run


def test_one_file(convert, work):
    status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "out.wav")
    assert status == 0 and line.startswith(f"[1/1] {SOURCE} -> out.wav, ")
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    source = soundfile.info(SOURCE)
    assert abs(info.duration - source.frames / source.samplerate) < 0.05
    assert sorted(p.name for p in work.iterdir()) == ["out.wav"]


def test_the_same_command_gives_the_same_bytes(convert):
    for name in ("a.wav", "b.wav"):
        assert convert(SOURCE, "--ref", REFERENCE, "-o", name, "--seed", "3")[0] == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_files_and_folders(convert):
    Path("in/deep").mkdir(parents=True)
    shutil.copy(SOURCE, "in/deep/a.b.opus")
    shutil.copy(SOURCE, "single.opus")
    Path("in/notes.txt").write_text("no speech")
    assert convert("in", "single.opus", "--ref", REFERENCE.parent / "3002-10-0001.opus", "-o", "out")[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.b.wav", "single.wav"]


def test_a_voice_is_kept(convert):
    assert convert("--ref", REFERENCE, "--save-voice", "v.safetensors")[0] == 0
    assert convert(SOURCE, "--voice", "v.safetensors", "-o", "by_voice.wav")[0] == 0
    assert convert(SOURCE, "--ref", REFERENCE, "-o", "by_ref.wav")[0] == 0
    voice, ref = (soundfile.read(f"by_{name}.wav")[0] for name in ("voice", "ref"))
    assert voice.shape == ref.shape and np.abs(voice - ref).mean() < 0.05 * np.abs(ref).mean()
    status, line = convert("--ref", REFERENCE, "--save-voice", "v.safetensors")
    assert (status, line) == (
        1,
        "vocolab: error: output exists: v.safetensors: choose another name (--overwrite would replace it)",
    )
    status, line = convert(SOURCE, "--voice", "v.safetensors", "--matching-layer", "0", "-o", "x.wav")
    assert status == 1 and line.startswith(
        "vocolab: error: the voice was made with another matching layer: v.safetensors: "
    )
    Path("bad.safetensors").write_bytes(b"none")
    assert convert(SOURCE, "--voice", "bad.safetensors", "-o", "x.wav") == (
        1,
        "vocolab: error: not a voice: bad.safetensors: give a file that --save-voice wrote",
    )


def test_duration_and_loudness(convert):
    flags = ["--target-duration", "2", "--loudness", "-30"]
    assert convert(SOURCE, "--ref", REFERENCE, "-o", "out.wav", *flags)[0] == 0
    assert soundfile.info("out.wav").frames == 32000
    assert convert(SOURCE, "--ref", REFERENCE, "-o", "raw.wav", "--loudness", "none")[0] == 0
    assert np.abs(soundfile.read("out.wav")[0]).mean() < 0.1


def test_silence_stays_silent_and_that_is_said(convert):
    soundfile.write("silence.wav", np.zeros(32000), 16000)
    status, line = convert("silence.wav", "--ref", REFERENCE, "-o", "out.wav")
    assert status == 0 and line.endswith("; loudness: silent, as the source is")
    assert not soundfile.read("out.wav")[0].any()


def test_a_silent_reference_is_refused(convert):
    soundfile.write("silence.wav", np.zeros(32000), 16000)
    status, line = convert(SOURCE, "--ref", REFERENCE, "silence.wav", "-o", "out.wav")
    wanted = "vocolab: error: nothing but silence: silence.wav: give a recording of speech"
    assert (status, line) == (1, wanted) and not Path("out.wav").exists()


def test_a_gain_that_would_clip_is_limited_and_that_is_said(convert):
    status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "out.wav", "--loudness", "-3")
    made = torch.from_numpy(soundfile.read("out.wav")[0])
    assert status == 0 and audio.true_peak(made, 16000) == pytest.approx(-1, abs=0.05)
    reached = f"{audio.loudness(made, 16000):.1f} LKFS, not -3"
    assert line.endswith(f"; loudness: {reached}: louder, its true peak would pass -1 dB")
    status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "quiet.wav", "--loudness", "-30")
    assert "loudness" not in line


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_names_that_are_not_utf_8(convert):
    source = Path(os.fsdecode(b"s\xe9.opus"))
    try:
        shutil.copy(SOURCE, source)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert convert(source, "--ref", REFERENCE, "-o", "out")[0] == 0
    assert audio.info(Path("out") / source.with_suffix(".wav")).samples > 0
    status, line = convert(source, "--ref", REFERENCE, "-o", "out")
    assert status == 1 and line.startswith("vocolab: error: output exists: out")


def test_a_file_that_no_decoder_takes_does_not_stop_the_others(convert, monkeypatch):
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, audio.read(SOURCE)[0].numpy(), 16000)
    read = soundfile.SoundFile.read

    def broken(file, *args, **kwargs):
        if b"a.wav" in os.fsencode(file.name):
            raise ValueError("no such block")
        return read(file, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", broken)
    assert convert("a.wav", "b.wav", "--ref", REFERENCE, "-o", "out")[0] == 1
    assert [p.name for p in Path("out").iterdir()] == ["b.wav"]


def test_existing_outputs_are_refused_before_any_work(convert, monkeypatch):
    Path("out.wav").write_text("mine")
    monkeypatch.setattr("vocolab.pipelines.KNNVC.from_checkpoint", lambda *_, **__: pytest.fail("worked"))
    assert convert(SOURCE, "--ref", REFERENCE, "-o", "out.wav") == (
        1,
        "vocolab: error: output exists: out.wav: choose another -o or pass --overwrite",
    )
    assert Path("out.wav").read_text() == "mine"


def test_overwrite(convert):
    Path("out.wav").write_text("old")
    assert convert(SOURCE, "--ref", REFERENCE, "-o", "out.wav", "--overwrite")[0] == 0
    assert soundfile.info("out.wav").frames > 0


@pytest.mark.parametrize(
    "args, status, line",
    [
        (["--ref", "r.opus"], 2, "nothing to convert: command line: name files or folders of speech"),
        (["--ref", "r.opus", "s.opus", "-o", "o.wav"], 2, "nothing to convert: command line: name files or folders of speech before --ref, which took all 2 paths after it"),
        (["--ref", "r.opus", "--save-voice", "v", "-o", "o.wav"], 2, "nothing to convert: command line: name files"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--loudness", "nan"], 2, "argument --loudness: 'nan' is no level in dB"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--loudness", "loud"], 2, "argument --loudness: "),
        (["s.opus", "--ref", "ints.wav", "-o", "o.wav"], 1, "samples as large as"),
        (["ints.wav", "--ref", "r.opus", "-o", "o.wav"], 1, "samples as large as"),
        (["s.opus", "--ref", "r.opus"], 2, "no output: command line: say where with -o OUT.wav or -o FOLDER"),
        (["s.opus", "-o", "o.wav"], 2, "one voice is needed: command line: give either --ref PATH or --voice FILE"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--topk", "0"], 2, "--topk is 0: command line: give at least 1"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--seed", str(2**63)], 2, "--seed is 9223372036854775808: command line: give a whole number of 64 bits"),
        (["s.opus", "--ref", "r.opus", "-o", "o.mp3"], 2, "only .wav, .flac and .opus are written: o.mp3: give OUT.wav or a folder"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--format", "flac"], 2, "--format flac for a .wav file: o.wav: leave --format out"),
        (["s.opus", "--ref", "r.opus", "-o", "o", "--format", "mp3"], 2, "argument --format: invalid choice: 'mp3'"),
        (["s.opus", "--ref", "r.opus", "-o", "o", "--workers", "0"], 2, "--workers is 0: command line: give at least 1"),
        (["s.opus", "--ref", "r.opus", "-o", "o", "--max-pool-frames", "0"], 2, "--max-pool-frames is 0: command line: give at least 1"),
        (["s.opus", "--ref", "r.opus", "-o", "s.opus/o.wav"], 1, "not a folder: s.opus: choose another -o"),
        (["s.opus", "--ref", "r.opus", "-o", "ints.wav/o"], 1, "not a folder: ints.wav: choose another -o"),
        (["blank.wav", "--ref", "r.opus", "-o", "o.wav"], 1, "not a readable sound file"),
        (["cut.wav", "--ref", "r.opus", "-o", "o.wav"], 1, "sound file cut short"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--target-duration", "0"], 2, "--target-duration is 0.0: command line: give seconds above 0"),
        (["none.opus", "--ref", "r.opus", "-o", "o.wav"], 1, "no such file: none.opus: check the path"),
        (["s.opus", "--ref", "none", "-o", "o.wav"], 1, "no such file: none: check the path"),
        (["s.opus", "--ref", "empty", "-o", "o.wav"], 1, "no sound files in folder: empty: looked for .aif"),
        (["s.opus", "r.opus", "--ref", "r.opus", "-o", "o.wav"], 2, "2 files do not fit in one: o.wav: give a folder with -o"),
        (["s.opus", "--ref", "r.opus", "-o", "o.wav", "--target-duration", "inf"], 2, "--target-duration is inf: command line: give seconds above 0"),
        (["--voice", "v", "--save-voice", "w"], 2, "a voice to save needs --ref: --save-voice: leave out --voice"),
        (["s.opus", "--voice", "none", "-o", "o.wav"], 1, "no such file: none: correct --voice"),
    ],
)  # fmt: skip
def test_what_is_refused(args, status, line, convert):
    shutil.copy(SOURCE, "s.opus"), shutil.copy(REFERENCE, "r.opus")
    soundfile.write("ints.wav", audio.read(SOURCE)[0].numpy() * 32768, 16000, subtype="FLOAT")
    Path("empty").mkdir(), Path("blank.wav").touch()
    soundfile.write("cut.wav", audio.read(SOURCE)[0].numpy(), 16000)
    Path("cut.wav").write_bytes(Path("cut.wav").read_bytes()[:50000])
    found, said = convert(*args)
    assert found == status and said.startswith(f"vocolab: error: {line}")
    assert not Path("o.wav").exists()


def test_a_device_that_is_not_there(work, checkpoint, capsys):
    command = ["convert", str(SOURCE), "--ref", str(REFERENCE), "--checkpoint", str(checkpoint), "-o", "o.wav"]
    for device in ("nonsense", "cuda:99"):
        assert main([*command, "--device", device]) == 2
        assert f"device {device!r} cannot be used" in capsys.readouterr().err.splitlines()[-1]


def test_short_references(convert, work):
    """0.2 s of reference are nine frames: four neighbours fit, twenty do not; 20 ms are no frame."""
    wav = audio.read(REFERENCE, 16000)[0][16000:19200]
    audio.write(work / "short.wav", wav, 16000)
    audio.write(work / "shorter.wav", wav[:320], 16000)
    assert convert(SOURCE, "--ref", "short.wav", "--vad-trim", "0", "-o", "o.wav")[0] == 0
    status, line = convert(SOURCE, "--ref", "short.wav", "--vad-trim", "0", "-o", "p.wav", "--topk", "20")
    assert status == 1 and "k = 20 neighbours of a pool of 10 frames" in line and "reference" in line
    status, line = convert(SOURCE, "--ref", "shorter.wav", "--vad-trim", "0", "-o", "p.wav")
    assert status == 1 and "0.020 s of speech, at least 0.025 s are needed: shorter.wav" in line
    assert not (work / "p.wav").exists()


def test_a_missing_checkpoint(work, capsys):
    assert main(["convert", str(SOURCE), "--ref", str(REFERENCE), "--checkpoint", "none.ckpt", "-o", "o.wav"]) == 1
    assert capsys.readouterr().err == "vocolab: error: no such file: none.ckpt: correct --checkpoint\n"


def test_memory_that_runs_out_costs_the_file_alone(convert, monkeypatch):
    from vocolab.pipelines import KNNVC

    speak("in", a=0, b=0)
    honest = KNNVC.convert

    def hungry(vc, speech, *args, **kwargs):
        return torch.empty(2**60) if speech.name == "a.wav" else honest(vc, speech, *args, **kwargs)

    monkeypatch.setattr(KNNVC, "convert", hungry)
    assert convert("in/a.wav", "--ref", REFERENCE, "-o", "a.wav")[1].startswith(
        "vocolab: error: out of memory: in/a.wav: give fewer --workers"
    )
    assert convert("in", "--ref", REFERENCE, "-o", "out")[0] == 1
    assert [p.name for p in Path("out").iterdir()] == ["b.wav"]


def test_more_neighbours_than_frames(convert):
    status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "o.wav", "--topk", "100000")
    assert status in (1, 2) and line.startswith("vocolab: error: ") and "100000" in line


def test_one_that_fails_does_not_stop_the_others(convert, capsys):
    Path("in").mkdir()
    shutil.copy(SOURCE, "in/good.opus")
    soundfile.write("in/short.wav", np.zeros(100), 16000)
    status, line = convert("in", "--ref", REFERENCE, "-o", "out")
    assert (status, line) == (1, "vocolab: error: 1 of 2 files failed: out: see the lines above")
    assert [p.name for p in Path("out").iterdir()] == ["good.wav"]


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes")
def test_a_disk_that_refuses_leaves_no_half_file(convert, work):
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "o.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert status == 1 and "o.wav" in line
    assert list(work.iterdir()) == []


def test_planning(work):
    for name in ("a/x.wav", "b/x.wav", "a/y.flac"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert plan([Path("a/x.wav")], Path("o.wav"), False) == [Job(Path("a/x.wav"), Path("o.wav"))]
    assert plan([Path("a/x.wav")], Path("o"), False) == [Job(Path("a/x.wav"), Path("o/x.wav"))]
    jobs = [Job(Path("a/x.wav"), Path("o/x.wav")), Job(Path("a/y.flac"), Path("o/y.wav"))]
    assert plan([Path("a")], Path("o"), False) == jobs
    (opus, _) = plan([Path("a")], Path("o"), False, format="opus")
    assert opus.target == Path("o/x.opus")
    with pytest.raises(VocolabError, match="a/x.wav and b/x.wav would both become it: o/x.wav"):
        plan([Path("a"), Path("b")], Path("o"), False)
    with pytest.raises(VocolabError, match="the output is the source: a/x.wav"):
        plan([Path("a/x.wav")], Path("a"), True)
    with pytest.raises(VocolabError, match="the output is a reference: b/x.wav"):
        plan([Path("a/x.wav")], Path("b"), True, [Path("b/x.wav")])
    with pytest.raises(UsageError, match="do not fit in one"):
        plan([Path("a")], Path("o.wav"), False)


def test_an_output_folder_inside_the_source_folder_is_not_a_source(work):
    for name in ("in/x.wav", "in/out/x.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert plan([Path("in")], Path("in/out"), True) == [Job(Path("in/x.wav"), Path("in/out/x.wav"))]
    Path("in/x.wav").unlink()
    with pytest.raises(VocolabError, match="no sound files in folder: in: those in in/out are taken for earlier"):
        plan([Path("in")], Path("in/out"), True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused_before_any_work(convert, work):
    Path("closed").mkdir(mode=0o500)
    status, line = convert(SOURCE, "--ref", REFERENCE, "-o", "closed/out")
    assert (status, line) == (1, "vocolab: error: cannot write (no permission): closed: choose another -o")


def speak(folder: str, **silences: float) -> None:
    """Short files of real speech in a folder, by name: seconds of silence in the middle."""
    Path(folder).mkdir()
    wav, rate = audio.read(SOURCE, 16000)
    for name, seconds in silences.items():
        half = wav[rate : 2 * rate].numpy()
        soundfile.write(f"{folder}/{name}.wav", np.concatenate([half, np.zeros(round(seconds * rate)), half]), rate)


def test_workers_change_no_byte_and_no_line(convert, capsys, work):
    speak("in", a=0, b=0.1, c=0.2)
    soundfile.write("in/d.wav", np.zeros(100), 16000)
    for workers in (1, 2):
        status, line = convert("in", "--ref", REFERENCE, "-o", f"out{workers}", "--workers", workers)
        assert (status, line) == (1, f"vocolab: error: 1 of 4 files failed: out{workers}: see the lines above")
    for name in ("a.wav", "b.wav", "c.wav"):
        assert Path("out1", name).read_bytes() == Path("out2", name).read_bytes()
    assert sorted(p.name for p in Path("out2").iterdir()) == ["a.wav", "b.wav", "c.wav"]
    assert sorted(p.name for p in work.iterdir()) == ["in", "out1", "out2"]


def test_the_summary_and_the_lines_for_programs(work, checkpoint, capsys):
    speak("in", a=0, b=1)
    soundfile.write("in/c.wav", np.zeros(100), 16000)
    command = ["convert", "in", "--ref", str(REFERENCE), "-o", "out", "--checkpoint", str(checkpoint), "--json"]
    assert main([*command, "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    *_, summary, last = err.splitlines()
    assert re.fullmatch(r"2 of 3 files, 5\.0 s of speech in [\d.]+ s, real-time factor [\d.]+; 1 failed", summary)
    assert last == "vocolab: error: 1 of 3 files failed: out: see the lines above"
    a, b, c = map(json.loads, out.splitlines())
    assert set(a) == {"source", "path", "seconds", "took", "gain", "note"}
    assert (a["source"], a["path"], b["seconds"]) == ("in/a.wav", "out/a.wav", pytest.approx(3, abs=0.03))
    assert c["source"] == "in/c.wav" and c["error"].startswith("0.006 s of speech")


def test_formats_and_rates(convert):
    high = audio.resample(audio.read(SOURCE, 16000)[0], 16000, 44100)
    Path("in").mkdir()
    soundfile.write("in/a.wav", torch.stack([high, 0 * high], 1).numpy(), 44100)
    assert convert("in", "--ref", REFERENCE, "-o", "out", "--format", "flac", "--keep-rate")[0] == 0
    assert convert("in/a.wav", "--ref", REFERENCE, "-o", "a.opus", "--keep-rate")[0] == 0
    assert convert("in/a.wav", "--ref", REFERENCE, "-o", "b.flac", "--format", "flac")[0] == 0
    kinds = [("out/a.flac", "FLAC", 44100), ("a.opus", "OGG", 48000), ("b.flac", "FLAC", 16000)]
    for path, format, rate in kinds:
        info = soundfile.info(path)
        assert (info.format, info.samplerate, info.channels) == (format, rate, 1)
        assert info.duration == pytest.approx(len(high) / 44100, abs=0.03)


def test_long_pauses_are_silent_unless_told_otherwise(convert):
    speak("in", a=1.5)
    for flags, silent in (([], True), (["--silence", "none"], False), (["--silence", "-120"], True)):
        assert convert("in/a.wav", "--ref", REFERENCE, "-o", "a.wav", "--overwrite", *flags)[0] == 0
        made = soundfile.read("a.wav")[0]
        assert made[:16000].any() and bool(made[16000 * 5 // 4 : 16000 * 9 // 4].any()) != silent


def test_a_part_of_the_reference_by_seed(convert):
    speak("in", a=0)
    said = []
    for seed in (0, 0, 1):
        flags = ["--max-pool-frames", 20, "--seed", seed, "--overwrite"]
        assert convert("in/a.wav", "--ref", REFERENCE, "-o", "a.wav", *flags)[0] == 0
        said.append(Path("a.wav").read_bytes())
    assert said[0] == said[1] != said[2]
    assert convert("--ref", REFERENCE, "--save-voice", "v.safetensors")[0] == 0
    status, line = convert("in/a.wav", "--voice", "v.safetensors", "-o", "b.wav", "--topk", 21, "--max-pool-frames", 20)
    assert status == 1 and "pool of 20 frames" in line


def running(checkpoint: Path, *args: str) -> subprocess.Popen:
    """The command, in a process group of its own."""
    command = [sys.executable, "-m", "vocolab", "convert", "--checkpoint", str(checkpoint), "--device", "cpu", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)


def await_line(process: subprocess.Popen, pattern: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(pattern, line):
            return
    pytest.fail(f"no line {pattern!r}")


def interrupt(process: subprocess.Popen) -> str:
    """Interrupt the command as a terminal does; what it said after. Whatever is in `out` must be whole."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "vocolab: interrupted" and "Traceback" not in err
    made = list(Path("out").iterdir())
    assert 2 <= len(made) < 300 and not [p for p in made if p.name.startswith(".")]
    for path in made:
        assert audio.info(path).samples == 32000 and audio.read(path)
    return err


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_leaves_the_finished_files_and_no_half_one(work, checkpoint):
    speak("in", **{f"b{n:03d}": 0 for n in range(300)})
    process = running(checkpoint, "in", "--ref", str(REFERENCE), "-o", "out")
    await_line(process, r"\[2/300\]")
    assert re.search(r"^\d+ of 300 files, [\d.]+ s of speech in", interrupt(process), re.MULTILINE)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers there")
def test_a_worker_that_is_killed_costs_its_file_alone_and_an_interrupt_ends_the_others(work, checkpoint):
    speak("in", **{f"b{n:03d}": 0 for n in range(300)})
    process = running(checkpoint, "in", "--ref", str(REFERENCE), "-o", "out", "--workers", "2")
    await_line(process, r"\[2/300\]")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    await_line(process, r"\[\d+/300\] its worker process was killed by signal 9: in/b\d+\.wav: ")
    await_line(process, r"\[\d+/300\] in/b\d+\.wav -> out")  # the other goes on
    assert "; 1 failed" in interrupt(process)
    assert not Path(f"/proc/{workers[1]}").exists()
