import math

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.fast import speed_up
from common.language_model.generate import draw, generate, next_probabilities

SCORES = numpy.log(numpy.array([[0.5, 0.25, 0.15, 0.1]]))


@pytest.fixture
def model(device):
    model = Rnnlm(9, 4, 5, seed=0)
    for param in model.params:
        param *= 4
    return model


def probabilities_by_hand(scores, temperature=1.0, top_k=None, top_p=None, banned=()):
    """The ids that can come, in order, and their probabilities."""
    weights = {i: math.exp(score / temperature) for i, score in enumerate(scores) if i not in banned}
    ranked = sorted(weights, key=lambda i: -weights[i])[:top_k]
    kept, reached = [], 0.0
    for i in ranked:
        if top_p is None or reached < top_p:
            kept.append(i)
            reached += weights[i] / sum(weights[j] for j in ranked)
    return {i: weights[i] / sum(weights[j] for j in kept) for i in sorted(kept)}


def continuation_by_hand(model, prompt, points, greedy=False, **options):
    """One text, each token from the whole text before it, drawn by a number from 0 to 1."""
    ids = list(prompt)
    for point in points:
        model.reset_state()
        scores = np.to_cpu(model.predict(np.array([ids])))[0, -1].tolist()
        probabilities = probabilities_by_hand(scores, **options)
        reached = numpy.cumsum(list(probabilities.values()))
        drawn = list(probabilities)[numpy.searchsorted(reached, point, side="right")]
        ids.append(max(probabilities, key=probabilities.get) if greedy else drawn)
    return ids[len(prompt):]


