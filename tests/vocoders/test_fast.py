"""The twin that computes quickly on a CPU: the same speech, and the vocoder's own way wherever that is asked for."""

from __future__ import annotations

import copy

import pytest
import torch

from vocolab.vocoders import HiFiGAN, Vocos, fast
from vocolab.vocoders.normed import WeightNorm

SIZES = {
    "wavlm": dict(in_channels=24, projection=16, upsample_rates=(4, 2), upsample_kernels=(8, 4)),
    "mel": dict(in_channels=12, projection=None, upsample_rates=(4, 4), upsample_kernels=(8, 8)),
    "odd": dict(in_channels=12, projection=None, upsample_rates=(3, 2), upsample_kernels=(7, 2)),
    "one_pair": dict(in_channels=12, projection=8, upsample_rates=(4,), upsample_kernels=(8,)),
}


def lively(case: str, **others) -> HiFiGAN:
    """A small generator whose output is far from 0."""
    torch.manual_seed(0)
    if case == "one_pair":
        others = dict(resblock_kernels=(3, 5), resblock_dilations=((2,), (1,)), **others)
    vocoder = HiFiGAN(channels=32, **SIZES[case], **others)
    for conv in vocoder.modules():
        if isinstance(conv, WeightNorm):
            conv.fill_normal(conv.weight_v[0].numel() ** -0.5)
    return vocoder.eval()


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("batch, frames", [(1, 1), (1, 37), (3, 20)])
def test_the_twin_computes_the_same(case, batch, frames):
    vocoder = lively(case)
    feats = torch.randn(batch, frames, vocoder.in_channels)
    with torch.inference_mode():
        expected = vocoder(feats)
        assert expected.std() > 0.01
        for folded in (False, True):
            twin = fast.prepare(vocoder.fold() if folded else vocoder)
            torch.testing.assert_close(twin(feats), expected, atol=1e-5, rtol=1e-5)
            assert twin._kept is not None  # it did not go the vocoder's own way
        torch.testing.assert_close(twin.chunked(feats, 7), expected, atol=1e-5, rtol=1e-5)


def test_a_changed_weight_counts():
    vocoder = lively("wavlm").fold()
    twin, feats = fast.prepare(vocoder), torch.randn(1, 5, 24)
    with torch.no_grad():
        before = twin(feats)
        vocoder.conv_post.weight.mul_(0.5)
        after = twin(feats)
        assert (before - after).abs().max() > 0.01
        torch.testing.assert_close(after, vocoder(feats), atol=1e-5, rtol=1e-5)


def test_where_it_computes_as_the_vocoder_does():
    """With gradients, in another precision, with residual blocks of type 2."""
    vocoder = lively("wavlm")
    twin, feats = fast.prepare(vocoder), torch.randn(1, 5, 24)
    twin(feats).sum().backward()
    assert all(p.grad is not None for p in vocoder.parameters())
    with torch.no_grad():
        double = fast.prepare(copy.deepcopy(vocoder).double())
        torch.testing.assert_close(double(feats.double()).float(), vocoder(feats), atol=1e-5, rtol=1e-5)
        second = lively("mel", resblock=2)
        feats = torch.randn(1, 5, 12)
        assert torch.equal(fast.prepare(second)(feats), second(feats))
    assert twin._kept is None


def test_the_twin_can_be_copied_and_saved():
    vocoder = lively("wavlm").fold()
    twin, feats = fast.prepare(vocoder), torch.randn(1, 5, 24)
    with torch.no_grad():
        expected = twin(feats)
        assert torch.equal(copy.deepcopy(twin)(feats), expected)
    assert twin.state_dict().keys() == vocoder.state_dict().keys()


def test_the_inverse_stft_vocoder_too():
    torch.manual_seed(0)
    vocoder = Vocos(in_channels=8, dim=16, blocks=2, hidden=24, n_fft=64, hop=16).eval()
    twin, feats = fast.prepare(vocoder), torch.randn(2, 11, 8)
    with torch.inference_mode():
        torch.testing.assert_close(twin(feats), vocoder(feats), atol=1e-5, rtol=1e-5)
    assert twin.layers[0].widen._kept is not None and twin.head._kept is not None
