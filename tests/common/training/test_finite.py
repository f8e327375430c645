"""Numbers that are not finite end a training where they come up."""
import itertools
import math

import numpy
import pytest
from any_device import np

from common.errors import InputError
from common.optimizer import SGD
from common.training.epochs import train_epochs
from common.training.finite import NotFinite, expect_finite


def test_a_number_that_is_finite_comes_back():
    assert expect_finite(2.5, "the loss") == 2.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_is_refused_by_name(value):
    with pytest.raises(InputError, match=r"^the loss is not finite: try a lower learning rate \(--lr\)$") as refused:
        expect_finite(value, "the loss")
    assert refused.value.what == "the loss"


class Scripted:
    """A model whose losses are given, and whose parameter is what its last gradient makes of it."""

    def __init__(self, losses, grad=0.0):
        self.params, self.grads = [np.zeros(2)], [np.zeros(2)]
        self.losses, self.grad, self.forwards = iter(losses), grad, 0

    def forward(self, xs, ts):
        self.forwards += 1
        return np.float64(next(self.losses)) if np.backend == "numpy" else np.array(next(self.losses))

    def backward(self):
        self.grads[0][:] = self.grad


BATCH = numpy.zeros((1, 1)), numpy.zeros((1, 1))


def test_a_loss_is_looked_at_within_an_epoch():
    model = Scripted(itertools.chain([0.5] * 25, itertools.repeat(math.nan)))
    with pytest.raises(NotFinite, match=r"^the loss at batch 40 of epoch 1 is not finite"):
        next(train_epochs(model, SGD(), [BATCH] * 100, 1))
    assert model.forwards == 40


def test_a_loss_is_looked_at_after_an_epoch(device):
    model = Scripted([0.5] * 5 + [0.5, math.inf, 0.5, 0.5, 0.5])
    losses = train_epochs(model, SGD(), [BATCH] * 5, 2)
    assert next(losses) == 0.5
    with pytest.raises(NotFinite, match=r"^the loss of epoch 2 is not finite"):
        next(losses)


def test_parameters_that_the_last_update_spoilt_are_noticed(device):
    model = Scripted(itertools.repeat(0.5), grad=math.inf)
    with pytest.raises(NotFinite, match=r"^a parameter after epoch 1 is not finite"):
        next(train_epochs(model, SGD(), [BATCH] * 3, 1))
