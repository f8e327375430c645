import json
import os
import sys
import types

import numpy
import pytest
from any_device import np

from ch_lstm import classify
from ch_lstm.classifier import SequenceClassifier
from common.device.ids import ids_on_host
from common.optimizer import SGD, Adam
from common.text.vocabulary import Vocabulary
from common.training import epochs as training_loop
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


def numbered(n):
    """n sequences: number i is of class i % 2 and has i % 3 + 1 times the id i + 1."""
    words = [f"w{i}" for i in range(n)]
    texts = [" ".join([word] * (i % 3 + 1)) for i, word in enumerate(words)]
    return classify.Sequences(texts, [CLASSES[i % 2] for i in range(n)], str.split,
                              Vocabulary(["<unk>", *words], unknown="<unk>"), CLASSES)


class Recorder(SGD):
    """Notes the learning rate and the norm of the gradients of each step, and fills the parameters with its number."""

    def __init__(self):
        super().__init__(lr=1.0)
        self.rates, self.norms = [], []

    def update(self, params, grads):
        self.rates.append(self.lr)
        self.norms.append(sum(float((grad**2).sum()) for grad in grads)**0.5)
        for param in params:
            param[...] = len(self.rates)


SEVEN = numbered(7)  # three batches of at most three


def trained(monkeypatch, accuracies, training=SEVEN, valid=None, max_grad=5.0, unknown=0.0, unknown_id=0):
    """Train with scripted accuracies, an epoch for each; return the model and its `Recorder`."""
    model, optimizer = SequenceClassifier(8, 2, 3, 2, seed=0), Recorder()
    results = iter(accuracies)

    def scripted(evaluated, sequences, classes):
        assert evaluated is model and sequences is valid and classes == 2
        right = next(results)
        return numpy.array([[right, 10 - right], [0, 0]])

    monkeypatch.setattr(classify, "evaluate", scripted)
    classify.train(model, optimizer, training, valid, len(accuracies), 3, max_grad, unknown, unknown_id)
    return model, optimizer


@pytest.fixture
def batches(monkeypatch):
    """The ids, classes and lengths that each training step gets, as lists; its loss is its number."""
    seen = []

    def step(model, optimizer, xs, ts, max_grad, before_update, *, lengths):
        seen.append((ids_on_host(xs).tolist(), ids_on_host(ts).tolist(), lengths.tolist()))
        return np.float32(len(seen))

    monkeypatch.setattr(training_loop, "training_step", step)
    return seen


@on_each_device
@pytest.mark.parametrize("accuracies, best", [([1, 8, 3], 2), ([1, 3, 8], 3), ([8, 3, 8], 1), ([0, 0], 1)])
def test_the_parameters_that_were_best_in_validation_are_left_the_first_of_equals(monkeypatch, accuracies, best):
    model, _ = trained(monkeypatch, accuracies, valid=numbered(2))
    assert all((param == 3 * best).all() for param in model.params)  # the step after which it was evaluated


def test_the_learning_rate_falls_evenly_to_zero_behind_the_last_step(monkeypatch):
    _, optimizer = trained(monkeypatch, [1, 2])
    assert optimizer.rates == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], rel=1e-12)


def test_gradients_are_clipped_to_the_norm_given(monkeypatch):
    _, free = trained(monkeypatch, [1], max_grad=1e9)
    _, clipped = trained(monkeypatch, [1], max_grad=0.01)
    assert free.norms[0] > 0.1 and clipped.norms[0] == pytest.approx(0.01, rel=1e-3)


def test_each_epoch_takes_every_sequence_once_in_a_new_order(monkeypatch, batches):
    trained(monkeypatch, [1, 2, 3])
    assert [len(ts) for _, ts, _ in batches] == [3, 3, 1] * 3
    order = []
    for xs, ts, lengths in batches:
        for row, target, length in zip(xs, ts, lengths, strict=True):
            number = row[0] - 1
            assert (target, length) == (number % 2, number % 3 + 1)
            assert row == [number + 1] * length + [0] * (max(lengths) - length)
            order.append(number)
    epochs = [order[:7], order[7:14], order[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, range(7)]}) == 4


