"""The command pictures, for the language models of a chapter: what a trained run did and what its states know.

A chapter gives its models, and pictures of its own.
"""
import csv
import dataclasses
from pathlib import Path

import numpy

from common import cli, plots
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.files.atomic import expect_replaceable
from common.language_model.commands import corpus_of_run, load_run, tokens_of, tokens_of_file
from common.language_model.settings import PlaceSettings
from common.text.word_vectors import nearest
from common.training.checkpoint import read_checkpoint
from common.watch import drawings
from common.watch.states import (
    SIGNALS,
    chance_correlation,
    correlations,
    following_cells,
    principal_components,
    recorded_states,
)
from common.watch.trace import trace

UNITS = 10  # that a heat map shows
LONGEST_LINE = 200  # tokens of a picture with the text along one axis
PASSAGE, PASSAGE_LINES = 700, 20  # characters and lines that a coloured text has at most
SEARCH_LENGTH = 20_000  # characters that a search reads of each text
BEST = 3  # cells of a table for each signal

_GATES = {  # what the arrays of a trace are called in a picture, in the order of computation
    "f": "forget gate f", "g": "candidate g", "i": "input gate i", "o": "output gate o",
    "z": "update gate z", "r": "reset gate r", "h_hat": "candidate", "c": "tanh of cell c", "h": "state h",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of the command line.

    Attributes
    ----------
    help : str
        What it shows.
    settings_class : type
        Subclass of `PictureSettings`.
    draw : callable
        Gets its settings and the models of the chapter, and returns a figure and a sentence with what
        the picture says in numbers.
    """

    help: str
    settings_class: type
    draw: object


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureSettings(cli.Settings):
    """Settings of every picture."""

    out: Path = setting(cli.REQUIRED, "PNG or SVG", Path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings(PictureSettings):
    """Settings of a picture of a trained model."""

    run: Path = setting(cli.REQUIRED, "folder of a training run", Path, positional=True)
    checkpoint: str = setting("best", "best by validation, or last", choices=("best", "last"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSettings(RunSettings):
    """Settings of a picture of one recurrent layer."""

    layer: int = setting(0, "recurrent layer, from 0 on", cli.natural)


def pictures(prog, models, more=None, argv=None):
    """Run the command pictures.

    Parameters
    ----------
    prog : str
        How it is started, "python -m ch_lstm.pictures".
    models : dict of str to class
        The language models of the chapter.
    more : dict of str to Picture, optional
        Pictures that only this chapter has.
    argv : list of str, optional

    Returns
    -------
    int
        Exit code.
    """
    return cli.run(prog, lambda args: _pictures(prog, models, PICTURES | (more or {}), args), argv)


def _pictures(prog, models, known, argv):
    parser = cli.Parser(prog=prog, description="Draw a picture into a PNG or SVG file.")
    commands = parser.add_subparsers(dest="picture", metavar="PICTURE", required=True)
    for name, picture in known.items():
        command = commands.add_parser(name, help=picture.help, description=picture.help)
        cli.add_settings(command, picture.settings_class, {None: {"out": Path(f"{name}.png")}})
        cli.add_device(command)
    given = vars(parser.parse_args(argv))
    cli.use_device(given.pop("device"))
    name = given.pop("picture")
    args = known[name].settings_class(**{"out": Path(f"{name}.png")} | given)
    if args.out.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"--out {args.out} is no name of a picture: it must end in .png or .svg")
    expect_replaceable(args.out)
    figure, sentence = known[name].draw(args, models)
    plots.save(figure, args.out)
    print(f"{sentence}; picture in {args.out}")


def _read_line(text, settings, vocabulary, shortest=1):
    """Return the tokens and the ids of a text that a picture lays out along one line."""
    tokens = tokens_of(text, settings)
    if not shortest <= len(tokens) <= LONGEST_LINE:
        raise InputError(f"--text has {_count(len(tokens), 'token')}: from {shortest} to {LONGEST_LINE} fit")
    return tokens, vocabulary.encode_known(tokens, "--text")


def _expect_layer(layer, layers):
    if layer >= len(layers):
        raise InputError(f"--layer {layer} is not there: the model has {_count(len(layers), 'recurrent layer')}, "
                         "counted from 0")


def _expect_cells(cells, hidden_size):
    for cell in cells:
        if cell >= hidden_size:
            raise InputError(f"there is no cell {cell}: the cells are 0 to {hidden_size - 1}")


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")


# Training curves


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvesSettings(PictureSettings):
    """Settings of the picture `curves`."""

    runs: tuple = setting(cli.REQUIRED, "folders of training runs, of any chapter", Path, many=True, positional=True,
                          metavar="RUN")
    part: str = setting("valid", "perplexity on which part of the text", choices=("valid", "train"))


def _draw_curves(args, models):
    names = _names(args.runs)
    curves = {name: _history(run, f"{args.part}_perplexity") for name, run in zip(names, args.runs)}
    best = ", ".join(f"{name} {min(values):.2f}" for name, (_, values) in curves.items())
    words = {"valid": "validation perplexity", "train": "training perplexity"}[args.part]
    return plots.curves_figure(curves, "epoch", words, yscale="log"), f"lowest {words}: {best}"


def _names(runs):
    """Return short names that are all different."""
    if len(set(runs)) < len(runs):
        raise InputError("the same run is given twice")
    for parts in range(1, 1 + max(1, *(len(run.parts) for run in runs))):  # the folder here, ".", has no parts
        names = [str(Path(*run.parts[-parts:])) for run in runs]
        if len(set(names)) == len(runs):
            break
    return names


def _history(run, column):
    """Return the epochs and one column of a run's history.csv."""
    path = run / "history.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(int(row["epoch"]), float(row[column])) for row in csv.DictReader(file)]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no run with a complete epoch in {run}: {path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        rows = []
    if not rows:
        raise InputError(f"{path} is damaged: it does not hold the epochs of a run")
    return tuple(zip(*rows))


# Gates and states over a text


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatesSettings(LayerSettings):
    """Settings of the picture `gates`."""

    text: str = setting(cli.REQUIRED, "what the model reads, from a state of zeros")
    cells: tuple | None = setting(
        None, f"units to show (default: the {UNITS} whose state changes most over the text)", cli.natural, many=True,
        metavar="K")


def _draw_gates(args, models):
    settings, vocabulary, model, _ = load_run(args.run, models, args.checkpoint)
    tokens, ids = _read_line(args.text, settings, vocabulary)
    _expect_layer(args.layer, model.recurrent_layers)
    with trace(model) as record:
        model.predict(known_ids(ids[None]))
    arrays = record.recurrent[args.layer].arrays
    if "c" in arrays:
        arrays["c"] = numpy.tanh(arrays["c"])  # what the output gate may let out
    states = arrays["h"][0]  # (T, H)
    if args.cells:
        _expect_cells(args.cells, states.shape[1])
        units = args.cells
    else:
        units = sorted(int(k) for k in numpy.argsort(-states.var(axis=0), kind="stable")[:UNITS])
    gates = {words: arrays[name][0][:, units] for name, words in _GATES.items() if name in arrays}
    named = "" if args.cells or len(tokens) == 1 else " whose state changes most"
    signed = [words for name, words in _GATES.items() if name in ("g", "h_hat", "c", "h")]
    return (plots.gates_figure(tokens, gates, f"{args.run.name}, layer {args.layer}: "
                               f"{len(units)} of {states.shape[1]} units{named}", units, signed),
            f"{_count(len(units), 'unit')} over {_count(len(tokens), 'token')}")


# Text coloured by a cell


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSettings(RunSettings, PlaceSettings):
    """Settings of the picture `cell`."""

    layer: int | None = setting(None, "recurrent layer, from 0 on (default: 0; for a search: all)", cli.natural)
    cell: int | None = setting(None, "which cell, from 0 on", cli.natural, metavar="K")
    follow: str | None = setting(
        None, "instead: search for the cells that follow this. They are chosen on the validation part of the run's "
              "text, and their correlations measured on its test part, or on the text that is given",
        choices=(*SIGNALS, "all"))
    text: str | None = setting(None, "what the model reads, from a state of zeros")
    text_file: Path | None = setting(None, "the same, from a file", Path)
    encoding: str | None = setting(None, "of --text-file (default: that of the run's text)")
    search_length: int | None = setting(
        None, f"characters of each text that a search reads (default: {SEARCH_LENGTH})", cli.positive_int)


def _draw_cell(args, models):
    if (args.cell is None) == (args.follow is None):
        raise InputError("give one of --cell and --follow")
    if args.follow is None and args.search_length is not None:
        raise InputError("--search-length goes with --follow only")
    if args.text is not None and args.text_file is not None:
        raise InputError("give one of --text and --text-file")
    run = load_run(args.run, models, args.checkpoint)
    settings, vocabulary, model, _ = run
    if args.layer is not None:
        _expect_layer(args.layer, model.recurrent_layers)
    if args.follow is not None:
        return _draw_following_cell(args, run)
    layer = args.layer or 0
    _expect_cells([args.cell], model.recurrent_layers[layer].hidden_size)
    tokens = _given_tokens(args, settings)
    if tokens is None:
        raise InputError("--cell needs a text: give --text or --text-file")
    tokens = tokens[:_passage_end(tokens, 0)]
    activations, what = _activations(model, vocabulary.encode(tokens), [layer])
    activation = activations[:, args.cell]  # (T,)
    return (plots.coloured_text_figure(tokens, activation, f"{args.run.name}, cell {_name(layer, args.cell)}: {what}"),
            f"{what} of cell {_name(layer, args.cell)} goes from {activation.min():.2f} to {activation.max():.2f}")


def _given_tokens(args, settings):
    """Return the tokens of --text or --text-file, or None."""
    if args.text is None and args.text_file is None:
        return None
    tokens = (tokens_of(args.text, settings) if args.text_file is None else
              tokens_of_file(args.text_file, settings, args.encoding))
    if not tokens:
        raise InputError("the text is empty")
    return tokens


def _activations(model, ids, layers):
    """Return what cells show of themselves, from -1 to 1, those of several layers side by side, (T, cells).

    Of an LSTM that is tanh(c), what its output gate may let out; of another network the state h.
    """
    recorded = recorded_states(model, ids)
    arrays = [numpy.tanh(recorded[layer]["c"]) if "c" in recorded[layer] else recorded[layer]["h"] for layer in layers]
    return numpy.concatenate(arrays, axis=1), "tanh(c)" if "c" in recorded[0] else "h"


def _name(layer, cell):
    return f"{cell} of layer {layer}"


def _draw_following_cell(args, run):
    settings, vocabulary, model, _ = run
    if settings.unit != "char":
        raise InputError(f"--follow needs a run over characters: that in {args.run} has --unit {settings.unit} "
                         "(train with --unit char)")
    corpus = corpus_of_run(run, args)
    layers = list(range(len(model.recurrent_layers))) if args.layer is None else [args.layer]
    cells = [(layer, cell) for layer in layers for cell in range(model.recurrent_layers[layer].hidden_size)]
    length = args.search_length or SEARCH_LENGTH
    choosing = _characters(vocabulary.decode(corpus.valid)[:length], vocabulary)
    given = _given_tokens(args, settings)
    measuring = _characters((given or vocabulary.decode(corpus.test))[:length], vocabulary)
    parts = "validation part", "test part" if given is None else "text that is given"
    (chosen_on, what), (measured_on, _) = (
        _activations(model, vocabulary.encode(text), layers) for text in (choosing, measuring))

    rows = [("follows", "cell", "chosen with r", "measured r", "by chance", "")]
    best, missing = None, set()
    for name in SIGNALS if args.follow == "all" else [args.follow]:
        signals = [SIGNALS[name](text) for text in (choosing, measuring)]
        if lacking := [part for part, signal in zip(parts, signals) if numpy.ptp(signal) == 0]:
            rows.append((name, "", "", "", "", f"not in the {' and the '.join(lacking)}"))
            missing.update(lacking)
            continue
        chance = chance_correlation(measured_on, signals[1])
        measured = correlations(measured_on, signals[1])  # (cells,)
        for rank, (k, r) in enumerate(following_cells(chosen_on, signals[0], BEST)):
            follows = r * measured[k] > 0 and abs(measured[k]) > chance
            rows.append((name if rank == 0 else "", _name(*cells[k]), f"{r:.2f}", f"{measured[k]:.2f}", f"{chance:.2f}",
                         "" if follows else "no better than chance"))
            if rank == 0 and (best is None or (follows, abs(r)) > best[:2]):
                best = follows, abs(r), name, k, float(measured[k]), signals[1]
    if best is None:
        read = {part: (len(text), len(whole)) for part, text, whole in zip(
            parts, (choosing, measuring), (corpus.valid, corpus.test if given is None else given))}
        if args.follow == "all":
            print(format_table(rows, left=2))
        raise InputError(_nothing_to_follow(args.follow, {part: read[part] for part in parts if part in missing}))
    print(format_table(rows, left=2))
    follows, _, name, k, r, signal = best
    start, end = _liveliest_passage(measuring, signal)
    activation = measured_on[start:end, k]  # (passage,)
    sign = "" if r > 0 else "\u2212"
    title = f"cell {_name(*cells[k])} and {name}: {sign}{what}, r = {abs(r):.2f}"
    return (plots.coloured_text_figure(measuring[start:end], activation if r > 0 else -activation, title),
            f"closest to {name}: cell {_name(*cells[k])}, r = {r:.2f} on {len(measuring):,} characters "
            "that were not used to choose it" + ("" if follows else ", no better than chance"))


def _nothing_to_follow(name, lacking):
    """Say which texts lack what a cell might follow, and how to give others.

    A text that is given takes the place of the test part only: the cells are chosen on the validation part.

    Parameters
    ----------
    name : str
        Of the signal, or "all".
    lacking : dict of str to (int, int)
        For each text the number of characters that were read, and that there are.
    """
    texts = " and ".join(f"the {read:,} characters of the {part}" for part, (read, _) in lacking.items())
    what = "anything: no signal is in both texts, see the table" if name == "all" else f"{name}: none in {texts}"
    more = "read more by --search-length, or " if any(read < whole for read, whole in lacking.values()) else ""
    other = ("train a run on a text that has it" if "validation part" in lacking
             else "give a text that has it by --text or --text-file")
    return f"no cell can follow {what}; {more}{other}"


def _characters(tokens, vocabulary):
    """Return a text with as many characters as there are tokens: an unknown one has no sign of its own."""
    return "".join("\ufffd" if token == vocabulary.unknown else token for token in tokens)


def _liveliest_passage(tokens, signal):
    """Return the beginning and the end of the lines in which the signal changes most."""
    starts = [0, *(t + 1 for t, token in enumerate(tokens) if token == "\n" and t + 1 + PASSAGE <= len(tokens))]
    return max(((start, _passage_end(tokens, start)) for start in starts), key=lambda ends: signal[slice(*ends)].std())


def _passage_end(tokens, start):
    """Return where to end a passage: behind a line, where that does not make it much shorter."""
    end = min(start + PASSAGE, len(tokens))
    ends = [t + 1 for t in range(start, end) if tokens[t] == "\n"]
    if len(ends) >= PASSAGE_LINES:
        return ends[PASSAGE_LINES - 1]
    return ends[-1] if ends and ends[-1] - start > PASSAGE / 2 else end


# States in two dimensions


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatesSettings(LayerSettings):
    """Settings of the picture `states`."""

    text: str = setting(cli.REQUIRED, "what the model reads, from a state of zeros")
    state: str = setting("h", "c is the cell of an LSTM", choices=("h", "c"))


def _draw_states(args, models):
    settings, vocabulary, model, _ = load_run(args.run, models, args.checkpoint)
    tokens, ids = _read_line(args.text, settings, vocabulary, shortest=2)
    _expect_layer(args.layer, model.recurrent_layers)
    states = recorded_states(model, ids)[args.layer]
    if args.state not in states:
        raise InputError(f"--state {args.state} is not there: the model of the run in {args.run} has no cells")
    places, shares = principal_components(states[args.state])
    return (plots.states_figure(tokens, places, shares, f"{args.run.name}: {args.state} along the text"),
            f"two principal components hold {shares.sum():.0%} of the variance of {args.state}")


# Words near each other


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighboursSettings(RunSettings):
    """Settings of the picture `neighbours`."""

    words: tuple = setting(cli.REQUIRED, "words, or characters, of the run", many=True, metavar="WORD")
    top: int = setting(8, "neighbours of each", cli.positive_int)


def _draw_neighbours(args, models):
    _, vocabulary, model, _ = load_run(args.run, models, args.checkpoint)
    words = list(dict.fromkeys(args.words))
    vocabulary.encode_known(words, "--words")
    vectors = model.layers[0].params[0]  # (V, D)
    found = {word: nearest(word, vocabulary.word_to_id, vocabulary.id_to_word, vectors, args.top) for word in words}
    firsts = ", ".join(f"{word}: {near[0][0]} {near[0][1]:.2f}" for word, near in found.items())
    return plots.neighbours_figure(found, f"{args.run.name}: nearest in the embedding"), f"nearest: {firsts}"


# Singular values


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingularSettings(PictureSettings):
    """Settings of the picture `singular`."""

    run: Path = setting(cli.REQUIRED, "folder of a training run", Path, positional=True)
    layer: int = setting(0, "recurrent layer, from 0 on", cli.natural)


def _draw_singular(args, models):
    settings, vocabulary, model, _ = load_run(args.run, models, "last")
    _expect_layer(args.layer, model.recurrent_layers)
    path = args.run / "last.npz"
    arrays, header = read_checkpoint(path, settings.model, vocabulary)
    epochs = header["progress"]["singular_value_epochs"] if "progress" in header else []
    if not epochs:
        raise InputError(f"the run in {args.run} kept no singular values, it is from an older version: train again")
    name = f"singular_values_{args.layer}"
    if name not in arrays:
        raise InputError(f"{path} is damaged: it lacks {name}")
    values = arrays[name]  # (E, H)
    return (plots.singular_values_figure(epochs, values, f"{args.run.name}, layer {args.layer}"),
            f"largest singular value of Wh: {values[0, 0]:.2f} at epoch {epochs[0]}, "
            f"{values[-1, 0]:.2f} at epoch {epochs[-1]}")


# Drawings


def _draw_lstm_cell(args, models):
    return drawings.lstm_cell_figure(), "the LSTM cell, its names as in common/layers/lstm.py"


def _draw_unrolled(args, models):
    return drawings.unrolled_figure(), "a language model over three time steps"


PICTURES = {
    "lstm-cell": Picture("A drawing of the LSTM cell, forwards and backwards.", PictureSettings, _draw_lstm_cell),
    "unrolled": Picture("A drawing of a network over three time steps, and the paths of its gradient.", PictureSettings,
                        _draw_unrolled),
    "curves": Picture("Training curves of several runs.", CurvesSettings, _draw_curves),
    "gates": Picture("Gates and states over a text, as heat maps.", GatesSettings, _draw_gates),
    "cell": Picture("A text coloured by one cell, given or searched for.", CellSettings, _draw_cell),
    "states": Picture("The path of the hidden state along a text, in two dimensions.", StatesSettings, _draw_states),
    "neighbours": Picture("Words whose vectors are nearest.", NeighboursSettings, _draw_neighbours),
    "singular": Picture("Singular values of Wh over training.", SingularSettings, _draw_singular),
}
