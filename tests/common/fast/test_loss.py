import pytest
from any_device import np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.fast import loss as fused_loss
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.layers.time import TimeAffine, TimeSoftmaxWithLoss

pytestmark = pytest.mark.usefixtures("device")

N, T, H, V = 4, 6, 5, 7


def drawn(N=N, T=T, dtype=np.float64, ignored=0.2, scale=1.0):
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((H, V)).astype(dtype), rng.standard_normal(V).astype(dtype)
    xs = (scale * rng.standard_normal((N, T, H))).astype(dtype)
    ts = np.where(rng.random((N, T)) < ignored, -1, rng.integers(0, V, (N, T)))
    return W, b, xs, ts


def plain_pair(W, b, xs, ts, dout):
    affine, loss = TimeAffine(W, b), TimeSoftmaxWithLoss()
    nats = loss.forward(affine.forward(xs), ts)
    return nats, affine.backward(loss.backward(dout)), *affine.grads


def fused(W, b, xs, ts, dout):
    layer = TimeAffineSoftmaxWithLoss(W, b)
    for grad in layer.grads:
        grad[...] = 9
    return layer.forward(xs, ts), layer.backward(dout), *layer.grads


def assert_equal(W, b, xs, ts, dout=1, rtol=1e-11, atol=1e-14):
    for got, expected in zip(fused(W, b, xs, ts, dout), plain_pair(W, b, xs, ts, dout)):
        assert got.dtype == expected.dtype == xs.dtype
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dout", [1, 1.0, 0, 2, 2.5, -0.5])
def test_it_equals_the_plain_pair_for_every_upstream_gradient(dout):
    assert_equal(*drawn(), dout=dout)


def test_the_upstream_gradient_may_be_an_array():
    assert_equal(*drawn(), dout=np.array(2.5))


def test_in_float32_it_equals_the_plain_pair_but_for_rounding():
    assert_equal(*drawn(dtype=np.float32), rtol=1e-4, atol=1e-6)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 60), st.integers(1, 30), st.integers(1, 4), st.booleans())
def test_any_number_of_blocks_tiles_and_workers(N, T, block, tile, workers, transposed):
    W, *others = drawn(N, T)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_loss, "BLOCK", block)
        patch.setattr(fused_loss, "LEAST_ROWS", 1)
        patch.setattr(fused_loss, "TILE", tile)
        patch.setattr(fused_loss, "worker_count", lambda: workers)
        assert_equal(np.ascontiguousarray(W.T).T if transposed else W, *others)


@pytest.mark.parametrize("block, least, rows", [
    (3 * V, 1, 3), (4 * V - 1, 1, 3), (1, 1, 1), (3 * V, 2, 3), (3 * V, 5, 5)])
def test_the_block_size_bounds_the_memory(block, least, rows, monkeypatch):
    monkeypatch.setattr(fused_loss, "BLOCK", block)
    monkeypatch.setattr(fused_loss, "LEAST_ROWS", least)
    W, b, xs, ts = drawn()
    layer = TimeAffineSoftmaxWithLoss(W, b)
    layer.forward(xs, ts)
    assert layer.buffers.memory["scores"].size == rows * V


@pytest.mark.parametrize("tile, workers, rows", [
    (3 * V, 1, [[3, 3, 3, 1]]),
    (4 * V - 1, 3, [[3], [3], [3, 1]]),
    (1, 2, [[1] * 5, [1] * 5]),
    (V, 20, [[1]] * 10),
])
def test_a_block_is_shared_out_to_the_workers_and_cut_into_tiles(tile, workers, rows, monkeypatch):
    shares = [] if np.backend == "numpy" else [[]]

    class Watched(TimeAffineSoftmaxWithLoss):
        def _rows_loss(self, *arguments):
            shares.append([])
            super()._rows_loss(*arguments)

        def _tile_loss(self, scores, *others):
            shares[-1].append(len(scores))
            super()._tile_loss(scores, *others)

    monkeypatch.setattr(fused_loss, "TILE", tile)
    monkeypatch.setattr(fused_loss, "worker_count", lambda: workers)
    monkeypatch.setattr(fused_loss, "run_parallel", lambda function, *arguments: [function(*a) for a in arguments])
    W, b, xs, ts = drawn(N=2, T=5)
    Watched(W, b).forward(xs, ts)
    assert shares == (rows if np.backend == "numpy" else [[10]])  # a GPU takes the block as a whole


def test_a_transposed_weight():
    W, b, xs, ts = drawn()
    assert_equal(np.ascontiguousarray(W.T).T, b, xs, ts)


