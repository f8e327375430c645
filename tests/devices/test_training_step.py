"""What a training step makes a GPU do, and that each of nineteen device mistakes is noticed."""
import inspect
import sys
import textwrap
from unittest import mock

import numpy
import pytest
import strict_cupy
from any_device import np
from count_launches import count_training_step

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.device.ids import Ids
from common.layers import dense as layers
from common.layers import time
from common.layers.dense import Affine, Embedding
from common.layers.gru import TimeGRU
from common.layers.losses import SoftmaxWithLoss
from common.layers.lstm import TimeLSTM
from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import TimeRNN
from common.optimizer import OPTIMIZERS, SGD, Adam
from common.trainer import RnnlmTrainer, training_step
from common.training import clip, epochs
from common.training.batches import StripBatches, WindowBatches
from common.training.clip import unique_params
from common.training.health import HealthLog

N, T, V, H = 4, 6, 11, 5
MODELS = [SimpleRnnlm, Rnnlm, BetterRnnlm]
IDS = numpy.random.default_rng(0).integers(V, size=5 * N * T + 1)

every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(autouse=True)
def stand_in():
    """Run on the stand-in; its counts are what these tests are about."""
    with strict_cupy.in_place_of_cupy():
        np.use("cupy")
        yield
        np.use("numpy")


def strips(N=N, T=T, ids=IDS):
    return StripBatches(ids[:-1], ids[1:], N, T)


# --- launches

RECURRENT = {  # layer, gate blocks, biases, options, most launches of a step forwards and backwards
    "RNN": (TimeRNN, 1, 1, {}, 2, 3),
    "LSTM": (TimeLSTM, 4, 4, {}, 2, 3),
    "GRU, reset after": (TimeGRU, 3, 4, {"reset_after": True}, 2, 3),
    "GRU, reset before": (TimeGRU, 3, 3, {}, 4, 6),
}


@pytest.mark.parametrize(
    "layer, blocks, biases, options, most_forward, most_backward", RECURRENT.values(), ids=RECURRENT)
def test_launches_of_a_time_step(layer, blocks, biases, options, most_forward, most_backward):
    layer = layer(np.ones((3, blocks * H)), np.ones((H, blocks * H)), np.ones(biases * H), **options)
    totals = {}
    for steps in (10, 20):
        xs, dhs = np.ones((N, steps, 3)), np.ones((N, steps, H))
        with strict_cupy.counting() as forward:
            layer.forward(xs)
        with strict_cupy.counting() as backward:
            layer.backward(dhs)
        totals[steps] = numpy.array([forward.launches, backward.launches])
    assert ((totals[20] - totals[10]) / 10).tolist() <= [most_forward, most_backward]
    assert (totals[10] <= 10 * numpy.array([most_forward, most_backward]) + 12).all()


def test_launches_of_a_training_step_of_better_rnnlm():
    T = 35
    ids = numpy.random.default_rng(0).integers(V, size=5 * 20 * T + 1)
    counts = count_training_step(BetterRnnlm(V, H, H, seed=0), strips(20, T, ids), SGD(1.0))
    assert counts.launches <= 600


# --- nothing crosses, nothing waits

def assert_device_alone(counts):
    assert (counts.synchronisations, counts.transfers) == (0, 0), counts.names


@every_model
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_step_waits_for_nothing_and_moves_nothing(model, optimizer):
    assert_device_alone(count_training_step(model(V, H, H, seed=0), strips(), OPTIMIZERS[optimizer](0.1)))


@every_model
@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("max_grad", [None, 0.25])
def test_nor_does_one_with_a_health_log(model, optimizer, max_grad):
    def counted(health):
        counts = count_training_step(model(V, H, H, seed=0), strips(), optimizer(0.1), max_grad, health)
        assert_device_alone(counts)
        return counts.launches

    without, noted, looked = (counted(health) for health in (None, HealthLog().at(1), HealthLog().at(0)))
    assert noted - without == (max_grad is not None)
    assert noted < looked < without + 150  # once in 20 steps


@every_model
@pytest.mark.parametrize("shuffle", [False, True])
def test_so_does_one_on_windows(model, shuffle):
    windows = WindowBatches(IDS, window=T, batch_size=N, shuffle=shuffle, seed=0)
    assert_device_alone(count_training_step(model(V, H, H, seed=0), windows, SGD(0.1)))


@pytest.mark.parametrize("ignore_label, low, high, believed", [
    (None, 0, 6, True), (None, 1, 5, True), (None, -1, 6, False), (None, 0, 7, False),
    (-1, -1, 6, True), (-1, 0, 6, True), (-1, 1, 6, True), (-1, -2, 6, False), (-1, -1, 7, False),
    (0, 0, 6, True), (0, -1, 6, False), (1, -1, 6, False), (-2, -1, 6, False),
])
def test_targets_are_looked_at_only_where_their_known_range_leaves_a_doubt(ignore_label, low, high, believed):
    loss, x, ts = SoftmaxWithLoss(), np.ones((3, 7)), np.array([2, 4, 3])
    loss.ignore_label = ignore_label
    with strict_cupy.counting() as counts:
        loss.forward(x, Ids(ts, low, high))
    assert (counts.synchronisations == 0) == believed


def test_the_trainer_reads_the_loss_once_an_interval(capsys):
    trainer, xs, ts = RnnlmTrainer(Rnnlm(V, H, H, seed=0), SGD(0.1)), IDS[:-1], IDS[1:]

    def waits(epochs, eval_interval):
        with strict_cupy.counting() as counts:
            trainer.fit(xs, ts, epochs, N, T, 0.25, eval_interval)
        return counts.synchronisations

    trainer.fit(xs, ts, 1, N, T, 0.25, None)
    assert len(IDS) // (N * T) == 5
    silent = waits(4, None)
    assert waits(4, 5) - silent == 4  # once in each epoch of 5 batches
    capsys.readouterr()


