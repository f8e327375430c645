"""The neural cache, held against its formula in a loop over the tokens."""
import functools
import itertools
import math

import numpy
import pytest
from any_device import np, peak_memory

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.device.ids import known_ids
from common.fast import speed_up
from common.functions import softmax
from common.language_model import cache
from common.language_model.cache import cache_perplexities, cache_perplexity
from common.language_model.evaluate import perplexity
from common.training.clip import unique_params

pytestmark = pytest.mark.usefixtures("device")

V, H = 7, 5
TEXT = numpy.random.default_rng(0).integers(V, size=53)


def model_of(dtype="float64", make=BetterRnnlm):
    """A model with large weights, so that its state matters."""
    model, rng = make(V, H, H, seed=0, dtype=dtype), np.random.default_rng(2)
    for param in unique_params(model.params):
        param[...] = rng.standard_normal(param.shape)
    return model


def by_hand(model, text, window, theta, lambda_):
    """The formula of the paper, token by token."""
    model.reset_state()
    hs, nats = [], []
    for t, (current, following) in enumerate(itertools.pairwise(text.tolist())):
        h = model.read(np.array([[current]]))[0, 0]
        p = float(softmax(model.layers[-1].forward(h[None, None]))[0, 0, following])
        similar = [math.exp(theta * float(h @ hs[i])) if i >= t - window else 0 for i in range(t)]
        if similar:
            of_word = sum(weight for i, weight in enumerate(similar) if text[i + 1] == following)
            p = (1 - lambda_) * p + lambda_ * of_word / sum(similar)
        hs.append(h)
        nats.append(-math.log(p))
    return math.exp(sum(nats) / len(nats))


@functools.cache
def by_hand_with_window(window, device):
    return by_hand(model_of(), TEXT, window, 1.3, 0.3)


@pytest.mark.parametrize("dtype, rel", [("float64", 1e-11), ("float32", 1e-5)])
@pytest.mark.parametrize("steps", [500, 52, 10, 7, 1])
@pytest.mark.parametrize("window", [1, 3, 9, 10, 11, 30, 51, 52, 10**9])
def test_it_is_the_formula_whatever_the_window_and_the_block(window, steps, dtype, rel, device, monkeypatch):
    monkeypatch.setattr(cache, "STEPS_AT_ONCE", steps)
    model = model_of(dtype)
    found = cache_perplexity(model, TEXT, window, 1.3, 0.3)
    assert type(found) is float and found == pytest.approx(by_hand_with_window(window, device), rel=rel)


def test_a_large_window_makes_the_blocks_small(monkeypatch):
    model, read = model_of(), []
    monkeypatch.setattr(cache, "PRODUCTS_AT_ONCE", 100)
    monkeypatch.setattr(model, "read", lambda xs: read.append(xs.shape) or BetterRnnlm.read(model, xs))
    found = cache_perplexity(model, TEXT, 12, 1.3, 0.3)
    assert read == [(1, 8)] * 6 + [(1, 4)]
    assert found == pytest.approx(by_hand(model_of(), TEXT, 12, 1.3, 0.3), rel=1e-11)
    del read[:]
    cache_perplexity(model, TEXT, 10**6, 1.3, 0.3)
    assert read == [(1, 1)] * 52


@pytest.mark.parametrize("make", [BetterRnnlm, SimpleRnnlm])
@pytest.mark.parametrize("theta, lambda_", [(0, 0.5), (0.3, 0.1), (2.5, 0.9)])
def test_a_fast_model_gives_the_same(theta, lambda_, make):
    model = speed_up(model_of(make=make))
    expected = by_hand(model_of(make=make), TEXT, 20, theta, lambda_)
    assert cache_perplexity(model, TEXT, 20, theta, lambda_) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_at_the_beginning_the_cache_is_empty(length):
    text = TEXT[:length]
    expected = by_hand(model_of(), text, 5, 1.3, 0.3)
    assert cache_perplexity(model_of(), text, 5, 1.3, 0.3) == pytest.approx(expected, rel=1e-12)
    if length == 2:
        assert expected == pytest.approx(perplexity(model_of(), text), rel=1e-12)


def test_a_word_counts_only_once_it_has_come():
    """In 0 1 2 3, no word comes twice: the cache is always wrong and costs log(1 - lambda), but at the first word."""
    text = numpy.arange(6)
    static = perplexity(model_of(), text)
    found = cache_perplexity(model_of(), text, 10, 1.3, 0.3)
    assert math.log(found) == pytest.approx(math.log(static) - math.log(0.7) * 4 / 5, rel=1e-12)


def test_without_weight_it_is_the_perplexity():
    model = model_of()
    assert cache_perplexity(model, TEXT, 20, 1.3, 0) == pytest.approx(perplexity(model, TEXT), rel=1e-12)


