"""The overlay with which a test runs any recipe: the recipe's own parts, tiny, for two updates."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vocolab.recipe import load_recipe

ROOT = Path(__file__).parents[1]
# By the names that constructors use for their sizes. What a part calls otherwise stays as it is: a recipe that is too
# large with it takes a tests/conf/NAME.yaml of its own, which is laid over this.
DATA = {"layer": 1, "size": 2, "frames": 8, "tokens": 2000, "prompt_seconds": 1.0}
CODEC = {"size": 16, "residual_size": 8, "max_frames": 2000, "iterations": 2}
MODEL = {
    "dim": 16,
    "heads": 2,
    "layers": 1,
    "ffn": 32,
    "blocks": 1,
    "hidden": 16,
    "channels": 32,
    "projection": 32,
    "window": 8,
}
TRAINING = {"warmup": 1, "total": 2, "adversarial_from": 1}
LISTS = {"channels": 4, "groups": 1}  # of a discriminator: as many as there are


def overlay(name: str, folder: Path) -> list[str]:
    """The flags that make a recipe tiny; the file they name lies in `folder`."""
    path = folder / f"{name}.overlay.yaml"
    path.write_text(settings(name))
    own = ROOT / "tests" / "conf" / f"{name}.yaml"
    return ["-c", str(path), *(["-c", str(own)] if own.is_file() else [])]


@cache
def settings(name: str) -> str:
    """The content of that file."""
    config = load_recipe(ROOT / "recipes" / f"{name}.yaml").config.as_dict()
    accumulated = min(config["trainer"]["accumulate_grad_batches"], 2)
    trainer = {"max_steps": 2, "val_check_interval": 2 * accumulated, "limit_val_batches": 1, "log_every_n_steps": 1}
    trainer |= {"enable_model_summary": False, "accumulate_grad_batches": accumulated}
    data = {key: shrink(config["data"][key], DATA) for key in ("encoder", "batches")}
    data |= {"codec": shrink(config["data"]["codec"], CODEC), "workers": 0}
    data |= {"prepare_workers": 1}  # another process would import torch for a second of work
    whole = {
        "trainer": trainer,
        "checkpoint": {"every_n_train_steps": 2},
        "data": {key: value for key, value in data.items() if value not in ({}, None)},
        "model": shrink(config["model"], MODEL | TRAINING),
    }
    return yaml.safe_dump(whole)


def shrink(part: Any, sizes: dict[str, Any]) -> Any:
    """What of `part` changes: the numbers that `sizes` names, wherever they stand and are more than that."""
    if isinstance(part, list):
        items = [shrink(item, sizes) for item in part]
        return items if any(items) else {}
    if not isinstance(part, dict):
        return {}
    found = {}
    for key, value in part.items():
        if key in LISTS and isinstance(value, (list, tuple)):
            found[key] = [LISTS[key]] * len(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if key in sizes and value > sizes[key]:
                found[key] = sizes[key]
        elif inner := shrink(value, sizes):
            found[key] = inner
    return found
