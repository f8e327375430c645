"""One page that shows an LSTM at work, forwards and backwards: `python -m ch_lstm.microscope --help`.

An LSTM and a simple RNN of the same size have learned to predict the characters of a text: those of the small model
that comes with the project, or others, which are trained first where a flag of a training is given. Their weights go
into one HTML file that needs no network. There both read a sentence, which the reader may change: at each character the
page shows the gates, the cell, the state and the most likely next characters; and for the loss of each character,
chosen by the reader, the norm of its gradient at every step before. Each quantity comes with its formula and the line
of source that computes it, as `common.watch` finds them.

The page computes all numbers itself, by the same formulas, since the sentence may be another at any time. A test types
sentences into it and compares every number with the layers of this project.
"""
import base64
import dataclasses
import json
import linecache
import sys
import time
from pathlib import Path

import common
from ch_lstm.models import MODELS
from common import cli
from common.cli import setting
from common.device.ids import known_ids
from common.errors import InputError
from common.fast import speed_up
from common.files.atomic import expect_replaceable, replacing
from common.functions import softmax
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.commands import corpus_of_run, load_run, model_in_file, small_model_of
from common.language_model.evaluate import perplexity
from common.language_model.model_file import read_model_file
from common.language_model.run import PLACES
from common.language_model.settings import PlaceSettings
from common.layers.dense import Affine
from common.layers.losses import SoftmaxWithLoss
from common.np import np
from common.optimizer import Adam
from common.text.reading import clean_text
from common.text.tokenizers import tokenize_characters
from common.training.batches import StripBatches
from common.training.epochs import train_epochs
from common.training.finite import expect_finite
from common.watch.trace import trace
from common.watch.walk import walk
from dataset.corpus import load_corpus

SMOKE = {"epochs": 1, "wordvec_size": 4, "hidden_size": 4, "max_tokens": 2000}
BATCH_SIZE, TIME_SIZE, MAX_GRAD = 20, 50, 1.0

LONGEST = 60  # characters of the sentence: the page computes a gradient for each two of them
LARGEST = 100  # units: each is a row of the page

OF_A_TRAINING = "epochs", "wordvec_size", "hidden_size", "lr", "seed", "smoke"

TEMPLATE = Path(__file__).with_name("microscope.html")

# What the page says of each quantity: its name in words, what it means, and the names of the lines that compute it.
_SHARED = {
    "p": ("probabilities of the next character", "The softmax of the scores, which are an affine map of the state h.",
          ("affine x W", "affine + b", "softmax exp", "softmax sum")),
    "loss": ("loss of the character that comes", "The negative logarithm of its probability, in nats.", ("loss",)),
}
_TO_THE_STATE = "dh_prev", "loss dx", "affine dx"
QUANTITIES = {
    "lstm": {
        "f": ("forget gate", "How much of the old cell is kept: 0 nothing, 1 all of it.", ("a", "af", "f")),
        "g": ("candidate", "What could be written into the cell, from -1 to 1.", ("a", "ag", "g")),
        "i": ("input gate", "How much of the candidate is written: 0 nothing, 1 all of it.", ("a", "ai", "i")),
        "o": ("output gate", "How much of the cell is shown to the outside.", ("a", "ao", "o")),
        "c_prev": ("cell of the step before", "What was remembered up to here.", ("c",)),
        "c": ("cell", "What is remembered from here on: the kept part of the old cell, plus what is written.", ("c",)),
        "h": ("state", "What the next step and the output layer see of the cell.", ("h",)),
        "dh": ("gradient of the state", "What the step after sends back through its gates; at the chosen output, what "
               "its loss sends through the output layer.", _TO_THE_STATE),
        "do": ("gradient of the output gate", "How the loss would change with o.", ("do",)),
        "dc": ("gradient of the cell", "What the step after sends back, its dc_prev, and what comes from the state. "
               "On this path there is no matrix, only the forget gate.", ("dc", "dc_prev")),
        "df": ("gradient of the forget gate", "How the loss would change with f.", ("df",)),
        "dg": ("gradient of the candidate", "How the loss would change with g.", ("dg",)),
        "di": ("gradient of the input gate", "How the loss would change with i.", ("di",)),
        "dc_prev": ("gradient sent to the cell before", "Where the forget gate is near 1, it passes almost as it is.",
                    ("dc_prev",)),
        "daf": ("gradient before the forget gate's sigmoid", "What the weights of this gate learn from.", ("daf",)),
        "dag": ("gradient before the candidate's tanh", "What the weights of the candidate learn from.", ("dag",)),
        "dai": ("gradient before the input gate's sigmoid", "What the weights of this gate learn from.", ("dai",)),
        "dao": ("gradient before the output gate's sigmoid", "What the weights of this gate learn from.", ("dao",)),
        "dx": ("gradient of the character's vector", "How much the character read at this step matters to the loss.",
               ("da", "dx")),
    } | _SHARED,
    "rnn": {
        "a": ("pre-activation", "What the state will be before tanh squashes it.", ("a",)),
        "h": ("state", "All that is remembered: each step makes it anew.", ("a", "h")),
        "dh": ("gradient of the state", "What the step after sends back through Wh, the same matrix at every step; at "
               "the chosen output, what its loss sends through the output layer.", _TO_THE_STATE),
        "da": ("gradient before tanh", "What the weights learn from.", ("da",)),
        "dx": ("gradient of the character's vector", "How much the character read at this step matters to the loss.",
               ("dx",)),
    } | _SHARED,
}
WEIGHTS = "embedding", "Wx", "Wh", "b", "W", "output_b"
BACKWARD = {cell: tuple(name for name in names if name.startswith("d")) for cell, names in QUANTITIES.items()}


