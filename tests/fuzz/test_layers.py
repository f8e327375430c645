"""No layer breaks, whatever it is built from and given: it computes, or says in one line what is wrong."""
import numpy
import pytest
from drawn import Refused, anything, arrays, often, outcome
from hypothesis import given
from hypothesis import strategies as st

from common.layers import attention, bidirectional, dense, gru, initial, losses, lstm, packing, rnn, stack, time
from common.np import np

pytestmark = pytest.mark.promise("A layer computes, or says in one line what is wrong with what it was given")

sizes = st.integers(1, 3)
floats = st.sampled_from(["float32", "float64"])


@st.composite
def setups(draw):
    """Draw sizes N, T, D, H, V by their letters, a dtype, and a way to draw arrays of these sizes."""
    dtype = draw(floats)
    size = {letter: draw(sizes) for letter in "NTDHVU"}

    def array(*letters, kind=None, high=None):
        shape = tuple(letter if isinstance(letter, int) else size[letter] for letter in letters)
        if high is None:
            right = arrays(shape, kind or dtype, wild=draw(st.booleans()))
        else:
            right = arrays(shape, "int64").map(lambda ids: ids % size[high])
        return draw(often(right))

    return size, array


def lengths(draw, size):
    right = st.lists(st.integers(1, size["T"]), min_size=size["N"], max_size=size["N"])
    return draw(st.one_of(st.none(), often(right)))


# For each layer: what builds it, what its forward gets, what its backward gets.
LAYERS = {
    "MatMul": (dense.MatMul, lambda a, s: [a("D", "H")], lambda a, s: [a("N", "D")], lambda a, s: [a("N", "H")]),
    "Affine": (dense.Affine, lambda a, s: [a("D", "H"), a("H")], lambda a, s: [a("N", "D")],
               lambda a, s: [a("N", "H")]),
    "Embedding": (dense.Embedding, lambda a, s: [a("V", "D")], lambda a, s: [a("N", "T", high="V")],
                  lambda a, s: [a("N", "T", "D")]),
    "Sigmoid": (dense.Sigmoid, lambda a, s: [], lambda a, s: [a("N", "D")], lambda a, s: [a("N", "D")]),
    "Softmax": (dense.Softmax, lambda a, s: [], lambda a, s: [a("N", "V")], lambda a, s: [a("N", "V")]),
    "SoftmaxWithLoss": (losses.SoftmaxWithLoss, lambda a, s: [], lambda a, s: [a("N", "V"), a("N", high="V")],
                        lambda a, s: [a()]),
    "SigmoidWithLoss": (losses.SigmoidWithLoss, lambda a, s: [], lambda a, s: [a("N"), a("N")], lambda a, s: [a()]),
    "MeanSquaredError": (losses.MeanSquaredError, lambda a, s: [], lambda a, s: [a("N", "D"), a("N", "D")],
                         lambda a, s: [a()]),
    "RNN": (rnn.RNN, lambda a, s: [a("D", "H"), a("H", "H"), a("H")], lambda a, s: [a("N", "D"), a("N", "H")],
            lambda a, s: [a("N", "H")]),
    "LSTM": (lstm.LSTM, lambda a, s: [a("D", 4 * s["H"]), a("H", 4 * s["H"]), a(4 * s["H"])],
             lambda a, s: [a("N", "D"), a("N", "H"), a("N", "H")], lambda a, s: [a("N", "H"), a("N", "H")]),
    "GRU": (gru.GRU, lambda a, s: [a("D", 3 * s["H"]), a("H", 3 * s["H"]), a(3 * s["H"])],
            lambda a, s: [a("N", "D"), a("N", "H")], lambda a, s: [a("N", "H")]),
    "TimeAffine": (time.TimeAffine, lambda a, s: [a("D", "H"), a("H")], lambda a, s: [a("N", "T", "D")],
                   lambda a, s: [a("N", "T", "H")]),
    "TimeEmbedding": (time.TimeEmbedding, lambda a, s: [a("V", "D")], lambda a, s: [a("N", "T", high="V")],
                      lambda a, s: [a("N", "T", "D")]),
    "TimeSoftmaxWithLoss": (time.TimeSoftmaxWithLoss, lambda a, s: [],
                            lambda a, s: [a("N", "T", "V"), a("N", "T", high="V")], lambda a, s: [a()]),
    "TimeSigmoidWithLoss": (time.TimeSigmoidWithLoss, lambda a, s: [], lambda a, s: [a("N", "T"), a("N", "T")],
                            lambda a, s: [a()]),
    "WeightSum": (attention.WeightSum, lambda a, s: [], lambda a, s: [a("N", "T", "H"), a("N", "T")],
                  lambda a, s: [a("N", "H")]),
    "AttentionWeight": (attention.AttentionWeight, lambda a, s: [], lambda a, s: [a("N", "T", "H"), a("N", "H")],
                        lambda a, s: [a("N", "T")]),
    "Attention": (attention.Attention, lambda a, s: [], lambda a, s: [a("N", "T", "H"), a("N", "H")],
                  lambda a, s: [a("N", "H")]),
    "TimeAttention": (attention.TimeAttention, lambda a, s: [], lambda a, s: [a("N", "T", "H"), a("N", "U", "H")],
                      lambda a, s: [a("N", "U", "H")]),
}
RECURRENT = {"TimeRNN": (rnn.TimeRNN, 1, 1), "TimeLSTM": (lstm.TimeLSTM, 4, 2), "TimeGRU": (gru.TimeGRU, 3, 1)}


def build(kind, *args, **kwargs):
    """Build a layer from arguments; None where it refused them."""
    layer = outcome(kind, *args, **kwargs)
    return None if isinstance(layer, Refused) else layer


