"""The cases in which `python -m common.gradient_check` checks every layer of `common`.

To add a layer, write a function that yields its cases and put `@layer` above it; a test fails
for a layer that has none. Sizes are tiny and all different, so that no two axes can be mixed up.
"""
import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy

from common.fast.forms import FastTimeWeightDropLSTM
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.fast.sampled_softmax import FastOutputWithSampledLoss
from common.gradients.adapters import layer_case, loss_case, sequence_case, stack_case, step_case
from common.gradients.checker import Case
from common.layers.attention import Attention, AttentionWeight, TimeAttention, WeightSum
from common.layers.bidirectional import TimeBidirectional, TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.dense import Affine, Dropout, Embedding, MatMul, Sigmoid, Softmax
from common.layers.gru import GRU, TimeGRU
from common.layers.losses import MeanSquaredError, OutputWithLoss, SigmoidWithLoss, SoftmaxWithLoss
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.regularization import (
    ActivationRegularization,
    TemporalActivationRegularization,
    TimeEmbeddingDropout,
    TimeLockedDropout,
)
from common.layers.rnn import RNN, TimeRNN
from common.layers.sampled_softmax import OutputWithSampledLoss, UnigramSampler
from common.layers.stack import TimeStack
from common.layers.time import (
    TimeAffine,
    TimeDropout,
    TimeEmbedding,
    TimeLast,
    TimeMask,
    TimeSigmoidWithLoss,
    TimeSoftmaxWithLoss,
)
from common.layers.weight_drop import TimeWeightDropGRU, TimeWeightDropLSTM, TimeWeightDropRNN
from common.np import Array, DTypeLike, np

N, T, D, H, V = 2, 3, 4, 5, 7  # batch, time steps, input, hidden, vocabulary

Maker: TypeAlias = "Callable[[Draw], Iterator[Case]]"  # yields the cases of a layer
MAKERS: list[Maker] = []


def layer(maker: Maker) -> Maker:
    """Register a function that takes a `Draw` and yields cases."""
    MAKERS.append(maker)
    return maker


def layer_cases(seed: int = 0, dtype: DTypeLike = np.float64) -> list[Case]:
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

    def __init__(self, seed: int | list[int], dtype: DTypeLike = np.float64) -> None:
        self.rng = numpy.random.default_rng(seed)
        self.dtype = dtype

    def normal(self, *shape: int, std: float = 1.0) -> Array:
        """Return normal numbers."""
        return np.to_device((std * self.rng.standard_normal(shape)).astype(self.dtype))

    def strided(self, *shape: int) -> Array:
        """Return normal numbers that lie in memory in reverse, with gaps, the first axis fastest."""
        return self.normal(*(2 * size for size in reversed(shape)))[tuple(slice(None, None, -2) for _ in shape)].T

    def ids(self, *shape: int, size: int = V) -> Array:
        """Return integers from 0 to size - 1."""
        return np.to_device(self.rng.integers(0, size, shape))

    def one_hot(self, *shape: int, size: int = V) -> Array:
        """Return a row of zeros with a single 1 for each of `shape`."""
        return np.eye(size, dtype=int)[self.ids(*shape, size=size)]  # (*shape, size)

    def recurrent(self, gates: int, biases: int | None = None, vectors: Sequence[str] = ()) -> dict[str, Array]:
        """Return the weights of a recurrent layer by name: Wx (D, gates H), Wh (H, gates H), b (biases H,).

        And by the names in `vectors` further weights (H,).
        """
        return {
            "Wx": self.normal(D, gates * H, std=0.5), "Wh": self.normal(H, gates * H, std=0.5),
            "b": self.normal((biases or gates) * H, std=0.5),
        } | {name: self.normal(H, std=0.5) for name in vectors}

    def two_recurrent(self, gates: int, biases: int | None = None) -> dict[str, Array]:
        """Return the weights of a bidirectional layer by name: Wx1, Wh1, b1, Wx2, Wh2, b2."""
        return {name + reader: weight for reader in "12" for name, weight in self.recurrent(gates, biases).items()}

    def recurrent_off_kinks(self) -> dict[str, Array]:
        """Return weights as `recurrent(1)` whose pre-activations keep away from 0, and from the kink of relu.

        Each unit's bias is 3 or -3. The rest stays within 1.6 of it: inputs and initial states
        up to 1 in size, and states of relu up to 6, can add 4 * 0.1 + 5 * 0.04 * 6 at most.
        """
        b = np.to_device(numpy.resize([3, -3], H).astype(self.dtype))
        return {"Wx": 0.1 * self.bounded(D, H), "Wh": 0.04 * self.bounded(H, H), "b": b}

    def bounded(self, *shape: int) -> Array:
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
def mean_squared_error(draw):
    yield loss_case(MeanSquaredError, "plain", {}, draw.normal(N, D), draw.normal(N, D))
    yield loss_case(MeanSquaredError, "N=1", {}, draw.normal(1), draw.normal(1))
    yield loss_case(MeanSquaredError, "strided (N, T, D)", {}, draw.strided(N, T, D), draw.strided(N, T, D))


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
def fast_time_rnn(draw):
    yield from sequences(draw, FastTimeRNN, gates=1, states=("h",))


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


