"""From logits to tokens: pure functions of logits (B, V), in the order in which `sample` applies them.

A token that is ruled out has a logit of minus infinity. Randomness comes in from outside, one uniform number a row
(`rng.uniforms`), so that a row's tokens do not depend on the rows beside it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vocolab.errors import UsageError

DRAFTS = ("", "medusa")  # ways to guess frames ahead
MIROSTAT_RANKS = 100  # how many of the likeliest tokens the Zipf exponent is estimated from


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Names and defaults are those of the command line's flags."""

    ar_temp: float = 0.95  # 0: always the likeliest token
    nar_temp: float = 0.2
    min_ar_temp: float = -1.0  # 0 or more: a dynamic temperature between this and `ar_temp`
    min_nar_temp: float = -1.0  # likewise, between this and `nar_temp`
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    repetition_penalty_decay: float = 0.0
    length_penalty: float = 0.0  # above 0 lengthens
    beam_width: int = 0  # 0 and 1: off
    best_of: int = 1  # responses of which the likeliest is kept
    mirostat_tau: float = 0.0  # the surprise aimed at, in bits; 0: off
    mirostat_eta: float = 0.1  # the rate at which mirostat corrects itself
    max_ar_steps: int = 900  # frames
    max_ar_context: int = 0  # last frames that one sees, for a model with a window; 0: as many as in training
    max_nar_levels: int = 7
    repetition_window: int = 0  # last tokens that repetition-aware sampling looks at; 0: off, VALL-E 2 takes 10
    repetition_ratio: float = 0.1  # a token that fills this share of the window is drawn anew
    draft: str = ""  # "medusa": guess frames ahead and test several in a pass; changes the time, not the codes

    def __post_init__(self) -> None:
        temp, share = "give 0 (the likeliest) or more", "give a share above 0 and up to 1"
        for name, fine, remedy in (
            ("ar_temp", self.ar_temp >= 0, temp),
            ("nar_temp", self.nar_temp >= 0, temp),
            ("min_ar_temp", self.min_ar_temp <= self.ar_temp, f"--ar-temp is {self.ar_temp}, give less"),
            ("min_nar_temp", self.min_nar_temp <= self.nar_temp, f"--nar-temp is {self.nar_temp}, give less"),
            ("top_k", self.top_k >= 0, "give how many tokens to keep, 0 for all"),
            ("top_p", 0 < self.top_p <= 1, share),
            ("repetition_penalty", self.repetition_penalty > 0, "give more than 0; 1 is none"),
            ("repetition_penalty_decay", self.repetition_penalty_decay >= 0, "give 0 (none) or more"),
            ("length_penalty", True, "give a number; 0 is none"),
            ("beam_width", self.beam_width >= 0, "give a number of beams; 0 and 1 are none"),
            ("best_of", self.best_of >= 1, "give a number of responses to choose from; 1 is no choice"),
            ("mirostat_tau", self.mirostat_tau >= 0, "give a surprise in bits; 0 is off"),
            ("mirostat_eta", self.mirostat_eta > 0, "give a rate above 0"),
            ("max_ar_steps", self.max_ar_steps >= 1, "give a number of frames above 0"),
            ("max_ar_context", self.max_ar_context >= 0, "give a number of frames; 0 is as trained"),
            ("max_nar_levels", self.max_nar_levels >= 0, "give a number of levels, 0 or more"),
            ("repetition_window", self.repetition_window >= 0, "give a number of frames; 0 is off"),
            ("repetition_ratio", 0 < self.repetition_ratio <= 1, share),
        ):
            value = getattr(self, name)
            if not (fine and math.isfinite(value)):
                raise UsageError(f"{value} will not do", f"--{name.replace('_', '-')}", remedy)
        if self.draft not in DRAFTS:
            raise UsageError(f"no such draft {self.draft!r}", "--draft", "give medusa, or a file of draft heads")
        if self.draft and self.beam_width > 1:
            remedy = "leave one of them out"
            raise UsageError("beams have several pasts, a draft goes on from one", "--draft and --beam-width", remedy)
        chosen = [
            flag
            for flag, on in (
                ("--beam-width", self.beam_width > 1),
                ("--mirostat-tau", self.mirostat_tau > 0),
                ("--repetition-window", self.repetition_window > 0),
            )
            if on
        ]
        if len(chosen) > 1:
            raise UsageError("each is a way of choosing tokens", " and ".join(chosen), "give one of them")
        if self.beam_width > 1 and self.best_of > 1:
            raise UsageError("beams give one response", "--beam-width and --best-of", "give one of them")

    def for_nar(self) -> Sampling:
        """The sampling of a level of the NAR. Its tokens are drawn all at once, so nothing that looks at past tokens
        applies: no penalties, beams, choice of responses, mirostat or repetition-aware sampling.
        """
        return dataclasses.replace(
            self,
            ar_temp=self.nar_temp,
            min_ar_temp=self.min_nar_temp,
            repetition_penalty=1.0,
            length_penalty=0.0,
            beam_width=0,
            best_of=1,
            mirostat_tau=0.0,
            repetition_window=0,
        )


