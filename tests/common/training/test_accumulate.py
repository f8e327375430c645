"""A batch in parts equals the batch at once."""
import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from common.device.ids import known_ids
from common.fast import speed_up
from common.language_model.cell_rnnlm import CellRnnlm
from common.layers.dense import Affine
from common.layers.losses import OutputWithLoss, SoftmaxWithLoss
from common.optimizer import SGD
from common.training.accumulate import forward_backward_in_parts
from common.training.batches import StripBatches
from common.training.epochs import training_step

pytestmark = pytest.mark.usefixtures("device")

V, D, N, T = 11, 6, 7, 4
MODELS = {
    "rnn": lambda: CellRnnlm("rnn", V, D, 5, seed=1, dtype=np.float64),
    "gru": lambda: CellRnnlm("gru", V, D, 5, layers=2, seed=1, dtype=np.float64),
    "lstm": lambda: CellRnnlm("lstm", V, D, 5, seed=1, dtype=np.float64),
    "fast lstm": lambda: speed_up(CellRnnlm("lstm", V, D, 5, seed=1, dtype=np.float64)),
    "tied": lambda: BetterRnnlm(V, D, D, 0.0, seed=1, dtype=np.float64)}


def batches_of(n):
    ids = known_ids(numpy.random.default_rng(n).integers(V, size=n))
    return StripBatches(ids[:-1], ids[1:], N, T)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 9])
def test_it_trains_as_on_the_whole_batch(name, parts):
    whole, by_parts = MODELS[name](), MODELS[name]()
    for model, options in ((whole, {}), (by_parts, {"parts": parts})):
        optimizer, batches = SGD(1.0), batches_of(300)
        losses = [float(training_step(model, optimizer, *batches.next_batch(), 0.25, **options)) for _ in range(6)]
        model.losses = losses
    numpy.testing.assert_allclose(by_parts.losses, whole.losses, rtol=1e-12)
    for param, expected in zip(by_parts.params, whole.params, strict=True):
        np.testing.assert_allclose(param, expected, rtol=1e-10, atol=1e-14)
    for states, expected in zip(by_parts.get_state(), whole.get_state(), strict=True):
        for state, wanted in zip(states, expected, strict=True):
            np.testing.assert_allclose(state, wanted, rtol=1e-10, atol=1e-14)


def test_a_model_without_a_state():
    x, t = np.random.default_rng(0).standard_normal((5, 3)), np.random.default_rng(1).integers(2, size=5)
    W, b = np.random.default_rng(2).standard_normal((3, 2)), np.zeros(2)
    whole, by_parts = (OutputWithLoss(Affine(W.copy(), b.copy()), SoftmaxWithLoss()) for _ in range(2))
    loss = whole.forward(x, t)
    whole.backward()
    np.testing.assert_allclose(forward_backward_in_parts(by_parts, x, t, 2), loss, rtol=1e-14)
    for grad, expected in zip(by_parts.grads, whole.grads, strict=True):
        np.testing.assert_allclose(grad, expected, rtol=1e-13)
