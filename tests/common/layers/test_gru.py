import numpy
import pytest
from any_device import np

from common.layers.gru import GRU, TimeGRU, split_blocks

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 2, 3, 4, 5
DTYPES = [np.float32, np.float64]
both_variants = pytest.mark.parametrize("reset_after", [False, True])


def weights(reset_after=False, D=D, H=H, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = (D, 3 * H), (H, 3 * H), ((4 if reset_after else 3) * H,)
    return [rng.standard_normal(shape).astype(dtype) * 0.5 for shape in shapes]


def arrays(*shapes, dtype=np.float64):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def logistic(a):
    return 1 / (1 + numpy.exp(-a))


def naive_step(x, h_prev, Wx, Wh, b, reset_after):
    """One sequence, one unit at a time, on the host, written from the papers' formulas."""
    H = len(h_prev)

    def block(W, k, j):
        return W[:, k * H + j]

    z, r = (
        numpy.array([logistic(x @ block(Wx, k, j) + h_prev @ block(Wh, k, j) + b[k * H + j]) for j in range(H)])
        for k in range(2))
    h = numpy.empty(H)
    for j in range(H):
        if reset_after:
            recurrent = r[j] * (h_prev @ block(Wh, 2, j) + b[3 * H + j])
        else:
            recurrent = sum(r[k] * h_prev[k] * Wh[k, 2 * H + j] for k in range(H))
        h_hat = numpy.tanh(x @ block(Wx, 2, j) + b[2 * H + j] + recurrent)
        h[j] = (1 - z[j]) * h_prev[j] + z[j] * h_hat
    return h


@both_variants
def test_a_step_is_its_formula_with_the_blocks_in_the_order_z_r_h(reset_after):
    params = weights(reset_after)
    x, h_prev = arrays((N, D), (N, H))
    found = GRU(*params, reset_after=reset_after).forward(x, h_prev)
    x, h_prev, *params = map(np.to_cpu, (x, h_prev, *params))
    expected = [naive_step(x[n], h_prev[n], *params, reset_after) for n in range(N)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_two_variants_differ_where_the_reset_gate_does():
    Wx, Wh, b = weights()
    x, h_prev = arrays((N, D), (N, H))
    longer = np.concatenate((b, np.zeros(H)))
    before, after = GRU(Wx, Wh, b), GRU(Wx, Wh, longer, reset_after=True)
    assert np.abs(before.forward(x, h_prev) - after.forward(x, h_prev)).max() > 1e-3
    b[H:2 * H] = longer[H:2 * H] = 50  # r = 1: nothing is reset
    np.testing.assert_allclose(before.forward(x, h_prev), after.forward(x, h_prev), rtol=1e-12)


def test_a_closed_update_gate_keeps_the_state_and_an_open_one_forgets_it():
    Wx, Wh, b = weights()
    x, h_prev = arrays((N, D), (N, H))
    b[:H] = -50
    np.testing.assert_allclose(GRU(Wx, Wh, b).forward(x, h_prev), h_prev, rtol=1e-12)
    b[:H], b[H:2 * H] = 50, -50  # z = 1, r = 0
    np.testing.assert_allclose(GRU(Wx, Wh, b).forward(x, h_prev), np.tanh(x @ Wx[:, 2 * H:] + b[2 * H:]), rtol=1e-12)


@both_variants
@pytest.mark.parametrize("N, T, D, H", [(2, 3, 4, 5), (1, 1, 1, 1), (3, 1, 2, 4), (1, 4, 3, 2)])
def test_a_sequence_equals_a_loop_of_steps(N, T, D, H, reset_after):
    params = weights(reset_after, D, H)
    xs, h0, dhs, dh = arrays((N, T, D), (N, H), (N, T, H), (N, H))
    layer = TimeGRU(*params, stateful=True, reset_after=reset_after)
    cells = [GRU(*params, reset_after=reset_after) for _ in range(T)]
    layer.set_state(h0)
    hs, h = layer.forward(xs), h0
    for t, cell in enumerate(cells):
        h = cell.forward(xs[:, t], h)
        np.testing.assert_allclose(hs[:, t], h, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(layer.h, h, rtol=1e-11, atol=1e-13)
    dxs, totals = layer.backward(dhs, dh), [np.zeros_like(grad) for grad in layer.grads]
    for t in reversed(range(T)):
        dx, dh = cells[t].backward(dhs[:, t] + dh)
        np.testing.assert_allclose(dxs[:, t], dx, rtol=1e-10, atol=1e-12)
        for total, grad in zip(totals, cells[t].grads):
            total += grad
    np.testing.assert_allclose(layer.dh, dh, rtol=1e-10, atol=1e-12)
    for grad, total in zip(layer.grads, totals):
        np.testing.assert_allclose(grad, total, rtol=1e-10, atol=1e-12)


@both_variants
def test_the_step_of_a_sequence_has_its_weights_and_its_variant(reset_after):
    params = weights(reset_after)
    x, h_prev = arrays((N, D), (N, H))
    step = TimeGRU(*params, reset_after=reset_after).step
    assert all(one is other for one, other in zip(step.params, params, strict=True))
    found = step.forward(x, h_prev)
    x, h_prev, *params = map(np.to_cpu, (x, h_prev, *params))
    expected = [naive_step(x[n], h_prev[n], *params, reset_after) for n in range(N)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@both_variants
def test_the_gradients_of_a_step_are_those_of_the_naive_formula(reset_after):
    params = weights(reset_after)
    x, h_prev, dh = arrays((N, D), (N, H), (N, H))
    cell = GRU(*params, reset_after=reset_after)
    cell.forward(x, h_prev)
    gradients = map(np.to_cpu, (*cell.backward(dh), *cell.grads))
    x, h_prev, dh, *params = map(np.to_cpu, (x, h_prev, dh, *params))
    for array, gradient in zip((x, h_prev, *params), gradients, strict=True):
        for place in numpy.ndindex(array.shape):
            kept, values = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = kept + step
                values.append(sum(dh[n] @ naive_step(x[n], h_prev[n], *params, reset_after) for n in range(N)))
            array[place] = kept
            assert gradient[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8)


@both_variants
def test_the_bias_has_a_block_more_when_the_reset_comes_after(reset_after):
    Wx, Wh, b = weights(reset_after)
    wanted, wrong = (20, 15) if reset_after else (15, 20)
    for layer in (GRU, TimeGRU):
        assert layer(Wx, Wh, b, reset_after=reset_after).grads[2].shape == (wanted,)
        with pytest.raises(ValueError, match=rf"^{layer.__name__}: b is float64 of shape \({wrong},\), "
                                             rf"wanted float64 of shape \({wanted}\)"):
            layer(Wx, Wh, np.zeros(wrong), reset_after=reset_after)


def test_weights_that_do_not_fit_are_refused():
    Wx, Wh, b = weights()
    for layer in (GRU, TimeGRU):
        with pytest.raises(ValueError, match=rf"^{layer.__name__}: Wx is .* wanted float64 of shape \(D, 15\)"):
            layer(Wx[:, 1:], Wh, b)
        with pytest.raises(ValueError, match=rf"^{layer.__name__}: Wh is .* wanted float64 of shape \(4, 12\)"):
            layer(Wx, Wh[:4], b)


@both_variants
def test_the_state_is_carried_only_when_stateful(reset_after):
    (xs,) = arrays((N, 2 * T, D))
    params = weights(reset_after)
    hs = TimeGRU(*params, reset_after=reset_after).forward(xs)
    stateful = TimeGRU(*params, stateful=True, reset_after=reset_after)
    stateless = TimeGRU(*params, reset_after=reset_after)
    for layer in (stateful, stateless):
        np.testing.assert_allclose(layer.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
        np.testing.assert_allclose(layer.h, hs[:, T - 1], rtol=1e-12)
    np.testing.assert_allclose(stateful.forward(xs[:, T:]), hs[:, T:], rtol=1e-12)
    np.testing.assert_allclose(stateless.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)
    stateful.reset_state()
    assert stateful.h is None
    np.testing.assert_allclose(stateful.forward(xs[:, :T]), hs[:, :T], rtol=1e-12)


@both_variants
def test_what_was_returned_is_never_written_to(reset_after):
    layer = TimeGRU(*weights(reset_after), stateful=True, reset_after=reset_after)
    xs, dhs, h0 = arrays((N, T, D), (N, T, H), (N, H))
    layer.set_state(h0)
    kept = [xs, h0, layer.forward(xs), layer.h, layer.backward(dhs), layer.dh]
    before = [array.copy() for array in kept]
    layer.forward(2 * xs)
    layer.backward(-dhs)
    layer.reset_state()
    layer.forward(xs)
    assert all(np.array_equal(array, copy) for array, copy in zip(kept, before))


@both_variants
def test_a_second_backward_gives_the_same(reset_after):
    xs, dhs, dh = arrays((N, T, D), (N, T, H), (N, H))
    layer = TimeGRU(*weights(reset_after), reset_after=reset_after)
    layer.forward(xs)
    first = [layer.backward(dhs, dh), layer.dh, *(grad.copy() for grad in layer.grads)]
    assert all(map(np.array_equal, [layer.backward(dhs, dh), layer.dh, *layer.grads], first))


def test_wrong_shapes_are_refused():
    layer = TimeGRU(*weights())
    with pytest.raises(ValueError, match=r"^TimeGRU: xs is .* wanted float64 of shape \(N, T, 4\)"):
        layer.forward(np.zeros((N, T, D + 1)))
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeGRU: dhs .* wanted float64 of shape \(2, 3, 5\)"):
        layer.backward(np.zeros((N, T + 1, H)))
    with pytest.raises(ValueError, match=r"^TimeGRU: dh is .* wanted float64 of shape \(2, 5\)"):
        layer.backward(np.zeros((N, T, H)), dh=np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=r"^GRU: h_prev is .* wanted float64 of shape \(2, 5\)"):
        GRU(*weights()).forward(np.zeros((N, D)), np.zeros((1, H)))
    with pytest.raises(ValueError, match=r"^TimeGRU: set_state needs a layer made with stateful=True"):
        layer.set_state(np.zeros((N, H)))


@both_variants
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs_give_finite_numbers_of_the_dtype(dtype, reset_after):
    layer = TimeGRU(*weights(reset_after, dtype=dtype), stateful=True, reset_after=reset_after)
    xs = np.where(arrays((N, T, D))[0] > 0, 1000, -1000).astype(dtype)
    results = [layer.forward(xs), layer.h, layer.backward(np.ones((N, T, H), dtype=dtype)), layer.dh, *layer.grads]
    assert all(np.isfinite(array).all() and array.dtype == dtype for array in results)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_blocks_are_split_along_the_last_axis(shape):
    a = np.broadcast_to(np.arange(6), (*shape, 6))
    assert [block.tolist() for block in split_blocks(a)] == [
        numpy.broadcast_to(pair, (*shape, 2)).tolist() for pair in ([0, 1], [2, 3], [4, 5])]
