"""Speech on disk to shards: scan, encode, match, pack.

Each stage leaves finished items under `SHARDS/.work`, so a killed run goes on with what is missing, and ranks on several machines
need no connection but the folder they share. Whatever the number of workers and restarts, the shards have the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vocolab.data import encode, pack, prematch, scan
from vocolab.data.crew import Crew, Display, await_others, devices, share_of_ranks
from vocolab.data.index import Index
from vocolab.data.manifest import NAME, check_shards, versions, write_manifest
from vocolab.data.spec import FORMAT, Prematch, Preparation, check_spec, spec_hash
from vocolab.data.work import Work
from vocolab.errors import UsageError, VocolabError

__all__ = ["Preparation", "Prematch", "check_shards", "prepare"]


def prepare(
    preparation: Preparation,
    shards: str | Path | None = None,
    workers: int | None = None,
    rank: int | None = None,
    world: int | None = None,
    progress: bool = True,
    patience: float = 1800.0,
) -> Path:
    """Make the shards, or what is missing of them, and return their folder (default: one named by what is in it).

    workers: processes; default one a core, or one on a GPU. rank, world: this process among those that share the work, default as
    torchrun or SLURM says; each returns when all is done. patience: seconds without progress anywhere until a waiting rank gives up.
    Raises `VocolabError` where nothing can be read, the disk is too small, or the folder holds shards of another spec.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers", "", "give 1 or more")
    spec = preparation.spec()
    shards = Path(shards) if shards is not None else Path("shards") / spec_hash(spec)[:12]
    rank, world = share_of_ranks(rank, world)
    if (shards / NAME).exists():
        check_shards(shards, spec)
        return shards
    work, display = Work(shards, rank), Display(progress and rank == 0)
    try:
        found = _start(preparation, work, spec, world, display, patience)
        crew_devices = devices(preparation.device, workers)[: len(found.units)]
        with Crew(preparation, work, crew_devices) as crew:
            for stage in (encode.STAGE, prematch.STAGE, pack.STAGE):
                _run(stage, preparation, work, found, crew, world, display, patience)
        if rank == 0:
            _finish(preparation, work, found, spec)
        else:
            await_others(work, lambda: (shards / NAME).exists(), "the manifest", patience)
    except FileNotFoundError:
        if rank == 0 or not (shards / NAME).exists():  # else the first rank was through, and has tidied up
            raise
    return shards


def _start(
    preparation: Preparation, work: Work, spec: dict[str, Any], world: int, display: Display, patience: float
) -> scan.Scan:
    """Claim the folder and list the work: the first rank looks over the corpus, the others wait for its list."""
    try:
        work.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VocolabError(f"cannot write ({error.strerror})", work.shards, "choose another --data.shards") from error
    work.clean(world)
    if work.rank == 0 and not work.finished("scan", "all"):
        display.say("looking over the corpus")
        scan.save(work, scan.scan(preparation, work.beat) | {"spec": spec})
    await_others(work, lambda: work.finished("scan", "all"), "the list of files", patience)
    check_spec(work.read("scan", "all")["spec"], spec, work.root)
    found = scan.load(work, preparation)
    if work.rank == 0:
        _check_space(preparation, work, found, display)
    return found


