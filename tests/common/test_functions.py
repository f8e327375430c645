import decimal
import math

import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.functions import cross_entropy_error, relu, sigmoid, softmax

pytestmark = pytest.mark.usefixtures("device")

numbers = st.floats(-1000, 1000)
DTYPES = [np.float32, np.float64]


@given(numbers)
def test_sigmoid_keeps_its_relative_precision(x):
    exact = 1 / (1 + decimal.Decimal(-x).exp())
    got = sigmoid(np.array([x]))[0]
    if exact > np.finfo(float).tiny:
        assert abs(decimal.Decimal(float(got)) / exact - 1) < 1e-15
    else:
        assert 0 <= got <= np.finfo(float).tiny


def test_sigmoid_far_out():
    x = np.array([-np.inf, -1000, -700, 0, 700, 1000, np.inf])
    np.testing.assert_allclose(sigmoid(x), [0, 0, math.exp(-700.0), 0.5, 1, 1, 1], rtol=1e-15)
    assert float(sigmoid(np.array([-80], dtype=np.float32))[0]) == pytest.approx(math.exp(-80.0), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [sigmoid, relu, softmax])
def test_functions_keep_the_dtype_and_their_argument(function, dtype):
    x = np.array([[-1, 2], [3, -4]], dtype=dtype)
    before = x.copy()
    assert function(x).dtype == dtype
    assert np.array_equal(x, before)


def test_relu():
    assert relu(np.array([-2.0, 0.0, 3.0])).tolist() == [0, 0, 3]


@given(st.lists(numbers, min_size=1, max_size=6))
def test_softmax_is_a_distribution_that_no_shift_changes(row):
    x = np.array(row)
    y = softmax(x)
    assert (y >= 0).all() and float(y.sum()) == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(softmax(x + 7), y, rtol=1e-9, atol=1e-300)


def test_softmax_formula_in_one_two_and_three_dimensions():
    x = np.random.default_rng(0).standard_normal((2, 3, 5))
    expected = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(softmax(x), expected, rtol=1e-14)
    np.testing.assert_allclose(softmax(x[0]), expected[0], rtol=1e-14)
    np.testing.assert_allclose(softmax(x[0, 0]), expected[0, 0], rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extreme_scores(dtype):
    x = np.array([[1000, -1000, 0], [-1000, -1000, -1000]], dtype=dtype)
    np.testing.assert_allclose(softmax(x), [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_cross_entropy_of_ids_one_hot_and_a_single_row():
    y = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    expected = -(math.log(0.7) + math.log(0.25)) / 2
    assert float(cross_entropy_error(y, np.array([2, 1]))) == pytest.approx(expected, rel=1e-14)
    assert float(cross_entropy_error(y, np.array([[0, 0, 1], [0, 1, 0]]))) == pytest.approx(expected, rel=1e-14)
    assert float(cross_entropy_error(y[0], np.array(2))) == pytest.approx(-math.log(0.7), rel=1e-14)
    assert float(cross_entropy_error(y[0], np.array([0, 0, 1]))) == pytest.approx(-math.log(0.7), rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_a_zero_probability_is_finite(dtype):
    loss = cross_entropy_error(np.array([[0, 1]], dtype=dtype), np.array([0]))
    assert float(loss) == pytest.approx(-math.log(np.finfo(dtype).tiny), rel=1e-6)


@pytest.mark.parametrize("t, message", [
    (numpy.array([[0.3, 0.7, 0], [0, 1, 0]]), r"targets of shape \(2, 3\) are not one-hot, wanted a single 1 and"),
    (numpy.array([[0, 1, 1], [0, 1, 0]]), "targets .* are not one-hot"),
    (numpy.array([[0, 0, 0], [0, 1, 0]]), "targets .* are not one-hot"),
    (numpy.array([[0, 2, 0], [0, 1, 0]]), "targets .* are not one-hot"),
    (numpy.array([[numpy.nan, 1, 0], [0, 1, 0]]), "targets .* are not one-hot"),
    (numpy.array([1.0, 2.0]), r"targets are float64 of shape \(2,\), wanted one-hot rows of shape \(2, 3\), or"),
    (numpy.array([1, 2, 0]), r"targets are int64 of shape \(3,\)"),
    (numpy.array([1, 2, 0, 1, 2, 0]), r"targets are int64 of shape \(6,\)"),
    (numpy.array([1, 3]), "targets go from 1 to 3, wanted 0 to 2"),
    (numpy.array([1, -1]), "targets go from -1 to 1, wanted 0 to 2"),
])
def test_cross_entropy_refuses_targets_of_neither_form(t, message):
    with pytest.raises(ValueError, match=f"^cross_entropy_error: {message}"):
        cross_entropy_error(np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]), np.to_device(t))


def test_cross_entropy_of_no_row_is_refused():
    with pytest.raises(ValueError, match=r"^cross_entropy_error: the probabilities are a single number"):
        cross_entropy_error(np.ones(()), np.zeros((), dtype=int))
    with pytest.raises(ValueError, match=r"^cross_entropy_error: targets are int64 of shape \(0,\)"):
        cross_entropy_error(np.ones((0, 3)), np.zeros(0, dtype=int))


def test_cross_entropy_of_one_hot_rows_with_different_targets():
    y = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    expected = -(math.log(0.25) + math.log(0.1)) / 2
    assert float(cross_entropy_error(y, np.array([[0, 1, 0], [1, 0, 0]]))) == pytest.approx(expected, rel=1e-12)
