import itertools
import math

import numpy
import pytest
from any_device import np
from by_hand import every_text
from hypothesis import given, settings
from hypothesis import strategies as st

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.language_model.beam import beam_search, log_probabilities, search
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.generate import generate

PROMPT = [3, 1]
MODELS = {
    "rnn": lambda V, dtype: SimpleRnnlm(V, 4, 5, seed=0, dtype=dtype),
    "lstm": lambda V, dtype: Rnnlm(V, 4, 5, seed=0, dtype=dtype),
    "gru": lambda V, dtype: CellRnnlm("gru", V, 4, 5, layers=2, seed=0, dtype=dtype),
    "dropout": lambda V, dtype: BetterRnnlm(V, 5, 5, 0.5, seed=0, dtype=dtype),
    "fast": lambda V, dtype: speed_up(BetterRnnlm(V, 5, 5, 0.5, seed=0, dtype=dtype)),
}


def strong(kind="lstm", V=4, dtype=np.float64):
    """A model whose weights are so large that the state matters."""
    model = MODELS[kind](V, dtype)
    rng = numpy.random.default_rng(1)
    for param in {id(param): param for param in model.params if param.base is None}.values():
        param[...] = np.to_device(rng.normal(0, 1.5, param.shape).astype(param.dtype))
    model.params[-1][...] = 0  # the bias of the scores, which would favour the same token everywhere
    return model


def all_texts(model, length, length_penalty=0.0, end_ids=(), banned=()):
    """Every text that there is, the best first: its tokens, log probability and score."""
    texts = every_text(model.vocab_size, length, end_ids, banned)
    found = []
    for n in range(1, length + 1):
        same = sorted(text for text in texts if len(text) == n)
        if same:
            model.reset_state()
            scores = np.to_cpu(model.predict(np.array([[*PROMPT, *text] for text in same])))[:, len(PROMPT) - 1:-1]
            scores = scores.astype(numpy.float64)
            log_p = scores - numpy.log(numpy.exp(scores).sum(axis=2, keepdims=True))  # (M, n, V)
            sums = [math.fsum(log_p[m, range(n), text]) for m, text in enumerate(same)]
            found += [(text, total, total / n**length_penalty) for text, total in zip(same, sums)]
    model.reset_state()
    return sorted(found, key=lambda row: -row[2])


OPTIONS = [
    {}, {"end_ids": [2]}, {"end_ids": [0, 3]}, {"banned": [1]}, {"end_ids": [2], "banned": [0]},
    {"length_penalty": 1.0}, {"end_ids": [2], "length_penalty": 0.6}, {"end_ids": [1, 2], "length_penalty": 1.0},
    {"end_ids": [3], "length_penalty": 4.0, "banned": [0]}, {"end_ids": [2], "banned": [2]}, {"end_ids": [0, 1, 2, 3]}]


