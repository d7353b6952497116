"""Every recipe parses whole, and runs two updates through the real command line with a tiny overlay on real speech."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import json
import logging
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from tests.data.speech import librispeech, libritts, vctk
from tests.overlay import overlay
from vocolab.callbacks import Samples, SpokenSamples
from vocolab.checkpoints import export_hifigan
from vocolab.cli import main
from vocolab.recipe import Recipe, load_recipe
from vocolab.vocoders import HiFiGAN

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "tests" / "conf").glob("*.yaml"))
BACKBONES = {
    "transformer": "Transformer",
    "retnet": "RetNet",
    "llama": "Llama",
    "mixtral": "Mixtral",
    "bitnet": "BitNet",
}
CPU = ["--trainer", str(ROOT / "configs" / "trainer" / "cpu.yaml"), "--trainer.enable_progress_bar", "false"]


def keys(node) -> set[str]:
    """Every key of a YAML document, however deep."""
    if isinstance(node, dict):
        return set(node) | {key for value in node.values() for key in keys(value)}
    return {key for item in node for key in keys(item)} if isinstance(node, list) else set()


def strings(node) -> list[str]:
    if isinstance(node, dict):
        return [text for value in node.values() for text in strings(value)]
    if isinstance(node, list):
        return [text for item in node for text in strings(item)]
    return [node] if isinstance(node, str) else []


MONITORS = {"VocoderTask": "val/mel_l1", "AlignedVocoderTask": "val/mel_l1"} | dict.fromkeys(
    ["VALLETask", "MedusaTask"], "val/loss"
)


def task_of(name: str) -> str:
    """The task of a recipe."""
    text = (ROOT / "recipes" / f"{name}.yaml").read_text()
    return next(task for task in ("AlignedVocoderTask", "MedusaTask", "VALLETask", "VocoderTask") if task in text)


def test_the_recipes_that_are_promised():
    assert set(RECIPES) >= {"quickstart", "hifigan_prematch", "hifigan_plain", "hifigan_mel", "vocos_prematch"}
    assert set(RECIPES) >= {f"valle_{name}" for name in (*BACKBONES, "unified_llama")}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_parses_whole(name, tmp_path, monkeypatch):
    """From anywhere, without data, weights, a GPU or the network."""
    monkeypatch.chdir(tmp_path)
    config = load_recipe(ROOT / "recipes" / f"{name}.yaml").config
    assert config.trainer.max_steps > 0 and config.trainer.default_root_dir == f"runs/{name}"
    assert config.trainer.check_val_every_n_epoch is None
    assert config.model.class_path == f"vocolab.tasks.{task_of(name)}"
    assert config.checkpoint.monitor == MONITORS[task_of(name)]
    assert config.data.seed == config.seed_everything
    assert "${" not in str(config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_opens_with_what_it_is(name):
    comment = (ROOT / "recipes" / f"{name}.yaml").read_text().split("\nseed_everything")[0]
    assert all(line.startswith("# ") for line in comment.splitlines()) and len(comment) > 150
    assert re.search(r"GPU|cores", comment) and f"vocolab fit -c recipes/{name}.yaml" in comment


def test_the_papers_settings():
    config = load_recipe(ROOT / "recipes" / "hifigan_prematch.yaml").config
    task, data = config.model.init_args, config.data
    assert (config.trainer.max_steps, config.trainer.val_check_interval) == (2_500_000, 1000)
    assert config.checkpoint.every_n_train_steps == 5000
    assert (data.batches.init_args.frames, data.batches.init_args.size) == (22, 16)
    assert (data.encoder.init_args.checkpoint, data.encoder.init_args.layer) == ("microsoft/wavlm-large", 6)
    assert (data.prematch.topk, data.prematch.pool) == (4, "speaker")
    assert (data.corpus.init_args.train, data.corpus.init_args.val) == (["train-clean-100"], ["dev-clean"])
    optimizer = task.optimizer.init_args
    assert (optimizer.lr, tuple(optimizer.betas), optimizer.weight_decay) == (2e-4, (0.8, 0.99), 0.01)
    assert (task.schedule.init_args.gamma, task.schedule.init_args.every) == (0.999, 1784)
    assert task.losses[0].init_args.weight == 45
    assert not [c for c in config.trainer.callbacks if "EMA" in c.class_path]


def test_recipes_differ_where_they_say():
    """hifigan_plain is hifigan_prematch without prematching; vocos_prematch with another vocoder."""

    def settings(name: str) -> dict:
        config = load_recipe(ROOT / "recipes" / f"{name}.yaml").config.as_dict()
        return {key: json.dumps(config[key], default=str) for key in ("data", "model", "checkpoint")} | config["data"]

    prematch, plain, vocos = map(settings, ("hifigan_prematch", "hifigan_plain", "vocos_prematch"))
    assert plain["model"] == prematch["model"] and plain["prematch"] is None
    assert plain["encoder"] == prematch["encoder"] and plain["corpus"] == prematch["corpus"]
    assert vocos["data"] == prematch["data"] and vocos["model"] != prematch["model"]


def test_overlays_change_sizes_paths_and_limits_alone(tmp_path):
    made = [Path(flag) for name in RECIPES for flag in overlay(name, tmp_path) if flag != "-c"]
    assert len(made) >= len(RECIPES) and {path.stem for path in OVERLAYS} <= set(RECIPES)
    for path in [*made, *OVERLAYS]:
        changes = yaml.safe_load(path.read_text())
        assert "class_path" not in keys(changes), path
        assert not strings(changes), f"{path}: a string could name a class"  # paths come from the command line


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return librispeech(tmp_path_factory.mktemp("librispeech"), speakers=2, each=3, dev=2)


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random WavLM in a Hugging Face folder."""
    from vocolab._compat import torchaudio

    torchaudio()
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        num_buckets=32,
        max_bucket_distance=80,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    folder = tmp_path_factory.mktemp("wavlm")
    WavLMModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus_with_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return libritts(tmp_path_factory.mktemp("libritts"))


