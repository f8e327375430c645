import math
import types

import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.layers.dense import Affine, Dropout, Embedding, MatMul, Sigmoid, Softmax
from common.layers.losses import SigmoidWithLoss, SoftmaxWithLoss, scaled
from common.layers.time import TimeDropout

pytestmark = pytest.mark.usefixtures("device")

DTYPES = [np.float32, np.float64]
RNG = np.random.default_rng(0)


def test_matmul_and_affine_formulas():
    W, b, x = RNG.standard_normal((4, 5)), RNG.standard_normal(5), RNG.standard_normal((2, 4))
    expected = (x[:, :, None] * W).sum(axis=1)
    np.testing.assert_allclose(MatMul(W).forward(x), expected, rtol=1e-13)
    np.testing.assert_allclose(Affine(W, b).forward(x), expected + b, rtol=1e-13)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"^Affine: x is float64 of shape \(2, 5\), wanted float64 of shape \(N, 4\)"):
        Affine(np.ones((4, 5)), np.ones(5)).forward(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"^MatMul: x is float64 of shape \(2, 3, 4\)"):
        MatMul(np.ones((4, 5))).forward(np.ones((2, 3, 4)))


def test_later_updates_of_the_weights_are_seen():
    W = np.ones((4, 5))
    layer = MatMul(W)
    W *= 2
    assert layer.forward(np.ones((1, 4))).tolist() == [[8] * 5]


@given(st.lists(st.integers(1, 3), max_size=3), st.data())
def test_embedding_looks_up_and_adds_up_ids_of_any_shape(shape, data):
    n = math.prod(shape)
    ids = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), dtype=int).reshape(shape)
    W, dout = RNG.standard_normal((7, 4)), RNG.standard_normal((*shape, 4))
    layer = Embedding(W)
    assert np.array_equal(layer.forward(ids), W[ids])
    layer.grads[0][...] = 9
    assert layer.backward(dout) is None
    expected = np.zeros((7, 4))
    np.add.at(expected, ids, dout)
    np.testing.assert_allclose(layer.grads[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_embedding_takes_ids_of_any_integer_dtype(dtype):
    layer = Embedding(np.arange(21.0).reshape(7, 3))
    assert layer.forward(np.array([6, 0], dtype=dtype)).tolist() == [[18, 19, 20], [0, 1, 2]]
    layer.backward(np.ones((2, 3)))
    assert layer.grads[0].sum(axis=1).tolist() == [3, 0, 0, 0, 0, 0, 3]


def test_embedding_returns_a_copy():
    W = np.ones((7, 4))
    Embedding(W).forward(np.array([1]))[...] = 5
    assert (W == 1).all()


@pytest.mark.parametrize("ids, message", [
    (lambda: np.array([0, 7]), "^Embedding: ids go from 0 to 7, wanted 0 to 6$"),
    (lambda: np.array([-1]), "^Embedding: ids go from -1 to -1, wanted 0 to 6$"),
    (lambda: np.array([1.0]), "^Embedding: ids is float64 .* wanted integers"),
    (lambda: [1], r"^Embedding: ids is a builtins\.list"),
])
def test_wrong_ids_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        Embedding(np.ones((7, 4))).forward(ids())


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_scales_at_test_time(dtype):
    np.seed(1)
    layer, x = Dropout(0.3), np.full((200, 100), 2, dtype=dtype)
    y = layer.forward(x)
    assert np.unique(y).tolist() == [0, 2]
    assert float((y != 0).mean()) == pytest.approx(0.7, abs=0.02)
    assert np.array_equal(layer.backward(np.ones_like(x)), y / 2)
    assert layer.backward(np.ones_like(x)).dtype == dtype
    test = layer.forward(x, train_flg=False)
    np.testing.assert_allclose(test, 1.4, rtol=1e-6)
    assert test.dtype == dtype
    with pytest.raises(ValueError, match=r"^Dropout: backward needs a forward in training mode before it"):
        layer.backward(x)


def test_dropout_repeats_with_the_seed():
    x, layer = np.ones((10, 10)), Dropout()
    np.seed(3)
    first, other = layer.forward(x), layer.forward(x)
    np.seed(3)
    assert np.array_equal(layer.forward(x), first) and not np.array_equal(first, other)


def test_dropout_of_nothing():
    x = np.ones((3, 3))
    assert np.array_equal(Dropout(0).forward(x), x)


@pytest.mark.parametrize("kind", [Dropout, TimeDropout])
def test_a_dropout_ratio_of_numpy_gives_the_bits_of_a_python_float(kind):
    x = RNG.standard_normal((20, 30)).astype(np.float32)
    results = []
    for number in (float, numpy.float64):
        layer = kind(number(0.3))
        np.seed(1)
        results.append([layer.forward(x), layer.backward(x), *([layer.forward(x, False)] if kind is Dropout else [])])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan")])
def test_a_dropout_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"dropout_ratio is .*, wanted a number in \[0, 1\)"):
        Dropout(ratio)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [Sigmoid, Softmax])
