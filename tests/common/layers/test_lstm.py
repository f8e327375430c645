import numpy
import pytest
from any_device import np, peak_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from common.layers.lstm import LSTM, TimeLSTM, gates_backward, gates_forward, split_gates

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 2, 3, 4, 5
DTYPES = [np.float32, np.float64]
sizes = st.integers(1, 4)


def weights(D=D, H=H, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) * 0.5 for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]


def arrays(*shapes, dtype=np.float64):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def logistic(a):
    return 1 / (1 + np.exp(-a))


def test_a_step_is_its_formula_with_the_gates_in_the_order_f_g_i_o():
    Wx, Wh, b = weights()
    x, h_prev, c_prev = arrays((N, D), (N, H), (N, H))
    a = x @ Wx + h_prev @ Wh + b
    f, g, i, o = (a[:, k * H:(k + 1) * H] for k in range(4))
    c_expected = logistic(f) * c_prev + logistic(i) * np.tanh(g)
    h, c = LSTM(Wx, Wh, b).forward(x, h_prev, c_prev)
    np.testing.assert_allclose(c, c_expected, rtol=1e-13)
    np.testing.assert_allclose(h, logistic(o) * np.tanh(c_expected), rtol=1e-13)


def steps_forward(cells, xs, h, c):
    hs = []
    for t, cell in enumerate(cells):
        h, c = cell.forward(xs[:, t], h, c)
        hs.append(h)
    return np.stack(hs, axis=1), h, c


def steps_backward(cells, dhs, dh, dc):
    dxs, grads = [], [np.zeros_like(grad) for grad in cells[0].grads]
    for t in reversed(range(len(cells))):
        dx, dh, dc = cells[t].backward(dhs[:, t] + dh, dc)
        dxs.insert(0, dx)
        for total, grad in zip(grads, cells[t].grads):
            total += grad
    return np.stack(dxs, axis=1), dh, dc, grads


