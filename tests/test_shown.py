"""The commands that pages show in ```sh blocks do their work, with small untrained models in place of those they name.

Those that train or prepare are not run here: `test_docs.py` composes their recipes, `test_recipes.py` trains with each.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.test_convert import checkpoint  # a fixture
from tests.test_docs import PAGES, ROOT, lay_out, lay_out_models
from vocolab import audio
from vocolab.cli import main

__all__ = ["checkpoint"]
WORKING = ("convert", "evaluate", "export", "plot", "recipes", "synthesize")
# Commands whose files are not at hand in small: the converter's own training, draft heads, official weights.
ELSEWHERE = ("runs/converter/", "medusa", "WavLM-Large.pt")
SLOW = {"onnx", "nearest_voice"}  # seconds of writing graphs, of recognising words and voices
RECIPE = """
data: {{corpus: {{class_path: Folder, init_args: {{root: {root}, val: 0.25}}}}}}
model: {{class_path: VocoderTask, init_args: {{vocoder: {{class_path: Vocos}}}}}}
trainer: {{max_steps: 1}}
"""
SENTENCE = "The old lighthouse keeper counted seven ships."


def commands() -> dict[str, list[str]]:
    """Each command once, by the page where it stands first; what it is piped into is left out."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                words = words[: words.index("|")] if "|" in words else words
                ours = words[:1] == ["vocolab"] and words[1] in WORKING
                if ours and words not in found.values() and not any(name in line for name in ELSEWHERE):
                    found[f"{page.name}: {' '.join(words)}"] = words
    return found


SHOWN = commands()


@pytest.fixture(scope="module")
def place(checkpoint, builtin_corpus, tmp_path_factory) -> Path:
    """A working directory with all files that the commands name."""
    place: Path = tmp_path_factory.mktemp("shown")
    lay_out(place, builtin_corpus)
    lay_out_models(place)
    (place / "model.safetensors").rename(place / "kept.safetensors")
    shutil.rmtree(place / "my-model")
    for run, file in (("quickstart", checkpoint), ("quickstart-tts-aligned", place / "last.ckpt")):
        folder = place / "runs" / run / "checkpoints"
        folder.mkdir(parents=True)
        shutil.copy(file, folder / "last.ckpt")
    for run in ("valle_retnet", "valle_llama"):
        (place / "runs" / run).mkdir()
        table = "step,train/loss,train/acc_level_0,tokens_processed\n1,3.0,0.1,100\n2,2.5,0.2,200\n"
        (place / "runs" / run / "metrics.csv").write_text(table)
    recipe = RECIPE.format(root=place / "home" / "recordings")
    for file in ("runs/quickstart-tts/config.yaml", "recipes/quickstart.yaml"):
        (place / file).parent.mkdir()
        (place / file).write_text(recipe)
    (place / "benchmarks").mkdir()
    line = f"a|{SENTENCE}|../voice.wav|{SENTENCE}|../speech.wav\n"
    (place / "benchmarks" / "quickstart_tts.lst").write_text(line)
    for name in ("sentences", "book", "letter"):
        (place / f"{name}.txt").write_text(f"{SENTENCE}\n\n{SENTENCE}\n")
    (place / "src").symlink_to(ROOT / "src")
    speech, rate = audio.read(builtin_corpus / "synth/3001/10/3001-10-0000.opus")
    for name in ("one", "two"):
        for folder in ("generated", "recorded", "system_b"):
            audio.write(place / folder / f"{name}.wav", speech, rate)
    (place / "pairs.tsv").write_text(f"generated/one.wav\trecorded/one.wav\t{SENTENCE}\n")
    read = place / "LibriSpeech" / "test-clean" / "3001" / "10"
    for number in range(2):
        audio.write(read / f"3001-10-000{number}.flac", speech, rate)
    (read / "3001-10.trans.txt").write_text("3001-10-0000 THE OLD LIGHTHOUSE KEEPER\n3001-10-0001 A NARROW PATH\n")
    audio.write(place / "seedtts" / "en" / "prompt.wav", speech, rate)
    (place / "seedtts" / "en" / "meta.lst").write_text(f"a|{SENTENCE}|prompt.wav|{SENTENCE}\n")
    home = place / "home"
    for voice in ("anna", "bert"):
        for number in range(2):
            audio.write(home / "recordings" / voice / f"{voice}{number}.wav", speech[: 32000 + 8000 * number], rate)
    return place


def quick(words: list[str]) -> list[str]:
    """The command with a model at CKPT, and where it measures, with figures that need no package."""
    words = ["kept.safetensors" if word in ("CKPT", "model.safetensors") else word for word in words]
    if words[1] != "evaluate" or "--metrics" in words:
        return words
    return [*words, "--metrics", "mel_l1", "stopped", "duration_ratio", "rtf"]


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, marks=[pytest.mark.slow] if SLOW & set(words) else []) for words in SHOWN.values()],
    ids=SHOWN.keys(),
)
def test_it_does_its_work(words, place, capfdbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place / "home"))
    words, output = quick(words), None
    if "-o" in words and words[-1] != "-":
        at = words.index("-o") + 1
        output = words[at] = str(tmp_path / words[at])
    if "--against" in words:
        before = ["evaluate", "--generated", "generated", "--reference", "recorded", "-o", "results_a"]
        assert main([*before, "--metrics", "mel_l1"]) == 0
    if "--figures" in words:
        (place / "results.json").write_text(
            json.dumps({"metrics": {"stoi": {"value": 0.9, "low": 0.8, "high": 1, "unit": "", "better": "up", "n": 3}}})
        )
    if "copy" in words:
        monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    said = capfdbinary.readouterr()
    assert b"Traceback" not in said.err
    if words[-1] == "-":
        assert said.out.startswith(b"RIFF") and len(said.out) > 1000
    elif output:
        assert Path(output).exists()
    elif "copy" in words:
        assert any(tmp_path.rglob("*.ipynb"))
