"""The autoregressive model: the first codebook, frame by frame, and then the stop token (VALL-E, section 4.2.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.lm.alignment import alignment
from vocolab.lm.backbones.base import Backbone, Output, State, Window
from vocolab.lm.base import Condition, Losses, Response
from vocolab.lm.candidates import likeliest
from vocolab.lm.core import CodeModel, cross_entropy, hits
from vocolab.lm.decode import Decoder, decode, frames
from vocolab.lm.layout import IGNORED, at, pack, text_targets, with_stop
from vocolab.lm.medusa import MedusaHeads
from vocolab.lm.sampling import Sampling


@dataclass
class Pass:
    """A pass of the backbone over n new positions."""

    logits: Tensor  # (B, n, V) of the frame that follows each
    hidden: Tensor  # (B, n, D)
    state: State


class FirstCodebook(CodeModel):
    """How `AR`, and `Unified` at level 0, predict the first codebook.

    Each position of the sequence `text · sep · [language · sep] · prompt · sep · response` predicts what stands at the
    next: the separator before the response predicts its first frame, its last frame predicts the stop token.
    `decoder`: how it decodes frame by frame; `lm/static` gives another way.
    """

    first_table: nn.Embedding
    text_weight: float
    drafts: MedusaHeads | None
    decoder: Decoder = staticmethod(frames)

    def set_drafts(self, heads: MedusaHeads | None) -> None:
        """Give the model fresh heads, or none."""
        self.drafts = None if heads is None else heads.fit(self.classifier)

    def set_window(self, window: int | None) -> None:
        """See `AR`. Raises `UsageError` where the backbone takes no window, or it shows no frame."""
        if window is not None and window < 1:
            raise UsageError(f"window is {window}", "model", "give a number of frames above 0, or leave it out")
        if window is not None and self.backbone.no_window is not None:
            raise UsageError(f"window is {window}, but {self.backbone.no_window}", "model", "leave it out")
        self.window = window

    def check_context(self, frames: int) -> None:
        flag = f"--max-ar-context {frames}"
        if frames and self.window is None:
            why = self.backbone.no_window or "it was trained without a window"
            raise UsageError(f"the model cannot do with less of the past: {why}", flag, "leave it out")
        if self.window is not None and frames > self.window:
            what = f"the model was trained with a window of {self.window} frames"
            raise UsageError(what, flag, f"give 1 to {self.window}, or leave it out")

    def _window(self, prefix: Tensor, frames: int = 0) -> Window | None:
        """What is seen behind prefixes of lengths (B,). `frames`: fewer than was trained, 0 for as many.

        Two windows are a period: a period of four gave the same losses.
        """
        if self.window is None:
            return None
        period = 2 * self.window
        phase = torch.randint_like(prefix, period) if self.training else None
        return Window(frames or self.window, prefix, period, phase)

    def set_text_weight(self, weight: float) -> None:
        """Raises `UsageError` where there are more symbols or languages than the classifier has classes, which are the
        codes and the stop token.
        """
        if weight < 0:
            raise UsageError(f"text_weight is {weight}", "model", "give 0 or more")
        ids = max(self.symbols, self.languages)
        if weight > 0 and ids > self.size + 1:
            what = f"text_weight needs a class for each of {ids} symbols, the codes have {self.size + 1}"
            raise UsageError(what, "model", "set text_weight to 0")
        self.text_weight = weight

    def first_hidden(
        self, condition: Condition, codes: Tensor, lengths: Tensor, kept: Tensor | None = None
    ) -> tuple[Output, Tensor]:
        """The backbone's output for the sequence, with hidden states (B, T, D), and the position (B,) that predicts the
        first frame. codes (B, L): those of the first codebook.

        `kept` (B, N) bool: False blanks a symbol of the text.
        """
        segments, counts = self.prefix(condition)
        if kept is not None:
            segments[0] = segments[0] * kept[:, :, None]
        packed = pack([*segments, self.first_table(codes)], [*counts, lengths])
        x, start, window = self.at_level(packed.x, 0), packed.starts[-1], self._window(packed.starts[-1])
        if window is None:
            return self.backbone(x, packed.lengths, causal=True), start - 1
        return self.backbone(x, packed.lengths, causal=True, window=window), start - 1

    def first_logits(self, condition: Condition, codes: Tensor, lengths: Tensor, kept: Tensor | None = None) -> Tensor:
        """Logits (B, L + 1, size + 1) of each frame of codes (B, k, L) given those before it, and of what follows the
        last. Only the first codebook is read.
        """
        output, start = self.first_hidden(condition, codes[:, 0], lengths, kept)
        return self.classifier(at(output.hidden, start, codes.shape[2] + 1))

    def first_loss(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Losses:
        """The losses of the first codebook of codes (B, K, L), and of stopping behind it."""
        codes = codes[:, 0]
        output, start = self.first_hidden(condition, self.corrupted(codes), lengths)
        targets = with_stop(codes, lengths, self.stop)  # (B, L + 1)
        logits = self.classifier(at(output.hidden, start, targets.shape[1]))  # (B, L + 1, V)
        loss, plain = cross_entropy(logits, targets, self.smoothing)
        tokens = (targets != IGNORED).sum().float()
        sums = plain.new_zeros(3, self.levels)
        sums[:, 0] = torch.stack([plain.sum(), hits(logits, targets).sum().float(), tokens])
        losses = Losses(loss.sum(), tokens, sums[0], sums[1], sums[2], output.aux_loss)
        if self.text_weight > 0:
            self._add_text_loss(losses, condition, output.hidden)
        if self.drafts is not None:
            hidden = at(output.hidden, start, targets.shape[1])
            tokens = self.first_table(targets.clamp(min=0))
            self.drafts.losses(hidden, logits, targets, tokens).add_to(losses, self.drafts.weight)
        return losses

    def draft_losses(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Losses:
        """The losses of the draft heads alone on codes (B, K, L), without gradient for the rest of the model."""
        assert self.drafts is not None
        codes = codes[:, 0]
        with torch.no_grad():
            output, start = self.first_hidden(condition, codes, lengths)
            targets = with_stop(codes, lengths, self.stop)
            hidden = at(output.hidden, start, targets.shape[1])
            logits, tokens = self.classifier(hidden), self.first_table(targets.clamp(min=0))
        none = logits.new_zeros((), dtype=torch.float32)
        losses = Losses(none, none, *none.expand(3, self.levels))
        self.drafts.losses(hidden, logits, targets, tokens).add_to(losses, 1.0)
        return losses

    def _add_text_loss(self, losses: Losses, condition: Condition, hidden: Tensor) -> None:
        """Add the cross-entropy of the text and of the language, from the same hidden states (B, T, D)."""
        language = condition.language if self.languages else None
        targets = text_targets(condition.text, condition.text_lengths, language)[:, : hidden.shape[1]]
        loss, plain = cross_entropy(self.classifier(hidden[:, : targets.shape[1]]), targets)
        tokens = (targets != IGNORED).sum().float()
        losses.total = losses.total + self.text_weight * loss.sum()
        losses.tokens = losses.tokens + self.text_weight * tokens
        losses.extra = {"text_loss": plain.sum(), "text_tokens": tokens}

    def begin(self, condition: Condition, frames: int = 0) -> tuple[Tensor, State]:
        """Logits (B, V) of the first frame, and the state to go on from; `frames` as in `first_pass`."""
        first = self.first_pass(condition, frames)
        return first.logits[:, 0], first.state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, V) of the frame after tokens (B,), and the next state."""
        found = self.next_pass(tokens[:, None], state)
        return found.logits[:, 0], found.state

    def first_pass(self, condition: Condition, frames: int = 0) -> Pass:
        """The pass that predicts the first frame. The stop token is ruled out: a response has a frame at least.

        `frames`: how many of the last frames a frame sees, where the model has a window; 0 for as many as in training.
        """
        packed = pack(*self.prefix(condition))
        x, window = self.at_level(packed.x, 0), self._window(packed.lengths, frames)
        if window is None:
            output = self.backbone.extend(x, None, packed.lengths)
        else:
            output = self.backbone.extend(x, None, packed.lengths, window)
        found = self._pass(at(output.hidden, packed.lengths - 1, 1), output)
        found.logits[..., self.stop] = -torch.inf
        return found

    def next_pass(self, tokens: Tensor, state: State) -> Pass:
        """The pass over the frames (B, n) that follow those in `state`."""
        output = self.backbone.extend(self.at_level(self.first_table(tokens), 0), state)
        return self._pass(output.hidden, output)

    def _pass(self, hidden: Tensor, output: Output) -> Pass:
        assert output.state is not None
        return Pass(self.classifier(hidden).float(), hidden, output.state)

    def generate_first(
        self, condition: Condition, sampling: Sampling, seeds: Tensor, on_step: Callable[[int], None] | None
    ) -> Response:
        say = likeliest if sampling.best_of > 1 else decode
        return say(self, condition, sampling, seeds, on_step)

    def first_frames(self, condition: Condition, sampling: Sampling, seeds: Tensor) -> Iterator[Response]:
        return self.decoder(self, condition, sampling, seeds)

    def alignment(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
        """(B, N, L) how much each frame of codes (B, k, L) owes to each symbol of the text, for pictures: one pass of
        the network a symbol.
        """
        self.check(condition)
        return alignment(self, condition, codes, lengths)


class AR(FirstCodebook):
    """Predicts codebook 0 of the response and when it ends.

    `text_weight` above 0 adds the text's own cross-entropy with that weight. The paper has 0, the program `vall_e` 1.
    `corrupt`: the share of its input codes that random ones replace in training, so that it repeats itself less.
    `drafts`: heads that guess frames ahead, for `Sampling.draft`.
    `window`: a frame sees the last so many frames, itself included, and always the text and the prompt
    (`backbones.Window`); None for all. So it speaks beyond the length it was trained on, in constant time a frame and
    constant memory. Give a third of the frames that responses of the training have, or less, so that they teach it.
    """

    def __init__(
        self,
        backbone: Backbone,
        levels: int = 8,
        size: int = 1024,
        symbols: int = 256,
        languages: int = 0,
        text_weight: float = 0.0,
        corrupt: float = 0.0,
        label_smoothing: float = 0.0,
        drafts: MedusaHeads | None = None,
        window: int | None = None,
    ):
        super().__init__(backbone, levels, size, symbols, languages, corrupt, label_smoothing, first=True, rest=False)
        self.set_text_weight(text_weight)
        self.set_window(window)
        self.set_drafts(drafts)

    def loss(self, condition: Condition, codes: Tensor, lengths: Tensor, levels: Tensor | None = None) -> Losses:
        self.check(condition, codes)
        return self.first_loss(condition, codes, lengths)

    def logits(self, condition: Condition, codes: Tensor, lengths: Tensor) -> Tensor:
        """See `first_logits`."""
        self.check(condition)
        return self.first_logits(condition, codes, lengths)
