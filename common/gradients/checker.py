"""Gradient checks: they compare the results of `backward` with numbers that need no derivative.

For random upstream gradients G of the outputs, the scalar L = sum of G * output has, with
respect to any array x that goes in, the gradient that `backward(G)` claims. Its numerical
counterpart along a direction v takes forward passes only, in float64:

    dL(x + s v)/ds at s = 0  ~  (8 (L(s) - L(-s)) - (L(2s) - L(-2s))) / (12 s)

which is wrong by about s^4 times a fifth derivative. Every array is checked along random
directions and element by element::

    from common.gradients.adapters import sequence_case
    from common.gradient_check import assert_gradients

    assert_gradients(sequence_case(TimeRNN, "my weights", {"Wx": Wx, "Wh": Wh, "b": b}, xs))

`python -m common.gradient_check` checks every layer of `common`. To add a layer there, see
`common.gradients.cases`.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from common.cli.tables import format_table
from common.np import Array, np
from common.training.clip import remove_duplicate

STENCIL = ((1, 8 / 12), (2, -1 / 12))  # (steps to either side, weight)
STEP = 1e-3  # there the error of the stencil and that of rounding are both near 1e-12
TOLERANCE = 1e-6


@dataclass
class Case:
    """A layer, a loss layer or a model with the inputs to check it on, all in float64.

    Attributes
    ----------
    layer : str
        Name of the class.
    variant : str
        What is special about this case.
    build : callable
        Takes nothing, returns the object, which has the lists `params` and `grads`.
    inputs : dict of str to ndarray
        Whatever goes in besides the parameters, initial states too.
    forward : callable
        `forward(layer, inputs)` returns the outputs, final states too: a dict of str to
        ndarray. Called again, it must start from the same initial state.
    backward : callable
        `backward(layer, upstream)` takes a gradient for each output, returns a dict with the
        gradient of each floating input, and sets `layer.grads`.
    param_names : tuple of str
        Names for the arrays of `params`; those without one are called params[i].
    constants : tuple of str
        Names of floating inputs that have no gradient; integers never have one.
    single_backward : bool
        Whether the layer documents that a second backward after one forward raises.
    lengths : list of int or None
        Real steps of each sequence, where the layer is told them.
    """

    layer: str
    variant: str
    build: Callable
    inputs: dict
    forward: Callable
    backward: Callable
    param_names: tuple = ()
    constants: tuple = ()
    single_backward: bool = False
    lengths: list[int] | None = None


@dataclass
class Row:
    """The numerical and the backward gradient of one array, side by side.

    Attributes
    ----------
    array : str
        Name of a parameter or an input.
    kind : {"direction", "element"}
        Whether the two hold a number for each random direction, or one for each element.
    numerical, backward : numpy.ndarray
    """

    array: str
    kind: str
    numerical: numpy.ndarray
    backward: numpy.ndarray

    @property
    def error(self) -> float:
        """Relative error of the two arrays."""
        return relative_error(self.numerical, self.backward)

    def __str__(self) -> str:
        worst = numpy.unravel_index(numpy.argmax(abs(self.numerical - self.backward)), self.numerical.shape)
        where = f"direction {worst[0]}" if self.kind == "direction" else f"element {tuple(map(int, worst))}"
        return (f"{self.array}: relative error {self.error:.1e} by {self.kind}, worst at {where}: "
                f"numerical {self.numerical[worst]:.12g}, backward {self.backward[worst]:.12g}")


@dataclass
class Result:
    """The result of a check.

    Attributes
    ----------
    case : Case
    seed : int
        `check(case, seed)` draws the same upstream gradients and directions again.
    rows : list of Row
        Two for each array, or one where its elements were not checked.
    faults : list of str
        Broken promises other than wrong numbers, such as a changed input.
    """

    case: Case
    seed: int
    rows: list = field(default_factory=list)
    faults: list = field(default_factory=list)

    def __str__(self) -> str:
        error = f"largest relative error {self.largest_error:.1e}"
        return f"{self.case.layer}: {self.arrays} arrays, {error}, {self.verdict()}"

    @property
    def arrays(self) -> int:
        """The number of arrays whose gradients were compared."""
        return len({row.array for row in self.rows})

    @property
    def largest_error(self) -> float:
        """The largest relative error of all rows; NaN when one is NaN."""
        return float(numpy.max([row.error for row in self.rows], initial=0.0))

    def verdict(self, tolerance: float = TOLERANCE) -> str:
        """Return "ok", or "FAILED" where there are faults or an error is above the tolerance."""
        return "ok" if self.passed(tolerance) else "FAILED"

    def passed(self, tolerance: float = TOLERANCE) -> bool:
        """Whether there are no faults and no error is above the tolerance."""
        return not self.faults and self.largest_error <= tolerance  # False for NaN

    def report(self, tolerance: float = TOLERANCE) -> str:
        """Say in a few lines what failed and how to see it again."""
        wrong = [str(row) for row in self.rows if not row.error <= tolerance]
        title = f"{self.case.layer} ({self.case.variant}): tolerance {tolerance:g}, repeat with seed {self.seed}"
        return "\n    ".join([title, *self.faults, *wrong])


def relative_error(numerical: numpy.ndarray, backward: numpy.ndarray) -> float:
    """Return ||n - b|| / max(||n||, ||b||), and 0 where both are exactly zero.

    Parameters
    ----------
    numerical, backward : numpy.ndarray, of one shape

    Returns
    -------
    float
        NaN when an element is.
    """
    largest = numpy.maximum(abs(numerical).max(initial=0), abs(backward).max(initial=0))
    if largest == 0:
        return 0.0
    numerical, backward = numerical / largest, backward / largest  # whose squares do not underflow
    norm = numpy.linalg.norm
    return float(norm(numerical - backward) / numpy.maximum(norm(numerical), norm(backward)))


def numerical_gradient(function: Callable[[], Any], array: Array, upstream: float | Array = 1.0,
                       step: float = STEP) -> numpy.ndarray:
    """Return the gradient of a function with respect to an array, by central differences of each element.

    Parameters
    ----------
    function : callable
        Takes nothing, reads the array, and returns a number or a new array.
    array : ndarray of float64
        Changed while the function runs; at the end it is as it was.
    upstream : float or ndarray
        The gradient is that of the sum of upstream times what the function returns.
    step : float
        For elements larger than 1, relative to them.

    Returns
    -------
    numpy.ndarray, shape of array

    Raises
    ------
    ValueError
        The array is not float64, or elements of it overlap in memory, so that none can be changed alone.
    """
    if array.dtype != np.float64:
        raise ValueError(f"numerical_gradient: the array is {array.dtype}, wanted float64")
    if overlaps_itself(array):
        raise ValueError(f"numerical_gradient: elements of the array, of shape {array.shape} and strides "
                         f"{array.strides}, overlap in memory: take a copy")
    gradient = numpy.empty(array.shape)
    for index in numpy.ndindex(*array.shape):
        here = step * max(1.0, abs(float(array[index])))
        change = first_order_change(function, array, index, here)
        gradient[index] = float(np.asarray(upstream * change).sum()) / here
    return gradient


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of an array share memory, as in views that `broadcast_to` or `as_strided` made."""
    starts = numpy.zeros(1, dtype=int)  # of each element, in bytes from the first one
    for size, stride in zip(array.shape, array.strides):
        starts = numpy.add.outer(starts, numpy.arange(size) * stride).reshape(-1)
    return bool((numpy.diff(numpy.sort(starts)) < array.itemsize).any())


