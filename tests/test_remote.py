"""Model files by URL and by the names of kNN-VC's release, from a server of our own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.encoders.test_wavlm import official_file
from tests.server import Handler
from tests.test_checkpoints import equal, wavlm_generator
from vocolab import remote
from vocolab.checkpoints import load_vocoder
from vocolab.cli import main
from vocolab.encoders import WavLM
from vocolab.errors import VocolabError
from vocolab.remote import model_file, url_of

NAME = "prematch_g_02500000.pt"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The folder of torch.hub's files; the working directory is another, empty one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def release(hub, server, monkeypatch) -> tuple[type[Handler], Path]:
    """A release of a small generator, and the folder that fetched files are kept in."""
    handler, url = server
    torch.manual_seed(0)
    torch.save({"generator": wavlm_generator().state_dict()}, hub.parents[2] / "made.pt")
    handler.files = {NAME: (hub.parents[2] / "made.pt").read_bytes()}
    monkeypatch.setattr(remote, "RELEASE", url)
    monkeypatch.setattr(remote, "FILES", {NAME: hashlib.sha256(handler.files[NAME]).hexdigest(), "g_02500000.pt": None})
    return handler, hub


def test_what_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"{remote.RELEASE}/{NAME}"
    assert url_of(NAME) == url_of(url) == url_of(Path(url)) == url
    assert url_of(f"models/{NAME}") is url_of("g_00000001.pt") is url_of("microsoft/wavlm-large") is None
    Path(NAME).touch()
    assert url_of(NAME) is None  # the user's own file


def test_a_file_of_the_release_is_fetched_once(release, capsys):
    handler, hub = release
    vocoder = load_vocoder(NAME).vocoder
    assert equal(vocoder.state_dict(), wavlm_generator_of(handler.files[NAME], hub))
    assert f"fetching {remote.RELEASE}/{NAME} to {hub / NAME}" in capsys.readouterr().err
    assert equal(load_vocoder(f"{remote.RELEASE}/{NAME}").vocoder.state_dict(), vocoder.state_dict())
    assert len(handler.ranges) == 1 and [p.name for p in hub.iterdir()] == [NAME]
    assert capsys.readouterr() == ("", "")


def wavlm_generator_of(data: bytes, folder: Path) -> dict:
    (folder.parents[2] / "again.pt").write_bytes(data)
    return torch.load(folder.parents[2] / "again.pt", weights_only=True)["generator"]


def test_a_file_that_torch_hub_has_fetched_is_not_fetched_again(release):
    handler, hub = release
    hub.mkdir(parents=True)
    (hub / NAME).write_bytes(handler.files[NAME])
    assert model_file(NAME) == hub / NAME and handler.ranges == []


def test_a_file_cut_off_is_no_file_and_goes_on(release):
    handler, hub = release
    handler.limit = 10_000
    with pytest.raises(VocolabError, match="connection lost after 10,000 of .* run again"):
        load_vocoder(NAME)
    assert not (hub / NAME).exists()
    handler.limit = None
    load_vocoder(NAME)
    assert handler.ranges == [None, "bytes=10000-"]


def test_wrong_bytes_are_refused(release):
    handler, hub = release
    right = handler.files[NAME]
    handler.files[NAME] = right[:-1] + b"x"
    with pytest.raises(VocolabError, match="sha256 is .*, expected .*run again to download it anew"):
        model_file(NAME)
    assert list(hub.iterdir()) == []
    handler.files[NAME] = right
    model_file(NAME).write_bytes(right[:-1] + b"x")  # damaged later
    with pytest.raises(VocolabError, match=f"sha256 is .*{NAME}: move the file away"):
        model_file(NAME)


@pytest.mark.parametrize("kind", ["release", "url"])
def test_without_a_known_digest_the_first_one_counts(release, capsys, kind):
    handler, hub = release
    handler.files |= {"g_02500000.pt": b"first", "x.pt": b"first"}
    name = "g_02500000.pt" if kind == "release" else f"{remote.RELEASE}/x.pt"
    path = model_file(name)
    digest = hashlib.sha256(b"first").hexdigest()
    assert f"no checksum of {remote.RELEASE}/" in capsys.readouterr().err
    assert (hub / f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"
    assert model_file(name) == path and len(handler.ranges) == 1
    assert capsys.readouterr().err == ""
    path.write_bytes(b"other")
    with pytest.raises(VocolabError, match=f"expected {digest}"):
        model_file(name)


def test_a_url_may_state_its_digest(release, monkeypatch):
    handler, _ = release
    handler.files = {"x.pt": b"data"}
    url = f"{remote.RELEASE}/x.pt#sha256="
    with pytest.raises(VocolabError, match="expected 0000"):
        model_file(url + "0000")
    assert model_file(url + hashlib.sha256(b"data").hexdigest()).read_bytes() == b"data"


def test_files_of_one_name_from_two_places_are_two(release):
    handler, _ = release
    handler.files["g_1.pt"] = b"data"
    assert model_file(f"{remote.RELEASE}/a/g_1.pt") != model_file(f"{remote.RELEASE}/b/g_1.pt")


def test_commands_take_them(release, speech_file, capsys):
    handler, hub = release
    assert main(["export", NAME, "--format", "hifigan", "-o", "g_1.pt"]) == 0
    assert equal(torch.load("g_1.pt", weights_only=True)["generator"], wavlm_generator_of(handler.files[NAME], hub))
    for missing in ("g_02500000.pt", f"{remote.RELEASE}/none.pt"):
        args = [
            "convert",
            speech_file,
            "--ref",
            speech_file,
            "--checkpoint",
            missing,
            "--encoder",
            "e.pt",
            "-o",
            "c.wav",
        ]
        assert main([str(arg) for arg in args]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("vocolab: error: download failed (Not Found): http")


def test_an_official_encoder_is_fetched_when_its_weights_are_needed(hub, server, monkeypatch):
    """Building it, and asking for the sizes that are known, fetches nothing."""
    handler, url = server
    official_file(hub.parents[2] / "made.pt", "large")
    handler.files = {"WavLM-Tiny.pt": (hub.parents[2] / "made.pt").read_bytes()}
    assert WavLM("WavLM-Large.pt").dim == WavLM(f"{remote.RELEASE}/WavLM-Large.pt").dim == 1024
    encoder = WavLM(f"{url}/WavLM-Tiny.pt", layer=2)
    assert handler.ranges == []
    wav = torch.randn(1, 4000)
    assert torch.equal(encoder(wav), WavLM(hub.parents[2] / "made.pt", layer=2)(wav))
    assert WavLM(f"{url}/WavLM-Tiny.pt").fingerprint() == WavLM(hub.parents[2] / "made.pt").fingerprint()
    assert len(handler.ranges) == 1
