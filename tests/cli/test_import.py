"""Parts from outside the package, through the real command line."""

# ruff: noqa: E501 (a complaint is one line)

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import torch

import vocolab.recipe  # noqa: F401  (Lightning's log handler keeps the standard error it was imported under)
from tests.data.speech import librispeech
from tests.pipelines import tiny
from tests.tasks.codes import codes_recipe
from vocolab import KNNVC, TTS, VocolabError, cli, imports, load_recipe
from vocolab.checkpoints import read_checkpoint
from vocolab.cli import main
from vocolab.parts import describe

BACKBONE = """\
from vocolab.lm.backbones import Transformer


class Mine(Transformer):
    def __init__(self, dim: int = 16, heads: int = 2, layers: int = 1, dropout: float = 0.0):
        super().__init__(dim, heads, layers, dropout=dropout)
"""
VOCODER = """\
from torch import nn

from vocolab.vocoders import Vocoder


class Linear(Vocoder):
    def __init__(self, in_channels: int = 80, hop: int = 320, sample_rate: int = 16000):
        super().__init__()
        self.in_channels, self.hop, self.sample_rate, self.context = in_channels, hop, sample_rate, 0
        self.layer = nn.Linear(in_channels, hop)

    def forward(self, feats):
        return self.layer(feats).flatten(1).tanh()
"""
MODULES = {"mybackbone": BACKBONE, "myvocoder": VOCODER}
REFERENCE = str(tiny.OTHER[0])


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Call it to be where a new process is: none of one's own modules is imported, and none is trusted."""
    path, trusted = list(sys.path), set(imports._trusted)

    def forget() -> None:
        sys.path[:] = path
        imports._trusted.intersection_update(trusted)
        imports.load_entry_points.cache_clear()
        for name in [n for n in sys.modules if imports.package_of(n) in (*MODULES, "installedparts", "broken")]:
            del sys.modules[name]

    forget()
    yield forget
    forget()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return librispeech(tmp_path_factory.mktemp("own") / "corpus", speakers=2, each=3)


@pytest.fixture
def place(work: Path, fresh: Callable[[], None]) -> Path:
    """A working directory with two modules of parts."""
    for name, text in MODULES.items():
        (work / f"{name}.py").write_text(text)
    return work


def line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def own_recipe(speech: Path) -> Path:
    text = codes_recipe(speech, speech.parent / "shards")
    assert "class_path: Transformer" in text
    path = Path("own.yaml")
    path.write_text(text.replace("class_path: Transformer", "class_path: mybackbone.Mine"))
    return path


