"""Training draft heads for a model that stays as it is."""

from __future__ import annotations

import pytest
import torch

from tests.tasks.test_valle import SIZES, run, small_task
from tests.tasks.test_vocoder import assert_equal, saved
from tests.tasks.tokens import FittedNoise, Means, Tokens
from vocolab.callbacks import EMA
from vocolab.checkpoints import add_drafts, load_lm, read_lm
from vocolab.errors import VocolabError
from vocolab.lm import AR, NAR, MedusaHeads, Sampling, Split, Unified, first_codebook
from vocolab.tasks import MedusaTask

SAMPLING = Sampling(ar_temp=0.5, top_p=0.9)


def adam(params):
    return torch.optim.Adam(params, lr=1e-2)


def heads_of(content: dict) -> dict:
    return {name: value for name, value in content["state_dict"].items() if ".drafts." in name}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a model's training."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, small_task(sampling=SAMPLING), Tokens(codec=FittedNoise()), 5)
    return folder / "checkpoints" / "last.ckpt"


def task(trained, count=2) -> MedusaTask:
    torch.manual_seed(3)
    return MedusaTask(trained, MedusaHeads(count, dropout=0.1), adam)


def test_the_heads_alone_learn(trained, tmp_path):
    before = torch.load(trained, weights_only=True)
    training = task(trained)
    run(tmp_path, training, Tokens(codec=FittedNoise()), 10, callbacks=[EMA(0.9, "lm.")])
    after = saved(tmp_path)
    kept = {name: value for name, value in after["state_dict"].items() if ".drafts." not in name}
    assert_equal(kept, dict(before["state_dict"]))
    assert len(heads_of(after)) == 2 * 6
    assert not training.first.training and training.first.drafts.training
    for key in ("symbols", "prompt_seconds", "sampling", "codec"):
        assert after["vocolab"][key] == before["vocolab"][key], key
    assert after["vocolab"]["lm"]["init_args"]["ar"]["init_args"]["drafts"]["init_args"]["count"] == 2
    loaded = read_lm(tmp_path / "checkpoints" / "last.ckpt")[0]
    assert loaded.ar.drafts.count == 2


def test_the_codec_is_that_of_the_model_with_its_vocoder(trained, tmp_path):
    """What was tuned since the codes were made is kept."""
    content = torch.load(trained, weights_only=True)
    content["state_dict"]["codec.volume"] = torch.tensor(0.5)
    torch.save(content, tmp_path / "tuned.ckpt")
    run(tmp_path, task(tmp_path / "tuned.ckpt"), Tokens(codec=FittedNoise()), 2)
    assert saved(tmp_path)["state_dict"]["codec.volume"] == 0.5


def test_metrics_by_head(trained, tmp_path):
    trainer = run(tmp_path, task(trained), Tokens(codec=FittedNoise()), 10)
    metrics = trainer.callback_metrics
    for i in (1, 2):
        assert 0 <= float(metrics[f"val/draft_{i}_acc"]) <= 1 and float(metrics[f"val/draft_{i}_loss"]) > 0
    assert "val/loss_level_0" not in metrics
    mean = sum(float(metrics[f"val/draft_{i}_loss"]) for i in (1, 2)) / 2
    assert float(metrics["val/loss"]) == pytest.approx(mean, rel=0.1)  # the second head has fewer tokens


def test_five_updates_and_five_more_are_ten(trained, tmp_path):
    for folder, steps in (("a", (10,)), ("b", (5, 10))):
        resume = None
        for count in steps:
            run(tmp_path / folder, task(trained), Tokens(codec=FittedNoise()), count, resume, [EMA(0.9, "lm.")])
            resume = tmp_path / folder / "checkpoints" / "last.ckpt"
    assert_equal(saved(tmp_path / "a")["state_dict"], saved(tmp_path / "b")["state_dict"])


def test_heads_of_another_model_are_refused(trained, tmp_path):
    run(tmp_path / "other", small_task(Split(*(part(Means(16, 0.0), **SIZES) for part in (AR, NAR)))), tokens(), 6)
    other = tmp_path / "other" / "checkpoints" / "last.ckpt"
    run(tmp_path / "a", task(trained), tokens(), 1)
    heads = tmp_path / "a" / "checkpoints" / "last.ckpt"
    lm = read_lm(trained)[0]
    add_drafts(lm, heads)
    assert torch.equal(
        lm.ar.drafts.heads[0].token.weight, saved(tmp_path / "a")["state_dict"]["lm.ar.drafts.heads.0.token.weight"]
    )
    with pytest.raises(VocolabError, match="draft heads are of another model: .*last.ckpt: give those"):
        add_drafts(read_lm(other)[0], heads)
    with pytest.raises(VocolabError, match="holds no draft heads: .*: train some"):
        add_drafts(lm, trained)
    with pytest.raises(VocolabError, match="draft heads are of another model: .*: begin anew"):
        run(tmp_path / "a", task(other), tokens(), 2, resume=heads)


def tokens() -> Tokens:
    return Tokens(codec=FittedNoise())


def test_what_is_refused(trained, tmp_path):
    run(tmp_path / "nar", small_task(NAR(Means(16, 0.0), **SIZES)), tokens(), 1)
    with pytest.raises(VocolabError, match="a NAR alone"):
        task(tmp_path / "nar" / "checkpoints" / "last.ckpt")
    refitted = FittedNoise()
    refitted.words += 1
    with pytest.raises(VocolabError, match="another codec"):
        run(tmp_path / "codec", task(trained), Tokens(codec=refitted), 1)
    with pytest.raises(VocolabError, match="no such checkpoint"):
        task(tmp_path / "none.ckpt")


@pytest.mark.parametrize("kind", [AR, Unified])
def test_other_models_with_a_first_codebook(kind, tmp_path):
    run(tmp_path / "model", small_task(kind(Means(16, 0.0), **SIZES)), tokens(), 1)
    run(tmp_path / "heads", task(tmp_path / "model" / "checkpoints" / "last.ckpt"), tokens(), 1)
    lm = load_lm(tmp_path / "heads" / "checkpoints" / "last.ckpt").lm
    assert first_codebook(lm).drafts.count == 2


@pytest.mark.parametrize("kind", [AR, Unified])
def test_a_live_model_trains_its_heads(kind, tmp_path):
    model = kind(Means(16, 0.0), **SIZES, drafts=MedusaHeads(2))
    trainer = run(tmp_path, small_task(model), tokens(), 5)
    assert float(trainer.callback_metrics["val/draft_2_loss"]) > 0 and len(heads_of(saved(tmp_path))) == 2 * 6
