import contextlib
import dataclasses
import math
import types

import numpy
import pytest
from any_device import checks_elements, np

from ch_lstm import grammar as script
from ch_lstm.grammar import main, prefers_right_form, verbs_by_distance
from common.fast import speed_up
from common.gradients.adapters import model_case
from common.gradients.cases import D, Draw, H, N, T, V
from common.gradients.checker import assert_gradients
from common.language_model.cell_rnnlm import CellRnnlm
from common.training.clip import unique_params
from dataset.grammar import (
    NUMBER_OF_NOUN,
    NUMBER_OF_VERB,
    OTHER_FORM,
    Agreement,
    Grammar,
    agreement_rules,
    agreements,
)

on_each_device = pytest.mark.usefixtures("device")

ENGLISH = Grammar(agreement_rules())


@on_each_device
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_gradients(cell, fast):
    def build():
        model = CellRnnlm(cell, V, D, H, seed=0, dtype=np.float64)
        for param in unique_params(model.params):
            param[...] = Draw(2).normal(*param.shape, std=0.5)
        return speed_up(model) if fast else model

    case = model_case("CellRnnlm", cell, build, Draw(3).ids(N, T), Draw(4).ids(N, T),
                      single_backward=fast and np.backend == "numpy")
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
    assert right.shape == text.shape and right.dtype == bool
    words = ENGLISH.vocabulary.decode(text)
    assert not any(right[i] for i, word in enumerate(words) if word not in NUMBER_OF_VERB)
    return {group: right[places].mean() for group, places in verbs_by_distance(agreements(words)).items()}


@on_each_device
def test_a_perfect_model_is_right_about_every_verb():
    text = ENGLISH.generate(script.STEPS_AT_ONCE * 3 + 17, seed=1)
    assert set(accuracies(truth, text).values()) == {1}


@pytest.mark.parametrize("steps_left", [0, 1])
def test_the_last_verb_counts_wherever_the_last_piece_of_the_text_begins(monkeypatch, steps_left):
    text = ENGLISH.generate(60, seed=5)
    last = max(verb.verb for verb in agreements(ENGLISH.vocabulary.decode(text)))
    monkeypatch.setattr(script, "STEPS_AT_ONCE", last - steps_left)
    assert set(accuracies(truth, text[:last + 1]).values()) == {1}


@on_each_device
@pytest.mark.parametrize("score", [lambda sentence: -truth(sentence), lambda sentence: 0 * truth(sentence)])
def test_a_model_that_is_always_wrong_or_has_no_preference(score):
    text = ENGLISH.generate(script.STEPS_AT_ONCE + 2, seed=2)
    assert set(accuracies(score, text).values()) == {0}


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


# The script


def flags_of(settings):
    return [str(text) for name, value in settings.items() for text in ("--" + name.replace("_", "-"), value)]


GIVEN = {"cell": "gru", "words": 900, "epochs": 3, "wordvec_size": 5, "hidden_size": 7, "optimizer": "momentum",
         "lr": 0.5, "seed": 4}
BY_DEFAULT = {"cell": "all", "words": 200_000, "epochs": 6, "wordvec_size": 32, "hidden_size": 64,
              "optimizer": "adam", "lr": 0.005, "seed": 0}


@pytest.mark.parametrize("flags, settings", [
    ([], BY_DEFAULT),
    (["--smoke"], BY_DEFAULT | {"words": 2000, "epochs": 2, "wordvec_size": 8, "hidden_size": 8}),
    (flags_of(GIVEN), GIVEN), (["--smoke", *flags_of(GIVEN)], GIVEN)])
