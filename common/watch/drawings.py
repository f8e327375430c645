"""Two drawings: the LSTM cell, forwards and backwards, and the network unrolled over three steps.

The variables, functions and numbers of equations are read from the source, of the LSTM's layer and of the unrolled
network of the command step, so a variable that is renamed there has its new name here.
"""
import ast
import inspect
import re
from typing import Any

from common.layers import lstm
from common.layers.losses import SoftmaxWithLoss
from common.layers.lstm import TimeLSTM
from common.layers.time import TimeAffine, TimeEmbedding
from common.plots import COLOURS
from common.watch import step

FORWARD, BACKWARD = COLOURS["blue"], COLOURS["vermillion"]


def function_of(source: str, name: str) -> Any:
    """Return the definition of a function, or of a method by a name like ``LSTM.forward``.

    Parameters
    ----------
    source : str
        Of a module.
    name : str

    Raises
    ------
    ValueError
        The module has none of this name.
    """
    node: Any = ast.parse(source)
    for part in name.split("."):
        node = next((child for child in node.body if getattr(child, "name", None) == part), None)
        if node is None:
            raise ValueError(f"the source has no {name}")
    return node


def numbered_lines(source: str, name: str) -> dict[str, Any]:
    """Return the lines of a function by the number of their equation, as in ``h = np.tanh(a)  # (2)``.

    Parameters
    ----------
    source : str
        Of the module.
    name : str
        Of the function, as in `function_of`.
    """
    lines = source.splitlines()
    found = {}
    for node in function_of(source, name).body:
        if number := re.search(r"#.*\((\d)\)$", lines[node.lineno - 1]):
            found[number[1]] = node
    return found


def variables(node: ast.AST) -> list[str]:
    """Return the variables of an expression in the order in which they stand, without functions and modules."""
    functions = {id(name) for call in ast.walk(node) if isinstance(call, ast.Call) for name in ast.walk(call.func)}
    names = [name for name in ast.walk(node) if isinstance(name, ast.Name) and id(name) not in functions]
    return [name.id for name in sorted(names, key=lambda name: (name.lineno, name.col_offset))]


def functions(node: ast.AST) -> list[str]:
    """Return the functions that an expression calls, without their modules."""
    return [ast.unparse(call.func).rpartition(".")[2] for call in ast.walk(node) if isinstance(call, ast.Call)]


FORMS = {"1": "_ @ _ + _ @ _ + _", "3": "_ * _ + _ * _", "4": "_ * _._(_)"}  # of equations, as the drawing has them


def cell_names(source: str | None = None) -> dict[str, Any]:
    """Return what stands where in an LSTM cell, by the place in the drawing.

    Parameters
    ----------
    source : str, optional
        Of a module like `common/layers/lstm.py`; by default of that one.

    Raises
    ------
    ValueError
        The lines are no LSTM's: an equation is missing, or has another form.
    """
    source = source or inspect.getsource(lstm)
    product, forward, backward = (numbered_lines(source, name)
                                  for name in ("LSTM.forward", "gates_forward", "gates_backward"))
    try:
        for number, form in FORMS.items():
            line = (product if number == "1" else forward)[number]
            if re.sub(r"\w+", "_", ast.unparse(line.value)) != form:
                raise ValueError(f"({number}) is {ast.unparse(line)}")
        names: dict[str, Any] = {"gates": variables(forward["2"].targets[0]), "before": variables(forward["2"].value),
                                 "functions": functions(forward["2"].value)}
        f, g, i, o = names["gates"]
        names["x"], _, names["h_prev"], _, _ = variables(product["1"].value)
        names["product"] = ast.unparse(product["1"].value).replace(" @ ", " ")
        (names["a"],), (names["c"],), (names["h"],) = (
            variables(line.targets[0]) for line in (product["1"], forward["3"], forward["4"]))
        multiplied, (names["squash"],) = variables(forward["3"].value), functions(forward["4"].value)
        names["c_prev"] = multiplied[1]
        if (multiplied, variables(forward["4"].value)) != ([f, names["c_prev"], g, i], [o, names["c"]]):
            raise ValueError(f"(3) is {ast.unparse(forward['3'])}, (4) is {ast.unparse(forward['4'])}")
        *names["d_gates"], names["dc_prev"] = variables(backward["3"].targets[0])
        names["d_gates"] += variables(backward["4"].targets[0])
        names["d_before"] = variables(backward["2"].targets[0])
        names["dh"], names["dc"] = variables(backward["4"].value)[0], variables(backward["3"].value)[0]
        _, names["da"], _ = variables(numbered_lines(source, "LSTM.backward")["1"])
        names["dx"], names["dh_prev"], _ = variables(function_of(source, "LSTM.backward").body[-1])
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"the source of the LSTM has no equation in the form that is needed: {error}") from None
    if not len(names["before"]) == len(names["functions"]) == len(names["d_gates"]) == len(names["d_before"]) == 4:
        raise ValueError("the source of the LSTM has no equation (2) of four gates")
    return names