@layer
def fast_time_lstm(draw):
    for case in sequences(draw, FastTimeLSTM, gates=4, states=("h", "c")):
        case.single_backward = True
        yield case


@layer
def gru(draw):
    for reset_after, biases in ((False, 3), (True, 4)):
        def case(variant, size, normal, reset_after=reset_after, biases=biases):
            cell = functools.partial(GRU, reset_after=reset_after)
            return step_case(cell, f"{variant}, reset {'after' if reset_after else 'before'}",
                             draw.recurrent(3, biases), normal(size, D), h_prev=normal(size, H))

        yield case("plain", N, draw.normal)
        yield case("N=1", 1, draw.normal)
        yield case("strided", N, draw.strided)


@layer
def time_gru(draw):
    yield from sequences(draw, TimeGRU, gates=3, states=("h",))
    for case in sequences(draw, TimeGRU, gates=3, states=("h",), biases=4, reset_after=True):
        case.variant += ", reset after"
        yield case


@layer
def weight_drop(draw):
    for layer, gates, states in ((TimeWeightDropRNN, 1, ("h",)), (TimeWeightDropLSTM, 4, ("h", "c")),
                                 (FastTimeWeightDropLSTM, 4, ("h", "c")), (TimeWeightDropGRU, 3, ("h",))):
        for case in sequences(draw, layer, gates, states, weight_drop=0.4):
            case.variant += ", dropout"
            case.single_backward = layer is FastTimeWeightDropLSTM
            yield case
        yield dataclasses.replace(without_dropout(case), variant="train_flg=False")
    for case in sequences(draw, TimeWeightDropGRU, 3, ("h",), biases=4, weight_drop=0.4, reset_after=True):
        case.variant += ", reset after, dropout"
        yield case


@layer
def bidirectional(draw):
    for layer, gates, states in ((TimeBiRNN, 1, ("h",)), (TimeBiLSTM, 4, ("h", "c")), (TimeBiGRU, 3, ("h",))):
        def initial(size, states=states):
            return {name: draw.normal(2, size, H) for name in states}

        weights = functools.partial(draw.two_recurrent, gates)
        yield sequence_case(layer, "from zeros", weights(), draw.normal(N, T, D), final=())
        yield sequence_case(layer, "stateful", weights(), draw.normal(N, T, D), initial(N), final=states)
        yield sequence_case(layer, "stateful, T=1, N=1", weights(), draw.normal(1, 1, D), initial(1), final=states)
        yield sequence_case(layer, "stateful, lengths", weights(), draw.normal(3, T, D), initial(3), final=states,
                            forward_options={"lengths": [2, 3, 1]})
    yield sequence_case(TimeBiGRU, "reset after", draw.two_recurrent(3, 4), draw.normal(N, T, D), reset_after=True)


@layer
def bidirectional_of_two_layers(draw):
    def joined(**weights):
        arrays = list(weights.values())
        return TimeBidirectional(TimeRNN(*arrays[:3]), TimeRNN(*arrays[3:]))

    for case in (sequence_case(joined, "of two TimeRNN", draw.two_recurrent(1), draw.normal(N, T, D)),
                 sequence_case(joined, "of two TimeRNN, lengths", draw.two_recurrent(1), draw.normal(3, T, D),
                               final=(), forward_options={"lengths": [2, 3, 1]})):
        case.layer = "TimeBidirectional"
        yield case


@layer
def stack(draw):
    for cell in ("rnn", "lstm", "gru"):
        for variant, options, size in (
                ("1 layer", {}, N), ("3 layers", {"num_layers": 3}, N),
                ("2 layers, time first", {"num_layers": 2, "batch_first": False}, N),
                ("2 layers, bidirectional, lengths", {"num_layers": 2, "bidirectional": True}, 3),
                ("2 layers, dropout", {"num_layers": 2, "dropout": 0.4}, N)):
            directions = 2 if options.get("bidirectional") else 1
            states = options.get("num_layers", 1) * directions
            shape = (T, size, D) if options.get("batch_first") is False else (size, T, D)
            yield stack_case(
                TimeStack, f"{cell}, {variant}", (cell, D, H), draw.normal(*shape),
                {name: draw.normal(states, size, H) for name in (("h", "c") if cell == "lstm" else ("h",))},
                lengths=[2, 3, 1] if "lengths" in variant else None, dtype=draw.dtype, **options)
    yield stack_case(TimeStack, "gru, reset after", ("gru", D, H), draw.normal(N, T, D),
                     {"h": draw.normal(2, N, H)}, num_layers=2, dtype=draw.dtype, reset_after=True)


