import numpy
import pytest
from any_device import np

from common.device.ids import known_ids
from common.layers.regularization import (
    ActivationRegularization,
    TemporalActivationRegularization,
    TimeEmbeddingDropout,
    TimeLockedDropout,
)
from common.layers.time import TimeAffine, TimeEmbedding
from common.training.clip import remove_duplicate

pytestmark = pytest.mark.usefixtures("device")

N, T, D, V = 5, 4, 30, 11
DTYPES = [np.float32, np.float64]
RNG = np.random.default_rng(0)


def is_constant_along(array, axis):
    """Whether a copy of the first entry along an axis gives the whole array."""
    array = np.to_cpu(array)
    return bool((array == array.take([0], axis=axis)).all())


# --- locked dropout

@pytest.mark.parametrize("dtype", DTYPES)
def test_a_locked_mask_is_the_same_at_all_steps_and_another_for_each_sequence(dtype):
    mask = TimeLockedDropout(0.2).forward(np.ones((N, T, D), dtype=dtype))
    assert mask.dtype == dtype and mask.shape == (N, T, D)
    assert np.unique(mask).tolist() == [0, dtype(1.25)]
    assert is_constant_along(mask, 1)
    assert not is_constant_along(mask, 0) and not is_constant_along(mask, 2)


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.75])
def test_a_locked_mask_drops_as_many_units_as_its_ratio_says_and_keeps_the_mean(ratio):
    np.seed(1)
    mask = TimeLockedDropout(ratio).forward(np.ones((400, 1, 100)))
    assert float((mask == 0).mean()) == pytest.approx(ratio, abs=0.02)
    assert float(mask.mean()) == pytest.approx(1, abs=0.05)


def test_locked_dropout_multiplies_the_input_and_the_gradient_by_one_mask():
    layer, (xs, dout) = TimeLockedDropout(0.5), RNG.standard_normal((2, N, T, D))
    np.seed(2)
    ys = layer.forward(xs)
    np.seed(2)
    mask = numpy.where(np.to_cpu(np.rng.random((N, 1, D), dtype=np.float64)) < 0.5, 0, 2)  # (N, 1, D)
    np.testing.assert_array_equal(ys, np.to_cpu(xs) * mask)
    np.testing.assert_array_equal(layer.backward(dout), np.to_cpu(dout) * mask)


def test_each_forward_draws_a_new_locked_mask_and_the_seed_repeats_it():
    layer, xs = TimeLockedDropout(0.5), np.ones((N, T, D))
    np.seed(3)
    first, other = layer.forward(xs), layer.forward(xs)
    np.seed(3)
    assert np.array_equal(layer.forward(xs), first) and not np.array_equal(first, other)


def test_without_training_locked_dropout_returns_its_input_and_draws_nothing():
    layer, xs = TimeLockedDropout(0.5), RNG.standard_normal((N, T, D))
    layer.forward(xs)
    layer.train_flg = False
    before = np.random_state()
    same = layer.forward(xs)
    assert np.array_equal(same, xs) and not np.shares_memory(same, xs)
    assert np.array_equal(layer.backward(xs), xs)
    assert np.random_state() == before


def test_wrong_use_of_locked_dropout_is_refused():
    for ratio in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=rf"^dropout_ratio is {ratio}, wanted a number in \[0, 1\)$"):
            TimeLockedDropout(ratio)
    with pytest.raises(ValueError, match=r"^TimeLockedDropout: xs is float64 of shape \(2, 3\), wanted .* \(N, T, D\)"):
        TimeLockedDropout().forward(np.ones((2, 3)))
    assert repr(TimeLockedDropout(0.25)) == "TimeLockedDropout(0.25)"


# --- embedding dropout

@pytest.fixture
def ids(device):
    return np.random.default_rng(1).integers(0, V, (N, T))


