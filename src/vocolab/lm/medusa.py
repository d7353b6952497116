"""Heads that guess the frames after the next one, so that one pass of the backbone can test several (Medusa, Cai et al.
2024). Each head also sees the tokens guessed before its own (Hydra, Ankner et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocolab.errors import UsageError
from vocolab.lm.base import Losses
from vocolab.lm.layout import IGNORED


@dataclass
class HeadLosses:
    """Sums over the tokens that each of the H heads guesses."""

    loss: Tensor  # (H,) cross-entropy against the distribution of the autoregressive model
    hits: Tensor  # (H,) how often head and model hold the same token the likeliest, without gradient
    tokens: Tensor  # (H,) float

    def add_to(self, losses: Losses, weight: float) -> None:
        """Add them to the losses of the model, and their sums by head to what is logged."""
        losses.total = losses.total + weight * self.loss.sum()
        losses.tokens = losses.tokens + weight * self.tokens.sum()
        for name, sums in (("loss", self.loss), ("acc", self.hits), ("tokens", self.tokens)):
            losses.extra |= {f"draft_{number}_{name}": value for number, value in enumerate(sums, 1)}


class Head(nn.Module):
    """Residual SiLU blocks and a classifier."""

    def __init__(self, dim: int, classes: int, blocks: int, dropout: float):
        super().__init__()
        self.token = nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(nn.Linear(dim, dim) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, classes)
        for block in self.blocks:  # a fresh head passes on what it is given
            assert isinstance(block, nn.Linear)
            nn.init.zeros_(block.weight)
            nn.init.zeros_(block.bias)

    def forward(self, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """What the head before made of the position, x (..., D), and the embedding of the token that was guessed there
        -> what it makes of it, (..., D), and logits (..., V) of the token after.
        """
        x = x + self.token(token)
        for block in self.blocks:
            x = x + self.dropout(F.silu(block(x)))
        return x, self.classifier(x)


class MedusaHeads(nn.Module):
    """Head i guesses the frame i + 2 behind a position; what the model itself predicts there is the first behind it.

    `count`: how many heads, so how many frames are guessed at once. `blocks`: of each head. `weight`: of their loss
    where they are trained together with the model. The model that they belong to gives them their size (`fit`).
    """

    def __init__(self, count: int = 3, blocks: int = 1, dropout: float = 0.0, weight: float = 0.1):
        super().__init__()
        for name, value in (("count", count), ("blocks", blocks)):
            if value < 1:
                raise UsageError(f"{name} is {value}", "MedusaHeads", "give 1 or more")
        if weight < 0:
            raise UsageError(f"weight is {weight}", "MedusaHeads", "give 0 or more")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout is {dropout}", "MedusaHeads", "give a share from 0 to below 1")
        self.count, self.blocks, self.dropout, self.weight = count, blocks, dropout, weight
        self.heads = nn.ModuleList()

    def fit(self, classifier: nn.Linear) -> MedusaHeads:
        """Fresh heads for a model with this classifier, with whose weights their own classifiers begin."""
        dim, classes = classifier.in_features, classifier.out_features
        self.heads = nn.ModuleList(Head(dim, classes, self.blocks, self.dropout) for _ in range(self.count))
        for head in self.heads:
            assert isinstance(head, Head)
            head.classifier.load_state_dict(classifier.state_dict())
        return self

    @property
    def sums(self) -> list[str]:
        """The names of what `HeadLosses.add_to` logs."""
        return [f"draft_{number}_{name}" for number in range(1, self.count + 1) for name in ("loss", "acc", "tokens")]

    def guess(self, number: int, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Head `number`: see `Head.forward`."""
        found: tuple[Tensor, Tensor] = self.heads[number](x, token)
        return found

    def losses(self, hidden: Tensor, logits: Tensor, targets: Tensor, tokens: Tensor) -> HeadLosses:
        """The losses of the heads at positions (B, n) that are to predict `targets` (B, n), whose embeddings are
        `tokens` (B, n, D), with the model's hidden states (B, n, D) and its logits (B, n, V), which the heads learn to
        foretell.
        """
        x, sums = hidden, []
        for number in range(self.count):
            ahead = number + 1  # position j has seen the targets j ... j + number, and guesses target j + ahead
            if ahead >= targets.shape[1]:
                zero = 0.0 * x.sum() + 0.0 * sum(p.sum() for p in self.heads[number].parameters())
                sums.append(torch.stack([zero, zero, zero]))
                continue
            x, guessed = self.guess(number, x[:, : targets.shape[1] - ahead], tokens[:, number:-1])
            wanted = logits[:, ahead:].detach().float()
            real = targets[:, ahead:] != IGNORED
            loss = -(wanted.softmax(-1) * guessed.float().log_softmax(-1)).sum(-1)
            same = guessed.argmax(-1) == wanted.argmax(-1)
            sums.append(torch.stack([loss[real].sum(), (same & real).sum().float(), real.sum().float()]))
        loss, hits, count = torch.stack(sums, 1)
        return HeadLosses(loss, hits.detach(), count.detach())