def unrolled_names(source: str | None = None) -> dict[str, str]:
    """Return what goes from layer to layer in an unrolled network, by its place in the drawing.

    Parameters
    ----------
    source : str, optional
        Of a module like `common/watch/step.py`, whose `UnrolledNetwork` has lines like ``y = run("affine", x=h)``;
        by default of that one.

    Raises
    ------
    ValueError
        A layer is missing.
    """
    source = source or inspect.getsource(step)
    made, given = {}, {}  # by direction and layer
    for direction in "forward", "backward":
        for line in ast.walk(function_of(source, f"UnrolledNetwork.{direction}")):
            for call in ast.walk(line):
                if isinstance(line, ast.Assign) and isinstance(call, ast.Call) and ast.unparse(call.func) == "run":
                    layer = direction, ast.literal_eval(call.args[0])
                    made[layer], given[layer] = variables(line.targets[0])[0], [each.arg for each in call.keywords]
    try:
        return {"id": str(given["forward", "embedding"][0]), "x": made["forward", "embedding"],
                "scores": made["forward", "affine"], "loss": made["forward", "loss"],
                "dscores": made["backward", "loss"], "dh": made["backward", "affine"], "dx": made["backward", "cell"]}
    except (KeyError, IndexError) as error:
        raise ValueError(f"the source of the unrolled network has no line as the drawing wants it: {error}") from None


class _Canvas:
    """A drawing area without axes, with the few shapes that both drawings need."""

    def __init__(self, axes, width, height, title):
        self.axes = axes
        axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        axes.set_axis_off()
        axes.text(0.1, height - 0.1, title, fontsize=12, fontweight="bold", va="top")

    def box(self, x, y, text, width=1.0, height=0.55, color="#EAF1F8"):
        from matplotlib.patches import FancyBboxPatch

        self.axes.add_patch(FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor=color, edgecolor="black", zorder=3))
        self.axes.text(x, y, text, ha="center", va="center", fontsize=10, zorder=4)

    def operation(self, x, y, sign):
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), 0.2, facecolor="white", edgecolor="black", zorder=3))
        self.axes.text(x, y - 0.01, sign, ha="center", va="center", fontsize=12, zorder=4)

    def way(self, *points, label="", at=0.5, side=(0, 0.17), color=FORWARD, back=False, arrow=True):
        """Draw a way along points, with a label beside its first piece; `back` turns it round, and dashes it."""
        xs, ys = zip(*points)
        style = (0, (4, 2)) if back else "-"
        self.axes.plot(xs, ys, color=color, linewidth=1.6, linestyle=style, zorder=2, solid_capstyle="round")
        if arrow:
            end, before = (points[0], points[1]) if back else (points[-1], points[-2])
            self.axes.annotate("", end, before, zorder=2, arrowprops={
                "arrowstyle": "-|>", "color": color, "linewidth": 0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 15})
        if label:
            (x0, y0), (x1, y1) = points[:2]
            self.axes.text(x0 + at * (x1 - x0) + side[0], y0 + at * (y1 - y0) + side[1], label, color=color,
                           ha="center", va="center", fontsize=10, family="monospace", zorder=5,
                           bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})

    def number(self, x, y, number):
        self.axes.text(x, y, f"({number})", ha="center", va="center", fontsize=10, color="0.35", zorder=5)


GATE_X = 3.7, 5.2, 6.5, 8.1  # of f, g, i, o
CELL_Y, GATE_Y, LOW_Y = 4.2, 1.95, 0.75


