"""A tiny network, one line of arithmetic at a time: what `python -m ch_rnn.step` and `python -m ch_lstm.step` show.

The network reads a few characters and predicts each next one. It is unrolled: every time step has layer objects of its
own, over the same weights. Their source is walked line by line (`common.watch.walk`), forwards from the first character
to the last and backwards from the last to the first, so each line shown is one that ran, with the numbers that it made.
Beside each gradient stands a numerical one: the loss is computed again with that array, at that place, moved a little.
"""
import functools
import shutil
import sys
from dataclasses import dataclass, field

import numpy

from common import cli
from common.cli import setting
from common.cli.keyboard import single_keys
from common.errors import InputError
from common.gradients.checker import numerical_gradient, relative_error
from common.layers.dense import Affine, Embedding
from common.layers.initial import affine_weights, normal
from common.layers.losses import SoftmaxWithLoss
from common.np import np
from common.text.vocabulary import Vocabulary
from common.watch.walk import Line, walk

TEXT = "echo"
LONGEST = 20  # characters
STEP = 1e-4  # of the numerical gradients: small, so that a relu seldom comes upon its kink
WEIGHTS = {"embedding": ("W",), "cell": ("Wx", "Wh", "b"), "affine": ("W", "b"), "loss": ()}


@dataclass(frozen=True)
class StepSettings(cli.Settings):
    """Settings of the command step."""

    text: str = setting(TEXT, "a few characters to read and predict")
    wordvec_size: int = setting(2, "D", cli.positive_int)
    hidden_size: int = setting(3, "H", cli.positive_int)
    seed: int = setting(0, "of the weights", cli.natural)
    all: bool = setting(False, "print everything at once")


@dataclass
class Shown:
    """One line to show.

    Attributes
    ----------
    t : int
        Time step.
    layer : str
    line : Line
    checks : dict of str to callable
        For the gradients that the line makes: takes nothing, returns the numerical one.
    """

    t: int
    layer: str
    line: Line
    checks: dict = field(default_factory=dict)


