import math
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

from vocolab.errors import UsageError
from vocolab.tasks import Constant, InverseSquareRoot, StepDecay, WarmupCosine
from vocolab.tasks.schedules import Rates, check_schedule


def test_step_decay_multiplies_once_every_so_many_updates():
    schedule = StepDecay(gamma=0.999, every=1784)
    assert schedule(0) == schedule(1783) == 1
    assert schedule(1784) == 0.999
    assert schedule(1784 * 1000 + 5) == pytest.approx(0.999**1000)


def test_warmup_cosine_rises_falls_and_stays():
    schedule = WarmupCosine(total=110, warmup=10, floor=0.1)
    assert [schedule(step) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert schedule(60) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert schedule(110) == schedule(10_000) == pytest.approx(0.1)
    assert Constant()(12345) == 1


def test_inverse_square_root_meets_its_warm_up_at_the_base_rate():
    schedule = InverseSquareRoot(warmup=100)
    assert [schedule(step) for step in (0, 49, 99)] == [0.01, 0.5, 1.0]
    assert schedule(399) == pytest.approx(0.5) and schedule(9999) == pytest.approx(0.1)
    factors = [schedule(step) for step in range(1000)]
    assert factors.index(max(factors)) == 99
    assert InverseSquareRoot(warmup=0)(0) == 1


SCHEDULERS = {
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=7),
    "one cycle, which turns betas too": partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=20),
    "restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[3, 7]),
    "chained": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(optimizer, total_iters=4), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    ),
}


def settings(optimizer: torch.optim.Optimizer) -> list[tuple]:
    return [(group["lr"], group["betas"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.filterwarnings("error")
def test_a_scheduler_of_pytorch_sets_what_it_would_set_itself(scheduler):
    def adam() -> torch.optim.Optimizer:
        weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        return torch.optim.AdamW([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.02}], lr=0.1)

    ours, theirs = adam(), adam()
    rates, reference, expected = Rates(scheduler, ours), scheduler(theirs), []
    for update in range(12):
        expected.append(settings(theirs))
        for _ in range(2):  # the batches of one update
            rates.set(update)
            assert settings(ours) == expected[-1]
        theirs.step()
        reference.step()
    assert len({str(row) for row in expected}) > 2
    rates.set(3)  # back again
    assert settings(ours) == expected[3]

    resumed = adam()
    resumed.load_state_dict(ours.state_dict())
    Rates(scheduler, resumed).set(9)
    assert settings(resumed) == expected[9]


def test_schedulers_that_cannot_be_schedules_are_refused_at_once():
    with pytest.raises(UsageError, match="ReduceLROnPlateau waits for a metric"):
        check_schedule(lr_scheduler.ReduceLROnPlateau)
    with pytest.raises(UsageError, match="not a schedule .*total_steps.*: model.schedule: correct its arguments"):
        check_schedule(partial(lr_scheduler.OneCycleLR, max_lr=0.1))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    with pytest.raises(UsageError, match="OneCycleLR ends after 20 updates, the run has 21: model.schedule"):
        Rates(SCHEDULERS["one cycle, which turns betas too"], optimizer, 21)
    Rates(SCHEDULERS["one cycle, which turns betas too"], optimizer, 20).set(19)
