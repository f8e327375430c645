import numpy
import pytest

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.np import np
from common.watch.states import (
    chance_correlation,
    correlations,
    following_cells,
    inside_brackets,
    inside_capitals,
    inside_quotes,
    line_indent,
    position_in_line,
    principal_components,
    recorded_states,
)
from common.watch.trace import trace


def marked(text, signal):
    """Return the characters at which a signal of 0 and 1 is 1, others as dots."""
    assert set(signal.tolist()) <= {0, 1}
    return "".join(character if on else "." for character, on in zip(text, signal, strict=True))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("make", [
    lambda **options: Rnnlm(11, 4, 5, **options), lambda **options: SimpleRnnlm(11, 4, 5, **options),
    lambda **options: BetterRnnlm(11, 6, 6, **options)])
def test_recorded_states_are_those_of_the_layers(make, fast, device):
    model = speed_up(make(seed=1)) if fast else make(seed=1)
    model.forward(np.to_device(numpy.array([[1, 2]])), np.to_device(numpy.array([[2, 3]])))  # a state to forget
    ids = numpy.array([3, 1, 4, 1, 5, 9, 2, 6])
    recorded = recorded_states(model, ids)
    with model.fresh_state(), trace(model) as record:
        model.predict(np.to_device(ids)[None])
    assert len(recorded) == len(record.recurrent) == len(model.recurrent_layers)
    for states, layer in zip(recorded, record.recurrent):
        assert list(states) == (["h"] if isinstance(model, SimpleRnnlm) else ["h", "c"])
        for name, array in states.items():
            assert isinstance(array, numpy.ndarray)
            numpy.testing.assert_allclose(array, layer.arrays[name][0], atol=1e-6)


def test_position_in_line_begins_anew_after_each_line_end():
    numpy.testing.assert_allclose(position_in_line("ab\nc\n\nd") * 80, [0, 1, 2, 0, 1, 0, 0])
    assert position_in_line("x" * 100).max() == position_in_line("x" * 100)[80] == 1


@pytest.mark.parametrize("text, wanted", [
    ('say "no" or', '...."no....'),
    ('"a" "b"', '"a.."b.'),
    ('«un «deux» x» y', "«un «deux» x..."),
    ("\u201ca\u201d b", "\u201ca..."),
    ('one " astray\n\nthen "x".', '..................."x..'),
    ("it's 'so'", "........."),
    ('"never closed', "............."),
])
def test_inside_quotes(text, wanted):
    assert marked(text, inside_quotes(text)) == wanted


@pytest.mark.parametrize("text, wanted", [
    ("f(a)[1] {x}", ".(a.[1..{x."),
    ("((a) b) c", "((a) b..."),
    ("(a] b", "....."),
    (") a (b\n\n) c", "..........."),
    ("{(a}", "...."),
])
def test_inside_brackets(text, wanted):
    assert marked(text, inside_brackets(text)) == wanted


def test_inside_capitals_needs_two_of_them():
    text = "A DOG, Cat ÉTÉ iPad OK"
    assert marked(text, inside_capitals(text)) == "...OG.......TÉ.......K"
    assert inside_capitals("").shape == (0,)


def test_line_indent_counts_the_spaces_read_so_far():
    assert line_indent("  a b\n c\nd").tolist() == [1, 2, 2, 2, 2, 2, 1, 1, 1, 0]


def test_correlations_are_those_of_numpy():
    rng = numpy.random.default_rng(0)
    states, signal = rng.normal(size=(50, 6)).astype(numpy.float32), rng.normal(size=50)
    wanted = numpy.corrcoef(states.T.astype(float), signal)[-1, :-1]
    numpy.testing.assert_allclose(correlations(states, signal), wanted, atol=1e-12)
    constant = numpy.tile(rng.normal(size=100), (49, 1))  # whose computed mean is not always the number itself
    assert not correlations(constant, signal[:49]).any()


@pytest.mark.parametrize("states, signal, words", [
    (numpy.ones((4, 2)), numpy.arange(3), "wanted states"), (numpy.ones(4), numpy.arange(4), "wanted states"),
    (numpy.ones((4, 2)), numpy.ones(4), "the same at all time steps"),
    (numpy.ones((1, 2)), numpy.ones(1), "the same at all time steps")])