@settings(max_examples=30)
@given(sizes, sizes, sizes, sizes)
def test_a_sequence_equals_a_loop_of_steps(N, T, D, H):
    params = weights(D, H)
    xs, h, c, dhs, dh, dc = arrays((N, T, D), (N, H), (N, H), (N, T, H), (N, H), (N, H))
    layer, cells = TimeLSTM(*params, stateful=True), [LSTM(*params) for _ in range(T)]
    layer.set_state(h, c)
    hs, h_last, c_last = steps_forward(cells, xs, h, c)
    np.testing.assert_allclose(layer.forward(xs), hs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(layer.h, h_last, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(layer.c, c_last, rtol=1e-11, atol=1e-13)
    dxs, dh_first, dc_first, grads = steps_backward(cells, dhs, dh, dc)
    np.testing.assert_allclose(layer.backward(dhs, dh=dh, dc=dc), dxs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.dh, dh_first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.dc, dc_first, rtol=1e-10, atol=1e-12)
    for grad, expected in zip(layer.grads, grads):
        np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(2, 6), st.data())
def test_a_split_sequence_equals_the_whole(T, data):
    cut = data.draw(st.integers(1, T - 1))
    xs, h, c, dhs = arrays((N, T, D), (N, H), (N, H), (N, T, H))
    whole, first, second = (TimeLSTM(*weights(), stateful=True) for _ in range(3))
    whole.set_state(h, c)
    first.set_state(h, c)
    hs = whole.forward(xs)
    np.testing.assert_allclose(first.forward(xs[:, :cut]), hs[:, :cut], rtol=1e-12)
    second.set_state(*first.state)
    np.testing.assert_allclose(second.forward(xs[:, cut:]), hs[:, cut:], rtol=1e-12)
    np.testing.assert_allclose(second.c, whole.c, rtol=1e-12)
    dxs = whole.backward(dhs)
    np.testing.assert_allclose(second.backward(dhs[:, cut:]), dxs[:, cut:], rtol=1e-10)
    np.testing.assert_allclose(first.backward(dhs[:, :cut], dh=second.dh, dc=second.dc), dxs[:, :cut], rtol=1e-10)
    np.testing.assert_allclose(first.dh, whole.dh, rtol=1e-10)
    np.testing.assert_allclose(first.dc, whole.dc, rtol=1e-10)
    for one, other, both in zip(first.grads, second.grads, whole.grads):
        np.testing.assert_allclose(one + other, both, rtol=1e-10)


def test_the_state_is_carried_only_when_stateful():
    (xs,) = arrays((N, 2 * T, D))
    hs = TimeLSTM(*weights()).forward(xs)
    stateful, stateless = TimeLSTM(*weights(), stateful=True), TimeLSTM(*weights())
    for layer in (stateful, stateless):
        np.testing.assert_allclose(layer.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
        np.testing.assert_allclose(layer.h, hs[:, T - 1], rtol=1e-12)
    np.testing.assert_allclose(stateful.forward(xs[:, T:]), hs[:, T:], rtol=1e-12)
    np.testing.assert_allclose(stateless.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
    stateful.reset_state()
    assert stateful.h is None and stateful.c is None
    np.testing.assert_allclose(stateful.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)


def test_a_state_without_c_starts_from_a_zero_cell():
    xs, h = arrays((N, T, D), (N, H))
    layer = TimeLSTM(*weights(), stateful=True)
    layer.set_state(h)
    found = layer.forward(xs)
    layer.set_state(h, np.zeros((N, H)))
    assert np.array_equal(layer.forward(xs), found)


def test_what_was_returned_is_never_written_to():
    layer = TimeLSTM(*weights(), stateful=True)
    xs, dhs, h0, c0 = arrays((N, T, D), (N, T, H), (N, H), (N, H))
    layer.set_state(h0, c0)
    kept = [xs, h0, c0, layer.forward(xs), layer.h, layer.c, layer.backward(dhs), layer.dh, layer.dc]
    before = [array.copy() for array in kept]
    layer.forward(2 * xs)
    layer.backward(-dhs)
    layer.reset_state()
    layer.forward(xs)
    assert all(np.array_equal(array, copy) for array, copy in zip(kept, before))


def test_set_state_needs_a_stateful_layer_and_the_right_state():
    state = np.zeros((N, H))
    for h, c in ((state, None), (None, state)):
        with pytest.raises(ValueError, match=r"^TimeLSTM: set_state needs a layer made with stateful=True"):
            TimeLSTM(*weights()).set_state(h, c)
    layer = TimeLSTM(*weights(), stateful=True)
    layer.set_state(state, state)
    for wrong in (np.zeros((N, H + 1)), np.zeros(H), np.zeros((N, H), dtype=np.float32), [[0.0] * H]):
        for name, h, c in (("h", wrong, None), ("c", None, wrong)):
            with pytest.raises(ValueError, match=f"^TimeLSTM: {name} is .*, wanted"):
                layer.set_state(h, c)
    for held in layer.state:  # a refused state changes nothing
        np.testing.assert_array_equal(held, state)


def test_a_carried_state_of_another_batch_size_is_refused():
    layer = TimeLSTM(*weights(), stateful=True)
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeLSTM: the carried state h is for a batch of 2, the input has 3"):
        layer.forward(np.zeros((N + 1, T, D)))
    layer.set_state(None, np.zeros((N, H)))
    with pytest.raises(ValueError, match=r"^TimeLSTM: the carried state c is for a batch of 2, the input has 3"):
        layer.forward(np.zeros((N + 1, T, D)))


def test_wrong_shapes_are_refused():
    layer = TimeLSTM(*weights())
    with pytest.raises(ValueError, match=r"^TimeLSTM: xs is .* wanted float64 of shape \(N, T, 4\)"):
        layer.forward(np.zeros((N, T, D + 1)))
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeLSTM: dhs .* wanted float64 of shape \(2, 3, 5\)"):
        layer.backward(np.zeros((N, T + 1, H)))
    with pytest.raises(ValueError, match=r"^TimeLSTM: dc is .* wanted float64 of shape \(2, 5\)"):
        layer.backward(np.zeros((N, T, H)), dc=np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=r"^LSTM: c_prev is .* wanted float64 of shape \(2, 5\)"):
        LSTM(*weights()).forward(np.zeros((N, D)), np.zeros((N, H)), np.zeros((1, H)))
    with pytest.raises(ValueError, match=r"^LSTM: x is .* wanted float64 of shape \(N, 4\)"):
        LSTM(*weights()).forward(np.zeros(()), np.zeros((N, H)), np.zeros((N, H)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs_give_finite_numbers(dtype):
    layer = TimeLSTM(*weights(dtype=dtype))
    xs = np.where(arrays((N, T, D))[0] > 0, 1000, -1000).astype(dtype)
    assert np.isfinite(layer.forward(xs)).all()
    assert np.isfinite(layer.backward(np.ones((N, T, H), dtype=dtype))).all()
    assert all(np.isfinite(grad).all() for grad in layer.grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_states_follow_the_dtype(dtype):
    layer = TimeLSTM(*weights(dtype=dtype), stateful=True)
    xs, dhs = arrays((N, T, D), (N, T, H), dtype=dtype)
    for _ in range(2):
        layer.forward(xs)
        layer.backward(dhs)
        assert layer.h.dtype == layer.c.dtype == layer.dh.dtype == layer.dc.dtype == dtype


def test_memory_of_a_training_step():
    N, T, D, H = 20, 35, 650, 650
    layer = TimeLSTM(*weights(D, H, np.float32))
    xs, dhs = arrays((N, T, D), (N, T, H), dtype=np.float32)
    peak = peak_memory(lambda: (layer.forward(xs), layer.backward(dhs)))
    assert 10e6 < peak < 60e6  # bytes; the gates and their gradients alone are 14.6 MB


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_gates_are_split_along_the_last_axis(shape):
    a = np.broadcast_to(np.arange(8), (*shape, 8))
    assert [block.tolist() for block in split_gates(a)] == [
        numpy.broadcast_to(pair, (*shape, 2)).tolist() for pair in ([0, 1], [2, 3], [4, 5], [6, 7])]


class ScaledLSTM(LSTM):
    """A variant with formulas of its own and one weight more: h = s o tanh(c), s (H,)."""

    def __init__(self, Wx, Wh, b, s):
        super().__init__(Wx, Wh, b)
        self.params.append(s)
        self.grads.append(np.zeros_like(s))

    def gates_forward(self, *arrays):
        h, *others = gates_forward(*arrays)
        return self.params[3] * h, *others

    def gates_backward(self, dh, *arrays):
        return gates_backward(self.params[3] * dh, *arrays)


class TimeScaledLSTM(TimeLSTM):
    def __init__(self, Wx, Wh, b, s):
        super().__init__(Wx, Wh, b, stateful=True)
        self.params.append(s)
        self.grads.append(np.zeros_like(s))

    def gates_forward(self, *arrays, out):
        gates_forward(*arrays, out=out)
        out[0][...] *= self.params[3]

    def gates_backward(self, dh, *arrays, out):
        gates_backward(self.params[3] * dh, *arrays, out=out)


def test_a_variant_declares_its_formulas_and_may_have_more_weights():
    xs, dhs, h, c, dh, dc = arrays((N, T, D), (N, T, H), *[(N, H)] * 4)
    cells = [ScaledLSTM(*weights(), np.full(H, 0.5)) for _ in range(T)]
    layer = TimeScaledLSTM(*weights(), np.full(H, 0.5))
    layer.set_state(h, c)
    hs, h_last, c_last = steps_forward(cells, xs, h, c)
    np.testing.assert_allclose(layer.forward(xs), hs, rtol=1e-12)
    dxs, dh_first, dc_first, grads = steps_backward(cells, dhs, dh, dc)
    np.testing.assert_allclose(layer.backward(dhs, dh, dc), dxs, rtol=1e-9)
    for found, expected in ((layer.h, h_last), (layer.c, c_last), (layer.dh, dh_first), (layer.dc, dc_first)):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    for found, expected in zip(layer.grads, grads, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert not np.allclose(hs, steps_forward([LSTM(*weights()) for _ in range(T)], xs, h, c)[0])