def dropped_words(seed, ratio=0.5):
    """Draw the mask (V, 1) that a layer draws after the same seed, in a way of its own."""
    np.seed(seed)
    return numpy.where(np.to_cpu(np.rng.random((V, 1), dtype=np.float64)) < ratio, 0, 1 / (1 - ratio))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dropped_word_is_zeros_at_all_its_places_and_the_others_are_scaled(dtype, ids):
    W = np.ones((V, D), dtype=dtype)
    np.seed(4)
    vectors = TimeEmbeddingDropout(W, 0.2).forward(ids)
    assert vectors.dtype == dtype and vectors.shape == (N, T, D)
    assert np.unique(vectors).tolist() == [0, dtype(1.25)]
    assert is_constant_along(vectors, 2)
    for word in range(V):
        assert len(np.unique(vectors[ids == word])) <= 1


def test_embedding_dropout_is_a_lookup_in_a_table_with_rows_of_zeros(ids):
    W, dout = RNG.standard_normal((V, D)), RNG.standard_normal((N, T, D))
    mask = dropped_words(5)
    layer, plain = TimeEmbeddingDropout(W, 0.5), TimeEmbedding(W * np.to_device(mask))
    np.seed(5)
    np.testing.assert_array_equal(layer.forward(ids), plain.forward(ids))
    assert layer.backward(dout) is None
    plain.backward(dout)
    np.testing.assert_allclose(layer.grads[0], np.to_cpu(plain.grads[0]) * mask, rtol=1e-13)
    assert not np.to_cpu(layer.grads[0])[mask[:, 0] == 0].any() and np.to_cpu(layer.grads[0]).any()


def test_ids_of_a_gpu_are_dropped_alike(ids):
    W, dout = RNG.standard_normal((V, D)), RNG.standard_normal((N, T, D))
    found = []
    for given in (ids, known_ids(ids)):
        layer = TimeEmbeddingDropout(W, 0.5)
        np.seed(6)
        found.append((layer.forward(given), layer.backward(dout), layer.grads[0]))
    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][2], found[1][2])


def test_each_forward_drops_other_words_and_leaves_the_table_alone(ids):
    W = np.ones((V, D))
    layer = TimeEmbeddingDropout(W, 0.5)
    first, other = layer.forward(ids), layer.forward(ids)
    assert not np.array_equal(first, other)
    assert (W == 1).all() and layer.params[0] is W


def test_without_training_embedding_dropout_is_an_embedding(ids):
    W, dout = RNG.standard_normal((V, D)), RNG.standard_normal((N, T, D))
    layer, plain = TimeEmbeddingDropout(W, 0.9), TimeEmbedding(W)
    layer.forward(ids)  # in training: its mask must not be left
    layer.train_flg = False
    before = np.random_state()
    assert np.array_equal(layer.forward(ids), plain.forward(ids))
    layer.backward(dout), plain.backward(dout)
    assert np.array_equal(layer.grads[0], plain.grads[0])
    assert np.random_state() == before


def test_an_output_layer_that_shares_the_table_has_all_of_it(ids):
    W, xs, dout = (RNG.standard_normal(shape) for shape in ((V, D), (N, T, D), (N, T, V)))
    embedding, affine, plain = TimeEmbeddingDropout(W, 0.5), TimeAffine(W.T, np.zeros(V)), TimeAffine(W.T, np.zeros(V))
    embedding.forward(ids)
    assert np.array_equal(affine.forward(xs), plain.forward(xs))
    affine.backward(dout), plain.backward(dout), embedding.backward(np.ones((N, T, D)))
    expected = np.to_cpu(embedding.grads[0]) + np.to_cpu(plain.grads[0]).T
    _, grads = remove_duplicate(embedding.params + affine.params, embedding.grads + affine.grads)
    assert len(grads) == 2
    np.testing.assert_allclose(grads[0], expected, rtol=1e-13)


