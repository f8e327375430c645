"""Pictures, by matplotlib: in colours that colour-blind readers tell apart, and readable in black and white.

A function `..._figure` returns a matplotlib Figure, and `save` writes it as PNG:

    save(curves_figure({"run 1": (epochs, losses)}, "epoch", "loss"), "loss.png")
"""
import itertools
import math
import textwrap

import numpy

from common.files.atomic import replacing

# The colours of Okabe and Ito (2008) but yellow, too light for a line. Lines and markers tell curves apart as well.
COLOURS = {"blue": "#0072B2", "vermillion": "#D55E00", "green": "#009E73", "black": "#000000", "purple": "#CC79A7",
           "orange": "#E69F00", "sky": "#56B4E9", "grey": "#7F7F7F"}
_STYLES = [{"linestyle": line, "marker": marker, "color": color} for line, marker, color in zip(
    ("--", "-", ":", "-.") * 2, "os^DvPX*", COLOURS.values())]

_LIGHT_TO_DARK = "YlGnBu"  # a larger number is always a darker colour, so that it can be printed in grey
_SIGNED = "RdBu_r"  # blue below zero, white at zero, red above
_CHARACTER = 0.079  # inches for one, a little more than its width
_FONT_SIZE = 8.5
_TITLE_SIZE = 12
_VISIBLE = str.maketrans({"\n": "\u21b5", "\t": "\u21e5", " ": "\u2423"})


def save(figure, path):
    """Write a figure to a PNG file, or to an SVG file where the name says so.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    if str(path).lower().endswith(".svg"):
        with replacing(path, "wb") as file, matplotlib.rc_context({"svg.hashsalt": "rnn"}):  # the same bytes each time
            figure.savefig(file, format="svg", metadata={"Date": None})
        return
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(120)
    canvas.draw()
    pixels = numpy.asarray(canvas.buffer_rgba())[..., :3]  # (rows, columns, 3)
    grey = (pixels == pixels[..., :1]).all()
    with replacing(path, "wb") as file:  # in shades of grey where it has no colour: a third of the size
        Image.fromarray(pixels[..., 0] if grey else pixels).save(file, "PNG", optimize=True)


# Curves


def curves_figure(curves, xlabel, ylabel, title="", yscale="linear", ylim=None):
    """Draw several curves into one picture.

    Parameters
    ----------
    curves : dict of str to (sequence, sequence)
        Name of each curve to its x and y values; the first eight look all different.
    xlabel, ylabel, title : str
    yscale : {"linear", "log"}
        On a log scale, what is not above 0 is left out.
    ylim : tuple of float, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    return panels_figure({title: dict(curves=curves, xlabel=xlabel, ylabel=ylabel, yscale=yscale, ylim=ylim)})


def panels_figure(panels, title=""):
    """Draw several pictures of curves side by side, two in a row; curves of the same names need one legend only.

    Parameters
    ----------
    panels : dict of str to dict
        Title of each to what `curves_figure` takes; beside that, "pale" may hold more curves, which are drawn in
        grey in the styles of the first ones.
    title : str
        Of the whole.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no panel.
    """
    _expect_some("panels_figure", panels)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = _figure((6.4 if columns == 1 else 11, 4 * rows), title, rows, columns)
    height, explained = figure.get_figheight(), set()  # and the names of curves that a legend has
    for each, (name, panel) in zip(numpy.ravel(axes), panels.items()):
        each.set_title(_wrapped(name, 0.85 * figure.get_figwidth() / columns, _TITLE_SIZE), parse_math=False)
        names = *panel["curves"], *(panel.get("pale") or {})
        _draw_curves(each, **panel, legend=names not in explained)
        explained.add(names)
    for each in numpy.ravel(axes)[len(panels):]:
        each.set_axis_off()
    if figure.get_figheight() > height:  # for a legend, for which the layout finds room only from a layout before
        figure.draw_without_rendering()
    return figure


