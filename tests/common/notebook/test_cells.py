import time

import numpy
import pytest

from common.base_model import BaseModel
from common.layers.dense import Affine
from common.layers.losses import MeanSquaredError
from common.notebook.cells import Varying, double_batch, learn, seconds_of


def test_seconds_are_the_median_of_the_calls(monkeypatch):
    ticks = iter([0, 5, 10, 11, 20, 22])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    calls = []
    assert seconds_of(calls.append, "x", repeats=3) == 2
    assert calls == ["x"] * 3


class Line:
    """A task: ts = 2 xs - 1. It remembers the sizes of the batches that were drawn of it."""

    def __init__(self):
        self.rng, self.sizes = numpy.random.default_rng(0), []

    def batch(self, size):
        self.sizes.append(size)
        xs = self.rng.standard_normal((size, 1), dtype=numpy.float32)
        return xs, 2 * xs - 1


class LineModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = [Affine(numpy.zeros((1, 1)), numpy.zeros(1))]
        self.loss_layer = MeanSquaredError()
        self.collect_params()

    def forward(self, xs, ts):
        return self.loss_layer.forward(self.layers[0].forward(xs), ts)

    def backward(self):
        self.layers[0].backward(self.loss_layer.backward())


def test_a_double_batch_has_the_numbers_of_the_task():
    single, double = Line().batch(3), double_batch(Line(), 3)
    assert [array.dtype for array in double] == [numpy.float64] * 2
    assert all(map(numpy.array_equal, single, double))


@pytest.mark.training
def test_a_model_learns_its_task():
    model, task = LineModel(), Line()
    learn(model, task, 600)
    assert task.sizes == [50] * 600
    numpy.testing.assert_allclose([param.item() for param in model.params], [2, -1], rtol=1e-3)


def test_each_is_called_before_the_first_update_and_after_every_one():
    seen = []
    learn(LineModel(), Line(), 3, lambda update, model: seen.append((update, model.params[0].item())))
    updates, weights = zip(*seen)
    assert updates == (0, 1, 2, 3)
    numpy.testing.assert_allclose(weights, [0, 0.01, 0.02, 0.03], rtol=0.2, atol=1e-12)  # Adam's steps: about its rate


def test_a_varying_text_is_shown_with_its_causes_and_its_plain_form_stays_the_same():
    one, other = Varying("1 word", "the version of Python", "chance"), Varying("2", "the version of Python", "chance")
    assert repr(one) == repr(other) == "(depends on the version of Python and chance)"
    assert one._repr_markdown_() == (
        "```\n1 word\n```\n*This output is from one machine. It depends on the version of Python and chance.*")
