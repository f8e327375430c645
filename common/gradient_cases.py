"""The cases in which `python -m common.gradient_check` checks every layer of `common`.

To add a layer, write a function that yields its cases and put `@layer` above it; a test fails
for a layer that has none. Sizes are tiny and all different, so that no two axes can be mixed up.
"""
import functools
import zlib

import numpy

from common.fused_loss import TimeAffineSoftmaxWithLoss
from common.gradient_adapters import layer_case, loss_case, sequence_case, step_case
from common.layers import (
    Affine,
    Dropout,
    Embedding,
    MatMul,
    Sigmoid,
    SigmoidWithLoss,
    Softmax,
    SoftmaxWithLoss,
)
from common.lstm import LSTM, TimeLSTM
from common.np import np
from common.rnn import RNN, TimeRNN
from common.time_layers import TimeAffine, TimeDropout, TimeEmbedding, TimeSoftmaxWithLoss

N, T, D, H, V = 2, 3, 4, 5, 7  # batch, time steps, input, hidden, vocabulary

MAKERS = []  # functions of a `Draw` that yield the cases of a layer


def layer(maker):
    """Register a function that takes a `Draw` and yields cases."""
    MAKERS.append(maker)
    return maker


def layer_cases(seed=0, dtype=np.float64):
    """Build the cases of all layers.

    Parameters
    ----------
    seed : int
        Each function's arrays depend on it and on the function's name only.
    dtype : dtype
        float64 for the checker; float32 serves tests of the layers.

    Returns
    -------
    list of Case
    """
    return [case for maker in MAKERS for case in maker(Draw([seed, zlib.crc32(maker.__name__.encode())], dtype))]


class Draw:
    """Draws the arrays of a case.

    Parameters
    ----------
    seed : int or list of int
    dtype : dtype
        Of all numbers that are not ids.
    """

    def __init__(self, seed, dtype=np.float64):
        self.rng = numpy.random.default_rng(seed)
        self.dtype = dtype

    def normal(self, *shape, std=1.0):
        """Return normal numbers."""
        return np.to_device((std * self.rng.standard_normal(shape)).astype(self.dtype))

    def strided(self, *shape):
        """Return normal numbers that lie in memory in reverse, with gaps, the first axis fastest."""
        return self.normal(*(2 * size for size in reversed(shape)))[tuple(slice(None, None, -2) for _ in shape)].T

    def ids(self, *shape, size=V):
        """Return integers from 0 to size - 1."""
        return np.to_device(self.rng.integers(0, size, shape))

    def one_hot(self, *shape, size=V):
        """Return a row of zeros with a single 1 for each of `shape`."""
        return np.eye(size, dtype=int)[self.ids(*shape, size=size)]  # (*shape, size)

    def recurrent(self, gates, Wh_std=0.5):
        """Return the weights of a recurrent layer by name: Wx (D, gates H), Wh (H, gates H), b (gates H,)."""
        return {
            "Wx": self.normal(D, gates * H, std=0.5), "Wh": self.normal(H, gates * H, std=Wh_std),
            "b": self.normal(gates * H, std=0.5),
        }

    def recurrent_off_kinks(self):
        """Return weights as `recurrent(1)` whose pre-activations keep away from 0, and from the kink of relu.

        Each unit's bias is 3 or -3. The rest stays within 1.6 of it: inputs and initial states
        up to 1 in size, and states of relu up to 6, can add 4 * 0.1 + 5 * 0.04 * 6 at most.
        """
        b = np.to_device(numpy.resize([3, -3], H).astype(self.dtype))
        return {"Wx": 0.1 * self.bounded(D, H), "Wh": 0.04 * self.bounded(H, H), "b": b}

    def bounded(self, *shape):
        """Return numbers from -1 to 1."""
        return np.to_device(self.rng.uniform(-1, 1, shape).astype(self.dtype))


@layer
def matmul(draw):
    yield layer_case(MatMul, "plain", {"W": draw.normal(D, H)}, draw.normal(N, D))
    yield layer_case(MatMul, "N=1, strided", {"W": draw.strided(D, H)}, draw.strided(1, D))