def compare(model, length, n_best, tolerance, beam=None, **options):
    expected = all_texts(model, length, **options)
    gaps = -numpy.diff([score for _, _, score in expected[:n_best + 1]])
    assert (gaps > 10 * tolerance).all()  # so that rounding decides no place
    beam = beam or model.vocab_size**length
    found = beam_search(model, PROMPT, length, beam, n_best=min(n_best, beam), **options)
    assert [hypothesis.tokens for hypothesis in found] == [tokens for tokens, _, _ in expected[:n_best]]
    numpy.testing.assert_allclose([hypothesis[1:] for hypothesis in found], [row[1:] for row in expected[:n_best]],
                                  rtol=tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n_best", [1, 5])
def test_a_beam_as_wide_as_all_prefixes_finds_the_best_of_all_texts(device, options, n_best):
    compare(strong(), 4, n_best, 1e-9, **options)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("kind", MODELS)
def test_whatever_the_model_and_the_dtype(device, kind, dtype, tolerance):
    compare(strong(kind, 5, np.dtype(dtype)), 4, 4, tolerance, end_ids=[4], length_penalty=0.5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_all_texts_come_each_once(options):
    model = strong()
    expected = {tokens: log_p for tokens, log_p, _ in all_texts(model, 4, **options)}
    found = beam_search(model, PROMPT, 4, 4**4, n_best=4**4, **options)
    assert len(found) == len(expected) and {hypothesis.tokens for hypothesis in found} == expected.keys()
    for tokens, log_p, score in found:
        assert log_p == pytest.approx(expected[tokens], rel=1e-9)
        assert score == pytest.approx(log_p / len(tokens)**options.get("length_penalty", 0), rel=1e-12)
    assert [hypothesis.score for hypothesis in found] == sorted((row.score for row in found), reverse=True)
    if not options.get("banned") and "end_ids" not in options:
        assert sum(math.exp(log_p) for log_p in expected.values()) == pytest.approx(1)


@pytest.mark.parametrize("banned", [[], [0, 2]])
def test_a_beam_of_one_is_greedy(device, banned):
    model, texts = strong("gru", V=9), set()
    for first in range(9):
        (found,) = beam_search(model, [first, 1], 12, 1, banned=banned)
        greedy = generate(model, [first, 1], 12, greedy=True, banned=banned)[0].tolist()
        assert list(found.tokens) == greedy
        texts.add(found.tokens)
        (ended,) = beam_search(model, [first, 1], 12, 1, banned=banned, end_ids=[greedy[4]], length_penalty=1.0)
        assert list(ended.tokens) == greedy[:greedy.index(greedy[4]) + 1]
    assert len(texts) > 3 and max(len(set(text)) for text in texts) > 2


def test_a_wider_beam_finds_what_a_greedy_choice_misses():
    model = strong()
    best, greedy = (beam_search(model, PROMPT, 5, beam)[0] for beam in (64, 1))
    assert best.tokens != greedy.tokens and best.score > greedy.score


def test_a_prompt_primes_the_state_and_that_of_training_is_put_back(device):
    model = strong()
    model.predict(np.array([[1, 2]]))
    state = [np.to_cpu(array).copy() for array in model.layers[1].state]
    first, second = (beam_search(model, prompt, 4, 3) for prompt in ([3, 1], [2, 1]))
    assert first != second
    with pytest.raises(ValueError, match="n_best is 4"):
        beam_search(model, PROMPT, 4, 3, n_best=4)
    for array, before in zip(model.layers[1].state, state, strict=True):
        np.testing.assert_array_equal(array, before)
    assert beam_search(model, [3, 1], 4, 3) == first
    assert beam_search(model, numpy.array([3.0, 1.0]), 4, 3, banned=[0.0]) == beam_search(model, [3, 1], 4, 3,
                                                                                         banned=[0])


@pytest.mark.parametrize("beam", [1, 2, 3, 64])
def test_of_equally_likely_texts_the_lower_ids_come_first(device, beam):
    model = strong()
    model.params[-1][...] = model.params[-2][...] = 0  # every token has probability 1/4
    found = beam_search(model, PROMPT, 3, beam, n_best=beam)
    assert [hypothesis.tokens for hypothesis in found] == list(itertools.product(range(4), repeat=3))[:beam]
    assert all(hypothesis.log_probability == pytest.approx(3 * math.log(1 / 4)) for hypothesis in found)


# The search itself, over tables of scores


class Table:
    """Scores (V,) of the token behind each prefix, and a step that looks them up; it counts what it is asked."""

    def __init__(self, scores, default=None):
        self.scores, self.default = scores, default
        self.prefixes, self.batches = [()], []

    def row(self, prefix):
        return self.scores.get(prefix, self.default)

    def first(self):
        return numpy.array([self.row(())])

    def step(self, parents, tokens):
        self.prefixes = [(*self.prefixes[parent], token) for parent, token in zip(parents.tolist(), tokens.tolist())]
        assert len(set(self.prefixes)) == len(self.prefixes)
        self.batches.append(len(self.prefixes))
        return numpy.array([self.row(prefix) for prefix in self.prefixes])


def logs(*probabilities):
    with numpy.errstate(divide="ignore"):
        return numpy.log(numpy.array(probabilities))


def search_by_hand(table, length, beam, length_penalty=0.0, end_ids=(), banned=(), n_best=1):
    """The search as its docstring says it, prefix by prefix, to the full length."""
    finished, prefixes = [], [((), 0.0)]
    for _ in range(length):
        longer = []
        for prefix, total in prefixes:
            (log_p,) = log_probabilities(numpy.array([table.row(prefix)]))
            longer += [((*prefix, i), total + value) for i, value in enumerate(log_p.tolist())
                       if i not in banned and value > -math.inf]
        longer = sorted(longer, key=lambda row: (-row[1], row[0]))[:beam - len(finished)]
        finished += [row for row in longer if row[0][-1] in end_ids]
        prefixes = [row for row in longer if row[0][-1] not in end_ids]
    found = [(tokens, total, total / len(tokens)**length_penalty) for tokens, total in finished + prefixes]
    return sorted(found, key=lambda row: (-row[2], row[0]))[:n_best]


@st.composite
def searches(draw):
    V, length = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    beam = draw(st.integers(1, 9))
    rng = numpy.random.default_rng(draw(st.integers(0, 10**6)))
    kinds = [lambda: rng.normal(0, 2, V), lambda: rng.integers(0, 2, V).astype(float),
             lambda: numpy.where(rng.random(V) < 0.3, -numpy.inf, rng.normal(0, 2, V)),
             lambda: rng.normal(0, 2, V).astype(numpy.float32)]
    kind = draw(st.sampled_from(kinds))
    rows = {}
    for n in range(length):
        for prefix in itertools.product(range(V), repeat=n):
            rows[prefix] = kind()
            if not (rows[prefix] > -numpy.inf).any():
                rows[prefix][0] = 0
    some_ids = st.lists(st.integers(0, V - 1), unique=True, max_size=2)
    banned = draw(some_ids)
    options = dict(length=length, beam=beam, length_penalty=draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])),
                   end_ids=draw(some_ids), banned=banned if len(banned) < V else [], n_best=draw(st.integers(1, beam)))
    return rows, options


