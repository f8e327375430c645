import math

import numpy
import pytest
from any_device import np

from common.layers.losses import OutputWithLoss
from common.layers.sampled_softmax import OutputWithSampledLoss, UnigramSampler
from common.layers.time import TimeAffine, TimeSoftmaxWithLoss

pytestmark = pytest.mark.usefixtures("device")

FREQUENCIES = [40, 9, 0, 3, 25, 1, 12, 7, 2, 1]
V, D, N, T = len(FREQUENCIES), 4, 2, 3


def normal(*shapes, seed=0):
    rng = numpy.random.default_rng(seed)
    return [np.to_device(rng.standard_normal(shape)) for shape in shapes]


def head(samples, frequencies=FREQUENCIES, seed=0):
    W, b = normal((D, V), (V,), seed=seed)
    return OutputWithSampledLoss(TimeAffine(W, b), UnigramSampler(frequencies, samples))


def targets(*ids):
    return np.array(ids).reshape(N, T)


def drawn_after(seed, layer):
    """Draw the words that the next forward of a head draws after a seed."""
    np.seed(seed)
    drawn = set(np.to_cpu(layer.sampler.draw()).tolist())
    np.seed(seed)
    return drawn


def shares(frequencies=FREQUENCIES):
    p = numpy.maximum(frequencies, 1) / numpy.maximum(frequencies, 1).sum()
    return p, p**0.75 / (p**0.75).sum()


def test_the_inclusion_probability_is_how_often_a_word_is_a_candidate():
    R, k, trials = 6, 4, 20_000
    (p, q), rng = shares(), numpy.random.default_rng(0)
    found = numpy.zeros(V)
    for _ in range(trials):
        found[numpy.unique(numpy.concatenate((rng.choice(V, R, p=p), rng.choice(V, k, p=q))))] += 1
    pi = numpy.exp(np.to_cpu(UnigramSampler(FREQUENCIES, k).log_inclusion(R)))
    assert (abs(found / trials - pi) < 5 * numpy.sqrt(pi * (1 - pi) / trials)).all()


def test_words_are_drawn_by_their_frequency_to_the_power():
    np.seed(0)
    sampler, trials = UnigramSampler(FREQUENCIES, 50_000), 50_000
    counts = numpy.bincount(np.to_cpu(sampler.draw()), minlength=V)
    _, q = shares()
    assert (abs(counts / trials - q) < 5 * numpy.sqrt(q * (1 - q) / trials)).all()


def test_the_loss_is_the_formula_over_the_candidates():
    layer, (xs,), ts = head(3), normal((N, T, D), seed=1), targets(4, 0, 4, 7, 2, 0)
    drawn = drawn_after(5, layer)
    loss = float(layer.forward(xs, ts))
    (p, q), R, k = shares(), N * T, 3
    pi = 1 - (1 - p)**R * (1 - q)**k
    scores = np.to_cpu(xs).reshape(-1, D) @ np.to_cpu(layer.params[0]) + np.to_cpu(layer.params[1])
    expected = 0.0
    for s, t in zip(scores, [4, 0, 4, 7, 2, 0]):
        total = sum(math.exp(s[w] - math.log(pi[w])) for w in drawn | {4, 0, 7, 2})
        expected += (math.log(total) - (s[t] - math.log(pi[t]))) / R
    assert loss == pytest.approx(expected, rel=1e-12)


def test_the_sum_over_the_candidates_is_on_average_that_over_all_words():
    R, k, trials = 6, 4, 20_000
    (p, q), rng = shares(), numpy.random.default_rng(1)
    s = rng.standard_normal(V)
    log_pi = np.to_cpu(UnigramSampler(FREQUENCIES, k).log_inclusion(R))
    sums = numpy.array([
        numpy.exp(s - log_pi)[numpy.unique(numpy.concatenate((rng.choice(V, R, p=p), rng.choice(V, k, p=q))))].sum()
        for _ in range(trials)])
    assert abs(sums.mean() - numpy.exp(s).sum()) < 5 * sums.std() / math.sqrt(trials)


def test_with_every_word_a_candidate_it_is_the_whole_softmax():
    layer, (xs,), ts = head(20_000), normal((N, T, D), seed=1), targets(4, 0, 4, 7, 2, -1)
    whole = OutputWithLoss(TimeAffine(*layer.params), TimeSoftmaxWithLoss())
    assert float(layer.forward(xs, ts)) == pytest.approx(float(whole.forward(xs, ts)), rel=1e-12)
    np.testing.assert_allclose(layer.backward(0.5), whole.backward(0.5), rtol=1e-12, atol=1e-15)
    for ours, theirs in zip(layer.grads, whole.grads):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-15)


