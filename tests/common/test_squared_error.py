import numpy as np
import pytest

from common.squared_error import MeanSquaredError

Y, T = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.0, 4.0], [3.0, -4.0]])


def test_by_hand():
    layer = MeanSquaredError()
    assert layer.forward(Y, T) == (1 + 4 + 0 + 9) / 4
    assert np.array_equal(layer.backward(), [[0.5, -1], [0, 1.5]])


@pytest.mark.parametrize("dout", [3, 3.0, np.array(3.0)])
def test_the_upstream_gradient_counts(dout):
    layer = MeanSquaredError()
    layer.forward(Y, T)
    assert np.array_equal(layer.backward(dout), [[1.5, -3], [0, 4.5]])


def test_no_difference_no_gradient():
    layer = MeanSquaredError()
    assert layer.forward(Y, Y) == 0
    assert np.array_equal(layer.backward(), np.zeros_like(Y))


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 4)])
def test_float32_stays_float32_in_any_shape(shape):
    layer = MeanSquaredError()
    y = np.ones(shape, dtype=np.float32)
    assert layer.forward(y, 3 * y) == 4
    dy = layer.backward()
    assert dy.shape == shape and dy.dtype == np.float32
    np.testing.assert_allclose(dy, -4 / y.size, rtol=1e-6)


@pytest.mark.parametrize("t", [T[0], T[:, :1], T.T[None], T.astype(np.float32), T.astype(int), T.tolist()])
def test_targets_that_do_not_fit_are_refused(t):
    with pytest.raises(ValueError, match="MeanSquaredError: targets"):
        MeanSquaredError().forward(Y, t)


@pytest.mark.parametrize("y", [Y.astype(int), np.array(1.0), Y.tolist()])
def test_what_is_no_array_of_predictions_is_refused(y):
    with pytest.raises(ValueError, match="MeanSquaredError: y is"):
        MeanSquaredError().forward(y, y)


def test_backward_needs_a_forward():
    with pytest.raises(ValueError, match="backward needs a forward"):
        MeanSquaredError().backward()
