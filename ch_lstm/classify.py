"""Classify sequences by the last state of a recurrent network: `python -m ch_lstm.classify --help`.

A sequence of any length becomes one vector, the state after its last step, and that is all the output
layer sees. Two tasks:

names    a person's name, character by character: which language is it from?
reviews  a short review, word by word: is it positive? The same words in another order say the opposite,
         so counting words is no better than a coin, and only a reader that remembers the order can tell.

--cell all compares RNN, GRU and LSTM; --baseline adds logistic regression on counts, of the pieces of
one to four characters of a name, or of the words of a review.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy

from ch_lstm.classifier import SequenceClassifier
from common import cli
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.files.atomic import replacing
from common.functions import softmax
from common.layers.packing import pad
from common.layers.stack import CELLS
from common.np import np
from common.optimizer import Adam
from common.plots import save_matrix
from common.text.tokenizers import tokenize_words
from common.text.vocabulary import Vocabulary
from common.training.epochs import linear_decay, train_epochs
from common.training.metrics import accuracy, confusion_matrix, macro_f1
from dataset import names, reviews


def _name_characters(name):
    return list(names.normalize(name))


TASKS = {
    "names": {"load": names.load_data, "classes": names.LANGUAGES, "tokenize": _name_characters},
    "reviews": {"load": reviews.load_data, "classes": reviews.SENTIMENTS, "tokenize": tokenize_words},
}
DEFAULTS = {
    "names": {"epochs": 60, "wordvec_size": 64, "hidden_size": 128, "dropout": 0.4, "unknown": 0.15},
    "reviews": {"epochs": 15, "wordvec_size": 32, "hidden_size": 64, "dropout": 0.0, "unknown": 0.0},
}
SETTINGS = {"task": "names", "cell": "lstm", "lr": 0.005, "batch_size": 128, "max_grad": 5.0, "seed": 0}
SMOKE = {"epochs": 2, "wordvec_size": 8, "hidden_size": 8}
SMOKE_EXAMPLES = 400

TOP = 3  # classes that --predict shows


def main(argv=None):
    """Train and compare, or classify one text; returns the exit code."""
    return cli.run("python -m ch_lstm.classify", _classify, argv)


def _parser():
    parser = cli.Parser(prog="python -m ch_lstm.classify", argument_default=argparse.SUPPRESS,
                        description="Classify names by language, or reviews by sentiment.")
    add = parser.add_argument

    def words(name, text):
        values = [SETTINGS[name]] if name in SETTINGS else [f"{DEFAULTS[task][name]} for {task}" for task in TASKS]
        return f"{text} (default: {', '.join(map(str, values))})"

    add("--task", choices=TASKS, help=words("task", "what to classify"))
    add("--cell", choices=(*CELLS, "all"), help=words("cell", "the recurrent layer; all compares them"))
    add("--baseline", action="store_true", help="compare with logistic regression, by scikit-learn")
    add("--epochs", type=cli.positive_int, help=words("epochs", "times through the training part"))
    add("--batch-size", type=cli.positive_int, help=words("batch_size", "N, sequences side by side"))
    add("--wordvec-size", type=cli.positive_int, help=words("wordvec_size", "D"))
    add("--hidden-size", type=cli.positive_int, help=words("hidden_size", "H"))
    add("--dropout", type=cli.ratio, help=words("dropout", "ratio"))
    add("--unknown", type=cli.ratio, help=words("unknown", "share of the tokens that training replaces by <unk>"))
    add("--lr", type=cli.positive_float, help=words("lr", "learning rate of Adam, which falls to 0 step by step"))
    add("--max-grad", type=cli.positive_float, help=words("max_grad", "clip gradients to this global norm"))
    add("--seed", type=cli.natural, help=words("seed", "of the split, the weights and the order of the batches"))
    add("--out", type=Path, help="a new folder for the run, with --cell all for three (default: one under runs/)")
    add("--predict", metavar="TEXT", help="classify this name or review with a trained run instead of training")
    add("--run", type=Path, help="folder of the run for --predict (default: the newest of the task under runs/)")
    add("--smoke", action="store_true", help="a tiny run of a few seconds, to see that everything works")
    cli.add_device(parser)
    return parser


def _classify(argv):
    given = vars(_parser().parse_args(argv))
    cli.use_device(given.pop("device"))
    if "predict" in given:
        return _predict(**given)
    if "run" in given:
        raise InputError("--run goes with --predict")
    return _compare(given)


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


def _compare(given):
    """Train one cell or all, and print a table of them and, where asked for, the baseline."""
    smoke = given.pop("smoke", False)
    baseline = given.pop("baseline", False)
    out = given.pop("out", None)
    task = given.get("task", SETTINGS["task"])
    config = SETTINGS | DEFAULTS[task] | (SMOKE if smoke else {}) | given
    if baseline:
        _expect_scikit_learn()
    parts = TASKS[task]["load"](seed=config["seed"])
    if smoke:
        parts = [part[::-(-len(part) // SMOKE_EXAMPLES)] for part in parts]
    cells = [*CELLS] if config["cell"] == "all" else [config["cell"]]
    folders = _folders(out, task, cells)
    train, _, test = parts
    print(f"{task}: {len(train):,} to train, {len(parts[1]):,} to validate, {len(test):,} to test, "
          f"{len(TASKS[task]['classes'])} classes", flush=True)
    results = [_train_and_save(config | {"cell": cell}, parts, folder) for cell, folder in zip(cells, folders)]
    if baseline:
        results.append(_logistic_regression(task, parts))
    print(_table(results))
    print(_verdict(results))


def _folders(out, task, cells):
    """Make a folder for the run of each cell."""
    if out is None:
        folders = [cli.free_folder(f"{task}-{cell}") for cell in cells]
    else:
        folders = [out] if len(cells) == 1 else [out / cell for cell in cells]
    for folder in folders:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder} ({error.strerror}): "
                             "choose a new one for --out") from None
    return folders


def _train_and_save(config, parts, folder):
    """Train a model, save it, and return its row of the table."""
    task, classes = config["task"], TASKS[config["task"]]["classes"]
    tokenize = TASKS[task]["tokenize"]
    vocabulary = Vocabulary.build(token for text, _ in parts[0] for token in tokenize(text))
    training, valid, test = (Sequences(*zip(*part), tokenize, vocabulary, classes) for part in parts)
    model = _build(config, vocabulary, classes, dropout_ratio=config["dropout"], seed=config["seed"])
    size = sum(param.size for param in model.params)
    print(f"{config['cell'].upper()} ({size:,} parameters); run in {folder}", flush=True)
    start = time.perf_counter()
    train(model, Adam(config["lr"]), training, valid, config["epochs"], config["batch_size"], config["max_grad"],
          config["unknown"], vocabulary.word_to_id[vocabulary.unknown])
    seconds = time.perf_counter() - start
    matrix = evaluate(model, test, len(classes))  # (K, K)
    _save(folder, config | {"classes": classes}, vocabulary, model, matrix)
    return {"name": config["cell"].upper(), "matrix": matrix, "parameters": size, "seconds": seconds}


def _build(config, vocabulary, classes, **options):
    return SequenceClassifier(vocabulary.size, config["wordvec_size"], config["hidden_size"], len(classes),
                              config["cell"], **options)


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
    before_update = linear_decay(optimizer, epochs * len(batches))
    best, best_params = -1.0, None
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


def _save(folder, config, vocabulary, model, matrix):
    model.save_params(folder / "params.npz")
    vocabulary.save(folder / "vocabulary.json")
    classes = config["classes"]
    save_matrix(folder / "confusion.png", matrix, classes, classes, "predicted", "true",
                f"{config['task']}, {config['cell'].upper()}: {accuracy(matrix):.1%} right", numbers=True)
    with replacing(folder / "config.json") as file:
        json.dump(config, file, indent=2)


# The baseline and the table


def _expect_scikit_learn():
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise InputError("--baseline needs scikit-learn: pip install 'rnn-from-scratch[baseline]'") from None


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
    folder = run or _newest_run(task or SETTINGS["task"])
    config, vocabulary, model = load_run(folder)
    if task not in (None, config["task"]):
        raise InputError(f"the run in {folder} is for the task {config['task']}, not {task}")
    tokens = TASKS[config["task"]]["tokenize"](predict)
    unknown = vocabulary.missing(tokens)
    if len(unknown) == len(set(tokens)):
        raise InputError(f"nothing in {predict!r} is known to the run in {folder}")
    if unknown:
        print(f"unknown to the model, read as {vocabulary.unknown}: {' '.join(unknown)}")
    scores = model.predict(np.to_device(vocabulary.encode(tokens))[None])  # (1, K)
    probabilities = np.to_cpu(softmax(scores))[0]  # (K,)
    best = numpy.argsort(-probabilities)[:TOP]
    print(format_table([(config["classes"][k], f"{probabilities[k]:.1%}") for k in best]))


def load_run(folder):
    """Load a trained classifier.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    config : dict
        The settings of the run.
    vocabulary : Vocabulary
    model : SequenceClassifier

    Raises
    ------
    InputError
        There is no such run, or it is damaged.
    """
    config = _read_config(folder)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    model = _build(config, vocabulary, config["classes"])
    model.load_params(folder / "params.npz")
    return config, vocabulary, model


def confusion_on_test(config, vocabulary, model):
    """Return the confusion matrix (K, K) of a trained classifier on the test part of its task, as training left it."""
    task = TASKS[config["task"]]
    test = task["load"](seed=config["seed"])[2]
    return evaluate(model, Sequences(*zip(*test), task["tokenize"], vocabulary, config["classes"]),
                    len(config["classes"]))


def _newest_run(task):
    configs = list(Path("runs").glob(f"{task}-*/config.json"))
    if not configs:
        raise InputError(f"there is no run of the task {task} under runs/: "
                         "train one first, or give its folder as --run")
    return max(configs, key=lambda path: path.stat().st_mtime).parent


def _read_config(folder):
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no run in {folder}: {path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        config = None
    if not _describes_a_run(config):
        raise InputError(f"{path} is damaged: it does not hold the settings of a run")
    return config


def _describes_a_run(config):
    wanted = SETTINGS | DEFAULTS["names"] | {"classes": []}
    return (isinstance(config, dict) and config.keys() == wanted.keys()
            and all(type(config[name]) is type(value) for name, value in wanted.items())
            and config["task"] in TASKS and config["cell"] in CELLS
            and config["wordvec_size"] > 0 and config["hidden_size"] > 0
            and all(isinstance(name, str) for name in config["classes"]))


if __name__ == "__main__":
    sys.exit(main())