def test_a_backbone_of_ones_own_is_trained_resumed_exported_and_spoken(place, speech, fresh, capsys):
    torch.manual_seed(0)
    vocoder = tiny.vocoder()
    card = {"format": 1, "kind": "vocoder", "vocoder": describe(vocoder), "encoder": None, "matching": {}}
    state = {f"vocoder.{name}": value for name, value in vocoder.state_dict().items()}
    torch.save({"state_dict": state, "vocolab": card | {"sample_rate": 16000, "hop": 320}}, "vocoder.ckpt")
    recipe = own_recipe(speech)
    recipe.write_text(recipe.read_text().replace("iterations: 2}", "iterations: 2, vocoder: vocoder.ckpt}"))

    flags = ["--trainer.max_steps", "2", "--trainer.default_root_dir", "run"]
    assert main(["fit", "-c", "own.yaml", "--import", "mybackbone", *flags]) == 0, line(capsys)
    checkpoint = "run/checkpoints/last.ckpt"
    assert read_checkpoint(checkpoint)["vocolab"]["imports"] == ["mybackbone"]

    fresh()  # the run's own recipe says what to import, wherever it is read from
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        run = ["--trainer.default_root_dir", str(place / "run"), "--data.codec.vocoder", str(place / "vocoder.ckpt")]
        resumed = ["fit", "-c", "../run/config.yaml", "--ckpt_path", "last", "--trainer.max_steps", "3", *run]
        assert main(resumed) == 0, line(capsys)
    assert read_checkpoint(checkpoint)["global_step"] == 3

    fresh()
    say = ["synthesize", "ab", "--ref", REFERENCE, "--device", "cpu", "--max-ar-steps", "5", "--checkpoint"]
    assert main([*say, checkpoint, "-o", "a.wav"]) == 1
    expected = (
        "it has parts of mybackbone: run/checkpoints/last.ckpt: if you trust this module, give --import mybackbone"
    )
    assert line(capsys) == f"vocolab: error: {expected} (in Python imports=['mybackbone'])"
    assert main(["export", checkpoint, "-o", "own.safetensors"]) == 1
    assert "--import mybackbone" in line(capsys)
    assert "mybackbone" not in sys.modules

    assert main([*say, checkpoint, "-o", "a.wav", "--import", "mybackbone"]) == 0, line(capsys)
    assert main(["export", checkpoint, "-o", "own.safetensors", "--import", "mybackbone.py"]) == 0
    fresh()
    assert main([*say, "own.safetensors", "-o", "b.wav"]) == 1 and "--import mybackbone" in line(capsys)
    done = subprocess.run(
        [sys.executable, "-m", "vocolab", *say, "own.safetensors", "-o", "b.wav", "--import=./mybackbone.py"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() and soundfile.info("a.wav").frames > 0
    tts = TTS.from_checkpoint("own.safetensors", imports=["mybackbone"])
    assert type(tts.lm.ar.backbone).__module__ == "mybackbone"


def test_a_vocoder_of_ones_own_is_trained_and_converts(place, recipe, fresh, capsys):
    recipe.write_text("import: myvocoder\n" + recipe.read_text())
    flags = ["--model.vocoder", "{class_path: Linear}", "--trainer.max_steps", "2"]
    assert main(["fit", "-c", "tiny.yaml", *flags]) == 0, line(capsys)
    assert read_checkpoint("runs/tiny/checkpoints/last.ckpt")["vocolab"]["imports"] == ["myvocoder"]

    fresh()
    convert = ["convert", REFERENCE, "--ref", REFERENCE, "--device", "cpu", "-o", "out.wav"]
    convert += ["--checkpoint", "runs/tiny/checkpoints/last.ckpt"]
    assert main(convert) == 1 and "give --import myvocoder " in line(capsys)
    with pytest.raises(VocolabError, match="--import myvocoder"):
        KNNVC.from_checkpoint("runs/tiny/checkpoints/last.ckpt")
    assert main([*convert, "--import", "myvocoder"]) == 0, line(capsys)
    assert soundfile.info("out.wav").frames > 0
    fresh()
    vc = KNNVC.from_checkpoint("runs/tiny/checkpoints/last.ckpt", imports=["myvocoder"])
    assert type(vc.vocoder).__module__ == "myvocoder"


def test_a_recipe_finds_the_modules_beside_it(place, recipe, fresh, monkeypatch):
    recipe.write_text("import:\n  - myvocoder\n  - parts/mybackbone.py\n" + recipe.read_text())
    (place / "parts").mkdir()
    (place / "mybackbone.py").rename(place / "parts" / "mybackbone.py")
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    found = load_recipe("../tiny.yaml", {"model.vocoder": "{class_path: Linear}"})
    assert type(found.model.vocoder).__name__ == "Linear"
    # As a run's config.yaml states them, they are found from anywhere.
    assert found.config["import"] == [str(place / "myvocoder.py"), str(place / "parts" / "mybackbone.py")]
    fresh()
    monkeypatch.chdir(place)
    recipe.write_text(recipe.read_text().partition("parts/mybackbone.py\n")[2])
    found = load_recipe("tiny.yaml", {"model.vocoder": "myvocoder.Linear"}, imports=["myvocoder"])
    assert type(found.model.vocoder).__module__ == "myvocoder"
    assert load_recipe("tiny.yaml").config["import"] is None


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_takes_it_and_imports_nothing_for_help(name, place, capsys):
    (place / "loud.py").write_text("raise RuntimeError('imported')")
    assert main([name, "--import", "loud", "--help"]) == 0
    assert "--import MODULE" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.TRAINER)
def test_the_commands_of_the_trainer_take_it_too(name, place, capsys):
    assert main([name, "--import", "lost", "-c", "x.yaml"]) == 2
    assert "x.yaml" in line(capsys)  # which is looked for first
    Path("x.yaml").write_text("trainer: {}\n")
    assert main([name, "--import", "lost", "-c", "x.yaml"]) == 2
    assert line(capsys).startswith("vocolab: error: no module 'lost': --import: it is neither in ")


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("raise RuntimeError('half a\\npart')", "wrong", "the module wrong does not import (RuntimeError: half a part): --import: "),
        ("import nowhere", "wrong.py", "the module wrong does not import (ModuleNotFoundError: No module named 'nowhere')"),
        ("raise SystemExit(3)", "./wrong.py", "the module wrong does not import (SystemExit: 3)"),
        ("def (", "wrong", "the module wrong does not import (SyntaxError: "),
        ("", "wrong.lost", "no module 'wrong.lost'"),
        ("", "lost/wrong.py", "no module 'wrong': --import: it is neither in "),
    ],
)  # fmt: skip
def test_a_module_that_does_not_import_is_one_line(text, name, words, place, capsys):
    sys.modules.pop("wrong", None)
    (place / "wrong.py").write_text(text)
    assert main(["plot", "--import", name, "run", "-o", "a.png"]) == 2
    said = line(capsys)
    assert said.startswith("vocolab: error: ") and words in said
    sys.modules.pop("wrong", None)


