import math

import pytest

from common.optimizer import SGD
from common.training.schedules import SCHEDULES, learning_rate, scheduled


@pytest.mark.parametrize("schedule, rates", [
    ("constant", [0.8] * 4), ("plateau", [0.8] * 4), ("linear", [0.8, 0.6, 0.4, 0.2]),
    ("cosine", [0.8, 0.4 * (1 + math.sqrt(0.5)), 0.4, 0.4 * (1 - math.sqrt(0.5))])])
def test_without_warm_up(schedule, rates):
    assert [learning_rate(0.8, schedule, step, 4) for step in range(4)] == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_begins_with_the_warm_up_and_goes_on_as_if_it_began_there(schedule):
    rates = [learning_rate(0.8, schedule, step, 9, warmup=4) for step in range(9)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8], rel=1e-12)
    assert rates[4:] == [learning_rate(0.8, schedule, step, 5) for step in range(5)]


def test_a_run_that_is_all_warm_up():
    assert learning_rate(0.8, "linear", 1, 2, warmup=10) == pytest.approx(0.16, rel=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_behind_the_last_update_it_stays_at_0(schedule):
    assert [learning_rate(0.8, schedule, step, 5) for step in (5, 6, 10)] == pytest.approx([0, 0, 0], abs=1e-15)


def test_an_unknown_schedule():
    with pytest.raises(ValueError, match=r"^schedule is 'step', wanted one of constant, plateau, linear, cosine$"):
        learning_rate(0.8, "step", 0, 4)


def test_each_update_gets_its_rate():
    optimizer = SGD(0.8)
    before_update = scheduled(optimizer, "linear", 5, warmup=1)
    rates = []
    for _ in range(5):
        before_update(1.0, 1)
        rates.append(optimizer.lr)
    assert rates == pytest.approx([0.8, 0.8, 0.6, 0.4, 0.2], rel=1e-12)
