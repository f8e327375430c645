import contextlib
import fractions
import math

import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.np import np as shim
from common.optimizer import SGD
from common.trainer import training_step
from common.training.clip import clip_grads, global_norm, how_shared, memory_bounds, remove_duplicate, unique_params

pytestmark = pytest.mark.usefixtures("device")

RNG = np.random.default_rng(0)


def test_the_same_array_is_merged():
    W, b = RNG.standard_normal((3, 4)), RNG.standard_normal(4)
    params, grads = [W, b, W], [np.ones((3, 4)), np.ones(4), np.full((3, 4), 2.0)]
    kept, sums = remove_duplicate(params, grads)
    assert len(kept) == 2 and kept[0] is W and kept[1] is b
    assert (sums[0] == 3).all() and (sums[1] == 1).all()
    assert sums[0] is grads[0]  # added up in place


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (1, 4)])
def test_a_transposed_view_is_merged(shape):
    W, g, h = (RNG.standard_normal(shape) for _ in range(3))
    for params, grads in (([W, W.T], [g.copy(), h.T.copy()]), ([W.T, W], [g.T.copy(), h.copy()])):
        kept, sums = remove_duplicate(params, grads)
        assert len(kept) == 1 and kept[0] is params[0]
        np.testing.assert_allclose(sums[0], (g + h) if params[0] is W else (g + h).T)


def test_three_owners():
    W, g = RNG.standard_normal((3, 4)), np.ones((3, 4))
    kept, sums = remove_duplicate([W, W.T, W[:]], [g.copy(), g.T.copy(), g.copy()])
    assert len(kept) == 1 and (sums[0] == 3).all()


def test_the_lists_stay_as_they_are():
    W = np.ones((3, 4))
    params, grads = [W, W.T], [np.ones((3, 4)), np.ones((4, 3))]
    before = [*params, *grads]
    remove_duplicate(params, grads)
    assert len(params) == len(grads) == 2
    assert all(now is then for now, then in zip([*params, *grads], before))


def test_equal_numbers_in_different_memory_stay_two():
    params = [np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4)).T]
    kept, grads = remove_duplicate(params, [np.ones((4, 4)) for _ in params])
    assert len(kept) == 3 and all((grad == 1).all() for grad in grads)
    assert len(unique_params(params)) == 3


def test_neighbours_in_one_block_stay_two():
    block = np.zeros((6, 4))
    kept, _ = remove_duplicate([block[:3], block[3:]], [np.ones((3, 4)), np.ones((3, 4))])
    assert len(kept) == 2
    kept, _ = remove_duplicate([block[:, :2], block[:, 2:]], [np.ones((6, 2)), np.ones((6, 2))])
    assert len(kept) == 2  # interleaved, and still not one element in common


@pytest.mark.parametrize("one, other", [
    (lambda W: W[:2], lambda W: W[2:]),
    (lambda W: W[1::-1], lambda W: W[2:]),        # backwards to the first row, from the third on
    (lambda W: W[:2], lambda W: W[:1:-1]),
    (lambda W: W[1::-1], lambda W: W[:1:-1]),
    (lambda W: W[:0], lambda W: W),               # no element at all
], ids=["rows", "first backwards", "last backwards", "both backwards", "empty"])
def test_views_side_by_side_are_told_apart_by_their_ends_alone(one, other, monkeypatch):
    """To compare the elements a GPU would have to be waited for."""
    W = np.zeros((4, 4))
    with monkeypatch.context() as patch:
        patch.delattr(shim, "shares_memory")
        assert how_shared(one(W), other(W)) is how_shared(other(W), one(W)) is None


def test_interleaved_views_share_nothing():
    W = np.zeros((4, 4))
    assert how_shared(W[::2], W[1::2]) is how_shared(W[:, ::-2], W[:, -2::-2]) is None


