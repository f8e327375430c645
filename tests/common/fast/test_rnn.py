import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.fast.rnn import FastTimeRNN
from common.language_model.model import LanguageModel
from common.layers.rnn import TimeRNN


def weights(D, H, dtype):
    rng = np.random.default_rng(0)
    return [0.5 * rng.standard_normal(shape).astype(dtype) for shape in ((D, H), (H, H), (H,))]


def run(layer, xs, h, dhs, dh, lengths):
    layer.set_state(h)
    hs = layer.forward(xs, lengths)
    return [hs, layer.h, layer.backward(dhs, dh), layer.dh, *(grad.copy() for grad in layer.grads)]


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_it_equals_the_plain_layer_to_rounding(data, dtype):
    D, H = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    params = weights(D, H, dtype)
    plain, fast = TimeRNN(*params, stateful=True), FastTimeRNN(*params, stateful=True)
    for seed in range(2):
        N, T = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
        lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=N, max_size=N))
        rng = np.random.default_rng(seed)
        xs, dhs = (rng.standard_normal((N, T, size)).astype(dtype) for size in (D, H))
        h, dh = (data.draw(st.sampled_from([rng.standard_normal((N, H)).astype(dtype), None])) for _ in range(2))
        found, expected = (run(layer, xs, h, dhs, dh, lengths) for layer in (fast, plain))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            tolerance = 1e-12 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_it_carries_its_state_only_if_stateful():
    rng = np.random.default_rng(1)
    xs = rng.standard_normal((2, 6, 3))
    whole, parts, fresh = (FastTimeRNN(*weights(3, 4, np.float64), stateful) for stateful in (False, True, False))
    hs = whole.forward(xs)
    np.testing.assert_allclose(parts.forward(xs[:, :4]), hs[:, :4], rtol=1e-12)
    np.testing.assert_allclose(parts.forward(xs[:, 4:]), hs[:, 4:], rtol=1e-12)
    np.testing.assert_array_equal(fresh.forward(xs), hs)
    np.testing.assert_array_equal(fresh.forward(xs), hs)


@pytest.mark.parametrize("N, T", [(2, 5), (1, 5), (2, 1), (1, 1)])
def test_what_was_returned_is_never_written_to(N, T):
    layer = FastTimeRNN(*weights(3, 4, np.float64), stateful=True)
    rng = np.random.default_rng(1)
    xs, dhs, h = (rng.standard_normal(shape) for shape in ((N, T, 3), (N, T, 4), (N, 4)))
    kept = [xs, dhs, h, *run(layer, xs, h, dhs, h, None)]
    before = [array.copy() for array in kept]
    run(layer, -xs, -h, 2 * dhs, h, None)
    assert all(bool((array == copy).all()) for array, copy in zip(kept, before))


def test_a_second_backward_gives_the_same():
    layer = FastTimeRNN(*weights(3, 4, np.float64))
    rng = np.random.default_rng(1)
    layer.forward(rng.standard_normal((2, 5, 3)), [5, 3])
    dhs, dh = rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 4))
    first, second = ([layer.backward(dhs, dh), layer.dh, *(grad.copy() for grad in layer.grads)] for _ in range(2))
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


def test_wrong_use_is_named():
    layer = FastTimeRNN(*weights(3, 4, np.float64))
    with pytest.raises(ValueError, match=r"^FastTimeRNN: backward needs a forward"):
        layer.backward(np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match=r"^FastTimeRNN: xs is"):
        layer.forward(np.ones((2, 5, 4)))
    layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeRNN: dhs is"):
        layer.backward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeRNN: dh is"):
        layer.backward(np.ones((2, 5, 4)), np.ones((2, 3)))


def test_a_fast_model_takes_it_over_the_same_weights_where_phi_is_tanh():
    model = speed_up(SimpleRnnlm(9, 4, 5, seed=0))
    layer = model.layers[1]
    assert type(layer) is FastTimeRNN and layer.stateful
    assert all(one is other for one, other in zip(layer.params, model.params[1:4], strict=True))
    assert all(one is other for one, other in zip(layer.grads, model.grads[1:4], strict=True))
    for activation, kind in (("tanh", FastTimeRNN), ("relu", TimeRNN), ("sigmoid", TimeRNN)):
        model = LanguageModel(9)
        model.compose([TimeRNN(*weights(3, 4, np.float64), activation=activation), *SimpleRnnlm(9, 4, 4).layers[2:]])
        speed_up(model)
        assert type(model.layers[0]) is kind and not model.layers[0].stateful