@layer
def affine(draw):
    yield layer_case(Affine, "plain", {"W": draw.normal(D, H), "b": draw.normal(H)}, draw.normal(N, D))
    yield layer_case(Affine, "N=1", {"W": draw.normal(D, H), "b": draw.normal(H)}, draw.normal(1, D))
    yield layer_case(Affine, "strided", {"W": draw.strided(D, H), "b": draw.strided(H)}, draw.strided(N, D))


@layer
def embedding(draw):
    yield layer_case(Embedding, "ids (N,)", {"W": draw.normal(V, D)}, draw.ids(N))
    yield layer_case(Embedding, "repeated ids", {"W": draw.normal(V, D)}, np.array([3, 0, 3, 3, 6]))
    yield layer_case(Embedding, "ids (N, T, 2), strided W", {"W": draw.strided(V, D)}, draw.ids(N, T, 2))


@layer
def dropout(draw):
    yield layer_case(Dropout, "training", {}, draw.normal(N, D), dropout_ratio=0.4)
    yield layer_case(Dropout, "strided (N, T, D)", {}, draw.strided(N, T, D))


@layer
def elementwise(draw):
    for activation in (Sigmoid, Softmax):
        yield layer_case(activation, "plain", {}, draw.normal(N, D))
        yield layer_case(activation, "strided (N, T, D)", {}, draw.strided(N, T, D))
        yield layer_case(activation, "one axis", {}, draw.normal(D))


@layer
def softmax_with_loss(draw):
    yield loss_case(SoftmaxWithLoss, "plain", {}, draw.normal(N, V), draw.ids(N))
    yield loss_case(SoftmaxWithLoss, "N=1", {}, draw.normal(1, V), draw.ids(1))
    yield loss_case(SoftmaxWithLoss, "one-hot, strided", {}, draw.strided(N, V), draw.one_hot(N))


@layer
def sigmoid_with_loss(draw):
    yield loss_case(SigmoidWithLoss, "plain", {}, draw.normal(N), draw.ids(N, size=2))
    yield loss_case(SigmoidWithLoss, "probabilities (N, D), strided", {}, draw.strided(N, D), abs(draw.bounded(N, D)))


@layer
def rnn(draw):
    yield step_case(RNN, "tanh", draw.recurrent(1), draw.normal(N, D), h_prev=draw.normal(N, H))
    yield step_case(RNN, "N=1", draw.recurrent(1), draw.normal(1, D), h_prev=draw.normal(1, H))
    yield step_case(RNN, "strided", draw.recurrent(1), draw.strided(N, D), h_prev=draw.strided(N, H))
    for activation in ("relu", "sigmoid"):
        yield step_case(functools.partial(RNN, activation=activation), activation, draw.recurrent_off_kinks(),
                        draw.bounded(N, D), h_prev=draw.bounded(N, H))


@layer
def time_rnn(draw):
    yield from sequences(draw, TimeRNN, gates=1, states=("h",))
    for activation in ("relu", "sigmoid"):
        yield sequence_case(TimeRNN, f"stateful, {activation}", draw.recurrent_off_kinks(), draw.bounded(N, T, D),
                            {"h": draw.bounded(N, H)}, activation=activation)


@layer
def lstm(draw):
    def case(variant, size, normal):
        states = {"h_prev": normal(size, H), "c_prev": normal(size, H)}
        return step_case(LSTM, variant, draw.recurrent(4), normal(size, D), **states)

    yield case("plain", N, draw.normal)
    yield case("N=1", 1, draw.normal)
    yield case("strided", N, draw.strided)


@layer
def time_lstm(draw):
    yield from sequences(draw, TimeLSTM, gates=4, states=("h", "c"))


