"""Checks for the exercises of the notebooks: each says in one line whether an answer is right, and never raises for it.

    check_values(step, reference, x, h_prev)      # compare a function with one that is known to be right
    check_gradient(backward, forward, x, h_prev)  # compare a derivative with numerical ones
    check_number(answer, expected)                # compare a number with a computed one

The line begins with "Nothing here yet" while the answer is still None or `...`, or raises NotImplementedError. Then it
begins with "Right", or with "Not yet" and the reason.
"""
import inspect

import numpy

from common.gradients.checker import TOLERANCE, numerical_gradient, relative_error

NOTHING = "Nothing here yet: write your answer into the cell above, run it, then this one."


class _NothingYetError(Exception):
    """The answer is not written."""


class _NotYetError(Exception):
    """The answer is wrong; the message says why."""


def check_values(function, reference, *inputs, names=None, tolerance=TOLERANCE):
    """Print whether a function returns what a reference returns.

    Parameters
    ----------
    function : callable
        The answer: takes the inputs, returns an array or a tuple of arrays.
    reference : callable
        A function that is known to be right, called in the same way.
    *inputs
        Arrays, of which each call gets copies, or anything else.
    names : tuple of str, optional
        Names of the arrays that are returned.
    tolerance : float
        Largest relative error of an array.
    """
    expected = _as_tuple(reference(*_copies(inputs)))

    def verdict():
        answer = _arrays(function, inputs, len(expected), names or _numbered("output", len(expected)))
        for (name, array), wanted in zip(answer.items(), map(numpy.asarray, expected)):
            _compare(name, array, wanted, "wanted", tolerance)

    _say(verdict)


def check_gradient(backward, forward, *inputs, names=None, wrt=None, tolerance=TOLERANCE):
    """Print whether a derivative written by hand agrees with numerical gradients of a function.

    With random upstream gradients G of the outputs, the loss is L = sum of G * output.

    Parameters
    ----------
    backward : callable
        The answer: `backward(*G, *inputs)` returns a tuple of the gradients of L with respect to the inputs, in
        their order, or one array if only one is asked for. Nested lists of numbers are arrays too.
    forward : callable
        `forward(*inputs)` returns an array or a tuple of arrays.
    *inputs : array_like
        Arrays of any shape, taken as float64. Arrays of integers stay, and have no gradient.
    names : tuple of str, optional
        Names of the inputs; by default those of the parameters of `forward`.
    wrt : tuple of str, optional
        Names of the inputs whose gradients the answer returns; by default all that are floating.
    tolerance : float
        Largest relative error of an array.
    """
    inputs = tuple(_as_float64(x) for x in inputs)
    rng = numpy.random.default_rng(0)

    def verdict():
        called = names or _parameter_names(forward, len(inputs))
        asked = wrt or [name for name, x in zip(called, inputs) if x.dtype.kind == "f"]
        given = dict(zip(called, inputs))  # copies of our own, each moved a little in turn
        upstream = tuple(rng.standard_normal(y.shape) for y in _outputs(forward, inputs))

        def outputs():
            return _joined(_outputs(forward, given.values()))

        answer = _arrays(backward, (*upstream, *inputs), len(asked), [f"d{name}" for name in asked])
        for name, array in zip(asked, answer.values()):
            numerical = numerical_gradient(outputs, given[name], _joined(upstream))
            _compare(f"d{name}", array, numerical, "the numerical gradient is", tolerance)

    _say(verdict)


def check_number(answer, expected, tolerance=TOLERANCE):
    """Print whether a number is right, or else whether it is too small or too large.

    Parameters
    ----------
    answer : float
        None or `...` while there is no answer yet.
    expected : float
    tolerance : float
        Largest relative error.
    """
    def verdict():
        (number,) = _arrays(lambda: answer, (), 1, ["the answer"]).values()
        if number.shape:
            raise _NotYetError(f"the answer has the shape {number.shape}, wanted is one number")
        if not relative_error(numpy.asarray(float(expected)), number) <= tolerance:
            way = "no number" if numpy.isnan(number) else "too small" if number < expected else "too large"
            raise _NotYetError(f"{number:.6g} is {way}")

    _say(verdict)