def repetition_penalty(logits: Tensor, previous: Tensor, penalty: float, decay: float = 0.0) -> Tensor:
    """Make tokens of `previous` (B, S) less likely: a positive logit is divided by f, a negative one multiplied,
    f = 1 + (penalty - 1) * distance^-decay, with the distance to the token's nearest occurrence (the last: 1).
    """
    if penalty == 1.0 or previous.shape[1] == 0:
        return logits
    order = torch.arange(previous.shape[1], device=logits.device).expand_as(previous).masked_fill(previous < 0, -1)
    last = torch.full(logits.shape, -1, device=logits.device)
    last = last.scatter_reduce(1, previous.clamp(min=0), order, "amax")
    distance = (previous.shape[1] - last).to(logits.dtype)
    factor = 1 + (penalty - 1) * distance**-decay
    return torch.where(last < 0, logits, torch.where(logits > 0, logits / factor, logits * factor))


def length_penalty(logits: Tensor, length: int | Tensor, factor: float, stop: int) -> Tensor:
    """Divide the odds of stopping after `length` frames, (B,) or one for all, by length^factor. A factor above 0
    lengthens the response, one below 0 shortens it, whatever the sign of the stop token's logit.
    """
    if factor == 0.0:
        return logits
    frames = torch.as_tensor(length, dtype=torch.float64, device=logits.device).clamp(min=1)
    logits = logits.clone()
    logits[:, stop] -= (factor * frames.log()).to(logits.dtype)
    return logits


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens, exactly k: among equals, those of the lowest ids. 0 keeps all."""
    if k <= 0 or k >= logits.shape[1]:
        return logits
    order = logits.argsort(dim=1, descending=True, stable=True)
    return logits.scatter(1, order[:, k:], -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the likeliest tokens until their probabilities reach p, the one that crosses it included."""
    if p >= 1.0:
        return logits
    ranked, order = logits.sort(dim=1, descending=True, stable=True)
    probability = ranked.softmax(dim=1)
    before = probability.cumsum(dim=1) - probability
    before[:, 0] = 0.0  # the likeliest stays, whatever the rounding
    return logits.masked_fill(torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= p), -torch.inf)


def dynamic_temperature(logits: Tensor, maximum: float, minimum: float) -> Tensor:
    """(B, 1) temperatures: near `minimum` in rows where the model is sure, near `maximum` where it is not."""
    sure = logits.softmax(dim=1).amax(dim=1, keepdim=True)
    return maximum - (maximum - minimum) * torch.sigmoid(10 * (sure - 0.5))


def tempered(logits: Tensor, temperature: float, minimum: float = -1.0) -> Tensor:
    """Logits divided by the temperature, which is above 0; with a `minimum` of 0 or more, by a dynamic one."""
    divisor = temperature if minimum < 0 else dynamic_temperature(logits, temperature, minimum).clamp(min=1e-6)
    # Shifted first: the largest stays 0 however small the temperature.
    return (logits - logits.amax(dim=1, keepdim=True)) / divisor