def sequences(draw, layer, gates, states):
    """Yield the cases that every recurrent layer over a sequence has.

    Parameters
    ----------
    draw : Draw
    layer : type
    gates : int
        Blocks of H columns in Wx, Wh and b.
    states : tuple of str
        Names of the states.
    """
    def initial(size, normal=draw.normal):
        return {name: normal(size, H) for name in states}

    def weights():
        return draw.recurrent(gates)

    yield sequence_case(layer, "from zeros", weights(), draw.normal(N, T, D), final=())
    yield sequence_case(layer, "final states", weights(), draw.normal(N, T, D), final=states)
    yield sequence_case(layer, "stateful", weights(), draw.normal(N, T, D), initial(N), final=states)
    yield sequence_case(layer, "stateful, T=1", weights(), draw.normal(N, 1, D), initial(N), final=states)
    yield sequence_case(layer, "stateful, N=1", weights(), draw.normal(1, T, D), initial(1), final=states)
    yield sequence_case(
        layer, "stateful, strided", weights(), draw.strided(N, T, D), initial(N, draw.strided), final=states)


@layer
def time_embedding(draw):
    yield layer_case(TimeEmbedding, "plain", {"W": draw.normal(V, D)}, draw.ids(N, T))
    yield layer_case(TimeEmbedding, "T=1, N=1", {"W": draw.normal(V, D)}, draw.ids(1, 1))
    yield layer_case(TimeEmbedding, "repeated ids, strided", {"W": draw.normal(V, D)}, draw.ids(T, N, size=2).T)


@layer
def time_affine(draw):
    yield layer_case(TimeAffine, "plain", {"W": draw.normal(D, V), "b": draw.normal(V)}, draw.normal(N, T, D))
    yield layer_case(TimeAffine, "T=1, N=1", {"W": draw.normal(D, V), "b": draw.normal(V)}, draw.normal(1, 1, D))
    yield layer_case(
        TimeAffine, "transposed W, strided", {"W": draw.normal(V, D).T, "b": draw.normal(V)}, draw.strided(N, T, D))


@layer
def time_dropout(draw):
    def without_dropout():
        layer = TimeDropout()
        layer.train_flg = False
        return layer

    yield layer_case(TimeDropout, "training", {}, draw.normal(N, T, D), dropout_ratio=0.4)
    yield layer_case(TimeDropout, "strided", {}, draw.strided(N, T, D))
    case = layer_case(TimeDropout, "train_flg=False", {}, draw.normal(N, T, D))
    case.build = without_dropout
    yield case


@layer
def time_softmax_with_loss(draw):
    yield loss_case(TimeSoftmaxWithLoss, "plain", {}, draw.normal(N, T, V), draw.ids(N, T))
    yield loss_case(TimeSoftmaxWithLoss, "T=1, N=1", {}, draw.normal(1, 1, V), draw.ids(1, 1))
    yield loss_case(TimeSoftmaxWithLoss, "ignored targets, strided", {}, draw.strided(N, T, V), some_ignored(draw))
    yield loss_case(TimeSoftmaxWithLoss, "all ignored", {}, draw.normal(N, T, V), np.full((N, T), -1))
    yield loss_case(TimeSoftmaxWithLoss, "one-hot", {}, draw.normal(N, T, V), draw.one_hot(N, T))


@layer
def time_affine_softmax_with_loss(draw):
    def fused(variant, W, xs, ts):
        return loss_case(
            TimeAffineSoftmaxWithLoss, variant, {"W": W, "b": draw.normal(V)}, xs, ts, single_backward=True)

    yield fused("plain", draw.normal(H, V), draw.normal(N, T, H), draw.ids(N, T))
    yield fused("T=1, N=1", draw.normal(H, V), draw.normal(1, 1, H), draw.ids(1, 1))
    yield fused("ignored, transposed W, strided", draw.normal(V, H).T, draw.strided(N, T, H), some_ignored(draw))
    yield fused("all ignored", draw.normal(H, V), draw.normal(N, T, H), np.full((N, T), -1))


def some_ignored(draw):
    """Return targets (N, T), two of them -1."""
    ts = draw.ids(N, T)
    ts[0, 0] = ts[N - 1, 1] = -1
    return ts
