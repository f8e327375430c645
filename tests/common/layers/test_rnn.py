import pytest
from any_device import np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import RNN, TimeRNN, activation_functions

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 2, 3, 4, 5
DTYPES = [np.float32, np.float64]
ACTIVATIONS = {
    "tanh": lambda a: np.tanh(a),
    "relu": lambda a: np.where(a > 0, a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}
sizes = st.integers(1, 4)


def weights(D=D, H=H, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) * 0.5 for shape in ((D, H), (H, H), (H,))]


def arrays(*shapes, dtype=np.float64):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_is_its_formula(activation):
    Wx, Wh, b = weights()
    x, h_prev = arrays((N, D), (N, H))
    h = RNN(Wx, Wh, b, activation).forward(x, h_prev)
    np.testing.assert_allclose(h, ACTIVATIONS[activation](x @ Wx + h_prev @ Wh + b), rtol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_derivative_of_an_activation_follows_from_its_value(activation):
    _, forward, backward = activation_functions(activation)
    a, da, step = np.array([-3.0, -0.5, -0.01, 0.01, 0.5, 3.0]), np.arange(1.0, 7.0), 1e-6
    slope = (forward(a + step) - forward(a - step)) / (2 * step)
    np.testing.assert_allclose(backward(da, forward(a)), da * slope, rtol=1e-8)


def test_an_unknown_activation_is_refused():
    for layer in (RNN, TimeRNN):
        with pytest.raises(ValueError, match="activation is 'gelu', wanted one of tanh, relu, sigmoid"):
            layer(*weights(), activation="gelu")


def steps_forward(cells, xs, h):
    hs = []
    for t, cell in enumerate(cells):
        h = cell.forward(xs[:, t], h)
        hs.append(h)
    return np.stack(hs, axis=1), h


def steps_backward(cells, dhs, dh):
    dxs, grads = [], [np.zeros_like(grad) for grad in cells[0].grads]
    for t in reversed(range(len(cells))):
        dx, dh = cells[t].backward(dhs[:, t] + dh)
        dxs.insert(0, dx)
        for total, grad in zip(grads, cells[t].grads):
            total += grad
    return np.stack(dxs, axis=1), dh, grads


@settings(max_examples=30)
@given(sizes, sizes, sizes, sizes, st.sampled_from(list(ACTIVATIONS)))
def test_a_sequence_equals_a_loop_of_steps(N, T, D, H, activation):
    params = weights(D, H)
    xs, h, dhs, dh = arrays((N, T, D), (N, H), (N, T, H), (N, H))
    layer = TimeRNN(*params, stateful=True, activation=activation)
    cells = [RNN(*params, activation=activation) for _ in range(T)]
    layer.set_state(h)
    hs, last = steps_forward(cells, xs, h)
    np.testing.assert_allclose(layer.forward(xs), hs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(layer.h, last, rtol=1e-11, atol=1e-13)
    dxs, dh_first, grads = steps_backward(cells, dhs, dh)
    np.testing.assert_allclose(layer.backward(dhs, dh=dh), dxs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.dh, dh_first, rtol=1e-10, atol=1e-12)
    for grad, expected in zip(layer.grads, grads):
        np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_step_of_a_sequence_has_its_weights_and_its_activation(activation):
    Wx, Wh, b = weights()
    x, h_prev = arrays((N, D), (N, H))
    step = TimeRNN(Wx, Wh, b, activation=activation).step
    assert all(one is other for one, other in zip(step.params, (Wx, Wh, b), strict=True))
    expected = ACTIVATIONS[activation](x @ Wx + h_prev @ Wh + b)
    np.testing.assert_allclose(step.forward(x, h_prev), expected, rtol=1e-13)


@settings(max_examples=20)
@given(st.integers(2, 6), st.data())
def test_a_split_sequence_equals_the_whole(T, data):
    cut = data.draw(st.integers(1, T - 1))
    xs, h, dhs = arrays((N, T, D), (N, H), (N, T, H))
    whole, first, second = (TimeRNN(*weights(), stateful=True) for _ in range(3))
    whole.set_state(h)
    first.set_state(h)
    hs = whole.forward(xs)
    np.testing.assert_allclose(first.forward(xs[:, :cut]), hs[:, :cut], rtol=1e-12)
    second.set_state(first.h)
    np.testing.assert_allclose(second.forward(xs[:, cut:]), hs[:, cut:], rtol=1e-12)
    dxs = whole.backward(dhs)
    np.testing.assert_allclose(second.backward(dhs[:, cut:]), dxs[:, cut:], rtol=1e-10)
    np.testing.assert_allclose(first.backward(dhs[:, :cut], dh=second.dh), dxs[:, :cut], rtol=1e-10)
    np.testing.assert_allclose(first.dh, whole.dh, rtol=1e-10)
    for one, other, both in zip(first.grads, second.grads, whole.grads):
        np.testing.assert_allclose(one + other, both, rtol=1e-10)


def test_the_state_is_carried_only_when_stateful():
    (xs,) = arrays((N, 2 * T, D))
    hs = TimeRNN(*weights()).forward(xs)
    stateful, stateless = TimeRNN(*weights(), stateful=True), TimeRNN(*weights())
    for layer in (stateful, stateless):
        np.testing.assert_allclose(layer.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
        np.testing.assert_allclose(layer.h, hs[:, T - 1], rtol=1e-12)
    np.testing.assert_allclose(stateful.forward(xs[:, T:]), hs[:, T:], rtol=1e-12)
    np.testing.assert_allclose(stateless.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
    stateful.reset_state()
    assert stateful.h is None
    np.testing.assert_allclose(stateful.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)


def test_what_was_returned_is_never_written_to():
    layer = TimeRNN(*weights(), stateful=True)
    xs, dhs, h0 = arrays((N, T, D), (N, T, H), (N, H))
    layer.set_state(h0)
    kept = [xs, h0, layer.forward(xs), layer.h, layer.backward(dhs), layer.dh]
    before = [array.copy() for array in kept]
    layer.forward(2 * xs)
    layer.backward(-dhs)
    layer.reset_state()
    layer.forward(xs)
    assert all(np.array_equal(array, copy) for array, copy in zip(kept, before))


def test_set_state_needs_a_stateful_layer_and_the_right_state():
    with pytest.raises(ValueError, match=r"^TimeRNN: set_state needs a layer made with stateful=True"):
        TimeRNN(*weights()).set_state(np.zeros((N, H)))
    layer = TimeRNN(*weights(), stateful=True)
    for wrong in (np.zeros((N, H + 1)), np.zeros(H), np.zeros((N, H), dtype=np.float32), [[0.0] * H]):
        with pytest.raises(ValueError, match=r"^TimeRNN: h is .*, wanted"):
            layer.set_state(wrong)


def test_a_layer_is_not_stateful_unless_it_is_asked_to_be():
    assert not RecurrentLayer(*weights()).stateful and not TimeRNN(*weights()).stateful


def test_a_carried_state_of_another_batch_size_is_refused():
    layer = TimeRNN(*weights(), stateful=True)
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeRNN: the carried state h is for a batch of 2, the input has 3; "
                                         r"call reset_state\(\) first"):
        layer.forward(np.zeros((N + 1, T, D)))
    layer.reset_state()
    assert layer.forward(np.zeros((N + 1, T, D))).shape == (N + 1, T, H)


def test_wrong_shapes_are_refused():
    layer = TimeRNN(*weights())
    with pytest.raises(ValueError, match=r"^TimeRNN: xs is float64 of shape \(2, 4\), wanted float64 of shape \(N, T"):
        layer.forward(np.zeros((N, D)))
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeRNN: dhs .* wanted float64 of shape \(2, 3, 5\)"):
        layer.backward(np.zeros((N, T + 1, H)))
    with pytest.raises(ValueError, match=r"^TimeRNN: dh is .* wanted float64 of shape \(2, 5\)"):
        layer.backward(np.zeros((N, T, H)), dh=np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=r"^RNN: h_prev is .* wanted float64 of shape \(2, 5\)"):
        RNN(*weights()).forward(np.zeros((N, D)), np.zeros((1, H)))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs_give_finite_numbers(activation, dtype):
    layer = TimeRNN(*weights(dtype=dtype), activation=activation)
    xs = np.where(arrays((N, T, D))[0] > 0, 1000, -1000).astype(dtype)
    assert np.isfinite(layer.forward(xs)).all()
    assert np.isfinite(layer.backward(np.ones((N, T, H), dtype=dtype))).all()
    assert all(np.isfinite(grad).all() for grad in layer.grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_states_follow_the_dtype(dtype):
    layer = TimeRNN(*weights(dtype=dtype), stateful=True)
    xs, dhs = arrays((N, T, D), (N, T, H), dtype=dtype)
    for _ in range(2):
        layer.forward(xs)
        layer.backward(dhs)
        assert layer.h.dtype == layer.dh.dtype == dtype