def categorical(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token for each row, (B,): the one at the place `uniform` (B,) of the cumulated probabilities."""
    cumulated = logits.double().softmax(dim=1).cumsum(dim=1)
    total = cumulated[:, -1:]
    place = (cumulated <= uniform[:, None].to(cumulated) * total).sum(dim=1)
    return place.minimum((cumulated < total).sum(dim=1))  # a uniform number rounded to 1: the last possible token


def zipf_exponent(ranked: Tensor) -> Tensor:
    """Fit Zipf's law (probability of rank r ∝ r^-s) to probabilities (B, V), sorted downwards: its exponents s (B,)."""
    kept = min(MIROSTAT_RANKS, ranked.shape[1] - 1)
    high, low = ranked[:, :kept], ranked[:, 1 : kept + 1]
    rank = torch.arange(kept, dtype=ranked.dtype, device=ranked.device)
    t = torch.log((rank + 2.0) / (rank + 1.0)).expand_as(high)
    b = torch.log(high / low)
    known = (low > 0) & torch.isfinite(b)  # filtered tokens say nothing about the tail
    b, t = torch.where(known, b, 0.0), torch.where(known, t, 0.0)
    return (b * t).sum(dim=1) / (t * t).sum(dim=1).clamp(min=1e-12)


def mirostat_k(s: Tensor, mu: Tensor, n: Tensor | int) -> Tensor:
    """(B,) how many of `n` tokens with Zipf exponent s to keep for a surprise of at most mu bits."""
    s = s.clamp(min=1e-3)
    n = torch.as_tensor(n, dtype=s.dtype, device=s.device).clamp(min=2.0)
    exponent = 1 - s
    near_one = exponent.abs() < 1e-4  # (s - 1) / (1 - n^(1 - s)) tends to 1 / ln n
    safe = torch.where(near_one, 1.0, exponent)
    share = torch.where(near_one, 1 / n.log(), safe / torch.expm1(safe * n.log()))
    k = (share * torch.exp2(mu)) ** (1 / s)
    return (torch.minimum(k, n).round() + 1).clamp(max=n).long()


def mirostat(logits: Tensor, mu: Tensor, uniform: Tensor, tau: float, eta: float) -> tuple[Tensor, Tensor]:
    """Mirostat 1 (Basu et al. 2021): tokens (B,) and the next mu (B,), which begins at 2 tau.

    mu is corrected by the token's surprise, in bits, under the distribution before the cut to k tokens.
    """
    probability = logits.double().softmax(dim=1)
    ranked = probability.sort(dim=1, descending=True).values
    k = mirostat_k(zipf_exponent(ranked), mu.double(), (ranked > 0).sum(dim=1))
    # Keep the k likeliest, as `top_k` does, but with a k for each row.
    order = logits.argsort(dim=1, descending=True, stable=True)
    cut = torch.arange(logits.shape[1], device=logits.device) >= k[:, None]
    kept = logits.masked_fill(torch.zeros_like(cut).scatter(1, order, cut), -torch.inf)
    tokens = categorical(kept, uniform)
    surprise = -probability.gather(1, tokens[:, None])[:, 0].log2()
    return tokens, (mu - eta * (surprise - tau)).to(mu.dtype)


def repetition_aware(
    logits: Tensor, full: Tensor, previous: Tensor, uniform: Tensor, second: Tensor, window: int, ratio: float
) -> Tensor:
    """Tokens (B,) of the filtered `logits`; where one fills at least `ratio` of the last `window` tokens, another is
    drawn from the `full` distribution with the uniform number `second` (VALL-E 2, section 3.3.1).
    """
    tokens = categorical(logits, uniform)
    share = (previous[:, -window:] == tokens[:, None]).sum(dim=1, dtype=torch.float32) / window
    return torch.where(share >= ratio, categorical(full, second), tokens)


@dataclass
class Beams:
    """The best continuations of each row, the best first."""

    tokens: Tensor  # (B, W)
    parents: Tensor  # (B, W) which beam each continues
    scores: Tensor  # (B, W) cumulative log-probability
    ended: Tensor  # (B, W) bool


def first_scores(rows: int, width: int, device: torch.device) -> Tensor:
    """(B, W) scores before the first step, when all beams of a row are one."""
    scores = torch.full((rows, width), -torch.inf, dtype=torch.float32, device=device)
    scores[:, 0] = 0.0
    return scores


def beam_step(logits: Tensor, scores: Tensor, ended: Tensor, stop: int) -> Beams:
    """The W best continuations of W beams: logits (B, W, V), scores and ended (B, W).

    An ended beam keeps its score and competes with the others, so a row is done once its best beam has ended.
    """
    logp = logits.log_softmax(dim=-1)
    waiting = torch.full_like(logp[0, 0], -torch.inf)
    waiting[stop] = 0.0
    total = scores[:, :, None] + torch.where(ended[:, :, None], waiting, logp)  # (B, W, V)
    best, index = total.flatten(1).sort(dim=1, descending=True, stable=True)
    width, vocabulary = scores.shape[1], logits.shape[2]
    index = index[:, :width]
    tokens = index % vocabulary
    parents = torch.div(index, vocabulary, rounding_mode="floor")
    return Beams(tokens, parents, best[:, :width], tokens == stop)


def filtered(logits: Tensor, sampling: Sampling, previous: Tensor | None = None, stop: int | None = None) -> Tensor:
    """Logits after repetition penalty, length penalty, top-k and top-p."""
    logits = penalised(logits, sampling, previous, stop)
    return top_p(top_k(logits, sampling.top_k), sampling.top_p)


def penalised(logits: Tensor, sampling: Sampling, previous: Tensor | None, stop: int | None) -> Tensor:
    """Logits after the repetition and the length penalty."""
    if previous is None:
        return logits
    logits = repetition_penalty(logits, previous, sampling.repetition_penalty, sampling.repetition_penalty_decay)
    if stop is None or sampling.length_penalty == 0.0:
        return logits
    return length_penalty(logits, (previous >= 0).sum(dim=1), sampling.length_penalty, stop)


def first_mu(sampling: Sampling, rows: int, device: torch.device) -> Tensor | None:
    """(B,) mirostat's state before the first token, None where it is off."""
    mu = 2 * sampling.mirostat_tau
    return torch.full((rows,), mu, dtype=torch.float32, device=device) if mu > 0 else None


def sample(
    logits: Tensor,
    sampling: Sampling,
    uniform: Tensor,
    second: Tensor | None = None,
    previous: Tensor | None = None,
    stop: int | None = None,
    mu: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Tokens (B,) and the next mirostat state: penalties, filters, temperature, then mirostat or a draw. A temperature
    of 0 takes the likeliest token instead of either.

    logits (B, V); uniform, second (B,) (`second` for repetition-aware sampling alone); previous (B, S): the tokens so
    far, those of rows that have fewer behind as many -1; stop: the id of the stop token, for the length penalty; mu
    (B,): the mirostat state, None where it is off.
    """
    if logits.device.type == "mps":  # it has no float64, in which tokens are drawn
        device = logits.device
        second, previous, mu = (None if x is None else x.cpu() for x in (second, previous, mu))
        tokens, mu = sample(logits.cpu(), sampling, uniform.cpu(), second, previous, stop, mu)
        return tokens.to(device), None if mu is None else mu.to(device)
    logits = penalised(logits.float(), sampling, previous, stop)
    kept = top_p(top_k(logits, sampling.top_k), sampling.top_p)
    if sampling.ar_temp == 0:
        return kept.argmax(dim=1), mu
    kept = tempered(kept, sampling.ar_temp, sampling.min_ar_temp)
    if mu is not None:
        return mirostat(kept, mu, uniform, sampling.mirostat_tau, sampling.mirostat_eta)
    if sampling.repetition_window > 0 and previous is not None and second is not None:
        full = tempered(logits, sampling.ar_temp, sampling.min_ar_temp)
        window, ratio = sampling.repetition_window, sampling.repetition_ratio
        return repetition_aware(kept, full, previous, uniform, second, window, ratio), mu
    return categorical(kept, uniform), mu