def _draw_curves(axes, curves, xlabel, ylabel, yscale="linear", ylim=None, pale=None, legend=True):
    """Draw curves, and others in the same styles, pale."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    pale_styles = ({**style, "color": _pale(style["color"]), "markerfacecolor": "white"} for style in _STYLES)
    for k, (name, (xs, ys)), style in [*zip(itertools.count(), curves.items(), itertools.cycle(_STYLES)),
                                       *zip(itertools.count(), (pale or {}).items(), itertools.cycle(pale_styles))]:
        if yscale == "log":
            ys = numpy.where((shown := numpy.asarray(ys, dtype=float)) > 0, shown, numpy.nan)
        # Where curves lie on each other, each later one is thinner, and the markers of many points alternate.
        every = max(1, len(xs) // 20)
        axes.plot(xs, ys, label=_wrapped(name, 4, 10), markevery=(k * every // 4 % every, every),
                  linewidth=2.5 - 0.5 * (k % 4), markersize=7 - k % 4, **style)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=yscale, ylim=ylim)
    if all(float(x).is_integer() for xs, _ in curves.values() for x in xs):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # 1: a single point has one tick
    if yscale == "log":
        values = [y for _, ys in curves.values() for y in ys if 0 < y < math.inf]
        low, high = ylim or (min(values, default=1), max(values, default=1))
        decades = math.log10(high / low)
        if decades < 3:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        digits = "123456789" if decades < 1 else "25"  # that a labelled tick between the decades begins with
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}" if f"{y:.0e}"[0] in digits else "")
                                       if decades < 2 else NullFormatter())
    axes.grid(True, which="both" if yscale == "log" and decades < 2 else "major", color="0.9")
    if legend:
        _draw_legend(axes)


def _draw_legend(axes):
    """Draw a legend below the axes, where it covers no curve; the figure grows where it needs more than two rows."""
    figure = axes.figure
    width = 0.95 * figure.bbox.width / axes.get_subplotspec().get_gridspec().ncols
    for columns in 3, 2, 1:
        legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, fontsize=9)
        box = legend.get_window_extent()
        if box.width < width:
            break
    figure.set_figheight(figure.get_figheight() + max(0, 1.15 * box.height / figure.dpi - 0.6))


def _pale(color):
    """Return a colour, mixed with white."""
    from matplotlib.colors import to_rgb

    return tuple(0.45 * part + 0.55 for part in to_rgb(color))


def gradient_norms_figure(norms, title=""):
    """Draw how the gradient shrinks or grows on its way back through time.

    Parameters
    ----------
    norms : dict of str to array (T,)
        For each curve the norm of dL/dh_t at each time step, t = 0 first. Where it is 0 there is no point.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    return panels_figure({title: gradient_norms_panel(norms)})


def gradient_norms_panel(norms, pale=None):
    """Return what `gradient_norms_figure` draws, as a panel of `panels_figure`; `pale` as there."""
    curves, pale = ({name: (range(len(values)), values) for name, values in each.items()}
                    for each in (norms, pale or {}))
    return dict(curves=curves, pale=pale, xlabel="time step t", ylabel="norm of dL/dh_t", yscale="log")


