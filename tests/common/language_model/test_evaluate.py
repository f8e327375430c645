import contextlib
import itertools
import math
import types

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.functions import softmax
from common.language_model import evaluate
from common.language_model.evaluate import (
    eval_perplexity,
    eval_seq2seq,
    format_perplexity,
    perplexity,
    safe_exp,
)

pytestmark = pytest.mark.usefixtures("device")


@pytest.fixture
def corpus(device):
    return np.random.default_rng(0).integers(7, size=53)


def naive_perplexity(model, corpus):
    """One token at a time, from the probabilities."""
    model.reset_state()
    logs, ids = [], corpus.tolist()
    for current, following in itertools.pairwise(ids):
        logs.append(math.log(softmax(model.predict(np.array([[current]])))[0, 0, following]))
    return math.exp(-sum(logs) / len(logs))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("steps", [500, 10, 7, 52])
def test_every_token_but_the_first_is_predicted_once_with_the_state_carried(corpus, monkeypatch, steps, fast):
    monkeypatch.setattr(evaluate, "STEPS_AT_ONCE", steps)
    model = BetterRnnlm(7, 5, 5, seed=0, dtype=np.float64)
    model = speed_up(model) if fast else model
    for param in model.params:
        param *= 3  # so that the state matters
    assert perplexity(model, corpus) == pytest.approx(naive_perplexity(model, corpus), rel=1e-12)


def test_evaluating_does_not_disturb_training(corpus):
    def losses(evaluate_between):
        model = BetterRnnlm(7, 5, 5, seed=0, dtype=np.float64)
        result = []
        for start in range(0, 40, 10):
            xs, ts = corpus[None, start:start + 10], corpus[None, start + 1:start + 11]
            result.append(model.forward(xs, ts))
            if evaluate_between:
                perplexity(model, corpus)
        return result

    assert losses(evaluate_between=True) == losses(evaluate_between=False)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("evaluate_text", [
    perplexity, lambda model, corpus: eval_perplexity(model, corpus, batch_size=1, time_size=10)],
    ids=["perplexity", "eval_perplexity"])
def test_evaluating_leaves_gradients_and_parameters_alone(evaluate_text, fast, corpus):
    model = BetterRnnlm(7, 5, 5, seed=0)
    model = speed_up(model) if fast else model
    model.forward(corpus[None, :10], corpus[None, 1:11])
    model.backward()
    before = [np.to_cpu(array).copy() for array in (*model.params, *model.grads)]
    assert all(array.any() for array in before[len(model.params):])
    evaluate_text(model, corpus)
    for array, expected in zip((*model.params, *model.grads), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_losses_are_added_in_double_precision_by_the_tokens_they_are_of(monkeypatch):
    class Scripted:
        losses = iter([0.1, 0.2, 0.7])

        def fresh_state(self):
            return contextlib.nullcontext()

        def forward(self, xs, ts, train_flg, gradients):
            assert not train_flg and not gradients
            return numpy.float32(next(self.losses))

    monkeypatch.setattr(evaluate, "STEPS_AT_ONCE", 3)
    nats = sum(float(numpy.float32(loss)) * tokens for loss, tokens in ((0.1, 3), (0.2, 3), (0.7, 1)))
    assert perplexity(Scripted(), numpy.arange(8)) == pytest.approx(math.exp(nats / 7), rel=1e-14)


def test_exp_of_what_is_too_large_is_infinite():
    assert safe_exp(700) == math.exp(700) and safe_exp(-3.5) == math.exp(-3.5)
    assert safe_exp(709.7) == math.exp(709.7) and safe_exp(710) == safe_exp(math.inf) == math.inf
    assert safe_exp(-math.inf) == 0 and math.isnan(safe_exp(math.nan))


@pytest.mark.parametrize("perplexity, text", [
    (1, "1.00"), (135.174, "135.17"), (999_999_999.99, "999999999.99"), (999_999_999.996, "1.00e+09"),
    (1.234e9, "1.23e+09"), (1.7e308, "1.70e+308"), (math.inf, "inf"), (math.nan, "nan"),
    (numpy.float32(135.174), "135.17"), (numpy.float64(math.inf), "inf")])
def test_a_printed_perplexity_has_at_most_12_characters(perplexity, text):
    assert format_perplexity(perplexity) == text and len(text) <= 12


def scripted(*losses):
    """A model whose forward returns these float32 losses, one after the other."""
    left = iter(losses)
    return types.SimpleNamespace(forward=lambda xs, ts: np.array(next(left), dtype=np.float32)[()])


def test_eval_perplexity_adds_up_in_double_precision():
    """Behind 2^24, which float32 cannot count beyond, a loss of 1 would be lost 20 times."""
    corpus, losses = np.zeros(22, dtype=int), [2.0**24] + [1.0] * 20
    single = np.float32(0)
    for loss in losses:
        single += np.float32(loss)
    assert float(single) == 2**24
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "safe_exp", lambda nats: nats)
        assert eval_perplexity(scripted(*losses), corpus, 1, 1) == (2**24 + 20) / 21