def test_wrong_use_of_embedding_dropout_is_refused():
    with pytest.raises(ValueError, match=r"^dropout_ratio is 1.5, wanted a number in \[0, 1\)$"):
        TimeEmbeddingDropout(np.ones((V, D)), 1.5)
    layer, before = TimeEmbeddingDropout(np.ones((V, D))), np.random_state()
    with pytest.raises(ValueError, match=r"^TimeEmbeddingDropout: ids go from 11 to 11, wanted 0 to 10"):
        layer.forward(np.array([[V]]))
    assert np.random_state() == before
    assert repr(layer) == "TimeEmbeddingDropout(V=11, D=30, 0.1)"


# --- activation regularisation

TERMS = [ActivationRegularization, TemporalActivationRegularization]
every_term = pytest.mark.parametrize("kind", TERMS)


def test_the_term_of_small_states_by_hand():
    hs = np.array([[[1.0, -2.0], [3.0, 0.0]]])  # (1, 2, 2)
    term = ActivationRegularization(3)
    assert float(term.forward(hs)) == pytest.approx(3 * (1 + 4 + 9) / 4, rel=1e-14)
    np.testing.assert_allclose(term.backward(), 3 * 2 * np.to_cpu(hs) / 4, rtol=1e-14)


def test_the_term_of_slow_states_by_hand():
    hs = np.array([[[1.0, -2.0], [3.0, 0.0], [3.0, 1.0]]])  # changes 2 2, 0 1
    term = TemporalActivationRegularization(3)
    assert float(term.forward(hs)) == pytest.approx(3 * (4 + 4 + 0 + 1) / 4, rel=1e-14)
    np.testing.assert_allclose(term.backward(), 3 * 2 * numpy.array([[[-2, -2], [2, 1], [0, 1]]]) / 4, rtol=1e-14)


def test_the_slow_term_of_a_single_change_by_hand():
    term = TemporalActivationRegularization(3)
    assert float(term.forward(np.array([[[1.0], [5.0]]]))) == pytest.approx(3 * 16, rel=1e-14)
    np.testing.assert_allclose(term.backward(), [[[-24], [24]]], rtol=1e-14)


def test_states_that_do_not_change_and_single_steps_have_no_slow_term():
    term = TemporalActivationRegularization()
    for hs in (np.ones((N, T, D)), RNG.standard_normal((N, 1, D))):
        assert term.forward(hs) == 0
        dhs = term.backward()
        assert dhs.shape == hs.shape and not dhs.any()


@pytest.mark.parametrize("dtype", DTYPES)
@every_term
def test_a_term_keeps_the_dtype_and_honours_its_upstream_gradient(kind, dtype):
    term, hs = kind(np.float64(0.7)), RNG.standard_normal((N, T, D)).astype(dtype)
    assert term.forward(hs).dtype == dtype and term.forward(hs).shape == ()
    once = term.backward()
    assert once.dtype == dtype and once.any()
    np.testing.assert_allclose(term.backward(-2.5), -2.5 * once, rtol=1e-6, atol=1e-8)
    assert not term.backward(0).any()


@every_term
def test_a_term_grows_with_its_weight_and_the_square_of_the_states(kind):
    hs = RNG.standard_normal((N, T, D))
    one = float(kind(1).forward(hs))
    assert one > 0
    assert float(kind(4).forward(hs)) == pytest.approx(4 * one, rel=1e-13)
    assert float(kind(1).forward(3 * hs)) == pytest.approx(9 * one, rel=1e-13)
    assert kind(0).forward(hs) == 0


def test_the_weights_of_the_paper_are_the_defaults():
    assert (ActivationRegularization().alpha, TemporalActivationRegularization().beta) == (2, 1)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
@every_term
def test_wrong_use_of_a_term_is_refused(kind, value):
    name = "alpha" if kind is ActivationRegularization else "beta"
    with pytest.raises(ValueError, match=f"^{name} is {value}, wanted a finite number of at least 0$"):
        kind(value)
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: hs is float64 of shape \(2, 3\), wanted .* \(N, T, H\)"):
        kind().forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=f"^{kind.__name__}: backward needs a forward"):
        kind().backward()
    assert repr(kind(0.5)) == f"{kind.__name__}(0.5)"
