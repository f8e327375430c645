"""What the tests with drawn cases share: arrays of any kind, what is no array, and calls that are watched."""
import copy

import numpy
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

LONGEST_MESSAGE = 1000
DTYPES = [numpy.dtype(name) for name in ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool",
                                         "complex64", "object", "U3", "M8[s]", ">f4")]
NO_ARRAYS = st.sampled_from([None, [], [1.0, 2.0], [[1, 2], [3]], "text", b"bytes", 3, -1, 0, 1.5, float("nan"), True,
                             (1, 2), {}, {"a": 1}, object(), 10**30, 1j, range(3), numpy.float64(2.0)])


def numbers(dtype):
    """Small numbers of a dtype, and those at its borders."""
    if dtype.kind == "f":
        return st.one_of(st.floats(-4, 4, width=16), st.sampled_from([0.0, -0.0, 1.0, -1.0]))
    if dtype.kind in "iu":
        return st.one_of(st.integers(0, 4), st.sampled_from([numpy.iinfo(dtype).min, numpy.iinfo(dtype).max]))
    if dtype.kind == "O":
        return st.sampled_from([None, "x", 1, 2.5, [1]])
    return hnp.from_dtype(dtype)


@st.composite
def arrays(draw, shape=None, dtype=None, wild=False):
    """Draw an array; what is None is drawn too. `wild` lets it have NaN, infinity and the largest numbers."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else numpy.dtype(dtype)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)) if shape is None else shape
    elements = numbers(dtype)
    if wild and dtype.kind == "f":
        limits = numpy.finfo(dtype)
        elements = st.one_of(elements, st.sampled_from(
            [numpy.nan, numpy.inf, -numpy.inf, float(limits.max), float(limits.min), float(limits.tiny)]))
    array = draw(hnp.arrays(dtype, shape, elements=elements, fill=None))
    return draw(strided(array))


@st.composite
def strided(draw, array):
    """The same numbers at other places in memory: turned around, with gaps, by columns, read-only."""
    how = draw(st.sampled_from(["as it is", "as it is", "gaps", "turned around", "by columns", "read-only"]))
    if how == "gaps" and array.ndim:
        array = numpy.repeat(array, 2, axis=-1)[..., ::2]
    elif how == "turned around" and array.ndim:
        array = array[::-1].copy()[::-1]
    elif how == "by columns":
        array = numpy.asfortranarray(array)
    elif how == "read-only":
        array.flags.writeable = False
    return array


def anything():
    return st.one_of(arrays(wild=True), NO_ARRAYS)


def often(right, wrong=None):
    """Draw what is right, and one time in six something else."""
    return st.one_of(*[right] * 5, anything() if wrong is None else wrong)


class Refused(Exception):
    """What a call that was refused returns, with the error."""


def outcome(function, *args, **kwargs):
    """Call a function, and return its result, or `Refused` where it refused its arguments in one line.

    Any other exception, a message that is none, and a change of an argument is a failure.
    """
    before = [copy.deepcopy(each) for each in (*args, *kwargs.values())]
    try:
        result = function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        message = str(error)
        assert message and len(message.splitlines()) == 1 and len(message) <= LONGEST_MESSAGE, message
        result = Refused(message)
    for given, kept in zip((*args, *kwargs.values()), before):
        assert same(given, kept), f"an argument was changed: {kept!r} became {given!r}"
    return result


def same(a, b):
    """Whether two arguments are equal, arrays in them by every number."""
    if isinstance(a, numpy.ndarray):
        if a.dtype.kind == "O":
            return isinstance(b, numpy.ndarray) and a.shape == b.shape and repr(a) == repr(b)
        return a.dtype == b.dtype and numpy.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return not isinstance(a, int | float | str | bytes | complex) or a == b or a != a