class UnrolledNetwork:
    """Embedding, step cell, affine map and loss for each character of a text; the loss is the sum over the text.

    Parameters
    ----------
    text : str
        At least two characters; each but the last is read, each but the first predicted.
    sequence_layer : RecurrentLayer
        Its step cell reads the characters, over the same weights at all time steps. float64.

    Attributes
    ----------
    characters : Vocabulary
    layers : list of dict of str to Layer
        For each time step: embedding, cell, affine, loss.
    """

    def __init__(self, text, sequence_layer):
        self.text = text
        self.characters = Vocabulary(sorted(set(text)))
        self.sequence_layer = sequence_layer
        V, D, H = self.characters.size, len(sequence_layer.params[0]), sequence_layer.hidden_size
        embed_W = normal((V, D), 1.0, np.float64)  # (V, D)
        W, b = affine_weights(H, V, np.float64)  # (H, V), (V,)
        ids = np.to_device(self.characters.encode(text))  # (T + 1,)
        self.T = len(text) - 1
        self.ids, self.targets = ids[:-1, None], ids[1:, None]  # (T, 1) each
        self.layers = [{"embedding": Embedding(embed_W), "cell": sequence_layer.step, "affine": Affine(W, b),
                        "loss": SoftmaxWithLoss()} for _ in range(self.T)]
        self.state_names = ("h", "c")[:len(sequence_layer.state)]

    def forward(self, replace=None):
        """Walk forwards.

        Parameters
        ----------
        replace : dict of (int, str, str) to ndarray, optional
            What to put in the place of an array, by time step, layer and name.

        Returns
        -------
        loss : float
            Nats, summed over the characters.
        shown : list of Shown
        """
        shown: list[Shown] = []
        loss, state = 0.0, self._zeros()
        for t in range(self.T):
            run = functools.partial(self._run, "forward", shown, t, replace or {})
            x = run("embedding", ("x",), idx=self.ids[t])  # (1, D)
            states = run("cell", x=x, **{f"{name}_prev": each for name, each in zip(self.state_names, state)})
            state = states if isinstance(states, tuple) else (states,)  # (1, H) each
            scores = run("affine", x=state[0])  # (1, V)
            loss = loss + float(run("loss", ("loss",), x=scores, t=self.targets[t]))
        return loss, shown

    def backward(self):
        """Walk backwards through the last forward. Each layer's `grads` are then what its time step adds to the sum.

        Returns
        -------
        list of Shown
        """
        shown: list[Shown] = []
        dstate = self._zeros()
        for t in reversed(range(self.T)):
            run = functools.partial(self._run, "backward", shown, t, {})
            dscores = run("loss", ("dx",))  # (1, V)
            dh_out = run("affine", ("dx",), dout=dscores)  # (1, H)
            dh, lines = walk(_arrive_backward, dh_out, dstate[0])  # (1, H)
            shown.extend(Shown(t, "cell", line) for line in lines)
            dx, *dstate = run("cell", **dict(zip(("dh", "dc"), (dh, *dstate[1:]))))
            run("embedding", dout=dx)
        return shown

    def add_checks(self, shown_forward, shown_backward):
        """Give the lines of `backward` a numerical gradient each; of those that make one array in turn, the last."""
        values = {(t, layer, name): weight for t in range(self.T) for layer, names in WEIGHTS.items()
                  for name, weight in zip(names, self.layers[t][layer].params)}
        for each in shown_forward:
            values |= {(each.t, each.layer, name): value for name, value in zip(each.line.names, each.line.values)}
        for t in range(self.T):
            values |= {(t, "affine", "x"): values[t, "cell", "h"], (t, "cell", "x"): values[t, "embedding", "x"],
                       (t, "loss", "x"): values[t, "affine", "y"]}
            for name, zero in zip(self.state_names, self._zeros()):
                values[t, "cell", f"{name}_prev"] = values[t - 1, "cell", name] if t else zero
        last = {(each.t, each.layer, name): each for each in shown_backward for name in each.line.names}
        for (t, layer, gradient), each in last.items():
            key = t, layer, gradient.removeprefix("d")
            if gradient.startswith("d") and key in values:
                each.checks[gradient] = functools.partial(self._numerical, key, values[key])

    def totals(self):
        """Return for each weight its gradient, summed over the time steps, and the numerical one.

        Returns
        -------
        dict of str to (ndarray, numpy.ndarray)
        """
        found = {}
        for layer, names in WEIGHTS.items():
            for k, name in enumerate(names):
                total = sum(layers[layer].grads[k] for layers in self.layers)
                weight = self.layers[0][layer].params[k]
                found[f"d{name} ({layer})"] = total, numerical_gradient(lambda: self.forward()[0], weight, step=STEP)
        return found

    def sequence_gradients(self, shown_backward):
        """Return dWx, dWh and db as the sequence layer computes them, for all time steps at once.

        Parameters
        ----------
        shown_backward : list of Shown
            Of `backward`; what the affine maps send to the states is taken from it.
        """
        embed_W = self.layers[0]["embedding"].params[0]
        dhs = [each.line.values[0] for each in shown_backward if (each.layer, each.line.names) == ("affine", ("dx",))]
        self.sequence_layer.forward(embed_W[self.ids[:, 0]][None])  # (1, T, H)
        self.sequence_layer.backward(np.concatenate(dhs[::-1])[None])  # (1, T, D)
        return self.sequence_layer.grads

    def _numerical(self, key, value):
        array = value.copy()
        return numerical_gradient(lambda: self.forward({key: array})[0], array, step=STEP)

    def _zeros(self):
        return [np.zeros((1, self.sequence_layer.hidden_size)) for _ in self.state_names]  # (1, H) each

    def _run(self, direction, shown, t, replace, layer, result=(), /, **inputs):
        """Walk a layer of time step t, some of its arrays replaced, and keep the lines."""
        instead = {name: array for (*place, name), array in replace.items() if place == [t, layer]}
        function = getattr(self.layers[t][layer], direction)
        returned, lines = walk(function, *inputs.values(), names=result, replace=instead)
        shown.extend(Shown(t, layer, line) for line in lines)
        return returned


def _arrive_backward(dh_out, dh_next):
    dh = dh_out + dh_next
    return dh


def run(prog, description, settings_class, make_layer, argv=None):
    """Run a stepping script.

    Parameters
    ----------
    prog, description : str
        For --help.
    settings_class : type
        `StepSettings`, or a subclass with what the chapter's cell needs.
    make_layer : callable
        Takes the settings, returns a sequence layer of D inputs and H states in float64.
    argv : list of str, optional

    Returns
    -------
    int
        Exit code.
    """
    return cli.run(prog, functools.partial(_step, prog, description, settings_class, make_layer), argv)


