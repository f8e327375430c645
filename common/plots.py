"""Pictures, by matplotlib."""
import itertools
import math

import numpy

from common.files import replacing


def draw_curve(axes, values, xlabel, ylabel, ylim=None):
    """Draw one curve of training into matplotlib axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    values : list of float
        One for each place on the x axis, counted from 1.
    xlabel, ylabel : str
    ylim : tuple of float, optional
    """
    axes.plot(range(1, len(values) + 1), values, color="black", marker="o" if len(values) < 50 else None)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if ylim is not None:
        axes.set_ylim(*ylim)


def save_history(path, history, title):
    """Save a picture of a language model's training: perplexity after each epoch.

    Parameters
    ----------
    path : str or Path
        PNG.
    history : list of dict
        With "epoch", "train_perplexity" and "valid_perplexity".
    title : str
    """
    epochs = [row["epoch"] for row in history]
    save_curves(path, {
        "training (mean over the epoch)": (epochs, [row["train_perplexity"] for row in history]),
        "validation (after the epoch)": (epochs, [row["valid_perplexity"] for row in history]),
    }, "epoch", "perplexity", title, yscale="log")


# Told apart without colour.
_STYLES = [{"linestyle": line, "marker": marker, "color": color} for line, marker, color in (
    ("--", "o", "black"), ("-", "s", "black"), (":", "^", "black"), ("-.", "D", "black"),
    ("--", "v", "0.5"), ("-", "P", "0.5"), (":", "X", "0.5"), ("-.", "*", "0.5"))]


def save_curves(path, curves, xlabel, ylabel, title, yscale="linear", ylim=None):
    """Save a picture of several curves, readable in black and white.

    Parameters
    ----------
    path : str or Path
        PNG.
    curves : dict of str to (sequence, sequence)
        Name of each curve to its x and y values; the first eight look all different.
    xlabel, ylabel, title : str
    yscale : {"linear", "log"}
    ylim : tuple of float, optional
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for (name, (xs, ys)), style in zip(curves.items(), itertools.cycle(_STYLES)):
        axes.plot(xs, ys, label=name, markevery=max(1, len(xs) // 20), **style)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=yscale, ylim=ylim)
    axes.set_title(title.encode("ascii", "replace").decode(), parse_math=False)
    if all(float(x).is_integer() for xs, _ in curves.values() for x in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if yscale == "log":
        values = [y for _, ys in curves.values() for y in ys if y > 0]
        decades = math.log10(max(values) / min(values)) if values else 0
        if decades < 3:
            axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter() if decades < 1 else NullFormatter())
    axes.grid(True, which="both", color="0.9")
    axes.legend()
    _save(figure, path)


def save_matrix(path, matrix, rows, columns, xlabel, ylabel, title, numbers=False):
    """Save a picture of a matrix, dark where it is large: attention, or a confusion matrix.

    Parameters
    ----------
    path : str or Path
        PNG.
    matrix : numpy.ndarray (R, C)
        Numbers of at least 0.
    rows, columns : sequence of str
        R and C labels.
    xlabel, ylabel, title : str
    numbers : bool
        Whether to write each number into its square.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 0.3 * len(columns), 1.6 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap="Greys", vmin=0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    if max(map(len, columns)) > 2:
        axes.tick_params(axis="x", rotation=90)
    if numbers:
        middle = matrix.max() / 2
        for (row, column), value in numpy.ndenumerate(matrix):
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=7,
                      color="white" if value > middle else "black")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, parse_math=False)
    _save(figure, path)


def _save(figure, path):
    with replacing(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