def test_the_loss_of_an_epoch_is_the_mean_over_its_sequences(monkeypatch, batches, capsys):
    trained(monkeypatch, [5, 6])
    assert capsys.readouterr().out.splitlines() == [  # losses 1 2 3, then 4 5 6, of 3, 3 and 1 sequences
        f"epoch 1: training loss {(3 * 1 + 3 * 2 + 1 * 3) / 7:.3f}, validation accuracy 50.0%",
        f"epoch 2: training loss {(3 * 4 + 3 * 5 + 1 * 6) / 7:.3f}, validation accuracy 60.0%"]


@on_each_device
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_in_training_each_token_becomes_unknown_with_the_probability_given(monkeypatch, batches, unknown):
    data = classify.Sequences(["good " * 50] * 4, ["positive"] * 4, str.split, Vocabulary(WORDS, unknown="<unk>"),
                              CLASSES)
    trained(monkeypatch, [1] * 5, data, unknown=unknown, unknown_id=3)
    rows = [tuple(row) for xs, _, _ in batches for row in xs]
    tokens = numpy.array(rows)  # (20, 50)
    assert set(tokens.ravel().tolist()) == ({1, 3} if unknown else {1})
    spread = (unknown * (1 - unknown) / tokens.size)**0.5  # standard deviation of the share
    assert abs((tokens == 3).mean() - unknown) <= 4 * spread
    assert len(set(rows)) == (20 if unknown else 1)  # drawn anew for each sequence and each epoch
    assert (data.xs == 1).all()


@on_each_device
def test_evaluation_is_without_dropout():
    model, plain = (SequenceClassifier(8, 4, 5, 2, dropout_ratio=ratio, seed=0) for ratio in (0.9, 0.0))
    for param in model.params:
        param *= 20
    for param, source in zip(plain.params, model.params):
        param[...] = source
    predicted = [int(plain.predict(np.to_device(SEVEN.xs[i:i + 1, :SEVEN.lengths[i]])).argmax()) for i in range(7)]
    expected = [[0, 0], [0, 0]]
    for i, found in enumerate(predicted):
        expected[i % 2][found] += 1
    assert set(predicted) == {0, 1}
    assert classify.evaluate(model, SEVEN, 2, batch_size=3).tolist() == expected


def test_a_loss_that_is_not_finite_is_said(device, capsys, monkeypatch):
    monkeypatch.setattr(training_loop, "training_step", lambda *_, **__: np.float32("nan"))
    assert run(*SMALL, "--out", "run", device=device) == 2
    assert "the loss of epoch 1 is not finite: try a lower learning rate (--lr)" in capsys.readouterr().err


# The script

TINY_PARTS = (
    [("good good", "positive"), ("bad", "negative"), ("not bad", "positive"), ("bad good", "negative")],
    [("good early", "positive"), ("bad", "negative"), ("good", "positive")],
    [("good late", "positive"), ("bad late", "negative"), ("bad", "negative"), ("bad not", "negative"),
     ("good bad", "positive")],
)
TINY_WORDS = ["<unk>", "good", "bad", "not"]  # of the first part alone


