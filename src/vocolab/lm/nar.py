"""The non-autoregressive model: the codebooks after the first, each for all frames at once (VALL-E, section 4.2.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vocolab.errors import VocolabError
from vocolab.lm.backbones.base import Backbone, Output, padding_mask
from vocolab.lm.base import Condition, Losses, Response
from vocolab.lm.core import CodeModel, check_share, cross_entropy, hits
from vocolab.lm.decode import fresh_seeds
from vocolab.lm.layout import IGNORED, at, pack
from vocolab.lm.sampling import Sampling, sample
from vocolab.rng import uniforms


class NAR(CodeModel):
    """Predicts codebook l >= 1 of every frame from all codebooks below it, seeing both ways.

    The level is told by a `level_embedding` at every position and, where the backbone is adaptive, by its norms; the
    paper has the norms alone. For small data: `corrupt` is the share of the input codes that are random ones in
    training, `text_dropout` that of the rows trained without their text, and `voice_summary` adds the prompt's mean,
    through a linear map, to every frame of the response, so that a small model hears the voice.
    """

    def __init__(
        self,
        backbone: Backbone,
        levels: int = 8,
        size: int = 1024,
        symbols: int = 256,
        languages: int = 0,
        level_embedding: bool = True,
        corrupt: float = 0.0,
        text_dropout: float = 0.0,
        voice_summary: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(backbone, levels, size, symbols, languages, False, True, level_embedding)
        self.level_embedding = level_embedding
        self.corrupt = check_share("corrupt", corrupt)
        self.text_dropout = check_share("text_dropout", text_dropout)
        self.voice_summary = voice_summary
        self.voice = summary(backbone.dim) if voice_summary else None
        self.label_smoothing = check_share("label_smoothing", label_smoothing)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        if levels is None:
            levels = torch.randint(1, self.levels, lengths.shape, device=lengths.device)
        return level_loss(self, condition, codes, lengths, levels)

    def logits(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor) -> Tensor:
        """(B, L, size + 1): what the model thinks of codebook levels[b] of each frame, of codes (B, k, L) only those
        below that level being read.
        """
        return level_logits(self, condition, codes, lengths, levels)[0]

    def generate(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response | None = None,
        seeds: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Response:
        if first is None:
            raise VocolabError("a NAR needs the first codebook", "generate", "give `first`, or take Split or Unified")
        return refine(self, condition, sampling, first, seeds)


def summary(dim: int) -> nn.Linear:
    """The map of `voice_summary`."""
    linear = nn.Linear(dim, dim, bias=False)
    nn.init.normal_(linear.weight, std=0.02)
    return linear


def level_logits(
    model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor
) -> tuple[Tensor, Output]:
    """Logits (B, L, V) of codebook levels[b] from the codebooks of codes (B, k, L) below it."""
    segments, counts = model.prefix(condition)
    if model.text_dropout > 0 and model.training:
        dropped = torch.rand(len(condition), dtype=torch.float32, device=lengths.device) < model.text_dropout
        counts[0] = counts[0].masked_fill(dropped, 0)
    response = torch.zeros((), device=lengths.device)
    for k, table in enumerate(model.rest_tables[: codes.shape[1]]):
        # Every table takes part whatever the levels drawn, with nothing where a row does not read it: distributed
        # training waits for every gradient.
        read = (levels > k)[:, None, None]
        response = response + table(codes[:, k]) * read  # (B, L, D)
    if model.voice is not None:
        prompt = segments[-2] * padding_mask(condition.prompt_lengths, condition.prompt.shape[2])[:, :, None]
        mean = prompt.sum(dim=1) / condition.prompt_lengths.clamp(min=1)[:, None]
        response = response + model.voice(mean)[:, None]
    packed = pack([*segments, response], [*counts, lengths])
    output = model.backbone(model.at_level(packed.x, levels), packed.lengths, causal=False, level=levels)
    return model.classifier(at(output.hidden, packed.starts[-1], codes.shape[2])), output


def level_loss(model: CodeModel, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor) -> Losses:
    """Of codebook levels[b] of codes (B, K, L), at the same position as what is read of the frame."""
    model.check_codes(codes)
    logits, output = level_logits(model, condition, model.corrupted(codes, model.corrupt), lengths, levels)
    index = levels[:, None, None].expand(-1, 1, codes.shape[2])
    targets = codes.gather(1, index)[:, 0].masked_fill(~padding_mask(lengths, codes.shape[2]), IGNORED)  # (B, L)
    loss, plain = cross_entropy(logits, targets, model.smoothing)
    rows = torch.stack([plain.sum(dim=1), hits(logits, targets).sum(dim=1).float(), lengths.float()])  # (3, B)
    sums = rows.new_zeros(3, model.levels).index_add(1, levels, rows)
    return Losses(loss.sum(), lengths.sum().float(), sums[0], sums[1], sums[2], output.aux_loss)


@torch.no_grad()
def refine(
    model: CodeModel, condition: Condition, sampling: Sampling, first: Response, seeds: Tensor | None = None
) -> Response:
    """The response with the codebooks that it lacks, up to `max_nar_levels` after the first."""
    seeds, lengths, codes = fresh_seeds(seeds, condition), first.lengths, first.codes
    padding = ~padding_mask(lengths, codes.shape[2])
    chosen = sampling.for_nar()
    for level in range(codes.shape[1], min(model.levels, sampling.max_nar_levels + 1)):
        levels = torch.full_like(lengths, level)
        logits = level_logits(model, condition, codes, lengths, levels)[0][..., : model.size]  # the rest cannot stop
        uniform = uniforms(seeds, codes.shape[2], stream=1 + level)
        tokens, _ = sample(logits.flatten(0, 1), chosen, uniform.flatten())
        tokens = tokens.view_as(padding).masked_fill(padding, 0)
        codes = torch.cat([codes, tokens[:, None]], dim=1)
    return Response(codes, lengths, first.stopped, first.steps)