@settings(max_examples=300)
@given(drawn=searches())
def test_a_search_of_any_width_is_that_by_hand(drawn):
    rows, options = drawn
    table = Table(rows)
    (found,) = search(table.first(), table.step, **options)
    assert [tuple(hypothesis) for hypothesis in found] == search_by_hand(table, **options)


def test_searches_side_by_side_are_those_alone(device):
    rng = numpy.random.default_rng(0)
    rows = {(n, *prefix): rng.normal(0, 2, 4) for n in range(5) for k in range(4)
            for prefix in itertools.product(range(4), repeat=k)}
    prefixes = [(n,) for n in range(5)]
    options = dict(length=4, beam=3, length_penalty=0.8, end_ids=[2], n_best=3)
    batches = []

    def step(parents, tokens):
        assert type(parents) is type(tokens) is type(np.zeros(1))
        prefixes[:] = [(*prefixes[parent], token) for parent, token in zip(parents.tolist(), tokens.tolist())]
        batches.append(len(prefixes))
        return np.to_device(numpy.array([rows[prefix] for prefix in prefixes]))

    found = search(np.to_device(numpy.array([rows[(n,)] for n in range(5)])), step, **options)
    assert batches[0] < 15  # some hypothesis had ended: it has no row in the batch
    for n in range(5):
        alone = Table({prefix[1:]: row for prefix, row in rows.items() if prefix[0] == n})
        assert [tuple(hypothesis) for hypothesis in found[n]] == search_by_hand(alone, **options)
    assert search(np.zeros((0, 4)), step, **options) == []


def test_a_finished_text_keeps_its_place():
    # Behind the start: end 0.3, a 0.4, b 0.3. What follows a and b is spread out, so that nothing beats the end.
    table = Table({(): logs(0.3, 0.4, 0.3)}, logs(0.1, 0.45, 0.45))
    (found,) = search(table.first(), table.step, 4, 2, end_ids=[0], n_best=2)
    assert found[0].tokens == (0,) and found[0].log_probability == pytest.approx(math.log(0.3))
    assert found[1].tokens == (1, 1, 1, 1)
    assert table.batches == [1, 1, 1]  # the second place is all that goes on


def test_it_stops_where_no_prefix_can_win():
    table = Table({(): logs(0.6, 0.3, 0.1)}, logs(0.2, 0.4, 0.4))
    (found,) = search(table.first(), table.step, 50, 3, end_ids=[0])
    assert found[0].tokens == (0,) and table.batches == []
    table = Table(table.scores, logs(0.6, 0.2, 0.2))
    (found,) = search(table.first(), table.step, 50, 3, end_ids=[0], n_best=2)
    assert [hypothesis.tokens for hypothesis in found] == [(0,), (1, 0)] and table.batches == [2]


def test_a_prefix_that_can_reach_the_same_score_by_lower_ids_goes_on():
    table = Table({(): logs(0.5, 0.5)}, logs(1, 0))
    (found,) = search(table.first(), table.step, 2, 2, end_ids=[1])
    assert found[0].tokens == (0, 0) and found[0].log_probability == math.log(0.5)


def test_with_a_length_penalty_a_longer_text_may_still_win():
    table = Table({(): logs(0.6, 0.4), (1,): logs(0.1, 0.9)}, logs(0.01, 0.99))
    for alpha, best in (0.0, (0,)), (1.0, (1, 1, 1, 1)):
        (found,) = search(table.first(), table.step, 4, 2, alpha, end_ids=[0])
        assert found[0].tokens == best
        table = Table(table.scores, table.default)
    expected = math.log(0.4) + math.log(0.9) + 2 * math.log(0.99)
    assert found[0].log_probability == pytest.approx(expected) and found[0].score == pytest.approx(expected / 4)


