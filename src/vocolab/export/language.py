"""A language model of codes as ONNX graphs: the step of the AR with its cache, and the pass of the NAR for a level."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vocolab.attention import scaled_dot_product_attention
from vocolab.errors import VocolabError
from vocolab.export.graph import REMEDY, Graph, Run
from vocolab.export.parts import expressible
from vocolab.lm import Condition, LanguageModel, Split
from vocolab.lm.ar import FirstCodebook
from vocolab.lm.backbones.bitnet import BitLinear
from vocolab.lm.backbones.cache import AttentionStack
from vocolab.lm.nar import RestCodebooks

# Rows, symbols of text, frames of the prompt and of the response that a file is checked at.
CASES = ((1, 1, 1, 3), (3, 9, 5, 20), (1, 40, 75, 60))


class GivenCache:
    """Attention over the keys and values of a tensor (layers, 2, B, H, past, Dh) and those of n new positions."""

    def __init__(self, cache: Tensor, n: int, prefix: int, window: int | None):
        self.cache = cache
        self.layers: list[Tensor] = []  # keys and values of all positions: the cache of the next step
        past = cache.shape[4]
        places = torch.arange(past, past + n)[:, None]
        slots = torch.arange(past + n)
        seen = slots <= places  # (n, past + n)
        self.period = None if window is None else 2 * window
        self.positions = places.T if self.period is None else places.T % self.period
        self.mask = seen if window is None else seen & ((slots < prefix) | (places - slots < window))

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, n, Dh) of layer `index` -> (B, H, n, Dh)."""
        keys, values = torch.cat([self.cache[index, 0], k], 2), torch.cat([self.cache[index, 1], v], 2)
        self.layers.append(torch.stack([keys, values]))
        return scaled_dot_product_attention(q, keys, values, self.mask)