def _say(verdict):
    """Print the one line."""
    try:
        with numpy.errstate(all="ignore"):  # an answer that overflows is wrong; NumPy need not warn as well
            verdict()
    except _NothingYetError:
        print(NOTHING)
    except _NotYetError as why:
        print(f"Not yet: {why}.")
    else:
        print("Right.")


def _call(function, inputs):
    """Call a function of the reader's with copies of the inputs, and see that it leaves them as they are."""
    if function is None or function is ...:
        raise _NothingYetError
    given = _copies(inputs)
    try:
        result = function(*given)
    except NotImplementedError:
        raise _NothingYetError from None
    except Exception as error:
        words = " ".join(str(error).split())
        where = getattr(function, "__name__", "the answer")
        raise _NotYetError(f"{where} raised {type(error).__name__}: {words}".rstrip(": ")) from None
    if any(isinstance(x, numpy.ndarray) and not numpy.array_equal(x, y) for x, y in zip(given, inputs)):
        raise _NotYetError("it writes into an array that was given to it; make a new one")
    return result


def _arrays(function, inputs, count, names):
    """Return what an answer returns as arrays by name."""
    results = _as_tuple(_call(function, inputs), count)
    empty = [each is None or each is ... for each in results]
    if all(empty):
        raise _NothingYetError
    if len(results) != count:
        raise _NotYetError(f"it returns {_counted(len(results))}, wanted {_counted(count)}: {', '.join(names)}")
    if any(empty):
        raise _NotYetError(f"{names[empty.index(True)]} is still missing")
    return {name: _as_numbers(name, each) for name, each in zip(names, results)}


def _outputs(forward, inputs):
    """Return what a forward returns, a tuple of arrays; the notebook's own, or the reader's."""
    results = _as_tuple(_call(forward, inputs))
    if any(each is None or each is ... for each in results):
        raise _NothingYetError
    return tuple(_as_numbers("the output", each) for each in results)


def _joined(arrays):
    """Return the elements of all arrays, one after the other."""
    return numpy.concatenate([array.reshape(-1) for array in arrays])


def _as_numbers(name, value):
    try:
        array = numpy.asarray(value)
    except ValueError:  # lists of different lengths
        array = None
    if array is None or array.dtype.kind not in "fiub":
        raise _NotYetError(f"{name} is of type {type(value).__name__}, wanted is an array of numbers")
    return array.astype(numpy.float64)


def _compare(name, array, wanted, words, tolerance):
    """Raise unless an array is as wanted; name the element that is furthest off."""
    if array.shape != wanted.shape:
        raise _NotYetError(f"{name} has the shape {array.shape}, wanted {wanted.shape}")
    error = relative_error(wanted, array)
    if not error <= tolerance:
        worst = numpy.unravel_index(numpy.argmax(abs(wanted - array)), wanted.shape)
        element = f", element {tuple(map(int, worst))}" if wanted.shape else ""
        raise _NotYetError(f"{name}{element}: the answer gave {array[worst]:.6g}, {words} {wanted[worst]:.6g}")


def _parameter_names(function, count):
    try:
        names = [name for name, parameter in inspect.signature(function).parameters.items()
                 if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    return names[:count] if len(names) >= count else _numbered("input", count)


def _numbered(word, count):
    return [f"{word} {k}" for k in range(count)]


def _counted(count):
    return "1 array" if count == 1 else f"{count} arrays"


def _as_tuple(result, count=None):
    """Return what a function returned as a tuple of arrays, of which `count` are wanted, if it is known."""
    if isinstance(result, list) and count == 1 and not _holds_one(result):
        return (result,)  # an array, written as a list
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _holds_one(results):
    """Tell whether a list is not an array itself, but holds one, or a place for one."""
    return len(results) == 1 and (results[0] is None or results[0] is ... or isinstance(results[0], numpy.ndarray))


def _as_float64(x):
    x = numpy.asarray(x)
    return x if x.dtype.kind in "iub" and x.ndim else x.astype(numpy.float64)


def _copies(inputs):
    return tuple(x.copy() if isinstance(x, numpy.ndarray) else x for x in inputs)
