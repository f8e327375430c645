import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

import common.layers.lstm
import common.layers.rnn
import common.np
from common.layers.dense import Affine
from common.layers.time import TimeAffine, TimeDropout, TimeEmbedding, TimeSoftmaxWithLoss
from common.training.clip import remove_duplicate

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H, V = 2, 3, 4, 5, 7
DTYPES = [np.float32, np.float64]
RNG = np.random.default_rng(0)


def test_a_star_import_brings_what_the_book_expects():
    names = {}
    exec("from common.time_layers import *", names)
    expected = {"np": common.np}
    expected |= {name: getattr(common.functions, name) for name in "sigmoid relu softmax cross_entropy_error".split()}
    expected |= {name: getattr(common.layers, name) for name in common.layers.__all__}
    expected |= {"RNN": common.layers.rnn.RNN, "TimeRNN": common.layers.rnn.TimeRNN}
    expected |= {"LSTM": common.layers.lstm.LSTM, "TimeLSTM": common.layers.lstm.TimeLSTM}
    for name, value in expected.items():
        assert names[name] is value, name
    assert {"TimeEmbedding", "TimeAffine", "TimeDropout", "TimeSoftmaxWithLoss"} <= set(names)
    assert "sum" not in names and "max" not in names  # no builtin is hidden


def test_time_embedding_equals_a_lookup_for_each_step():
    W, xs = RNG.standard_normal((V, D)), RNG.integers(0, V, (N, T))
    layer = TimeEmbedding(W)
    assert np.array_equal(layer.forward(xs), np.stack([W[xs[:, t]] for t in range(T)], axis=1))
    with pytest.raises(ValueError, match=r"^TimeEmbedding: ids go from 0 to 7, wanted 0 to 6"):
        layer.forward(np.array([[0, V]]))


@given(st.integers(1, 4), st.integers(1, 4))
def test_time_affine_equals_an_affine_for_each_step(N, T):
    W, b = RNG.standard_normal((D, V)), RNG.standard_normal(V)
    xs, dout = RNG.standard_normal((N, T, D)), RNG.standard_normal((N, T, V))
    layer, steps = TimeAffine(W, b), [Affine(W, b) for _ in range(T)]
    ys = np.stack([step.forward(xs[:, t]) for t, step in enumerate(steps)], axis=1)
    np.testing.assert_allclose(layer.forward(xs), ys, rtol=1e-11, atol=1e-13)
    dxs = np.stack([step.backward(dout[:, t]) for t, step in enumerate(steps)], axis=1)
    np.testing.assert_allclose(layer.backward(dout), dxs, rtol=1e-11, atol=1e-13)
    for i, grad in enumerate(layer.grads):
        np.testing.assert_allclose(grad, sum(step.grads[i] for step in steps), rtol=1e-11, atol=1e-13)