@dataclasses.dataclass(frozen=True)
class Settings(PlaceSettings):
    """Settings of the script."""

    text: str = setting("An object is a list (see section Lists) or a string.",
                        f"the sentence to begin with, of 2 to {LONGEST} characters")
    out: Path = setting(Path("microscope.html"), "the page", Path)
    run: Path | None = setting(None, "take the LSTM of this run of ch_lstm.train --unit char, "
                                     "and train only an RNN of its size, on its corpus", Path)
    checkpoint: str = setting("best", "of --run", choices=("best", "last"))
    max_tokens: int | None = setting(None, "characters to train on", cli.positive_int, flag=False)
    epochs: int = setting(25, "times through the corpus; given one of these flags, both are trained, and the small "
                              "model that comes with the project is left alone", cli.positive_int)
    wordvec_size: int = setting(16, "D, size of a character's vector", cli.positive_int)
    hidden_size: int = setting(32, f"H, units, at most {LARGEST}", cli.positive_int)
    lr: float = setting(0.01, "learning rate of the first epoch, from which it falls evenly", cli.positive_float)
    seed: int = setting(0, "of the weights", cli.natural)


def main(argv=None):
    """Train, observe and write the page; returns the exit code."""
    return cli.run("python -m ch_lstm.microscope", _microscope, argv)


def _microscope(argv):
    parser = cli.SettingsParser(
        "python -m ch_lstm.microscope",
        "Write one HTML page on which to watch an LSTM and an RNN read a sentence, forwards and backwards.",
        Settings, SMOKE)
    given = parser.given(argv)
    settings = parser.fill(given)
    for name in ("wordvec_size", "hidden_size") if "run" in given else ("checkpoint", *PLACES):
        if name in given:
            raise InputError(f"--{name.replace('_', '-')} {'does not go' if 'run' in given else 'goes'} with --run")
    expect_replaceable(settings.out)
    if "run" in given or any(name in given for name in OF_A_TRAINING):
        ids, vocabulary, models, facts, corpus = _trained(settings)
    else:
        ids, vocabulary, models, facts, corpus = _small(settings)
    data = page_data(ids, vocabulary, models)
    for cell in models:
        data["models"][cell] |= facts[cell]
    html = page(data | {"corpus": "the documentation of Python" if corpus == "pydoc" else Path(corpus).name})
    with replacing(settings.out) as file:
        file.write(html)
    print(f"{settings.out}: {len(html.encode()) / 1000:,.0f} kB, open it in a browser")