@pytest.fixture(scope="session")
def corpus_at_48_khz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vctk(tmp_path_factory.mktemp("vctk"), speakers=5, each=2)


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An official generator file for the features of `wavlm`, of the size that the overlay gives."""
    path = tmp_path_factory.mktemp("official") / "g_00000007.pt"
    export_hifigan(HiFiGAN(32, 32, 32), path)
    return path


@pytest.fixture(scope="session")
def encodec(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny random EnCodec as the encodec package saves it, and as Hugging Face does."""
    from transformers import EncodecConfig, EncodecModel

    from tests.codecs.conftest import tiny_encodec
    from vocolab.codecs.encodec import rename

    folder, state = tmp_path_factory.mktemp("encodec"), tiny_encodec().state_dict()
    torch.save(state, folder / "tiny.th")
    model = EncodecModel(EncodecConfig(target_bandwidths=[3.0, 6.0], num_filters=2, hidden_size=16))
    model.load_state_dict({rename(name): value for name, value in state.items()})
    model.save_pretrained(folder / "hf")
    return folder / "tiny.th", folder / "hf"


@pytest.fixture(scope="session")
def shards_of_codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared by whichever recipe comes first: the weights are the same in both layouts."""
    return tmp_path_factory.mktemp("codes") / "shards"


@pytest.fixture
def paths(request: pytest.FixtureRequest) -> list[str]:
    """Where this machine keeps what the recipe reads."""
    text = (ROOT / "recipes" / f"{request.node.callspec.params['name']}.yaml").read_text()
    flags = []
    if "librispeech" in text or "data/converter" in text:
        flags += ["--data.corpus.root", str(request.getfixturevalue("corpus"))]
    if "libritts" in text:
        flags += ["--data.corpus.root", str(request.getfixturevalue("corpus_with_text"))]
    if "corpus/folder.yaml\n" in text:
        flags += ["--data.corpus.root", str(request.getfixturevalue("speech_folder"))]
    if "BuiltinSpeech" in text or "corpus/builtin.yaml" in text:  # whose preparing would take most of the time
        flags += ["--data.corpus.speakers", "['3001', '3002']"]
    if "initialize_from" in text:
        flags += ["--model.initialize_from", str(request.getfixturevalue("tiny_generator"))]
    if "vctk" in text:
        flags += ["--data.corpus.root", str(request.getfixturevalue("corpus_at_48_khz"))]
    if "wavlm" in text:
        flags += ["--data.encoder.checkpoint", str(request.getfixturevalue("wavlm"))]
    if "encodec" in text:
        flags += ["--data.shards", str(request.getfixturevalue("shards_of_codes"))]
        flags += ["--data.codec.checkpoint", str(request.getfixturevalue("encodec")["retnet" in text])]
    return flags


def fit(name: str, folder: Path, *flags: str) -> int:
    tiny = overlay(name, folder)
    return main(["fit", "-c", str(ROOT / "recipes" / f"{name}.yaml"), *tiny, *CPU, *flags])


GOES_ON = {  # from the run before
    "quickstart-tts": ["quickstart-tts-aligned", "quickstart-tts-medusa"],
    "valle_transformer": ["valle_medusa"],
}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in sum(GOES_ON.values(), [])])
def test_a_recipe_runs(name, paths, tmp_path, monkeypatch, capfd, request):
    monkeypatch.chdir(tmp_path)
    for callback in (Samples, SpokenSamples):  # one picture shows what five do
        monkeypatch.setattr(callback.__init__, "__defaults__", (1,))
    if name == "quickstart-tts":
        assert fit("quickstart-tts-vocoder", tmp_path, *paths) == 0, capfd.readouterr().err
    assert fit(name, tmp_path, *paths) == 0, capfd.readouterr().err
    check_run(name, tmp_path, request)
    for later in GOES_ON.get(name, []):
        assert fit(later, tmp_path, *paths) == 0, capfd.readouterr().err
        check_run(later, tmp_path, request)


def check_run(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """What a recipe leaves behind."""
    run = folder / "runs" / name
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2 and saved["vocolab"]["kind"] == (
        "vocoder" if task_of(name) == "VocoderTask" else "lm"
    )
    assert (run / "checkpoints" / "best.ckpt").is_file() and (run / "config.yaml").is_file()
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert {"step", "train/loss", MONITORS[task_of(name)]} <= set(header.split(",")) and rows
    if name == "hifigan_layers":  # its checkpoint is all that converting needs, the weights of the layers included
        assert len(saved["state_dict"]["vocoder.weights"]) == 2
        source, reference = sorted(request.getfixturevalue("corpus").rglob("*.opus"))[:2]
        convert = ["convert", str(source), "--ref", str(reference), "--checkpoint", str(run / "checkpoints/last.ckpt")]
        assert main([*convert, "-o", "out.wav"]) == 0
    if "Samples" in (ROOT / "recipes" / f"{name}.yaml").read_text():
        assert list((run / "samples").rglob("*.wav")) and list((run / "samples").rglob("*.png"))


def test_the_papers_experiment_from_speech_to_speech(corpus, wavlm, tmp_path, monkeypatch, capsys):
    """hifigan_prematch.yaml with overrides alone: prepare, fit, resume, convert."""
    monkeypatch.chdir(tmp_path)
    recipe = ["-c", str(ROOT / "recipes" / "hifigan_prematch.yaml"), *CPU]
    recipe += ["--data.corpus.root", str(corpus), "--data.encoder.checkpoint", str(wavlm), "--data.encoder.layer", "2"]
    recipe += ["--data.shards", "shards", "--data.workers", "0", "--data.batches.size", "2"]
    assert main(["prepare", *recipe, "--workers", "2"]) == 0
    manifest = json.loads(Path("shards/manifest.json").read_text())
    assert {split: held["samples"] for split, held in manifest["splits"].items()} == {"train": 6, "val": 2}

    members = ["--model.discriminator", "MultiPeriodDiscriminator", "--model.discriminator.channels", "[4, 4]"]
    training = [*members, "--model.vocoder.channels", "32", "--trainer.default_root_dir", "run"]
    training += ["--trainer.val_check_interval", "2", "--checkpoint.every_n_train_steps", "1"]
    assert main(["fit", *recipe, *training, "--trainer.max_steps", "2"]) == 0
    assert main(["fit", *recipe, *training, "--trainer.max_steps", "3", "--ckpt_path", "last"]) == 0
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3

    speech = corpus / "LibriSpeech" / "train-clean-100"
    source = next((speech / "3001").rglob("*.opus"))
    command = ["convert", str(source), "--ref", str(speech / "3002"), "--checkpoint", "run/checkpoints/last.ckpt"]
    capsys.readouterr()
    assert main([*command, "-o", "out.wav"]) == 0, capsys.readouterr().err
    wav, rate = soundfile.read("out.wav")
    assert (
        rate == 16000
        and abs(len(wav) - soundfile.info(source).frames * 16000 / soundfile.info(source).samplerate) <= 800
    )
    assert capsys.readouterr().out == ""


def test_valle_recipes_differ_in_their_backbones_alone():
    configs = {name: load_recipe(ROOT / "recipes" / f"valle_{name}.yaml").config for name in BACKBONES}
    for name, config in configs.items():
        lm = config.model.init_args.lm
        assert lm.class_path == "vocolab.lm.Split"
        for part, cls in (("ar", "AR"), ("nar", "NAR")):
            backbone = lm.init_args[part].init_args.backbone
            assert lm.init_args[part].class_path == f"vocolab.lm.{cls}"
            assert backbone.class_path == f"vocolab.lm.backbones.{BACKBONES[name]}"
            assert (backbone.init_args.dim, backbone.init_args.heads, backbone.init_args.layers) == (1024, 16, 12)
            assert backbone.init_args.ffn == 4096
        assert config.data.codec.init_args.bandwidth == 6.0 and config.data.batches.init_args.prompt == "speaker"
        assert config.model.init_args.schedule.init_args.total == config.trainer.max_steps
    unified = load_recipe(ROOT / "recipes" / "valle_unified_llama.yaml").config
    assert unified.model.init_args.lm.class_path == "vocolab.lm.Unified"
    assert unified.data.codec == configs["llama"].data.codec


def test_what_goes_on_from_a_model_is_trained_on_its_data():
    pairs = [("quickstart-tts-aligned", "quickstart-tts"), ("quickstart-tts-medusa", "quickstart-tts-aligned")]
    for name, model in [*pairs, ("valle_medusa", "valle_transformer")]:
        ours, theirs = (load_recipe(ROOT / "recipes" / f"{recipe}.yaml").config for recipe in (name, model))
        assert str(ours.model.init_args.trained) == f"{theirs.trainer.default_root_dir}/checkpoints/last.ckpt"
        for config in (ours, theirs):  # decides how codes sound, not the codes
            config.data.codec.init_args.pop("vocoder", None)
        for part in ("corpus", "codec", "text"):
            assert ours.data[part] == theirs.data[part], (name, part)


SIZES = {  # dim, heads, layers, ffn
    "quarter": (256, 4, 12, 1024),
    "half": (512, 8, 12, 2048),
    "full": (1024, 16, 12, 4096),
    "double": (1024, 16, 24, 4096),
}
# Each size, and each backbone: a size is the same four arguments whichever takes them.
SIZED = [("llama", size) for size in SIZES] + [(name, "half") for name in (*BACKBONES, "unified_llama")]


@pytest.mark.parametrize(("name", "size"), sorted(set(SIZED)))
def test_sizes_fit_any_backbone(name, size):
    file = ROOT / "configs" / "size" / f"{size}.yaml"
    parts = ("",) if name == "unified_llama" else ("ar.", "nar.")
    flags = {f"model.lm.{part}backbone": file for part in parts}
    lm = load_recipe(ROOT / "recipes" / f"valle_{name}.yaml", flags).config.model.init_args.lm
    for part in parts:
        backbone = lm.init_args[part[:-1]].init_args.backbone if part else lm.init_args.backbone
        assert backbone.class_path.endswith("." + BACKBONES.get(name, "Llama"))  # only sizes change
        assert tuple(backbone.init_args[key] for key in ("dim", "heads", "layers", "ffn")) == SIZES[size]


def test_there_is_a_file_for_each_size():
    assert {file.stem for file in (ROOT / "configs" / "size").glob("*.yaml")} == set(SIZES)


def test_each_wish_is_one_line(tmp_path):
    """Memory, large batches, schedules, precision and optimizers, as the pages say them."""
    wishes = {
        "model.lm.ar.backbone.gradient_checkpointing": True,
        "trainer.accumulate_grad_batches": 16,
        "trainer.precision": "bf16-mixed",
        "model.schedule": {"class_path": "InverseSquareRoot", "init_args": {"warmup": 500}},
        "model.optimizer": {"class_path": "bitsandbytes.optim.AdamW8bit", "init_args": {"lr": 1e-4}},
    }
    if importlib.util.find_spec("bitsandbytes") is None:
        del wishes["model.optimizer"]
    recipe = ROOT / "recipes" / "valle_llama.yaml"
    config = load_recipe(recipe, wishes).config
    assert config.model.init_args.lm.init_args.ar.init_args.backbone.init_args.gradient_checkpointing is True
    assert config.trainer.accumulate_grad_batches == 16 and config.trainer.precision == "bf16-mixed"
    assert config.model.init_args.schedule.class_path == "vocolab.tasks.InverseSquareRoot"
    assert "AdamW" in config.model.init_args.optimizer.class_path
    cosine = load_recipe(recipe, {"model.schedule.warmup": 100}).config.model.init_args.schedule
    assert cosine.class_path == "vocolab.tasks.WarmupCosine" and cosine.init_args.warmup == 100


@pytest.mark.parametrize("name", ["quickstart-tts", "quickstart-tts-vocoder"])
def test_the_pairs_that_judge_the_small_model_are_in_no_training(name):
    """Voice 3001 + i says sentences 2i and 2i + 1 only when judged; its codec and vocoder never heard them either."""
    splits = load_recipe(ROOT / "recipes" / f"{name}.yaml").data.corpus.splits()
    judged = {f"{3001 + n // 2}-10-{n:04d}" for n in range(20)}
    assert judged == {u.key for u in splits["val"] if u.speaker.startswith("30")}
    train = {u.key for u in splits["train"] if u.speaker.startswith("30")}
    assert len(train) == 180 and not train & judged


def test_the_lines_of_the_page_parse(monkeypatch):
    """As a shell would hand them over: `docs/valle.md`, "One line each"."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "valle.md").read_text().split("## One line each")[1].split("\n## ")[0]
    lines = [
        line for cell in re.findall(r"^\| .* \| (.*) \|$", page, re.M) for line in re.findall(r"`(--[^`]+)`", cell)
    ]
    assert len(lines) >= 6
    for line in lines:
        if "bitsandbytes" in line and importlib.util.find_spec("bitsandbytes") is None:
            continue
        config = Recipe(["-c", "recipes/valle_retnet.yaml", *shlex.split(line)], "vocolab fit").config
        if line.startswith("--model.lm AR"):
            assert config.model.init_args.lm.class_path == "vocolab.lm.AR"


