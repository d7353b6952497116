"""Speech at any rate: from recordings of that rate through prepare, fit, convert and report, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from tests.data.speech import samples
from tests.overlay import overlay
from vocolab import audio
from vocolab.cli import main
from vocolab.data.shards.index import Index
from vocolab.errors import UsageError
from vocolab.recipe import Recipe, load_recipe
from vocolab.vocoders import Vocos

ROOT = Path(__file__).parents[1]
ENCODER = ["--data.encoder", str(ROOT / "configs/encoder/whisper_tiny.yaml"), "--data.encoder.layer", "1"]
TONE = 10000  # Hz: no speech at 16 kHz has it


def recordings(source: Path, folder: Path, rate: int) -> Path:
    """Real utterances of two speakers of `source`, at another rate and with a tone that 16 kHz cannot hold."""
    for file in sorted(source.rglob("300[12]/*-000[012].opus")):
        wav, _ = audio.read(file, rate)
        tone = 0.05 * torch.sin(2 * torch.pi * TONE * torch.arange(len(wav)) / rate)
        audio.write(folder / file.parent.name / f"{file.stem}.wav", 0.9 * wav + tone, rate)
    return folder


def has_tone(pcm: np.ndarray, rate: int) -> bool:
    spectrum = np.abs(np.fft.rfft(pcm))
    at = round(TONE * len(pcm) / rate)
    return spectrum[at - 3 : at + 4].max() > 20 * np.median(spectrum)


@pytest.mark.parametrize(("name", "rate"), [("hifigan_24k", 24000), ("hifigan_48k", 48000)])
def test_speech_keeps_its_rate_from_the_recording_to_the_conversion(
    name, rate, speech_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    speech = recordings(speech_folder, tmp_path / "speech", rate)
    flags = ["--data.corpus", str(ROOT / "configs/corpus/folder.yaml"), "--data.corpus.root", str(speech), *ENCODER]
    flags += ["--data.corpus.val", "0.1", "--data.shards", "shards", "--trainer.default_root_dir", "run"]
    flags += ["--trainer", str(ROOT / "configs/trainer/cpu.yaml"), "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "-c", str(ROOT / f"recipes/{name}.yaml"), *overlay(name, tmp_path), *flags]) == 0, (
        capsys.readouterr().err
    )
    stored = samples(tmp_path / "shards", "train")
    index = Index.open(tmp_path / "shards", "train")
    assert (index.sample_rate, index.hop) == (rate, rate // 50) and stored
    for sample in stored.values():
        pcm, frames = sample["audio.npy"], len(sample["feats.npy"])
        assert len(pcm) == frames * rate // 50 and has_tone(pcm, rate)
        assert abs(len(pcm) / rate - sample["json"]["seconds"]) < 0.03

    checkpoint = "run/checkpoints/last.ckpt"
    command = ["convert", str(speech / "3001"), "--ref", str(speech / "3002"), "--checkpoint", checkpoint, "-o", "out"]
    assert main(command) == 0, capsys.readouterr().err
    sources = {file.stem: soundfile.info(file) for file in (speech / "3001").iterdir()}
    made = {file.stem: soundfile.info(file) for file in Path("out").iterdir()}
    assert made.keys() == sources.keys()
    for key, info in made.items():
        assert (info.samplerate, info.subtype) == (rate, "PCM_16") and abs(info.duration - sources[key].duration) < 0.05

    assert main(["report", "run", "--limit", "1"]) == 0, capsys.readouterr().err
    assert json.loads(Path("run/report.json").read_text())["mel_l1"] > 0
    for part in ("source", "resynthesis", "conversion"):
        assert soundfile.info(f"run/{part}.wav").samplerate == rate


RATES = [("22k", 22050), ("24k", 24000), ("44k", 44100), ("48k", 48000)]


@pytest.mark.parametrize(("name", "rate"), RATES)
def test_a_vocoder_is_there_for_every_usual_rate(name, rate):
    """One flag for the rate and one for the vocoder; the loss follows."""
    flags = {"data.sample_rate": rate, "model.vocoder": ROOT / f"configs/vocoder/hifigan_v1_{name}.yaml"}
    flags |= {"data.encoder": ROOT / "configs/encoder/whisper_tiny.yaml", "model.vocoder.channels": 32}
    flags |= {"model.discriminator": None}
    recipe = load_recipe(ROOT / "recipes/hifigan_24k.yaml", flags)
    assert (recipe.data.hop, recipe.data.sample_rate) == (rate // 50, rate)
    vocoder, (loss,) = recipe.model.vocoder, recipe.model.losses
    assert (vocoder.hop, vocoder.sample_rate) == (rate // 50, rate)
    assert (loss.sample_rate, loss.hop, loss.fmax) == (rate, rate // 50, rate / 2)
    assert vocoder(torch.randn(1, 3, recipe.data.feature_dim)).shape == (1, 3 * rate // 50)


def test_a_loss_that_hears_another_rate_is_refused():
    flags = {"data.encoder": ROOT / "configs/encoder/whisper_tiny.yaml", "model.vocoder.channels": 32}
    flags |= {"model.losses": [{"class_path": "MelLoss", "init_args": {"sample_rate": 16000}}]}
    with pytest.raises(UsageError, match="MelLoss hears 16000 Hz, the vocoder speaks 24000 Hz: .* to 24000$"):
        _ = load_recipe(ROOT / "recipes/hifigan_24k.yaml", flags | {"model.discriminator": None}).model


def test_the_table_of_rates_is_true():
    """Of `docs/vocoders.md`: each row's vocoder has these sizes, and an inverse STFT with this n_fft can be built."""
    page = (ROOT / "docs/vocoders.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| `(\S+)` \| ([\d·]+), ([\d ]+) \| `n_fft: (\d+)` \|$", page, re.M)
    assert len(rows) == 5
    for rate, hop, file, rates, kernels, n_fft in rows:
        sizes = yaml.safe_load((ROOT / file).read_text())["init_args"]
        assert (sizes["sample_rate"], sizes["hop"]) == (int(rate.replace(",", "")), int(hop))
        assert sizes["upsample_rates"] == [int(r) for r in rates.split("·")]
        assert sizes["upsample_kernels"] == [int(k) for k in kernels.split()]
        assert Vocos(4, 8, 1, 8, n_fft=int(n_fft), hop=int(hop)).hop == int(hop)