def _small(settings):
    """Return what `_trained` does, of the small model that comes with the project: nothing is trained or read again."""
    file = read_model_file(small_model_of(MODELS))
    ids = sentence_ids(settings.text, file.vocabulary)
    runs = {cell: model_in_file(file, MODELS, cell) for cell in QUANTITIES}
    facts = {cell: {"source": f"trained for {run.settings.epochs} epochs",
                    "perplexity": round(file.texts["models"][cell]["valid_perplexity"], 2)}
             for cell, run in runs.items()}
    return ids, file.vocabulary, {cell: run.model for cell, run in runs.items()}, facts, "pydoc"


def _trained(settings):
    """Return the ids (T,) of the sentence, its vocabulary, models, what the page says of each, and their corpus."""
    models, sources = {}, {}
    if settings.run is None:
        corpus = load_corpus("pydoc", "char")
    else:
        models["lstm"], corpus, sizes = _lstm_of_run(settings)
        settings = dataclasses.replace(settings, **sizes)
        sources["lstm"] = f"from the run {settings.run}"
    if settings.hidden_size > LARGEST:
        raise InputError(f"{settings.hidden_size} units are too many for a page: at most {LARGEST}")
    ids = sentence_ids(settings.text, corpus.vocabulary)  # (T,)
    for cell in QUANTITIES:
        if cell not in models:
            models[cell] = _train(cell, corpus, settings)
            sources[cell] = f"trained for {settings.epochs} epoch{'s' * (settings.epochs > 1)}"
    facts = {cell: {"source": sources[cell], "perplexity": _perplexity(cell, model, corpus, settings)}
             for cell, model in models.items()}
    return ids, corpus.vocabulary, models, facts, corpus.name


def sentence_ids(text, vocabulary):
    """Return the ids (T,) of a sentence.

    Parameters
    ----------
    text : str
    vocabulary : Vocabulary
        Of characters.

    Raises
    ------
    InputError
        The sentence is too short or too long, or has a character that is outside the vocabulary.
    """
    characters = tokenize_characters(clean_text(text))
    if not 2 <= len(characters) <= LONGEST:
        raise InputError(f"the sentence has {len(characters)} characters: give --text from 2 to {LONGEST}")
    return vocabulary.encode_known(characters, "--text")


def _lstm_of_run(settings):
    """Return the model of a training run, its corpus, and its sizes by the names of the settings."""
    run = load_run(settings.run, MODELS, settings.checkpoint)
    trained, _, model, _ = run
    if trained.unit != "char":
        raise InputError(f"the run in {settings.run} reads units of {trained.unit!r}: train one with --unit char")
    if trained.model != "rnnlm":
        raise InputError(f"the run in {settings.run} is of the model {trained.model!r}: the page shows one LSTM "
                         "layer, train one with --model rnnlm")
    sizes = {"wordvec_size": trained.wordvec_size, "hidden_size": trained.hidden_size}
    return model, corpus_of_run(run, settings), sizes


