"""The order of a preparation's stages, and which rank does what."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocolab.data.preparation import encode, fit, notes, pack, prematch, scan, spelling
from vocolab.data.preparation.crew import Crew, devices, share_of_ranks
from vocolab.data.preparation.finish import finish
from vocolab.data.preparation.progress import Display, await_others, beating
from vocolab.data.preparation.spec import Prematch, Preparation
from vocolab.data.preparation.work import Work
from vocolab.data.shards.identity import check_spec, default_folder
from vocolab.data.shards.manifest import NAME, check_shards
from vocolab.errors import UsageError, VocolabError
from vocolab.workers import starting

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
    """Make the shards, or what is missing of them, and return their folder (default: `shards/HASH`).

    workers: how many processes; default one for each core, or one on a GPU. rank, world: this process's number among
    those that share the work, and how many they are; default as torchrun or SLURM says. Each returns when all is done.
    patience: after so many seconds in which no rank gets on, a waiting rank gives up.
    Raises `VocolabError` where nothing can be read, the disk is too small, or the folder holds shards of another spec.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers", "", "give 1 or more")
    spec = preparation.spec()
    shards = Path(shards) if shards is not None else default_folder(spec)
    rank, world = share_of_ranks(rank, world)
    work = Work(shards, rank)
    display = Display(progress and rank == 0)
    if (shards / NAME).exists():
        manifest = check_shards(shards, spec)
        if rank == 0:
            display.say(notes.change(preparation.corpus, manifest.get("listing"), shards))
            work.remove()  # which a run killed just after the manifest leaves behind
        return shards
    if preparation.features_dir is not None and not Path(preparation.features_dir).expanduser().is_dir():
        remedy = "set --data.features_dir to the folder that holds them, or leave it out to encode the speech"
        raise VocolabError("no such folder of features", preparation.features_dir, remedy)
    if starting():  # it would wait for the process that waits for it
        what = "a worker process prepares too: Python runs the lines of a script in each process that it starts"
        raise VocolabError(what, "prepare", 'put them under `if __name__ == "__main__"`')
    run = _Run(preparation, spec, work, world, display, patience)
    with work.alone(lambda: display.say("another preparation is at work here: waiting for it")):
        if not run.ended():  # by another run, while this one waited
            run.all_stages(workers)
    check_shards(shards, spec)
    return shards


