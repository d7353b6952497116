import pytest
import torch

from vocolab.errors import UsageError
from vocolab.lm.backbones.moe import Mixture, balance_loss, route


def test_each_position_takes_its_two_likeliest_with_weights_of_sum_one():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 3.0, 3.5]])
    experts, weights, probabilities = route(logits, 2)
    assert experts.tolist() == [[0, 1], [3, 2]]
    e = torch.tensor(1.0).exp()
    torch.testing.assert_close(weights[0], torch.stack([e / (1 + e), 1 / (1 + e)]))
    torch.testing.assert_close(probabilities, logits.softmax(-1))


def test_the_balance_loss_is_two_where_all_get_alike_and_four_where_two_of_four_get_all():
    probabilities = torch.full((4, 4), 0.25)
    experts = torch.tensor([[0, 1], [2, 3], [0, 2], [1, 3]])
    assert balance_loss(experts, probabilities).item() == pytest.approx(2.0)
    collapsed = torch.tensor([[0.5, 0.5, 0.0, 0.0]] * 4)
    assert balance_loss(torch.tensor([[0, 1]] * 4), collapsed).item() == pytest.approx(4.0)


def test_padding_has_no_part_in_the_balance_loss():
    torch.manual_seed(0)
    experts, _, probabilities = route(torch.randn(6, 4), 2)
    real = torch.tensor([True, True, False, True, False, False])
    alone = balance_loss(experts[real], probabilities[real])
    torch.testing.assert_close(balance_loss(experts, probabilities, real), alone)


def test_a_mixture_is_the_weighted_sum_of_its_chosen_experts():
    torch.manual_seed(0)
    mixture = Mixture(8, 16, experts=4)
    x = torch.randn(2, 5, 8)
    mixed, _ = mixture(x)
    for row in range(2):
        for position in range(5):
            p = mixture.router(x[row, position]).softmax(-1)
            first, second = p.topk(2).indices.tolist()
            one, two = (mixture.experts[i](x[row, position]) for i in (first, second))
            wanted = (p[first] * one + p[second] * two) / (p[first] + p[second])
            torch.testing.assert_close(mixed[row, position], wanted, atol=1e-6, rtol=1e-5)


def test_nothing_is_dropped_when_all_positions_want_the_same_experts():
    torch.manual_seed(0)
    mixture = Mixture(8, 16, experts=8)
    mixture.router.weight.data = torch.zeros(8, 8)
    mixture.router.weight.data[:2] = 1.0
    x = torch.rand(4, 50, 8)
    experts, *_ = route(mixture.router(x.flatten(0, 1)), 2)
    assert set(experts.unique().tolist()) == {0, 1}
    mixed, loss = mixture(x)
    torch.testing.assert_close(mixed[3:, 49:], mixture(x[3:, 49:])[0], atol=1e-6, rtol=1e-5)
    assert (mixed.norm(dim=-1) > 0).all() and loss > 6


def test_the_router_is_taught_by_both_losses():
    torch.manual_seed(0)
    mixture = Mixture(8, 16, experts=4)
    mixed, loss = mixture(torch.randn(1, 9, 8))
    for part in (mixed.pow(3).sum(), loss):
        (gradient,) = torch.autograd.grad(part, mixture.router.weight, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_more_choices_than_experts_is_one_clear_line():
    with pytest.raises(UsageError, match="cannot use 2 of 1 experts"):
        Mixture(8, 16, experts=1)