@pytest.fixture
def tiny(monkeypatch):
    """Both tasks load `TINY_PARTS`, no time passes but 7 s of training, and nothing is learnt: the answer to all is
    "positive". Holds what was asked for."""
    asked = types.SimpleNamespace(seeds=[], trainings=[], pictures=[])

    def load(seed):
        asked.seeds.append(seed)
        return TINY_PARTS

    def train(*args):
        asked.trainings.append(args)
        asked.weights = [param.copy() for param in args[0].params]  # as they begin
        args[0].params[-2][...] = 0
        args[0].params[-1][...] = np.to_device(numpy.arange(args[0].params[-1].size))

    for task in ("names", "reviews"):
        monkeypatch.setitem(classify.TASKS, task, {"load": load, "classes": CLASSES, "tokenize": str.split})
    times = iter(range(100, 7000, 7))
    monkeypatch.setattr(classify, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(classify, "train", train)
    monkeypatch.setattr(classify, "save_matrix", lambda *args, **options: asked.pictures.append((args, options)))
    return asked


def texts_of(sequences, vocabulary):
    return [(" ".join(vocabulary[i] for i in row[:length]), CLASSES[k])
            for row, length, k in zip(sequences.xs.tolist(), sequences.lengths.tolist(), sequences.ts.tolist())]


COMMON = {"cell": "lstm", "lr": 0.005, "batch_size": 128, "max_grad": 5.0, "seed": 0}
REVIEWS = COMMON | {"task": "reviews", "epochs": 15, "wordvec_size": 32, "hidden_size": 64, "dropout": 0.0,
                    "unknown": 0.0}
NAMES = COMMON | {"task": "names", "epochs": 60, "wordvec_size": 64, "hidden_size": 128, "dropout": 0.4,
                  "unknown": 0.15}
GIVEN = {"task": "reviews", "cell": "gru", "epochs": 3, "batch_size": 7, "wordvec_size": 5, "hidden_size": 6,
         "dropout": 0.25, "unknown": 0.125, "lr": 0.5, "max_grad": 2.0, "seed": 9}


def flags_of(settings):
    return [text for name, value in settings.items() for text in ("--" + name.replace("_", "-"), value)]


@pytest.mark.parametrize("flags, config", [
    ([], NAMES), (["--task", "reviews"], REVIEWS),
    (["--smoke"], NAMES | {"epochs": 2, "wordvec_size": 8, "hidden_size": 8}),
    (flags_of(GIVEN), GIVEN), (["--smoke", *flags_of(GIVEN)], GIVEN)])
def test_every_setting_goes_where_its_flag_says(tiny, flags, config):
    assert run(*flags, "--out", "run") == 0
    written = classify.Path("run/config.json").read_text()
    assert json.loads(written) == config | {"script": "ch_lstm.classify", "classes": list(CLASSES)}
    assert written == json.dumps(json.loads(written), indent=2)  # a line for each, for a reader
    assert tiny.seeds == [config["seed"]]
    ((model, optimizer, _, _, *settings),) = tiny.trainings
    assert type(optimizer) is Adam and optimizer.lr == config["lr"]
    assert settings == [config[name] for name in ("epochs", "batch_size", "max_grad", "unknown")] + [0]
    assert model.input_dropout.dropout_ratio == model.output_dropout.dropout_ratio == config["dropout"]
    fresh = SequenceClassifier(4, config["wordvec_size"], config["hidden_size"], 2, config["cell"],
                               seed=config["seed"])
    assert type(model.recurrent) is type(fresh.recurrent)
    assert all(np.array_equal(a, b) for a, b in zip(tiny.weights, fresh.params, strict=True))


def test_a_run_without_out_gets_a_new_folder_each_time_and_each_cell_its_own(tiny):
    assert run("--task", "reviews") == run("--task", "reviews", "--cell", "all") == 0
    folders = sorted(path.name for path in classify.Path("runs").iterdir())
    assert folders == ["reviews-gru-1", "reviews-lstm-1", "reviews-lstm-2", "reviews-rnn-1"]
    assert run("--task", "reviews", "--cell", "all", "--out", "all") == 0
    for path in [*classify.Path("runs").glob("*/config.json"), *classify.Path("all").glob("*/config.json")]:
        assert json.loads(path.read_text())["cell"] in path.parent.name
    assert sorted(path.name for path in classify.Path("all").iterdir()) == ["gru", "lstm", "rnn"]


def test_the_vocabulary_is_that_of_the_training_part_and_the_table_that_of_the_test_part(tiny, capsys):
    assert run("--task", "reviews", "--wordvec-size", 3, "--hidden-size", 4, "--out", "run") == 0
    ((_, _, training, valid, *_),) = tiny.trainings
    known = [[(" ".join(word if word in TINY_WORDS else "<unk>" for word in text.split()), label)
              for text, label in part] for part in TINY_PARTS]
    assert [texts_of(part, TINY_WORDS) for part in (training, valid)] == known[:2]
    vocabulary = Vocabulary.load("run/vocabulary.json")
    assert list(vocabulary.word_to_id) == TINY_WORDS and vocabulary.unknown == "<unk>"
    size = 4 * 3 + 3 * 16 + 4 * 16 + 16 + 4 * 2 + 2
    f1 = (0 + 2 * 2 / (2 + 5)) / 2  # all five are taken for positive, two are
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [line.split() for line in (
        "reviews: 4 to train, 3 to validate, 5 to test, 2 classes",
        f"LSTM ({size} parameters); run in run",
        "on the test part  accuracy  macro F1  parameters  seconds",
        f"LSTM            40.0%    {f1:.3f}         {size}        7",
        f"best: LSTM; standard error of 40.0% of 5 examples: {(0.4 * 0.6 / 5)**0.5:.1%}")]
    ((path, matrix, rows, columns, xlabel, ylabel, title), options), = tiny.pictures
    assert (path, xlabel, ylabel) == (classify.Path("run/confusion.png"), "predicted", "true")
    assert matrix.tolist() == [[0, 3], [0, 2]] and rows == columns == CLASSES and options == {"numbers": True}
    assert title == "reviews, LSTM: 40.0% right"
    assert classify.confusion_on_test(*classify.load_run(classify.Path("run"))).tolist() == [[0, 3], [0, 2]]


def test_the_confusion_on_the_test_part_is_of_the_split_that_the_run_was_trained_with(tiny):
    assert run("--seed", 5, "--out", "run") == 0
    classify.confusion_on_test(*classify.load_run(classify.Path("run")))
    assert tiny.seeds == [5, 5]


def test_a_smoke_run_takes_at_most_400_of_each_part(tiny, monkeypatch, capsys):
    parts = [[(f"good {i}", "positive") for i in range(n)] for n in (1000, 400, 401)]
    monkeypatch.setitem(classify.TASKS["names"], "load", lambda seed: parts)
    assert run("--smoke", "--out", "run") == 0
    assert capsys.readouterr().out.startswith("names: 334 to train, 400 to validate, 201 to test")
    ((_, _, training, *_),) = tiny.trainings
    assert list(Vocabulary.load("run/vocabulary.json").word_to_id)[:5] == ["<unk>", "good", "0", "3", "6"]
    assert len(training.ts) == 334
    assert run("--task", "names", "--out", "whole") == 0
    assert capsys.readouterr().out.startswith("names: 1,000 to train, 400 to validate, 401 to test")


@on_each_device
def test_predict_shows_the_likeliest_three_by_the_model_of_the_run(tiny, monkeypatch, device, capsys):
    classes = ("red", "green", "blue", "white", "black")
    rng = numpy.random.default_rng(3)

    def train(model, *_):
        for param in model.params:
            param[...] = np.to_device(rng.normal(size=param.shape))

    monkeypatch.setitem(classify.TASKS["reviews"], "classes", classes)
    monkeypatch.setitem(classify.TASKS["reviews"], "load", lambda seed: [[("good bad not", "blue")]] * 3)
    monkeypatch.setattr(classify, "train", train)
    assert run("--task", "reviews", "--cell", "rnn", "--wordvec-size", 3, "--hidden-size", 4, "--dropout", 0.5,
               "--out", "run", device=device) == 0
    capsys.readouterr()
    assert run("--predict", "bad odd good odd bad strange", "run", "--task", "reviews", device=device) == 0
    with numpy.load("run/params.npz") as file:
        W, Wx, Wh, b, affine_W, affine_b = (file[f"param_{i}"] for i in range(6))
    h = numpy.zeros(4)
    for i in [2, 0, 1, 0, 2, 0]:  # <unk> good bad not
        h = numpy.tanh(W[i] @ Wx + h @ Wh + b)
    weights = numpy.exp(h @ affine_W + affine_b)
    shares = sorted(((weight, name) for weight, name in zip(weights / weights.sum(), classes)), reverse=True)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        "unknown to the model, read as <unk>: odd strange".split(),
        *[[name, f"{share:.1%}"] for share, name in shares[:3]]]
    assert "nothing in 'odd odd strange' is known" in refused(capsys, "--predict", "odd odd strange", "run")


