import contextlib

import numpy
import pytest
from any_device import checks_elements, np

from ch_lstm import grammar as script
from ch_lstm.cell_rnnlm import CellRnnlm
from ch_lstm.grammar import main, prefers_right_form, verbs_by_distance
from common.clip import unique_params
from common.gradient_adapters import model_case
from common.gradient_cases import D, Draw, H, N, T, V
from common.gradient_check import assert_gradients
from dataset.grammar import NUMBER_OF_NOUN, NUMBER_OF_VERB, Agreement, Grammar, agreement_rules, agreements

on_each_device = pytest.mark.usefixtures("device")

ENGLISH = Grammar(agreement_rules())


@on_each_device
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_gradients(cell, fast):
    def build():
        model = CellRnnlm(cell, V, D, H, seed=0, dtype=np.float64, fast=fast)
        for param in unique_params(model.params):
            param[...] = Draw(2).normal(*param.shape, std=0.5)
        return model

    case = model_case("CellRnnlm", cell, build, Draw(3).ids(N, T), Draw(4).ids(N, T), single_backward=fast)
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))


class Reader:
    """Stands for a model: scores each next word by what `score` makes of the words read so far in the sentence."""

    def __init__(self, score):
        self.score, self.sentence = score, []

    @contextlib.contextmanager
    def fresh_state(self):
        before, self.sentence = self.sentence, []
        yield
        self.sentence = before

    def predict(self, xs):
        scores = []
        for word in ENGLISH.vocabulary.decode(xs[0].tolist()):
            self.sentence = [*self.sentence, word] if word != "<eos>" else [word]
            scores.append(self.score(self.sentence))
        return np.to_device(numpy.array([scores]))  # (1, T, V)


def truth(sentence):
    return ENGLISH.next_probabilities(ENGLISH.vocabulary.encode(sentence))


def nearest_noun(sentence):
    """Prefer the verbs that agree with the last noun, whatever the sentence's subject."""
    numbers = [NUMBER_OF_NOUN[word] for word in sentence if word in NUMBER_OF_NOUN]
    return [float(numbers[-1:] == [NUMBER_OF_VERB.get(word)]) for word in ENGLISH.vocabulary.word_to_id]


def accuracies(score, text):
    right = prefers_right_form(Reader(score), np.to_device(text), ENGLISH.vocabulary)
    assert right.shape == text.shape
    words = ENGLISH.vocabulary.decode(text)
    assert not any(right[i] for i, word in enumerate(words) if word not in NUMBER_OF_VERB)
    return {group: right[places].mean() for group, places in verbs_by_distance(agreements(words)).items()}


@on_each_device
def test_a_perfect_model_is_right_about_every_verb():
    text = ENGLISH.generate(script.STEPS_AT_ONCE * 3 + 17, seed=1)
    assert set(accuracies(truth, text).values()) == {1}


@on_each_device
def test_a_model_that_is_always_wrong():
    text = ENGLISH.generate(script.STEPS_AT_ONCE + 2, seed=2)
    assert set(accuracies(lambda sentence: -truth(sentence), text).values()) == {0}


def test_a_model_that_agrees_with_the_nearest_noun_fails_behind_attractors():
    text = ENGLISH.generate(4000, seed=3)
    shares = accuracies(nearest_noun, text)
    assert all(share == 1 for (attractor, _), share in shares.items() if not attractor)
    assert all(share < 0.7 for (attractor, _), share in shares.items() if attractor)
    assert shares[True, 3] == 0  # one noun is in between


@on_each_device
def test_the_state_of_the_model_stays_as_it_is():
    model = CellRnnlm("gru", ENGLISH.vocabulary.size, 4, 5, seed=0)
    text = np.to_device(ENGLISH.generate(40, seed=4))
    model.predict(text[None])
    [(state,)] = model.get_state()
    first = prefers_right_form(model, text, ENGLISH.vocabulary)
    assert np.array_equal(model.get_state()[0][0], state)
    assert numpy.array_equal(prefers_right_form(model, text, ENGLISH.vocabulary), first)


def test_groups_of_verbs():
    verbs = [Agreement(9, 1, True), Agreement(5, 4, False), Agreement(20, 12, True), Agreement(30, 27, True)]
    assert list(verbs_by_distance(verbs).items()) == [((False, 1), [5]), ((True, 3), [30]), ((True, 8), [9, 20])]


def run(capsys, *flags, device="cpu"):
    assert main([*flags, "--device", device]) == 0
    return capsys.readouterr().out


def summary(out):
    return [line.split() for line in out.split("seconds\n")[1].splitlines()]


def test_smoke_run(device, capsys):
    out = run(capsys, "--smoke", device=device)
    assert "entropy 2.8006 nats a word: lowest perplexity 16.455" in out
    assert [row[0] for row in summary(out)] == ["rnn", "lstm", "gru"]


def test_pictures(device, capsys, tmp_path):
    run(capsys, "--smoke", "--cell", "rnn", "--words", "800", "--out", str(tmp_path / "pictures"), device=device)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "rnn-with-attractors.png", "rnn-without-attractors.png"]


def test_training_comes_near_the_lowest_perplexity(capsys):
    out = run(capsys, "--cell", "rnn", "--words", "14000", "--epochs", "5", "--lr", "0.02",
              "--wordvec-size", "16", "--hidden-size", "24")
    lowest = float(out.split("on this test text ")[1].split()[0])
    [row] = summary(out)
    reached, above = float(row[2]), float(row[3].rstrip("%"))
    assert lowest < reached < 1.5 * lowest
    assert above == pytest.approx(100 * (reached / lowest - 1), abs=0.02)


def test_the_seed_decides_all_but_the_time(device, capsys):
    def words(seed):
        out = run(capsys, "--smoke", "--cell", "gru", "--words", "800", "--seed", seed, device=device)
        return [line.rsplit(maxsplit=1)[0] if line.startswith("gru  ") else line for line in out.splitlines()]

    first, again, other = words("1"), words("1"), words("2")
    assert first == again
    assert first[0].startswith("example: ") and first[0] != other[0]
    assert first[3].startswith("gru, epoch 1: ") and first[3] != other[3]


def test_wrong_use_is_said_in_one_line(device, capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    for flags, message in (
            (["--words", "700"], "--words 700 is too short a text: give at least 701"),
            (["--out", str(tmp_path / "mine")], "choose a new one for --out"),
            (["--smoke", "--cell", "rnn", "--optimizer", "sgd", "--lr", "1e30"], "is not finite after epoch 1"),
            (["--cell", "transformer"], "invalid choice"),
            (["--epochs", "0"], "'0' is not a whole number from 1")):
        assert main([*flags, "--device", device]) == 2
        err = capsys.readouterr().err
        assert err.startswith("python -m ch_lstm.grammar: ") and err.count("\n") == 1 and message in err