class Step(nn.Module):
    """One graph begins and goes on: of `text · sep · [language · sep] · prompt · sep · codes`, the positions that are
    in the cache are left out, and those behind them computed.
    """

    def __init__(self, model: FirstCodebook):
        super().__init__()
        self.model = model

    def forward(
        self, text: Tensor, prompt: Tensor, codes: Tensor, cache: Tensor, language: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """text (B, N), prompt (B, K, P), codes (B, n) so far, cache (layers, 2, B, H, past, Dh), language (B,) ->
        logits (B, V) of the next code, and the next cache.

        All rows have texts of one length, and prompts of one length.
        """
        model, condition = self.model, whole(text, prompt, language)
        segments, _ = model.prefix(condition)
        prefix = torch.cat(segments, 1)
        x = torch.cat([prefix, model.first_table(codes)], 1)
        x = model.at_level(x, 0)[:, cache.shape[4] :]
        context = GivenCache(cache, x.shape[1], prefix.shape[1], model.window)
        assert isinstance(model.backbone, AttentionStack)
        hidden = model.backbone.pass_through(x, context, None, None).hidden[:, -1]
        logits = model.classifier(hidden)
        # A response has a frame at least.
        first = torch.ones_like(codes).sum(1)[:, None] == 0
        stop = torch.arange(model.size + 1) == model.stop
        return logits.masked_fill(first & stop, -torch.inf), torch.stack(context.layers)


class Level(nn.Module):
    def __init__(self, model: RestCodebooks):
        super().__init__()
        self.model = model

    def forward(
        self, text: Tensor, prompt: Tensor, codes: Tensor, level: Tensor, language: Tensor | None = None
    ) -> Tensor:
        """text (B, N), prompt (B, K, P), codes (B, K, L) of which those below level (B,) are read, language (B,) ->
        logits (B, L, size) of the codes of that level.

        All rows have texts of one length, and prompts of one length.
        """
        model, condition = self.model, whole(text, prompt, language)
        segments, _ = model.prefix(condition)
        response = model.response(condition, segments[-2], codes[:, : model.levels - 1], level)
        x = model.at_level(torch.cat([*segments, response], 1), level)
        assert isinstance(model.backbone, AttentionStack)
        context = model.backbone.whole(full(x[:, :, 0]), x.shape[1], False)
        hidden = model.backbone.pass_through(x, context, None, level).hidden[:, -codes.shape[2] :]
        return model.classifier(hidden)[..., : model.size]


def full(x: Tensor) -> Tensor:
    """The lengths (B,) of rows x (B, …, n) without padding."""
    return torch.full((x.shape[0],), x.shape[-1])


def whole(text: Tensor, prompt: Tensor, language: Tensor | None) -> Condition:
    """The condition of rows without padding."""
    return Condition(text, full(text), prompt, full(prompt), language)


def graphs(lm: LanguageModel, where: object) -> dict[str, Graph]:
    """The graphs of a model by their names, `ar` and `nar`, of which it may have one alone."""
    first = lm.ar if isinstance(lm, Split) else lm
    rest = lm.nar if isinstance(lm, Split) else lm
    found = {}
    if isinstance(first, FirstCodebook):
        _check_backbone(first, where)
        found["ar"] = step_graph(first)
    if isinstance(rest, RestCodebooks):
        _check_backbone(rest, where)
        found["nar"] = level_graph(rest)
    if not found:
        raise VocolabError(f"{type(lm).__name__} cannot be written as ONNX", where, REMEDY)
    return found


def _check_backbone(model: FirstCodebook | RestCodebooks, where: object) -> None:
    """Raise `VocolabError` where the backbone of `model` has no form in ONNX."""
    name = type(model.backbone).__name__
    if any(isinstance(part, BitLinear) for part in model.modules()):
        what = f"{name} rounds its activations, and onnxruntime would round some otherwise"
        raise VocolabError(what, where, REMEDY)
    if not isinstance(model.backbone, AttentionStack):
        raise VocolabError(f"{name} does not decode by attention, which is all that is written as ONNX", where, REMEDY)


def step_graph(model: FirstCodebook) -> Graph:
    backbone = model.backbone
    assert isinstance(backbone, AttentionStack)
    sizes = backbone.layers, 2
    heads, width = backbone.heads, backbone.dim // backbone.heads

    def pairs(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, symbols, frames, count in CASES:
            inputs = _condition(model, rows, symbols, frames)
            codes = _random(model.size, rows, count, seed=count)
            condition = whole(inputs["text"], inputs["prompt"], inputs.get("language"))
            expected = model.first_logits(condition, codes[:, None], full(codes))
            expected[:, 0, model.stop] = -torch.inf
            cache = torch.zeros(*sizes, rows, heads, 0, width)
            for seen in (0, 1, 2, count):  # the last one takes several codes at once
                logits, cache = run({**inputs, "codes": codes[:, :seen], "cache": cache})
                yield logits, expected[:, seen]

    example = _condition(model, 2, 3, 4)
    language = {name: example.pop(name) for name in ("language",) if name in example}
    example |= {"codes": _random(model.size, 2, 2), "cache": torch.zeros(*sizes, 2, heads, 5, width)} | language
    axes = {
        **_axes(),
        "codes": {0: "batch", 1: "codes"},
        "cache": {2: "batch", 4: "past"},
        "logits": {0: "batch"},
        "next_cache": {2: "batch", 4: "positions"},
    }
    return Graph(Step(expressible(model)), example, ("logits", "next_cache"), axes, pairs)


def level_graph(model: RestCodebooks) -> Graph:
    def pairs(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, symbols, frames, count in CASES:
            inputs = _condition(model, rows, symbols, frames)
            codes = _random(model.size, rows, model.levels, count, seed=count)
            level = 1 + torch.arange(rows) % (model.levels - 1)
            condition = whole(inputs["text"], inputs["prompt"], inputs.get("language"))
            expected = model.rest_logits(condition, codes, full(codes), level)[..., : model.size]
            yield run({**inputs, "codes": codes, "level": level})[0], expected

    example = _condition(model, 2, 3, 4)
    language = {name: example.pop(name) for name in ("language",) if name in example}
    example |= {"codes": _random(model.size, 2, model.levels, 6), "level": torch.ones(2, dtype=torch.long)} | language
    axes = {**_axes(), "codes": {0: "batch", 2: "codes"}, "level": {0: "batch"}, "logits": {0: "batch", 1: "codes"}}
    return Graph(Level(expressible(model)), example, ("logits",), axes, pairs)


def _axes() -> dict[str, dict[int, str]]:
    return {"text": {0: "batch", 1: "symbols"}, "prompt": {0: "batch", 2: "frames"}, "language": {0: "batch"}}


def _condition(model: FirstCodebook | RestCodebooks, rows: int, symbols: int, frames: int) -> dict[str, Tensor]:
    inputs = {"text": _random(model.symbols, rows, symbols), "prompt": _random(model.size, rows, model.levels, frames)}
    return inputs | ({"language": _random(model.languages, rows)} if model.languages else {})


def _random(size: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))
