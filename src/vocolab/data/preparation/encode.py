"""Sound files to int16 audio, fp16 features or int16 codes, and texts to symbols, a unit at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vocolab import audio
from vocolab.checks import check_code_range
from vocolab.codecs.base import Codec
from vocolab.data.preparation import fit, given
from vocolab.data.preparation.scan import MIN_SECONDS, Scan, Unit, too_short
from vocolab.data.preparation.spec import Preparation
from vocolab.data.preparation.work import Work, write_json
from vocolab.encoders.base import Encoder
from vocolab.errors import VocolabError
from vocolab.precision import full_precision

STAGE = "encoded"
CPU_BATCH, GPU_BATCH = 32.0, 120.0  # seconds of padded audio that the encoder sees at once


@dataclass
class Speech:
    """One utterance while its unit is encoded."""

    position: int  # in `Scan.items`
    pcm: np.ndarray  # (T,) int16 at the rate of the shards
    wav: Tensor  # (T',) at the rate of the encoder or codec
    frames: int = 0
    codes: np.ndarray | None = None  # int16 (K, frames)
    feats: list[np.ndarray] = field(default_factory=list)  # fp16 (frames, C) of the matching and the stored layer

    def finite(self) -> bool:
        """Whether all features are finite: a frame with NaN would be the nearest neighbour of every frame."""
        return all(bool(np.isfinite(feats).all()) for feats in self.feats)


def encode(preparation: Preparation, work: Work, scan: Scan, names: Iterable[int], device: str) -> Iterator[int]:
    """Encode the units with these numbers onto the disk; yield each number when its unit is done."""
    given_features = preparation.features_dir is not None
    encoder, codec = None if given_features else preparation.encoder, preparation.codec
    if encoder is not None:
        encoder = encoder.load(_layers(preparation)).to(device).eval()
    if codec is not None:
        codec = ready(codec, work).to(device).eval()
    seconds = CPU_BATCH if device == "cpu" else GPU_BATCH
    with ThreadPoolExecutor(1 if device == "cpu" else 8) as threads:
        for unit, futures in _read_ahead(preparation, [scan.units[name] for name in names], scan, threads):
            read = [future.result() for future in futures]
            symbols, reasons = spell(preparation, unit, scan)
            reasons |= {p: reason for p, reason in zip(unit.items, read, strict=True) if isinstance(reason, str)}
            speeches = [s for s in read if isinstance(s, Speech) and s.position not in reasons]
            if given_features:
                reasons |= given.attach(preparation, scan, speeches)
            if encoder is not None:
                for batch in batches(speeches, encoder, seconds):
                    encode_batch(encoder, batch, _layers(preparation), device)
            if codec is not None:
                for batch in batches(speeches, codec, seconds):
                    encode_codes(codec, batch, device)
            reasons |= {s.position: "features are not finite" for s in speeches if not s.finite()}
            speeches = [s for s in speeches if s.position not in reasons]
            skipped = [{"path": scan.items[p].utterance.source, "reason": reasons[p]} for p in sorted(reasons)]
            _save(preparation, work, unit, speeches, [symbols[s.position] for s in speeches if symbols], skipped)
            yield unit.number


def ready(codec: Codec, work: Work) -> Codec:
    """The codec with its weights, and with the codebooks that this preparation fitted."""
    return (codec if codec.fitted else fit.load_state(codec, work.item(fit.STAGE, fit.ITEM) / fit.STATE)).load()


def spell(preparation: Preparation, unit: Unit, scan: Scan) -> tuple[dict[int, list[str]], dict[int, str]]:
    """The symbols of each utterance's text, by position; and for utterances without symbols, the reasons.

    Both are empty where the preparation has no `text`.
    """
    symbols: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    if preparation.text is None:
        return symbols, reasons
    for position in unit.items:
        utterance = scan.items[position].utterance
        try:
            symbols[position] = preparation.text.symbols(utterance.text or "", utterance.language)
        except VocolabError as error:
            reasons[position] = f"text: {error.what}"
    return symbols, reasons


def _layers(preparation: Preparation) -> list[int] | None:
    """The distinct layers to compute; None where the encoder has none."""
    layers = list(dict.fromkeys(layer for layer in preparation.layers if layer is not None))
    return layers or None


def _read_ahead(
    preparation: Preparation, units: Iterable[Unit], scan: Scan, threads: ThreadPoolExecutor
) -> Iterator[tuple[Unit, list[Future]]]:
    """Each unit with its utterances, the next unit's files being read meanwhile."""
    waiting: list[tuple[Unit, list[Future]]] = []
    for unit in units:
        paths = [(position, scan.items[position].utterance.path) for position in unit.items]
        waiting.append((unit, [threads.submit(read, preparation, *path) for path in paths]))
        if len(waiting) == 2:
            yield waiting.pop(0)
    yield from waiting


