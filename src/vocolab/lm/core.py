"""What the language models of codes share: tables, a backbone, one classifier, and the reckoning of losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.errors import UsageError, VocolabError
from vocolab.lm.backbones.base import Backbone
from vocolab.lm.base import Condition, LanguageModel
from vocolab.lm.layout import IGNORED

TOP = 10  # the accuracy: the target is among so many likeliest
STD = 0.2  # of the tables: of the size of the positions that backbones add, and learnt faster than .02 or 1


class CodeModel(LanguageModel):
    """A backbone between embedding tables and a classifier.

    `first`: the model predicts the first codebook, and so has a table for it that holds the stop token; `rest`: it
    predicts the others, and so has tables for all but the last. A model holds no table that it does not use:
    distributed training waits for the gradient of every parameter.
    """

    label_smoothing: float

    def __init__(
        self,
        backbone: Backbone,
        levels: int,
        size: int,
        symbols: int,
        languages: int,
        first: bool,
        rest: bool,
        level_embedding: bool = False,
    ):
        super().__init__()
        for name, value, least in (("levels", levels, 1 + rest), ("size", size, 1), ("symbols", symbols, 1)):
            if value < least:
                raise UsageError(f"{name} is {value}", type(self).__name__, f"give {least} or more")
        self.backbone = backbone
        self.levels, self.size, self.symbols, self.languages = levels, size, symbols, languages
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
        # Small, so that a fresh model's guess is even over the classes; the backbone's initialisation is its own.
        for part in self.children():
            if part is not self.backbone:
                for weight in part.parameters():
                    nn.init.normal_(weight, std=STD)
        nn.init.normal_(self.sep, std=STD)
        nn.init.normal_(self.classifier.weight, std=0.2 * self.classifier.in_features**-0.5)
        nn.init.zeros_(self.classifier.bias)

    @property
    def smoothing(self) -> float:
        """Of the labels, in training alone: what evaluation measures is the plain loss."""
        return self.label_smoothing if self.training else 0.0

    @property
    def stop(self) -> int:
        """The token that ends a response."""
        return self.size

    def prefix(self, condition: Condition) -> tuple[list[Tensor], list[Tensor]]:
        """The segments `text · sep · [language · sep] · prompt · sep`, each (B, n, D), and their lengths (B,)."""
        self._check(condition)
        rows = len(condition)
        sep, one = self.sep.expand(rows, 1, -1), torch.ones_like(condition.text_lengths)
        segments, counts = [self.text_table(condition.text), sep], [condition.text_lengths, one]
        if self.language_table is not None:
            segments += [self.language_table(condition.language)[:, None], sep]
            counts += [one, one]
        prompt = sum(table(condition.prompt[:, k]) for k, table in enumerate(self.prompt_tables))
        return [*segments, prompt, sep], [*counts, condition.prompt_lengths, one]

    def at_level(self, x: Tensor, level: Tensor | int) -> Tensor:
        """x (B, L, D) with the embedding of the level, (B,) or one for all, where the model has such."""
        if self.level_table is None:
            return x
        return x + (self.level_table.weight[level] if isinstance(level, int) else self.level_table(level)[:, None])

    def _check(self, condition: Condition) -> None:
        if self.languages and condition.language is None:
            raise VocolabError("missing, and the model was trained with languages", "language", "name one")
        _check_range("text", condition.text, self.symbols, "the symbol map of another model?")
        if self.languages:
            _check_range("language", condition.language, self.languages, "the languages of another model?")
        self.check_codes(condition.prompt, "prompt")

    def check_codes(self, codes: Tensor, name: str = "codes") -> None:
        """Whether codes (B, K, L) can be this model's."""
        if codes.shape[1] != self.levels:
            raise VocolabError(
                f"{codes.shape[1]} codebooks, the model has {self.levels}", name, "take the codec it was trained with"
            )
        _check_range(name, codes, self.size, "the codes of another codec?")

    def corrupted(self, codes: Tensor, share: float) -> Tensor:
        """Codes of which `share` are random ones, in training."""
        if share == 0.0 or not self.training:
            return codes
        wrong = torch.rand(codes.shape, dtype=torch.float32, device=codes.device) < share
        return torch.where(wrong, torch.randint_like(codes, self.size), codes)


def _check_range(name: str, ids: Tensor, count: int, remedy: str) -> None:
    # On the CPU alone: elsewhere the look would hold up the device at every step.
    if ids.device.type == "cpu" and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise VocolabError(f"ids from {int(ids.min())} to {int(ids.max())}, the model has {count}", name, remedy)


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
