import numpy
import pytest
from any_device import np

from common.layers.bidirectional import TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.packing import Packing, mask, pad, reverse
from common.layers.rnn import TimeRNN
from common.layers.time import TimeLast, TimeMask

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 4, 5, 3, 2
LENGTHS = [2, 5, 1, 3]

# Layer, its bidirectional form, blocks in the matrices and in b, options.
KINDS = {
    "RNN": (TimeRNN, TimeBiRNN, 1, 1, {}),
    "LSTM": (TimeLSTM, TimeBiLSTM, 4, 4, {}),
    "GRU": (TimeGRU, TimeBiGRU, 3, 3, {}),
    "GRU reset_after": (TimeGRU, TimeBiGRU, 3, 4, {"reset_after": True}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def weights(kind, seed=0):
    rng = np.random.default_rng(seed)
    _, _, blocks, biases, _ = KINDS[kind]
    return [rng.standard_normal(shape) for shape in ((D, blocks * H), (H, blocks * H), (biases * H,))]


def build(kind, seed=0):
    layer, _, _, _, options = KINDS[kind]
    return layer(*weights(kind, seed), stateful=True, **options)


def build_both(kind):
    _, layer, _, _, options = KINDS[kind]
    return layer(*weights(kind, 0), *weights(kind, 1), stateful=True, **options)


def arrays(*shapes):
    rng = np.random.default_rng(2)
    return [rng.standard_normal(shape) for shape in shapes]


def padding():
    return np.arange(T) >= np.array(LENGTHS)[:, None]  # (N, T)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_rows_stand_by_step_and_longest_first():
    letters = np.array([list(b"ab.."), list(b"defg"), list(b"c...")])[:, :, None]
    packing = Packing(3, 4, [2, 4, 1])
    assert bytes(packing.pack(letters)[:, 0].tolist()) == b"dac" + b"eb" + b"f" + b"g"
    assert packing.P == 7
    assert packing.steps == [
        (slice(0, 3), slice(0, 3), slice(3, 6)), (slice(3, 5), slice(3, 5), slice(6, 8)),
        (slice(5, 6), slice(6, 7), slice(8, 9)), (slice(6, 7), slice(8, 9), slice(9, 10))]


def test_steps_beyond_the_longest_sequence_are_left_out():
    packing = Packing(2, 9, [1, 2])
    assert packing.steps == [(slice(0, 2), slice(0, 2), slice(2, 4)), (slice(2, 3), slice(2, 3), slice(4, 5))]


def test_without_lengths_the_rows_are_the_batch_with_time_first():
    (xs,) = arrays((N, T, D))
    packing = Packing(N, T)
    rows = packing.pack(xs)
    assert np.array_equal(rows, xs.transpose(1, 0, 2).reshape(N * T, D))
    assert packing.steps == [(slice(row, row + N), slice(row, row + N), slice(row + N, row + 2 * N))
                             for row in range(0, N * T, N)]
    assert np.array_equal(packing.unpack(rows), xs)
    state = xs[:, 0]
    assert packing.sort(state) is state and packing.unsort(state) is state


@pytest.mark.parametrize("make", [list, numpy.array, lambda lengths: np.array(lengths, dtype=np.uint8)])
@pytest.mark.parametrize("lengths", [LENGTHS, [T] * N, [1] * N])
def test_packing_and_unpacking_keeps_what_is_real_and_zeros_the_padding(lengths, make):
    (xs,) = arrays((N, T, D))
    packing = Packing(N, T, make(lengths))
    rows = packing.pack(xs)
    assert len(rows) == sum(lengths)
    assert sum(t.stop - t.start for t, _, _ in packing.steps) == len(rows)
    real = np.arange(T) < np.array(lengths)[:, None]  # (N, T)
    assert np.array_equal(packing.unpack(rows), np.where(real[:, :, None], xs, 0))
    assert packing.unpack(rows.astype(np.float32)).dtype == np.float32


def test_states_are_sorted_longest_first_and_back():
    (state,) = arrays((N, H))
    packing = Packing(N, T, LENGTHS)
    assert np.array_equal(packing.sort(state), state[np.array([1, 3, 0, 2])])
    assert np.array_equal(packing.unsort(packing.sort(state)), state)


def test_sequences_of_equal_length_keep_their_order():
    lengths = [1 + n * n % 3 for n in range(100)]  # of 1 and 2: a sort that is not stable mixes so many
    packing = Packing(100, 3, lengths)
    assert packing.order.tolist() == sorted(range(100), key=lambda n: -lengths[n])


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_what_comes_from_rows_and_states_stays_when_they_change(lengths):
    packing = Packing(N, T, lengths)
    rows, states = arrays((packing.P, D), (N + packing.P, H))
    taken = packing.unpack(rows), packing.last(states)
    before = [array.copy() for array in taken]
    rows[...], states[...] = np.nan, np.nan
    assert all(np.array_equal(array, copy) for array, copy in zip(taken, before))


@pytest.mark.parametrize("lengths, message", [
    ([2, 0, 1, 3], "lengths go from 0 to 3, wanted 1 to 5"),
    ([2, -1, 1, 3], "lengths go from -1 to 3, wanted 1 to 5"),
    ([2, 6, 1, 3], "lengths go from 1 to 6, wanted 1 to 5"),
    ([2, 5, 1], r"lengths are int64 of shape \(3,\), wanted integers of shape \(4,\)"),
    ([[2, 5, 1, 3]], r"lengths are int64 of shape \(1, 4\), wanted integers of shape \(4,\)"),
    ([2.0, 5.0, 1.0, 3.0], r"lengths are float64 of shape \(4,\), wanted integers of shape \(4,\)"),
    ([True] * 4, r"lengths are bool of shape \(4,\), wanted integers"),
    (3, r"lengths are int64 of shape \(\), wanted integers"),
])
def test_wrong_lengths_are_refused(lengths, message):
    xs = np.zeros((N, T, D))
    for use in (lambda: Packing(N, T, lengths), lambda: mask(lengths, N, T, float), lambda: reverse(xs, lengths),
                lambda: build("LSTM").forward(xs, lengths), lambda: build_both("GRU").forward(xs, lengths),
                lambda: TimeLast().forward(xs, lengths), lambda: TimeMask().forward(xs, lengths)):
        with pytest.raises(ValueError, match=f"^{message}"):
            use()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_the_states_before_each_row_and_after_each_last_step(lengths):
    packing = Packing(N, T, lengths)
    real = np.array(LENGTHS if lengths else [T] * N)
    # A state is the number of its sequence and of its step; the initial ones stand at step 0.
    a_step = np.array([0, 1])
    xs = np.to_device(numpy.stack(numpy.indices((N, T)), axis=2)) + a_step  # (N, T, 2)
    initial = packing.sort(np.stack((np.arange(N), np.zeros(N, int)), axis=1))  # (N, 2)
    states = np.concatenate((initial, packing.pack(xs)))  # (N + P, 2)
    assert np.array_equal(packing.before(states), packing.pack(xs) - a_step)
    assert np.array_equal(packing.last(states), np.stack((np.arange(N), real), axis=1))
    for t, prev, now in packing.steps:
        assert np.array_equal(states[now], packing.pack(xs)[t])
        assert np.array_equal(states[prev], packing.pack(xs)[t] - a_step)


def test_pad_puts_zeros_behind_each_sequence():
    sequences = [np.array([[1, 2]]), np.array([[3, 4], [5, 6], [7, 8]])]
    xs, lengths = pad(sequences)
    assert lengths.tolist() == [1, 3] and lengths.dtype.kind == "i"
    assert xs.tolist() == [[[1, 2], [0, 0], [0, 0]], [[3, 4], [5, 6], [7, 8]]]
    ids, _ = pad([np.array([4, 5], dtype=np.int32), np.array([6], dtype=np.int32)])
    assert ids.tolist() == [[4, 5], [6, 0]] and ids.dtype == np.int32
    alone, lengths = pad([np.array([7, 8])])
    assert alone.tolist() == [[7, 8]] and lengths.tolist() == [2]


def test_pad_leaves_sequences_where_they_are():
    for library in (numpy, np):
        xs, _ = pad([library.array([4, 5]), library.array([6])])
        assert type(xs) is library.ndarray and xs.tolist() == [[4, 5], [6, 0]]


@pytest.mark.parametrize("shapes, dtypes, message", [
    ([], [], "there is no sequence, wanted at least one$"),
    ([(2, 3), (4, 2)], "ff", r"sequence 1 is float32 of shape \(4, 2\), wanted float32 of shape \(T, 3\) as the"),
    ([(2, 3), (4, 3, 1)], "ff", r"sequence 1 is float32 of shape \(4, 3, 1\), wanted"),
    ([(2, 3), (4, 1)], "ff", r"sequence 1 is float32 of shape \(4, 1\), wanted"),  # it could be broadcast
    ([(2,), (4, 3)], "ff", r"sequence 1 is float32 of shape \(4, 3\), wanted float32 of shape \(T\) as"),
    ([(2, 3), (2, 3), (2, 3)], "ffd", "sequence 2 is float64 of shape .*, wanted float32 of shape"),
    ([(2,), (2,)], "if", "sequence 1 is float32 of shape .*, wanted int32"),
    ([(2,), (2,)], "li", "sequence 1 is int32 of shape .*, wanted int64"),
    ([(2, 3), (0, 3)], "ff", r"sequence 1 is float32 of shape \(0, 3\), wanted float32 of shape .*, T at least 1$"),
    ([()], "f", r"sequence 0 is float32 of shape \(\), wanted"),
])
def test_sequences_that_make_no_batch_are_refused(shapes, dtypes, message):
    with pytest.raises(ValueError, match=f"^pad: {message}"):
        pad([np.ones(shape, dtype=np.dtype(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)])


def test_pad_takes_arrays_of_one_library():
    for sequences in ([[1, 2], [3]], [np.array([1, 2]), [3]]):
        with pytest.raises(ValueError, match=r"^pad: sequence \d is a list, wanted arrays of one library$"):
            pad(sequences)
    if np.backend != "numpy":
        with pytest.raises(ValueError, match=r"^pad: sequence 1 is a ndarray, wanted arrays of one library$"):
            pad([np.array([1, 2]), numpy.array([3])])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mask_is_one_at_real_steps(dtype):
    found = mask([2, 3, 1], 3, 3, dtype)
    assert found.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]] and found.dtype == dtype


def test_reverse_turns_each_sequence_and_leaves_its_padding():
    xs = np.array([list(b"ab.,"), list(b"defg"), list(b"c-+*")])
    assert [bytes(row) for row in reverse(xs, [2, 4, 1]).tolist()] == [b"ba.,", b"gfed", b"c-+*"]
    assert [bytes(row) for row in reverse(xs).tolist()] == [b",.ba", b"gfed", b"*+-c"]


@pytest.mark.parametrize("lengths", [None, LENGTHS, [T] * N])
def test_reversing_twice_gives_the_input_back(lengths):
    (xs,) = arrays((N, T, D))
    assert np.array_equal(reverse(reverse(xs, lengths), lengths), xs)
    assert not np.array_equal(reverse(xs, lengths), xs)


def run_packed(layer, xs, h, dhs, dh):
    """The layer's own way: outputs, final states, gradients of inputs and initial states."""
    layer.set_state(h)
    hs = layer.forward(xs, LENGTHS)
    final = layer.h
    return hs, final, layer.backward(dhs, dh), layer.dh, layer.grads


def run_padded(layer, xs, h, dhs, dh):
    """Over the padding, whose outputs nothing uses: their upstream gradients are zeros."""
    last = TimeLast()
    layer.set_state(h)
    hs = layer.forward(xs)
    final = last.forward(hs, LENGTHS)
    dxs = layer.backward(np.where(padding()[:, :, None], 0, dhs) + last.backward(dh))
    return hs, final, dxs, layer.dh, layer.grads


def run_masked(layer, xs, h, dhs, dh):
    """Over the padding, with a mask on the outputs that stops the gradients from there."""
    real, last = TimeMask(), TimeLast()
    layer.set_state(h)
    hs = real.forward(layer.forward(xs), LENGTHS)
    final = last.forward(hs, LENGTHS)
    return hs, final, layer.backward(real.backward(dhs + last.backward(dh))), layer.dh, layer.grads


def both_ways(run, kind, xs, h, dhs, dh):
    """Two readers by hand, each run in one of the ways above."""
    front = run(build(kind, 0), xs, h[0], dhs[:, :, :H], dh[0])
    back = run(build(kind, 1), reverse(xs, LENGTHS), h[1], reverse(dhs[:, :, H:], LENGTHS), dh[1])
    hs = np.concatenate((front[0], reverse(back[0], LENGTHS)), axis=2)
    return (hs, np.stack((front[1], back[1])), front[2] + reverse(back[2], LENGTHS),
            np.stack((front[3], back[3])), front[4] + back[4])


def assert_same_run(found, expected):
    real = ~padding()
    assert_close(found[0][real], expected[0][real])
    for one, other in zip(found[1:4], expected[1:4]):
        assert_close(one, other)
    assert len(found[4]) == len(expected[4])
    for grad, other in zip(found[4], expected[4]):
        assert_close(grad, other)


@every_kind
@pytest.mark.parametrize("run", [run_padded, run_masked])
def test_packed_equals_padded_and_masked(kind, run):
    case = arrays((N, T, D), (N, H), (N, T, H), (N, H))
    packed, other = run_packed(build(kind), *case), run(build(kind), *case)
    assert_same_run(packed, other)
    assert not packed[0][padding()].any() and not packed[2][padding()].any()
    assert not other[2][padding()].any()


@every_kind
@pytest.mark.parametrize("run", [run_packed, run_padded, run_masked])
def test_packed_equals_padded_and_masked_in_both_directions(kind, run):
    case = arrays((N, T, D), (2, N, H), (N, T, 2 * H), (2, N, H))
    packed = run_packed(build_both(kind), *case)
    assert_same_run(packed, both_ways(run, kind, *case))
    assert not packed[0][padding()].any() and not packed[2][padding()].any()


@every_kind
@pytest.mark.parametrize("build", [build, build_both])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e300, -1e300])
def test_padding_has_no_part_in_anything(kind, build, garbage):
    layer = build(kind)
    directions = 1 if build is not build_both else 2
    state = (N, H) if directions == 1 else (2, N, H)
    xs, h, dhs, dh = arrays((N, T, D), state, (N, T, directions * H), state)
    expected = run_packed(layer, xs, h, dhs, dh)
    expected_grads = [grad.copy() for grad in layer.grads]
    spoiled = [np.where(padding()[:, :, None], garbage, array) for array in (xs, dhs)]
    found = run_packed(layer, spoiled[0], h, spoiled[1], dh)
    for one, other in zip((*found[:4], *found[4]), (*expected[:4], *expected_grads)):
        assert np.array_equal(one, other)
    assert np.array_equal(found[2][padding()], np.zeros((N * T - sum(LENGTHS), D)))
    assert np.array_equal(found[0][padding()], np.zeros((N * T - sum(LENGTHS), directions * H)))


