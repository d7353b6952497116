"""Golden values of the log-mel spectrogram, and that it can be trained through."""

from __future__ import annotations

import math

import pytest
import torch

from vocolab import _compat
from vocolab.audio import LogMel, log_mel, mel_filterbank, reflect_pad
from vocolab.errors import VocolabError


@pytest.fixture(scope="module")
def tones() -> torch.Tensor:
    t = torch.arange(7040, dtype=torch.float64) / 16000
    return (0.5 * torch.sin(2 * math.pi * 220 * t) + 0.1 * torch.sin(2 * math.pi * 3000 * t)).float()


def test_golden_values(tones):
    mel = log_mel(tones)
    assert mel.shape == (80, 22)
    assert mel.sum().item() == pytest.approx(-16567.8848, abs=0.05)
    assert mel.max().item() == pytest.approx(1.62079, abs=1e-4)
    torch.testing.assert_close(mel[:3, 0], torch.tensor([-0.528513, -0.406353, -0.203040]), atol=2e-4, rtol=0)


def test_golden_filterbank():
    filters = mel_filterbank(16000, 1024, 80, 0.0, 8000.0)
    assert filters.sum().item() == pytest.approx(5.11865764, abs=1e-5)
    assert int((filters > 0).sum()) == 1001


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "fmin", "fmax"),
    [
        (16000, 1024, 80, 0.0, 8000.0),
        (16000, 400, 80, 0.0, 8000.0),
        (22050, 1024, 80, 0.0, 8000.0),
        (24000, 512, 100, 30.0, 12000.0),
    ],
)
def test_filterbank_is_torchaudios(rate, n_fft, n_mels, fmin, fmax):
    functional = _compat.torchaudio().functional
    expected = functional.melscale_fbanks(n_fft // 2 + 1, fmin, fmax, n_mels, rate, norm="slaney", mel_scale="slaney")
    torch.testing.assert_close(mel_filterbank(rate, n_fft, n_mels, fmin, fmax), expected.T, atol=2e-7, rtol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 320), (1024, 256), (400, 161), (512, 512)])
def test_there_is_a_frame_for_every_whole_hop(n_fft, hop):
    for samples in (n_fft, n_fft + 1, hop * 7 + 1024, hop * 8 + 1023):
        assert LogMel(n_fft=n_fft, hop=hop, n_mels=20)(torch.randn(2, samples)).shape == (2, 20, samples // hop)


def test_where_the_mirror_is_odd_the_longer_part_is_at_the_end():
    assert LogMel(n_fft=400, hop=161).padding == (119, 120)


def test_rows_of_a_batch_do_not_see_their_padding():
    torch.manual_seed(0)
    lengths = torch.tensor([5000, 9123, 800])
    rows = [torch.randn(n) for n in lengths.tolist()]
    module = LogMel()
    batch = module(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
    for row, mel, length in zip(rows, batch, lengths.tolist(), strict=True):
        torch.testing.assert_close(mel[:, : length // 320], module(row), atol=1e-5, rtol=0)


def test_gradients_are_finite_and_right_even_through_silence(tones):
    wav = torch.cat([torch.zeros(2000), tones[:2000]]).requires_grad_()
    log_mel(wav).sum().backward()
    assert wav.grad.isfinite().all() and wav.grad.abs().sum() > 0
    double = LogMel(sample_rate=8000, n_fft=64, hop=16, n_mels=8, fmax=4000.0)
    signal = torch.randn(1, 160, generator=torch.Generator().manual_seed(1), requires_grad=True)
    direction = torch.randn(1, 160, generator=torch.Generator().manual_seed(2))
    (slope,) = torch.autograd.grad(double(signal).sum(), signal)
    step = 1e-3
    numeric = (double(signal + step * direction).sum() - double(signal - step * direction).sum()) / (2 * step)
    assert (slope * direction).sum().item() == pytest.approx(numeric.item(), rel=2e-2)


def test_half_precision_training_measures_in_full_precision(tones):
    module = LogMel()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(tones), log_mel(tones))


def test_no_weights_enter_a_checkpoint():
    assert LogMel().state_dict() == {}


def test_bad_arguments_and_short_input_are_one_line():
    with pytest.raises(VocolabError, match="mel range"):
        LogMel(sample_rate=8000, fmax=8000.0)
    with pytest.raises(VocolabError, match="hop"):
        LogMel(n_fft=256, hop=320)
    with pytest.raises(VocolabError, match="300 samples.*353"):
        log_mel(torch.zeros(300))


def test_mirroring_a_row_at_its_own_end():
    wav = torch.tensor([[1.0, 2, 3, 4, 5], [1, 2, 3, 0, 0]])
    padded = reflect_pad(wav, 2, 2, torch.tensor([5, 3]))
    assert padded[0].tolist() == [3, 2, 1, 2, 3, 4, 5, 4, 3]
    assert padded[1, :7].tolist() == [3, 2, 1, 2, 3, 2, 1]


@pytest.mark.parametrize(
    ("rate", "n_fft", "hop"), [(16000, 1024, 320), (22050, 1408, 441), (24000, 1536, 480), (44100, 2816, 882)]
)
def test_windows_and_hops_last_as_long_at_any_rate(rate, n_fft, hop):
    module = LogMel(rate)
    assert (module.n_fft, module.hop, module.fmax) == (n_fft, hop, rate / 2)
    tone = 0.5 * torch.sin(2 * torch.pi * 0.45 * torch.arange(rate))  # at nine tenths of the highest frequency
    mel = module(tone)
    assert mel.shape == (80, rate // hop) and 75 < float(mel.mean(1).argmax()) < 80
    assert LogMel(rate, hop=rate // 5).n_fft == rate // 5