@pytest.mark.parametrize("view", [lambda W: W[::-1], lambda W: W[:, ::-1], lambda W: W[2:0:-1, ::2]],
                         ids=["rows", "columns", "some"])
def test_a_view_that_goes_backwards_can_be_shared_too(view):
    W = np.zeros((4, 4))
    assert how_shared(view(W), view(W)) == "same"
    assert how_shared(view(W), view(W).T) == how_shared(view(W).T, view(W)) == "transposed"


@pytest.mark.parametrize("one, other", [
    (lambda W: W[2::-1], lambda W: W[:1]),                          # both hold row 0, the end of the first
    (lambda W: W[2::-1], lambda W: W[2:]),                          # row 2, its beginning
    (lambda W: W[2:0:-1], lambda W: W[:2]),                         # row 1
    (lambda W: W[::-1], lambda W: W[:, ::-1]),
    (lambda W: W[::-1], lambda W: W[::-1][:2]),                     # from the same address
    (lambda W: W[:2, :2], lambda W: W.reshape(-1)[:4].reshape(2, 2)),  # one shape, other strides
    (lambda W: W[:2, :3], lambda W: W.reshape(-1)[:6].reshape(3, 2)),  # shape reversed, strides not
    (lambda W: W[:2, :3], lambda W: W.T[:2, :2]),                   # strides reversed, shape not
    (lambda W: W, lambda W: W.view(np.int64)),                      # all but the dtype
    (lambda W: W.T, lambda W: W.view(np.int64)),
])
def test_views_that_overlap_in_part_are_refused(one, other):
    W = np.zeros((4, 4))
    for a, b in ((one(W), other(W)), (other(W), one(W))):
        with pytest.raises(ValueError, match="overlap in memory; weights can be shared whole or as a transposed view"):
            how_shared(a, b)


@pytest.mark.parametrize("view, first, end", [  # in bytes from the beginning of 6 rows of 4 numbers of 8 bytes
    (lambda W: W, 0, 192), (lambda W: W.T, 0, 192), (lambda W: W[1:3], 32, 96), (lambda W: W[:, 1:3], 8, 184),
    (lambda W: W[:, 2], 16, 184), (lambda W: W[5:, 3:], 184, 192), (lambda W: W[::-1], 0, 192),
    (lambda W: W[3:0:-1], 32, 128), (lambda W: W[4:1:-2, ::-1], 64, 160), (lambda W: W[:, 3:1:-1], 16, 192),
    (lambda W: W.view(np.int8)[0, :2], 0, 2), (lambda W: W.view(np.int8)[0, 1::-1], 0, 2),
])
def test_memory_bounds(view, first, end):
    W = np.zeros((6, 4))
    start, _ = memory_bounds(W)
    assert memory_bounds(view(W)) == (start + first, start + end)


@pytest.mark.parametrize("view", [
    lambda W: W[:2], lambda W: W[1:], lambda W: W[::-1], lambda W: W.reshape(-1), lambda W: W.reshape(2, 8),
    lambda W: W.view(np.float32),
], ids=["head", "tail", "reversed", "flat", "reshaped", "other dtype"])
def test_any_other_overlap_is_refused(view):
    W = np.zeros((4, 4))
    for pair in ([W, view(W)], [view(W), W]):
        with pytest.raises(ValueError, match=r"two parameters of shapes \(.*\) and \(.*\) overlap in memory"):
            remove_duplicate(pair, [np.zeros_like(param) for param in pair])
        with pytest.raises(ValueError, match="overlap"):
            unique_params(pair)


def test_unique_params_keeps_the_first_of_each():
    W, b = np.zeros((3, 4)), np.zeros(4)
    kept = unique_params([W, b, W.T, b])
    assert len(kept) == 2 and kept[0] is W and kept[1] is b


def test_params_and_grads_must_be_as_many():
    with pytest.raises(ValueError):
        remove_duplicate([np.zeros(2)], [])


lists = st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=4), min_size=1, max_size=3)