def test_there_may_be_fewer_texts_than_are_asked_for():
    table = Table({}, logs(0.5, 0.5, 0.0))
    (found,) = search(table.first(), table.step, 2, 9, n_best=9)
    assert [hypothesis.tokens for hypothesis in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    (found,) = search(table.first(), table.step, 2, 9, n_best=9, banned=[0], end_ids=[1])
    assert [hypothesis.tokens for hypothesis in found] == [(1,)]


def test_the_table_of_a_long_vocabulary():
    probabilities = numpy.random.default_rng(0).dirichlet(numpy.ones(3000))
    table = Table({}, numpy.log(probabilities))
    (found,) = search(table.first(), table.step, 1, 20, n_best=20)
    assert [hypothesis.tokens[0] for hypothesis in found] == numpy.argsort(-probabilities)[:20].tolist()


def test_log_probabilities_are_those_of_the_softmax_and_banned_ids_change_no_other():
    scores = 3 * numpy.random.default_rng(0).standard_normal((5, 7)).astype(numpy.float32)
    before = scores.copy()
    expected = scores.astype(float) - numpy.log(numpy.exp(scores.astype(float)).sum(axis=1, keepdims=True))
    found = log_probabilities(scores, [2, 5.0])
    assert found.dtype == numpy.float64
    kept = [0, 1, 3, 4, 6]
    numpy.testing.assert_allclose(found[:, kept], expected[:, kept], rtol=1e-12)
    assert (found[:, [2, 5]] == -numpy.inf).all()
    numpy.testing.assert_array_equal(scores, before)


def test_log_probabilities_of_extreme_scores():
    largest = numpy.finfo(float).max
    found = log_probabilities(numpy.array([[1000.0, -1000.0], [largest, -largest], [0.0, -numpy.inf]]))
    numpy.testing.assert_array_equal(found, [[0, -2000], [0, -numpy.inf], [0, -numpy.inf]])


@pytest.mark.parametrize("row", [[0.0, math.nan], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_scores_that_are_not_finite_are_refused(row):
    with pytest.raises(ValueError, match="scores are not finite"):
        log_probabilities(numpy.array([[0.0, 1.0], row]))


@pytest.mark.parametrize("options, message", [
    ({"length": 0}, "length is 0, wanted a whole number from 1$"), ({"length": 2.0}, r"length is 2\.0"),
    ({"beam": 0}, "beam is 0, wanted a whole number from 1$"), ({"beam": None}, "beam is None"),
    ({"n_best": 0}, "n_best is 0, wanted a whole number from 1 to 2, the beam$"), ({"n_best": 3}, "n_best is 3"),
    ({"length_penalty": -0.1}, "length_penalty is -0.1, wanted a number from 0 to 10$"),
    ({"length_penalty": math.nan}, "length_penalty is nan"), ({"length_penalty": 10.1}, "length_penalty is 10.1"),
    ({"end_ids": [4]}, r"end_ids must be ids from 0 to 3, got \[4\]"), ({"end_ids": [-1]}, "end_ids must be"),
    ({"end_ids": [0.5]}, "end_ids must be"),
    ({"end_ids": numpy.full(99, 4)}, r"got \[4, 4, 4, 4, 4, 4, \.\.\.\]$"),
    ({"banned": [0, 1, 2, 3]}, "every token is banned"),
    ({"banned": [4]}, "must be ids from 0 to 3"), ({"banned": [-1]}, "must be ids from 0 to 3"),
    ({"prompt": []}, "one in the prompt"), ({"prompt": [4]}, "must be ids from 0 to 3"),
])
def test_options_out_of_range_are_refused(device, options, message):
    with pytest.raises(ValueError, match=message):
        beam_search(strong(), **({"prompt": PROMPT, "length": 2, "beam": 2} | options))


def test_scores_of_another_shape_and_banned_ids_that_are_none_are_refused():
    for shape in (3,), (2, 0):
        with pytest.raises(ValueError, match=r"wanted \(N, V\) with V at least 1$"):
            search(numpy.zeros(shape), None, 1, 1)
    with pytest.raises(ValueError, match=r"banned must be ids from 0 to 2, got \[3\]$"):
        search(numpy.zeros((1, 3)), None, 1, 1, banned=[3])


def test_the_most_that_is_allowed():
    (found,) = beam_search(strong(), PROMPT, 3, 2, length_penalty=10)
    assert found.score == pytest.approx(found.log_probability / 3**10)


def test_parameters_that_overflowed_are_said(device):
    model = strong()
    model.params[-1][:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        beam_search(model, PROMPT, 3, 2)
