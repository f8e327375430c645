import pytest
from any_device import np

from common.layers.losses import MeanSquaredError

pytestmark = pytest.mark.usefixtures("device")


def predictions():
    return np.array([[1.0, 2.0], [3.0, -1.0]])


def targets():
    return np.array([[0.0, 4.0], [3.0, -4.0]])


def test_by_hand():
    layer = MeanSquaredError()
    assert layer.forward(predictions(), targets()) == (1 + 4 + 0 + 9) / 4
    assert layer.backward().tolist() == [[0.5, -1], [0, 1.5]]


@pytest.mark.parametrize("make", [int, float, lambda number: np.array(float(number))])
def test_the_upstream_gradient_counts(make):
    layer = MeanSquaredError()
    layer.forward(predictions(), targets())
    assert layer.backward(make(3)).tolist() == [[1.5, -3], [0, 4.5]]


def test_no_difference_no_gradient():
    layer, y = MeanSquaredError(), predictions()
    assert layer.forward(y, y) == 0
    assert np.array_equal(layer.backward(), np.zeros_like(y))


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 4)])
def test_float32_stays_float32_in_any_shape(shape):
    layer = MeanSquaredError()
    y = np.ones(shape, dtype=np.float32)
    assert layer.forward(y, 3 * y) == 4
    dy = layer.backward()
    assert dy.shape == shape and dy.dtype == np.float32
    np.testing.assert_allclose(dy, -4 / y.size, rtol=1e-6)


@pytest.mark.parametrize("spoil", [
    lambda t: t[0], lambda t: t[:, :1], lambda t: t.T[None], lambda t: t.astype(np.float32), lambda t: t.astype(int),
    lambda t: t.tolist()])
def test_targets_that_do_not_fit_are_refused(spoil):
    with pytest.raises(ValueError, match="MeanSquaredError: targets"):
        MeanSquaredError().forward(predictions(), spoil(targets()))


@pytest.mark.parametrize("spoil", [lambda y: y.astype(int), lambda y: np.array(1.0), lambda y: y.tolist()])
def test_what_is_no_array_of_predictions_is_refused(spoil):
    y = spoil(predictions())
    with pytest.raises(ValueError, match="MeanSquaredError: y is"):
        MeanSquaredError().forward(y, y)


def test_backward_needs_a_forward():
    with pytest.raises(ValueError, match="backward needs a forward"):
        MeanSquaredError().backward()