def test_two_runs_agree_to_the_last_bit():
    def params():
        model, optimizer, batches = BetterRnnlm(V, H, H, seed=0), SGD(1.0), strips()
        for _ in range(6):
            training_step(model, optimizer, *batches.next_batch(), max_grad=0.25)
        return [param.get() for param in model.params]

    assert all(numpy.array_equal(one, other) for one, other in zip(params(), params(), strict=True))


# --- mistakes

def train(backend):
    """Train a model without dropout for a few steps; the losses, and the parameters after them."""
    np.use(backend)
    model, optimizer, batches = BetterRnnlm(V, H, H, dropout_ratio=0, seed=0, dtype=np.float64), SGD(1.0), strips()
    for param in unique_params(model.params):
        param *= 20  # as drawn they are so small that a wrong gradient would hardly show
    losses = [training_step(model, optimizer, *batches.next_batch(), max_grad=0.25) for _ in range(4)]
    return [numpy.stack([np.to_cpu(loss) for loss in losses]), *map(np.to_cpu, model.params)]


def assert_sound(on_cpu):
    """What the tests above, and those that run on both devices, hold of a training step, in short."""
    on_device, again = train("cupy"), train("cupy")
    for one, other in zip(on_device, again, strict=True):
        numpy.testing.assert_array_equal(one, other)
    for one, other in zip(on_cpu, on_device, strict=True):
        numpy.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    counts = count_training_step(BetterRnnlm(V, H, H, seed=0), strips(), SGD(1.0))
    assert_device_alone(counts)
    # Copied are the ids, their targets, a condition that is made bool, and the output of the tied product.
    assert counts.launches <= 4 * 2 * T + 200 and counts.copies <= 4


MISTAKES = {  # what holds the function, its name, what is replaced, by what
    "NumPy ids into weights on the device": (Embedding, "forward", "W[ids]", "W[ids.get()]"),
    "a list as an index": (Embedding, "forward", "W[ids]", "W[ids.tolist()]"),
    "a look at the range in every step": (
        Embedding, "forward", "(W,) = self.params", "(W,) = self.params; self.expect_range('', idx.array, len(W))"),
    "the order found in every step": (
        Embedding, "backward", "if order is None:", "if True:"),
    "gradients of equal ids assigned, not added": (
        layers, "sum_rows_by_id", "segment_totals(ids, rows)", "rows"),
    "atomic additions": (
        layers, "sum_rows_by_id", "out[ids] = segment_totals(ids, rows)", "np.add.at(out, ids, rows)"),
    "a float() of the loss": (
        SoftmaxWithLoss, "forward", "return ((np.log(totals) - target_scores) * weights).sum()",
        "return float(((np.log(totals) - target_scores) * weights).sum())"),
    "an if on a number of the device": (epochs, "clip_grads", "np.backend == \"numpy\" and rate == 1", "rate == 1"),
    "the norm on the host": (clip, "global_norm", "_nrm2(array)", "float(_nrm2(array))"),
    "where=": (SoftmaxWithLoss, "forward", "np.log(totals)", "np.log(totals, where=totals > 0)"),
    "a boolean mask": (
        SoftmaxWithLoss, "forward", "np.exp(shifted, out=shifted)",
        "shifted[shifted < -80] = -80; small = shifted[shifted < -1]; np.exp(shifted, out=shifted)"),
    "a buffer that is not filled": (
        RecurrentLayer, "_carry_over", "array[:N] = 0 if carried is None else packing.sort(carried)",
        "carried is None or np.copyto(array[:N], packing.sort(carried))"),
    "a gradient that is not set": (Affine, "backward", "np.sum(dout, axis=0, out=db)", "db[...] = np.empty_like(db)"),
    "gates one by one": (
        TimeLSTM, "gates_forward", "@elementwise",
        "@lambda function: lambda *arrays, out: [np.copyto(*pair) for pair in zip(out, function(*arrays))]"),
    "a product into every second row": (
        TimeLSTM, "forward", "a = self._project(xs)", "a = np.repeat(self._project(xs), 2, axis=1)[:, ::2]"),
    "masks drawn by NumPy": (time, "scaled_mask", "np.rng.random(", "np.host_rng.random("),
    "batches cut on the host": (
        StripBatches, "next_batch", "self._read(self._ts, self.time_size)",
        "type(self._ts)(np.to_gpu(self._read(self._ts, self.time_size).array.get()), 0, 0)"),
    "a number of NumPy's as a 0-d array": (SGD, "update_one", "self.lr * grad", "numpy.asarray(self.lr) * grad"),
    "a name that CuPy lacks": (Affine, "backward", "np.sum(dout, axis=0, out=db)", "np.add.reduce(dout, 0, out=db)"),
}


def planted(owner, name, old, new):
    """Return the function `name` of a class or module, with `old` replaced by `new` in its source."""
    held = vars(owner)[name]
    function = held.__func__ if isinstance(held, staticmethod) else held
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    namespace = vars(sys.modules[function.__module__]) | {"numpy": numpy}
    exec(source.replace(old, new), namespace)
    return staticmethod(namespace[name]) if isinstance(held, staticmethod) else namespace[name]


def test_the_unedited_step_is_sound():
    assert_sound(train("numpy"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed(mistake):
    on_cpu, (owner, name, old, new) = train("numpy"), MISTAKES[mistake]
    with mock.patch.object(owner, name, planted(owner, name, old, new)), \
            pytest.raises((AssertionError, TypeError, AttributeError)):
        assert_sound(on_cpu)
