"""Checks of the tensors that encoders, codecs and vocoders are handed: a wrong one is refused in one line, before it
fails deep inside torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vocolab.errors import VocolabError


def check_waveforms(wav: Tensor, lengths: Tensor | None, least: int, sample_rate: int, where: str) -> Tensor:
    """The lengths (B,) of the rows of wav (B, T) in samples, on its device; all of T where None.

    Raises `VocolabError` where wav is not a tensor (B, T) of finite floating-point samples, `lengths` do not fit it, or
    a row is shorter than `least`.
    """
    if not isinstance(wav, Tensor) or wav.ndim != 2:
        raise VocolabError(f"waveform {_kind(wav)}", where, "give a tensor (B, T): a batch of mono rows")
    if not wav.is_floating_point():
        raise VocolabError(f"waveform of {wav.dtype}", where, "give floating-point samples in [-1, 1]")
    if lengths is None:
        lengths = torch.full((wav.shape[0],), wav.shape[1])
    lengths = torch.as_tensor(lengths)
    if lengths.shape != wav.shape[:1] or (len(lengths) and int(lengths.max()) > wav.shape[1]):
        remedy = f"give {wav.shape[0]} lengths of at most {wav.shape[1]} samples"
        raise VocolabError(f"lengths {lengths.tolist()} of a waveform {_kind(wav)}", where, remedy)
    shortest = int(lengths.min()) if len(lengths) else least
    if shortest < least:
        remedy = f"give at least {least} samples ({least / sample_rate:g} s)"
        raise VocolabError(f"{shortest} samples are too short to encode", where, remedy)
    if not bool(wav.isfinite().all()):
        raise VocolabError("waveform with samples that are not finite", where, "check where it comes from")
    return lengths.to(wav.device)


def check_codes(codes: Tensor, levels: int, size: int, where: str) -> None:
    """Raise `VocolabError` unless `codes` are integers from 0 to size - 1 of shape (B, k, L), k from 1 to `levels` and
    L at least 1.
    """
    if not isinstance(codes, Tensor) or codes.ndim != 3 or not 1 <= codes.shape[1] <= levels:
        raise VocolabError(f"codes {_kind(codes)}", where, f"give a tensor (B, k, L) with 1 to {levels} levels")
    if codes.shape[2] == 0:
        raise VocolabError("codes of no frame", where, "give at least one")
    if codes.is_floating_point() or codes.is_complex():
        raise VocolabError(f"codes of {codes.dtype}", where, "give integers")
    check_code_range(codes, size, where)


def check_code_range(codes: Tensor, size: int, where: str) -> Tensor:
    """`codes` unchanged. Raises `VocolabError` where one is not in 0 … size - 1."""
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        worst = int(codes.min()) if int(codes.min()) < 0 else int(codes.max())
        raise VocolabError(f"code {worst}", where, f"the codec has codes 0 to {size - 1}")
    return codes


def check_features(feats: Tensor, width: int, where: str) -> None:
    """Raise `VocolabError` unless `feats` is a floating-point tensor (B, L, width), L at least 1."""
    if not isinstance(feats, Tensor) or feats.ndim != 3 or feats.shape[2] != width:
        raise VocolabError(f"features {_kind(feats)}", where, f"give a tensor (B, L, {width})")
    if feats.shape[1] == 0:
        raise VocolabError("features of no frame", where, "give at least one")
    if not feats.is_floating_point():
        raise VocolabError(f"features of {feats.dtype}", where, "give floating-point numbers")


def _kind(value: object) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"of type {type(value).__name__}"