def first_order_change(function: Callable[[], Any], array: Array, index: Any, step: float | Array) -> Any:
    """Return by how much what a function returns changes, to first order, when `step` is added to array[index]."""
    start = array[index].copy()
    slope = 0
    try:
        for steps, weight in STENCIL:
            array[index] = start + steps * step
            after = function()
            array[index] = start - steps * step
            # Subtracted first, so that no large sum is rounded, and an output that did not move contributes exactly 0.
            slope = slope + weight * (after - function())
    finally:
        array[index] = start
    return slope


def check(case: Case, seed: int = 0, directions: int = 2, elements: bool = True) -> Result:
    """Compare the gradients of a case with central differences, and see that the layer keeps its contract.

    Parameters
    ----------
    case : Case
    seed : int
        Of the upstream gradients, the directions, and `np.rng` before each forward, so that
        dropout draws the same mask every time.
    directions : int
        Random directions for each array.
    elements : bool
        Whether to go through each array element by element too, which takes most of the time.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        An input is no array, or a parameter or a floating input is not float64, or elements of it overlap in memory.
    """
    random_state = np.random_state()
    try:
        return _Check(case, seed).run(directions, elements)
    finally:
        np.set_random_state(random_state)


def assert_gradients(case: Case, tolerance: float = TOLERANCE, seed: int = 0, elements: bool = True) -> None:
    """Check a case as `check` does.

    Parameters
    ----------
    case : Case
    tolerance : float
        Largest relative error allowed.
    seed : int
    elements : bool

    Raises
    ------
    AssertionError
        Something failed: which array, where, both values, and the seed to repeat it.
    """
    result = check(case, seed, elements=elements)
    if not result.passed(tolerance):
        raise AssertionError(result.report(tolerance))


