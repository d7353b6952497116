"""The end of a preparation: the index and the manifest are written beside the packed shards."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from vocolab.codecs.base import Codec
from vocolab.data.preparation import encode, fit, pack, prematch, scan, spelling
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work
from vocolab.data.shards.identity import FORMAT, spec_hash
from vocolab.data.shards.index import Index
from vocolab.data.shards.manifest import versions, write_manifest
from vocolab.files import atomic
from vocolab.weights import sha256


def finish(preparation: Preparation, work: Work, found: scan.Scan, spec: dict[str, Any]) -> dict[str, Any]:
    """Write the index and, last, the manifest; remove the folder of the work; return the manifest."""
    plan = pack.layout(preparation, work, found)
    shards = {name: work.read(pack.STAGE, name) for name in plan.shards}
    splits, index = {}, []
    for split, speakers in plan.speakers.items():
        names = [name for name in plan.shards if name.startswith(f"{split}/")]
        tables = [np.load(work.item(pack.STAGE, name) / "rows.npy") for name in names]
        for number, table in enumerate(tables):
            table["shard"] = number
        rows = np.concatenate(tables)
        Index(
            rows=rows,
            shards=[shards[name]["name"] for name in names],
            sizes=[shards[name]["bytes"] for name in names],
            speakers=list(speakers),
            sample_rate=preparation.rate,
            hop=preparation.hop,
            channels=0 if preparation.encoder is None else preparation.encoder.dim,
            levels=0 if preparation.codec is None else preparation.codec.levels,
            size=0 if preparation.codec is None else preparation.codec.size,
        ).write(work.shards, split)
        seconds = round(float(rows["samples"].sum(dtype=np.int64)) / preparation.rate, 3)
        written = [f"index/{split}.npy", f"index/{split}.json"]
        index += [{"name": name, "sha256": sha256(work.shards / name)} for name in written]
        splits[split] = {"samples": len(rows), "seconds": seconds, "speakers": len(speakers)}
    manifest = {
        "format": FORMAT,
        "spec": spec,
        "spec_hash": spec_hash(spec),
        "versions": versions(),
        "splits": splits,
        "shards": list(shards.values()),
        "index": index,
        "skipped": sorted(_skipped(preparation, work, found), key=lambda entry: entry["path"]),
        "listing": found.listing,
    }
    if preparation.prematch is not None:
        manifest["unmatched"] = _unmatched(work, found)
    if preparation.codec is not None:
        manifest["codec"] = _codec(preparation.codec, work)
    if preparation.text is not None:
        manifest |= _symbols(preparation, work, found)
    write_manifest(work.shards, manifest)
    work.remove()
    return manifest


def _codec(codec: Codec, work: Work) -> dict[str, Any]:
    """The sizes of the codec. If it was fitted here, its state is copied beside the shards, and the file named."""
    about = {"levels": codec.levels, "size": codec.size, "sample_rate": codec.sample_rate, "hop": codec.hop}
    state = work.item(fit.STAGE, fit.ITEM) / fit.STATE
    if not state.exists():
        return about
    with atomic(work.shards / fit.STATE) as temporary:
        shutil.copyfile(state, temporary)
    return about | {"state": {"name": fit.STATE, "sha256": sha256(state), "bytes": state.stat().st_size}}


def _symbols(preparation: Preparation, work: Work, found: scan.Scan) -> dict[str, Any]:
    """The symbol map of the training split, all languages, and how often other splits hold symbols it lacks."""
    counts: dict[str, Counter] = defaultdict(Counter)
    languages = set()
    for unit in found.units:
        done = work.read(encode.STAGE, unit.number)
        counts[unit.split].update(done["counts"])
        languages |= {found.items[position].utterance.language for position, _, _ in done["kept"]}
    for position, text in spelling.unsayable(preparation, work, found).items():
        counts[found.items[position].split].subtract(text)
    symbols = spelling.training_map(work, found, languages - {""} and languages)
    known = set(symbols.symbols)
    unknown = {}
    for split, count in sorted(counts.items()):
        if missing := {symbol: n for symbol, n in count.items() if n and symbol not in known}:
            unknown[split] = missing
    return {"symbols": symbols.symbols, "languages": symbols.languages, "unknown_symbols": unknown}


def _skipped(preparation: Preparation, work: Work, found: scan.Scan) -> Iterator[dict[str, str]]:
    yield from found.skipped
    yield from spelling.skipped(found, spelling.unsayable(preparation, work, found))
    for unit in found.units:
        yield from work.read(encode.STAGE, unit.number)["skipped"]


def _unmatched(work: Work, found: scan.Scan) -> dict[str, Any]:
    """The utterances that keep their plain features because their pool is too small."""
    plain = [found.items[p] for unit in found.units for p in work.read(prematch.STAGE, unit.number)["plain"]]
    speakers = sorted({item.utterance.speaker for item in plain})
    return {"utterances": len(plain), "speakers": speakers, "keys": sorted(item.utterance.key for item in plain)}