def _train(cell, corpus, settings):
    """Return a trained model."""
    start = time.perf_counter()
    train = known_ids(corpus.train[:settings.max_tokens])
    sizes = corpus.vocabulary.size, settings.wordvec_size, settings.hidden_size
    model = speed_up(CellRnnlm(cell, *sizes, seed=settings.seed))
    time_size = max(1, min(TIME_SIZE, len(train) - 1))  # a short corpus has a smaller batch, but it has one
    batch_size = max(1, min(BATCH_SIZE, (len(train) - 1) // time_size))
    optimizer, batches = Adam(settings.lr), StripBatches(train[:-1], train[1:], batch_size, time_size)
    for epoch, loss in enumerate(train_epochs(model, optimizer, batches, settings.epochs, MAX_GRAD), start=1):
        optimizer.lr, nats = settings.lr * (1 - epoch / settings.epochs), loss
    print(f"{cell.upper():4} {model.count_params():,} parameters, {settings.epochs} epochs, "
          f"training loss {nats:.3f} nats a character, {time.perf_counter() - start:.0f} s", flush=True)
    return model


def _perplexity(cell, model, corpus, settings):
    """Return the perplexity on the validation text, to two decimals."""
    result = perplexity(model, known_ids(corpus.valid[:settings.max_tokens]))
    return round(expect_finite(float(result), f"the perplexity of the {cell.upper()}"), 2)


def page_data(ids, vocabulary, models):
    """Return what the page needs to let models read sentences.

    Parameters
    ----------
    ids : numpy.ndarray of int (T,)
        Of the sentence to begin with.
    vocabulary : Vocabulary
    models : dict of str to LanguageModel
        "lstm" and "rnn", with three layers each: embedding, recurrent layer, affine.

    Returns
    -------
    dict
        As JSON can hold it: "text", the T characters; "characters", those that the models know, by id; "longest", the
        most characters of a sentence; and "models". Of each model: its sizes; "weights", by the names of `WEIGHTS`; and
        "quantities", what `QUANTITIES` says of each, with its lines of source.
    """
    return {"text": vocabulary.decode(ids), "characters": vocabulary.decode(range(vocabulary.size)), "longest": LONGEST,
            "models": {cell: _model_data(cell, model) for cell, model in models.items()}}


def _model_data(cell, model):
    params = [np.to_cpu(param) for param in model.params]
    return {
        "hidden_size": len(params[2]),
        "parameters": model.count_params(),
        "weights": {name: _encoded(param) for name, param in zip(WEIGHTS, params, strict=True)},
        "quantities": {name: {"title": title, "words": words, "lines": [_source(line) for line in lines]}
                       for name, (title, words, lines) in _with_lines(cell).items()},
    }


def _encoded(array):
    """Return an array as the page reads it: its bytes, row by row, the lowest of each number first."""
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {"dtype": array.dtype.name, "base64": base64.b64encode(data).decode()}


def _with_lines(cell):
    """Return `QUANTITIES` of a cell with `Line`s in place of their names, as one step of a tiny model shows them."""
    model = CellRnnlm(cell, 2, 1, 1, dtype=np.float64)
    ids = np.zeros((1, 1), dtype=int)
    with trace(model) as record:
        model.forward(ids, ids)
        model.backward()
    lines = record["layers[1]"].lines | _output_lines()
    return {name: (title, words, [lines[line] for line in computed_by])
            for name, (title, words, computed_by) in QUANTITIES[cell].items()}


def _output_lines():
    """Return, by the names that `QUANTITIES` uses, the lines between the state and the loss."""
    affine, loss_layer = Affine(np.zeros((1, 2)), np.zeros(2)), SoftmaxWithLoss()
    h, t = np.zeros((1, 1)), np.zeros(1, dtype=int)
    scores, affine_lines = walk(affine.forward, h)
    _, softmax_lines = walk(softmax, scores)
    loss, loss_lines = walk(loss_layer.forward, scores, t, names=("loss",))
    dscores, loss_backward = walk(loss_layer.backward, 1.0)
    _, affine_backward = walk(affine.backward, dscores, names=("dh",))
    names = "affine x W", "affine + b", "softmax exp", "softmax sum", "loss", "loss dx", "affine dx"
    lines = (*affine_lines, *softmax_lines, loss_lines[-1], loss_backward[-1], affine_backward[-1])
    return dict(zip(names, lines, strict=True))


def _source(line):
    """Return what the page says of a line."""
    path = Path(common.__file__).parent / line.file
    return {"formula": line.text, "file": f"common/{line.file}",
            "line": line.number, "code": linecache.getline(str(path), line.number).strip()}


def page(data):
    """Return the HTML page of what `page_data` found.

    Parameters
    ----------
    data : dict
        Of `page_data`, and "corpus", what the models were trained on; of each model "source" and "perplexity" too.

    Returns
    -------
    str
    """
    # Within <script> only "<" could end the data: every other character is the business of JSON.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text)


if __name__ == "__main__":
    sys.exit(main())
