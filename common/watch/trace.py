"""Watch a forward and a backward pass: every array of every layer, by name and time step.

    with trace(model) as record:
        model.forward(xs, ts)
        model.backward()
    print(record.table())
    record["layers[1]"].at(3)["f"]      # the forget gate of time step 3, (N, H)
    record["layers[1]"].norms("dh")     # the norm of dL/dh_t at each step, (T,)

No layer is changed for it: while the block runs, each layer's `forward` and `backward` also note what went in and
what came out. What a sequence layer computes inside its loop is computed once more, by walking the lines of its step
cell (`common.watch.walk`) over the time steps, so that each array comes with the formula and the line of source behind
it.
"""
import contextlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy

from common.base_model import BaseModel
from common.cli.tables import format_table
from common.device.ids import ids_array
from common.layers.base import Layer
from common.layers.packing import checked_lengths
from common.layers.recurrent import RecurrentLayer
from common.np import np
from common.watch.walk import Line, walk

_WEIGHT = re.compile(r"d?(W[a-z]{0,2}|b)")  # weights, their blocks and gradients: W, Wxz, dWh, db


class LayerTrace:
    """One forward pass of a layer, and the backward pass that followed.

    Attributes
    ----------
    path : str
        Where the layer is in the model, such as layers[1].
    layer : str
        Name of its class.
    T : int or None
        Time steps; None for a layer without a time axis.
    arrays : dict of str to numpy.ndarray
        What was computed, by name, in the order of computation, on the host. Of a recurrent layer (N, T, ...), zeros
        where a sequence has ended: pre-activations, gates and states, then their gradients. A gradient dy is that of
        the loss with respect to y, through everything that depends on y; dh_prev and dc_prev are
        what a step sends to the one before it. Of another layer, what went into forward, by the names of
        its parameters, what came out, y, and the gradients dy and dx. The time steps of a layer that reads
        backwards are in the order in which it reads.
    in_time : set of str
        The names of the arrays that have a time axis, their second.
    grads : dict of str to numpy.ndarray
        Gradients of the weights, summed over the time steps.
    grad_norms : dict of str to numpy.ndarray (T,)
        Of a recurrent layer: the norm of what each time step adds to a gradient of the weights.
    lines : dict of str to Line
        Of a recurrent layer: the formula and the line of source of each array.
    """

    def __init__(self, path: str, layer: Layer) -> None:
        self.path, self.layer = path, type(layer).__name__
        self.T: int | None = None
        self.in_time: set[str] = set()
        self.arrays: dict[str, numpy.ndarray] = {}
        self.grads: dict[str, numpy.ndarray] = {}
        self.grad_norms: dict[str, numpy.ndarray] = {}
        self.lines: dict[str, Line] = {}

    def at(self, t: int) -> dict[str, numpy.ndarray]:
        """Return the arrays of time step t, (N, ...) each, by name."""
        T = self._steps()
        if not 0 <= t < T:
            raise ValueError(f"{self.path} has the time steps 0 to {T - 1}, got {t}")
        return {name: array[:, t] for name, array in self.arrays.items() if name in self.in_time}

    def norms(self, name: str) -> numpy.ndarray:
        """Return the norm of an array over the batch at each time step, (T,)."""
        T = self._steps()
        if name in self.grad_norms:
            return self.grad_norms[name]
        if name not in self.in_time:
            steps = [name for name in self.arrays if name in self.in_time]
            raise ValueError(f"{self.path} has no {name!r} with time steps, but {', '.join(steps)}")
        return numpy.array([numpy.linalg.norm(self.arrays[name][:, t]) for t in range(T)])

    def _steps(self) -> int:
        if self.T is None:
            raise ValueError(f"{self.path}, {self.layer}, has no time axis")
        return self.T