def test_activations_at_extreme_scores(layer, dtype):
    layer, x = layer(), np.array([[1000, -1000, 0], [-1000, -1000, -1000]], dtype=dtype)
    assert np.isfinite(layer.forward(x)).all()
    assert np.isfinite(layer.backward(np.ones_like(x))).all()


def naive_cross_entropy(x, ts, ignore_label=None):
    total, count = 0.0, 0
    for row, t in zip(np.to_cpu(x).reshape(-1, x.shape[-1]).astype(np.float64), np.to_cpu(ts).reshape(-1)):
        if t != ignore_label:
            total -= numpy.log(numpy.exp(row[t]) / numpy.exp(row).sum())
            count += 1
    return total / count


@pytest.mark.parametrize("dtype, rel", [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_softmax_with_loss_equals_the_naive_formula(dtype, rel):
    x, t = RNG.standard_normal((20, 7)).astype(dtype), RNG.integers(0, 7, 20)
    for n in (20, 1):
        loss = SoftmaxWithLoss().forward(x[:n], t[:n])
        assert loss.dtype == dtype and loss.shape == ()
        assert float(loss) == pytest.approx(naive_cross_entropy(x[:n], t[:n]), rel=rel)


@pytest.mark.parametrize("t", [[3], [3, 5, 0, 3], [0, 0, 6, 0], [0, 0, 0, 0]])
def test_rows_whose_target_is_the_ignore_label_do_not_count(t):
    x, t = RNG.standard_normal((len(t), 7)), np.array(t)
    layer, counts = SoftmaxWithLoss(), t != 0
    layer.ignore_label = 0
    expected = naive_cross_entropy(x, t, ignore_label=0) if counts.any() else 0
    assert float(layer.forward(x, t)) == pytest.approx(expected, rel=1e-14)
    dx = layer.backward()
    assert dx[counts].all() and not dx[~counts].any()


def test_an_ignored_target_of_a_single_class():
    layer = SoftmaxWithLoss()
    layer.ignore_label = -1
    assert layer.forward(np.ones((2, 1)), np.array([-1, 0])) == 0


def test_one_hot_targets_are_ids():
    x, t = RNG.standard_normal((6, 7)), RNG.integers(0, 7, 6)
    by_ids, by_rows = SoftmaxWithLoss(), SoftmaxWithLoss()
    assert by_ids.forward(x, t) == by_rows.forward(x, np.eye(7)[t]) == by_rows.forward(x, np.eye(7, dtype=int)[t])
    assert np.array_equal(by_ids.backward(), by_rows.backward())


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_with_loss_at_extreme_scores(dtype):
    layer = SoftmaxWithLoss()
    x = np.array([[1000, -1000, 0], [1000, -1000, 0]], dtype=dtype)
    assert layer.forward(x, np.array([0, 1])) == 1000  # 0 and 2000 nats
    np.testing.assert_allclose(layer.backward(), [[0, 0, 0], [0.5, -0.5, 0]], atol=1e-7)


def test_sigmoid_with_loss_equals_the_naive_formula():
    x, t = RNG.standard_normal((6, 3)), RNG.integers(0, 2, (6, 3))
    y = 1 / (1 + np.exp(-x))
    expected = -(t * np.log(y) + (1 - t) * np.log(1 - y)).mean()
    assert float(SigmoidWithLoss().forward(x, t)) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_with_loss_at_extreme_scores(dtype):
    layer = SigmoidWithLoss()
    loss = layer.forward(np.array([1000, -1000, 1000, -1000], dtype=dtype), np.array([1, 0, 0, 1]))
    assert loss == 500 and loss.dtype == dtype
    np.testing.assert_allclose(layer.backward(), [0, 0, 0.25, -0.25], atol=1e-7)


@pytest.mark.parametrize("layer, targets", [
    (SoftmaxWithLoss(), lambda: np.array([0, 6, 2])),
    (SigmoidWithLoss(), lambda: RNG.integers(0, 2, (3, 7))),
])
def test_a_loss_honours_its_upstream_gradient(layer, targets):
    x, t = RNG.standard_normal((3, 7)), targets()
    layer.forward(x, t)
    whole = layer.backward()
    assert np.array_equal(layer.backward(1.0), whole) and np.array_equal(layer.backward(np.array(1.0)), whole)
    assert not layer.backward(0).any()
    for dout in (2, 2.5, np.array(2.5)):
        np.testing.assert_allclose(layer.backward(dout), float(dout) * whole, rtol=1e-14)
    layer.forward(x.astype(np.float32), t)
    for dout in (1, 2.5, np.float64(2.5), np.float32(2.5)):
        assert layer.backward(dout).dtype == np.float32
    for wrong in (np.array(1.0), np.ones(3, dtype=np.float32), [1.0]):
        with pytest.raises(ValueError, match=r"^dout of a loss is .*, wanted a number or a float32 scalar$"):
            layer.backward(wrong)
    with pytest.raises(ValueError, match=r"^dout of a loss is float32 of shape \(3, 1\), wanted"):
        layer.backward(np.ones((3, 1), dtype=np.float32))  # no numbers, which would take lines


def test_an_upstream_gradient_of_one_copies_nothing():
    array = np.ones(3)
    assert scaled(array, 1) is array and scaled(array, 1.0) is array


@pytest.mark.parametrize("t, message", [
    (lambda: np.array([0, 7]), "^SoftmaxWithLoss: targets go from 0 to 7, wanted 0 to 6"),
    (lambda: np.array([0, -1]), "^SoftmaxWithLoss: targets go from -1 to 0, wanted 0 to 6"),
    (lambda: np.array([0, 1, 2]),
     r"^SoftmaxWithLoss: targets is int64 of shape \(3,\), wanted integers of shape \(2,\)"),
    (lambda: np.array([0.0, 1.0]), "^SoftmaxWithLoss: targets is float64"),
    (lambda: [0, 1], r"^SoftmaxWithLoss: targets is a builtins\.list"),
])
def test_wrong_targets_are_refused(t, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxWithLoss().forward(np.ones((2, 7)), t())


def test_wrong_targets_of_sigmoid_with_loss_are_refused():
    with pytest.raises(ValueError, match=r"^SigmoidWithLoss: targets is .* wanted float64 of shape \(2, 7\)"):
        SigmoidWithLoss().forward(np.ones((2, 7)), np.ones(7))
    assert float(SigmoidWithLoss().forward(np.ones(7), np.ones(7, dtype=bool))) > 0
    if np.backend == "numpy":  # the stand-in has no complex numbers
        with pytest.raises(ValueError, match=r"^SigmoidWithLoss: targets are complex64, wanted numbers from 0 to 1"):
            SigmoidWithLoss().forward(np.ones(7), np.ones(7, dtype=np.complex64))


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_softmax_with_loss_is_exact_to_rounding_whatever_the_size_of_the_scores(size):
    rng = np.random.default_rng(0)
    x = (size + rng.standard_normal((20, 50))).astype(np.float32)
    t = rng.integers(50, size=20)
    layer, exact = SoftmaxWithLoss(), SoftmaxWithLoss()
    loss, exact_loss = layer.forward(x, t), exact.forward(x.astype(np.float64), t)
    assert abs(loss - exact_loss) < 1e-6
    np.testing.assert_allclose(layer.backward(20.0), exact.backward(20.0), atol=2e-7)


def test_a_row_of_large_scores_does_not_underflow_another():
    x, t = np.array([[0.0, 1.0], [1000.0, 1001.0]]), np.array([0, 1])
    layer = SoftmaxWithLoss()
    softplus = math.log1p(math.e)  # of the wrong score less the right one, 1 and -1
    assert float(layer.forward(x, t)) == pytest.approx((softplus + softplus - 1) / 2, rel=1e-12)
    wrong = 1 / (1 + math.e)  # the probability of the lower score
    expected = numpy.array([[wrong - 1, 1 - wrong], [wrong, -wrong]]) / 2
    np.testing.assert_allclose(layer.backward(), expected, rtol=1e-9)


@pytest.mark.parametrize("layer", [Dropout, TimeDropout])
def test_a_number_equal_to_the_dropout_ratio_keeps_its_element(layer):
    drawn = []

    def random(shape, dtype):
        drawn.append((shape, dtype))
        return np.full(shape, 0.5, dtype=dtype)

    x = np.ones((2, 3), dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:  # ends before the device is changed back
        patch.setattr("common.np.rng", types.SimpleNamespace(random=random))
        assert (layer(0.5).forward(x) > 0).all()
    assert drawn == [((2, 3), np.float32)]
