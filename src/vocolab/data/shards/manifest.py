"""`SHARDS/manifest.json`: what the shards hold, and whether they still hold it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vocolab.data.shards.identity import FORMAT, check_spec
from vocolab.errors import VocolabError
from vocolab.files import atomic
from vocolab.text import SymbolMap
from vocolab.weights import sha256

NAME = "manifest.json"
REMEDY = "move the folder away and run vocolab prepare, or copy it again"  # for shards that are not whole


def read_manifest(shards: Path) -> dict[str, Any]:
    """The manifest of finished shards. Raises `VocolabError` where there is none or it is damaged."""
    path = Path(shards) / NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            remedy = "move the folder away and run vocolab prepare"
            raise VocolabError(f"shards of format {manifest['format']}, expected {FORMAT}", shards, remedy)
    except FileNotFoundError as error:
        raise VocolabError("no finished shards", shards, "run vocolab prepare") from error
    except (ValueError, TypeError, KeyError) as error:
        remedy = "move the folder away and run vocolab prepare"
        raise VocolabError(f"damaged manifest ({error})", path, remedy) from error
    return manifest


def read_symbols(shards: Path) -> SymbolMap:
    """The symbol map of the training split. Raises `VocolabError` where the shards hold no symbols."""
    manifest = read_manifest(shards)
    if "symbols" not in manifest:
        raise VocolabError("the shards hold no symbols of text", shards, "set --data.text and another --data.shards")
    return SymbolMap(manifest["symbols"], manifest["languages"])


def write_manifest(shards: Path, manifest: dict[str, Any]) -> None:
    with atomic(Path(shards) / NAME) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")


def check_shards(shards: Path, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """The manifest of `shards`, once its spec agrees with `spec` and every file has its full length.

    Raises `VocolabError` naming the keys that differ, or the shard that is missing or truncated and the remedy.
    """
    shards = Path(shards)
    manifest = read_manifest(shards)
    if spec is not None:
        check_spec(manifest["spec"], spec, shards)
    for entry in manifest["shards"]:
        path = shards / entry["name"]
        if not path.is_file():
            raise VocolabError("shard is missing", path, REMEDY)
        if path.stat().st_size != entry["bytes"]:
            size = path.stat().st_size
            raise VocolabError(f"truncated shard ({size:,} of {entry['bytes']:,} bytes)", path, REMEDY)
    state = manifest.get("codec", {}).get("state")
    if state is not None:
        path = shards / state["name"]
        if not path.is_file():
            raise VocolabError("the fitted codec is missing", path, REMEDY)
        if sha256(path) != state["sha256"]:
            raise VocolabError("the codec is not the one that made these codes", path, REMEDY)
    return manifest


def verify_shards(shards: Path, threads: int = 4) -> int:
    """Read all files of finished shards and return their bytes. Raises `VocolabError` naming the first whose content is
    not what the manifest says.
    """
    manifest = check_shards(shards)
    entries = [*manifest["shards"], *manifest.get("index", [])]  # older manifests hold no sha256 of the index
    paths = [Path(shards) / entry["name"] for entry in entries]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(_digest, paths))
    damaged = [path for path, entry, own in zip(paths, entries, found, strict=True) if own != entry["sha256"]]
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise VocolabError(f"damaged: its sha256 is not the manifest's{more}", damaged[0], REMEDY)
    return sum(path.stat().st_size for path in paths)


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:  # a disk that no longer reads it, an index that is gone
        return f"{error.strerror}"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that may change the numbers."""
    found = {"python": platform.python_version()}
    for package in ("vocolab", "torch", "numpy", "soundfile", "soxr", "transformers", "webdataset"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