def _check_space(preparation: Preparation, work: Work, found: scan.Scan, display: Display) -> None:
    """Say how much the shards and the unfinished work will take. Raises `VocolabError` where the disk has less left."""
    seconds = sum(item.seconds for item in found.items)
    audio, features, places = 2 * preparation.rate * seconds, 0.0, 0.0
    copies = 1
    if preparation.encoder is not None:
        frames = seconds * preparation.rate / preparation.hop
        features = 2 * preparation.encoder.dim * frames
        copies = 1 if preparation.layers[0] == preparation.layers[1] else 2
        places = 8 * preparation.prematch.topk * frames if preparation.prematch is not None else 0.0
    final = audio + features + 3072 * len(found.items)
    temporary = audio + copies * features + places
    there = sum(file.stat().st_size for file in work.shards.rglob("*") if file.is_file())
    free = shutil.disk_usage(work.shards).free
    missing = final + temporary - there
    display.say(
        f"{len(found.items):,} utterances, {seconds / 3600:.1f} h: {_size(final)} of shards in {work.shards}, "
        f"{_size(temporary)} more while they are made; {_size(free)} free"
    )
    if missing > free:
        what = f"disk too small: {_size(missing)} needed, {_size(free)} free"
        raise VocolabError(what, work.shards, "free space or choose another --data.shards")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _run(
    stage: str,
    preparation: Preparation,
    work: Work,
    found: scan.Scan,
    crew: Crew,
    world: int,
    display: Display,
    patience: float,
) -> None:
    """Do this rank's share of a stage (item i is rank i mod world's) and wait for the others'."""
    if stage == prematch.STAGE and preparation.prematch is None:
        return
    if stage == pack.STAGE:
        weights: dict[Any, float] = {n: len(rows) for n, rows in pack.layout(preparation, work, found).shards.items()}
    else:
        weights = {unit.number: unit.seconds for unit in found.units}
    mine = [name for name in list(weights)[work.rank :: world] if not work.finished(stage, name)]
    for _ in display.track(stage, crew.run(stage, mine), weights):
        work.beat()

    def ready() -> bool:
        done = all(work.finished(stage, name) for name in weights)
        return done or (work.shards / NAME).exists()  # the first rank may be through before this one looks

    await_others(work, ready, f"the stage {stage!r}", patience)
    if stage == encode.STAGE:
        _check_any_left(work, found)


def _check_any_left(work: Work, found: scan.Scan) -> None:
    done = [work.read(encode.STAGE, unit.number) for unit in found.units]
    if any(unit["kept"] for unit in done):
        return
    first = next(skipped for unit in done for skipped in unit["skipped"])
    if work.rank == 0:
        work.remove()  # the files may be mended before the next run
    count = len(found.items) + len(found.skipped)
    raise VocolabError(
        f"none of {count} files can be used", f"{first['path']} ({first['reason']})", "check --data.corpus"
    )


def _finish(preparation: Preparation, work: Work, found: scan.Scan, spec: dict[str, Any]) -> None:
    """Write the index and, last, the manifest; then nothing of the work is needed any more."""
    plan = pack.layout(preparation, work, found)
    shards = {name: work.read(pack.STAGE, name) for name in plan.shards}
    splits = {}
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
            speakers=speakers,
            sample_rate=preparation.rate,
            hop=preparation.hop,
            channels=0 if preparation.encoder is None else preparation.encoder.dim,
        ).write(work.shards, split)
        seconds = round(float(rows["samples"].sum(dtype=np.int64)) / preparation.rate, 3)
        splits[split] = {"samples": len(rows), "seconds": seconds, "speakers": len(speakers)}
    manifest = {
        "format": FORMAT,
        "spec": spec,
        "spec_hash": spec_hash(spec),
        "versions": versions(),
        "splits": splits,
        "shards": list(shards.values()),
        "skipped": sorted(_skipped(work, found), key=lambda entry: entry["path"]),
    }
    if preparation.prematch is not None:
        manifest["unmatched"] = _unmatched(work, found)
    write_manifest(work.shards, manifest)
    work.remove()


def _skipped(work: Work, found: scan.Scan) -> Iterator[dict[str, str]]:
    yield from found.skipped
    for unit in found.units:
        yield from work.read(encode.STAGE, unit.number)["skipped"]


def _unmatched(work: Work, found: scan.Scan) -> dict[str, Any]:
    """The utterances that keep their plain features because their pool is too small."""
    plain = [found.items[p] for unit in found.units for p in work.read(prematch.STAGE, unit.number)["plain"]]
    speakers = sorted({item.utterance.speaker for item in plain})
    return {"utterances": len(plain), "speakers": speakers, "keys": sorted(item.utterance.key for item in plain)}