class Numbers:
    """Stands for a generator whose numbers are known: for each token a row with one for each sample."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def random(self, shape):
        return next(self.rows).reshape(shape)


def strong(model):
    """Make the weights so large that the state matters and the samples part."""
    for param in {id(param): param for param in model.layers[0].params + model.layers[2].params}.values():
        param *= 8
    return model


OPTIONS = [
    {}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 3}, {"top_p": 0.6}, {"banned": [0, 4]},
    {"temperature": 2.0, "top_k": 4, "top_p": 0.7, "banned": [2]}, {"greedy": True},
    {"greedy": True, "banned": [1, 5], "top_k": 2, "temperature": 0.7}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["lstm", "dropout", "fast"])
def test_each_of_many_samples_is_the_one_drawn_alone(kind, options):
    def model(dropout_ratio):
        if kind == "lstm":
            return strong(Rnnlm(9, 4, 5, seed=0, dtype=np.float64))
        model = strong(BetterRnnlm(9, 5, 5, dropout_ratio, seed=0, dtype=np.float64))
        return speed_up(model) if kind == "fast" else model

    points = numpy.random.default_rng(1).random((7, 6))  # (length, S)
    ids = generate(model(0.5), [3, 1, 4], 7, samples=6, rng=Numbers(points), **options)
    expected = [continuation_by_hand(model(0.0), [3, 1, 4], points[:, sample], **options) for sample in range(6)]
    assert ids.tolist() == expected
    assert len({tuple(row) for row in expected}) == (1 if "greedy" in options else 6)


def test_an_own_generator_is_the_only_one_drawn_from(model):
    before = np.random_state()
    texts = [generate(model, [0], 20, samples=3, rng=numpy.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert np.random_state() == before
    np.seed(1)
    assert generate(model, [0], 20, samples=3).tolist() == texts[0]


def test_probabilities_of_many_rows_are_those_of_each():
    scores = 2 * numpy.random.default_rng(0).standard_normal((5, 9)).astype(numpy.float32)
    before = scores.copy()
    for options in OPTIONS[:7]:
        found = next_probabilities(scores, **options)
        assert found.dtype == numpy.float64
        for row, probabilities in zip(scores, found):
            expected = probabilities_by_hand(row.astype(float), **options)
            assert numpy.flatnonzero(probabilities).tolist() == list(expected)
            np.testing.assert_allclose(probabilities[list(expected)], list(expected.values()), rtol=1e-12)
    np.testing.assert_array_equal(scores, before)


def test_probabilities_are_the_softmax():
    np.testing.assert_allclose(next_probabilities(SCORES), [[0.5, 0.25, 0.15, 0.1]])


def test_probabilities_are_divided_by_their_sum_once():
    scores = numpy.random.default_rng(0).standard_normal((50, 9))
    weights = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_array_equal(next_probabilities(scores), weights / weights.sum(axis=1, keepdims=True))


def test_temperature_sharpens_and_flattens():
    sharp = next_probabilities(SCORES, temperature=0.5)  # proportional to the squares
    np.testing.assert_allclose(sharp[0, 0], 0.25 / (0.25 + 0.0625 + 0.0225 + 0.01))
    assert next_probabilities(SCORES, temperature=100).max() < 0.26


def test_extreme_scores_and_temperatures_stay_finite():
    scores = numpy.array([[1000.0, -1000.0, 0.0], [-1000.0, -999.0, -1000.0]])
    for temperature in (1e-3, 1e-308):
        np.testing.assert_array_equal(next_probabilities(scores, temperature=temperature), [[1, 0, 0], [0, 1, 0]])


def test_top_k_keeps_the_k_likeliest():
    np.testing.assert_allclose(next_probabilities(SCORES, top_k=2), [[2 / 3, 1 / 3, 0, 0]])
    np.testing.assert_array_equal(next_probabilities(SCORES, top_k=1), [[1, 0, 0, 0]])
    np.testing.assert_allclose(next_probabilities(SCORES, top_k=99), next_probabilities(SCORES))


@pytest.mark.parametrize("top_p, kept", [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, kept):
    assert (next_probabilities(SCORES, top_p=top_p) > 0).sum() == kept


def test_top_p_is_of_what_top_k_keeps():
    # 0.5 and 0.25 are 0.83 of the first three, but 0.75 of all.
    np.testing.assert_allclose(next_probabilities(SCORES, top_k=3, top_p=0.8), [[2 / 3, 1 / 3, 0, 0]])


def test_of_equally_likely_tokens_top_k_keeps_the_first():
    (probabilities,) = next_probabilities(numpy.log([[1.0, 2.0] * 50]), top_k=75)
    np.testing.assert_allclose(probabilities, [1 / 125, 2 / 125] * 25 + [0, 2 / 125] * 25)


def test_banned_ids_never_come():
    for banned in [0], numpy.array([0]), numpy.array([0.0]):
        np.testing.assert_allclose(next_probabilities(SCORES, banned=banned), [[0, 0.5, 0.3, 0.2]])


@pytest.mark.parametrize("options, message", [
    ({"temperature": 0}, "temperature is 0"), ({"temperature": math.nan}, "temperature is nan"),
    ({"top_k": 0}, "top_k is 0"), ({"top_p": 0}, "top_p is 0"),
    ({"top_p": 1.1}, "top_p is 1.1"), ({"banned": [0, 1, 2, 3]}, "every token is banned"),
    ({"banned": [4]}, r"banned must be ids from 0 to 3, got \[4\]"), ({"banned": [-1]}, "banned must be ids"),
])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        next_probabilities(SCORES, **options)


@pytest.mark.parametrize("row, message", [
    ([0.0, math.nan], "not finite"), ([0.0, math.inf], "not finite"), ([math.inf, 0.0], "not finite"),
    ([-math.inf, -math.inf], "every token is banned")])
def test_one_row_without_probabilities_among_others_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        next_probabilities(numpy.array([[0.0, 1.0], row]))
    if "finite" in message:
        with pytest.raises(ValueError, match=message):  # also where the other token is banned
            next_probabilities(numpy.array([row]), banned=[0])


@pytest.mark.parametrize("shape", [(), (4,), (0, 4), (2, 0)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"^scores have shape \(.*\), wanted \(S, V\), and no axis may be empty$"):
        next_probabilities(numpy.zeros(shape))


def test_draw_follows_the_probabilities():
    rows = numpy.tile([[0.5, 0.0, 0.3, 0.2]], (20_000, 1))
    counts = numpy.bincount(draw(rows, numpy.random.default_rng(0)), minlength=4) / len(rows)
    np.testing.assert_allclose(counts, [0.5, 0, 0.3, 0.2], atol=0.015)
    assert counts[1] == 0


def test_the_ends_of_the_range_draw_the_first_and_the_last_id_that_can_come():
    rows = numpy.tile([[0.0, 0.3, 0.2, 0.5, 0.0]], (4, 1))
    points = numpy.array([0.0, 0.3, 0.5, 1 - 2.0**-53])
    assert draw(rows, Numbers([points])).tolist() == [1, 2, 3, 3]
    assert draw(10 * rows, Numbers([points])).tolist() == [1, 2, 3, 3]  # sums other than 1 are allowed for


def test_greedy_takes_the_likeliest_and_the_prompt_primes_the_state(model):
    ids = generate(model, [3, 1], 6, greedy=True)[0]
    expected = [3, 1]
    for _ in range(6):
        model.reset_state()
        expected.append(int(model.predict(np.array([expected]))[0, -1].argmax()))
    np.testing.assert_array_equal(ids, expected[2:])
    assert not numpy.array_equal(ids, generate(model, [5, 1], 6, greedy=True)[0])


def test_a_seed_repeats_the_text_and_another_changes_it(model):
    def text(seed):
        np.seed(seed)
        return generate(model, [0], 20).tolist()

    assert text(1) == text(1) != text(2)


def test_samples_are_drawn_side_by_side(model):
    ids = generate(model, [0], 12, samples=64)
    assert ids.shape == (64, 12) and len({tuple(row) for row in ids}) > 32


def test_the_state_of_training_is_put_back(model):
    model.predict(np.array([[1, 2]]))
    h, c = (np.to_cpu(state).copy() for state in model.layers[1].state)
    generate(model, [0], 3, samples=5)
    np.testing.assert_array_equal(model.layers[1].h, h)
    np.testing.assert_array_equal(model.layers[1].c, c)


def test_the_least_that_is_allowed(model):
    assert generate(model, [8], 0).shape == (1, 0)
    assert generate(model, numpy.array([0]), 1, banned=[8]).shape == (1, 1)
    assert generate(model, [3.0], 2, greedy=True).tolist() == generate(model, [3], 2, greedy=True).tolist()


@pytest.mark.parametrize("arguments, message", [
    ({"prompt": []}, "one in the prompt"), ({"prompt": [0.7]}, "must be ids"), ({"prompt": [9]}, "from 0 to 8"),
    ({"prompt": [-1]}, "must be ids"), ({"prompt": [1], "banned": [-1]}, "must be ids"),
    ({"prompt": [1], "banned": [9]}, "must be ids"), ({"prompt": [1], "samples": 0}, "at least 1"),
    ({"prompt": [1], "length": -1}, "at least 0"),
    ({"prompt": 1000 * [9]}, r"got \[9, 9, 9, 9, 9, 9, \.\.\.\] and \[\]$"),
    ({"prompt": np.full((1, 1), 9)}, r"got \[\[9\]\] and \[\]$"),
])
def test_arguments_out_of_range_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(model, **({"length": 3} | arguments))


def test_parameters_that_overflowed_are_said(model):
    model.params[-1][:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        generate(model, [1], 3)