def test_inputs_of_any_strides():
    W, b, xs, ts = drawn()
    assert_equal(W[::-1, ::-1], b[::-1], np.ascontiguousarray(xs.T).T, np.ascontiguousarray(ts.T).T)


def test_a_single_target_that_counts():
    W, b, xs, ts = drawn(ignored=2.0)
    ts[1, 2] = 3
    assert_equal(W, b, xs, ts)


def test_a_vocabulary_of_one_word():
    W, b, xs, ts = drawn()
    assert_equal(W[:, :1], b[:1], xs, np.minimum(ts, 0))


def test_all_targets_ignored():
    W, b, xs, ts = drawn(ignored=2.0)
    results = fused(W, b, xs, ts, 1)
    assert results[0] == 0
    assert not any(gradient.any() for gradient in results[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores(dtype):
    W, b, xs, ts = drawn(dtype=dtype, scale=1000)
    assert_equal(W, b, xs, ts, rtol=1e-4, atol=1e-4)
    assert all(np.isfinite(result).all() for result in fused(W, b, xs, ts, 1))


def test_a_second_backward_raises():
    W, b, xs, ts = drawn()
    layer = TimeAffineSoftmaxWithLoss(W, b)
    layer.forward(xs, ts)
    layer.backward()
    with pytest.raises(ValueError, match=r"^TimeAffineSoftmaxWithLoss: backward"):
        layer.backward()


def test_evaluation_gives_the_same_loss_and_touches_no_gradient():
    W, b, xs, ts = drawn()
    layer = TimeAffineSoftmaxWithLoss(W, b)
    loss = layer.forward(xs, ts)
    before = [grad.copy() for grad in layer.grads]
    assert float(layer.forward(xs[:1], ts[:1], gradients=False)) == pytest.approx(
        float(plain_pair(W, b, xs[:1], ts[:1], 1)[0]), rel=1e-13)
    assert all(np.array_equal(grad, copy) for grad, copy in zip(layer.grads, before))
    assert layer.forward(xs, ts, gradients=False) == loss
    with pytest.raises(ValueError, match=r"^TimeAffineSoftmaxWithLoss: backward"):
        layer.backward()


def test_evaluation_takes_every_block(monkeypatch):
    monkeypatch.setattr(fused_loss, "BLOCK", 5 * V)
    monkeypatch.setattr(fused_loss, "LEAST_ROWS", 1)
    W, b, xs, ts = drawn()
    found = TimeAffineSoftmaxWithLoss(W, b).forward(xs, ts, gradients=False)
    assert float(found) == pytest.approx(float(plain_pair(W, b, xs, ts, 1)[0]), rel=1e-13)


def test_the_buffers_of_one_call_do_not_leak_into_the_next(monkeypatch):
    monkeypatch.setattr(fused_loss, "BLOCK", 5 * V)
    monkeypatch.setattr(fused_loss, "LEAST_ROWS", 1)
    W, b, xs, ts = drawn()
    layer = TimeAffineSoftmaxWithLoss(W, b)
    layer.forward(xs, ts)
    first = layer.backward()
    copy = first.copy()
    layer.forward(10 * xs[:1, :2], ts[:1, :2])
    second = layer.backward()
    assert np.array_equal(first, copy)
    expected = plain_pair(W, b, 10 * xs[:1, :2], ts[:1, :2], 1)
    np.testing.assert_allclose(second, expected[1], rtol=1e-11)
    np.testing.assert_allclose(layer.grads[0], expected[2], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("change, message", [
    (lambda xs, ts: (xs[0], ts), r"xs is .* wanted float64 of shape \(N, T, 5\)"),
    (lambda xs, ts: (xs.astype(np.float32), ts), "xs is float32 .* wanted float64"),
    (lambda xs, ts: (xs, ts[:1]), r"targets is int64 of shape \(1, 6\), wanted integers of shape \(4, 6\)"),
    (lambda xs, ts: (xs, ts + V), "targets go from .* wanted 0 to 6"),
    (lambda xs, ts: (xs, ts.astype(float)), "targets is float64"),
    (lambda xs, ts: (xs, ts.tolist()), "targets is a builtins.list"),
])
def test_wrong_inputs_are_refused(change, message):
    W, b, xs, ts = drawn()
    with pytest.raises(ValueError, match=f"^TimeAffineSoftmaxWithLoss: {message}"):
        TimeAffineSoftmaxWithLoss(W, b).forward(*change(xs, ts))
