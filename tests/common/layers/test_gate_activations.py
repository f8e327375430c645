"""The gates that a layer shows to the health log: those of its steps, computed by the step layer."""
import numpy
import pytest
from any_device import np

from common.functions import sigmoid
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 2, 3, 4, 5


def layer_of(kind, gates, biases=None, **options):
    shapes, rng = ((D, gates * H), (H, gates * H), ((biases or gates) * H,)), np.random.default_rng(0)
    return kind(*map(rng.standard_normal, shapes), **options)


def states_of(layer):
    """Return the inputs (N T, D), and the states before and after each step (N T, H), step by step."""
    xs = np.random.default_rng(1).standard_normal((N, T, D))
    hs = layer.forward(xs)  # (N, T, H)
    before = np.concatenate((np.zeros((N, 1, H)), hs[:, :-1]), axis=1)
    return [array.swapaxes(0, 1).reshape(N * T, -1) for array in (xs, before, hs)]


@pytest.mark.parametrize("kind, gates, shown, options", [
    (TimeGRU, 3, [(0, 2)], {}), (TimeGRU, 3, [(0, 2)], {"biases": 4, "reset_after": True}),
    (TimeLSTM, 4, [(0, 1), (2, 4)], {})])
def test_gates_are_sigmoids_of_their_blocks(kind, gates, shown, options):
    layer = layer_of(kind, gates, **options)
    xs, before, _ = states_of(layer)
    Wx, Wh, b = layer.params
    expected = sigmoid(xs @ Wx + before @ Wh + b[:gates * H])  # (N T, gates H)
    found = layer.gate_activations()
    assert len(found) == len(shown)
    for gate, (first, stop) in zip(found, shown):
        np.testing.assert_allclose(gate, expected[:, first * H:stop * H], rtol=1e-12)


@pytest.mark.parametrize("activation, gate", [("tanh", lambda h: 0.5 + 0.5 * h), ("sigmoid", lambda h: h)])
def test_states_of_a_simple_rnn_are_shown_as_gates(activation, gate):
    layer = layer_of(TimeRNN, 1, activation=activation)
    *_, hs = states_of(layer)
    (found,) = layer.gate_activations()
    np.testing.assert_allclose(found, gate(hs), rtol=1e-12)
    assert numpy.all((np.to_cpu(found) >= 0) & (np.to_cpu(found) <= 1))


def test_relu_has_no_gates():
    layer = layer_of(TimeRNN, 1, activation="relu")
    states_of(layer)
    assert layer.gate_activations() == []