@pytest.fixture(autouse=True)
def quiet():
    """NaN, infinity and the largest numbers are given on purpose: what NumPy says of them is no fault."""
    with numpy.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_a_layer_computes_or_says_what_is_wrong(name, count_cases, data):
    """A layer that is built from wrong weights, or is given wrong inputs, says so in one line."""
    count_cases()
    kind, weights, inputs, upstream = LAYERS[name]
    size, array = data.draw(setups())
    layer = build(kind, *weights(array, size))
    if layer is None:
        return
    outcome(layer.backward, *upstream(array, size))  # before any forward
    outcome(layer.forward, *inputs(array, size))
    outcome(layer.backward, *upstream(array, size))
    assert repr(layer).startswith(type(layer).__name__)


@pytest.mark.parametrize("name", [*RECURRENT, "TimeBidirectional"])
@given(data=st.data())
def test_a_recurrent_layer_computes_or_says_what_is_wrong(name, count_cases, data):
    """A layer that reads sequences computes, or says what is wrong with its weights, inputs, states or lengths."""
    count_cases()
    size, array = data.draw(setups())
    inner = name if name in RECURRENT else data.draw(st.sampled_from(list(RECURRENT)))
    kind, gates, states = RECURRENT[inner]
    stateful = data.draw(st.booleans())
    both = [build(kind, array("D", gates * size["H"]), array("H", gates * size["H"]), array(gates * size["H"]),
                  stateful=stateful) for _ in range(1 if name in RECURRENT else 2)]
    if None in both:
        return
    layer = both[0] if name in RECURRENT else build(
        bidirectional.TimeBidirectional, *data.draw(often(st.just(both), st.tuples(anything(), anything()))))
    if layer is None:
        return
    many = 1 if name in RECURRENT else 2
    if data.draw(st.booleans()):
        outcome(layer.set_state, *(array(*["N", many * size["H"]] if many == 1 else [2, "N", "H"])
                                   for _ in range(states)))
    for _ in range(data.draw(st.integers(1, 2))):
        outcome(layer.forward, array("N", "T", "D"), lengths(data.draw, size))
        outcome(layer.backward, array("N", "T", many * size["H"]), *data.draw(st.lists(anything(), max_size=2)))


@given(data=st.data())
def test_a_stack_computes_or_says_what_is_wrong(count_cases, data):
    """A stack of layers computes, or says in one line what is wrong with its sizes, options or inputs."""
    count_cases()
    size, array = data.draw(setups())
    small = st.one_of(sizes, sizes, st.sampled_from([0, -1, 1.5, None, "2", True, numpy.int64(2)]))
    options = data.draw(st.dictionaries(st.sampled_from(["activation", "reset_after", "other"]),
                                        st.sampled_from(["relu", "sine", True, None, 1]), max_size=1))
    layer = build(stack.TimeStack, data.draw(st.sampled_from(["rnn", "lstm", "gru", "cnn", None, 3, ["rnn"]])),
                  data.draw(st.one_of(st.just(size["D"]), small)), data.draw(st.one_of(st.just(size["H"]), small)),
                  data.draw(small), data.draw(st.booleans()), data.draw(often(st.sampled_from([0.0, 0.5, 1.0, -1]))),
                  data.draw(st.booleans()), data.draw(often(st.just(size and np.float64))), **options)
    if layer is None:
        return
    outcome(layer.forward, array("N", "T", "D"), *(array(1, "N", "H") for _ in range(2)), lengths(data.draw, size))
    outcome(layer.backward, array("N", "T", "H"), *data.draw(st.lists(anything(), max_size=2)))


@pytest.mark.parametrize("kind", [dense.Dropout, time.TimeDropout])
@given(ratio=often(st.floats(0, 1)), x=anything(), dout=anything())
def test_dropout_computes_or_says_what_is_wrong(kind, count_cases, ratio, x, dout):
    """Dropout takes a ratio in [0, 1), and says so in one line where it is given anything else."""
    count_cases()
    layer = build(kind, ratio)
    if layer is not None:
        assert 0 <= layer.dropout_ratio < 1
        outcome(layer.forward, x)
        outcome(layer.backward, dout)


@given(data=st.data())
def test_packing_computes_or_says_what_is_wrong(count_cases, data):
    """Sequences of different length are put together, masked and reversed, or one line says what is wrong."""
    count_cases()
    size, array = data.draw(setups())
    N, T = size["N"], size["T"]
    outcome(packing.checked_lengths, lengths(data.draw, size), N, T)
    outcome(packing.Packing, N, T, lengths(data.draw, size))
    outcome(packing.mask, lengths(data.draw, size), N, T, np.float32)
    sequence = arrays((data.draw(sizes), 2), np.float32)
    outcome(packing.pad, data.draw(st.lists(often(sequence), max_size=3)))
    outcome(packing.reverse, data.draw(arrays((N, T, 2), wild=True)), lengths(data.draw, size))
    for kind in time.TimeLast, time.TimeMask:
        layer = kind()
        outcome(layer.forward, array("N", "T", "D"), lengths(data.draw, size))
        outcome(layer.backward, data.draw(anything()))


@given(shape=st.tuples(st.integers(-1, 3), st.sampled_from([0, 1, 2, 1.5, "2"])),
       number=st.one_of(st.integers(-1, 3), st.floats(-1, 9), st.sampled_from([None, "2"])),
       dtype=often(floats))
def test_initial_weights_are_drawn_or_refused(shape, number, dtype, count_cases):
    """Initial weights are drawn in the shape that is asked for, or one line says what is wrong."""
    count_cases()
    outcome(initial.normal, shape, number, dtype)
    outcome(initial.uniform, shape, number, dtype)
    outcome(initial.embedding_weight, number, 2, dtype)
    outcome(initial.affine_weights, 2, number, dtype)
