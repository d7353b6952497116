import math

import pytest
import torch

from vocolab.errors import UsageError
from vocolab.lm.backbones import Transformer
from vocolab.lm.backbones.cache import FullAttention
from vocolab.lm.backbones.transformer import AdaptiveNorm, sinusoids

SMALL = dict(dim=32, heads=4, layers=2, ffn=64)


def inputs(batch, length):
    return torch.randn(batch, length, 32, generator=torch.Generator().manual_seed(length))


def run(model, x, level=None, causal=False):
    with torch.no_grad():
        return model(x, torch.full((len(x),), x.shape[1]), causal=causal, level=level).hidden


def test_adaptive_norm_is_the_papers_formula():
    """y = exp(log γ)·h' + β with h' = 2·(1 − 0.1·h)·h of the normalised h, per row."""
    norm = AdaptiveNorm(3, 4)
    norm.levels.weight.data = torch.arange(24.0).view(3, 8) / 10
    x = torch.tensor([[[1.0, 2.0, 3.0, 6.0]], [[-1.0, 0.0, 0.0, 5.0]]])
    got = norm(x, torch.tensor([2, 0]))
    for row, level in enumerate([2, 0]):
        values = x[row, 0].tolist()
        mean = sum(values) / 4
        deviation = (sum((value - mean) ** 2 for value in values) / 4 + 1e-5) ** 0.5
        for channel, value in enumerate(values):
            h = (value - mean) / deviation
            log_gain, shift = (8 * level + channel) / 10, (8 * level + channel + 4) / 10
            wanted = math.exp(log_gain) * 2 * (1 - 0.1 * h) * h + shift
            assert got[row, 0, channel].item() == pytest.approx(wanted, rel=1e-5)


def test_adaptive_norm_passes_no_gradient_through_its_bracket():
    norm, x = AdaptiveNorm(2, 8), torch.randn(1, 3, 8, requires_grad=True)
    seed = torch.randn(1, 3, 8)
    norm(x, torch.tensor([1])).backward(seed)
    h = torch.nn.functional.layer_norm(x.detach(), (8,)).requires_grad_()
    through = torch.autograd.grad(torch.nn.functional.layer_norm(x, (8,)), x, seed * 2 * (1 - 0.1 * h.detach()))[0]
    torch.testing.assert_close(x.grad, through)


def test_levels_begin_alike_and_are_each_rows_own():
    model = Transformer(**SMALL, adaptive_levels=8).eval()
    x = inputs(2, 7)
    torch.testing.assert_close(run(model, x, torch.tensor([1, 7])), run(model, x, torch.tensor([5, 2])))
    for parameter in (p for name, p in model.named_parameters() if "levels" in name):
        torch.nn.init.normal_(parameter, std=0.3)
    mixed = run(model, x, torch.tensor([1, 7]))
    assert not torch.allclose(mixed, run(model, x, torch.tensor([5, 2])), atol=1e-2)
    torch.testing.assert_close(mixed[1:], run(model, x[1:], torch.tensor([7])))
    torch.testing.assert_close(run(model, x), run(model, x, torch.tensor([0, 0])))  # no level is the first


def test_a_block_is_torchs_pre_norm_block():
    model = Transformer(**SMALL, dropout=0.0).eval()
    theirs = torch.nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    block, state = model.blocks[0], theirs.state_dict()
    block.qkv.load_state_dict({"weight": state["self_attn.in_proj_weight"], "bias": state["self_attn.in_proj_bias"]})
    names = {"out": "self_attn.out_proj", "up": "linear1", "down": "linear2", "attention_norm": "norm1"}
    for ours, name in {**names, "ffn_norm": "norm2"}.items():
        block.get_submodule(ours).load_state_dict({key: state[f"{name}.{key}"] for key in ("weight", "bias")})
    x = 3 * inputs(2, 5)
    with torch.no_grad():
        got, _ = block(x, FullAttention(torch.tensor([5, 5]), 5, causal=False), 0, None)
        torch.testing.assert_close(got, theirs(x), atol=1e-5, rtol=1e-5)


def test_positions_are_sines_and_cosines_of_the_papers_wavelengths():
    table = sinusoids(torch.tensor([[0, 1, 500]]), 8)[0]
    assert table[0].tolist() == [0] * 4 + [1] * 4
    assert table[1, 0].item() == pytest.approx(math.sin(1)) and table[1, 4].item() == pytest.approx(math.cos(1))
    assert table[2, 3].item() == pytest.approx(math.sin(500 / 10000**0.75), rel=1e-4)


def test_order_matters():
    model = Transformer(**SMALL).eval()
    x = inputs(1, 6)
    assert not torch.allclose(run(model, x.flip(1)).flip(1), run(model, x), atol=1e-3)


def test_a_width_that_does_not_divide_is_one_clear_line():
    with pytest.raises(UsageError, match="dim 30, heads 4"):
        Transformer(dim=30, heads=4)


def test_a_deep_models_output_is_no_larger_than_a_shallow_ones_at_the_start():
    x = inputs(1, 20)
    spread = []
    for layers in (1, 24):
        torch.manual_seed(0)
        model = Transformer(**{**SMALL, "layers": layers}).eval()
        model.norm = torch.nn.Identity()
        model.norm.forward = lambda hidden, level: hidden
        spread.append(run(model, x).std().item())
    assert spread[1] < 1.5 * spread[0]


def test_the_matrices_that_write_to_the_residual_stream_begin_smaller():
    torch.manual_seed(0)
    block = Transformer(dim=64, heads=4, layers=8).blocks[3]
    for name, wanted in {"qkv": 0.02, "up": 0.02, "out": 0.02 / 4, "down": 0.02 / 4}.items():
        assert block.get_submodule(name).weight.std().item() == pytest.approx(wanted, rel=0.1)


def test_the_input_of_a_stack_is_dropped_out():
    model, x = Transformer(**SMALL, dropout=0.5).train(), inputs(1, 9)
    out, _ = model.run([lambda x, context, index: (x, None)], x, None)
    assert 0.3 < (out == 0).float().mean() < 0.7