class _Check:
    """One run of `check`: the layer, its arrays by name, the upstream gradients."""

    def __init__(self, case, seed):
        self.case, self.seed = case, seed
        self.rng = numpy.random.default_rng(seed)
        self.layer = case.build()
        self.params = {self._param_name(i): param for i, param in enumerate(self.layer.params)}
        for name, x in case.inputs.items():
            if not isinstance(x, np.ndarray):
                raise ValueError(f"{case.layer}: {name} is a {type(x).__name__}, a gradient check needs an array")
        self.float_inputs = {
            name: x for name, x in case.inputs.items() if x.dtype.kind == "f" and name not in case.constants}
        for name, array in (self.params | self.float_inputs).items():
            if array.dtype != np.float64:
                raise ValueError(f"{case.layer}: {name} is {array.dtype}, a gradient check needs float64")
            if overlaps_itself(array):
                raise ValueError(f"{case.layer}: elements of {name} overlap in memory, a gradient check needs a copy")
        self.result = Result(case, seed)
        self.upstream = {name: self._draw(output.shape) for name, output in self.forward().items()}

    def _param_name(self, i):
        return self.case.param_names[i] if i < len(self.case.param_names) else f"params[{i}]"

    def _draw(self, shape):
        return np.to_device(numpy.asarray(self.rng.standard_normal(shape)))

    def fault(self, text):
        """Note a broken promise, once."""
        if text not in self.result.faults:
            self.result.faults.append(text)

    def forward(self):
        """Return the outputs by name."""
        np.seed(self.seed)
        return self.case.forward(self.layer, self.case.inputs)

    def backward(self, upstream):
        """Return the gradients by name, those of shared parameters added up under the first name."""
        given = copies(upstream)
        gradients = self.case.backward(self.layer, given)
        for name in changed(given, upstream):
            self.fault(f"{name}: backward changed the upstream gradient of this output")
        names = {id(param): name for name, param in self.params.items()}
        params, grads = remove_duplicate(self.layer.params, [grad.copy() for grad in self.layer.grads])
        gradients = {names.get(id(param)): grad for param, grad in zip(params, grads)} | gradients
        return {name: gradients[name] for name in gradients if self._fits(name, gradients[name])}

    def _fits(self, name, gradient):
        array = (self.params | self.float_inputs)[name]
        if getattr(gradient, "shape", None) == array.shape and gradient.dtype == array.dtype:
            return True
        self.fault(f"{name}: its gradient is {getattr(gradient, 'dtype', type(gradient).__name__)} of shape "
                   f"{getattr(gradient, 'shape', '?')}, wanted {array.dtype} of shape {array.shape}")
        return False

    def run(self, directions, elements):
        """Check the contract, then the numbers."""
        gradients = self._check_contract()
        for name in self.float_inputs:
            if name not in gradients:
                self.fault(f"{name}: backward returned no gradient for this input")
        for name, gradient in gradients.items():
            array = (self.params | self.float_inputs)[name]
            self._check_directions(name, array, gradient, directions)
            if elements:
                self._check_elements(name, array, gradient)
        return self.result

    def _check_contract(self):
        """See what forward and backward may and may not touch; return copies of the gradients."""
        read_only = {f"parameter {name}": x for name, x in self.params.items()}
        read_only |= {f"input {name}": x for name, x in self.case.inputs.items()}
        before = copies(read_only)
        lists = [*self.layer.params, *self.layer.grads]
        for grad in self.layer.grads:
            grad[...] = 1  # shows a backward that adds to grads, or leaves a part of them as it was

        outputs = self.forward()
        outputs_before = copies(outputs)
        found = self.backward(self.upstream)
        gradients = copies(found)
        self._check_second_backward(gradients)
        for name in changed(self.forward(), outputs_before):
            self.fault(f"{name}: a second forward gives another output")
        for name, gradient in self.backward({name: 0 * G for name, G in self.upstream.items()}).items():
            if not (gradient == 0).all():
                self.fault(f"{name}: the gradient for a zero upstream gradient is not zero")

        for name in changed(read_only, before):
            self.fault(f"{name}: forward or backward changed it")
            read_only[name][...] = before[name]
        for name in changed(outputs, outputs_before):
            self.fault(f"{name}: this output was written to after it was returned")
        for name in changed(found, gradients):
            self.fault(f"{name}: its gradient was written to after it was returned")
        if any(new is not old for new, old in zip([*self.layer.params, *self.layer.grads], lists, strict=True)):
            self.fault("params or grads: an array was replaced instead of written in place")
        return gradients

    def _check_second_backward(self, gradients):
        if not self.case.single_backward:
            for name in changed(self.backward(self.upstream), gradients):
                self.fault(f"{name}: a second backward gives another gradient")
            return
        try:
            self.backward(self.upstream)
        except ValueError:
            return
        self.fault("a second backward did not raise, as this layer documents")

    def _check_directions(self, name, array, gradient, directions):
        numerical, backward = numpy.empty((2, directions))  # (directions,), (directions,)
        upstream = self._joined(self.upstream)

        def outputs():
            return self._joined(self.forward())

        for k in range(directions):
            direction = self._draw(array.shape)
            direction /= np.sqrt((direction * direction).sum())
            change = first_order_change(outputs, array, ..., STEP * direction)
            numerical[k] = float((upstream * change).sum()) / STEP
            backward[k] = float((gradient * direction).sum())
        self.result.rows.append(Row(name, "direction", numerical, backward))

    def _check_elements(self, name, array, gradient):
        numerical = numerical_gradient(lambda: self._joined(self.forward()), array, self._joined(self.upstream))
        self.result.rows.append(Row(name, "element", numerical, np.to_cpu(gradient)))

    def _joined(self, arrays):
        """Return the elements of arrays by the names of the outputs, one after the other."""
        return np.concatenate([np.asarray(arrays[name]).reshape(-1) for name in self.upstream])


def copies(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return a dict with a copy of each array."""
    return {name: array.copy() for name, array in arrays.items()}


def changed(arrays: dict[str, Array], before: dict[str, Array]) -> list[str]:
    """Return the names of the arrays that are not equal, NaN counting as equal to itself."""
    return [name for name, array in arrays.items() if not np.array_equal(array, before[name], equal_nan=True)]


def table(results: list[Result], tolerance: float = TOLERANCE) -> str:
    """Return results as a table: layer, variant, number of arrays, largest relative error, verdict.

    Parameters
    ----------
    results : list of Result
    tolerance : float

    Returns
    -------
    str
    """
    lines = [("layer", "variant", "arrays", "largest error", "")]
    for result in results:
        lines.append((result.case.layer, result.case.variant, str(result.arrays), f"{result.largest_error:.1e}",
                      result.verdict(tolerance)))
    return format_table(lines, left=5)