def test_the_baseline_chooses_its_penalty_by_validation_and_is_tested_on_the_test_part(monkeypatch):
    linear_model = pytest.importorskip(
        "sklearn.linear_model", reason="needs scikit-learn: pip install -e '.[baseline]'")
    fitted = []

    class Scripted:
        """Is best in validation with a penalty of 1 / 10, which makes it call everything positive."""

        def __init__(self, C, max_iter):
            self.C, self.coef_, self.intercept_ = C, numpy.zeros((1, 11)), numpy.zeros(1)

        def fit(self, features, labels):
            fitted.append((self.C, features.shape[0], features.shape[1], list(labels)))
            return self

        def score(self, features, labels):
            assert features.shape[0] == len(labels) == 3 and list(labels) == [label for _, label in TINY_PARTS[1]]
            return {1: 0.1, 3: 0.4, 10: 0.9, 30: 0.9}[self.C]

        def predict(self, features):
            assert features.shape[0] == 5
            return ["positive" if self.C == 10 else "negative"] * 5

    monkeypatch.setattr(linear_model, "LogisticRegression", Scripted)
    times = iter([3.0, 8.0])
    monkeypatch.setattr(classify, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    result = classify._logistic_regression("reviews", TINY_PARTS)
    assert fitted == [(C, 4, 3, ["positive", "negative", "positive", "negative"]) for C in (1, 3, 10, 30)]
    assert result.pop("matrix").tolist() == [[0, 3], [0, 2]]
    assert result == {"name": "logistic regression on words", "parameters": 12, "seconds": 5.0}


def test_the_baseline_of_names_weighs_pieces_of_one_to_four_characters(monkeypatch):
    linear_model = pytest.importorskip(
        "sklearn.linear_model", reason="needs scikit-learn: pip install -e '.[baseline]'")
    fitted = []

    class Noted(linear_model.LogisticRegression):
        def fit(self, features, labels):
            fitted.append(features.toarray())
            return super().fit(features, labels)

    monkeypatch.setattr(linear_model, "LogisticRegression", Noted)
    monkeypatch.setitem(classify.TASKS["names"], "classes", ("Dutch", "Irish"))
    parts = [[("abaA", "Dutch"), ("déa", "Irish")]] * 3
    result = classify._logistic_regression("names", parts)
    cut = [[text[i:i + n] for n in range(1, 5) for i in range(len(text) - n + 1)] for text in (" abaA ", " déa ")]
    pieces = sorted({*cut[0], *cut[1]})
    counts = numpy.array([[text.count(piece) for piece in pieces] for text in cut])  # (2, pieces)
    rarity = 1 + numpy.log(3 / (1 + (counts > 0).sum(axis=0)))  # (pieces,)
    weights = (counts > 0) * (1 + numpy.log(numpy.maximum(counts, 1))) * rarity
    weights /= (weights**2).sum(axis=1, keepdims=True)**0.5
    assert len(fitted) == 4
    numpy.testing.assert_allclose(fitted[0], weights, rtol=1e-12)
    assert result["parameters"] == len(pieces) + 1
    assert result["name"] == "logistic regression on 1- to 4-grams" and result["matrix"].tolist() == [[1, 0], [0, 1]]


def test_the_baseline_of_reviews_counts_short_words_and_marks_too():
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install -e '.[baseline]'")
    result = classify._logistic_regression("reviews", [[("a !", "positive"), ("I ?", "negative")]] * 3)
    assert result["parameters"] == 4 + 1 and result["matrix"].tolist() == [[1, 0], [0, 1]]


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
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install -e '.[baseline]'")
    assert run(*SMALL, "--cell", "all", "--baseline", "--out", "all") == 0
    out = capsys.readouterr().out
    table = out[out.index("on the test part"):].splitlines()
    assert [line.split()[0] for line in table[1:5]] == ["RNN", "LSTM", "GRU", "logistic"]
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


@pytest.mark.training
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
    pytest.importorskip("faker", reason="needs Faker: pip install -e '.[names]'")
    assert run("--smoke", "--epochs", 1, "--seed", 1) == run("--smoke", "--epochs", 1) == 0
    assert sorted(path.name for path in classify.Path("runs").iterdir()) == ["names-lstm-1", "names-lstm-2"]
    os.utime("runs/names-lstm-1/config.json", (0, 0))
    capsys.readouterr()
    assert run("--predict", "  KowalsKi") == run("--predict", "kowalski", "runs/names-lstm-2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == lines[3:]
    assert len({line.split()[0] for line in lines}) == 3
    assert run("--predict", "kowalski", "runs/names-lstm-1") == 0
    assert capsys.readouterr().out.splitlines() != lines[:3]


def test_by_default_the_newest_run_predicts_or_the_newest_of_the_task(tiny, capsys):
    for written, (task, cell) in enumerate([("names", "gru"), ("names", "rnn"), ("reviews", "rnn"), ("names", "lstm")]):
        assert run("--task", task, "--cell", cell, "--out", f"runs/{written}") == 0
        os.utime(f"runs/{written}/config.json", (written, written))
    capsys.readouterr()
    for number, flags in ("3", []), ("2", ["--task", "reviews"]), ("3", ["--task", "names"]):
        params = classify.Path(f"runs/{number}/params.npz")
        params.rename("params.npz")
        assert f"runs/{number}/params.npz" in refused(capsys, "--predict", "good", *flags)
        classify.Path("params.npz").rename(params)
        assert run("--predict", "good", *flags) == 0
        capsys.readouterr()


def test_characters_that_the_model_does_not_know(device, capsys):
    pytest.importorskip("faker", reason="needs Faker: pip install -e '.[names]'")
    assert run("--smoke", "--epochs", 1, device=device) == 0
    capsys.readouterr()
    assert run("--predict", "Kowalскi", device=device) == 0
    assert capsys.readouterr().out.startswith("unknown to the model, read as <unk>: с к\n")
    assert "nothing in 'Чехов' is known to the run in" in refused(capsys, "--predict", "Чехов")
    assert "nothing in ' ' is known" in refused(capsys, "--predict", " ")


@pytest.mark.parametrize("flags, message", [
    (["--predict", "x"], "there is no run of ch_lstm.classify under runs/: train one first"),
    (["--predict", "x", "--task", "names"], "there is no run of ch_lstm.classify with task names under runs/"),
    (["nowhere", "--predict", "x"], "there is no run in nowhere: nowhere/config.json is missing"),
    (["--predict", "x", "--epochs", "3"], "--epochs does not go with --predict"),
    ([*SMALL, "x"], "the run x goes with --predict TEXT"),
    (["--cell", "transformer"], "argument --cell: invalid choice: 'transformer'"),
    (["--task", "poems"], "argument --task: invalid choice: 'poems'"),
    ([*SMALL, "--out", "."], "cannot make the folder . (File exists): choose a new one for --out"),
])
def test_wrong_use_is_one_line(flags, message, capsys):
    assert message in refused(capsys, *flags)


def test_help_has_the_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        classify.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "(default: 60 for names, 15 for reviews)" in printed and "(default: 0.005)" in printed


def test_missing_packages_are_named_before_training(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "--baseline needs scikit-learn: pip install -e '.[baseline]'" in refused(
        capsys, *SMALL, "--baseline")
    monkeypatch.setitem(sys.modules, "faker", None)
    assert "the names need Faker: pip install -e '.[names]'" in refused(capsys, "--smoke")
    assert not classify.Path("runs").exists()


DAMAGED = [json.dumps(REVIEWS | {"classes": ["negative", "positive"]} | change) for change in (
    {"task": "poems"}, {"cell": "all"}, {"wordvec_size": 0}, {"hidden_size": 0}, {"hidden_size": -8},
    {"classes": ["negative", 1]}, {"classes": "negative"}, {"epochs": "3"}, {"lr": "1"})]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"task": "names"}', *DAMAGED])
def test_a_damaged_config(tiny, content, capsys, tmp_path):
    assert run("--task", "reviews", "--out", "run") == 0
    assert run("--predict", "good", "run") == 0
    capsys.readouterr()
    (tmp_path / "run/config.json").write_text(content)
    assert "run/config.json is damaged" in refused(capsys, "--predict", "good", "run")


def test_a_setting_of_another_version_and_a_run_of_another_script_are_said(tiny, capsys, tmp_path):
    assert run("--task", "reviews", "--out", "run") == 0
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    capsys.readouterr()
    path.write_text(json.dumps(config | {"more": 1}))
    assert "has 'more', which is no setting of ch_lstm.classify" in refused(capsys, "run", "--predict", "good")
    path.write_text(json.dumps({"model": "rnnlm", "corpus": "pydoc"}))
    assert "run is a run of ch_lstm.train, wanted one of ch_lstm.classify" in refused(
        capsys, "run", "--predict", "good")
    del config["script"], config["unknown"]  # of a run before these were recorded
    path.write_text(json.dumps(config))
    assert run("run", "--predict", "good") == 0
    settings, _, _ = classify.load_run(classify.Path("run"))
    assert settings.unknown == 0.15 and settings.task == "reviews"


def test_sizes_of_one_are_no_damage(tiny):
    assert run("--task", "reviews", "--wordvec-size", 1, "--hidden-size", 1, "--out", "run") == 0
    assert run("--predict", "good", "run") == 0


def test_a_config_that_cannot_be_read(capsys, tmp_path):
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    assert "run/config.json cannot be read: it is no file" in refused(capsys, "--predict", "good", "run")
    (tmp_path / "file").write_text("")
    assert "there is no run in file: file/config.json is missing" in refused(
        capsys, "--predict", "good", "file")


def test_a_run_of_another_task(tiny, capsys):
    assert run("--task", "reviews", "--out", "run") == 0
    capsys.readouterr()
    assert "the run in run is for the task reviews, not names" in refused(
        capsys, "--predict", "good", "run", "--task", "names")


def test_the_words_of_reviews_are_all_known():
    train, _, test = reviews.load_data()
    known = {word for review, _ in train for word in review.split()}
    assert all(word in known for review, _ in test for word in review.split())
