"""What holds for every recurrent layer, whatever the shapes, lengths, dtypes and weights."""
import pytest
from any_device import np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.layers.bidirectional import TimeBidirectional
from common.layers.gru import GRU, TimeGRU
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.packing import reverse
from common.layers.rnn import RNN, TimeRNN

pytestmark = pytest.mark.usefixtures("device")

# Step, sequence, blocks in the matrices and in b, options.
KINDS = {
    "RNN": (RNN, TimeRNN, 1, 1, {}),
    "LSTM": (LSTM, TimeLSTM, 4, 4, {}),
    "GRU": (GRU, TimeGRU, 3, 3, {}),
    "GRU reset_after": (GRU, TimeGRU, 3, 4, {"reset_after": True}),
}
TOLERANCE = {np.float32: 2e-4, np.float64: 1e-11}  # of the largest number of an array


class Case:
    """A layer's weights, an input, initial states, and upstream gradients, drawn at random.

    Parameters
    ----------
    kind : str
    dtype : type
    N, T, D, H : int
    seed : int
    lengths : list of int (N,) or None
    """

    def __init__(self, kind, dtype, N, T, D, H, seed, lengths):
        self.kind, self.dtype, self.N, self.T, self.lengths = kind, dtype, N, T, lengths
        self.step, self.sequence, blocks, biases, self.options = KINDS[kind]
        rng = np.random.default_rng(seed)

        def draw(*shape):
            return rng.standard_normal(shape).astype(dtype)

        self.weights, self.other_weights = (
            [draw(D, blocks * H), draw(H, blocks * H), draw(biases * H)] for _ in range(2))
        self.names = ("h", "c")[:2 if kind == "LSTM" else 1]
        self.xs, self.dhs = draw(N, T, D), draw(N, T, H)
        self.states = [draw(N, H) for _ in self.names]
        self.dstates = [draw(N, H) for _ in self.names]

    def build(self):
        return self.sequence(*self.weights, stateful=True, **self.options)

    def run(self, xs, states, dhs, dstates, lengths):
        """Run a layer both ways; returns hs, final states, dxs, gradients of the initial states, of the weights."""
        layer = self.build()
        layer.set_state(*states)
        hs = layer.forward(xs, lengths)
        final = list(layer.state)
        dxs = layer.backward(dhs, *dstates)
        return hs, final, dxs, [getattr(layer, f"d{name}") for name in self.names], layer.grads

    def run_all(self):
        return self.run(self.xs, self.states, self.dhs, self.dstates, self.lengths)


@st.composite
def cases(draw, kind, min_steps=1, dtypes=(np.float32, np.float64), with_lengths=True):
    T = draw(st.integers(min_steps, 5))
    N, D, H = (draw(st.integers(1, 4)) for _ in range(3))
    lengths = st.lists(st.integers(1, T), min_size=N, max_size=N)
    lengths = draw(st.none() | lengths) if with_lengths else None
    return Case(kind, draw(st.sampled_from(dtypes)), N, T, D, H, draw(st.integers(0, 2**32 - 1)), lengths)


def for_every_kind(examples=30):
    def decorate(test):
        return pytest.mark.parametrize("kind", KINDS)(settings(max_examples=examples)(test))

    return decorate


def assert_near(found, expected, dtype):
    """Compare nested lists of arrays by the size of the largest element of each."""
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            assert_near(one, other, dtype)
        return
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * scale


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


@for_every_kind()
@given(data=st.data())
def test_a_sequence_equals_a_loop_of_steps(kind, data):
    case = data.draw(cases(kind))
    lengths = np.array(case.lengths or [case.T] * case.N)
    cells = [case.step(*case.weights, **case.options) for _ in range(case.T)]
    states, hs = case.states, np.zeros_like(case.dhs)
    for t, cell in enumerate(cells):  # who has ended keeps its state
        running = (t < lengths)[:, None]  # (N, 1)
        new = as_tuple(cell.forward(case.xs[:, t], *states))
        hs[:, t] = np.where(running, new[0], 0)
        states = [np.where(running, one, other) for one, other in zip(new, states)]
    dstates, dxs = case.dstates, np.zeros_like(case.xs)
    totals = [np.zeros_like(param) for param in case.weights]
    for t in reversed(range(case.T)):
        running = (t < lengths)[:, None]  # (N, 1)
        upstream = [np.where(running, dstate, 0) for dstate in dstates]
        upstream[0] = upstream[0] + np.where(running, case.dhs[:, t], 0)
        dxs[:, t], *before = cells[t].backward(*upstream)
        dstates = [np.where(running, one, other) for one, other in zip(before, dstates)]
        for total, grad in zip(totals, cells[t].grads):
            total += grad
    assert_near(case.run_all(), (hs, states, dxs, dstates, totals), case.dtype)


