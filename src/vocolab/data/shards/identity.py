"""How shards are told apart: the hash of the spec they were made from, and the comparison of two specs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vocolab.errors import VocolabError

FORMAT = 1  # of the shards


def default_folder(spec: dict[str, Any]) -> Path:
    """`shards/HASH`, relative to the working directory."""
    return Path("shards") / spec_hash(spec)[:12]


def spec_hash(spec: dict[str, Any]) -> str:
    """sha256 of a spec. Where the spec holds the hash of a part's weights, their path is left out."""
    left = {key: value for key, value in _flat(spec).items() if key not in _places(spec)}
    return hashlib.sha256(json.dumps(left, sort_keys=True).encode()).hexdigest()


def check_spec(found: dict[str, Any], wanted: dict[str, Any], where: Path) -> None:
    """Raise `VocolabError` naming the keys in which two specs differ. Where the corpus lies does not count, nor where
    weights lie whose hash is in both.
    """
    old, new = _flat(json.loads(json.dumps(found))), _flat(json.loads(json.dumps(wanted)))
    ignored = {"corpus.init_args.root"}
    for place in _places(found) & _places(wanted):
        owner = place.removesuffix("init_args.checkpoint") + "class_path"
        ignored |= {place} if old.get(owner) == new.get(owner) else set()
    keys = [k for k in sorted(old | new) if k not in ignored and old.get(k, ...) != new.get(k, ...)]
    if keys:
        differences = ", ".join(f"{key} ({_short(old, key)}, wanted {_short(new, key)})" for key in keys[:8])
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        remedy = "choose another --data.shards"
        raise VocolabError(f"shards of another preparation: {differences}{more}", where, remedy)


def _places(spec: dict[str, Any]) -> set[str]:
    """The keys of the paths of weights whose hash is in the spec too."""
    weighed = (key for key in _flat(spec) if key.endswith(".weights"))
    return {key.removesuffix("weights") + "init_args.checkpoint" for key in weighed}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _short(flat: dict[str, Any], key: str) -> str:
    if key not in flat:
        return "absent"
    text = json.dumps(flat[key])
    return text if len(text) <= 60 else text[:57] + "..."
