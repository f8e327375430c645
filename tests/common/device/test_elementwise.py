import sys

import pytest
import strict_cupy
from any_device import np

from common.device.elementwise import elementwise
from common.functions import add_product
from common.np import np as backend

pytestmark = pytest.mark.usefixtures("device")


@elementwise
def double(x):
    """Return 2 x."""
    return 2 * x


@elementwise
def sum_and_product(x, y):
    return x + y, x * y


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


def test_without_out_the_function_is_what_it_was():
    x = numbers(2, 3)
    np.testing.assert_array_equal(double(x), x + x)
    total, product = sum_and_product(x, x + 1)
    np.testing.assert_array_equal(total, x + (x + 1))
    np.testing.assert_array_equal(product, x * (x + 1))
    assert double.__name__ == "double" and double.__doc__ == "Return 2 x."


def test_results_are_written_into_out_which_is_returned():
    x, y = numbers(2, 3), numbers(3)
    whole = np.zeros((2, 6))
    left, right = whole[:, :3], whole[:, 3:]
    found = sum_and_product(x, y, out=(left, right))
    assert found[0] is left and found[1] is right
    np.testing.assert_allclose(whole, np.concatenate((x + y, x * y), axis=1), rtol=1e-15)
    assert double(x, out=left) is left
    np.testing.assert_array_equal(whole[:, :3], x + x)
    np.testing.assert_allclose(right, x * y, rtol=1e-15)  # as it was


def test_any_function_has_a_kernel_whatever_its_name():
    square, x = elementwise(lambda x: x * x), numbers(2, 3)
    expected = x * x
    np.testing.assert_array_equal(square(x, out=x), expected)


def test_out_may_be_among_the_arguments():
    x, y = numbers(2, 3), numbers(3, 2).T.copy()
    expected = x + y, x * y
    sum_and_product(x, y, out=(y, x))
    np.testing.assert_allclose(y, expected[0], rtol=1e-15)
    np.testing.assert_allclose(x, expected[1], rtol=1e-15)


def test_there_must_be_an_array_for_each_result():
    x = numbers(2)
    with pytest.raises(ValueError, match="zip"):
        sum_and_product(x, x, out=(np.zeros(2),))


def test_add_product_adds_to_what_is_there():
    x, W, out = numbers(2, 3), numbers(4, 3).T, numbers(2, 4)
    expected = np.to_cpu(out) + np.to_cpu(x) @ np.to_cpu(W)
    add_product(x, W, out)
    np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_add_product_and_an_elementwise_function_are_one_launch_each_on_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    before = backend.backend
    backend.use("cupy")
    try:
        x, W, out = (backend.ones(shape) for shape in ((2, 3), (3, 4), (2, 4)))
        for call in (lambda: add_product(x, W, out), lambda: double(x, out=x)):
            call()  # compiles
            with strict_cupy.counting() as counts:
                call()
            assert (counts.launches, counts.copies) == (1, 0)
    finally:
        backend.use(before)
