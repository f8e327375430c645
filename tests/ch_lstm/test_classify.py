import json
import os
import sys

import numpy
import pytest
from any_device import np

from ch_lstm import classify
from ch_lstm.classifier import SequenceClassifier
from common.ids import ids_on_host
from common.optimizer import SGD
from common.text import Vocabulary
from dataset import reviews

on_each_device = pytest.mark.usefixtures("device")

SMALL = ["--task", "reviews", "--smoke"]
FILES = {"config.json", "vocabulary.json", "params.npz", "confusion.png"}
WORDS = ["<unk>", "good", "bad", "not"]
CLASSES = ("negative", "positive")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*flags, device="cpu"):
    return classify.main(["--device", device, *map(str, flags)])


def refused(capsys, *flags):
    """Return the one line on stderr of a run that must exit with 2."""
    assert run(*flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def sequences(*labelled):
    return classify.Sequences(*zip(*labelled), str.split, Vocabulary(WORDS, unknown="<unk>"), CLASSES)


# Batches, training, evaluation


@on_each_device
def test_sequences_are_padded_and_keep_their_classes():
    data = sequences(("good", "positive"), ("not very good", "negative"))
    assert data.xs.tolist() == [[1, 0, 0], [3, 0, 1]]
    assert data.lengths.tolist() == [1, 3]
    assert data.ts.tolist() == [1, 0]


@on_each_device
def test_batches_are_as_long_as_their_longest_and_hold_everything():
    data = sequences(("good", "positive"), ("not good", "negative"), ("not bad at all", "positive"))
    batches = list(data.batches(2, order=numpy.array([2, 0, 1])))
    assert [xs.tolist() for xs, _, _ in batches] == [[[3, 2, 0, 0], [1, 0, 0, 0]], [[3, 1]]]
    assert [ts.tolist() for _, ts, _ in batches] == [[1, 1], [0]]
    assert [lengths.tolist() for _, _, lengths in batches] == [[4, 1], [2]]
    assert sum(len(xs) for xs, _, _ in data.batches(2)) == 3


@on_each_device
def test_evaluate_counts_every_sequence_in_order():
    data = sequences(("good", "positive"), ("bad", "negative"), ("not good", "negative"))

    class SaysPositiveToLongOnes:
        def predict(self, xs, lengths):
            return np.to_device(numpy.stack((0.5 + 0 * lengths, lengths > 1), axis=1))  # (N, 2)

    assert classify.evaluate(SaysPositiveToLongOnes(), data, 2, batch_size=2).tolist() == [[1, 1], [1, 0]]


class Recorder(SGD):
    """Notes the learning rate of each step, and puts the step's number into the parameters."""

    def __init__(self):
        super().__init__(lr=1.0)
        self.rates = []

    def update(self, params, grads):
        self.rates.append(self.lr)
        params[0][...] = len(self.rates)


def trained(monkeypatch, accuracies, unknown=0.0):
    data = sequences(*[("good", "positive"), ("not good", "negative")] * 2)
    model, optimizer = SequenceClassifier(len(WORDS), 2, 3, 2, seed=0), Recorder()
    found = iter(accuracies)
    monkeypatch.setattr(classify, "evaluate", lambda *_: numpy.array([[next(found), 1], [0, 0]]))
    classify.train(model, optimizer, data, data, epochs=len(accuracies), batch_size=2, max_grad=5.0,
                   unknown=unknown, unknown_id=0)
    return model, optimizer


@on_each_device
def test_the_parameters_that_were_best_in_validation_are_left(monkeypatch):
    model, _ = trained(monkeypatch, [1, 8, 3])
    assert (model.params[0] == 4).all()  # two batches an epoch


@on_each_device
def test_the_learning_rate_falls_evenly(monkeypatch):
    _, optimizer = trained(monkeypatch, [1, 2])
    assert optimizer.rates == [1.0, 0.75, 0.5, 0.25]


@on_each_device
@pytest.mark.parametrize("unknown, share", [(0.0, 0), (0.99, 0.99)])
def test_tokens_become_unknown_in_training(monkeypatch, unknown, share):
    seen = []
    step = classify.training_step

    def noted_step(model, optimizer, xs, *args, **options):
        seen.extend(ids_on_host(xs).ravel().tolist())
        return step(model, optimizer, xs, *args, **options)

    monkeypatch.setattr(classify, "training_step", noted_step)
    trained(monkeypatch, range(1, 30), unknown)
    real = [i for i in seen if i]  # 0 is the padding too
    assert len(real) == pytest.approx((1 - share) * 6 * 29, abs=10)


def test_a_loss_that_is_not_finite_is_said(device, capsys, monkeypatch):
    monkeypatch.setattr(classify, "training_step", lambda *_, **__: np.float32("nan"))
    assert run(*SMALL, "--out", "run", device=device) == 2
    assert "the loss is not finite in epoch 1: try a lower --lr" in capsys.readouterr().err


# The script


def test_a_run_leaves_its_folder_and_the_same_seed_gives_the_same_run(device, capsys):
    assert run(*SMALL, "--out", "one", device=device) == run(*SMALL, "--out", "two", device=device) == 0
    assert {path.name for path in (classify.Path("one")).iterdir()} == FILES
    first, second = capsys.readouterr().out.replace("in two", "in one").split("reviews: ")[1:]
    assert without_seconds(first) == without_seconds(second)
    with numpy.load("one/params.npz") as one, numpy.load("two/params.npz") as two:
        assert all(numpy.array_equal(one[name], two[name]) for name in one.files)
    assert run(*SMALL, "--out", "three", "--seed", 1, device=device) == 0
    with numpy.load("one/params.npz") as one, numpy.load("three/params.npz") as three:
        assert not all(numpy.array_equal(one[name], three[name]) for name in one.files)


def without_seconds(text):
    return [line.split()[:-1] for line in text.splitlines()]


def test_all_cells_and_the_baseline_in_one_table(capsys):
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'rnn-from-scratch[baseline]'")
    assert run(*SMALL, "--cell", "all", "--baseline", "--out", "all") == 0
    out = capsys.readouterr().out
    table = out[out.index("on the test part"):].splitlines()
    assert [line.split()[0] for line in table[1:5]] == ["RNN", "GRU", "LSTM", "logistic"]
    assert table[4].split()[4] == "50.0%"  # words alone say nothing
    for cell in ("rnn", "gru", "lstm"):
        config = json.loads((classify.Path("all") / cell / "config.json").read_text())
        assert config["cell"] == cell


def test_the_verdict_names_the_best_and_the_standard_error():
    def result(name, *right):
        return {"name": name, "matrix": numpy.array([[right[0], 50 - right[0]], [50 - right[1], right[1]]])}

    rnn, ngrams, lstm, perfect = (
        result("RNN", 30, 30), result("n-grams", 45, 45), result("LSTM", 46, 44), result("GRU", 50, 50))
    assert classify._verdict([rnn, ngrams]) == "best: n-grams; standard error of 90.0% of 100 examples: 3.0%"
    assert classify._verdict([ngrams, rnn, lstm]).startswith("best: n-grams, LSTM; standard error")
    assert classify._verdict([rnn, perfect]) == "best: GRU"


def test_lstm_learns_reviews_and_predict_shows_the_probabilities(capsys):
    assert run("--task", "reviews", "--hidden-size", 16, "--wordvec-size", 16, "--lr", 0.02, "--batch-size", 32,
               "--epochs", 6, "--out", "runs/reviews-lstm-1") == 0
    out = capsys.readouterr().out
    accuracy = float(out[out.index("LSTM  "):].split()[1].rstrip("%"))
    assert accuracy > 90
    for text, label in [("The plot was brilliant, not dull.", "positive"),
                        ("the plot was dull, not brilliant", "negative")]:
        assert run("--task", "reviews", "--predict", text) == 0
        first, second = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
        assert first[0] == label and float(first[1].rstrip("%")) > 70
        assert float(first[1].rstrip("%")) + float(second[1].rstrip("%")) == pytest.approx(100, abs=0.2)


def test_names_then_predict(capsys):
    pytest.importorskip("faker", reason="needs Faker: pip install 'rnn-from-scratch[names]'")
    assert run("--smoke", "--epochs", 1, "--seed", 1) == run("--smoke", "--epochs", 1) == 0
    assert sorted(path.name for path in classify.Path("runs").iterdir()) == ["names-lstm-1", "names-lstm-2"]
    os.utime("runs/names-lstm-1/config.json", (0, 0))
    capsys.readouterr()
    assert run("--predict", "  KowalsKi") == run("--predict", "kowalski", "--run", "runs/names-lstm-2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == lines[3:]
    assert len({line.split()[0] for line in lines}) == 3
    assert run("--predict", "kowalski", "--run", "runs/names-lstm-1") == 0
    assert capsys.readouterr().out.splitlines() != lines[:3]


def test_characters_that_the_model_does_not_know(device, capsys):
    pytest.importorskip("faker", reason="needs Faker: pip install 'rnn-from-scratch[names]'")
    assert run("--smoke", "--epochs", 1, device=device) == 0
    capsys.readouterr()
    assert run("--predict", "Kowalскi", device=device) == 0
    assert capsys.readouterr().out.startswith("unknown to the model, read as <unk>: с к\n")
    assert "nothing in 'Чехов' is known to the run in" in refused(capsys, "--predict", "Чехов")
    assert "nothing in ' ' is known" in refused(capsys, "--predict", " ")


@pytest.mark.parametrize("flags, message", [
    (["--predict", "x"], "there is no run of the task names under runs/"),
    (["--predict", "x", "--run", "nowhere"], "there is no run in nowhere: nowhere/config.json is missing"),
    (["--predict", "x", "--epochs", "3"], "--epochs does not go with --predict"),
    (["--run", "x"], "--run goes with --predict"),
    (["--cell", "transformer"], "invalid choice: 'transformer'"),
    ([*SMALL, "--out", "."], "cannot make the folder . (File exists): choose a new one for --out"),
])
def test_wrong_use_is_one_line(flags, message, capsys):
    assert message in refused(capsys, *flags)


def test_missing_packages_are_named_before_training(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "--baseline needs scikit-learn: pip install 'rnn-from-scratch[baseline]'" in refused(
        capsys, *SMALL, "--baseline")
    monkeypatch.setitem(sys.modules, "faker", None)
    assert "the names need Faker: pip install 'rnn-from-scratch[names]'" in refused(capsys, "--smoke")
    assert not classify.Path("runs").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"task": "names"}'])
def test_a_damaged_config(content, capsys, tmp_path):
    assert run(*SMALL, "--epochs", 1, "--out", "run") == 0
    capsys.readouterr()
    (tmp_path / "run/config.json").write_text(content)
    assert "run/config.json is damaged" in refused(capsys, "--predict", "good", "--run", "run")


def test_a_run_of_another_task(capsys):
    assert run(*SMALL, "--epochs", 1, "--out", "run") == 0
    capsys.readouterr()
    assert "the run in run is for the task reviews, not names" in refused(
        capsys, "--predict", "good", "--run", "run", "--task", "names")


def test_the_words_of_reviews_are_all_known():
    train, _, test = reviews.load_data()
    known = {word for review, _ in train for word in review.split()}
    assert all(word in known for review, _ in test for word in review.split())
