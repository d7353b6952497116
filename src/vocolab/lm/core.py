"""What the language models of codes share: embedding tables, a backbone, one classifier, and the cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.base import Condition, LanguageModel
from vocolab.lm.layout import IGNORED

TOP = 10  # a hit: the target is among that many likeliest classes
STD = 0.2  # standard deviation of fresh embeddings; models with 0.02 and with 1 learnt slower


class CodeModel(LanguageModel):
    """A backbone between embedding tables and a classifier.

    A model holds no table that it does not use: distributed training waits for the gradient of every parameter.
    """

    first_table: nn.Embedding | None  # the codes of the first codebook in the response, and the stop token
    rest_tables: nn.ModuleList  # the codes of the response that are read to predict the codebooks after the first

    def __init__(
        self,
        backbone: Backbone,
        levels: int,
        size: int,
        symbols: int,
        languages: int,
        corrupt: float,
        label_smoothing: float,
        first: bool,
        rest: bool,
        level_embedding: bool = False,
    ):
        """
        Args:
            first: the model predicts the first codebook.
            rest: it predicts the others.
        """
        super().__init__()
        for name, value, least in (("levels", levels, 1 + rest), ("size", size, 1), ("symbols", symbols, 1)):
            if value < least:
                raise UsageError(f"{name} is {value}", type(self).__name__, f"give {least} or more")
        self.corrupt = check_share("corrupt", corrupt)
        self.label_smoothing = check_share("label_smoothing", label_smoothing)
        self.backbone = backbone
        self.levels, self.size, self.symbols, self.languages = levels, size, symbols, languages
        self.level_embedding = level_embedding
        dim = backbone.dim
        self.text_table = nn.Embedding(symbols, dim)
        self.language_table = nn.Embedding(languages, dim) if languages else None
        self.sep = nn.Parameter(torch.empty(dim))
        self.prompt_tables = nn.ModuleList(nn.Embedding(size, dim) for _ in range(levels))
        self.first_table = nn.Embedding(size + 1, dim) if first else None
        self.rest_tables = nn.ModuleList(nn.Embedding(size, dim) for _ in range(levels - 1 if rest else 0))
        self.level_table = nn.Embedding(levels, dim) if level_embedding else None
        self.classifier = nn.Linear(dim, size + 1)
        self._init_weights()

    def _init_weights(self) -> None:
        for part in self.children():
            if part is not self.backbone:  # it has initialised itself
                for weight in part.parameters():
                    nn.init.normal_(weight, std=STD)
        nn.init.normal_(self.sep, std=STD)
        # Small, so that a fresh model holds all classes about equally likely.
        nn.init.normal_(self.classifier.weight, std=0.2 * self.classifier.in_features**-0.5)
        nn.init.zeros_(self.classifier.bias)

    @property
    def smoothing(self) -> float:
        """The label smoothing in training, 0 in evaluation, which measures the plain loss."""
        return self.label_smoothing if self.training else 0.0

    @property
    def stop(self) -> int:
        """The token that ends a response."""
        return self.size

    def prefix(self, condition: Condition) -> tuple[list[Tensor], list[Tensor]]:
        """The segments `text · sep · [language · sep] · prompt · sep`, each (B, n, D), and their lengths (B,)."""
        rows = condition.text.shape[0]
        sep, one = self.sep.expand(rows, 1, -1), torch.ones_like(condition.text_lengths)
        segments, counts = [self.text_table(condition.text), sep], [condition.text_lengths, one]
        if self.language_table is not None:
            segments += [self.language_table(condition.language)[:, None], sep]
            counts += [one, one]
        prompt = sum(table(condition.prompt[:, k]) for k, table in enumerate(self.prompt_tables))
        return [*segments, prompt, sep], [*counts, condition.prompt_lengths, one]

    def at_level(self, x: Tensor, level: Tensor | int) -> Tensor:
        """x (B, L, D) plus the embedding of the level, (B,) or one for all; x itself in a model without level table."""
        if self.level_table is None:
            return x
        return x + (self.level_table.weight[level] if isinstance(level, int) else self.level_table(level)[:, None])

    def corrupted(self, codes: Tensor) -> Tensor:
        """In training, the codes with a share of `corrupt` replaced by random ones."""
        if self.corrupt == 0.0 or not self.training:
            return codes
        wrong = torch.rand(codes.shape, dtype=torch.float32, device=codes.device) < self.corrupt
        return torch.where(wrong, torch.randint_like(codes, self.size), codes)


def check_share(name: str, value: float) -> float:
    """A share of something, 0 to below 1."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} is {value}", "model", "give a share from 0 to below 1")
    return value


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The loss of each position (B, n), and the plain cross-entropy without gradient; 0 where a target is `IGNORED`.

    logits (B, n, V), targets (B, n).
    """
    logits = logits.float().transpose(1, 2)
    plain = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    if smoothing == 0.0:
        return plain, plain.detach()
    smooth = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    return smooth, plain.detach()


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, n) bool: the target is among the ten likeliest."""
    score = logits.gather(2, targets.clamp(min=0)[:, :, None])
    return ((logits > score).sum(dim=2) < TOP) & (targets != IGNORED)
