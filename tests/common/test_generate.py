import numpy
import pytest
from any_device import np

from ch_lstm.rnnlm import Rnnlm
from common.generate import draw, generate, next_probabilities

SCORES = numpy.log(numpy.array([[0.5, 0.25, 0.15, 0.1]]))


@pytest.fixture
def model(device):
    model = Rnnlm(9, 4, 5, seed=0)
    for param in model.params:
        param *= 4
    return model


def test_probabilities_are_the_softmax():
    np.testing.assert_allclose(next_probabilities(SCORES), [[0.5, 0.25, 0.15, 0.1]])


def test_temperature_sharpens_and_flattens():
    sharp = next_probabilities(SCORES, temperature=0.5)  # proportional to the squares
    np.testing.assert_allclose(sharp[0, 0], 0.25 / (0.25 + 0.0625 + 0.0225 + 0.01))
    assert next_probabilities(SCORES, temperature=100).max() < 0.26


def test_extreme_scores_and_temperatures_stay_finite():
    probabilities = next_probabilities(numpy.array([[1000.0, -1000.0, 0.0]]), temperature=1e-3)
    np.testing.assert_array_equal(probabilities, [[1, 0, 0]])


def test_top_k_keeps_the_k_likeliest():
    np.testing.assert_allclose(next_probabilities(SCORES, top_k=2), [[2 / 3, 1 / 3, 0, 0]])
    np.testing.assert_allclose(next_probabilities(SCORES, top_k=99), next_probabilities(SCORES))


@pytest.mark.parametrize("top_p, kept", [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, kept):
    assert (next_probabilities(SCORES, top_p=top_p) > 0).sum() == kept


def test_banned_ids_never_come():
    np.testing.assert_allclose(next_probabilities(SCORES, banned=[0]), [[0, 0.5, 0.3, 0.2]])


@pytest.mark.parametrize("options, message", [
    ({"temperature": 0}, "temperature is 0"), ({"top_k": 0}, "top_k is 0"), ({"top_p": 0}, "top_p is 0"),
    ({"top_p": 1.1}, "top_p is 1.1"), ({"banned": [0, 1, 2, 3]}, "every token is banned"),
])
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        next_probabilities(SCORES, **options)


def test_draw_follows_the_probabilities():
    rows = numpy.tile([[0.5, 0.0, 0.3, 0.2]], (20_000, 1))
    counts = numpy.bincount(draw(rows, numpy.random.default_rng(0)), minlength=4) / len(rows)
    np.testing.assert_allclose(counts, [0.5, 0, 0.3, 0.2], atol=0.015)
    assert counts[1] == 0


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
    h, c = model.layers[1].state
    generate(model, [0], 3, samples=5)
    np.testing.assert_array_equal(model.layers[1].h, h)
    np.testing.assert_array_equal(model.layers[1].c, c)


@pytest.mark.parametrize("arguments, message", [
    ({"prompt": []}, "one in the prompt"), ({"prompt": [0.7]}, "must be ids"), ({"prompt": [9]}, "from 0 to 8"),
    ({"prompt": [1], "banned": [-1]}, "must be ids"), ({"prompt": [1], "samples": 0}, "at least 1"),
    ({"prompt": [1], "length": -1}, "at least 0"),
])
def test_arguments_out_of_range_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(model, **({"length": 3} | arguments))


def test_parameters_that_overflowed_are_said(model):
    model.params[-1][:] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        generate(model, [1], 3)