def _draw_cell(canvas, names, back):
    """Draw one LSTM cell, its gradients where `back`."""
    def way(name, *points, **options):
        canvas.way(*points, label=name, color=BACKWARD if back else FORWARD, back=back, **options)

    d = {name: names[f"d{name}"] for name in ("x", "h_prev", "c_prev", "a", "c", "h")} if back else names
    gates, before = (names["d_gates"], names["d_before"]) if back else (names["gates"], names["before"])
    f, g, i, o = GATE_X
    add, out, right = (g + i) / 2, 9.2, 11.0
    write = add, 3.1
    canvas.box(2.05, LOW_Y, names["product"], 2.3)
    way(d["x"], (0.05, LOW_Y + 0.12), (0.87, LOW_Y + 0.12), side=(0, 0.2))
    way(d["h_prev"], (0.05, LOW_Y - 0.12), (0.87, LOW_Y - 0.12), at=0.45, side=(0, -0.22))
    way(d["a"], (3.22, LOW_Y), (o, LOW_Y), at=0.05, side=(0, 0.2), arrow=back)
    targets = [[(f, CELL_Y - 0.2)], [(g, write[1]), (add - 0.2, write[1])], [(i, write[1]), (add + 0.2, write[1])],
               [(o, 2.6), (out - 0.2, 2.6)]]
    for x, function, gate, below, target in zip(GATE_X, names["functions"], gates, before, targets):
        canvas.box(x, GATE_Y, function, color="#FFF3DC")
        way(below, (x, LOW_Y), (x, GATE_Y - 0.3), at=0.55, side=(0.32, 0))
        way(gate, (x, GATE_Y + 0.3), *target, at=0.4 if x == f else 0.5, side=(0.25, 0))
    way(d["c_prev"], (0.05, CELL_Y), (f - 0.2, CELL_Y), at=0.2, side=(0.1, 0.2))
    way("", (f + 0.2, CELL_Y), (add - 0.2, CELL_Y))
    way("", (write[0], write[1] + 0.2), (add, CELL_Y - 0.2))
    way(d["c"], (add + 0.2, CELL_Y), (right, CELL_Y), at=0.9, side=(0, 0.2))
    way("", (out, CELL_Y), (out, 3.68))
    canvas.box(out, 3.4, names["squash"], color="#FFF3DC")
    way("", (out, 3.1), (out, 2.8))
    way(d["h"], (out + 0.2, 2.6), (right, 2.6), at=0.75, side=(0, 0.2))
    for place, sign in (((f, CELL_Y), "×"), ((add, CELL_Y), "+"), (write, "×"), ((out, 2.6), "×")):
        canvas.operation(*place, sign)
    for number, place in enumerate(((2.05, LOW_Y + 0.45), (f - 0.75, GATE_Y), (add, CELL_Y + 0.42), (out + 0.45, 2.25)),
                                   start=1):
        canvas.number(*place, number)


def lstm_cell_figure(names: dict[str, Any] | None = None) -> Any:
    """Draw the LSTM cell with the numbers of its equations: above forwards, below backwards.

    Parameters
    ----------
    names : dict, optional
        Of `cell_names`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    names = names or cell_names()
    figure = Figure(figsize=(8.4, 7.6), layout="constrained")
    for axes, title, back in zip(figure.subplots(2), ("Forward", "Backward"), (False, True)):
        _draw_cell(_Canvas(axes, 11.2, 5.1, title), names, back)
    return figure


def unrolled_figure(names: dict[str, str] | None = None) -> Any:
    """Draw a language model unrolled over three time steps, and the paths of the gradient of its loss.

    Parameters
    ----------
    names : dict of str to str, optional
        Of `unrolled_names`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    names, cell = names or unrolled_names(), cell_names()
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    canvas = _Canvas(figure.subplots(), 11.2, 6.9, "")
    layers = [TimeEmbedding, TimeLSTM, TimeAffine, SoftmaxWithLoss]
    heights = [1.35, 2.75, 4.15, 5.55]
    columns = [2.3, 5.6, 8.9]
    upwards = [(names["x"], names["dx"]), (cell["h"], names["dh"]), (names["scores"], names["dscores"])]
    dout = inspect.signature(SoftmaxWithLoss.backward).parameters["dout"].default
    for x, time_step in zip(columns, ("t - 1", "t", "t + 1")):
        for y, cls in zip(heights, layers):
            canvas.box(x, y, cls.__name__.removeprefix("Time"), 1.9, 0.6, "#FFF3DC" if cls is TimeLSTM else "#EAF1F8")
        canvas.axes.text(x, 0.15, f"step {time_step}", ha="center", va="center", fontsize=10)
        canvas.way((x - 0.3, 0.45), (x - 0.3, 1.02), label=names["id"], side=(-0.34, 0))
        for low, high, (name, gradient) in zip(heights, heights[1:], upwards):
            canvas.way((x - 0.3, low + 0.32), (x - 0.3, high - 0.33), label=name, side=(-0.42, 0))
            canvas.way((x + 0.3, low + 0.33), (x + 0.3, high - 0.32), label=gradient, side=(0.5, 0), color=BACKWARD,
                       back=True)
        canvas.way((x - 0.3, heights[-1] + 0.32), (x - 0.3, heights[-1] + 0.85), label=names["loss"], side=(-0.42, 0))
        canvas.way((x + 0.3, heights[-1] + 0.33), (x + 0.3, heights[-1] + 0.85), label=str(dout), side=(0.25, 0),
                   color=BACKWARD, back=True)
    y = heights[1]
    for left, right in zip([0.05, *(x + 0.97 for x in columns)], [*(x - 0.97 for x in columns), 11.15]):
        canvas.way((left, y + 0.15), (right, y + 0.15), label=f"{cell['h']}, {cell['c']}", side=(0, 0.2))
        canvas.way((left, y - 0.15), (right, y - 0.15), label=f"{cell['dh']}, {cell['dc']}", side=(0, -0.22),
                   color=BACKWARD, back=True)
    return figure
