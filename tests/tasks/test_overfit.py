"""Each backbone learns: a tiny model over eight real utterances says them by heart, and stops where they end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from tests.data.speech import librispeech
from vocolab.codecs import KMeansCodec
from vocolab.data.batches import TokenBudget
from vocolab.data.corpora import LibriSpeech
from vocolab.data.module import SpeechDataModule
from vocolab.encoders import Whisper
from vocolab.lm import AR, NAR, Sampling, Split
from vocolab.lm.backbones import BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.tasks import VALLETask, WarmupCosine
from vocolab.text import Characters

SIZES = {"levels": 2, "size": 64, "symbols": 64}
UPDATES = 500


def data(folder: Path) -> SpeechDataModule:
    return SpeechDataModule(
        corpus=LibriSpeech(folder / "corpus", val=()),
        codec=KMeansCodec(Whisper(layer=2), levels=2, size=64),
        text=Characters(),
        batches=TokenBudget(tokens=3000, prompt="speaker", prompt_seconds=1.0, spread=9.0),
        shards=str(folder / "shards"),
    )


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eight")
    librispeech(folder / "corpus", speakers=2, each=4, dev=1)
    data(folder).prepare(workers=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [Transformer, RetNet, Llama, Mixtral, BitNet])
def test_eight_utterances_by_heart(backbone, ground, tmp_path):
    seed_everything(3, verbose=False)
    more = {"experts": 4} if backbone is Mixtral else {}

    def network(**own):
        return backbone(128, 4, 3, 256, dropout=0.0, **more, **own)

    adaptive = {"adaptive_levels": 2} if backbone is Transformer else {}
    lm = Split(AR(network(), **SIZES), NAR(network(**adaptive), **SIZES))
    task = VALLETask(
        lm,
        optimizer=lambda params: torch.optim.AdamW(params, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
        schedule=WarmupCosine(total=UPDATES, warmup=20, floor=0.01),
    )
    trainer = Trainer(
        max_steps=UPDATES,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    spoken = data(ground)
    trainer.fit(task, spoken)

    task.eval()
    right = frames = said = 0
    for batch in _epoch(spoken):
        response = lm.generate(task.condition(batch), Sampling(ar_temp=0.0, nar_temp=0.0, max_ar_steps=400))
        for row, true in enumerate(batch.lengths.tolist()):
            made = int(response.lengths[row])
            assert response.stopped[row] and abs(made - true) <= 0.05 * true, (batch.keys[row], made, true)
            both = min(made, true)
            right += int((response.codes[row, 0, :both] == batch.codes[row, 0, :both]).sum())
            frames, said = frames + true, said + 1
    assert said == 8 and right >= 0.95 * frames, right / frames


def _epoch(module: SpeechDataModule):
    """The training batches of an epoch."""
    module.trainer = None
    loader = module.train_dataloader()
    batches = iter(loader)
    return [next(batches).unpacked() for _ in range(len(loader))]