def test_a_file_by_the_name_of_another_module_is_refused(place, capsys):
    (place / "yaml.py").write_text("")
    for name in ("yaml", "yaml.py"):
        assert main(["plot", "--import", name, "run", "-o", "a.png"]) == 2
        assert "Python imports another module by the name yaml" in (said := line(capsys)) and "rename" in said


def install(folder: Path, package: str, module: str, text: str) -> None:
    """What pip leaves of a package with parts."""
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vocolab.parts]\n{module} = {module}\n")


def test_installed_packages_offer_parts(work, recipe, fresh, monkeypatch, capsys):
    site = work / "site"
    site.mkdir()
    install(site, "installed-parts", "installedparts", VOCODER.replace("Linear(V", "Installed(V"))
    install(site, "broken-parts", "broken", "raise ImportError('too\\nold')")
    monkeypatch.syspath_prepend(site)
    flags = ["--model.vocoder", "{class_path: Installed}", "--trainer.max_steps", "1"]
    assert main(["fit", "-c", "tiny.yaml", *flags]) == 0, line(capsys)
    report = "vocolab: parts of the package broken-parts are left out: broken: ImportError: too old"
    assert capsys.readouterr().err.splitlines().count(report) == 1

    for name in ("installedparts", "broken"):
        sys.modules.pop(name, None)
    imports.load_entry_points.cache_clear()
    convert = ["convert", REFERENCE, "--ref", REFERENCE, "--device", "cpu", "-o", "out.wav"]
    assert main([*convert, "--checkpoint", "runs/tiny/checkpoints/last.ckpt"]) == 0, line(capsys)

    content = torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)
    content["vocolab"]["vocoder"]["class_path"] = "broken.Linear"
    torch.save(content, "broken.ckpt")
    assert main([*convert, "--overwrite", "--checkpoint", "broken.ckpt"]) == 1
    assert line(capsys).startswith(
        "vocolab: error: the package broken-parts does not import: ImportError: too old: broken.ckpt"
    )
