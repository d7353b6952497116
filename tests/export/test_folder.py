"""Folders in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.pipelines import tiny
from tests.test_checkpoints import own_checkpoint, wavlm_generator
from vocolab import KNNVC, TTS
from vocolab.checkpoints import load_lm, load_vocoder
from vocolab.errors import VocolabError
from vocolab.export import push_to_hub, save_pretrained
from vocolab.vocoders import HiFiGAN

SHORT = {"max_ar_steps": 20}
FILES = ["README.md", "config.json", "model.safetensors"]
RESULTS = {"stoi": {"value": 0.81234, "low": 0.79, "high": 0.83, "n": 50, "unit": "", "better": "up"}}


def head(folder: Path) -> dict:
    """What the hub reads of the model card."""
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def saved(lm_checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "model"
    save_pretrained(lm_checkpoint, folder)
    return folder


def test_what_a_folder_holds(saved, lm_checkpoint):
    assert sorted(path.name for path in saved.iterdir()) == FILES
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1  # who may read one may read all
    assert json.loads((saved / "config.json").read_text())["symbols"] == tiny.SYMBOLS
    state, ours = load_file(saved / "model.safetensors"), load_lm(lm_checkpoint).lm.state_dict()
    assert all(torch.equal(state[f"lm.{name}"], value) for name, value in ours.items())


def test_it_speaks_the_same_and_saves_itself_again(saved, lm_checkpoint, tmp_path):
    before, after = TTS.from_checkpoint(lm_checkpoint), TTS.from_pretrained(saved)
    wav = before("hello", ref=tiny.OTHER[0], **SHORT)
    assert torch.equal(after("hello", ref=tiny.OTHER[0], **SHORT), wav)
    after.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_a_change_of_the_weights_is_saved(saved, tmp_path):
    tts = TTS.from_pretrained(saved)
    with torch.no_grad():
        tts.lm.ar.sep += 1
    tts.save_pretrained(tmp_path / "changed")
    assert torch.equal(load_file(tmp_path / "changed" / "model.safetensors")["lm.ar.sep"], tts.lm.ar.sep)


def test_the_configuration_is_what_is_read(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    card = json.loads((folder / "config.json").read_text()) | {"prompt_seconds": 1.5}
    (folder / "config.json").write_text(json.dumps(card))
    assert TTS.from_pretrained(folder).prompt_seconds == 1.5
    shutil.copy(folder / "model.safetensors", tmp_path / "alone.safetensors")
    assert TTS.from_checkpoint(tmp_path / "alone.safetensors").prompt_seconds == 2.0
    (folder / "config.json").write_text("{")
    with pytest.raises(VocolabError, match="unreadable configuration"):
        TTS.from_pretrained(folder)


def test_a_vocoder_with_its_norms_folded(tmp_path):
    """The pipeline folds them, and training goes on from the folder all the same."""
    vocoder = wavlm_generator().eval()
    path = own_checkpoint(tmp_path / "last.ckpt", vocoder)
    KNNVC.from_checkpoint(path, topk=2).save_pretrained(tmp_path / "model")
    loaded = load_vocoder(tmp_path / "model")
    assert loaded.meta["matching"] == {"topk": 2, "matching_layer": 6, "synthesis_layer": 6}
    assert loaded.vocoder.state_dict().keys() == vocoder.state_dict().keys()
    feats = torch.randn(1, 5, vocoder.in_channels)
    with torch.no_grad():
        assert torch.allclose(loaded.vocoder(feats), vocoder(feats), atol=1e-6)


def test_an_official_vocoder_that_was_folded(tmp_path):
    vocoder = wavlm_generator().eval()
    feats = torch.randn(1, 5, vocoder.in_channels)
    torch.save({"generator": vocoder.fold().state_dict()}, tmp_path / "g_1.pt")
    save_pretrained(tmp_path / "g_1.pt", tmp_path / "model")
    loaded = load_vocoder(tmp_path / "model").vocoder
    assert isinstance(loaded, HiFiGAN)
    with torch.no_grad():
        assert torch.allclose(loaded(feats), vocoder(feats), atol=1e-6)


def test_the_model_card(lm_checkpoint, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"metrics": RESULTS}))
    save_pretrained(lm_checkpoint, tmp_path / "m", tmp_path / "results.json", licence="CC-BY-4.0", name="me/small")
    found, text = head(tmp_path / "m"), (tmp_path / "m" / "README.md").read_text()
    assert (found["library_name"], found["pipeline_tag"]) == ("vocolab", "text-to-speech")
    assert (found["license"], found["language"]) == ("cc-by-4.0", ["en"])
    assert "| stoi | 0.8123 | 0.79 to 0.83 | 50 | up |" in text
    assert 'TTS.from_pretrained("me/small")' in text and "These weights: under CC-BY-4.0" in text
    assert "Transformer" in text and "3 levels of 16, 25 frames a second, 16,000 Hz" in text


def test_figures_of_a_run(lm_checkpoint, tmp_path):
    """Of each, the last that was measured."""
    lines = ["step,train/loss,val/loss,val/acc", "9,3.0,2.5,", "19,,,0.5", "29,2.0,1.25,nan", "39,1.0,,"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    save_pretrained(lm_checkpoint, tmp_path / "m", tmp_path)
    text = (tmp_path / "m" / "README.md").read_text()
    assert "| val/acc | 0.5 |\n| val/loss | 1.25 |" in text and "after 30 updates" in text and "train/loss" not in text


def test_the_licence_of_encodec(tmp_path):
    """Its weights are not in the folder, and the card says what they may not be used for."""
    codec = tiny.encodec(tmp_path / "encodec")
    path = tiny.write(tmp_path / "last.ckpt", tiny.language_model(levels=2), codec)
    save_pretrained(path, tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    assert "EnCodec, without which the model does not speak: CC-BY-NC-4.0, not for commercial use" in text
    assert "These weights: not stated" in text and "license" not in head(tmp_path / "model")
    assert "codec's weights are not in this folder" in text
    assert isinstance(TTS.from_pretrained(tmp_path / "model", codec=tmp_path / "encodec").codec, type(codec))


def test_the_hub(lm_checkpoint, tmp_path, monkeypatch):
    """With a folder of this machine in place of the hub."""
    hub = tmp_path / "hub"

    def create_repo(self, name, private, exist_ok):
        assert exist_ok
        (hub / name).mkdir(parents=True)
        return f"https://hub/{name}?{private}"

    def upload_folder(self, repo_id, folder_path, allow_patterns):
        for name in allow_patterns:
            shutil.copy(Path(folder_path) / name, hub / repo_id)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(hub / name / file))
    before = TTS.from_checkpoint(lm_checkpoint)
    assert before.push_to_hub("me/small", private=True) == "https://hub/me/small?True"
    assert sorted(path.name for path in (hub / "me" / "small").iterdir()) == FILES
    monkeypatch.chdir(tmp_path)
    after = TTS.from_pretrained("me/small")
    assert torch.equal(*(tts("hello", ref=tiny.OTHER[0], **SHORT) for tts in (before, after)))
    assert push_to_hub(hub / "me" / "small", "me/other") == "https://hub/me/other?False"


def test_what_the_hub_refuses(saved, tmp_path, monkeypatch):
    def create_repo(self, *args, **arguments):
        raise ValueError("401 Client Error\nlonger")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    with pytest.raises(VocolabError, match=r"the hub refuses \(401 Client Error\): me/x: log in with hf auth login"):
        push_to_hub(saved, "me/x")
    with pytest.raises(VocolabError, match="no config.json in the folder"):
        push_to_hub(tmp_path, "me/x")
    with pytest.raises(VocolabError, match="not a name on the hub: x: give OWNER/NAME"):
        push_to_hub(saved, "x")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(VocolabError, match=r"the package huggingface_hub is missing: .*vocolab\[hub\]"):
        push_to_hub(saved, "me/x")


def test_nothing_is_left_half_written(saved, lm_checkpoint, tmp_path, monkeypatch):
    folder = shutil.copytree(saved, tmp_path / "model")
    with pytest.raises(VocolabError, match="folder is not empty"):
        save_pretrained(lm_checkpoint, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("vocolab.checkpoints.folder.readme", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_pretrained(lm_checkpoint, folder, overwrite=True)
    with pytest.raises(ZeroDivisionError):
        save_pretrained(lm_checkpoint, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    monkeypatch.undo()
    (folder / "notes.txt").touch()
    with pytest.raises(VocolabError, match=r"folder holds other files \(notes.txt\)"):
        save_pretrained(lm_checkpoint, folder, overwrite=True)
    (folder / "notes.txt").unlink()
    save_pretrained(lm_checkpoint, folder, licence="MIT", overwrite=True)
    assert head(folder)["license"] == "mit"


def test_a_model_that_was_built_from_parts(tmp_path):
    with pytest.raises(VocolabError, match="built from parts"):
        KNNVC(tiny.vocoder()).save_pretrained(tmp_path / "model")