def test_a_grid_is_the_single_results_from_one_reading(monkeypatch):
    model, read = model_of(), []
    thetas, lambdas = (0, 0.5, 2), (0, 0.2, 0.7, 0.99)
    expected = [[cache_perplexity(model, TEXT, 15, theta, lambda_) for lambda_ in lambdas] for theta in thetas]
    monkeypatch.setattr(model, "read", lambda xs: read.append(xs.shape) or BetterRnnlm.read(model, xs))
    found = cache_perplexities(model, TEXT, 15, thetas, lambdas)
    assert read == [(1, 52)]
    numpy.testing.assert_allclose(found, expected, rtol=1e-13)
    assert numpy.unique(numpy.round(found, 6)).size == 10  # without weight theta does not matter


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_whose_products_no_exp_can_hold(dtype):
    """theta h h' is in the thousands: the most similar state takes all, and no number is lost on the way."""
    model = model_of(dtype)
    hs = [np.to_cpu(model.read(np.array([[word]]))[0, 0]).astype(float) for word in TEXT[:-1]]
    theta, total = 1e5, 0.0
    assert theta * max(h @ h for h in hs) > 1000
    model.reset_state()
    for t, following in enumerate(TEXT[1:]):
        p = float(softmax(model.predict(np.array([[TEXT[t]]])).astype(float))[0, 0, following])
        similar = theta * numpy.array([hs[t] @ hs[i] for i in range(t)])
        if t:
            weights = numpy.exp(similar - similar.max())
            p = 0.5 * p + 0.5 * weights[TEXT[1:t + 1] == following].sum() / weights.sum()
        total -= math.log(p)
    found = cache_perplexity(model, TEXT, 100, theta, 0.5)
    assert found == pytest.approx(math.exp(total / 52), rel=1e-9 if dtype == "float64" else 0.02)


def test_a_word_that_only_an_unlikely_state_of_the_cache_knows():
    """The shares of words in the cache are taken as logarithms: e^-800 is 0 in any float, but not its logarithm."""
    scores = np.array([[0.0, -800.0, 0.0]])
    is_target = np.array([[False, True, False]])
    assert float(cache._log_sum_exp(scores, is_target)[0]) == -800
    assert float(cache._log_sum_exp(scores)[0]) == pytest.approx(math.log(2))
    with numpy.errstate(divide="ignore"):
        assert float(cache._log_sum_exp(scores, np.zeros((1, 3), dtype=bool))[0]) == -math.inf


def test_the_state_is_put_back_and_dropout_is_off():
    model = model_of("float32")
    model.forward(np.array([TEXT[:5]]), np.array([TEXT[1:6]]))
    before = [np.to_cpu(array).copy() for state in model.get_state() for array in state]
    random_state = np.random_state()
    assert cache_perplexity(model, TEXT, 10, 1, 0.2) == cache_perplexity(model, known_ids(TEXT), 10, 1, 0.2)
    with pytest.raises(ValueError, match="targets go from 2 to 99, wanted 0 to 6"):
        cache_perplexity(model, numpy.array([1, 2, 99]), 10, 1, 0.2)
    assert np.random_state() == random_state
    for array, expected in zip((array for state in model.get_state() for array in state), before, strict=True):
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(ValueError, match="backward needs a forward"):
        model.backward()


@pytest.mark.parametrize("corpus", [[], [1], [[1, 2], [2, 3]]])
def test_a_text_without_a_prediction_is_refused(corpus):
    with pytest.raises(ValueError, match=r"^cache_perplexity: the corpus has shape \(.*\), wanted \(n,\)"):
        cache_perplexity(model_of(), numpy.array(corpus, dtype=int), 10, 1, 0.2)


@pytest.mark.parametrize("window, theta, lambda_", [
    (0, 1, 0.1), (-1, 1, 0.1), (5, -0.1, 0.1), (5, math.inf, 0.1), (5, math.nan, 0.1), (5, 1, 1), (5, 1, -0.1),
    (5, 1, math.nan)])
def test_numbers_out_of_range_are_refused(window, theta, lambda_):
    with pytest.raises(ValueError, match=r"^cache_perplexity: window is .*, wanted at least 1, a number of at least 0"):
        cache_perplexity(model_of(), TEXT, window, theta, lambda_)


def test_its_memory_does_not_grow_with_the_text(monkeypatch):
    monkeypatch.setattr(cache, "STEPS_AT_ONCE", 20)
    model, repeats = SimpleRnnlm(V, 100, 100, seed=0, dtype="float64"), (4, 40)
    peaks = [peak_memory(functools.partial(
        cache_perplexity, model, np.to_device(numpy.tile(TEXT, times)), 50, 1, 0.2)) for times in repeats]
    states = 8 * 100 * len(TEXT) * (repeats[1] - repeats[0])  # bytes of those that the longer text has more
    # Python keeps some of the small objects that each step makes for itself: 0.1 MB, where the states are 1.5 MB.
    assert peaks[1] - peaks[0] < states / 4
