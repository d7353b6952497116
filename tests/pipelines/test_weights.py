"""Features as weighted sums of an encoder's layers."""

from __future__ import annotations

import pytest
import torch

from vocolab import audio
from vocolab.encoders import Mel, Whisper
from vocolab.errors import UsageError
from vocolab.pipelines import KNNVC
from vocolab.vocoders import Vocos


@pytest.fixture(scope="module")
def vc() -> KNNVC:
    return KNNVC(Vocos(384, dim=16, blocks=1, hidden=16), Whisper())


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_layers_are_added_up_by_their_weights(vc, speech_file, shape):
    wav = audio.read(speech_file, 16000)[0]
    layers = torch.stack([feats[0] for feats in Whisper().layers(wav[None], layers=[0, 1, 2])])
    weights = torch.tensor([0.5, -0.25, 2.0])
    expected = (weights[:, None, None] * layers).sum(0)
    torch.testing.assert_close(vc.get_features(speech_file, weights.view(shape)), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        vc.get_matching_set([speech_file, wav], weights.tolist(), 0), torch.cat([expected] * 2), atol=1e-4, rtol=1e-5
    )


def test_one_layer_of_weight_1_is_that_layer(vc, speech_file):
    assert torch.equal(vc.get_features(speech_file, [0, 0, 1]), vc.get_features(speech_file))
    other = KNNVC(vc.vocoder, vc.encoder, matching_layer=1)
    assert torch.equal(vc.get_features(speech_file, [0, 1, 0]), other.get_features(speech_file))


def test_no_deeper_layer_is_loaded_than_counts(vc, speech_file):
    shallow = KNNVC(vc.vocoder, Whisper())
    shallow.get_features(speech_file, [0.5, 0.5, 0])
    assert len(shallow.encoder.blocks.layers) == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], r"weights of shape \(2,\): Whisper: give one finite weight for each of layers 0 to 2"),
        (torch.ones(25, 1), r"weights of shape \(25, 1\)"),
        (torch.tensor(1.0), r"weights of shape \(\)"),
        ([1.0, float("nan"), 0.0], "finite"),
        ([0, 0, 0], "all 0"),
    ],
)
def test_weights_that_will_not_do_are_one_line(vc, speech_file, weights, message):
    for door in (vc.get_features, vc.get_matching_set):
        with pytest.raises(UsageError, match=message):
            door(speech_file, weights)


def test_an_encoder_without_layers_has_none_to_weigh(speech_file):
    with pytest.raises(UsageError, match="no layers to weigh: Mel"):
        KNNVC(Vocos(80, dim=16, blocks=1, hidden=16), Mel()).get_features(speech_file, [1.0])
