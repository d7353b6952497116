"""EnCodec: the public package's codes and audio, from either layout of the weights, in any batch."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vocolab import _compat, weights
from vocolab.codecs import EnCodec
from vocolab.codecs.encodec import PUBLISHED, rename, shape_of_tensors
from vocolab.codecs.vocos import load_vocos
from vocolab.errors import UsageError, VocolabError
from vocolab.parts import build, describe
from vocolab.precision import full_precision

CODES = (torch.arange(40) * 37 % 1024).reshape(1, 8, 5)
# The vocos package 0.1.0 on `vocos_weights()` and CODES, its first k levels: samples 400, 800 and 1200, and the mean
# magnitude of all.
VOCOS_GOLDEN = {
    2: (-0.200301, 0.00313, 0.027405, 0.017521),
    4: (-0.095715, 0.002738, 0.017672, 0.013275),
    8: (-0.208085, 0.003099, 0.025774, 0.018714),
}


@pytest.fixture(scope="module")
def codec(encodec_file) -> EnCodec:
    return EnCodec(encodec_file)


@pytest.fixture(scope="module")
def speech(utterances) -> list[Tensor]:
    """Rows of unequal length, the last ones too short for the mirrored start."""
    lengths = [20000, 31000, 16000, 9 * 320, 7 * 320, 6 * 320, 3 * 320 + 100, 320]
    return [wav[4000 : 4000 + length] for wav, length in zip(utterances, lengths, strict=False)]


def test_both_layouts_and_the_package_say_the_same(codec, encodec_folder, public_encodec, speech):
    other = EnCodec(encodec_folder)
    assert codec.shape == other.shape and (codec.levels, codec.size, codec.frame_rate) == (8, 1024, 75)
    for wav in speech[:4]:
        wav = wav[None, : len(wav) // 320 * 320]
        codes = codec.encode(wav)
        assert torch.equal(codes, other.encode(wav)) and codes.shape == (1, 8, wav.shape[1] // 320)
        with torch.no_grad():
            ((expected, _),) = public_encodec.encode(wav[None])
            audio = public_encodec.decode([(expected, None)])[:, 0].clamp(-1, 1)
        assert torch.equal(codes, expected)
        assert torch.equal(codec.decode(codes), other.decode(codes)) and codec.decode(codes).shape == wav.shape
        torch.testing.assert_close(codec.decode(codes), audio, atol=1e-6, rtol=0)
    codes = codec.encode(speech[0][None])
    assert all(codes[0, level].unique().numel() > 5 for level in range(8))  # there is something to confuse
    assert codec.fingerprint() == other.fingerprint()


def test_short_rows_in_a_batch_are_as_alone(codec, speech):
    batch = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True)
    codes = codec.encode(batch, torch.tensor([len(wav) for wav in speech]))
    for wav, row in zip(speech, codes, strict=True):
        assert torch.equal(row[:, : len(wav) // 320], codec.encode(wav[None])[0])


def test_the_published_sizes_and_names():
    """252 tensors of the 24 kHz model, one to one."""
    _compat.torchaudio()
    from encodec import EncodecModel
    from transformers import EncodecConfig
    from transformers import EncodecModel as Transformers

    with torch.device("meta"):
        state = EncodecModel.encodec_model_24khz(pretrained=False).state_dict()
        expected = Transformers(EncodecConfig()).state_dict()
    renamed = {rename(name): value for name, value in state.items()}
    assert len(state) == 252 and {n: v.shape for n, v in renamed.items()} == {n: v.shape for n, v in expected.items()}
    assert shape_of_tensors(renamed, "here") == PUBLISHED["facebook/encodec_24khz"]


@pytest.mark.parametrize("bandwidth, levels", [(0.75, 1), (1.5, 2), (3.0, 4), (6.0, 8), (24.0, 32)])
def test_sizes_need_no_weights(bandwidth, levels):
    codec = EnCodec(bandwidth=bandwidth)
    assert (codec.levels, codec.size, codec.hop, codec.sample_rate, codec.frame_rate) == (levels, 1024, 320, 24000, 75)
    assert codec.frames(24000) == 75 and codec.frames(24319) == 75 and codec.frames(319) == 0


def test_fewer_levels(codec, encodec_file, public_encodec, speech):
    codes = codec.encode(speech[0][None])
    for bandwidth, levels in ((1.5, 2), (3.0, 4)):
        smaller = EnCodec(encodec_file, bandwidth)
        assert smaller.levels == levels and torch.equal(smaller.encode(speech[0][None]), codes[:, :levels])
        with torch.no_grad():
            expected = public_encodec.decode([(codes[:, :levels], None)])[:, 0].clamp(-1, 1)
        torch.testing.assert_close(codec.decode(codes[:, :levels]), expected, atol=1e-6, rtol=0)


def test_its_weights_stay_where_they_are(codec, encodec_file):
    fresh = EnCodec(str(encodec_file)).double().load()
    assert fresh._networks.encodec.quantizer.layers[0].codebook.embed.dtype == torch.float64
    assert fresh.encode(torch.zeros(1, 3200)).shape == (1, 8, 10)
    assert codec.load().state_dict() == {} and not list(codec.parameters()) and codec.fitted
    assert not any(p.requires_grad for p in codec._networks.encodec.parameters())
    again = build(describe(codec))
    assert again.fingerprint() == codec.fingerprint() and codec.licence == "CC-BY-NC-4.0"


def vocos_weights(dim: int = 12, hidden: int = 20, blocks: int = 2, n_fft: int = 1280) -> dict[str, Tensor]:
    """A small Vocos in the published layout, its numbers from a formula."""
    shapes = {"feature_extractor.codebook_weights": (16 * 1024, 16)}
    shapes |= {"backbone.embed.weight": (dim, 16, 7), "backbone.embed.bias": (dim,)}
    norm = {"norm.scale.weight": (4, dim), "norm.shift.weight": (4, dim)}
    shapes |= {f"backbone.{name}": shape for name, shape in norm.items()}
    for i in range(blocks):
        block = {"gamma": (dim,), "dwconv.weight": (dim, 1, 7), "dwconv.bias": (dim,), **norm}
        block |= {"pwconv1.weight": (hidden, dim), "pwconv1.bias": (hidden,)}
        block |= {"pwconv2.weight": (dim, hidden), "pwconv2.bias": (dim,)}
        shapes |= {f"backbone.convnext.{i}.{name}": shape for name, shape in block.items()}
    shapes |= {"backbone.final_layer_norm.weight": (dim,), "backbone.final_layer_norm.bias": (dim,)}
    shapes |= {"head.out.weight": (n_fft + 2, dim), "head.out.bias": (n_fft + 2,)}
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        values = torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + number)
        tensors[name] = (values * 0.5).float().reshape(shape)
    return tensors | {"head.istft.window": torch.hann_window(n_fft)}


@pytest.fixture(scope="module")
def vocos_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vocos")
    torch.save(vocos_weights(), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("levels, values", VOCOS_GOLDEN.items())
def test_vocos_golden_values(vocos_folder, levels, values):
    wav = load_vocos(vocos_folder, 1024, 320)(CODES[:, :levels])[0]
    found = [*wav[[400, 800, 1200]].tolist(), wav.abs().mean().item()]
    assert wav.shape == (1600,) and found == pytest.approx(values, rel=1e-3, abs=2e-6)


def test_vocos_decodes_in_its_place(encodec_file, vocos_folder, codec):
    better = EnCodec(encodec_file, decoder=vocos_folder)
    expected = load_vocos(vocos_folder / "pytorch_model.bin", 1024, 320)(CODES).clamp(-1, 1)
    assert torch.equal(better.decode(CODES), expected) and not torch.equal(codec.decode(CODES), expected)
    assert torch.equal(better.encode(torch.zeros(1, 3200)), codec.encode(torch.zeros(1, 3200)))
    assert better.fingerprint() == codec.fingerprint() and better.state_dict() == {}
    assert describe(better)["init_args"]["decoder"] == str(vocos_folder)


def test_input_of_another_shape(codec):
    with pytest.raises(VocolabError, match=r"shape \(1, 9, 3\).*1 to 8 levels"):
        codec.decode(torch.zeros(1, 9, 3, dtype=torch.long))
    with pytest.raises(VocolabError, match="too short.*at least 320 samples"):
        codec.encode(torch.zeros(2, 3200), torch.tensor([3200, 319]))


def test_bandwidths_between_two(encodec_file):
    with pytest.raises(UsageError, match="bandwidth 5.*0.75 kbps, such as 1.5, 3, 6, 12"):
        _ = EnCodec(bandwidth=5.0).levels
    with pytest.raises(UsageError, match="bandwidth 12.*such as 1.5, 3, 6$"):
        _ = EnCodec(encodec_file, bandwidth=12.0).levels


def test_files_that_are_no_encodec(encodec_file, tmp_path):
    for missing in ("no.th", "nowhere"):
        with pytest.raises(VocolabError, match=f"no such checkpoint.*{missing}"):
            EnCodec(tmp_path / missing).load()
    (tmp_path / "junk.th").write_bytes(b"junk" * 100)
    with pytest.raises(VocolabError, match="not a checkpoint.*junk.th"):
        EnCodec(tmp_path / "junk.th").load()
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.th")
    with pytest.raises(VocolabError, match="not EnCodec's weights.*other.th"):
        _ = EnCodec(tmp_path / "other.th").levels
    state = torch.load(encodec_file)
    del state["decoder.model.0.conv.conv.bias"]
    torch.save(state, tmp_path / "part.th")
    with pytest.raises(VocolabError, match="lacks 1 tensors, decoder.layers.0.conv.bias first.*part.th"):
        EnCodec(tmp_path / "part.th").load()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"audio_channels": 2}, "not the causal mono"),
        ({"model_type": "wavlm"}, "a wavlm model"),
        ({"sampling_rate": None}, "incomplete configuration"),
        ({"num_filters": 4}, "has shape.*expected"),
    ],
)
def test_folders_of_another_model(encodec_folder, tmp_path, change, message):
    for file in encodec_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = weights.read_json(encodec_folder / "config.json")
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(VocolabError, match=message):
        EnCodec(tmp_path).load()


def test_a_vocos_that_does_not_fit(encodec_file, tmp_path):
    def refused(tensors: dict[str, Tensor], message: str) -> None:
        save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "v.safetensors")
        with pytest.raises(VocolabError, match=message):
            EnCodec(encodec_file, decoder=tmp_path / "v.safetensors").load()

    whole = vocos_weights()
    codebooks = "feature_extractor.codebook_weights"
    refused({"x": torch.zeros(1)}, "not a Vocos of EnCodec's codes")
    refused({k: v for k, v in whole.items() if "head" not in k}, "lacks tensors of a Vocos")
    refused({k: v for k, v in whole.items() if "1.pwconv2.bias" not in k}, "lacks 1 tensors, convnext.1.pwconv2.bias")
    refused(whole | {codebooks: whole[codebooks][:4096]}, "4 levels for a codec of 8")
    refused(whole | {codebooks: whole[codebooks][:4000]}, "4000 codewords")


def farther(codec: EnCodec, wav: Tensor, codes: Tensor) -> float:
    """How much farther than the nearest codeword one of `codes` (1, K, L) is at most, as a share of what is coded; in
    double precision. The codes of wav (T,) are right but for rounding where it is tiny.
    """
    network = copy.deepcopy(codec.load()._loaded().encodec).double()
    with torch.no_grad():
        rest = network.encoder(wav[None, None, : codes.shape[2] * codec.hop].double())[0].t()  # (L, dim)
    size, worst = rest.norm(dim=1), 0.0
    for level, chosen in enumerate(codes[0]):
        book = network.quantizer.layers[level].codebook.embed
        distance = torch.cdist(rest, book)
        excess = distance.gather(1, chosen[:, None])[:, 0] - distance.amin(1)
        worst, rest = max(worst, float((excess / size).max())), rest - book[chosen]
    return worst


def test_codes_are_the_nearest_codewords(codec, speech):
    wav = speech[1]
    codes = codec.encode(wav[None])
    assert farther(codec, wav, codes) < 1e-5
    codes[0, 2, 5] = (codes[0, 2, 5] + 1) % 1024
    assert farther(codec, wav, codes) > 1e-3


def fitted(codec: EnCodec, wavs: list[Tensor]) -> EnCodec:
    """A codec of its own networks whose codewords lie where speech does, as those of a trained codec: drawn with the
    mean and the spread of what each level has to code in `wavs`. Random ones are so far away that all of them are about
    equally near, and a fifth of a percent of the codes hangs on the last bit.
    """
    made = copy.deepcopy(codec.load())
    network, generator = made._loaded().encodec, torch.Generator().manual_seed(0)
    with torch.no_grad():
        rest = torch.cat([network.encoder(wav[None, None])[0].t() for wav in wavs])  # (frames, dim)
        for level in range(made.levels):
            book = network.quantizer.layers[level].codebook.embed
            book.copy_(rest.mean(0) + rest.std(0) * torch.randn(book.shape, generator=generator))
            rest = rest - book[torch.cdist(rest, book).argmin(1)]
    return made


def rounded(codec: EnCodec, bits: int) -> EnCodec:
    """A codec whose encoder computes with weights of so many bits; TF32 has 10, float32 23."""
    made = copy.deepcopy(codec)
    with torch.no_grad():
        for weight in made._loaded().encodec.encoder.parameters():
            step = 2.0 ** (weight.abs().clamp(min=1e-30).log2().floor() - bits)
            weight.copy_((weight / step).round() * step)
    return made


def test_the_codes_of_a_fitted_codec_tell_tf32_from_rounding(codec, utterances):
    """So the bar of the test on a GPU, 99.9 % of the codes, is one that float32 reaches and TF32 does not."""
    codec, wav = fitted(codec, utterances[:6]), torch.cat(utterances[6:10])[None]
    codes = codec.encode(wav)
    assert codes[0].unique().numel() > 500 and codes.numel() > 5000
    assert (rounded(codec, 10).encode(wav) == codes).float().mean() < 0.99
    assert (rounded(codec, 21).encode(wav) == codes).float().mean() >= 0.999


@pytest.mark.gpu
def test_on_a_gpu(codec, utterances):
    codec = fitted(codec, utterances[:6])
    moved = copy.deepcopy(codec).to("cuda")
    for wav in utterances[6:10]:
        with full_precision():
            codes = moved.encode(wav[None].cuda())
        assert codes.is_cuda and (codes.cpu() == codec.encode(wav[None])).float().mean() >= 0.999
        assert farther(codec, wav, codes.cpu()) < 1e-5
        torch.testing.assert_close(moved.decode(codes).cpu(), codec.decode(codes.cpu()), atol=1e-3, rtol=0)
