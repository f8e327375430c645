import math

import numpy
import pytest
from any_device import np

from common.errors import InputError
from common.layers.dense import Affine
from common.layers.losses import OutputWithLoss, SoftmaxWithLoss
from common.optimizer import SGD
from common.training.batches import DrawnBatches, ExampleBatches
from common.training.clip import global_norm
from common.training.epochs import RunningMean, train_epochs, training_step
from common.training.finite import expect_finite

pytestmark = pytest.mark.usefixtures("device")


def softmax_regression():
    return OutputWithLoss(Affine(np.zeros((3, 2)), np.zeros(2)), SoftmaxWithLoss())


def examples(n, seed=0):
    rng = numpy.random.default_rng(seed)
    return np.to_device(rng.standard_normal((n, 3))), np.to_device(rng.integers(2, size=n))


class Scripted:
    """A model whose losses are given, one for each batch."""

    def __init__(self, losses):
        self.losses, self.params, self.grads, self.options = iter(losses), [np.zeros(1)], [np.zeros(1)], []

    def forward(self, xs, ts, **options):
        self.options.append(options)
        return next(self.losses)

    def backward(self):
        self.grads[0][...] = 5


def batches_of(*sizes):
    return [(np.zeros((size, 1)), np.zeros(size)) for size in sizes]


@pytest.mark.parametrize("max_grad", [None, 0.1])
def test_training_is_the_loop_by_hand(max_grad):
    model, expected = softmax_regression(), softmax_regression()
    batches = [examples(7, 1), examples(4, 2)]
    losses = list(train_epochs(model, SGD(0.9), batches, 3, max_grad))
    for loss in losses:
        total = 0.0
        for xs, ts in batches:
            total += float(expected.forward(xs, ts)) * len(ts)
            expected.backward()
            norm = math.sqrt(sum(float((grad**2).sum()) for grad in expected.grads))
            rate = 1 if max_grad is None else min(1, max_grad / (norm + 1e-6))
            for param, grad in zip(expected.params, expected.grads):
                param -= 0.9 * rate * grad
        assert loss == pytest.approx(total / 11, rel=1e-12) and type(loss) is float
    for param, wanted in zip(model.params, expected.params):
        np.testing.assert_allclose(param, wanted, rtol=1e-12)


def test_a_batch_counts_by_its_number_of_targets():
    batches = [(np.zeros(1), np.zeros((2, 3))), (np.zeros(1), np.zeros((1, 4)))]
    assert list(train_epochs(Scripted([1.0, 2.0]), SGD(0.1), batches, 1)) == [pytest.approx((6 + 2 * 4) / 10)]


def test_nothing_is_trained_before_an_epoch_is_asked_for():
    model = Scripted([1.0, 2.0, 3.0])
    losses = train_epochs(model, SGD(1.0), batches_of(1), 3)
    seen = []
    for loss in losses:
        seen.append((loss, float(model.params[0][0])))
        if len(seen) == 2:
            break
    assert seen == [(1.0, -5.0), (2.0, -10.0)]


def test_options_of_a_batch_go_to_forward():
    model = Scripted([1.0, 1.0])
    (xs, ts), = batches_of(2)
    list(train_epochs(model, SGD(1.0), [(xs, ts), (xs, ts, {"lengths": [1, 2]})], 1))
    assert model.options == [{}, {"lengths": [1, 2]}]


def test_before_an_update_its_gradients_are_there_unclipped_and_its_learning_rate_can_be_set():
    model, optimizer, seen = Scripted([0.5, 0.25]), SGD(100.0), []

    def before_update(loss, targets):
        seen.append((float(loss), targets, float(global_norm(model.grads)), float(model.params[0][0])))
        optimizer.lr = targets

    list(train_epochs(model, optimizer, batches_of(3, 2), 1, max_grad=1.0, before_update=before_update))
    assert seen == [(0.5, 3, 5.0, 0.0), (0.25, 2, 5.0, pytest.approx(-3.0))]
    assert float(model.params[0][0]) == pytest.approx(-5.0, rel=1e-6)


