"""Classify sequences by the last state of a recurrent network: `python -m ch_lstm.classify --help`.

A sequence of any length becomes one vector, the state after its last step, and that is all the output
layer sees. Two tasks:

names    a person's name, character by character: which language is it from?
reviews  a short review, word by word: is it positive? The same words in another order say the opposite,
         so counting words is no better than a coin, and only a reader that remembers the order can tell.

--cell all compares RNN, GRU and LSTM; --baseline adds logistic regression on counts, of the pieces of
one to four characters of a name, or of the words of a review.
"""
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy

from ch_lstm.classifier import SequenceClassifier
from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.functions import softmax
from common.layers.packing import pad
from common.layers.stack import CELLS
from common.np import np
from common.optimizer import Adam
from common.plots import save_matrix
from common.text.tokenizers import UNKNOWN, tokenize_words
from common.text.vocabulary import Vocabulary
from common.training.epochs import train_epochs
from common.training.metrics import accuracy, confusion_matrix, macro_f1
from common.training.schedules import scheduled
from dataset import names, reviews


def _name_characters(name):
    return list(names.normalize(name))


TASKS: dict[str, dict[str, Any]] = {
    "names": {"load": names.load_data, "classes": names.LANGUAGES, "tokenize": _name_characters},
    "reviews": {"load": reviews.load_data, "classes": reviews.SENTIMENTS, "tokenize": tokenize_words},
}
DEFAULTS = {  # where they differ from those of `Settings`
    "names": {},
    "reviews": {"epochs": 15, "wordvec_size": 32, "hidden_size": 64, "dropout": 0.0, "unknown": 0.0},
}
SMOKE = {"epochs": 2, "wordvec_size": 8, "hidden_size": 8}
SMOKE_EXAMPLES = 400

TOP = 3  # classes that --predict shows


