import pytest
import torch
from torch import nn

from vocolab.errors import UsageError, VocolabError
from vocolab.lm.backbones import RetNet, Transformer
from vocolab.lm.backbones.bitnet import BitLinear
from vocolab.lm.backbones.layers import linear_class, linear_name, merge_heads, split_heads
from vocolab.parts import describe


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_the_slot_takes_a_class_or_its_path():
    assert issubclass(linear_class(None), nn.Linear)
    assert linear_class(Doubled) is Doubled
    assert linear_class("torch.nn.Linear") is nn.Linear
    assert linear_class(linear_name(Doubled)) is Doubled  # its module is imported already
    assert linear_name(None) is None and linear_name("BitLinear") == "BitLinear"


def test_a_bare_name_is_bitnets():
    assert linear_class("BitLinear") is linear_class("vocolab.lm.backbones.bitnet.BitLinear") is BitLinear


@pytest.mark.parametrize("wrong", ["Bitlinear", "torch.nn.Conv1d", "os.system", "antigravity.Linear"])
def test_other_names_import_nothing_and_are_one_clear_line(wrong):
    with pytest.raises(UsageError, match=f"no such subclass of nn.Linear: {wrong}"):
        linear_class(wrong)


def test_a_class_of_ones_own_says_what_to_import():
    with pytest.raises(VocolabError, match="linear: a.b.C: .*--import a.b "):
        linear_class("a.b.C")


@pytest.mark.parametrize("cls", [Transformer, RetNet])
def test_every_matrix_of_a_backbone_is_of_the_slots_class(cls):
    model = cls(dim=16, heads=2, layers=2, linear=Doubled)
    matrices = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(matrices) == 8 and all(type(module) is Doubled for module in matrices)
    assert describe(model)["init_args"]["linear"] == f"{__name__}.Doubled"


def test_a_router_stays_plain():
    model = RetNet(dim=16, heads=2, layers=1, experts=3, linear=Doubled)
    assert {name for name, module in model.named_modules() if type(module) is nn.Linear} == {"blocks.0.ffn.router"}


def test_heads_split_and_merge():
    x = torch.arange(2 * 3 * 24.0).view(2, 3, 24)
    q, k, v = split_heads(x, 2, 3)
    assert q.shape == (2, 2, 3, 4)
    assert torch.equal(k[1, 1, 2], x[1, 2, 12:16])
    assert torch.equal(merge_heads(v), x[..., 16:])
