"""Llama and Mixtral against transformers, live."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vocolab import _compat
from vocolab.errors import UsageError
from vocolab.lm.backbones import Llama, Mixtral
from vocolab.lm.backbones.layers import linear_name
from vocolab.lm.backbones.llama import rotate, rotation
from vocolab.parts import describe

SHAPE = dict(dim=32, heads=4, layers=2, ffn=48)
TOLERANCE = dict(atol=2e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("transformers")
    _compat.torchaudio()
    import transformers

    return transformers


def config(kind, **more):
    return kind(
        vocab_size=1,
        hidden_size=SHAPE["dim"],
        num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["heads"],
        num_hidden_layers=SHAPE["layers"],
        intermediate_size=SHAPE["ffn"],
        **more,
    )


def pair(transformers, name):
    """A backbone of ours and transformers' with the same weights, large enough for all of them to matter."""
    torch.manual_seed(0)
    if name == "Llama":
        ours, theirs = Llama(**SHAPE), transformers.LlamaModel(config(transformers.LlamaConfig))
    else:
        more = dict(num_local_experts=4, sliding_window=None)
        ours = Mixtral(**SHAPE, experts=4)
        theirs = transformers.MixtralModel(config(transformers.MixtralConfig, **more))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, mean=parameter.dim() == 1, std=0.2)  # gains around 1
    rest = theirs.load_state_dict(ours.model.state_dict(), strict=False)
    assert rest.missing_keys == ["embed_tokens.weight"] and not rest.unexpected_keys
    return ours.eval(), theirs.eval()


def inputs(batch, length, seed=0):
    return torch.randn(batch, length, SHAPE["dim"], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["Llama", "Mixtral"])
def test_it_computes_what_transformers_computes_and_takes_its_weights(transformers, name):
    ours, theirs = pair(transformers, name)
    x, lengths = inputs(3, 20), torch.tensor([20, 20, 20])
    with torch.no_grad():
        wanted = theirs(inputs_embeds=x, attention_mask=torch.ones(3, 20)).last_hidden_state
        torch.testing.assert_close(ours(x, lengths, causal=True).hidden, wanted, **TOLERANCE)
    again = type(ours)(**describe(ours)["init_args"]).eval()
    again.model.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "embed_tokens.weight"})
    with torch.no_grad():
        torch.testing.assert_close(again(x, lengths, causal=True).hidden, wanted, **TOLERANCE)


@pytest.mark.parametrize("name", ["Llama", "Mixtral"])
@pytest.mark.parametrize("causal", [True, False])
def test_padded_rows_and_both_ways_are_transformers_with_an_explicit_mask(transformers, name, causal):
    """A 4-D mask, which transformers takes as it is: packed sequences cannot be misread into it."""
    ours, theirs = pair(transformers, name)
    x, lengths = inputs(3, 12), torch.tensor([12, 7, 1])
    seen = (torch.arange(12) < lengths[:, None])[:, None, None].expand(3, 1, 12, 12)
    if causal:
        seen = seen & torch.ones(12, 12, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.no_grad():
        wanted = theirs(inputs_embeds=x, attention_mask=mask, use_cache=False).last_hidden_state
        got = ours(x, lengths, causal=causal).hidden
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length], wanted[row, :length], **TOLERANCE)


def test_gradients_are_those_of_transformers(transformers):
    ours, theirs = pair(transformers, "Llama")
    x = inputs(2, 9)
    ours(x, torch.tensor([9, 9]), causal=True).hidden.pow(3).sum().backward()
    theirs(inputs_embeds=x, attention_mask=torch.ones(2, 9)).last_hidden_state.pow(3).sum().backward()
    theirs = dict(theirs.named_parameters())
    for name, parameter in ours.model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-3, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["Llama", "Mixtral"])
def test_a_fresh_one_is_initialised_as_in_transformers(transformers, name):
    shape = dict(dim=128, heads=4, layers=1, ffn=512)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=1, hidden_size=128, num_hidden_layers=1, num_attention_heads=4, intermediate_size=512,
        num_key_value_heads=4,
    )  # fmt: skip
    theirs = dict(getattr(transformers, f"{name}Model")(config).named_parameters())
    ours = {"Llama": Llama, "Mixtral": Mixtral}[name](**shape)
    assert ours.eps == config.rms_norm_eps and ours.theta == config.rope_parameters["rope_theta"]
    for key, parameter in ours.model.named_parameters():
        assert parameter.shape == theirs[key].shape, key
        if parameter.dim() == 1:
            assert (parameter == 1).all() and (theirs[key] == 1).all()
        else:
            assert parameter.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1), key
            assert abs(parameter.mean()) < 0.01


