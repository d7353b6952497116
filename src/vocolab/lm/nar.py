"""The non-autoregressive model: the codebooks after the first, each for all frames at once (VALL-E, section 4.2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vocolab.lm.backbones.base import Backbone, Output, padding_mask
from vocolab.lm.base import Condition, Losses, Response
from vocolab.lm.core import CodeModel, check_share, cross_entropy, hits
from vocolab.lm.layout import IGNORED, at, pack
from vocolab.lm.sampling import Sampling, sample
from vocolab.rng import uniforms


class RestCodebooks(CodeModel):
    """How `NAR`, and `Unified` above level 0, predict the codebooks after the first.

    The sequence is that of the AR. Each frame of the response is the sum of the embeddings of its codebooks below the
    level, and its position predicts its own code of the level: nothing is shifted.
    """

    text_dropout: float
    voice_summary: bool
    voice: nn.Linear | None  # maps the prompt's mean to what is added to every frame of the response

    def set_text_and_voice(self, text_dropout: float, voice_summary: bool) -> None:
        self.text_dropout = check_share("text_dropout", text_dropout)
        self.voice_summary = voice_summary
        self.voice = None
        if voice_summary:
            self.voice = nn.Linear(self.backbone.dim, self.backbone.dim, bias=False)
            nn.init.normal_(self.voice.weight, std=0.02)

    def rest_hidden(
        self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor, longest: int | None = None
    ) -> tuple[Output, Tensor]:
        """The backbone's output for the sequence, with hidden states (B, T, D), and the position (B,) of the response's
        first frame. Of codes (B, k, L), row b reads the codebooks below levels[b]. `longest`: see `pack`.
        """
        segments, counts = self.prefix(condition)
        if self.text_dropout > 0 and self.training:
            dropped = torch.rand(len(condition), dtype=torch.float32, device=lengths.device) < self.text_dropout
            counts[0] = counts[0].masked_fill(dropped, 0)
        response = self.response(condition, segments[-2], codes, levels)
        packed = pack([*segments, response], [*counts, lengths], longest)
        output = self.backbone(self.at_level(packed.x, levels), packed.lengths, causal=False, level=levels)
        return output, packed.starts[-1]

    def response(self, condition: Condition, prompt: Tensor, codes: Tensor, levels: Tensor) -> Tensor:
        """The response's positions (B, L, D) of the sequence; prompt (B, P, D): those of the prompt. Of codes
        (B, k, L), row b reads the codebooks below levels[b].
        """
        response = torch.zeros((), device=codes.device)
        for k, table in enumerate(self.rest_tables[: codes.shape[1]]):
            # Rows that do not read a table multiply it by 0 instead of leaving it out: distributed training waits for
            # the gradient of every table, whatever levels were drawn.
            read = (levels > k)[:, None, None]
            response = response + table(codes[:, k]) * read  # (B, L, D)
        if self.voice is not None:
            real = padding_mask(condition.prompt_lengths, condition.prompt.shape[2])[:, :, None]
            mean = (prompt * real).sum(dim=1) / condition.prompt_lengths.clamp(min=1)[:, None]
            response = response + self.voice(mean)[:, None]
        return response

    def rest_logits(
        self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor, longest: int | None = None
    ) -> Tensor:
        """Logits (B, L, size + 1) of codebook levels[b] of each frame. Of codes (B, k, L), only the codebooks below
        that level are read. `longest`: see `pack`.
        """
        output, start = self.rest_hidden(condition, codes, lengths, levels, longest)
        return self.classifier(at(output.hidden, start, codes.shape[2]))

    def rest_loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        """The losses of codebook levels[b] of codes (B, K, L); None draws a level after the first for each row."""
        if levels is None:
            levels = torch.randint(1, self.levels, lengths.shape, device=lengths.device)
        output, start = self.rest_hidden(condition, self.corrupted(codes), lengths, levels)
        logits = self.classifier(at(output.hidden, start, codes.shape[2]))  # (B, L, V)
        index = levels[:, None, None].expand(-1, 1, codes.shape[2])
        targets = codes.gather(1, index)[:, 0].masked_fill(~padding_mask(lengths, codes.shape[2]), IGNORED)  # (B, L)
        loss, plain = cross_entropy(logits, targets, self.smoothing)
        rows = torch.stack([plain.sum(dim=1), hits(logits, targets).sum(dim=1).float(), lengths.float()])  # (3, B)
        sums = rows.new_zeros(3, self.levels).index_add(1, levels, rows)
        return Losses(loss.sum(), lengths.sum().float(), sums[0], sums[1], sums[2], output.aux_loss)

    def generate_rest(
        self,
        condition: Condition,
        sampling: Sampling,
        first: Response,
        seeds: Tensor,
        said: Tensor | None = None,
        start: int = 0,
    ) -> Response:
        """At most `max_nar_levels` codebooks after the first.

        What waits for the device, the drawing and the longest row, comes before the first level.
        """
        lengths, codes = first.lengths, first.codes
        known = 0 if said is None else said.shape[2]  # frames
        padding = ~padding_mask(lengths, codes.shape[2])[:, known:]
        chosen = sampling.for_nar()
        levels = range(codes.shape[1], min(self.levels, sampling.max_nar_levels + 1))
        drawn = [uniforms(seeds, padding.shape[1], stream=1 + level, start=start + known) for level in levels]
        longest = int(torch.stack([*self.prefix(condition)[1], lengths]).sum(dim=0).max())
        for level, uniform in zip(levels, drawn, strict=True):
            tokens = self.level_codes(condition, codes, lengths, level, uniform, chosen, longest)
            tokens = tokens.masked_fill(padding, 0)
            if said is not None:
                tokens = torch.cat([said[:, level], tokens], dim=1)
            codes = torch.cat([codes, tokens[:, None]], dim=1)
        return Response(codes, lengths, first.stopped, first.steps, first.passes)

    def level_codes(
        self,
        condition: Condition,
        codes: Tensor,
        lengths: Tensor,
        level: int,
        uniform: Tensor,
        sampling: Sampling,
        longest: int,
    ) -> Tensor:
        """Codes (B, n) of a level for the last n frames of those in codes (B, level, L), drawn with the numbers uniform
        (B, n). Asks the device for nothing, but for the experts of a mixture.
        """
        logits = self.rest_logits(condition, codes, lengths, torch.full_like(lengths, level), longest)
        logits = logits[:, logits.shape[1] - uniform.shape[1] :, : self.size]  # without the stop token
        tokens, _ = sample(logits.flatten(0, 1), sampling, uniform.flatten())
        return tokens.view_as(uniform)


class NAR(RestCodebooks):
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
        super().__init__(
            backbone, levels, size, symbols, languages, corrupt, label_smoothing, False, True, level_embedding
        )
        self.set_text_and_voice(text_dropout, voice_summary)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        self.check(condition, codes)
        return self.rest_loss(condition, codes, lengths, levels)

    def logits(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor) -> Tensor:
        """See `rest_logits`."""
        self.check(condition)
        return self.rest_logits(condition, codes, lengths, levels)
