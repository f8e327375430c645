import math

import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.clip import clip_grads, global_norm, remove_duplicate, unique_params

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


def test_clipping_zero_gradients():
    grads = [np.zeros(3)]
    assert clip_grads(grads, 1.0) == 0
    assert not grads[0].any()


def test_the_norm_of_a_transposed_gradient():
    assert float(global_norm([np.arange(6.0).reshape(2, 3).T])) == pytest.approx(math.sqrt(55))
