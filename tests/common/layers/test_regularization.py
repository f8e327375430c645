import numpy
import pytest
from any_device import np

from common.layers.regularization import TimeLockedDropout

pytestmark = pytest.mark.usefixtures("device")

N, T, D, V = 5, 4, 30, 11
DTYPES = [np.float32, np.float64]
RNG = np.random.default_rng(0)


def is_constant_along(array, axis):
    """Whether a copy of the first entry along an axis gives the whole array."""
    array = np.to_cpu(array)
    return bool((array == array.take([0], axis=axis)).all())


# --- locked dropout

@pytest.mark.parametrize("dtype", DTYPES)
def test_a_locked_mask_is_the_same_at_all_steps_and_another_for_each_sequence(dtype):
    mask = TimeLockedDropout(0.2).forward(np.ones((N, T, D), dtype=dtype))
    assert mask.dtype == dtype and mask.shape == (N, T, D)
    assert np.unique(mask).tolist() == [0, dtype(1.25)]
    assert is_constant_along(mask, 1)
    assert not is_constant_along(mask, 0) and not is_constant_along(mask, 2)


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.75])
def test_a_locked_mask_drops_as_many_units_as_its_ratio_says_and_keeps_the_mean(ratio):
    np.seed(1)
    mask = TimeLockedDropout(ratio).forward(np.ones((400, 1, 100)))
    assert float((mask == 0).mean()) == pytest.approx(ratio, abs=0.02)
    assert float(mask.mean()) == pytest.approx(1, abs=0.05)


def test_locked_dropout_multiplies_the_input_and_the_gradient_by_one_mask():
    layer, (xs, dout) = TimeLockedDropout(0.5), RNG.standard_normal((2, N, T, D))
    np.seed(2)
    ys = layer.forward(xs)
    np.seed(2)
    mask = numpy.where(np.to_cpu(np.rng.random((N, 1, D), dtype=np.float64)) < 0.5, 0, 2)  # (N, 1, D)
    np.testing.assert_array_equal(ys, np.to_cpu(xs) * mask)
    np.testing.assert_array_equal(layer.backward(dout), np.to_cpu(dout) * mask)


def test_each_forward_draws_a_new_locked_mask_and_the_seed_repeats_it():
    layer, xs = TimeLockedDropout(0.5), np.ones((N, T, D))
    np.seed(3)
    first, other = layer.forward(xs), layer.forward(xs)
    np.seed(3)
    assert np.array_equal(layer.forward(xs), first) and not np.array_equal(first, other)


def test_without_training_locked_dropout_returns_its_input_and_draws_nothing():
    layer, xs = TimeLockedDropout(0.5), RNG.standard_normal((N, T, D))
    layer.forward(xs)
    layer.train_flg = False
    before = np.random_state()
    same = layer.forward(xs)
    assert np.array_equal(same, xs) and not np.shares_memory(same, xs)
    assert np.array_equal(layer.backward(xs), xs)
    assert np.random_state() == before


def test_wrong_use_of_locked_dropout_is_refused():
    for ratio in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=rf"^dropout_ratio is {ratio}, wanted a number in \[0, 1\)$"):
            TimeLockedDropout(ratio)
    with pytest.raises(ValueError, match=r"^TimeLockedDropout: xs is float64 of shape \(2, 3\), wanted .* \(N, T, D\)"):
        TimeLockedDropout().forward(np.ones((2, 3)))
    assert repr(TimeLockedDropout(0.25)) == "TimeLockedDropout(0.25)"
