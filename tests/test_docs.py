"""The README and the pages: their commands are taken, their Python runs, errors are as shown, links lead somewhere."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch

from tests.pipelines import tiny
from tests.test_named import PACKAGE, strings
from vocolab import KNNVC, TTS, audio
from vocolab.checkpoints import export_hifigan
from vocolab.cli import COMMANDS, TRAINER, main
from vocolab.export import export_safetensors, save_pretrained
from vocolab.vocoders import HiFiGAN

ROOT = Path(__file__).parents[1]
# Pages whose Python a test runs, each with the name of the speech, or the file, that it ends in.
PYTHON = {
    "README.md": "wav",
    "convert.md": "live.wav",
    "export.md": "copy/config.json",
    "from-hifi-gan.md": "spoken",
    "knn-vc.md": "wav",
    "synthesize.md": "wav",
}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"`((?:vocolab|make) [^`]+)`", text)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[: words.index("|")] if "|" in words else words  # up to what the command is piped into
            if words and not any(word in ("RECIPE", "RUN", "SRC…", "…") for word in words):
                found.append((f"{page.name}: {line}", words))
    return found


SHOWN = commands()


def test_there_are_commands():
    assert {words[1] for _, words in SHOWN if words[0] == "vocolab"} >= {"fit", "prepare", "convert"}


@pytest.mark.parametrize("words", [words for _, words in SHOWN], ids=[name for name, _ in SHOWN])
def test_a_shown_command_is_taken(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if words[0] == "make":
        assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.M)
    elif words[0] == "vocolab" and words[1].startswith("--"):
        assert main(words[1:]) == 0
    elif words[0] == "vocolab" and words[1] in (*TRAINER, "prepare"):
        from vocolab.recipe import Recipe

        if "mine.yaml" in " ".join(words):  # the reader's own
            return
        arguments = [w for i, w in enumerate(words[2:], 2) if w != "--workers" and words[i - 1] != "--workers"]
        assert Recipe(arguments).config.trainer.max_steps > 0
    elif words[0] == "vocolab" and (words[1].startswith("-") or words[-1] == "--help"):
        assert main(words[1:]) == 0
    elif words[0] == "vocolab" and len(words) == 2:  # its name alone
        assert words[1] in COMMANDS
    elif words[0] == "vocolab":
        parser = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[words[1]][0]).add_arguments(parser)
        parser.parse_args(words[2:])


def lay_out(place: Path, corpus: Path) -> None:
    """The files that the pages speak of, as a working directory."""
    speech, rate = audio.read(corpus / "synth/3001/10/3001-10-0000.opus")
    voice, _ = audio.read(corpus / "synth/3002/10/3002-10-0001.opus")
    files = {name: speech[:32000] for name in ("speech", "source", "converted", "recordings/a")}
    files |= {name: voice[:48000] for name in ("voice", "ref1", "ref2", "target/one", "target/two", "voice/one")}
    for name, wav in (files | {"voice/two": voice, "hours/of/speech": voice, "short": voice[20000:20200]}).items():
        audio.write(place / f"{name}.{'flac' if name.startswith('hours') else 'wav'}", wav, rate)
    (place / "notes.txt").write_text("not a model")
    (place / "broken.wav").write_bytes(b"RIFF and no more")
    (place / "empty").mkdir()


def lay_out_models(place: Path) -> None:
    """Models that were not trained: text to speech in two layouts, and an official vocoder."""
    sizes = {"upsample_rates": [8, 8, 2, 2], "upsample_kernels": [16, 16, 4, 4], "sample_rate": 22050, "hop": 256}
    export_hifigan(HiFiGAN(80, projection=None, channels=16, **sizes), place / "g_02500000")
    short = {"max_ar_steps": 30}  # frames; it never learned to stop
    tiny.write(place / "last.ckpt", tiny.language_model(), tiny.codec(), sampling=short)
    export_safetensors(place / "last.ckpt", place / "model.safetensors")
    save_pretrained(place / "last.ckpt", place / "my-model")


@pytest.fixture
def workplace(tmp_path, monkeypatch, builtin_corpus) -> Path:
    lay_out(tmp_path, builtin_corpus)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def models(workplace) -> None:
    lay_out_models(workplace)


class Player:
    """What the pages call `player`."""

    def __init__(self) -> None:
        self.heard: list = []

    def write(self, samples) -> None:
        self.heard.append(samples)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in PYTHON], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, workplace, models, monkeypatch):
    """Its blocks one after the other, as a reader would type them. `tts` is known where a block begins in the middle;
    torch.hub's knn_vc, whose weights are not at hand, is the converter in the package, and nothing is uploaded.
    """
    monkeypatch.setattr(torch.hub, "load", lambda *args, **more: KNNVC.pretrained())
    monkeypatch.setattr(TTS, "push_to_hub", lambda self, name, private: None)
    names: dict = {"player": Player()}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        if "tts" in block and "TTS" not in block:
            exec('from vocolab import TTS\ntts = TTS.from_checkpoint("model.safetensors")', names)
        exec(block, names)
    last = PYTHON[page.name]
    speech = names.get(last)
    assert (workplace / last).is_file() if "." in last else speech.numel() > 1000 and speech.isfinite().all()


def test_every_page_with_python_is_run():
    """CONTRIBUTING.md is by test_contributing.py, onnx.md by tests/export/test_onnx.py."""
    assert {page.name for page in PAGES if "```python" in page.read_text()} == {*PYTHON, "CONTRIBUTING.md", "onnx.md"}


def mistakes() -> list[tuple[str, str]]:
    """The commands of ```console blocks, each with the line it ends in."""
    blocks = "".join(block for page in PAGES for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.S))
    return [(shown[0], shown[-1]) for shown in (part.splitlines() for part in blocks.split("$ ")[1:])]


@pytest.mark.parametrize("command, line", mistakes(), ids=lambda text: text[:60])
def test_a_shown_error_is_what_is_said(command, line, workplace, capsys):
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    assert main(shlex.split(command)[1:]) in (1, 2)
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before


def test_an_error_that_no_test_can_cause_has_the_words_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    said = " ".join(text for file in PACKAGE.rglob("*.py") for text in strings(file))
    lines = re.findall(r"^vocolab: error: (.*)$", "".join(re.findall(r"```text\n(.*?)```", page, re.S)), re.M)
    parts = [part for line in lines for part in re.split(r"…|: ", line) if len(part) > 8]
    assert len(lines) > 5 and [part for part in parts if part.strip(",' ") not in said] == []


SETTINGS = [
    (page.name, block) for page in PAGES[2:] for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
]


@pytest.mark.parametrize("page, block", SETTINGS, ids=[page for page, _ in SETTINGS])
def test_shown_settings_are_taken_over_a_recipe(page, block, tmp_path, monkeypatch):
    from vocolab.recipe import Recipe

    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text(block)
    recipe = Recipe(["-c", "recipes/quickstart.yaml", "-c", str(tmp_path / "mine.yaml")])
    shown = re.findall(r"\b[A-Z]\w+", block)  # classes
    assert shown and all(f".{name}'" in str(recipe.config) for name in shown)


def test_the_readme_names_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = re.search(r"\| extra \| for \|\n(.*?)\n\n", PAGES[0].read_text(), re.S)[1]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(extras) - {"dev", "bench"}  # `make` brings these


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    found = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target, heading in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        file = page.parent / target if target else page
        assert target.startswith("http") or file.exists(), target
        assert not heading or target.startswith("http") or heading in headings(file), f"{target}#{heading}"


def test_the_page_on_architecture_names_what_is_there():
    page, source = (ROOT / "docs/architecture.md").read_text(), ROOT / "src" / "vocolab"
    named = set(re.findall(r"\b([\w/]+\.py)\b", page))
    assert [name for name in named if not ((source / name).exists() or (ROOT / name).exists())] == []
    folders = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    assert len(folders) > 10 and [name for name in folders if not re.search(rf"\b{name}\b", page)] == []