@given(lists, st.floats(0.1, 50))
def test_clipping_follows_the_formula_in_place(numbers, max_norm):
    grads = [np.array(row) for row in numbers]
    before, ids = [grad.copy() for grad in grads], [id(grad) for grad in grads]
    norm = np.sqrt(sum((grad**2).sum() for grad in before))
    returned = clip_grads(grads, max_norm)
    assert float(returned) == pytest.approx(float(norm))
    assert [id(grad) for grad in grads] == ids
    rate = max_norm / (norm + 1e-6)
    for grad, old in zip(grads, before):
        if rate >= 1:
            assert np.array_equal(grad, old)
        else:
            np.testing.assert_allclose(grad, rate * old, rtol=1e-12)
    assert global_norm(grads) <= max_norm * (1 + 1e-12) or rate >= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_keeps_the_dtype(dtype):
    grads = [np.full((2, 3), 3, dtype=dtype), np.full(5, 4, dtype=dtype).T]
    norm = clip_grads(grads, 1.0)
    assert norm.dtype == dtype and all(grad.dtype == dtype for grad in grads)
    assert float(norm) == pytest.approx(math.sqrt(6 * 9 + 5 * 16), rel=1e-6)


def test_clipping_half_precision():
    grads = [np.full((2, 3), 300, dtype=np.float16)]  # its square is too large for float16
    assert float(clip_grads(grads, 1.0)) == pytest.approx(300 * math.sqrt(6), rel=1e-3)
    assert grads[0].dtype == np.float16
    np.testing.assert_allclose(grads[0], numpy.full((2, 3), 1 / math.sqrt(6)), rtol=2e-3)


def test_clipping_nothing():
    assert float(clip_grads([], 1.0)) == float(clip_grads([np.zeros((0, 3))], 1.0)) == 0


def test_clipping_zero_gradients():
    grads = [np.zeros(3)]
    assert clip_grads(grads, 1.0) == 0
    assert not grads[0].any()


def test_the_norm_of_a_transposed_gradient():
    assert float(global_norm([np.arange(6.0).reshape(2, 3).T])) == pytest.approx(math.sqrt(55))


@pytest.mark.parametrize("max_norm", [0, 0.0, -1.0, -math.inf, math.nan, np.float32(-1), np.float64(math.nan)])
def test_a_norm_that_is_not_above_0_is_refused(max_norm):
    grads = [np.ones(3)]
    with pytest.raises(ValueError, match=r"^clip_grads: max_norm is .*, wanted a number above 0$"):
        clip_grads(grads, max_norm)
    assert (grads[0] == 1).all()


def test_an_infinite_norm_clips_nothing():
    grads = [np.array([1e30, -1.0])]
    clip_grads(grads, math.inf)
    assert grads[0].tolist() == [1e30, -1.0]


def test_a_norm_of_numpy_gives_the_bits_of_a_python_float():
    grads = [RNG.standard_normal((40, 50)).astype(np.float32), RNG.standard_normal(7).astype(np.float32)]
    (one, norm), (other, other_norm) = ([copies, clip_grads(copies, max_norm)] for copies, max_norm in (
        ([grad.copy() for grad in grads], kind(0.3)) for kind in (float, numpy.float64)))
    assert float(norm) == float(other_norm) and norm.dtype == other_norm.dtype == np.float32
    assert all(np.array_equal(grad, expected) for grad, expected in zip(other, one, strict=True))


def exact_norm(grads):
    """In integers of any size, so that nothing overflows or is rounded before the root."""
    total = sum(fractions.Fraction(number)**2 for grad in grads for number in np.to_cpu(grad).ravel().tolist())
    scale = 2**2000  # a root of whole numbers has no range
    return float(fractions.Fraction(math.isqrt(int(total * scale**2)), scale))


@pytest.mark.parametrize("dtype, sizes", [(np.float32, [1e-30, 1e-23, 1e18, 1e20, 3e37]),
                                          (np.float64, [1e-200, 1e-165, 1e153, 1e160, 1e307])])
