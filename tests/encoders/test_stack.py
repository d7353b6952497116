"""Layers side by side, from the encoder to converted speech."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.contract import speech
from tests.data.speech import librispeech, manifest, samples
from vocolab.data.corpora import LibriSpeech
from vocolab.data.preparation.prepare import Prematch, Preparation, prepare
from vocolab.data.shards.identity import check_spec
from vocolab.encoders import LayerStack, Mel, Whisper
from vocolab.encoders.whisper import BUILT_IN
from vocolab.errors import UsageError, VocolabError
from vocolab.pipelines import KNNVC
from vocolab.vocoders import LayerWeights, Vocos


def test_the_stack_is_its_layers_and_they_keep_their_numbers():
    wav = speech(16000, 20000)[0][None]
    stack, plain = LayerStack(Whisper(layer=1), [2, 0]), Whisper()
    first, both, second = stack.layers(wav, layers=[0, -1, 2])
    zero, two = plain.layers(wav, layers=[0, 2])
    assert torch.equal(first, zero) and torch.equal(second, two)
    assert torch.equal(both, torch.cat([two, zero], -1)) and torch.equal(stack(wav), both)
    assert (stack.dim, stack.layer) == (768, -1) and (stack.width(-1), stack.width(1)) == (768, 384)
    with pytest.raises(UsageError, match="0 layers of Whisper"):
        LayerStack(Whisper(), [])
    with pytest.raises(UsageError, match="of Mel side by side"):
        LayerStack(Mel(), [1])
    with pytest.raises(VocolabError, match="layer 7"):
        LayerStack(Whisper(), [7])(wav)


def test_a_checkpoint_is_the_encoders():
    stack = LayerStack(Whisper(), [1], checkpoint="somewhere")
    assert stack.encoder.checkpoint == "somewhere"
    one, other = (Preparation(LibriSpeech("x"), LayerStack(Whisper(), [1])).spec() for _ in range(2))
    other["encoder"]["init_args"]["encoder"]["init_args"]["checkpoint"] = str(BUILT_IN)  # other place, same weights
    check_spec(one, other, Path("shards"))


def test_frames_matched_by_one_layer_are_the_mean_of_all_stacked(tmp_path):
    corpus = LibriSpeech(librispeech(tmp_path, speakers=1, each=3, dev=2))
    prematch = Prematch(topk=2, matching_layer=1)
    stacked = prepare(Preparation(corpus, LayerStack(Whisper(), [0, 2]), prematch), tmp_path / "a", 1, progress=False)
    single = [
        prepare(
            Preparation(corpus, Whisper(), Prematch(topk=2, matching_layer=1, synthesis_layer=layer)),
            tmp_path / f"b{layer}", 1, progress=False,
        )
        for layer in (0, 2)
    ]  # fmt: skip
    assert manifest(stacked)["spec"]["prematch"]["synthesis_layer"] == -1
    found = samples(stacked, "train")
    for key, sample in found.items():
        expected = [torch.from_numpy(samples(shards, "train")[key]["feats.npy"]) for shards in single]
        assert torch.equal(torch.from_numpy(sample["feats.npy"]), torch.cat(expected, -1))


def test_conversion_matches_by_one_layer_and_speaks_the_weighted_sum():
    torch.manual_seed(0)
    inner = Vocos(in_channels=384, dim=16, blocks=1, hidden=16)
    weighted = LayerWeights(inner, in_channels=768)
    with torch.no_grad():
        weighted.weights.copy_(torch.tensor([0.3, 1.5]))
    source, reference = speech(16000, 20000, 30000)
    vc = KNNVC(weighted, LayerStack(Whisper(), [0, 2]), matching_layer=1)
    plain = Whisper()
    query, matching = (plain.layers(wav[None], layers=[1])[0][0] for wav in (source, reference))
    zero, two = (f[0] for f in plain.layers(reference[None], layers=[0, 2]))
    shares = weighted.shares().detach()
    assert float(shares.sum()) == pytest.approx(1) and shares[1] > shares[0]
    spoken = shares[0] * zero + shares[1] * two
    expected = KNNVC(inner).match(query, matching, spoken, tgt_loudness_db=None)
    voice = vc.get_voice(reference, vad_trigger_level=0)
    found = vc.convert(source, voice, loudness=None).wav
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    stream = vc.stream(voice, loudness=None)
    assert torch.cat([stream.feed(source), stream.end()]).shape == found.shape


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="width 700 are no layers of width 384.*vocoder.in_channels"):
        LayerWeights(Vocos(in_channels=384, dim=16, blocks=1, hidden=16), in_channels=700)