SCRIPT = "ch_lstm.classify"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of a run, with the defaults for names."""

    task: str = setting("names", "what to classify", choices=TASKS)
    cell: str = setting("lstm", "the recurrent layer; all compares them", choices=CELLS)
    epochs: int = setting(60, "times through the training part", cli.positive_int)
    batch_size: int = setting(128, "N, sequences side by side", cli.positive_int)
    wordvec_size: int = setting(64, "D", cli.positive_int)
    hidden_size: int = setting(128, "H", cli.positive_int)
    dropout: float = setting(0.4, "ratio", cli.ratio)
    unknown: float = setting(0.15, "share of the tokens that training replaces by <unk>", cli.ratio)
    lr: float = setting(0.005, "learning rate of Adam, which falls to 0 step by step", cli.positive_float)
    max_grad: float = setting(5.0, "clip gradients to this global norm", cli.positive_float)
    seed: int = setting(0, "of the split, the weights and the order of the batches", cli.natural)
    classes: tuple = setting((), "in the order of the scores", many=True, flag=False)


def main(argv=None):
    """Train and compare, or classify one text; returns the exit code."""
    return cli.run("python -m ch_lstm.classify", _classify, argv)


def _classify(argv):
    parser = cli.SettingsParser(f"python -m {SCRIPT}", "Classify names by language, or reviews by sentiment.",
                                Settings, SMOKE, DEFAULTS, chosen_by="task", choices={"cell": [*CELLS, "all"]})
    add = parser.add_argument
    add("run", type=Path, nargs="?", default=None,
        help="with --predict: folder of a run (default: the newest under runs/, for --task if that is given)")
    add("--predict", metavar="TEXT", help="classify this name or review with a trained run instead of training")
    add("--baseline", action="store_true", help="compare with logistic regression, by scikit-learn")
    add("--out", type=Path, help="a new folder for the run, with --cell all for three (default: one under runs/)")
    given = parser.given(argv)
    if "predict" in given:
        return _predict(**given)
    if "run" in given:
        raise InputError(f"the run {given['run']} goes with --predict TEXT")
    given["classes"] = TASKS[given.get("task", Settings.task)]["classes"]
    cell = given.get("cell", Settings.cell)
    of_each = [parser.fill(given | {"cell": each}) for each in (CELLS if cell == "all" else [cell])]
    return _compare(of_each, given.get("out"), "baseline" in given, "smoke" in given)


# Training


class Sequences:
    """Texts as padded ids on the host, with their classes.

    Parameters
    ----------
    texts : sequence of str
    labels : sequence of str
        One of `classes` for each text.
    tokenize : callable
    vocabulary : Vocabulary
    classes : sequence of str

    Attributes
    ----------
    xs : numpy.ndarray of int (n, T)
    ts : numpy.ndarray of int (n,)
    lengths : numpy.ndarray of int (n,)
    """

    def __init__(self, texts, labels, tokenize, vocabulary, classes):
        self.xs, self.lengths = pad([vocabulary.encode(tokenize(text)) for text in texts])
        self.ts = numpy.array([classes.index(label) for label in labels])  # (n,)

    def batches(self, batch_size, order=None):
        """Yield xs (N, T), ts (N,) and lengths (N,), T the longest of the batch; the last batch holds what is left.

        Parameters
        ----------
        batch_size : int
            N.
        order : numpy.ndarray of int (n,), optional
            By default as they are.
        """
        order = numpy.arange(len(self.lengths)) if order is None else order
        for start in range(0, len(order), batch_size):
            chosen = order[start:start + batch_size]  # (N,)
            lengths = self.lengths[chosen]  # (N,)
            yield self.xs[chosen, :lengths.max()], self.ts[chosen], lengths


class WordDropoutBatches:
    """Batches of sequences in a new random order each epoch, some of their tokens made unknown.

    Parameters
    ----------
    sequences : Sequences
    batch_size : int
        N; the last batch of an epoch holds what is left.
    unknown : float
        Each token becomes `unknown_id` with this probability: word dropout (Iyyer et al. 2015), which also teaches
        a model what to make of tokens that it does not know.
    unknown_id : int
    seed : int
        Of the order and of the tokens.
    """

    def __init__(self, sequences, batch_size, unknown, unknown_id, seed):
        self.sequences, self.batch_size, self.unknown, self.unknown_id = sequences, batch_size, unknown, unknown_id
        self.rng = numpy.random.default_rng(seed)

    def __len__(self):
        """The number of batches in an epoch."""
        return -(-len(self.sequences.lengths) // self.batch_size)

    def __iter__(self):
        order = self.rng.permutation(len(self.sequences.lengths))  # (n,)
        for xs, ts, lengths in self.sequences.batches(self.batch_size, order):
            xs = numpy.where(self.rng.random(xs.shape) < self.unknown, self.unknown_id, xs)  # (N, T)
            yield known_ids(xs), known_ids(ts), {"lengths": lengths}


def _compare(of_each, out, baseline, smoke):
    """Train one cell or all, by the settings of each, and print a table of them and, where asked for, the baseline."""
    task, seed = of_each[0].task, of_each[0].seed
    if baseline:
        _expect_scikit_learn()
    parts = TASKS[task]["load"](seed=seed)
    if smoke:
        parts = [part[::-(-len(part) // SMOKE_EXAMPLES)] for part in parts]
    folders = _folders(out, task, [settings.cell for settings in of_each])
    train, _, test = parts
    print(f"{task}: {len(train):,} to train, {len(parts[1]):,} to validate, {len(test):,} to test, "
          f"{len(TASKS[task]['classes'])} classes", flush=True)
    results = [_train_and_save(settings, parts, folder) for settings, folder in zip(of_each, folders)]
    if baseline:
        results.append(_logistic_regression(task, parts))
    print(_table(results))
    print(_verdict(results))


def _folders(out, task, cells):
    """Make a folder for the run of each cell."""
    if out is None:
        return [cli.free_folder(f"{task}-{cell}") for cell in cells]
    folders = [out] if len(cells) == 1 else [out / cell for cell in cells]
    for folder in folders:
        cli.new_folder(folder)
    return folders


def _train_and_save(settings, parts, folder):
    """Train a model, save it, and return its row of the table."""
    tokenize = TASKS[settings.task]["tokenize"]
    vocabulary = Vocabulary.build(token for text, _ in parts[0] for token in tokenize(text))
    training, valid, test = (_sequences(part, settings, vocabulary) for part in parts)
    model = _build(settings, vocabulary, dropout_ratio=settings.dropout, seed=settings.seed)
    print(f"{settings.cell.upper()} ({model.count_params():,} parameters); run in {folder}", flush=True)
    start = time.perf_counter()
    train(model, Adam(settings.lr), training, valid, settings.epochs, settings.batch_size, settings.max_grad,
          settings.unknown, vocabulary.word_to_id[UNKNOWN])
    seconds = time.perf_counter() - start
    matrix = evaluate(model, test, len(settings.classes))  # (K, K)
    _save(folder, settings, vocabulary, model, matrix)
    return {"name": settings.cell.upper(), "matrix": matrix, "parameters": model.count_params(), "seconds": seconds}


def _build(settings, vocabulary, **options):
    return SequenceClassifier(vocabulary.size, settings.wordvec_size, settings.hidden_size, len(settings.classes),
                              settings.cell, **options)


def train(model, optimizer, training, valid, epochs, batch_size, max_grad, unknown, unknown_id):
    """Train, print a line after each epoch, and leave the parameters that were best on the validation part.

    The loss of an epoch is the mean over its examples, taken before the updates that they led to. Of epochs that are
    equally good the first is best. The learning rate falls evenly from step to step, to 0 behind the last.

    Parameters
    ----------
    model : SequenceClassifier
    optimizer : Optimizer
    training, valid : Sequences
    epochs, batch_size : int
    max_grad : float
        Largest global norm of the gradients.
    unknown : float
        As for `WordDropoutBatches`.
    unknown_id : int
    """
    classes = model.affine.params[1].size
    batches = WordDropoutBatches(training, batch_size, unknown, unknown_id, np.host_rng.integers(2**63))
    before_update = scheduled(optimizer, "linear", epochs * len(batches))
    best, best_params = -1.0, []
    losses = train_epochs(model, optimizer, batches, epochs, max_grad, before_update)
    for epoch, loss in enumerate(losses, start=1):
        result = accuracy(evaluate(model, valid, classes))
        print(f"epoch {epoch}: training loss {loss:.3f}, "
              f"validation accuracy {result:.1%}", flush=True)
        if result > best:
            best, best_params = result, [param.copy() for param in model.params]
    for param, kept in zip(model.params, best_params):
        param[...] = kept


def evaluate(model, sequences, classes, batch_size=500):
    """Return the confusion matrix (K, K) of a model on `Sequences`."""
    predicted = np.concatenate([model.predict(known_ids(xs), lengths).argmax(axis=1)
                                for xs, _, lengths in sequences.batches(batch_size)])  # (n,)
    return confusion_matrix(sequences.ts, np.to_cpu(predicted), classes)


def _save(folder, settings, vocabulary, model, matrix):
    model.save_params(folder / "params.npz")
    vocabulary.save(folder / "vocabulary.json")
    classes = settings.classes
    save_matrix(folder / "confusion.png", matrix, classes, classes, "predicted", "true",
                f"{settings.task}, {settings.cell.upper()}: {accuracy(matrix):.1%} right", numbers=True)
    cli.save_settings(folder, settings, SCRIPT)


# The baseline and the table


def _expect_scikit_learn():
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise InputError("--baseline needs scikit-learn: pip install -e '.[baseline]'") from None


def _logistic_regression(task, parts):
    """Fit a logistic regression, its penalty chosen on the validation part; return its row of the table."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if task == "names":
        name = "logistic regression on 1- to 4-grams"
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, lowercase=False)
    else:
        name, vectorizer = "logistic regression on words", CountVectorizer(analyzer=tokenize_words)
    (texts, labels), (valid_texts, valid_labels), (test_texts, test_labels) = (zip(*part) for part in parts)
    start = time.perf_counter()
    features = vectorizer.fit_transform(texts)
    fitted = [LogisticRegression(C=C, max_iter=1000).fit(features, labels) for C in (1, 3, 10, 30)]
    valid_features = vectorizer.transform(valid_texts)
    best = max(fitted, key=lambda model: model.score(valid_features, valid_labels))
    seconds = time.perf_counter() - start
    classes = TASKS[task]["classes"]
    ts, ys = ([classes.index(label) for label in found]
              for found in (test_labels, best.predict(vectorizer.transform(test_texts))))
    return {"name": name, "matrix": confusion_matrix(numpy.array(ts), numpy.array(ys), len(classes)),
            "parameters": best.coef_.size + best.intercept_.size, "seconds": seconds}