def test_gradients_are_zero_but_at_the_candidates():
    layer, (xs,), ts = head(2), normal((N, T, D), seed=1), targets(4, 4, 4, 4, 0, -1)
    candidates = drawn_after(3, layer) | {4, 0}
    layer.grads[0][...] = layer.grads[1][...] = 7  # what an earlier backward left
    layer.forward(xs, ts)
    layer.backward()
    others = sorted(set(range(V)) - candidates)
    assert others
    for grad in layer.grads:
        columns = np.to_cpu(grad)
        assert (columns[..., others] == 0).all() and (columns[..., sorted(candidates)] != 0).all()


def test_what_is_known_of_the_gradients_is_true(device):
    layer, (xs,), ts = head(2), normal((N, T, D), seed=1), targets(4, 4, 4, 4, 0, 1)
    layer.forward(xs, ts)
    layer.backward()
    if device == "gpu":  # the number of candidates would have to be waited for
        assert layer.sparse == []
        return
    for grad, known in zip(layer.grads, layer.sparse, strict=True):
        assert known.array is grad
        rest = grad.copy()
        rest[known.at] = 0
        assert not rest.any() and len(numpy.unique(known.used)) == len(known.used) < V


def test_an_ignored_target_is_no_candidate_and_its_input_may_be_anything():
    layer, (xs,) = head(1, frequencies=[1] * (V - 1) + [1000]), normal((N, T, D), seed=1)
    ts = targets(4, -1, 4, -1, 4, 4)
    drawn = drawn_after(0, layer)
    counted = float(layer.forward(xs, ts))
    dxs = layer.backward()
    assert not dxs[0, 1].any() and dxs[0, 0].all()
    assert (np.to_cpu(layer.grads[1]) != 0).sum() == len(drawn | {4})
    xs[0, 1] = np.nan
    np.seed(0)
    assert float(layer.forward(xs, ts)) == counted


def test_a_batch_without_a_target_has_no_loss_and_no_gradient():
    layer, (xs,) = head(2), normal((N, T, D), seed=1)
    assert float(layer.forward(xs, targets(*[-1] * 6))) == 0
    assert not layer.backward().any() and not any(grad.any() for grad in layer.grads)


def test_a_vocabulary_of_one_word():
    layer = OutputWithSampledLoss(TimeAffine(*normal((D, 1), (1,))), UnigramSampler([3], 2))
    assert float(layer.forward(*normal((N, T, D)), np.zeros((N, T), dtype=int))) == 0
    assert not layer.backward().any()


@pytest.mark.parametrize("frequencies, samples, message", [
    ([1, 2], 0, "samples is 0, wanted at least 1"),
    ([], 3, "wanted whole numbers from 0 of shape"),
    ([[1, 2]], 3, r"shape \(1, 2\), wanted whole numbers from 0 of shape \(V,\)"),
    ([1, -2], 3, "wanted whole numbers from 0"),
    ([0.5, 0.5], 3, "frequencies are float64 of shape"),
])
def test_wrong_frequencies_are_refused(frequencies, samples, message):
    with pytest.raises(ValueError, match=message):
        UnigramSampler(frequencies, samples)


def test_frequencies_of_another_vocabulary_are_refused():
    W, b = normal((D, V), (V,))
    with pytest.raises(ValueError, match="frequencies of 3 words, wanted those of 10"):
        OutputWithSampledLoss(TimeAffine(W, b), UnigramSampler([1, 2, 3], 4))


@pytest.mark.parametrize("id", [V, -2])
def test_a_target_outside_the_vocabulary_is_refused(id):
    layer, (xs,) = head(2), normal((N, T, D))
    with pytest.raises(ValueError, match=f"OutputWithSampledLoss: targets go from .*, wanted 0 to {V - 1}"):
        layer.forward(xs, targets(0, 1, 2, 3, 4, id))


def test_float32_stays():
    W, b, xs = (array.astype(np.float32) for array in normal((D, V), (V,), (N, T, D)))
    layer = OutputWithSampledLoss(TimeAffine(W, b), UnigramSampler(FREQUENCIES, 3))
    assert layer.forward(xs, targets(0, 1, 2, 3, 4, 5)).dtype == layer.backward().dtype == np.float32


def test_the_upstream_gradient_is_one_where_none_is_given():
    layer, (xs,) = head(3), normal((N, T, D), seed=1)
    layer.forward(xs, targets(4, 0, 4, 7, 2, 0))
    np.testing.assert_array_equal(layer.backward(), layer.backward(1.0))