VOCODERS = [("hifigan_v2", "HiFiGAN"), ("bigvgan_base", "BigVGAN"), ("vocos_small", "Vocos")]


@pytest.mark.parametrize(("name", "kind"), VOCODERS)
@pytest.mark.parametrize("rate", [22050, 48000])
def test_what_a_refusal_suggests_is_taken(name, kind, rate):
    """A recipe for 16 kHz with another rate of the data, then with the numbers that the error names."""
    flags = ["-c", str(ROOT / "recipes/quickstart.yaml"), "--model.vocoder", str(ROOT / f"configs/vocoder/{name}.yaml")]
    flags += ["--data.sample_rate", str(rate), "--model.discriminator", "null"]
    flags += ["--model.losses", f"[{{class_path: MelLoss, init_args: {{sample_rate: {rate}}}}}]"]
    with pytest.raises(UsageError) as refused:
        _ = Recipe(flags).model
    line = str(refused.value)
    assert line.startswith(
        f"the vocoder makes 320 samples a frame at 16000 Hz, the data has {rate // 50} at {rate} Hz:"
    )
    assert f"set its sample_rate to {rate}, and use for example hop: {rate // 50}, " in line
    for key, value in re.findall(r"(hop|n_fft|upsample_rates|upsample_kernels): (\[[\d, ]+\]|\d+)", line):
        flags += [f"--model.vocoder.{key}", value]
    model = Recipe([*flags, "--model.vocoder.sample_rate", str(rate)]).model
    assert type(model.vocoder).__name__ == kind and model.vocoder.hop == rate // 50


@pytest.mark.parametrize(
    ("hop", "rate", "expected"), [(160, 24000, 240), (160, 48000, 480), (640, 22050, 882), (160, 22050, None)]
)
def test_an_encoder_of_another_hop(hop, rate, expected):
    """Samples a frame are sample_rate · encoder.hop / encoder.sample_rate, a whole number or refused."""
    flags = {"data.encoder": ROOT / "configs/encoder/mel.yaml", "data.encoder.hop": hop, "data.sample_rate": rate}
    recipe = load_recipe(ROOT / "recipes/quickstart.yaml", flags)
    if expected is not None:
        assert recipe.data.hop == expected
        return
    with pytest.raises(UsageError) as refused:
        _ = recipe.data
    assert str(refused.value) == (
        "a frame of 160 samples at 16000 Hz would be 220.5 samples at 22050 Hz: data.sample_rate: "
        "set it to a multiple of 100, as 22000 or 22100"
    )


def test_sizes_that_do_not_fit_end_a_command_before_anything_is_prepared(speech_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--data.corpus", str(ROOT / "configs/corpus/folder.yaml"), "--data.corpus.root", str(speech_folder)]
    flags += [*ENCODER, "--data.sample_rate", "24000", "--data.shards", "shards"]
    assert main(["fit", "-c", str(ROOT / "recipes/hifigan_plain.yaml"), *flags]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "vocolab: error: the vocoder makes 320 samples a frame at 16000 Hz, the data has 480 at 24000 Hz: "
        "model.init_args.vocoder.init_args: set its sample_rate to 24000, and use for example hop: 480, "
        "upsample_rates: [10, 8, 3, 2], upsample_kernels: [20, 16, 7, 4]"
    )
    assert not Path("shards").exists()
