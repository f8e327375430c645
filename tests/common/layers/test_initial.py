import numpy
import pytest
from any_device import np

from common.layers.initial import affine_weights, embedding_weight, normal, recurrent_weights, uniform

pytestmark = pytest.mark.usefixtures("device")

D, H, M = 4, 9, 6
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def by_hand(shapes_and_deviations, dtype):
    """Weights drawn one after the other from one generator, on the host."""
    rng = numpy.random.default_rng(3)
    return [(rng.standard_normal(shape) * std).astype(dtype) for shape, std in shapes_and_deviations]


def assert_drawn(weights, shapes_and_deviations, biases, dtype):
    """See that `weights` are arrays of the device in use: those drawn by hand, then zeros for the biases."""
    assert all(type(array) is np.ndarray and array.dtype == dtype for array in weights)
    drawn, rest = weights[:len(shapes_and_deviations)], weights[len(shapes_and_deviations):]
    for array, expected in zip(drawn, by_hand(shapes_and_deviations, dtype), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    assert [(array.shape, bool(array.any())) for array in rest] == [((size,), False) for size in biases]


@pytest.fixture(autouse=True)
def seeded(device):
    np.seed(3)


@both_dtypes
def test_normal(dtype):
    assert_drawn([normal((2, 3), 0.5, dtype)], [((2, 3), 0.5)], [], dtype)


@both_dtypes
def test_uniform(dtype):
    weights = uniform((5, 7), 0.25, dtype)
    assert type(weights) is np.ndarray and weights.dtype == dtype
    share = numpy.random.default_rng(3).random((5, 7))  # of the way from -0.25 to 0.25
    np.testing.assert_allclose(weights, (2 * share - 1) * 0.25, rtol=1e-5)


@both_dtypes
def test_an_embedding_has_deviation_0_01_whatever_its_size(dtype):
    assert_drawn([embedding_weight(M, D, dtype)], [((M, D), 0.01)], [], dtype)


@both_dtypes
def test_an_affine_layer_has_the_deviation_of_its_inputs(dtype):
    assert_drawn(affine_weights(H, M, dtype), [((H, M), 1 / 3)], [M], dtype)


@both_dtypes
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_a_recurrent_layer_has_the_deviations_of_its_inputs_and_of_its_state(gates, dtype):
    shapes_and_deviations = [((D, gates * H), 1 / 2), ((H, gates * H), 1 / 3)]
    assert_drawn(recurrent_weights(D, H, gates, dtype), shapes_and_deviations, [gates * H], dtype)