class Trace:
    """The record of a `trace`.

    Attributes
    ----------
    layers : list of LayerTrace
        In the order of their forward passes; a layer that ran twice is there twice.
    """

    def __init__(self) -> None:
        self.layers: list[LayerTrace] = []

    def __getitem__(self, path: str) -> LayerTrace:
        """Return the last pass of the layer at a path."""
        for layer in reversed(self.layers):
            if layer.path == path:
                return layer
        raise KeyError(f"{path!r} was not recorded, but {', '.join(dict.fromkeys(each.path for each in self.layers))}")

    @property
    def recurrent(self) -> list[LayerTrace]:
        """The passes of recurrent layers."""
        return [layer for layer in self.layers if layer.lines]

    def table(self, steps: int = 6) -> str:
        """Lay out all arrays: shape, norm over all time steps, and norm at some of them.

        Parameters
        ----------
        steps : int
            Largest number of time steps with a column of their own, spread evenly from the first to the last.

        Returns
        -------
        str
        """
        longest = max((layer.T for layer in self.layers if layer.T), default=0)
        shown = sorted({round(t) for t in numpy.linspace(0, longest - 1, min(steps, longest))}) if longest else []
        rows = [("layer", "array", "formula", "shape", "norm", *(f"t={t}" for t in shown))]
        for layer in self.layers:
            label = f"{layer.path} {layer.layer}"
            for name, array in (layer.arrays | layer.grads).items():
                if array.dtype.kind != "f":
                    rows.append((label, name, "", _shape(array), "", *("" for _ in shown)))
                else:
                    norms = layer.norms(name) if name in layer.grad_norms or name in layer.in_time else ()
                    formula = layer.lines[name].formula if name in layer.lines else ""
                    rows.append((label, name, formula, _shape(array), f"{numpy.linalg.norm(array):.3g}",
                                 *(f"{norms[t]:.3g}" if t < len(norms) else "" for t in shown)))
                label = ""
        return format_table(rows, left=3)


def _shape(array):
    return "(" + ", ".join(map(str, array.shape)) + ")"


@contextlib.contextmanager
def trace(model: BaseModel | Layer) -> Iterator[Trace]:
    """Record what the layers of a model compute within the block.

    Parameters
    ----------
    model : BaseModel or Layer

    Yields
    ------
    Trace
        Filled as the layers run; complete when the block ends.

    Raises
    ------
    ValueError
        The model has no layers, or is being traced already.
    """
    record = Trace()
    layers: dict[str, Layer] = dict(_layers_of(model))
    if not layers:
        raise ValueError(f"trace: {type(model).__name__} has no layers to watch")
    if any("forward" in vars(layer) for layer in layers.values()):
        raise ValueError(f"trace: this {type(model).__name__} is being traced already")
    try:
        for path, layer in layers.items():
            watch = _WatchRecurrent if isinstance(layer, RecurrentLayer) else _Watch
            watch(record, path, layer)
        yield record
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)
            vars(layer).pop("backward", None)


def _layers_of(owner, path=""):
    """Yield (path, layer) for the layers of an object; for a layer made of recurrent ones, yield those instead."""
    seen = set()

    def search(value, path):
        if id(value) in seen:
            return
        if isinstance(value, (list, tuple)):
            for k, each in enumerate(value):
                yield from search(each, f"{path}[{k}]")
        elif isinstance(value, dict):
            for key, each in value.items():
                yield from search(each, f"{path}[{key!r}]")
        elif isinstance(value, Layer) and not _inner_recurrent(value):
            seen.add(id(value))
            yield path or type(value).__name__, value
        elif isinstance(value, (BaseModel, Layer)):
            seen.add(id(value))
            for name, each in sorted(vars(value).items(), key=lambda item: item[0] == "layers"):
                yield from search(each, f"{path}.{name}" if path else name)

    yield from search(owner, path)


def _inner_recurrent(layer):
    inner = [each for value in vars(layer).values() if isinstance(value, list) for each in value]
    return any(isinstance(each, Layer) and (isinstance(each, RecurrentLayer) or _inner_recurrent(each))
               for each in inner)


class _Watch:
    """Wraps a layer's `forward` and `backward`, and records what goes in and what comes out."""

    def __init__(self, record, path, layer):
        self.record, self.path, self.layer = record, path, layer
        self.run_forward, self.run_backward = layer.forward, layer.backward
        layer.forward, layer.backward = self.forward, self.backward
        self.recorded: Any = None

    def forward(self, *args, **options):
        self.before_forward()
        result = self.run_forward(*args, **options)
        self.recorded = LayerTrace(self.path, self.layer)
        self.record.layers.append(self.recorded)
        self.after_forward(result, *args, **options)
        return result

    def backward(self, *args, **options):
        result = self.run_backward(*args, **options)
        if self.recorded is not None:
            self.after_backward(result, *args, **options)
            self.recorded.grads = {f"d{name}": _host(grad) for name, grad in zip(self.weight_names(), self.layer.grads)}
        return result

    def before_forward(self):
        pass

    def after_forward(self, result, *args, **options):
        inputs = inspect.signature(self.run_forward).bind(*args, **options).arguments
        inputs = {name: ids_array(value) for name, value in inputs.items() if hasattr(ids_array(value), "shape")}
        outputs = _numbered("y", result)
        self.recorded.arrays |= {name: _host(value) for name, value in (inputs | outputs).items()}
        first = next(iter(inputs.values()), None)
        if self.recorded.layer.startswith("Time") and first is not None and first.ndim > 1:
            self.recorded.T = first.shape[1]
            self.keep_times(inputs, 2)
            self.keep_times(outputs, 3)

    def after_backward(self, result, *args, **options):
        gradients = _numbered("dy", args) | _numbered("dx", result)
        self.recorded.arrays |= {name: _host(value) for name, value in gradients.items()}
        self.keep_times(gradients, 3)

    def keep_times(self, arrays, least_axes):
        """Note which arrays have a time axis; with fewer axes, the second is not time, even if it is as long."""
        self.recorded.in_time |= {name for name, array in arrays.items()
                               if array.ndim >= least_axes and array.shape[1] == self.recorded.T}

    def weight_names(self):
        count = len(self.layer.params)
        return ("W", "b")[:count] if count <= 2 else [f"param {k}" for k in range(count)]