def _step(prog, description, settings_class, make_layer, argv):
    settings = cli.SettingsParser(prog, description, settings_class).settings(argv)
    if not 2 <= len(settings.text) <= LONGEST:
        raise InputError(f"--text has {len(settings.text)} characters, wanted 2 to {LONGEST}")
    if settings.wordvec_size > 20 or settings.hidden_size > 20:
        raise InputError("--wordvec-size and --hidden-size go up to 20: more would not fit a terminal")
    if not settings.all and not (sys.stdin and sys.stdin.isatty()):
        raise InputError("stepping needs a terminal: take --all to print everything at once")
    np.seed(settings.seed)
    network = UnrolledNetwork(settings.text, make_layer(settings))
    if settings.all:
        print("\n".join(_blocks(network, hint="")))
        return
    with single_keys() as read_key:
        for block in _blocks(network, hint="Any key: the next line. q: the end.\n"):
            print(block, flush=True)
            if read_key() in ("q", "Q", "\x04", ""):
                break


def _blocks(network, hint):
    """Yield what is shown between two keys; the hint says which keys there are."""
    text, cell = network.text, network.sequence_layer.step
    N, D, H, V = 1, len(cell.params[0]), network.sequence_layer.hidden_size, network.characters.size
    yield (f"{type(cell).__name__} that reads {text[:-1]!r} and predicts {text[1:]!r}: "
           f"N = {N}, T = {network.T}, D = {D}, H = {H}, V = {V}\n{hint}\n{_weights(network)}")
    loss, shown = network.forward()
    yield from _lines(network, shown, "forward")
    yield f"\nloss = {loss:.6f}, summed over {network.T} characters\n\nBackward, from the last character to the first."
    shown_backward = network.backward()
    network.add_checks(shown, shown_backward)
    yield from _lines(network, shown_backward, "backward")
    yield "\nThe gradient of a weight is the sum over the time steps."
    for name, (total, numerical) in network.totals().items():
        yield f"\n{name}  {_shape(total)}\n{_beside(total, numerical)}"
    together = network.sequence_gradients(shown_backward)
    difference = max(float(abs(grad - sum(layers["cell"].grads[k] for layers in network.layers)).max())
                     for k, grad in enumerate(together))
    yield (f"\n{type(network.sequence_layer).__name__} computes dWx, dWh and db for all time steps at once:\n"
           f"the largest difference is {difference:.1e}.")


def _weights(network):
    names = [(layer, name, weight) for layer, names in WEIGHTS.items()
             for name, weight in zip(names, network.layers[0][layer].params)]
    return "\n".join(f"{name} of the {layer} {_shape(weight)}\n{_numbers({'': weight})}"
                     for layer, name, weight in names)


def _lines(network, shown, direction):
    place = None
    for each in shown:
        title = ""
        if place != (each.t, each.layer):
            place = each.t, each.layer
            letters = f"{network.text[each.t]!r} -> {network.text[each.t + 1]!r}"
            title = f"\n--- {direction}, t = {each.t} ({letters}), {each.layer}\n"
        line = each.line
        where = f"{line.file}:{line.number}".ljust(21) + line.equations.ljust(12)
        blocks = []
        for name, value in zip(line.names, line.values):
            label = f"  {name} =\n" if len(line.names) > 1 else ""
            check = each.checks.get(name)
            blocks.append(label + (_beside(value, check()) if check else _numbers({"": value})))
        text = f"{line.text}  {_shape(line.values[0])}"
        gap = " " if len(f"{where} {text}") <= _width() else "\n    "
        yield f"{title}{where.rstrip() if gap != ' ' else where}{gap}{text}\n" + "\n".join(blocks)


def _shape(array):
    return "(" + ", ".join(map(str, array.shape)) + ("," if array.ndim == 1 else "") + ")"


def _numbers(by_label):
    """Lay out arrays of one shape by their labels: as many columns side by side as the terminal is wide."""
    rows_of = {label: numpy.atleast_2d(np.to_cpu(array)) for label, array in by_label.items()}
    columns, fitting = next(iter(rows_of.values())).shape[1], max(1, (_width() - 13) // 11)
    lines = []
    for start in range(0, columns, fitting):
        block = slice(start, min(start + fitting, columns))
        for label, rows in rows_of.items():
            if not label and len(rows) > 1 and columns > fitting:
                label = f"[:, {block.start}:{block.stop}]"
            for k, row in enumerate(rows[:, block]):
                lines.append(f"    {label if k == 0 else '':10}" + " ".join(f"{value:10.4g}" for value in row))
    return "\n".join(lines)


def _beside(gradient, numerical):
    error = relative_error(numerical, np.to_cpu(gradient))
    return f"{_numbers({'backward': gradient, 'numerical': numerical})}\n    relative error {error:.0e}"


def _width():
    return shutil.get_terminal_size().columns