def test_correlations_refuse_what_has_none(states, signal, words):
    with pytest.raises(ValueError, match=words):
        correlations(states, signal)


def planted(T, seed):
    """Return states of noise in which cell 7 follows quotes and cell 3 runs against them, weaker; and the signal."""
    rng = numpy.random.default_rng(seed)
    text = "".join(rng.choice(list('ab "'), T))
    signal = inside_quotes(text)
    states = 0.5 * rng.normal(size=(T, 40))
    states[:, 7] += 3 * signal
    states[:, 3] -= 0.7 * signal
    return numpy.tanh(states), signal


def test_a_planted_cell_is_found_and_holds_on_other_text():
    found = following_cells(*planted(2000, seed=0))
    assert len(found) == 40
    (first, r), (second, s) = found[:2]
    assert (first, second) == (7, 3) and r > 0.8 and -0.8 < s < -0.5
    sizes = [abs(r) for _, r in found]
    assert sizes == sorted(sizes, reverse=True)
    assert following_cells(*planted(2000, seed=0), top=2) == found[:2]

    states, signal = planted(2000, seed=1)
    measured, chance = correlations(states, signal), chance_correlation(states, signal)
    assert measured[7] > 0.8 > 0.15 > chance
    assert measured[3] < -0.5


def slow_noise(rng, shape):
    """Return noise that moves as slowly as states and signals of a text do, along the first axis."""
    noise = rng.normal(size=shape)
    for t in range(1, len(noise)):
        noise[t] += 0.95 * noise[t - 1]
    return noise


def test_chance_is_not_taken_for_a_cell_that_follows():
    """The best of 200 cells of noise looks like a find on the text that it was chosen on, and on no other."""
    chosen_with, beyond = [], 0
    for seed in range(20):
        rng = numpy.random.default_rng(seed)
        choosing, measuring = (numpy.tanh(slow_noise(rng, (400, 200)) / 3) for _ in range(2))
        signals = [(slow_noise(rng, 400) > 0).astype(float) for _ in range(2)]
        (cell, r), = following_cells(choosing, signals[0], top=1)
        chosen_with.append(abs(r))
        measured = correlations(measuring, signals[1])[cell]
        chance = chance_correlation(measuring, signals[1])
        assert 0.3 < chance < 0.8
        beyond += abs(measured) > chance
    assert min(chosen_with) > 0.3
    assert beyond <= 1


def test_chance_grows_with_the_number_of_cells_and_repeats():
    rng = numpy.random.default_rng(0)
    states, signal = rng.normal(size=(500, 300)), rng.random(500)
    few, many = chance_correlation(states[:, :3], signal), chance_correlation(states, signal)
    assert 0.05 < few < many < 0.25
    assert many == chance_correlation(states, signal)
    assert 0 <= chance_correlation(states[:4], signal[:4]) <= 1


def test_principal_components_turn_the_states_and_lose_nothing():
    rng = numpy.random.default_rng(0)
    states = rng.normal(size=(30, 4)) * [1, 5, 2, 0.1]
    projected, shares = principal_components(states, count=4)
    assert shares.sum() == pytest.approx(1)
    assert (numpy.diff(shares) < 0).all()
    variances = numpy.linalg.eigvalsh(numpy.cov(states.T))[::-1]
    numpy.testing.assert_allclose(shares, variances / variances.sum())
    numpy.testing.assert_allclose(numpy.cov(projected.T), numpy.diag(variances), atol=1e-9)
    two, _ = principal_components(states)
    numpy.testing.assert_allclose(two, projected[:, :2])
    numpy.testing.assert_allclose(principal_components(-states)[0], two)  # signs are always the same
    assert (two[numpy.abs(two).argmax(axis=0), [0, 1]] > 0).all()


def test_principal_components_of_too_little_are_zeros():
    projected, shares = principal_components(numpy.ones((3, 5)))
    assert projected.shape == (3, 2) and not projected.any() and not shares.any()
    projected, shares = principal_components(numpy.array([[1.0], [3.0]]))
    numpy.testing.assert_allclose(numpy.abs(projected), [[1, 0], [1, 0]])
    assert shares.tolist() == [1, 0]
