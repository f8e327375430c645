import numpy
import pytest

from common.layers.losses import MeanSquaredError
from common.layers.time import TimeSoftmaxWithLoss
from dataset.memory_tasks import AddingProblem, CopyTask

N = 20_000


@pytest.mark.parametrize("length", [2, 3, 10, 101])
def test_adding_marks_one_number_in_each_half(length):
    xs, ts = AddingProblem(length).batch(200)
    assert xs.shape == (200, length, 2) and ts.shape == (200, 1, 1)
    assert xs.dtype == ts.dtype == numpy.float32
    values, markers = xs[:, :, 0], xs[:, :, 1]
    assert values.min() >= 0 and values.max() <= 1
    assert set(markers.ravel()) <= {0, 1}
    assert (markers[:, :length // 2].sum(axis=1) == 1).all() and (markers[:, length // 2:].sum(axis=1) == 1).all()
    for value, marker, t in zip(values, markers, ts):
        first, second = numpy.flatnonzero(marker)
        assert t == pytest.approx(value[first] + value[second])


def test_adding_marks_every_place_equally_often_in_its_half():
    xs, _ = AddingProblem(5).batch(N)
    assert xs[:, :, 1].mean(axis=0) == pytest.approx([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3], abs=0.02)


def test_adding_values_are_even_between_0_and_1():
    xs, _ = AddingProblem(5).batch(N)
    for t in range(5):
        shares, _ = numpy.histogram(xs[:, t, 0], bins=10, range=(0, 1))
        assert shares / N == pytest.approx(numpy.full(10, 0.1), abs=0.01)


def test_ignoring_the_input_of_adding():
    _, ts = AddingProblem(10).batch(N)
    assert ts.mean() == pytest.approx(1, abs=0.01)
    assert MeanSquaredError().forward(numpy.ones_like(ts), ts) == pytest.approx(
        AddingProblem.error_ignoring_input, rel=0.02)


def test_adding_needs_room_for_two_markers():
    with pytest.raises(ValueError, match="length is 1, wanted at least 2"):
        AddingProblem(1)


@pytest.mark.parametrize("length, symbols, answer_steps", [(0, 2, 1), (4, 8, 3), (20, 3, 5)])
def test_copy_shows_symbols_then_blanks_then_the_recall_signal(length, symbols, answer_steps):
    task = CopyTask(length, 0, symbols, answer_steps)
    xs, ts = task.batch(50)
    assert xs.shape == (50, answer_steps + length + answer_steps, symbols + 2) and xs.dtype == numpy.float32
    assert (task.input_size, task.output_size, task.answer_steps) == (symbols + 2, symbols, answer_steps)
    assert ts.shape == (50, answer_steps) and ts.min() >= 0 and ts.max() < symbols
    assert set(xs.ravel()) == {0, 1} and (xs.sum(axis=2) == 1).all()
    ids = xs.argmax(axis=2)
    assert numpy.array_equal(ids[:, :answer_steps], ts)
    assert (ids[:, answer_steps:answer_steps + length] == symbols).all()
    assert (ids[:, answer_steps + length:] == symbols + 1).all()


def test_ignoring_the_input_of_copy():
    task = CopyTask(2)
    _, ts = task.batch(N)
    shares = numpy.bincount(ts.ravel()) / ts.size
    assert shares == pytest.approx(numpy.full(8, 1 / 8), abs=0.005)
    scores = numpy.zeros((*ts.shape, 8))
    assert TimeSoftmaxWithLoss().forward(scores, ts) == pytest.approx(task.error_ignoring_input)


@pytest.mark.parametrize("task", [AddingProblem, CopyTask])
def test_a_seed_gives_the_same_sequences_and_each_batch_is_new(task):
    def batches(seed):
        sequences = task(10, seed=seed)
        return [sequences.batch(4) for _ in range(2)]

    (xs, ts), (xs_next, _) = batches([7, 0])
    (xs_again, ts_again), _ = batches([7, 0])
    assert numpy.array_equal(xs, xs_again) and numpy.array_equal(ts, ts_again)
    for xs_other in (xs_next, batches([7, 1])[0][0], batches([8, 0])[0][0]):
        assert not numpy.array_equal(xs, xs_other)