def sequences(draw: Draw, layer: Callable[..., Any], gates: int, states: Sequence[str], biases: int | None = None,
              vectors: Sequence[str] = (), **options: Any) -> Iterator[Case]:
    """Yield the cases that every recurrent layer over a sequence has.

    Parameters
    ----------
    draw : Draw
    layer : type
    gates : int
        Blocks of H columns in Wx, Wh and b.
    states : tuple of str
        Names of the states.
    biases : int, optional
        Blocks of H numbers in b; by default as many as gates.
    vectors : sequence of str
        Names of further weights (H,).
    **options
        For the layer.
    """
    def initial(size, normal=draw.normal):
        return {name: normal(size, H) for name in states}

    def case(variant, xs, initial_states=None, final=states, **more):
        weights = draw.recurrent(gates, biases, vectors)
        return sequence_case(layer, variant, weights, xs, initial_states, final=final, **more, **options)

    yield case("from zeros", draw.normal(N, T, D), final=())
    yield case("final states", draw.normal(N, T, D))
    yield case("stateful", draw.normal(N, T, D), initial(N))
    yield case("stateful, T=1", draw.normal(N, 1, D), initial(N))
    yield case("stateful, N=1", draw.normal(1, T, D), initial(1))
    yield case("stateful, strided", draw.strided(N, T, D), initial(N, draw.strided))
    yield case("stateful, lengths", draw.normal(3, T, D), initial(3), forward_options={"lengths": [2, 3, 1]})


@layer
def time_embedding(draw):
    yield layer_case(TimeEmbedding, "plain", {"W": draw.normal(V, D)}, draw.ids(N, T))
    yield layer_case(TimeEmbedding, "T=1, N=1", {"W": draw.normal(V, D)}, draw.ids(1, 1))
    yield layer_case(TimeEmbedding, "repeated ids, strided", {"W": draw.normal(V, D)}, draw.ids(T, N, size=2).T)


@layer
def time_embedding_dropout(draw):
    def case(variant, ids, W):
        return layer_case(TimeEmbeddingDropout, variant, {"W": W}, ids, dropout_ratio=0.4)

    yield case("plain", draw.ids(N, T), draw.normal(V, D))
    yield case("T=1, N=1", draw.ids(1, 1), draw.normal(V, D))
    yield case("repeated ids, strided", draw.ids(T, N, size=2).T, draw.strided(V, D))
    yield without_dropout(case("train_flg=False", draw.ids(N, T), draw.normal(V, D)))


@layer
def time_affine(draw):
    yield layer_case(TimeAffine, "plain", {"W": draw.normal(D, V), "b": draw.normal(V)}, draw.normal(N, T, D))
    yield layer_case(TimeAffine, "T=1, N=1", {"W": draw.normal(D, V), "b": draw.normal(V)}, draw.normal(1, 1, D))
    yield layer_case(
        TimeAffine, "transposed W, strided", {"W": draw.normal(V, D).T, "b": draw.normal(V)}, draw.strided(N, T, D))


@layer
def time_dropout(draw):
    for layer in (TimeDropout, TimeLockedDropout):
        yield layer_case(layer, "training", {}, draw.normal(N, T, D), dropout_ratio=0.4)
        yield layer_case(layer, "strided", {}, draw.strided(N, T, D))
        yield without_dropout(layer_case(layer, "train_flg=False", {}, draw.normal(N, T, D)))


def without_dropout(case: Case) -> Case:
    """Return a case whose layer does not train."""
    def build():
        layer = case.build()
        layer.train_flg = False
        return layer

    return dataclasses.replace(case, build=build)


@layer
def activation_regularization(draw):
    def forward(term, inputs):
        return {"term": term.forward(inputs["hs"])}

    def backward(term, upstream):
        return {"hs": term.backward(float(upstream["term"]))}

    for kind in (ActivationRegularization, TemporalActivationRegularization):
        for variant, hs in (("plain", draw.normal(N, T, H)), ("T=1, N=1", draw.normal(1, 1, H)),
                            ("T=2", draw.normal(N, 2, H)), ("strided", draw.strided(N, T, H))):
            yield Case(kind.__name__, variant, functools.partial(kind, 0.7), {"hs": hs}, forward, backward)


@layer
def time_softmax_with_loss(draw):
    yield loss_case(TimeSoftmaxWithLoss, "plain", {}, draw.normal(N, T, V), draw.ids(N, T))
    yield loss_case(TimeSoftmaxWithLoss, "T=1, N=1", {}, draw.normal(1, 1, V), draw.ids(1, 1))
    yield loss_case(TimeSoftmaxWithLoss, "ignored targets, strided", {}, draw.strided(N, T, V), some_ignored(draw))
    yield loss_case(TimeSoftmaxWithLoss, "all ignored", {}, draw.normal(N, T, V), np.full((N, T), -1))
    yield loss_case(TimeSoftmaxWithLoss, "one-hot", {}, draw.normal(N, T, V), draw.one_hot(N, T))