def singular_values_figure(epochs, values, title=""):
    """Draw the singular values of a recurrent matrix over training.

    Parameters
    ----------
    epochs : sequence of int (E,)
        0 is before training.
    values : array (E, K)
        Each row from the largest to the smallest.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Left: each value over the epochs. Right: all values of the first and the last epoch.
    """
    values = numpy.asarray(values)  # (E, K)
    K = values.shape[1]
    figure, (over_time, spectrum) = _figure((9, 3.8), title, columns=2)
    over_time.plot(epochs, values, color="0.75", linewidth=0.7)
    named = {"largest": 0, "median": K // 2, "smallest": K - 1}
    _draw_curves(over_time, {name: (epochs, values[:, k]) for name, k in named.items()},
                 "epoch", "singular value of Wh")
    ranks = range(1, K + 1)
    _draw_curves(spectrum, {f"epoch {epochs[e]}": (ranks, values[e]) for e in dict.fromkeys((0, len(epochs) - 1))},
                 "rank", "singular value of Wh")
    for axes in over_time, spectrum:
        axes.set_ylim(bottom=0)
    return figure


# Matrices


def matrix_figure(matrix, rows, columns, xlabel, ylabel, title="", numbers=False, shades=None):
    """Draw a matrix, dark where it is large: attention, or a confusion matrix.

    Parameters
    ----------
    matrix : numpy.ndarray (R, C)
        Numbers of at least 0; a square that is NaN stays empty.
    rows, columns : sequence of str
        R and C labels.
    xlabel, ylabel, title : str
    numbers : bool
        Whether to write each number into its square.
    shades : numpy.ndarray (R, C), optional
        How dark each square is, where that is not the number itself.

    Returns
    -------
    matplotlib.figure.Figure
    """
    matrix = numpy.asarray(matrix)
    shades = matrix if shades is None else shades
    rows, columns = ([_shortened(_drawable(label)) for label in labels] for labels in (rows, columns))
    turned = max(map(len, columns)) > 2
    height = 1.6 + 0.3 * len(rows) + (0.05 * max(map(len, columns)) if turned else 0)
    figure, axes = _figure((max(2 + 0.3 * len(columns), 4.5), height), title)
    long = max(0, max(map(len, rows)) - 12)  # characters of a long label, beside which the title still has its width
    figure.set_figwidth(figure.get_figwidth() + 2 * _CHARACTER * long)
    axes.imshow(shades, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    if turned:
        axes.tick_params(axis="x", rotation=90)
    if numbers:
        middle = numpy.nanmax(shades, initial=0) / 2
        for row, column in numpy.argwhere(~numpy.isnan(matrix)):
            axes.text(column, row, f"{matrix[row, column]:g}", ha="center", va="center", fontsize=7,
                      color="white" if shades[row, column] > middle else "black")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def confusion_figure(matrix, labels, title=""):
    """Draw a confusion matrix: numbers are counts, shades are shares of the row, so that rare classes show too.

    Parameters
    ----------
    matrix : numpy.ndarray of int (K, K)
        Row: true class. Column: predicted class.
    labels : sequence of str
        K names.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    matrix = numpy.asarray(matrix)
    shares = matrix / numpy.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (K, K)
    return matrix_figure(matrix, labels, labels, "predicted", "true", title, numbers=True, shades=shares)


# States over a text


def gates_figure(text, gates, title="", units=None, signed=()):
    """Draw gates and states over a text as heat maps, one band for each, a row for each unit.

    Parameters
    ----------
    text : str or sequence of str
        T characters or tokens.
    gates : dict of str to array (T, H)
        In the order from top to bottom. A band is drawn on a scale from 0 to 1 or its largest number, dark where it is
        large; a signed one on a scale that is symmetric around 0, blue below it and red above.
    title : str
    units : sequence, optional
        Names of the H units; by default 0 to H - 1, not written out when they are many.
    signed : collection of str
        Names of the bands whose numbers may be negative, beside those that have one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no text or no gate, or one is not (T, H).
    """
    from matplotlib.ticker import MaxNLocator

    _expect_some("gates_figure", text, gates)
    gates = {name: numpy.asarray(values) for name, values in gates.items()}
    T, H = len(text), next(iter(gates.values())).shape[-1]
    for name, values in gates.items():
        if values.shape != (T, H):
            raise ValueError(f"gates_figure: {name} has the shape {values.shape}, wanted {(T, H)} for "
                             f"{T} characters or tokens")
    labels = [_visible(each, missing=lambda character: f"U+{ord(character):04X}") for each in text]
    longest = max(map(len, labels))
    height = 1 + len(gates) * max(0.5, min(0.115 * H, 2)) + (_CHARACTER * longest if longest > 1 else 0)
    size = max(2.2 + 0.13 * T, 4.5), height
    figure, bands = _figure(size, title, rows=len(gates))
    bands = numpy.atleast_1d(bands)
    for axes, (name, values) in zip(bands, gates.items()):
        largest, has_sign = max(1, numpy.abs(values).max()), name in signed or values.min() < 0
        image = axes.imshow(values.T, cmap=_SIGNED if has_sign else _LIGHT_TO_DARK, aspect="auto",
                            interpolation="nearest", vmin=-largest if has_sign else 0, vmax=largest)
        bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=min(0.03, 0.15 / figure.get_figwidth()), aspect=8,
                              format="{x:.1f}" if has_sign else "{x:.2f}")  # as wide in the layout as in the picture
        bar.ax.tick_params(labelsize=7)
        axes.set_ylabel(_drawable(name), rotation=0, ha="right", va="center", labelpad=8)
        if H <= 20:
            axes.set_yticks(range(H), range(H) if units is None else units, fontsize=6)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.tick_params(axis="y", labelsize=6)
        axes.set_xticks([])
    bands[-1].set_xticks(range(T), labels, parse_math=False, family="monospace",
                         fontsize=_FONT_SIZE, rotation=0 if longest == 1 else 90)
    bands[-1].tick_params(axis="x", length=0)
    return figure


def coloured_text_figure(text, activation, title="", width=96):
    """Draw a text coloured by the activation of one cell: blue for -1, white for 0, red for 1.

    Parameters
    ----------
    text : str or sequence of str
        T characters or tokens.
    activation : array (T,)
        From -1 to 1.
    title : str
    width : int
        Characters in a line of the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The text is empty, or there is not one activation for each character or token.
    """
    activation = numpy.asarray(activation)  # (T,)
    _expect_some("coloured_text_figure", "".join(text))
    _expect_as_many("coloured_text_figure", text, "characters or tokens", activation, "activations")
    places, row, column = [], 0, 0  # (row, column) of each token
    for token in text:
        if column and column + len(token) > width:
            row, column = row + 1, 0
        places.append((row, column))
        row, column = (row + 1, 0) if token == "\n" else (row, column + len(token))
    rows = places[-1][0] + 1
    columns = max(column + len(token) for token, (_, column) in zip(text, places))
    colours = numpy.full((rows, columns), numpy.nan)  # (rows, columns)
    for token, (row, column), value in zip(text, places, activation):
        colours[row, column:column + len(token)] = value

    figure, axes = _figure((max(0.2 + _CHARACTER * columns, 4.5), 1 + 0.19 * rows), title)
    image = axes.imshow(colours, cmap=_SIGNED, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    shade = image.to_rgba(activation)[:, :3] @ (0.299, 0.587, 0.114)  # (T,), how light
    for token, (row, column), light in zip(text, places, shade):
        for k, character in enumerate(_visible(token, space=" ")):
            if character != " ":
                axes.text(column + k, row + 0.25, character, ha="center", va="baseline", family="monospace",
                          fontsize=_FONT_SIZE, color="black" if light > 0.5 else "white", parse_math=False)
    axes.set_axis_off()
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=min(1, 3 / figure.get_size_inches()[0]),
                          aspect=25, pad=0.02, ticks=[-1, 0, 1])
    bar.ax.tick_params(labelsize=7)
    return figure


def states_figure(labels, places, shares, title=""):
    """Draw states as a path in the plane of their first two principal components.

    Parameters
    ----------
    labels : sequence of str
        T of them.
    places : array (T, 2)
    shares : array (2,)
        Of the variance: `common.watch.states.principal_components` returns both.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        The path goes from light to dark blue; a square is the first state, a diamond the last.

    Raises
    ------
    ValueError
        There is no state, or not one label for each.
    """
    from matplotlib import colormaps

    _expect_some("states_figure", places)
    _expect_as_many("states_figure", labels, "labels", places, "states")
    T = len(places)
    figure, axes = _figure((7, 5.6), title)
    shades = colormaps["Blues"](numpy.linspace(0.3, 1, max(T - 1, 1)))  # (T - 1, 4)
    for t in range(T - 1):
        axes.plot(*places[t:t + 2].T, color=shades[t], linewidth=1.2, zorder=1)
    axes.scatter(*places.T, color="black", s=9, zorder=2)
    axes.scatter(*places[0], marker="s", s=70, facecolor="none", edgecolor="black", label="first", zorder=2)
    axes.scatter(*places[-1], marker="D", s=70, facecolor="none", edgecolor="black", label="last", zorder=2)
    axes.margins(0.08)
    figure.draw_without_rendering()  # the labels need to know where the points are
    for place, label, offset in zip(places, labels, _label_offsets(axes.transData.transform(places), labels, axes)):
        axes.annotate(_visible(label), place, offset, textcoords="offset points", ha="center", va="center",
                      fontsize=_FONT_SIZE, family="monospace", parse_math=False, zorder=3)
    axes.set(xlabel=f"first principal component ({shares[0]:.0%} of the variance)",
             ylabel=f"second ({shares[1]:.0%})")
    axes.legend(fontsize=8)
    return figure


def _label_offsets(points, labels, axes):
    """Choose for each label, one after the other, the place around its point that covers the least of the others.

    A place within the axes is better than one outside.

    Parameters
    ----------
    points : numpy.ndarray (T, 2)
        In pixels.
    labels : sequence of str
    axes : matplotlib.axes.Axes

    Returns
    -------
    list of (float, float)
        In points.
    """
    pixels = axes.figure.dpi / 72  # of a point
    height = _FONT_SIZE * pixels
    between = numpy.linspace(0, 1, 20)[:, None, None]  # (20, 1, 1)
    path = (points[:-1] + between * (points[1:] - points[:-1])).reshape(-1, 2)  # (20 (T - 1), 2)
    centres: list[numpy.ndarray] = []
    sizes: list[numpy.ndarray] = []
    offsets = []
    for t, (point, label) in enumerate(zip(points, labels)):
        size = numpy.array([0.62 * height * len(label), height])
        gap = (7 if t in (0, len(points) - 1) else 4.5) * pixels  # the first and the last have a larger mark
        best = numpy.inf, point, point  # cost, centre, offset
        for distance, angle in itertools.product((1, 1.7), numpy.linspace(0, 2 * numpy.pi, 12, endpoint=False)):
            offset = distance * (size / 2 + gap) * (numpy.cos(angle + 0.8), numpy.sin(angle + 0.8))
            centre = point + offset
            cost = sum(_overlap(centre, size, *other) for other in zip(centres, sizes))
            cost += 8 * height * (numpy.abs(points - centre) < size / 2 + 2 * pixels).all(axis=1).sum()
            cost += height * (numpy.abs(path - centre) < size / 2).all(axis=1).sum() + distance
            outside = numpy.maximum(axes.bbox.min - (centre - size / 2), centre + size / 2 - axes.bbox.max)  # (2,)
            cost += 100 * height * numpy.maximum(outside, 0).sum()
            if cost < best[0]:
                best = cost, centre, offset
        centres.append(best[1])
        sizes.append(size)
        offsets.append(tuple(best[2] / pixels))
    return offsets


def _overlap(centre, size, other_centre, other_size):
    """Return the area that two rectangles share."""
    shared = (size + other_size) / 2 - numpy.abs(centre - other_centre)
    return max(shared[0], 0) * max(shared[1], 0)


def neighbours_figure(neighbours, title=""):
    """Draw the nearest words of some words as bars.

    Parameters
    ----------
    neighbours : dict of str to list of (str, float)
        For each word its neighbours and their cosines, nearest first.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no word, or one without neighbours.
    """
    _expect_some("neighbours_figure", neighbours, *neighbours.values())
    columns = min(3, len(neighbours))
    rows = -(-len(neighbours) // columns)
    longest = max(map(len, neighbours.values()))
    size = max(3 * columns, 4.5), 0.7 + rows * (0.5 + 0.22 * longest)
    figure, panels = _figure(size, title, rows=rows, columns=columns)
    panels = numpy.ravel(panels)
    for axes, (word, found) in zip(panels, neighbours.items()):
        words, cosines = zip(*found)
        places = range(len(found))
        axes.barh(places, cosines, color=COLOURS["sky"], edgecolor="black", linewidth=0.6)
        axes.set_yticks(places, [_shortened(_visible(each)) for each in words], parse_math=False)
        for place, cosine in zip(places, cosines):
            axes.text(max(cosine, 0) + 0.02, place, f"{cosine:.2f}", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(min(0, min(cosines) * 1.1), 1.15)
        axes.set_xlabel("cosine")
        axes.set_title(_wrapped(f"near {_visible(word)}", 2, 10), parse_math=False, fontsize=10)
    for axes in panels[len(neighbours):]:
        axes.set_axis_off()
    return figure


# Straight to a file


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


def save_health(path, history, title):
    """Save a picture of how healthy the steps of a language model's training were; what was not seen has no panel.

    Parameters
    ----------
    path : str or Path
        PNG; where nothing was seen, none is written.
    history : list of dict
        With "epoch", "max_grad" and what `common.training.health.HealthLog.row` returns, which rows may lack.
    title : str
    """
    panels = {
        "gradient": ("norm", None, {"before clipping (mean of the epoch)": "gradient_norm", "clipped to": "max_grad"}),
        "clipped steps": ("share of the steps", 1, {"clipped": "clipped"}),
        "saturated gates": ("share of the gates", 1, {"below 0.1 or above 0.9": "saturated"}),
        "update": ("ratio", None, {"norm of the update / norm of the weights": "update_ratio"})}
    seen = {}
    for name, (ylabel, top, columns) in panels.items():
        points = {curve: [(row["epoch"], row[column]) for row in history if row.get(column) is not None]
                  for curve, column in columns.items()}
        if next(iter(points.values())):
            curves = {curve: tuple(zip(*those)) for curve, those in points.items() if those}
            seen[name] = dict(curves=curves, xlabel="epoch", ylabel=ylabel, ylim=(0, top))
    if seen:
        save(panels_figure(seen, title), path)


def save_curves(path, curves, xlabel, ylabel, title, yscale="linear", ylim=None):
    """Save what `curves_figure` draws."""
    save(curves_figure(curves, xlabel, ylabel, title, yscale, ylim), path)


def save_matrix(path, matrix, rows, columns, xlabel, ylabel, title, numbers=False):
    """Save what `matrix_figure` draws."""
    save(matrix_figure(matrix, rows, columns, xlabel, ylabel, title, numbers), path)


# What all pictures share


def _expect_some(function, *given):
    if not all(map(len, given)):
        raise ValueError(f"{function}: there is nothing to draw")


def _expect_as_many(function, some, their_name, others, their_other_name):
    if len(some) != len(others):
        raise ValueError(f"{function}: {len(some)} {their_name}, but {len(others)} {their_other_name}")


def _figure(size, title, rows=1, columns=1):
    """Return a new figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    width, height = size
    title = _wrapped(title, 0.85 * width, _TITLE_SIZE)
    figure = Figure(figsize=(width, height + 0.2 * title.count("\n")), layout="constrained")
    axes = figure.subplots(rows, columns)
    if title and rows == columns == 1:
        axes.set_title(title, parse_math=False, fontsize=_TITLE_SIZE)
    elif title:
        figure.suptitle(title, parse_math=False, fontsize=_TITLE_SIZE)
    return figure, axes


def _wrapped(text, width, fontsize):
    """Return a text that can be drawn, in lines that fit into a width in inches."""
    return textwrap.fill(_drawable(text), max(10, int(width / (0.0089 * fontsize))))


def _shortened(text, longest=24):
    return text if len(text) <= longest else f"{text[:longest - 1]}\u2026"


def _drawable(text, missing=lambda character: "\ufffd"):
    """Return a text in which something else stands for each character that the font lacks."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans Mono")).get_char_index
    return "".join(character if known(ord(character)) else missing(character) for character in str(text))


def _visible(text, space="\u2423", **options):
    """Return a text whose ends of line, tabs and spaces can be seen."""
    return _drawable(text.translate(_VISIBLE).replace("\u2423", space), **options)