@for_every_kind()
@given(data=st.data())
def test_a_sequence_in_two_parts_equals_the_whole(kind, data):
    case = data.draw(cases(kind, min_steps=2, with_lengths=False))
    cut = data.draw(st.integers(1, case.T - 1))
    hs, final, dxs, dinitial, grads = case.run_all()
    first, second = case.build(), case.build()
    first.set_state(*case.states)
    hs_first = first.forward(case.xs[:, :cut])
    second.set_state(*first.state)
    hs_second = second.forward(case.xs[:, cut:])
    assert_near(np.concatenate((hs_first, hs_second), axis=1), hs, case.dtype)
    assert_near(list(second.state), final, case.dtype)
    dxs_second = second.backward(case.dhs[:, cut:], *case.dstates)
    dxs_first = first.backward(case.dhs[:, :cut], *(getattr(second, f"d{name}") for name in case.names))
    assert_near(np.concatenate((dxs_first, dxs_second), axis=1), dxs, case.dtype)
    assert_near([getattr(first, f"d{name}") for name in case.names], dinitial, case.dtype)
    assert_near([one + other for one, other in zip(first.grads, second.grads)], grads, case.dtype)


@for_every_kind()
@given(data=st.data())
def test_a_permutation_of_the_batch_permutes_the_results(kind, data):
    case = data.draw(cases(kind))
    order = data.draw(st.permutations(range(case.N)))
    hs, final, dxs, dinitial, grads = case.run_all()
    lengths = None if case.lengths is None else [case.lengths[n] for n in order]
    rows = np.array(order)
    found = case.run(case.xs[rows], [state[rows] for state in case.states], case.dhs[rows],
                     [dstate[rows] for dstate in case.dstates], lengths)
    expected = hs[rows], [state[rows] for state in final], dxs[rows], [state[rows] for state in dinitial], grads
    assert_near(found, expected, case.dtype)


@for_every_kind()
@given(data=st.data())
def test_swapped_readers_on_reversed_input_give_the_reversed_swapped_output(kind, data):
    case = data.draw(cases(kind))
    H = case.dhs.shape[2]
    reverse_case = reverse(case.xs, case.lengths)
    assert np.array_equal(reverse(reverse_case, case.lengths), case.xs)
    dhs = np.concatenate((case.dhs, 2 * case.dhs[:, :, ::-1]), axis=2)  # (N, T, 2H)

    def swapped(hs):
        return reverse(np.concatenate((hs[:, :, H:], hs[:, :, :H]), axis=2), case.lengths)

    results = []
    for weights, xs, upstream in (((case.weights, case.other_weights), case.xs, dhs),
                                  ((case.other_weights, case.weights), reverse_case, swapped(dhs))):
        layer = TimeBidirectional(*(case.sequence(*own, **case.options) for own in weights))
        results.append((layer.forward(xs, case.lengths), list(layer.state), layer.backward(upstream), layer.grads))
    (hs, final, dxs, grads), found = results
    real = np.arange(case.T) < np.array(case.lengths or [case.T] * case.N)[:, None]  # (N, T)
    expected = (swapped(hs), [state[::-1] for state in final],
                np.where(real[:, :, None], reverse(dxs, case.lengths), 0), grads[3:] + grads[:3])
    assert_near(found, expected, case.dtype)


@for_every_kind()
@given(data=st.data())
def test_float32_stays_near_float64(kind, data):
    single = data.draw(cases(kind, dtypes=(np.float32,)))
    double = Case.__new__(Case)
    double.__dict__ = single.__dict__ | {
        name: [array.astype(np.float64) for array in value] for name, value in vars(single).items()
        if name in ("weights", "states", "dstates")}
    double.xs, double.dhs = single.xs.astype(np.float64), single.dhs.astype(np.float64)
    found, expected = single.run_all(), double.run_all()
    assert {array.dtype for array in (*found[1], *found[3], *found[4], found[0], found[2])} == {np.dtype(np.float32)}
    assert expected[0].dtype == np.float64
    assert_near(found, expected, np.float32)


@for_every_kind()
@given(data=st.data())
def test_nothing_given_is_changed(kind, data):
    case = data.draw(cases(kind))
    lengths = None if case.lengths is None else np.array(case.lengths)
    given_arrays = [*case.weights, *case.other_weights, case.xs, *case.states, case.dhs, *case.dstates]
    given_arrays += [] if lengths is None else [lengths]
    before = [array.copy() for array in given_arrays]
    case.run(case.xs, case.states, case.dhs, case.dstates, lengths)
    cell = case.step(*case.weights, **case.options)
    cell.forward(case.xs[:, 0], *case.states)
    cell.backward(*case.dstates)
    both = TimeBidirectional(*(case.sequence(*own, **case.options) for own in (case.weights, case.other_weights)))
    both.forward(case.xs, lengths)
    both.backward(np.concatenate((case.dhs, case.dhs), axis=2))
    assert all(np.array_equal(array, copy) for array, copy in zip(given_arrays, before))