def test_a_norm_whose_square_the_dtype_cannot_hold(dtype, sizes):
    with np.errstate(all="raise") if np.backend == "numpy" else contextlib.nullcontext():
        for size in sizes:
            grads = [(size * RNG.standard_normal(shape)).astype(dtype) for shape in ((4, 5), (3,))]
            grads[0] = np.ascontiguousarray(grads[0].T).T
            norm = global_norm(grads)
            assert norm.dtype == dtype and float(norm) == pytest.approx(exact_norm(grads), rel=1e-5, abs=0)


def test_gradients_of_a_huge_norm_are_clipped_and_not_lost():
    before = [np.array([3e30, -4e25], dtype=np.float32), np.array([[4e30]], dtype=np.float32)]
    grads = [grad.copy() for grad in before]
    assert float(clip_grads(grads, 2.5)) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(grads[0], numpy.array([1.5, -2e-5]), rtol=1e-5)
    np.testing.assert_allclose(grads[1], numpy.array([[2.0]]), rtol=1e-5)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_stays_seen(wrong):
    grads = [np.array([1.0, wrong]), np.ones(3)]
    norm = float(global_norm(grads))
    assert math.isnan(norm) if math.isnan(wrong) else norm == math.inf
    with numpy.errstate(invalid="ignore"):
        clip_grads(grads, 1.0)
    assert np.isnan(grads[0]).any()


def test_an_ordinary_norm_is_that_of_the_plain_formula(device):
    if device == "cpu":
        grads = [RNG.standard_normal(shape).astype(np.float32) for shape in ((40, 50), (7,))]
        assert global_norm(grads) == np.sqrt(sum(np.vdot(grad, grad) for grad in grads))


def test_gradients_within_the_norm_are_not_written_to(device):
    if device == "cpu":  # a GPU would have to be waited for to know
        grad = np.full(4, 0.5)
        grad.flags.writeable = False
        assert clip_grads([grad], 1.5) == 1


@pytest.mark.parametrize("second, max_grad, expected", [
    (4.0, 1.0, -1.0),   # 3 + 4 = 7, clipped to 1. Clipped before: (3 + 4) / 5
    (-4.0, 2.0, 1.0),   # 3 - 4 = -1, within the norm. Clipped before: (3 - 4) * 2 / 5
])
def test_the_gradients_of_shared_weights_are_added_before_they_are_clipped(second, max_grad, expected):
    class Tied:
        """Two layers over one W (1, 2), the second transposed, whose gradients are (3, 0) and (second, 0)."""

        def __init__(self):
            W = np.zeros((1, 2))
            self.params, self.grads = [W, W.T], [np.zeros((1, 2)), np.zeros((2, 1))]

        def forward(self, xs, ts):
            return 0.0

        def backward(self):
            self.grads[0][...], self.grads[1][...] = np.array([[3.0, 0.0]]), np.array([[second], [0.0]])

    model = Tied()
    training_step(model, SGD(1.0), None, None, max_grad)
    np.testing.assert_allclose(model.params[0], [[expected, 0]], rtol=1e-6)


@pytest.mark.parametrize("dtype, number, count", [("f4", 3e38, 4), ("f2", 1000, 5000), ("f4", 3e-23, 1)])
def test_a_norm_that_the_dtype_cannot_hold(dtype, number, count):
    if shim.backend != "numpy":
        pytest.skip("cuBLAS returns a norm in the dtype of its array")
    grads = [numpy.full(count, number, dtype)]
    norm = float(numpy.linalg.norm(grads[0].astype(float)))
    assert float(global_norm(grads)) == pytest.approx(norm, rel=1e-3)
    clip_grads(grads, 1.0)
    assert float(numpy.linalg.norm(grads[0].astype(float))) == pytest.approx(min(norm, 1.0), rel=2e-2)
