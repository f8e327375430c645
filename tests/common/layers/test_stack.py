import pytest
from any_device import np

from common.layers.bidirectional import TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.stack import TimeStack

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H, L = 2, 4, 3, 5, 3
LENGTHS = [4, 2]

# Cell, options, the layer and its bidirectional form.
KINDS = {
    "rnn": ("rnn", {}, TimeRNN, TimeBiRNN),
    "rnn relu": ("rnn", {"activation": "relu"}, TimeRNN, TimeBiRNN),
    "lstm": ("lstm", {}, TimeLSTM, TimeBiLSTM),
    "gru": ("gru", {}, TimeGRU, TimeBiGRU),
    "gru reset_after": ("gru", {"reset_after": True}, TimeGRU, TimeBiGRU),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
one_and_two_directions = pytest.mark.parametrize("S", [1, 2])


def build(kind, S=1, seed=0, num_layers=L, dtype=np.float64, **options):
    np.seed(seed)
    cell, cell_options, _, _ = KINDS[kind]
    return TimeStack(cell, D, H, num_layers, bidirectional=S == 2, dtype=dtype, **cell_options, **options)


def arrays(*shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


def random_case(kind, S, num_layers=L):
    """Inputs, initial states, and upstream gradients of the output and of the final states."""
    count = 2 if kind == "lstm" else 1
    xs, doutput, *states = arrays((N, T, D), (N, T, S * H), *[(num_layers * S, N, H)] * (2 * count))
    return xs, states[:count], doutput, states[count:]


@every_kind
@one_and_two_directions
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("num_layers", [1, L])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_are_those_that_torch_documents(kind, S, batch_first, num_layers, dtype):
    stack = build(kind, S, num_layers=num_layers, batch_first=batch_first, dtype=dtype)
    xs = np.ones((N, T, D) if batch_first else (T, N, D), dtype=dtype)
    output, *final = stack.forward(xs)
    assert output.shape == ((N, T, S * H) if batch_first else (T, N, S * H))
    assert [state.shape for state in final] == [(num_layers * S, N, H)] * (2 if kind == "lstm" else 1)
    dxs, *dinitial = stack.backward(np.ones_like(output))
    assert dxs.shape == xs.shape
    assert [state.shape for state in dinitial] == [state.shape for state in final]
    assert {array.dtype for array in (output, *final, dxs, *dinitial, *stack.params, *stack.grads)} == {np.dtype(dtype)}


@every_kind
@one_and_two_directions
def test_weights_have_the_sizes_of_the_layer_below(kind, S):
    blocks, biases = {"rnn": (1, 1), "lstm": (4, 4), "gru": (3, 4 if "after" in kind else 3)}[KINDS[kind][0]]
    stack = build(kind, S)
    expected = []
    for layer in range(L):
        size = D if layer == 0 else S * H
        expected += [(size, blocks * H), (H, blocks * H), (biases * H,)] * S
    assert [param.shape for param in stack.params] == expected
    assert all(np.abs(param).max() <= H**-0.5 for param in stack.params)
    assert np.abs(np.concatenate([param.ravel() for param in stack.params])).max() > 0.9 * H**-0.5
    for name in ("params", "grads"):
        own = [array for layer in stack.layers for array in getattr(layer, name)]
        assert all(one is other for one, other in zip(getattr(stack, name), own, strict=True))


def layers_by_hand(stack, kind, S):
    """The layers of a stack, each made anew over its weights."""
    _, options, one_way, both_ways = KINDS[kind]
    make, count = (one_way, 3) if S == 1 else (both_ways, 6)
    return [make(*stack.params[i:i + count], stateful=True, **options) for i in range(0, len(stack.params), count)]


def of_layer(states, i, S):
    return [state[i] if S == 1 else state[2 * i:2 * i + 2] for state in states]


@every_kind
@one_and_two_directions
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_three_layers_equal_three_layers_by_hand(kind, S, lengths):
    stack = build(kind, S)
    xs, initial, doutput, upstream = random_case(kind, S)
    output, *final = stack.forward(xs, *initial, lengths=lengths)
    dxs, *dinitial = stack.backward(doutput, *upstream)
    layers = layers_by_hand(stack, kind, S)
    for i, layer in enumerate(layers):
        layer.set_state(*of_layer(initial, i, S))
        xs = layer.forward(xs, lengths)
        for state, expected in zip(layer.state, of_layer(final, i, S)):
            assert np.array_equal(state, expected)
    assert np.array_equal(output, xs)
    for i, layer in reversed(list(enumerate(layers))):
        doutput = layer.backward(doutput, *of_layer(upstream, i, S))
        for name, expected in zip(("dh", "dc"), of_layer(dinitial, i, S)):
            assert np.array_equal(getattr(layer, name), expected)
    assert np.array_equal(dxs, doutput)
    for grad, expected in zip(stack.grads, [grad for layer in layers for grad in layer.grads], strict=True):
        assert np.array_equal(grad, expected)


@every_kind
@one_and_two_directions
def test_time_first_equals_batch_first_transposed(kind, S):
    xs, initial, doutput, upstream = random_case(kind, S)
    batch_first, time_first = build(kind, S), build(kind, S, batch_first=False)
    for lengths in (None, LENGTHS):
        output, *final = batch_first.forward(xs, *initial, lengths=lengths)
        other_output, *other_final = time_first.forward(xs.swapaxes(0, 1), *initial, lengths=lengths)
        assert np.array_equal(output.swapaxes(0, 1), other_output)
        dxs, *dinitial = batch_first.backward(doutput, *upstream)
        other_dxs, *other_dinitial = time_first.backward(doutput.swapaxes(0, 1), *upstream)
        assert np.array_equal(dxs.swapaxes(0, 1), other_dxs)
        for one, other in zip(final + dinitial + batch_first.grads, other_final + other_dinitial + time_first.grads):
            assert np.array_equal(one, other)


@every_kind
@one_and_two_directions
def test_padding_has_no_part_in_anything(kind, S):
    xs, initial, doutput, upstream = random_case(kind, S)
    stack = build(kind, S)
    runs = []
    for garbage in (7, np.nan):
        spoiled, dspoiled = xs.copy(), doutput.copy()
        spoiled[1, LENGTHS[1]:] = dspoiled[1, LENGTHS[1]:] = garbage
        runs.append([*stack.forward(spoiled, *initial, lengths=LENGTHS), *stack.backward(dspoiled, *upstream),
                     *(grad.copy() for grad in stack.grads)])
    assert all(np.array_equal(one, other) for one, other in zip(*runs))
    output, dxs = runs[1][0], runs[1][1 + len(initial)]
    assert not output[1, LENGTHS[1]:].any() and not dxs[1, LENGTHS[1]:].any() and dxs[1, :LENGTHS[1]].any()


@every_kind
def test_every_forward_without_states_starts_from_zeros(kind):
    stack = build(kind)
    xs, initial, _, _ = random_case(kind, 1)
    first = stack.forward(xs)
    stack.forward(xs, *initial)
    again = stack.forward(xs)
    zeros = stack.forward(xs, *(np.zeros_like(state) for state in initial))
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(first, again, zeros))


def test_c0_alone_starts_from_a_zero_state():
    stack = build("lstm")
    xs, (_, c0), _, _ = random_case("lstm", 1)
    for one, other in zip(stack.forward(xs, c0=c0), stack.forward(xs, np.zeros_like(c0), c0)):
        assert np.array_equal(one, other)


class DropoutDouble:
    """Stands for a `TimeDropout`, multiplies by a number of its own and notes what passes."""

    def __init__(self, factor):
        self.factor, self.seen, self.train_flg = factor, [], None

    def forward(self, xs):
        self.seen.append((self.train_flg, xs.shape))
        return self.factor * xs

    def backward(self, dout):
        return self.factor * dout


@one_and_two_directions
def test_dropout_stands_between_layers_only(S):
    factors = [2, 3, 5]  # of the dropouts below layers 1, 2 and 3
    stack = build("gru", S, num_layers=4, dropout=0.5)
    assert len(stack.dropouts) == 3 and {dropout.dropout_ratio for dropout in stack.dropouts} == {0.5}
    stack.dropouts = [DropoutDouble(factor) for factor in factors]
    (xs, (h0,), doutput, (dh_n,)), layers = random_case("gru", S, num_layers=4), layers_by_hand(stack, "gru", S)
    output, _ = stack.forward(xs, h0)
    dxs, _ = stack.backward(doutput, dh_n)
    for i, layer in enumerate(layers):
        layer.set_state(*of_layer([h0], i, S))
        xs = layer.forward(xs if i == 0 else factors[i - 1] * xs)
    assert np.array_equal(output, xs)
    for i, layer in reversed(list(enumerate(layers))):
        doutput = layer.backward(doutput, *of_layer([dh_n], i, S)) * (1 if i == 0 else factors[i - 1])
    assert np.array_equal(dxs, doutput)
    assert [dropout.seen for dropout in stack.dropouts] == [[(True, (N, T, S * H))]] * 3


def test_nothing_is_dropped_outside_training():
    plain, dropping, single = build("lstm"), build("lstm", dropout=0.5), build("lstm", num_layers=1, dropout=0.5)
    (xs,) = arrays((N, T, D))
    expected = plain.forward(xs)[0]
    np.seed(3)
    first, second = dropping.forward(xs)[0], dropping.forward(xs)[0]
    assert not np.array_equal(first, expected) and not np.array_equal(first, second)
    np.seed(3)
    assert np.array_equal(dropping.forward(xs)[0], first)
    dropping.train_flg = False
    assert np.array_equal(dropping.forward(xs)[0], expected)
    assert np.array_equal(dropping.backward(np.ones_like(expected))[0],
                          plain.backward(np.ones_like(expected))[0])
    assert np.array_equal(single.forward(xs)[0], build("lstm", num_layers=1).forward(xs)[0])


@pytest.mark.parametrize("sizes, message", [
    ((0, 3), "input_size is 0, wanted at least 1"), ((-4, 3), "input_size is -4"), ((4, 0), "hidden_size is 0"),
    ((4, -3), "hidden_size is -3")])
def test_a_size_below_1_is_refused(sizes, message):
    with pytest.raises(ValueError, match=f"^TimeStack: {message}"):
        TimeStack("rnn", *sizes)


@pytest.mark.parametrize("options, message", [
    ({"cell": "lstmp"}, "TimeStack: cell is 'lstmp', wanted one of rnn, lstm, gru"),
    ({"num_layers": 0}, "TimeStack: num_layers is 0, wanted at least 1"),
    ({"num_layers": 2, "dropout": 1.0}, r"dropout_ratio is 1\.0, wanted"),
    ({"dropout": -0.1}, r"dropout_ratio is -0\.1, wanted"),
    ({"cell": "rnn", "activation": "gelu"}, "activation is 'gelu', wanted one of tanh"),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        TimeStack(**{"cell": "gru", "input_size": D, "hidden_size": H} | options)


@one_and_two_directions
@pytest.mark.parametrize("batch_first", [True, False])
def test_wrong_shapes_are_refused_in_its_own_name(S, batch_first):
    stack = build("lstm", S, batch_first=batch_first)
    xs = np.zeros((N, T, D) if batch_first else (T, N, D))
    axes = "N, T" if batch_first else "T, N"
    with pytest.raises(ValueError, match=rf"^TimeStack: xs is .*, wanted float64 of shape \({axes}, 3\)"):
        stack.forward(xs[..., :2])
    good = np.zeros((L * S, N, H))
    for wrong in (good[1:], good[:, 1:], good[..., 1:], good[0], good.swapaxes(0, 1), good.astype(np.float32)):
        for name in ("h0", "c0"):
            with pytest.raises(ValueError, match=rf"^TimeStack: {name} is .*, wanted .* of shape \({L * S}, 2, 5\)"):
                stack.forward(xs, **{name: wrong})
    output, *_ = stack.forward(xs, good, good)
    with pytest.raises(ValueError, match=r"^TimeStack: doutput is .*, wanted float64 of shape"):
        stack.backward(output.swapaxes(0, 1))
    for name in ("dh_n", "dc_n"):
        with pytest.raises(ValueError, match=rf"^TimeStack: {name} is .*, wanted float64 of shape \({L * S}, 2, 5\)"):
            stack.backward(output, **{name: good[1:]})


@one_and_two_directions
@pytest.mark.parametrize("kind", ["rnn", "gru"])
def test_only_an_lstm_has_cells(kind, S):
    stack = build(kind, S)
    xs, cells = np.zeros((N, T, D)), np.zeros((L * S, N, H))
    with pytest.raises(ValueError, match=r"^TimeStack: c0 is given, but only an LSTM has cells"):
        stack.forward(xs, c0=cells)
    output, _ = stack.forward(xs)
    with pytest.raises(ValueError, match=r"^TimeStack: dc_n is given, but only an LSTM has cells"):
        stack.backward(output, dc_n=cells)