@dataclass
class _Run:
    """One rank's part in a preparation."""

    preparation: Preparation
    spec: dict[str, Any]
    work: Work
    world: int
    display: Display
    patience: float

    def ended(self) -> bool:
        return (self.work.shards / NAME).exists()

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until `ready`, or until the shards are finished: the first rank may be through before this one looks."""
        await_others(self.work, lambda: ready() or self.ended(), what, self.patience)

    def all_stages(self, workers: int | None) -> None:
        """Everything from the list of files to the manifest."""
        try:
            found = self.start()
            if self.preparation.codec is not None and not self.preparation.codec.fitted:
                self.fit(found, devices(self.preparation.device, workers)[0])
            with Crew(
                self.preparation, self.work, devices(self.preparation.device, workers)[: len(found.units)]
            ) as crew:
                self.stage(encode.STAGE, found, crew)
                _check_any_left(self.preparation, self.work, found)
                if self.preparation.prematch is not None:
                    self.stage(prematch.STAGE, found, crew)
                self.stage(pack.STAGE, found, crew)
            if self.work.rank == 0:
                manifest = finish(self.preparation, self.work, found, self.spec)
                self.display.say(notes.skipped(manifest, self.work.shards))
                self.display.say(notes.unmatched(manifest))
            self.wait(lambda: False, "the manifest")
        except FileNotFoundError as error:
            if not self.ended():  # if they are finished, the first rank has removed the folder
                remedy = "see the first rank's message, or run again"
                raise VocolabError("the unfinished work was removed meanwhile", self.work.root, remedy) from error

    def start(self) -> scan.Scan:
        """The list of the work: the first rank looks over the corpus, the others wait for its list."""
        self.work.clean(self.world)
        resumed = self.work.finished("scan", "all")
        if self.work.rank == 0 and not resumed:
            self.display.say("looking over the corpus")
            with beating(self.work):
                listed = scan.scan(self.preparation)
            self.display.say(notes.foreign(self.preparation.corpus))
            self.display.say(notes.lower(listed["rates"], self.preparation.rate))
            scan.save(self.work, listed | {"spec": self.spec})
        self.wait(lambda: self.work.finished("scan", "all"), "the list of files")
        begun = self.work.read("scan", "all")["spec"]
        check_spec(begun, self.spec, self.work.shards)
        old, new = (spec["corpus"]["init_args"].get("root") for spec in (begun, self.spec))
        if old != new:  # the list of files holds paths
            remedy = "give that --data.corpus.root again, or choose another --data.shards"
            raise VocolabError(f"unfinished shards of the corpus in {old}", self.work.shards, remedy)
        found = scan.load(self.work)
        if self.work.rank == 0 and resumed:
            self.display.say(notes.change(self.preparation.corpus, found.listing, self.work.shards))
        self.check_space(found)  # on every rank: the others must not go on where the first has refused
        return found

    def fit(self, found: scan.Scan, device: str) -> None:
        """Fit the codec on the training split: the first rank does, the others wait for what it leaves."""
        if self.work.rank == 0 and not self.work.finished(fit.STAGE, fit.ITEM):
            training = [item.seconds for item in found.items if item.split == "train"]
            name, minutes = type(self.preparation.codec).__name__, sum(training) / 60
            self.display.say(f"fitting {name} on {len(training):,} training utterances, {minutes:.1f} min")
            with beating(self.work):
                fit.fit(self.preparation, self.work, found, device)
        self.wait(lambda: self.work.finished(fit.STAGE, fit.ITEM), "the codec's codebooks")

    def check_space(self, found: scan.Scan) -> None:
        """Say how much shards and unfinished work will take. Raises `VocolabError` where the disk has less left."""
        shards, temporary = _space(self.preparation, found)
        splits = {item.split for item in found.items}
        folders = [self.work.root, *(self.work.shards / split for split in splits)]
        there = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
        free, missing = shutil.disk_usage(self.work.shards).free, max(0, shards + temporary - there)
        hours = sum(item.seconds for item in found.items) / 3600
        self.display.say(
            f"{len(found.items):,} utterances, {hours:.1f} h: {_size(shards)} of shards in {self.work.shards} "
            f"and {_size(temporary)} while they are made, {_size(missing)} of it to come; {_size(free)} free"
        )
        if missing > free:
            what = f"disk too small: {_size(missing)} needed, {_size(free)} free"
            raise VocolabError(what, self.work.shards, "free space or choose another --data.shards")

    def stage(self, stage: str, found: scan.Scan, crew: Crew) -> None:
        """Do this rank's share of a stage (item i falls to rank i mod world) and wait for the other ranks."""
        work = self.work
        weights: dict[Any, float] = {unit.number: unit.seconds for unit in found.units}
        if stage == pack.STAGE:
            weights = {n: len(rows) for n, rows in pack.layout(self.preparation, work, found).shards.items()}
        mine = work.unfinished(stage, list(weights)[work.rank :: self.world])
        for _ in self.display.track(stage, crew.run(stage, mine), {name: weights[name] for name in mine}):
            work.beat()
        self.wait(lambda: not work.unfinished(stage, weights), f"the stage {stage!r}")


def _space(preparation: Preparation, found: scan.Scan) -> tuple[float, float]:
    """Bytes of the shards and of the unfinished work beside them."""
    seconds = sum(item.seconds for item in found.items)
    frames = seconds * preparation.rate / preparation.hop
    samples = 2 * preparation.rate * seconds + 2 * pack.frame_width(preparation) * frames  # audio, features, codes
    headers = 3072 + (1024 if preparation.codec is not None else 0)
    symbols = 0
    if preparation.text is not None:
        symbols = pack.SYMBOL_BYTES * sum(len(item.utterance.text or "") for item in found.items)
    more = 0.0
    matching, stored = preparation.layers
    if preparation.encoder is not None and matching != stored:
        more += 2 * preparation.encoder.width(matching) * frames
    if preparation.prematch is not None:
        more += 8 * preparation.prematch.topk * frames
    return samples + symbols + headers * len(found.items), samples + symbols + more


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _check_any_left(preparation: Preparation, work: Work, found: scan.Scan) -> None:
    """Raise `VocolabError` where no file of a split can be used."""
    done = [work.read(encode.STAGE, unit.number) for unit in found.units]
    unsayable = spelling.unsayable(preparation, work, found)
    left = {found.items[kept[0]].split for unit in done for kept in unit["kept"] if kept[0] not in unsayable}
    lost = [item.split for item in found.items if item.split not in left]
    if not lost:
        return
    if work.rank == 0:
        work.remove()  # the files may be mended before the next run
    skipped = [entry for unit in done for entry in unit["skipped"]] + spelling.skipped(found, unsayable)
    raise scan.nothing_left(len(found.items) + len(found.skipped), lost if left else [], skipped)