class _WatchRecurrent(_Watch):
    """Beside that, walks the step cell over the time steps, forwards and backwards."""

    def before_forward(self):
        self.initial = self.layer.state if self.layer.stateful else tuple(None for _ in self.layer.state)

    def after_forward(self, result, xs, lengths=None):
        N, T, _ = xs.shape
        self.recorded.T = T
        self.running = _running(lengths, N, T)
        zeros = np.zeros((N, self.layer.hidden_size), dtype=xs.dtype)  # (N, H)
        state = [zeros.copy() if each is None else each.copy() for each in self.initial]  # (N, H) each
        self.cells, self.shape = [], (N, T)
        for t, rows in enumerate(self.running):
            cell = self.layer.step
            results, lines = walk(cell.forward, xs[rows, t], *(each[rows] for each in state))
            results = results if isinstance(results, tuple) else (results,)
            inputs = dict(zip(("x", "h_prev", "c_prev"), (xs[rows, t], *(each[rows] for each in state))))
            for each, new in zip(state, results):
                each[rows] = new
            self.keep(t, rows, inputs, lines)
            self.cells.append(cell)

    def after_backward(self, result, dhs, dh=None, dc=None):
        N, T = self.shape
        zeros = np.zeros((N, self.layer.hidden_size), dtype=dhs.dtype)  # (N, H)
        dstate = [zeros.copy() if each is None else each.copy() for each in (dh, dc)[:len(self.initial)]]
        self.recorded.grad_norms = {f"d{name}": numpy.zeros(T) for name in self.weight_names()}
        for t in reversed(range(len(self.cells))):
            rows, cell = self.running[t], self.cells[t]
            dstate[0][rows] += dhs[rows, t]
            dinputs = dict(zip(("dh", "dc"), (each[rows] for each in dstate)))
            (_, *dprev), lines = walk(cell.backward, *dinputs.values())
            for each, new in zip(dstate, dprev):
                each[rows] = new
            self.keep(t, rows, dinputs, lines)
            for name, grad in zip(self.weight_names(), cell.grads):
                self.recorded.grad_norms[f"d{name}"][t] = float(np.sqrt((grad * grad).sum()))

    def keep(self, t, rows, inputs, lines):
        """Store the arrays of a step in those of all steps, (N, T, ...); a name assigned twice keeps its last value."""
        arrays = dict(inputs)
        for line in lines:
            for name, value in zip(line.names, line.values):
                if not (_WEIGHT.fullmatch(name) or name.removeprefix("d") in self.weight_names()):
                    arrays[name] = value
                    self.recorded.lines[name] = line
        for name, value in arrays.items():
            self.recorded.in_time.add(name)
            if name not in self.recorded.arrays:
                self.recorded.arrays[name] = numpy.zeros((*self.shape, *value.shape[1:]), dtype=value.dtype)
            self.recorded.arrays[name][np.to_cpu(rows), t] = np.to_cpu(value)

    def weight_names(self):
        return self.layer.weight_names


def _running(lengths, N, T):
    """Return for each time step, up to the last one of the longest sequence, those that still run, as indices."""
    lengths = numpy.full(N, T) if lengths is None else checked_lengths(lengths, N, T)
    return [np.to_device(numpy.flatnonzero(lengths > t)) for t in range(lengths.max())]


def _numbered(name, arrays):
    """Return the arrays among some by name: name, name 1, name 2, ..."""
    arrays = arrays if isinstance(arrays, tuple) else (arrays,)
    arrays = [array for array in arrays if hasattr(array, "shape")]
    return {name if k == 0 else f"{name} {k}": array for k, array in enumerate(arrays)}


def _host(array):
    return numpy.array(np.to_cpu(array))