def test_the_ways_to_train_a_vocoder_parse(monkeypatch):
    """The first table of `docs/vocoders.md`: what each line names is what the recipe then has."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "vocoders.md").read_text().split("\n## ")[0]
    lines = re.findall(r"`(-c [^`]+)`", page)
    assert len(lines) >= 10
    for line in lines:
        task = Recipe(shlex.split(line), "vocolab fit").config.model.init_args
        for slot, file in re.findall(r"--model\.(vocoder|discriminator) (\S+)", line):
            wanted = yaml.safe_load((ROOT / file).read_text())
            assert task[slot].class_path.endswith("." + wanted["class_path"])
            assert {key: task[slot].init_args[key] for key in wanted["init_args"]} == wanted["init_args"], line


@pytest.mark.parametrize("name", ["retnet", "mixtral"])
def test_the_wishes_train_together(name, corpus_with_text, shards_of_codes, encodec, tmp_path, monkeypatch, capfd):
    pytest.importorskip("bitsandbytes")
    monkeypatch.chdir(tmp_path)
    flags = ["--data.corpus.root", str(corpus_with_text), "--data.shards", str(shards_of_codes)]
    flags += ["--data.codec.checkpoint", str(encodec[0])]
    flags += ["--model.lm.ar.backbone.gradient_checkpointing", "true"]
    flags += ["--model.lm.nar.backbone.gradient_checkpointing", "true", "--trainer.accumulate_grad_batches", "3"]
    flags += ["--trainer.precision", "bf16-mixed"]
    flags += ["--model.schedule", '{"class_path": "InverseSquareRoot", "init_args": {"warmup": 2}}']
    flags += ["--model.optimizer", '{"class_path": "bitsandbytes.optim.AdamW8bit", "init_args": {"lr": 1.0e-3}}']
    assert fit(f"valle_{name}", tmp_path, *flags) == 0, capfd.readouterr().err
    saved = torch.load(tmp_path / "runs" / f"valle_{name}" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2 and all(value.isfinite().all() for value in saved["state_dict"].values())


def stub_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.strategies.deepspeed as strategies

    module = types.ModuleType("deepspeed")
    module.__version__ = "0.19.8"
    module.utils = types.SimpleNamespace(logging=types.SimpleNamespace(logger=logging.getLogger("deepspeed")))
    module.__spec__ = importlib.machinery.ModuleSpec("deepspeed", None)
    monkeypatch.setitem(sys.modules, "deepspeed", module)
    monkeypatch.setattr(strategies, "_DEEPSPEED_AVAILABLE", True)
    monkeypatch.setattr(strategies, "_DEEPSPEED_GREATER_EQUAL_0_16", True)


def test_a_deepspeed_configuration_passes_through_whole(tmp_path, monkeypatch):
    pruning = {
        "sparse_pruning": {
            "shared_parameters": {"enabled": True, "schedule_offset": 30, "method": "l1"},
            "different_groups": {"sp1": {"params": {"dense_ratio": 0.5}, "modules": ["attention.self"]}},
        }
    }
    more = {
        "trainer": {
            "strategy": {"init_args": {"config": {"compression_training": pruning, "zero_optimization": {"stage": 1}}}}
        }
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    arguments = ["-c", str(ROOT / "recipes" / "valle_llama.yaml")]
    arguments += ["--trainer", str(ROOT / "configs" / "trainer" / "deepspeed.yaml"), "-c", str(tmp_path / "more.yaml")]
    config = Recipe(arguments).config.trainer
    assert (config.accelerator, config.devices, config.precision) == ("gpu", -1, "bf16-mixed")
    assert config.strategy.class_path == "lightning.pytorch.strategies.DeepSpeedStrategy"
    given = config.strategy.init_args.config
    assert given["compression_training"] == pruning and given["zero_optimization"]["stage"] == 1
    assert config.max_steps == 400000 and config.accumulate_grad_batches == 6  # the recipe's own stay

    stub_deepspeed(monkeypatch)
    from lightning.pytorch.strategies import DeepSpeedStrategy

    strategy = DeepSpeedStrategy(config=given)
    assert strategy.config["compression_training"] == pruning and strategy.handles_gradient_accumulation


@pytest.mark.parametrize("name", ["gpu", "ddp"])
def test_on_gpus_cudnn_times_its_algorithms(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    arguments = ["-c", str(ROOT / "recipes" / "quickstart.yaml")]
    arguments += ["--trainer", str(ROOT / "configs" / "trainer" / f"{name}.yaml")]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]  # as far as this machine can follow
    assert Recipe(arguments).trainer.precision == "bf16-mixed"
    assert torch.backends.cudnn.benchmark


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_deepspeed_where_it_cannot_run(tmp_path, monkeypatch, capsys, encodec):
    """One line each: without the package, without a GPU (of a GAN: tests/recipe/test_strategies.py)."""
    monkeypatch.chdir(tmp_path)
    speech = ["fit", "-c", str(ROOT / "recipes" / "valle_llama.yaml"), "--data.codec.checkpoint", str(encodec[0])]
    speech += overlay("valle_llama", tmp_path)
    deepspeed = ["--trainer", str(ROOT / "configs" / "trainer" / "deepspeed.yaml")]
    if importlib.util.find_spec("deepspeed") is None:
        assert main([*speech, *deepspeed]) == 2
        remedy = "trainer.strategy: pip install 'vocolab[deepspeed]'"
        assert last_line(capsys) == f"vocolab: error: the package deepspeed is missing: {remedy}"
    stub_deepspeed(monkeypatch)
    assert main([*speech, *deepspeed, "--trainer.accelerator", "cpu", "--trainer.devices", "1"]) == 2
    line = last_line(capsys)
    assert line.startswith("vocolab: error: ") and "deepspeed" in line.lower() and ": trainer: " in line


def test_a_missing_optimizer_names_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    flags = ["--model.optimizer", '{"class_path": "bitsandbytes.optim.AdamW8bit", "init_args": {"lr": 1.0e-3}}']
    assert main(["fit", "-c", str(ROOT / "recipes" / "valle_llama.yaml"), *flags]) == 2
    line = last_line(capsys)
    where = "model.optimizer needs the package bitsandbytes: command line"
    assert line == f"vocolab: error: {where}: pip install 'vocolab[8bit]'"


def test_one_network_shares_no_code_with_another_family():
    """No function of `vocolab.lm` is written again in `vocolab.vocoders`, and there is one data module."""

    def functions(folder: str) -> dict[str, str]:
        found = {}
        for path in (ROOT / "src" / "vocolab" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and len(ast.dump(ast.Module(node.body, []))) > 600:
                    found[ast.dump(ast.Module(node.body, []))] = f"{path.name}:{node.name}"
        return found

    lm, vocoders = functions("lm"), functions("vocoders")
    assert len(lm) > 30 and len(vocoders) > 20
    assert not [(lm[body], vocoders[body]) for body in lm.keys() & vocoders.keys()]
    modules = [p for p in (ROOT / "src").rglob("*.py") if "(LightningDataModule)" in p.read_text()]
    assert [p.name for p in modules] == ["module.py"]