def test_seven_million_batches_with_a_loss_of_5_00013(monkeypatch):
    """Added up in float32, they give a perplexity of 196.03."""
    loss, batches = numpy.float32(5.00013), 7_000_000
    total = numpy.cumsum(numpy.full(batches, loss))[-1]  # one after the other, in float32
    assert math.exp(total / batches) == pytest.approx(196.03, abs=0.01)

    class Begun(evaluate.RunningMean):
        """Holds the mean of all batches but 1000 already."""

        def __init__(self):
            super().__init__()
            self.add(loss, batches - 1000)

    monkeypatch.setattr(evaluate, "RunningMean", Begun)
    found = eval_perplexity(scripted(*[loss] * 1000), np.zeros(1001, dtype=int), 1, 1)
    assert found == pytest.approx(148.4325, abs=1e-4)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3), ()])
@pytest.mark.parametrize("evaluate_text", [perplexity, eval_perplexity])
def test_a_text_without_a_prediction_is_refused(evaluate_text, shape):
    model = SimpleRnnlm(7, 4, 5, seed=0)
    with pytest.raises(ValueError, match=rf"^{evaluate_text.__name__}: the corpus has shape \(.*\), wanted \(n,\) of "):
        evaluate_text(model, np.zeros(shape, dtype=int))


def test_the_state_is_put_back_even_when_evaluation_fails(corpus):
    model = SimpleRnnlm(7, 4, 5, seed=0)
    model.forward(corpus[None, :5], corpus[None, 1:6])
    before = np.to_cpu(model.layers[1].h).copy()
    with pytest.raises(ValueError):
        perplexity(model, np.array([1, 2, 99]))
    np.testing.assert_array_equal(model.layers[1].h, before)


def test_eval_perplexity_is_the_book_s(corpus):
    model = BetterRnnlm(7, 5, 5, seed=0, dtype=np.float64)
    for param in model.params:
        param *= 3
    N, T = 4, 3
    result = eval_perplexity(model, corpus, batch_size=N, time_size=T)
    model.reset_state()
    ids, jump, total = corpus.tolist(), 52 // N, 0.0
    for i in range(52 // (N * T)):
        xs = np.array([[ids[row * jump + i * T + t] for t in range(T)] for row in range(N)])
        ts = np.array([[ids[row * jump + i * T + t + 1] for t in range(T)] for row in range(N)])
        total += model.forward(xs, ts, train_flg=False)
    assert result == pytest.approx(math.exp(total / (52 // (N * T))), rel=1e-12)


def test_eval_perplexity_takes_models_without_train_flg():
    shapes = []

    class Uniform:
        def forward(self, xs, ts):
            shapes.append(xs.shape)
            return math.log(7)

    corpus = np.zeros(1 + 720, dtype=int)
    assert eval_perplexity(Uniform(), corpus, batch_size=2, time_size=5) == pytest.approx(7)
    assert shapes == [(2, 5)] * 72
    found = eval_perplexity(Uniform(), corpus)
    assert found == pytest.approx(7) and type(found) is float
    assert shapes[72:] == [(10, 35)] * 2


class Parrot:
    """Answers with the given ids, and notes what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def generate(self, question, start_id, sample_size):
        self.asked.append((question.tolist(), start_id, sample_size))
        return self.answer


ID_TO_CHAR = dict(enumerate("16+75 _920384"))
QUESTION, CORRECT = numpy.array([[0, 1, 2, 3, 4, 5, 5]]), numpy.array([[6, 7, 0, 5]])  # 16+75, _91


@pytest.mark.parametrize("form", [
    list, lambda ids: np.array(ids, dtype=int), lambda ids: [np.int64(char_id) for char_id in ids]],
    ids=["list", "array", "list of scalars"])
@pytest.mark.parametrize("answer, right", [([7, 0, 5], 1), ([7, 0, 0], 0), ([0, 7, 5], 0), ([7, 0], 0), ([], 0)])
def test_eval_seq2seq_counts_an_answer_that_is_right_in_every_character(answer, right, form, capsys):
    model = Parrot(form(answer))
    found = eval_seq2seq(model, np.to_device(QUESTION), np.to_device(CORRECT), ID_TO_CHAR)
    assert found == right and type(found) is int
    assert model.asked == [(QUESTION.tolist(), 6, 3)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("answer, line", [([7, 0, 5], "O 91 "), ([7, 7, 5], "X 99 ")])
def test_eval_seq2seq_prints_question_answer_and_guess(answer, line, capsys):
    question, reverse, correct = (np.to_device(ids) for ids in (QUESTION, QUESTION[:, ::-1], CORRECT))
    eval_seq2seq(Parrot(answer), question, correct, ID_TO_CHAR, True)
    assert capsys.readouterr().out.splitlines() == ["Q 16+75  ", "T 91 ", line, "---"]
    model = Parrot(answer)
    eval_seq2seq(model, reverse, correct, ID_TO_CHAR, verbose=True, is_reverse=True)
    assert capsys.readouterr().out.splitlines() == ["Q 16+75  ", "T 91 ", line, "---"]
    assert model.asked[0][0] == QUESTION[:, ::-1].tolist()
