"""Model files named by a URL, or as in kNN-VC's release: fetched once, checked, and kept where torch.hub keeps them.
And those named by their folder, in the layout of the Hugging Face hub.

Nothing is fetched for the path of a file. This module imports nothing heavy before it fetches.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

from vocolab.downloads import fetch
from vocolab.errors import VocolabError
from vocolab.files import local_path

RELEASE = "https://github.com/bshall/knn-vc/releases/download/v0.1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # the files of a folder in the layout of the Hugging Face hub
# The sha256 of each file. The release states none. Those given here were published by projects that had fetched the
# files, independently of each other; for the others none was found, and what the first download had counts.
FILES: dict[str, str | None] = {
    "WavLM-Large.pt": "6fb4b3c3e6aa567f0a997b30855859cb81528ee8078802af439f7b2da0bf100f",
    "prematch_g_02500000.pt": "f924c7632c6eaf99004386d62293e124419e33582573552a6ae976eb88ed2dd5",
    "g_02500000.pt": None,
    "do_02500000.pt": None,
}


def url_of(name: str | Path) -> str | None:
    """Where a model file is to be fetched from: for a URL, and for the bare name of a file of the release where no such
    file lies in the working directory; None for any other path.
    """
    text = os.fspath(name)
    if match := re.match(r"(https?):/+(.+)", text):  # `Path` leaves out one of the slashes
        return f"{match[1]}://{match[2]}"
    return f"{RELEASE}/{text}" if text in FILES and not os.path.exists(text) else None


def model_path(text: str) -> str | Path:
    """An argument of the command line that names a model file: a path, or what is to be fetched, as it is."""
    return text if url_of(text) else local_path(text)


def model_file(name: str | Path, progress: bool = True) -> Path:
    """The file on this machine that `name` means. It is fetched where `url_of` says so and it is not yet in the folder
    of torch.hub; `progress`: say so on standard error. A folder with `CONFIG` and `WEIGHTS` means its weights.

    A URL may end in `#sha256=HEX`. A file without a known digest gets the one of its first download, kept beside it in
    `NAME.sha256`; the digest is checked each time. Raises `VocolabError` where the file cannot be fetched, or is
    another one than expected.
    """
    address = url_of(name)
    if address is None:
        path = local_path(name)
        return path / WEIGHTS if all((path / file).is_file() for file in (CONFIG, WEIGHTS)) else path
    url, _, fragment = address.partition("#")
    target = _folder() / _file_name(url)
    record = target.with_name(target.name + ".sha256")
    expected = fragment.removeprefix("sha256=") or _published(url)
    if expected is None and record.exists():
        expected = record.read_text().split()[0]
    if not target.exists():
        if progress:
            print(f"fetching {url} to {target}", file=sys.stderr)
        fetch(url, target, sha256=expected, progress=progress)
    found = _sha256(target)
    if expected is None:
        record.write_text(f"{found}  {target.name}\n")
        if progress:
            print(f"no checksum of {url} is known; from now on it is {found} ({record})", file=sys.stderr)
    elif found != expected:
        remedy = "move the file away and run again to fetch it anew"
        raise VocolabError(f"sha256 is {found}, expected {expected}", target, remedy)
    return target


def _folder() -> Path:
    """Where `torch.hub.load_state_dict_from_url` keeps files, so that none is fetched a second time."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _file_name(url: str) -> str:
    """The name of a URL's file in the folder. Files of the release keep theirs, as torch.hub names them; others carry a
    digest of their URL, since many are called `g_02500000.pt`.
    """
    name = url.rpartition("/")[2].partition("?")[0] or "file"
    if url == f"{RELEASE}/{name}":
        return name
    return f"{Path(name).stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{Path(name).suffix}"


def _published(url: str) -> str | None:
    folder, _, name = url.rpartition("/")
    return FILES.get(name) if folder == RELEASE else None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