@layer
def time_sigmoid_with_loss(draw):
    yield loss_case(TimeSigmoidWithLoss, "plain", {}, draw.normal(N, T), draw.ids(N, T, size=2))
    yield loss_case(TimeSigmoidWithLoss, "T=1, N=1", {}, draw.normal(1, 1), draw.ids(1, 1, size=2))


@layer
def time_last(draw):
    yield layer_case(TimeLast, "plain", {}, draw.normal(N, T, D))
    yield layer_case(TimeLast, "lengths, strided", {}, draw.strided(3, T, D), forward_options={"lengths": [2, 3, 1]})


@layer
def time_mask(draw):
    yield layer_case(TimeMask, "plain", {}, draw.normal(3, T, D), forward_options={"lengths": [2, 3, 1]})
    yield layer_case(TimeMask, "strided", {}, draw.strided(3, T, D), forward_options={"lengths": [1, 1, 3]})


@layer
def time_affine_softmax_with_loss(draw):
    def fused(variant, W, xs, ts):
        return loss_case(
            TimeAffineSoftmaxWithLoss, variant, {"W": W, "b": draw.normal(V)}, xs, ts, single_backward=True)

    yield fused("plain", draw.normal(H, V), draw.normal(N, T, H), draw.ids(N, T))
    yield fused("T=1, N=1", draw.normal(H, V), draw.normal(1, 1, H), draw.ids(1, 1))
    yield fused("ignored, transposed W, strided", draw.normal(V, H).T, draw.strided(N, T, H), some_ignored(draw))
    yield fused("all ignored", draw.normal(H, V), draw.normal(N, T, H), np.full((N, T), -1))


@layer
def output_with_loss(draw):
    def head(W, b):
        return OutputWithLoss(TimeAffine(W, b), TimeSoftmaxWithLoss())

    weights = {"W": draw.normal(H, V), "b": draw.normal(V)}
    case = loss_case(head, "plain", weights, draw.normal(N, T, H), some_ignored(draw))
    yield dataclasses.replace(case, layer=OutputWithLoss.__name__)


@layer
def output_with_sampled_loss(draw):
    yield from _sampled_heads(draw, OutputWithSampledLoss)


@layer
def fast_output_with_sampled_loss(draw):
    yield from _sampled_heads(draw, FastOutputWithSampledLoss)


def _sampled_heads(draw, layer):
    def head(W, b):
        return layer(TimeAffine(W, b), UnigramSampler([5, 1, 0, 2, 9, 1, 3], samples=2))

    def case(variant, W, xs, ts):
        drawn = loss_case(head, variant, {"W": W, "b": draw.normal(V)}, xs, ts)
        return dataclasses.replace(drawn, layer=layer.__name__)

    yield case("plain", draw.normal(D, V), draw.normal(N, T, D), draw.ids(N, T))
    yield case("T=1, N=1", draw.normal(D, V), draw.normal(1, 1, D), draw.ids(1, 1))
    yield case("ignored, transposed W, strided", draw.normal(V, D).T, draw.strided(N, T, D), some_ignored(draw))
    yield case("all ignored", draw.normal(D, V), draw.normal(N, T, D), np.full((N, T), -1))


@layer
def attention(draw):
    def case(layer, variant, **inputs):
        def forward(layer, inputs):
            return {"y": layer.forward(*inputs.values())}

        def backward(layer, upstream):
            return dict(zip(inputs, layer.backward(upstream["y"]), strict=True))

        return Case(layer.__name__, variant, layer, inputs, forward, backward)

    for variant, size, steps, normal in (
            ("plain", N, T, draw.normal), ("T=1, N=1", 1, 1, draw.normal), ("strided", N, T, draw.strided)):
        yield case(WeightSum, variant, hs=normal(size, steps, H), a=normal(size, steps))
        yield case(AttentionWeight, variant, hs=normal(size, steps, H), h=normal(size, H))
        yield case(Attention, variant, hs=normal(size, steps, H), h=normal(size, H))
        yield case(TimeAttention, variant, hs_enc=normal(size, steps, H), hs_dec=normal(size, 4, H))
    yield case(TimeAttention, "one step of the decoder", hs_enc=draw.normal(N, T, H), hs_dec=draw.normal(N, 1, H))


def some_ignored(draw: Draw) -> Array:
    """Return targets (N, T), two of them -1."""
    ts = draw.ids(N, T)
    ts[0, 0] = ts[N - 1, 1] = -1
    return ts