def states_of(layer, prefix=""):
    return [getattr(layer, prefix + name) for name in ("h", "c")[:len(layer.state)]]


@every_kind
@pytest.mark.parametrize("build", [build, build_both])
def test_a_batch_equals_each_sequence_alone(kind, build):
    layer = build(kind)
    state = (N, H) if build is not build_both else (2, N, H)
    xs, dhs = arrays((N, T, D), (N, T, state[0] * H if len(state) == 3 else H))
    initial = arrays(*[state] * len(layer.state))
    upstream = [2 * array for array in initial]
    layer.set_state(*initial)
    hs, final = layer.forward(xs, LENGTHS), states_of(layer)
    dxs, dinitial = layer.backward(dhs, *upstream), states_of(layer, "d")
    totals = [np.zeros_like(grad) for grad in layer.grads]
    for n, length in enumerate(LENGTHS):
        alone = build(kind)
        alone.set_state(*(array[..., n:n + 1, :] for array in initial))
        assert_close(hs[n:n + 1, :length], alone.forward(xs[n:n + 1, :length]))
        for one, other in zip(states_of(alone), final):
            assert_close(one, other[..., n:n + 1, :])
        dxs_alone = alone.backward(dhs[n:n + 1, :length], *(array[..., n:n + 1, :] for array in upstream))
        assert_close(dxs[n:n + 1, :length], dxs_alone)
        for one, other in zip(states_of(alone, "d"), dinitial):
            assert_close(one, other[..., n:n + 1, :])
        for total, grad in zip(totals, alone.grads):
            total += grad
    for total, grad in zip(totals, layer.grads):
        assert_close(grad, total)


@every_kind
def test_full_lengths_equal_no_lengths(kind):
    xs, h, dhs, dh = arrays((N, T, D), (N, H), (N, T, H), (N, H))
    packed, plain = build(kind), build(kind)
    for layer, lengths in ((packed, [T] * N), (plain, None)):
        layer.set_state(h)
        layer.forward(xs, lengths)
    assert_close(packed.h, plain.h)
    assert_close(packed.backward(dhs, dh), plain.backward(dhs, dh))
    for one, other in zip(packed.grads, plain.grads):
        assert_close(one, other)


@every_kind
def test_a_state_is_carried_over_from_each_sequence_s_own_end(kind):
    (xs,) = arrays((N, T, D))
    layer = build(kind)
    layer.forward(xs, LENGTHS)
    found = layer.forward(xs[:, :1])
    for n, length in enumerate(LENGTHS):
        alone = build(kind)
        alone.forward(xs[n:n + 1, :length])
        assert_close(found[n:n + 1], alone.forward(xs[n:n + 1, :1]))