def test_every_setting_goes_where_its_flag_says(monkeypatch, flags, settings):
    drawn, runs, generate = {}, [], Grammar.generate

    def recorded(grammar, length, seed):
        drawn[length, seed] = generate(grammar, 40, seed)
        return drawn[length, seed]

    def run(cell, config, grammar, texts):
        runs.append((cell, config, texts))
        return ("", "", "", "", "", ""), []

    monkeypatch.setattr(Grammar, "generate", recorded)
    monkeypatch.setattr(script, "_run", run)
    assert main(flags) == 0
    words, seed = settings["words"], settings["seed"]
    places = {"train": (words, f"{seed} train"), "valid": (words // 10, f"{seed} valid"),
              "test": (words // 2, f"{seed} test")}
    assert list(drawn) == list(places.values())
    assert [cell for cell, *_ in runs] == (["rnn", "lstm", "gru"] if settings["cell"] == "all" else [settings["cell"]])
    for _, config, texts in runs:
        assert dataclasses.asdict(config) == settings | {"out": None}
        assert texts.keys() == places.keys() and all(texts[split] is drawn[places[split]] for split in places)


def test_the_language_and_its_test_text_are_described(monkeypatch, capsys):
    monkeypatch.setattr(script, "_run", lambda *_: (("a", "b", "c", "d", "e", "f"), []))
    assert main(["--words", "800", "--cell", "rnn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = ENGLISH.generate(400, seed="0 test")
    nats = -sum(math.log(ENGLISH.next_probabilities(text[:i])[text[i]]) for i in range(1, 400)) / 399
    assert lines[0] == f"example: {' '.join(ENGLISH.vocabulary.decode(text[1:30]))} ..."
    assert lines[1].startswith(f"{ENGLISH.vocabulary.size} words, {ENGLISH.visits.sum():.2f} a sentence")
    assert lines[1].endswith(f"lowest perplexity 16.455, on this test text {math.exp(nats):.3f}")
    assert lines[3] == "cell  parameters  test perplexity  above the lowest  verbs right  seconds"
    assert [line.split() for line in lines[4:]] == [["a", "b", "c", "d", "e", "f"]]


def nats_of(model, text):
    """Mean cross entropy of a text read from a state of zeros, by a softmax written out."""
    model.reset_state()
    scores = model.predict(text[None, :-1])[0].astype(float)
    return float((numpy.log(numpy.exp(scores).sum(axis=1)) - scores[range(len(text) - 1), text[1:]]).mean())


def shares_right(model, text):
    """The share of verbs preferred to their other form, of all and by attractor and distance, one verb at a time."""
    words, ids = ENGLISH.vocabulary.decode(text), ENGLISH.vocabulary.word_to_id
    right = {}
    for verb in agreements(words):
        model.reset_state()
        scores = model.predict(text[None, :verb.verb])[0, -1]
        found = bool(scores[ids[words[verb.verb]]] > scores[ids[OTHER_FORM[words[verb.verb]]]])
        right.setdefault((verb.attractor, verb.distance), []).append(found)
    total = sum(right.values(), [])
    return sum(total) / len(total), {group: sum(found) / len(found) for group, found in sorted(right.items())}


def test_a_run_equals_a_loop_by_hand(monkeypatch, capsys):
    monkeypatch.setattr(script, "BATCH_SIZE", 3)
    monkeypatch.setattr(script, "TIME_SIZE", 4)
    monkeypatch.setattr(script, "MAX_GRAD", 0.5)
    times = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0, 30.0])
    monkeypatch.setattr(script, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    texts = {split: ENGLISH.generate(length, seed) for seed, (split, length) in enumerate(
        (("train", 60), ("valid", 50), ("test", 120)))}
    config = script.Settings(epochs=3, wordvec_size=5, hidden_size=6, optimizer="sgd", lr=4.0, seed=2)
    row, history = script._run("rnn", config, ENGLISH, texts)
    out = capsys.readouterr().out

    model = CellRnnlm("rnn", ENGLISH.vocabulary.size, 5, 6, seed=2)
    train, expected = texts["train"], []
    n, position, clipped = len(train) - 1, 0, []
    for lr in (4.0, 4.0 * 2 / 3, 4.0 / 3):
        losses = []
        for _ in range(n // 12):
            places = (numpy.arange(3)[:, None] * (n // 3) + position + numpy.arange(4)) % n  # (N, T)
            losses.append(float(model.forward(train[places], train[places + 1])))
            model.backward()
            norm = sum(float((grad**2).sum()) for grad in model.grads)**0.5
            clipped.append(norm > 0.5)
            for param, grad in zip(model.params, model.grads):
                param -= lr * min(1, 0.5 / norm) * grad
            position += 4
        states = model.get_state()  # training goes on with them, whatever is read in between
        all_right, by_group = shares_right(model, texts["test"])
        expected.append((math.exp(numpy.mean(losses)), math.exp(nats_of(model, texts["valid"])), all_right, by_group))
        model.set_state(states)
    assert True in clipped and position > n // 3  # strips went over their ends
    assert len({round(valid, 2) for _, valid, *_ in expected}) == 3

    lines = [line for line in out.splitlines() if line.startswith("rnn")]
    for epoch, (line, (train_perplexity, valid_perplexity, *_)) in enumerate(zip(lines, expected, strict=True), 1):
        title, *perplexities = line.split(" perplexity ")
        assert title == f"rnn, epoch {epoch}: training" and perplexities[0].endswith(", validation")
        assert [float(text.split(",")[0]) for text in perplexities] == pytest.approx(
            [train_perplexity, valid_perplexity], rel=1e-4)
    assert history == [by_group for *_, by_group in expected]

    groups = verbs_by_distance(agreements(ENGLISH.vocabulary.decode(texts["test"])))
    table = out.split("verbs of the test text in the right form\n")[1].rstrip("\n")
    assert [line.split() for line in table.splitlines()] == [
        ["attractor", "distance", "verbs", "epoch", "1", "epoch", "2", "epoch", "3"],
        *([("no", "yes")[attractor], str(distance), str(len(places)),
           *(f"{by_group[attractor, distance]:.1%}" for *_, by_group in expected)]
          for (attractor, distance), places in groups.items())]

    cell, parameters, perplexity, above, right, seconds = row
    reached, size = math.exp(nats_of(model, texts["test"])), sum(param.size for param in model.params)
    lowest = math.exp(ENGLISH.cross_entropy(texts["test"]))
    assert (cell, parameters, seconds) == ("rnn", f"{size:,}", "7")  # 1 s, 2 s and 4 s of training
    assert float(perplexity) == pytest.approx(reached, rel=1e-4)
    assert float(above.rstrip("%")) == pytest.approx(100 * (reached / lowest - 1), rel=1e-3)
    assert right == f"{expected[-1][2]:.2%}"


def test_the_fast_forms_are_trained(monkeypatch):
    def take(model):
        assert [param.tolist() for param in model.params] == [param.tolist() for param in expected.params]
        raise KeyboardInterrupt

    expected = CellRnnlm("gru", ENGLISH.vocabulary.size, 2, 3, seed=5)
    monkeypatch.setattr(script, "speed_up", take)
    texts = dict.fromkeys(("train", "valid", "test"), ENGLISH.generate(50))
    with pytest.raises(KeyboardInterrupt):
        script._run("gru", script.Settings(wordvec_size=2, hidden_size=3, seed=5), ENGLISH, texts)


def test_pictures_have_a_curve_for_each_epoch(monkeypatch, tmp_path):
    pictures = []
    monkeypatch.setattr(script, "save_curves", lambda *args, **options: pictures.append((*args, options)))
    history = [{(False, 1): 0.1, (False, 4): 0.2, (True, 3): 0.3}, {(False, 1): 0.4, (False, 4): 0.5, (True, 3): 0.6}]
    script._save_pictures(tmp_path, "gru", history)
    words = ("words from the subject to the verb", "verbs in the right form")
    assert pictures == [
        (tmp_path / "gru-without-attractors.png", {"epoch 1": ([1, 4], [0.1, 0.2]), "epoch 2": ([1, 4], [0.4, 0.5])},
         *words, "gru, without attractors in between", {"ylim": (-0.05, 1.05)}),
        (tmp_path / "gru-with-attractors.png", {"epoch 1": ([3], [0.3]), "epoch 2": ([3], [0.6])},
         *words, "gru, with attractors in between", {"ylim": (-0.05, 1.05)})]


def test_smoke_run(capsys):
    out = run(capsys, "--smoke")
    assert "entropy 2.8006 nats a word: lowest perplexity 16.455" in out
    assert [row[0] for row in summary(out)] == ["rnn", "lstm", "gru"]


def test_pictures(device, capsys, tmp_path):
    run(capsys, "--smoke", "--cell", "rnn", "--words", "800", "--out", str(tmp_path / "pictures"), device=device)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "rnn-with-attractors.png", "rnn-without-attractors.png"]


@pytest.mark.training
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
            (["--smoke", "--cell", "rnn", "--optimizer", "sgd", "--lr", "1e30"], "of epoch 1 is not finite"),
            (["--cell", "transformer"], "invalid choice"),
            (["--epochs", "0"], "'0' is not a whole number from 1")):
        assert main([*flags, "--device", device]) == 2
        err = capsys.readouterr().err
        assert err.startswith("python -m ch_lstm.grammar: ") and err.count("\n") == 1 and message in err
