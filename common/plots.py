"""Pictures, by matplotlib."""
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
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, [row["train_perplexity"] for row in history], "k--o", label="training (mean over the epoch)")
    axes.plot(epochs, [row["valid_perplexity"] for row in history], "k-s", label="validation (after the epoch)")
    axes.set(xlabel="epoch", ylabel="perplexity", yscale="log")
    axes.set_title(title.encode("ascii", "replace").decode(), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis_formatter(ScalarFormatter())
    axes.grid(True, which="both", color="0.9")
    axes.legend()
    with replacing(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