def test_shared_gradients_are_one_before_an_update():
    W = np.ones((2, 2))
    model = Scripted([1.0])
    model.params, model.grads = [W, W.T], [np.full((2, 2), 1.0), np.array([[1.0, 2], [3, 4]])]
    model.backward = lambda: None
    seen = []
    training_step(model, SGD(0.0), *batches_of(1)[0], before_update=lambda *_: seen.append(model.grads[0].tolist()))
    assert seen == [[[2, 4], [3, 5]]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training_after_its_epoch(bad):
    losses = train_epochs(Scripted([1.0, 1.0, bad, 1.0]), SGD(0.1), batches_of(1, 1), 2)
    assert next(losses) == 1.0
    with pytest.raises(InputError, match=r"^the loss of epoch 2 is not finite: try a lower learning rate \(--lr\)$"):
        next(losses)


def test_a_generator_has_batches_for_one_epoch_only():
    losses = train_epochs(Scripted([1.0]), SGD(0.1), (batch for batch in batches_of(1)), 2)
    assert next(losses) == 1.0
    with pytest.raises(ValueError, match=r"^epoch 2 has no batch: give batches that can be iterated over"):
        next(losses)


def test_a_mean_is_added_up_in_double_precision():
    mean = RunningMean()
    for _ in range(100_000):
        mean.add(np.float32(5.00013) if np.backend == "numpy" else np.array(5.00013, dtype="f"))
    mean.add(1.0, weight=100_000)
    assert mean.value == pytest.approx((float(numpy.float32(5.00013)) + 1) / 2, rel=1e-12)


def test_what_is_finite_is_returned():
    assert expect_finite(2.5, "the loss") == 2.5


def values(batches):
    return [([int(x) for x in xs.reshape(-1)], ts.tolist()) for xs, ts in batches]


@pytest.mark.parametrize("drop_last, sizes", [(False, [3, 3, 1]), (True, [3, 3])])
def test_examples_are_dealt_once_an_epoch_with_their_targets_in_a_new_order(drop_last, sizes):
    np.seed(4)
    batches = ExampleBatches(np.arange(7)[:, None], np.arange(7) + 10, 3, drop_last)
    epochs = [values(batches) for _ in range(3)]
    orders = [numpy.random.default_rng(4).permutation(7)]
    assert [len(xs) for xs, _ in epochs[0]] == sizes and len(batches) == len(sizes)
    assert sum((xs for xs, _ in epochs[0]), []) == orders[0][:sum(sizes)].tolist()
    assert all(t == x + 10 for epoch in epochs for xs, ts in epoch for x, t in zip(xs, ts, strict=True))
    dealt = [tuple(x for xs, _ in epoch for x in xs) for epoch in epochs]
    assert len({*dealt, tuple(range(sum(sizes)))}) == 4
    assert all(len(set(order)) == sum(sizes) for order in dealt)


@pytest.mark.parametrize("n, targets, batch_size, drop_last, message", [
    (5, 4, 2, False, "there must be a target for each example, got 5 examples and 4 targets"),
    (5, 5, 0, False, "batch_size must be from 1 to the number of examples, got 0 for 5"),
    (5, 5, 6, True, "batch_size must be from 1 to the number of examples, got 6 for 5"),
    (0, 0, 2, False, "batch_size must be from 1 to the number of examples, got 2 for 0"),
])
def test_examples_that_make_no_batch_are_refused(n, targets, batch_size, drop_last, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        ExampleBatches(np.zeros((n, 2)), np.zeros(targets, dtype=int), batch_size, drop_last)


@pytest.mark.parametrize("n, batch_size, drop_last, sizes", [
    (2, 5, False, [2]), (1, 5, False, [1]), (5, 5, True, [5]), (2, 1, True, [1, 1]), (2, 1, False, [1, 1])])
def test_the_smallest_epochs_of_examples(n, batch_size, drop_last, sizes):
    assert [len(ts) for _, ts in ExampleBatches(*examples(n), batch_size, drop_last)] == sizes


def test_examples_that_do_not_fill_a_batch_are_dealt_by_default():
    assert [len(ts) for _, ts in ExampleBatches(*examples(7), 3)] == [3, 3, 1]


def test_drawn_batches_are_drawn_when_they_are_dealt():
    drawn = iter(range(9))
    batches = DrawnBatches(lambda: next(drawn), 3)
    assert len(batches) == 3
    assert list(batches) == [0, 1, 2] and next(iter(batches)) == 3 and list(batches) == [4, 5, 6]
