"""A model in the layout of the Hugging Face hub: a folder of `config.json` (the card), `model.safetensors` (weights;
the card once more, so that the file can also be used by itself) and `README.md` (the card for people).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vocolab import __version__, weights
from vocolab.checkpoints.content import CARD
from vocolab.checkpoints.model_card import About, readme
from vocolab.errors import UsageError, VocolabError
from vocolab.extras import required
from vocolab.files import atomic, atomic_folder, local_path
from vocolab.remote import CONFIG, WEIGHTS

README = "README.md"
NAMES = (CONFIG, WEIGHTS, README)


def write_safetensors(
    path: Path, card: Mapping[str, Any], state: Mapping[str, Tensor], overwrite: bool = False
) -> None:
    """Write a model as one file: its weights, and its card in the metadata."""
    # Cloned: safetensors stores no tensor twice, and two names may share one.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    with atomic(path, overwrite) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as of any other new file; safetensors lets nobody else read what it writes
        save_file(tensors, temporary, {CARD: json.dumps(card, sort_keys=True)})
        temporary.chmod(mode)


def write_folder(
    folder: Path, card: Mapping[str, Any], state: Mapping[str, Tensor], about: About, overwrite: bool = False
) -> None:
    """Write a model as a folder. Raises `VocolabError` where it exists and is not empty; with `overwrite`, where it
    holds other files than those of this layout.
    """
    with atomic_folder(folder, NAMES, overwrite) as temporary:
        write_safetensors(temporary / WEIGHTS, card, state)
        (temporary / CONFIG).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        count = sum(value.numel() for key, value in state.items() if not key.startswith("codec."))
        (temporary / README).write_text(readme(card, count, about, folder.resolve().name), encoding="utf-8")


def signed(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card with the version that exports it."""
    return {**card, "exported_by": f"vocolab {__version__}"}


def find_folder(name: str | Path) -> Path:
    """A folder or file as it is, and the local copy of a model of the hub, OWNER/NAME, which is fetched once."""
    path = local_path(name)
    if path.exists():
        return path
    found = weights.find_file(name, [WEIGHTS])
    config = weights.find_file(name, [CONFIG])
    if config.parent != found.parent:
        raise VocolabError("the hub's cache holds its files in two versions", name, "run again with a network")
    return found.parent


def check_name(name: str) -> None:
    """Raise `UsageError` where `name` is not OWNER/NAME."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UsageError("not a name on the hub", name, "give OWNER/NAME")


def check_upload(name: str) -> None:
    """Raise an error where `name` is not OWNER/NAME, or the package that uploads is missing."""
    check_name(name)
    with required("huggingface_hub", name):
        import huggingface_hub  # noqa: F401


def upload(folder: Path, name: str, private: bool = False) -> str:
    """Upload a folder of this layout to OWNER/NAME of the hub, which is made where it does not exist; returns its
    address. Raises `VocolabError` where the hub refuses.
    """
    check_upload(name)
    if missing := [file for file in NAMES if not (folder / file).is_file()]:
        raise VocolabError(f"no {missing[0]} in the folder", folder, "give one that save_pretrained wrote")
    import huggingface_hub

    hub = huggingface_hub.HfApi()
    try:
        address = hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(NAMES))
    except Exception as error:  # the hub's errors have no common class: offline, not logged in, not allowed, a proxy's
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise VocolabError(
            f"the hub refuses ({first})", name, "log in with hf auth login, and check the name"
        ) from error
    return str(address)
