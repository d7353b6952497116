"""The stage that fits a codec without codebooks: it learns them from the training split alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vocolab import audio
from vocolab.codecs.base import Codec
from vocolab.data.preparation.scan import MIN_SECONDS, Scan
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work, write_json
from vocolab.errors import VocolabError
from vocolab.precision import full_precision

STAGE, ITEM = "fitted", "codec"
STATE = "codec.safetensors"  # in the work, and beside the manifest in the end


class TrainingSpeech:
    """The recordings (T,) of the training split at a codec's rate, in a seeded random order, read as they are asked
    for; a codec may walk through them more than once.
    """

    def __init__(self, scan: Scan, sample_rate: int, seed: int):
        self.sample_rate = sample_rate
        items = [item for item in scan.items if item.split == "train"]
        self.items = [items[i] for i in np.random.default_rng([seed, 1]).permutation(len(items))]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Tensor]:
        for item in self.items:
            try:
                wav, _ = audio.read(item.utterance.path, self.sample_rate)
            except VocolabError:  # the next stage skips it and says why
                continue
            if len(wav) / self.sample_rate >= MIN_SECONDS:
                yield wav


@full_precision()
def fit(preparation: Preparation, work: Work, scan: Scan, device: str) -> None:
    """Fit the codec and write its state to the disk. On a CPU one thread computes, so that the state does not depend on
    the number of cores.
    """
    assert preparation.codec is not None
    codec = copy.deepcopy(preparation.codec).to(device).eval()
    speech = TrainingSpeech(scan, codec.sample_rate, preparation.seed)
    if not len(speech):
        raise VocolabError("no training speech to fit the codec on", work.shards, "check --data.corpus")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if device == "cpu" else threads)
        with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
            torch.manual_seed(preparation.seed)
            codec.fit(speech)
    finally:
        torch.set_num_threads(threads)
    with work.finish(STAGE, ITEM) as folder:
        save_state(codec, folder / STATE)
        write_json(folder / "item.json", {"utterances": len(speech)})


def save_state(codec: Codec, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in codec.state_dict().items()}, path)


def load_state(codec: Codec, path: Path) -> Codec:
    """Give a codec the codebooks in `path` and return it. Raises `VocolabError` where they do not fit it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        # The file may lack tensors, such as the weights of a vocoder, which only decoding needs.
        unknown = codec.load_state_dict(load_file(path), strict=False).unexpected_keys
    except (OSError, SafetensorError, RuntimeError) as error:
        remedy = "move the folder away and run vocolab prepare"
        raise VocolabError(f"no state of this {type(codec).__name__} ({error})", path, remedy) from error
    if unknown or not codec.fitted:
        what = f"unknown tensor {unknown[0]}" if unknown else "codebooks are missing"
        remedy = "move the folder away and run vocolab prepare"
        raise VocolabError(f"{what} in the state of {type(codec).__name__}", path, remedy)
    return codec