def test_the_balance_loss_of_a_layer_is_that_of_transformers_without_padding(transformers):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    torch.manual_seed(0)
    model = Mixtral(**SHAPE, experts=4, dropout=0.0).eval()
    logits = []
    for block in model.model["layers"]:
        nn.init.normal_(block.mlp.gate.weight, std=1.0)
        block.mlp.gate.register_forward_hook(lambda module, args, output: logits.append(output))
    x, lengths = inputs(2, 10), torch.tensor([10, 4])
    loss = model(x, lengths, causal=True).aux_loss
    mask = (torch.arange(10) < lengths[:, None]).float()
    wanted = [load_balancing_loss_func((layer,), 4, 2, mask) for layer in logits]
    assert len(wanted) == 2 and wanted[0] != wanted[1]
    torch.testing.assert_close(loss, torch.stack(wanted).mean())
    x[1, 4:] = 50.0
    torch.testing.assert_close(model(x, lengths, causal=True).aux_loss, loss)


def test_the_balance_loss_is_two_where_all_get_alike_and_four_where_two_of_four_get_all():
    model = Mixtral(dim=4, heads=1, layers=1, ffn=8, experts=4, dropout=0.0).eval()
    mlp = model.model["layers"][0].mlp
    mlp.gate.weight.data = torch.eye(4)
    everywhere = torch.tensor([[8.0, 8, 0, 0], [0, 0, 8, 8], [8, 0, 8, 0], [0, 8, 0, 8]])[None]
    real = torch.ones(1, 4, dtype=torch.bool)
    assert mlp(everywhere, real)[1].item() == pytest.approx(2.0, abs=1e-4)
    same = torch.tensor([[60.0, 60, 0, 0]] * 4)[None]
    assert mlp(same, real)[1].item() == pytest.approx(4.0)


def test_no_expert_fills_zeros_of_the_size_of_all_in_the_backward_pass():
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), named=None):
            result = operator(*arguments, **(named or {}))
            if "backward" in operator.name() and isinstance(result, torch.Tensor):
                shapes.append(tuple(result.shape))
            return result

    torch.manual_seed(0)
    shapes, model = [], Mixtral(**SHAPE, experts=4)
    loss = model(inputs(2, 9), torch.tensor([9, 9]), causal=True).hidden.pow(3).sum()
    with Seen():
        loss.backward()
    experts = model.model["layers"][0].mlp.experts
    assert shapes and not {experts.gate_up_proj.shape, experts.down_proj.shape} & set(shapes)
    assert experts.gate_up_proj.grad.abs().sum() > 0


def test_more_experts_a_position_than_there_are_is_one_clear_line():
    with pytest.raises(UsageError, match="cannot use 3 of 2 experts"):
        Mixtral(experts=2, top=3)


def test_positions_turn_channels_so_that_only_their_distance_counts():
    q, k = torch.randn(2, 1, 1, 1, 8)
    scores = []
    for start in (0, 5, 1000):
        turn = rotation(torch.tensor([[start, start + 7]]), 8, 10000.0, torch.float32)
        both = rotate(torch.cat([q, k], 2), turn)
        scores.append(both[0, 0, 0] @ both[0, 0, 1])
    torch.testing.assert_close(torch.stack(scores), scores[0].expand(3), atol=1e-4, rtol=1e-4)
    assert abs(scores[0] - q.flatten() @ k.flatten()) > 1e-3


def test_no_import_of_transformers(tmp_path):
    """Eight seconds that nobody need pay for a backbone."""
    import subprocess
    import sys

    code = "import sys, vocolab.lm.backbones as b; b.Llama(32, 4, 1); assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("cls", [Llama, Mixtral])
def test_every_matrix_is_of_the_slots_class(cls):
    class Own(nn.Linear):
        pass

    model = cls(**SHAPE, linear=Own)
    matrices = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(matrices) == SHAPE["layers"] * (7 if cls is Llama else 4)
    assert all(type(module) is Own for module in matrices)
    assert describe(model)["init_args"]["linear"] == linear_name(Own)