def read(preparation: Preparation, position: int, path: Path) -> Speech | str:
    """One utterance, or the reason why it cannot be used. Audio beyond the last whole frame is cut off."""
    if not path.exists():  # it was there when the corpus was listed, so the corpus is at fault and not the file
        raise VocolabError("file is gone", path, "bring the corpus back and run again to go on")
    try:
        original, rate = audio.read(path)
    except VocolabError as error:
        return error.what
    if len(original) / rate < MIN_SECONDS:
        return too_short(len(original) / rate)
    pcm = to_int16(audio.resample(original, rate, preparation.rate))
    part = preparation.framing
    if part is None:
        return Speech(position, pcm, original, frames=len(pcm))
    wav = audio.resample(original, rate, part.sample_rate)
    if isinstance(part, Codec):
        frames = part.frames(len(wav))  # some codecs make a frame of the last part of a hop
    else:
        frames = len(wav) // part.hop if len(wav) >= part.min_samples else 0
    if frames == 0:
        return too_short(len(wav) / part.sample_rate)
    length = frames * preparation.hop  # `pcm`, resampled to another rate, may be a sample shorter
    return Speech(position, np.pad(pcm[:length], (0, max(0, length - len(pcm)))), wav, frames)


def to_int16(wav: Tensor) -> np.ndarray:
    """wav (T,) in [-1, 1] as int16; 16-bit sources come out as they were."""
    return (wav * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()


def batches(speeches: list[Speech], part: Encoder | Codec, seconds: float) -> Iterator[list[Speech]]:
    """Group by length, longest first, up to `seconds` with their padding. An utterance so long that the encoder would
    cut it into chunks is a batch by itself.
    """
    sample_rate, uncut = part.sample_rate, part.chunk_seconds if isinstance(part, Encoder) else seconds
    batch: list[Speech] = []
    for speech in sorted(speeches, key=lambda s: (-len(s.wav), s.position)):
        longest = len(batch[0].wav) if batch else 0
        if batch and (longest > uncut * sample_rate or (len(batch) + 1) * longest > seconds * sample_rate):
            yield batch
            batch = []
        batch.append(speech)
    if batch:
        yield batch


@full_precision()
@torch.inference_mode()
def encode_batch(encoder: Encoder, batch: list[Speech], layers: list[int] | None, device: str) -> None:
    """Fill in the features, frame i standing for samples [hop·i, hop·(i+1))."""
    lengths = torch.tensor([len(s.wav) + encoder.alignment_padding(len(s.wav)) for s in batch])
    wav = torch.stack([F.pad(s.wav, (0, int(lengths.max()) - len(s.wav))) for s in batch])  # (B, T)
    if len(batch[0].wav) > encoder.chunk_seconds * encoder.sample_rate:  # as `get_features` cuts it
        outputs = [out[None] for out in encoder.encode_long(wav[0].to(device), layers)]
    else:
        outputs = encoder.layers(wav.to(device), lengths.to(device), layers)
    arrays = [out.half().cpu().numpy() for out in outputs]  # (B, L, C) each
    for row, speech in enumerate(batch):
        speech.feats = [array[row, : speech.frames] for array in arrays]  # (frames, C) each
        for feats in speech.feats:
            if len(feats) < speech.frames:
                what = f"{len(feats)} frames of {len(speech.wav)} samples, expected {speech.frames}"
                raise VocolabError(what, type(encoder).__name__, "correct its alignment_padding")


@full_precision()
@torch.inference_mode()
def encode_codes(codec: Codec, batch: list[Speech], device: str) -> None:
    """Fill in the codes."""
    lengths = torch.tensor([len(s.wav) for s in batch])
    wav = torch.nn.utils.rnn.pad_sequence([s.wav for s in batch], batch_first=True)  # (B, T)
    codes = codec.encode(wav.to(device), lengths.to(device)).cpu()  # (B, K, L)
    for row, speech in zip(codes, batch, strict=True):
        kept = row[:, : speech.frames]  # (K, frames)
        if kept.shape != (codec.levels, speech.frames):
            what = f"codes {tuple(kept.shape)} of {len(speech.wav)} samples, expected {codec.levels, speech.frames}"
            raise VocolabError(what, type(codec).__name__, "correct its frames() or levels")
        speech.codes = check_code_range(kept, codec.size, type(codec).__name__).to(torch.int16).numpy()


def _save(
    preparation: Preparation,
    work: Work,
    unit: Unit,
    speeches: list[Speech],
    symbols: list[list[str]],
    skipped: list[dict],
) -> None:
    """Write a unit to the disk. symbols: a list for each of `speeches`; none where the preparation has no `text`."""
    matching, stored = preparation.layers
    with work.finish(STAGE, unit.number) as folder:
        if speeches:
            np.save(folder / "audio.npy", np.concatenate([s.pcm for s in speeches]))
        if speeches and preparation.encoder is not None:
            computed = _layers(preparation)
            layers: list[int | None] = [None] if computed is None else [*computed]
            names = {"feats": stored} if matching == stored else {"feats": stored, "match": matching}
            for name, layer in names.items():
                np.save(folder / f"{name}.npy", np.concatenate([s.feats[layers.index(layer)] for s in speeches]))
        if speeches and preparation.codec is not None:
            codes = [s.codes for s in speeches if s.codes is not None]
            np.save(folder / "codes.npy", np.concatenate(codes, 1).T)  # (ΣL, K)
        about: dict[str, Any] = {"kept": [[s.position, len(s.pcm), s.frames] for s in speeches], "skipped": skipped}
        if preparation.text is not None:
            write_json(folder / "symbols.json", symbols)
            counts = Counter(symbol for text in symbols for symbol in text)
            about |= {"lengths": [len(text) for text in symbols], "counts": dict(sorted(counts.items()))}
        write_json(folder / "item.json", about)
