"""Models with a sliding window: they speak as they were trained, however long, and say what they cannot do."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.lm.test_models import make, sharpen
from tests.lm.tiny import Tiny, batch, row
from vocolab.errors import UsageError
from vocolab.lm import AR, NAR, LanguageModel, Sampling, Split, Unified
from vocolab.lm.backbones import Backbone, BitNet, Llama, Mixtral, RetNet, Transformer
from vocolab.parts import build, describe

SIZES = {"levels": 4, "size": 16, "symbols": 12}
GREEDY = Sampling(ar_temp=0, nar_temp=0, max_ar_steps=30)


def windowed(backbone: type[Backbone] = Llama, window: int | None = 4, cls: type = AR) -> LanguageModel:
    torch.manual_seed(0)
    model = cls(backbone(32, 2, 2, dropout=0.0), **SIZES, window=window)
    sharpen(model)
    model.classifier.bias.data[16] = -100.0  # never stops: to seven times the window
    return model.eval()


@pytest.mark.parametrize("cls", [AR, Unified])
@pytest.mark.parametrize("backbone", [Transformer, Llama, Mixtral, BitNet])
def test_speaking_past_the_window_is_the_argmax_of_what_training_computes(backbone, cls) -> None:
    model = windowed(backbone, cls=cls)
    condition, codes, lengths = batch()
    response = model.generate(condition, GREEDY)
    logits = model.first_logits(condition, response.codes, response.lengths)
    assert torch.equal(logits[:, :30].argmax(2), response.codes[:, 0])
    for b in range(3):  # a row alone says the same
        alone, _, _ = row(condition, codes, lengths, b)
        assert torch.equal(model.generate(alone, GREEDY).codes[0], response.codes[b])
    model.window = None  # and the window matters
    full = model.first_logits(condition, response.codes, response.lengths)
    assert not torch.allclose(full[:, -1], logits[:, -1], atol=1e-2)


def test_the_loss_sees_the_window_alone() -> None:
    """Of the last frame's loss, frames out of the window and of both layers' reach know nothing; the text does."""
    model = windowed(window=3)
    condition, _, _ = batch(1)
    codes = torch.randint(16, (1, 4, 20))
    lengths = torch.tensor([20])
    last = model.first_logits(condition, codes, lengths)[:, -1]
    early = codes.clone()
    early[:, :, : 20 - 2 * 3 + 1] = (early[:, :, : 20 - 2 * 3 + 1] + 1) % 16
    assert torch.allclose(model.first_logits(condition, early, lengths)[:, -1], last, atol=1e-5)
    late = codes.clone()
    late[:, :, 17] = (late[:, :, 17] + 1) % 16
    assert not torch.allclose(model.first_logits(condition, late, lengths)[:, -1], last, atol=1e-3)
    other = dataclasses.replace(condition, text=(condition.text + 1) % 12)
    assert not torch.allclose(model.first_logits(other, codes, lengths)[:, -1], last, atol=1e-3)
    assert model.loss(condition, codes, lengths).total != model.loss(condition, early, lengths).total


def test_training_moves_each_response_by_a_random_phase() -> None:
    model, (condition, codes, lengths) = windowed(), batch()
    plain = [model.first_logits(condition, codes, lengths) for _ in range(2)]
    assert torch.equal(*plain)
    model.train()  # its dropout is 0
    assert not torch.allclose(model.first_logits(condition, codes, lengths), plain[0], atol=1e-4)


def test_the_text_is_learnt_as_without_a_window() -> None:
    """Its positions stand in the prefix, where nothing is hidden; only the positions' waves differ."""
    losses = []
    for window in (1, None):
        model = windowed(Transformer, window)
        model.backbone.position_scale.data.zero_()
        model.set_text_weight(1.0)
        losses.append(float(model.loss(*batch(longest=12)).extra["text_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_less_context_than_trained_can_be_asked_for() -> None:
    model, (condition, _, _) = windowed(window=6), batch()
    for block in model.backbone.model["layers"]:  # as much attention as a trained model has
        for weight in block.self_attn.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    seeds, drawn = torch.arange(3), Sampling(ar_temp=5.0, max_ar_steps=30)
    as_trained = model.generate(condition, drawn, seeds=seeds).codes
    for frames in (6, 2):
        codes = model.generate(condition, dataclasses.replace(drawn, max_ar_context=frames), seeds=seeds).codes
        assert torch.equal(codes, as_trained) == (frames == 6)
        assert torch.equal(codes[:, :, :2], as_trained[:, :, :2])  # so far it sees all there is


def test_beams_speak_past_the_window() -> None:
    model = windowed(window=3)
    condition, codes, lengths = batch()
    together = model.generate(condition, dataclasses.replace(GREEDY, beam_width=3))
    for b in range(3):
        alone, _, _ = row(condition, codes, lengths, b)
        assert torch.equal(model.generate(alone, dataclasses.replace(GREEDY, beam_width=3)).codes[0], together.codes[b])


def test_a_checkpoint_keeps_the_window() -> None:
    model = Split(windowed(), NAR(Llama(32, 2, 2), **SIZES))
    described = describe(model)
    assert described["init_args"]["ar"]["init_args"]["window"] == 4
    assert build(described).window == build(described).ar.window == 4
    del described["init_args"]["ar"]["init_args"]["window"]  # as older checkpoints have it
    assert build(described).window is None


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_shows_a_frame_at_least(window: int) -> None:
    with pytest.raises(UsageError, match=f"window is {window}: model: give a number of frames above 0"):
        windowed(window=window)


@pytest.mark.parametrize(("backbone", "why"), [(RetNet, "RetNet forgets by its decay"), (Tiny, "has no window")])
def test_a_backbone_that_takes_no_window_is_refused(backbone, why: str) -> None:
    for cls in (AR, Unified):
        with pytest.raises(UsageError, match=f"window is 4, but .*{why}.*: model: leave it out"):
            cls(backbone(32), **SIZES, window=4)


def test_a_context_that_cannot_be_is_refused() -> None:
    condition, codes, lengths = batch()
    for model, frames, line in (
        (windowed(), 5, "trained with a window of 4 frames: --max-ar-context 5: give 1 to 4, or leave it out"),
        (windowed(window=None), 5, "trained without a window: --max-ar-context 5: leave it out"),
        (AR(RetNet(32, 2, 2), **SIZES), 5, "memory is constant already: --max-ar-context 5: leave it out"),
        (make("split"), 5, "its backbone has no window: --max-ar-context 5: leave it out"),
        (make("nar"), 5, "NAR does not predict the first codebook: --max-ar-context 5: leave it out"),
    ):
        with pytest.raises(UsageError, match=line):
            model.generate(condition, Sampling(max_ar_context=frames))
    with pytest.raises(UsageError, match="-1 will not do: --max-ar-context: give a number of frames"):
        Sampling(max_ar_context=-1)