def _table(results):
    rows = [(result["name"], f"{accuracy(result['matrix']):.1%}", f"{macro_f1(result['matrix']):.3f}",
             f"{result['parameters']:,}", f"{result['seconds']:.0f}") for result in results]
    return format_table([("on the test part", "accuracy", "macro F1", "parameters", "seconds"), *rows])


def _verdict(results):
    """Say which is best, and how far chance alone moves its accuracy."""
    accuracies = [accuracy(result["matrix"]) for result in results]
    p, n = max(accuracies), results[0]["matrix"].sum()
    best = ", ".join(result["name"] for result, found in zip(results, accuracies) if found == p)
    standard_error = (p * (1 - p) / n) ** 0.5  # of a share p of n independent examples
    return f"best: {best}" + (f"; standard error of {p:.1%} of {n:,} examples: {standard_error:.1%}" if p < 1 else "")


# Prediction


def _predict(predict, run=None, task=None, **others):
    """Print the likeliest classes of one text."""
    if others:
        raise InputError(f"--{next(iter(others)).replace('_', '-')} does not go with --predict")
    folder = run or cli.newest_run(SCRIPT, **({} if task is None else {"task": task}))
    settings, vocabulary, model = load_run(folder)
    if task not in (None, settings.task):
        raise InputError(f"the run in {folder} is for the task {settings.task}, not {task}")
    tokens = TASKS[settings.task]["tokenize"](predict)
    unknown = vocabulary.missing(tokens)
    if len(unknown) == len(set(tokens)):
        raise InputError(f"nothing in {predict!r} is known to the run in {folder}")
    if unknown:
        print(f"unknown to the model, read as {vocabulary.unknown}: {' '.join(unknown)}")
    scores = model.predict(np.to_device(vocabulary.encode(tokens))[None])  # (1, K)
    probabilities = np.to_cpu(softmax(scores))[0]  # (K,)
    best = numpy.argsort(-probabilities)[:TOP]
    print(format_table([(settings.classes[k], f"{probabilities[k]:.1%}") for k in best]))


def load_run(folder):
    """Load a trained classifier.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    settings : Settings
    vocabulary : Vocabulary
    model : SequenceClassifier

    Raises
    ------
    InputError
        There is no such run, or it is damaged.
    """
    settings = cli.read_settings(folder, Settings, SCRIPT)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = _build(settings, vocabulary)
    model.load_params(folder / "params.npz")
    return settings, vocabulary, model


def confusion_on_test(settings, vocabulary, model):
    """Return the confusion matrix (K, K) of a trained classifier on the test part of its task, as training left it."""
    test = TASKS[settings.task]["load"](seed=settings.seed)[2]
    return evaluate(model, _sequences(test, settings, vocabulary), len(settings.classes))


def _sequences(part, settings, vocabulary):
    """Return the texts and labels of a part as ids."""
    texts, labels = zip(*part)
    return Sequences(texts, labels, TASKS[settings.task]["tokenize"], vocabulary, settings.classes)


if __name__ == "__main__":
    sys.exit(main())
