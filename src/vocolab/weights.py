"""Where a part's weights lie and how they are read: safetensors, or PyTorch files without code in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vocolab.errors import VocolabError
from vocolab.extras import required
from vocolab.torchfile import bare_names, read_torch

Network = TypeVar("Network", bound=nn.Module)

FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder, the first found
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FETCH_REMEDY = "give a local folder or file, or fetch it once with a network"


def find_file(checkpoint: str | Path, names: Sequence[str]) -> Path:
    """The first of `names` in the folder or the hub repository `checkpoint`; from the hub's cache where it lies there,
    without network.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            raise VocolabError(f"no {' or '.join(names)} in folder", folder, "name the folder of a Hugging Face model")
        return found
    if folder.exists():
        raise VocolabError("not a checkpoint folder", folder, "name the folder of a Hugging Face model")
    if not _HUB_NAME.fullmatch(str(checkpoint)) or folder.suffix in (".pt", ".bin", ".safetensors"):
        raise VocolabError("no such checkpoint", checkpoint, "check the path, or name a hub model as OWNER/NAME")
    return _from_hub(str(checkpoint), names)


def _from_hub(repository: str, names: Sequence[str]) -> Path:
    with required("huggingface_hub", repository):
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name))
        except LocalEntryNotFoundError as error:
            raise VocolabError("cannot fetch a hub model without network", repository, _FETCH_REMEDY) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub's errors have no common class: offline, gated, misspelt, a proxy's
            raise VocolabError(f"cannot fetch a hub model ({_first_line(error)})", repository, _FETCH_REMEDY) from error
    raise VocolabError(f"no {' or '.join(names)} in hub model", repository, "choose another model")


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file. Raises `VocolabError` where it holds no JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VocolabError(f"unreadable configuration ({_first_line(error)})", path, "replace the file") from error
    if not isinstance(config, dict):
        raise VocolabError("configuration is not a JSON object", path, "replace the file")
    return config


def read_tensors(path: Path, rename: Callable[[str], str | None]) -> dict[str, Tensor]:
    """The tensors whose name `rename` maps to a new one (None: skipped), read from a safetensors or PyTorch file."""
    if path.suffix != ".safetensors":
        return select(read_torch(path), rename)
    try:
        with safe_open(path, framework="pt") as file:
            names = dict(zip(file.keys(), bare_names(file.keys()), strict=True))
            wanted = {name: rename(bare) for name, bare in names.items()}
            return {new: file.get_tensor(name) for name, new in wanted.items() if new is not None}
    except (OSError, SafetensorError) as error:
        raise VocolabError(f"damaged weights ({_first_line(error)})", path, "replace the file") from error


def select(tensors: dict[str, Any], rename: Callable[[str], str | None]) -> dict[str, Tensor]:
    """The tensors whose name `rename` maps to a new one."""
    renamed = ((rename(name), value) for name, value in tensors.items() if isinstance(value, Tensor))
    return {name: value for name, value in renamed if name is not None}


def fill(module: Network, tensors: dict[str, Tensor], where: object) -> Network:
    """Give `module`, built on the meta device, exactly `tensors` as frozen float32 parameters. Raises `VocolabError`
    where they do not fit.
    """
    own = dict(module.named_parameters())
    require(own, tensors, where)
    # Copied, so that nothing stays mapped to a file that may change.
    state = {name: tensors[name].to(torch.float32, copy=True) for name in own}
    module.load_state_dict(state, strict=False, assign=True)
    return module.requires_grad_(False).eval()


def require(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: object) -> None:
    """Raise `VocolabError` unless `tensors` holds one of each name and shape of `own`."""
    missing = sorted(own.keys() - tensors.keys())
    if missing:
        raise VocolabError(
            f"checkpoint lacks {len(missing)} tensors, {missing[0]} first", where, "give a checkpoint of this model"
        )
    for name, value in own.items():
        if tensors[name].shape != value.shape:
            what = f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
            raise VocolabError(what, where, "give weights that fit the configuration")


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
