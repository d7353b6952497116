"""The symbols of the training texts, and the held-out texts that hold none of them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vocolab.data.preparation import encode
from vocolab.data.preparation.scan import Scan
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work
from vocolab.text import SymbolMap


def training_map(work: Work, scan: Scan, languages: Iterable[str] = ()) -> SymbolMap:
    """The symbols of the training split. All its units must be encoded."""
    units = (unit for unit in scan.units if unit.split == "train")
    return SymbolMap.of((work.read(encode.STAGE, unit.number)["counts"] for unit in units), languages)


def unsayable(preparation: Preparation, work: Work, scan: Scan) -> dict[int, list[str]]:
    """The held-out texts that a model of the training texts could not say at all: their symbols, by position.

    Empty where the shards hold no symbols, or there is no training split.
    """
    if preparation.text is None or all(unit.split != "train" for unit in scan.units):
        return {}
    known, found = training_map(work, scan), {}
    for unit in scan.units:
        if unit.split == "train":
            continue
        done = work.read(encode.STAGE, unit.number)
        if set(done["counts"]) <= set(known.symbols):
            continue
        texts = json.loads((work.item(encode.STAGE, unit.number) / "symbols.json").read_text(encoding="utf-8"))
        for (position, _, _), symbols in zip(done["kept"], texts, strict=True):
            if not known.can_say(symbols):
                found[position] = symbols
    return found


def skipped(scan: Scan, positions: Iterable[int]) -> list[dict[str, str]]:
    """What the manifest says of utterances that are `unsayable`."""
    reason = "text: none of its letters is in the training texts"
    return [{"path": scan.items[position].utterance.source, "reason": reason} for position in sorted(positions)]