def test_time_affine_refuses_wrong_shapes_in_its_own_name():
    layer = TimeAffine(np.ones((D, V)), np.ones(V))
    with pytest.raises(ValueError, match=r"^TimeAffine: x is .* wanted float64 of shape \(N, T, 4\)"):
        layer.forward(np.ones((N, D)))
    layer.forward(np.ones((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeAffine: dout is .* wanted float64 of shape \(2, 3, 7\)"):
        layer.backward(np.ones((N, T, D)))


def test_a_tied_affine_shares_memory_with_the_embedding():
    W = RNG.standard_normal((V, D))
    embedding, affine = TimeEmbedding(W), TimeAffine(W.T, np.zeros(V))
    affine.backward(np.ones_like(affine.forward(embedding.forward(np.array([[0, 1]])))))
    embedding.backward(np.ones((1, 2, D)))
    expected = embedding.grads[0] + affine.grads[0].T
    params, grads = remove_duplicate(embedding.params + affine.params, embedding.grads + affine.grads)
    assert len(params) == 2 and params[0] is W
    np.testing.assert_allclose(grads[0], expected)
    W *= 2
    assert np.shares_memory(affine.params[0], W)


@pytest.mark.parametrize("dtype", DTYPES)
def test_time_dropout_scales_at_training_time(dtype):
    np.seed(1)
    layer, xs = TimeDropout(0.2), np.full((20, 50, 20), 4, dtype=dtype)
    ys = layer.forward(xs)
    assert np.unique(ys).tolist() == [0, 5]
    assert float((ys != 0).mean()) == pytest.approx(0.8, abs=0.02)
    assert (ys[:, 0] != ys[:, 1]).any()  # a mask for each step
    assert np.array_equal(layer.backward(xs), ys)
    layer.train_flg = False
    same = layer.forward(xs)
    assert np.array_equal(same, xs) and same is not xs and not np.shares_memory(same, xs)
    assert np.array_equal(layer.backward(xs), xs)
    assert ys.dtype == same.dtype == layer.backward(xs).dtype == dtype


def test_time_dropout_repeats_with_the_seed():
    xs, layer = np.ones((N, T, 20)), TimeDropout()
    np.seed(3)
    first, other = layer.forward(xs), layer.forward(xs)
    np.seed(3)
    assert np.array_equal(layer.forward(xs), first) and not np.array_equal(first, other)


def test_time_dropout_checks_its_ratio_and_gradient():
    with pytest.raises(ValueError, match="dropout_ratio is 1, wanted"):
        TimeDropout(1)
    layer = TimeDropout()
    layer.train_flg = False
    layer.forward(np.ones((N, T, D)))
    with pytest.raises(ValueError, match=r"^TimeDropout: dout is .* wanted float64 of shape \(2, 3, 4\)"):
        layer.backward(np.ones((N, T, 1)))


def naive_cross_entropy(xs, ts):
    """Mean over the targets that are not -1, each on its own, in float64."""
    rows, targets = np.to_cpu(xs).reshape(-1, xs.shape[-1]).astype(np.float64), np.to_cpu(ts).reshape(-1)
    return numpy.mean([numpy.log(numpy.exp(row).sum()) - row[t] for row, t in zip(rows, targets) if t != -1])


@pytest.mark.parametrize("dtype, rel", [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("ignored", [0, 5])
def test_the_loss_is_the_mean_over_the_targets_that_count(dtype, rel, ignored):
    xs, ts = RNG.standard_normal((4, 5, V)).astype(dtype), RNG.integers(0, V, (4, 5))
    ts.reshape(-1)[:ignored] = -1
    layer = TimeSoftmaxWithLoss()
    loss = layer.forward(xs, ts)
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(naive_cross_entropy(xs, ts), rel=rel)
    dxs = layer.backward()
    assert dxs.dtype == dtype
    assert not dxs[ts == -1].any() and dxs[ts != -1].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_to_learn_when_all_targets_are_ignored(dtype):
    layer = TimeSoftmaxWithLoss()
    loss = layer.forward(RNG.standard_normal((N, T, V)).astype(dtype), np.full((N, T), -1))
    assert loss == 0 and loss.dtype == dtype
    assert not layer.backward().any()


def test_another_ignore_label():
    xs = RNG.standard_normal((N, T, V))
    layer = TimeSoftmaxWithLoss()
    layer.ignore_label = 3
    ts = np.array([[3, 1, 2], [3, 4, 3]])
    assert float(layer.forward(xs, ts)) == pytest.approx(naive_cross_entropy(xs, np.where(ts == 3, -1, ts)), rel=1e-13)


def test_one_hot_targets_are_ids():
    xs, ts = RNG.standard_normal((N, T, V)), RNG.integers(0, V, (N, T))
    by_ids, by_rows = TimeSoftmaxWithLoss(), TimeSoftmaxWithLoss()
    assert by_ids.forward(xs, ts) == by_rows.forward(xs, np.eye(V)[ts])
    assert np.array_equal(by_ids.backward(), by_rows.backward())


def test_the_loss_honours_its_upstream_gradient():
    layer = TimeSoftmaxWithLoss()
    layer.forward(RNG.standard_normal((N, T, V)), RNG.integers(0, V, (N, T)))
    whole = layer.backward()
    assert not layer.backward(0).any()
    np.testing.assert_allclose(layer.backward(2.5), 2.5 * whole, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_at_extreme_scores(dtype):
    layer = TimeSoftmaxWithLoss()
    xs = np.array([[[1000, -1000, 0], [1000, -1000, 0]]], dtype=dtype)
    assert layer.forward(xs, np.array([[0, 1]])) == 1000
    assert np.isfinite(layer.backward()).all()


@pytest.mark.parametrize("ts, message", [
    (lambda: np.full((N, T), V), "^TimeSoftmaxWithLoss: targets go from 7 to 7, wanted 0 to 6"),
    (lambda: np.full((N, T), -2), "^TimeSoftmaxWithLoss: targets go from -2 to -2"),
    (lambda: np.zeros((N, T + 1), dtype=int),
     r"^TimeSoftmaxWithLoss: targets is int64 of shape \(2, 4\), wanted .* \(2, 3\)"),
])
def test_wrong_targets_are_refused(ts, message):
    with pytest.raises(ValueError, match=message):
        TimeSoftmaxWithLoss().forward(np.ones((N, T, V)), ts())
