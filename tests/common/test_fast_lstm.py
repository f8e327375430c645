import pytest
from any_device import np
from hypothesis import given, settings
from hypothesis import strategies as st

from ch_lstm.better_rnnlm import BetterRnnlm
from common import fast_lstm
from common.fast_lstm import FastTimeLSTM
from common.lstm import TimeLSTM

pytestmark = pytest.mark.usefixtures("device")


def weights(D, H, dtype):
    rng = np.random.default_rng(0)
    return [0.5 * rng.standard_normal(shape).astype(dtype) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]


def run(layer, xs, states, dhs, dstates, lengths):
    layer.set_state(*states)
    hs = layer.forward(xs, lengths)
    final = list(layer.state)
    return [hs, *final, layer.backward(dhs, *dstates), layer.dh, layer.dc, *(grad.copy() for grad in layer.grads)]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_it_equals_the_plain_layer_to_rounding(data, dtype):
    D, H = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    params = weights(D, H, dtype)
    plain, fast = TimeLSTM(*params, stateful=True), FastTimeLSTM(*params, stateful=True)
    for seed in range(2):  # the second time in buffers that are there already
        N, T = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
        lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=N, max_size=N))
        rng = np.random.default_rng(seed)
        xs, dhs = (rng.standard_normal((N, T, size)).astype(dtype) for size in (D, H))
        h, c, dh, dc = (rng.standard_normal((N, H)).astype(dtype) for _ in range(4))
        found, expected = (run(layer, xs, (h, c), dhs, (dh, dc), lengths) for layer in (fast, plain))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            tolerance = 1e-12 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("N, T", [(2, 5), (1, 5), (2, 1), (1, 1)])
def test_what_was_returned_is_never_written_to(N, T):
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    rng = np.random.default_rng(1)
    xs, dhs, h, c = (rng.standard_normal(shape) for shape in ((N, T, 3), (N, T, 4), (N, 4), (N, 4)))
    kept = run(layer, xs, (h, c), dhs, (None, None), None)
    before = [array.copy() for array in kept]
    run(layer, -xs, (c, h), 2 * dhs, (h, c), None)
    assert all(bool((array == copy).all()) for array, copy in zip(kept, before))


@pytest.mark.parametrize("tile", [1, 40, 10**6])
def test_tiles_change_nothing(tile, monkeypatch):
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    rng = np.random.default_rng(1)
    xs, dhs = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 4))
    expected = run(layer, xs, (None, None), dhs, (None, None), [2, 5])
    monkeypatch.setattr(fast_lstm, "TILE", tile)
    for one, other in zip(run(layer, xs, (None, None), dhs, (None, None), [2, 5]), expected):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_second_backward_raises_and_a_refused_one_uses_up_nothing():
    layer = FastTimeLSTM(*weights(3, 4, np.float64))
    layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="^FastTimeLSTM: dhs is"):
        layer.backward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="^FastTimeLSTM: dc is"):
        layer.backward(np.ones((2, 5, 4)), dc=np.ones((2, 3)))
    layer.backward(np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match="^FastTimeLSTM: backward needs a forward"):
        layer.backward(np.ones((2, 5, 4)))


def test_a_refused_forward_leaves_nothing_that_backward_could_take_for_its_own():
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="^FastTimeLSTM: the carried state h is for a batch of 2, the input has 1"):
        layer.forward(np.ones((1, 5, 3)))
    with pytest.raises(ValueError, match="^FastTimeLSTM: backward needs a forward"):
        layer.backward(np.ones((2, 5, 4)))


def test_extreme_inputs_give_finite_numbers():
    layer = FastTimeLSTM(*weights(3, 4, np.float32))
    xs = np.full((2, 5, 3), 1000, dtype=np.float32)
    xs[0] = -1000
    assert np.isfinite(layer.forward(xs)).all()
    assert np.isfinite(layer.backward(np.ones((2, 5, 4), dtype=np.float32))).all()
    assert all(bool(np.isfinite(grad).all()) for grad in layer.grads)


def test_a_fast_model_takes_it_over_the_same_weights():
    plain, fast = BetterRnnlm(9, 4, 4, seed=0), BetterRnnlm(9, 4, 4, seed=0, fast=True)
    kind = FastTimeLSTM if np.backend == "numpy" else TimeLSTM
    assert [type(layer) for layer in fast.layers].count(kind) == 2
    for one, other in zip(plain.params, fast.params, strict=True):
        np.testing.assert_array_equal(one, other)
    assert fast.layers[2].params[0] is fast.params[1] and fast.layers[2].grads[0] is fast.grads[1]
    assert fast.layers[2].stateful
