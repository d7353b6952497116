"""Small parts for the training of language models of codes: a backbone of a few lines, a codec of noise, batches that
are a pure function of their number.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vocolab.codecs import Codec
from vocolab.data.batches import SpeechBatch
from vocolab.lm.backbones.base import Backbone, Output, padding_mask
from vocolab.text import SymbolMap


class Means(Backbone):
    """Mixes each position with the mean of those before it, or of all."""

    def __init__(self, dim: int = 16, dropout: float = 0.0):
        super().__init__()
        self.dim, self.dropout = dim, dropout
        self.mix = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, lengths: Tensor, *, causal: bool, level: Tensor | None = None) -> Output:
        real = padding_mask(lengths, x.shape[1])[:, :, None]
        x = x * real
        if causal:
            mean = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        else:
            mean = (x.sum(1, keepdim=True) / lengths[:, None, None]).expand_as(x)
        return Output(x + self.mix(torch.cat([x, mean], 2)))

    def extend(self, x: Tensor, state=None, lengths=None) -> Output:
        raise NotImplementedError


class NoiseCodec(Codec):
    """One codeword of noise for each code: enough to be heard, and known by a fingerprint."""

    sample_rate, hop = 16000, 320

    def __init__(self, levels: int = 3, size: int = 12):
        super().__init__()
        self.levels, self.size = levels, size
        self.register_buffer("words", torch.randn(levels, size, 320, generator=torch.Generator().manual_seed(0)) / 9)

    def encode(self, wav, lengths=None):
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        return sum(self.words[k][codes[:, k]] for k in range(codes.shape[1])).flatten(1).clamp(-1, 1)

    def frames(self, samples: int) -> int:
        return samples // 320

    def fingerprint(self):
        return {"weights": f"{float(self.words.sum()):.6f}"}


class FittedNoise(NoiseCodec):
    """The same, as if learnt from the data. `volume`, as a vocoder, is no part of what its codes mean."""

    def __init__(self, levels: int = 3, size: int = 12):
        super().__init__(levels, size)
        self.register_buffer("volume", torch.ones(()))

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes) * self.volume

    def fit(self, speech) -> None:
        raise NotImplementedError


class Endless:
    """Batches from the `position`-th on, `epoch` of them an epoch."""

    def __init__(self, data: Tokens, position: int, epoch: int):
        self.data, self.position, self.epoch = data, position, epoch
        self._iterator = None

    def __len__(self) -> int:
        return self.epoch

    def __iter__(self):
        while True:
            self.position += 1
            yield self.data.batch(self.position - 1)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Tokens(LightningDataModule):
    """Rows of random text and codes in which the text decides the first codebook. Batch i holds rows i * size … of an
    endless list, of unequal lengths; rank r of w takes batches r, r + w, ….
    """

    def __init__(self, size=4, codec=None, symbols=None, languages=("en",), epoch=1000, words=12):
        super().__init__()
        self.size, self.codec, self.epoch, self.words = size, codec or NoiseCodec(), epoch, words
        self.symbols = symbols or [*SymbolMap().symbols, *"abcdefgh"]
        self.languages = list(languages)
        self.text = None
        self.batches = SimpleNamespace(prompt_seconds=0.1)

    def ready_codec(self) -> Codec:
        return self.codec

    def longest_text(self) -> int:
        return self.words

    def symbol_map(self) -> SymbolMap:
        return SymbolMap(self.symbols, self.languages)

    def row(self, number: int) -> dict:
        generator = torch.Generator().manual_seed(number)
        draw = lambda high, *shape: torch.randint(high, shape, generator=generator)  # noqa: E731
        words = int(draw(self.words - 2, 1)) + 3
        text = torch.cat([torch.tensor([1]), draw(len(self.symbols) - 4, words) + 4, torch.tensor([2])])
        codes = draw(self.codec.size, self.codec.levels, 2 * words)
        codes[0] = (text[1:-1] % self.codec.size).repeat_interleave(2)
        return {"text": text, "codes": codes, "prompt": draw(self.codec.size, self.codec.levels, 4 + number % 3)}

    def join(self, numbers) -> SpeechBatch:
        rows = [self.row(n) for n in numbers]
        pad = lambda name: nn.utils.rnn.pad_sequence([r[name].T for r in rows], batch_first=True).transpose(1, 2)  # noqa: E731
        return SpeechBatch(
            codes=pad("codes"),
            lengths=torch.tensor([r["codes"].shape[1] for r in rows]),
            text=nn.utils.rnn.pad_sequence([r["text"] for r in rows], batch_first=True),
            text_lengths=torch.tensor([len(r["text"]) for r in rows]),
            language=torch.zeros(len(rows), dtype=torch.long),
            prompts=pad("prompt"),
            prompt_lengths=torch.tensor([r["prompt"].shape[1] for r in rows]),
            keys=[f"row-{n}" for n in numbers],
            speakers=["s"] * len(rows),
        )

    def batch(self, number: int) -> SpeechBatch:
        rank, ranks = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        number = number * ranks + rank
        return self.join(range(number * self.size, (number + 1) * self.size))

    def longest_batch(self) -> SpeechBatch:
        return self.batch(max(range(20), key=lambda i: self.batch(i).codes.shape[2]))

    def train_dataloader(self) -> Endless:
        position = 0 if self.trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        return Endless(self, position, self.epoch)

    def val_dataloader(self) -> DataLoader:
        batches = [self.join(range(first, first + 2)) for first in (1_000_000, 1_000_002)]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)

    test_dataloader = predict_dataloader = val_dataloader
