"""Whole numbers in recipes and flags: 1e5 is one, and none is larger than 64 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from jsonargparse import Namespace

from vocolab.errors import UsageError
from vocolab.recipe.paths import NAMES

EXPONENT = re.compile(r"([+-]?\d+(?:\.\d*)?[eE]\+?\d{1,3})")
LARGEST = 2**63 - 1
SEEDS = 2**32 - 1  # NumPy takes no larger seed


def whole_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments with each `--KEY 1e5` written as `--KEY 100000`: the parser takes 1e5 for a float, refused where a
    key wants an int, while it takes 100000 for either. Names of files are left as they are.
    """
    found: list[str] = []
    flag = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            flag = name
            found.append(f"{name}={_whole(value)}" if equals and not _is_path(flag) else argument)
        else:
            found.append(argument if _is_path(flag) else _whole(argument))
    return found


def _is_path(flag: str) -> bool:
    return not flag or flag.rpartition(".")[2].lstrip("-") in NAMES


def _whole(text: str) -> str:
    if EXPONENT.fullmatch(text) and (number := Decimal(text)) == number.to_integral_value():
        return str(int(number))
    return text


def ints(value: Any) -> Any:
    """A document of YAML with its whole numbers that are written as floats (1e5, 300.0) as ints; the parser makes
    floats of them where a key wants one. 1.0 stays: to Lightning it means all of a split, and 1 a single batch.
    """
    if isinstance(value, dict):
        return {key: ints(item) for key, item in value.items()}
    if isinstance(value, list):
        return [ints(item) for item in value]
    if isinstance(value, float) and 1 < abs(value) < 1e100 and value.is_integer():
        return int(Decimal(repr(value)))
    return value


def check_sizes(config: Namespace) -> None:
    """Raise `UsageError` for an int of more than 64 bits, which no library below could take, and a seed of more than
    32.
    """
    for key, value in _numbers(config, ""):
        if abs(value) > LARGEST:
            raise UsageError(f"a number of {len(str(abs(value)))} digits", key, f"give at most {LARGEST}")
    if not 0 <= int(config.seed_everything) <= SEEDS:
        raise UsageError(f"the seed is {config.seed_everything}", "seed_everything", f"give 0 to {SEEDS}")


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, (Namespace, dict)):
        for name, item in vars(value).items() if isinstance(value, Namespace) else value.items():
            yield from _numbers(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int):
        yield key, value
