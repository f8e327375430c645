"""Reading arrays from a pickle file without trusting it.

A pickle is a program: it may name any function and have it called with any arguments.
Nothing named in a file is looked up here. The few names that a pickled NumPy array consists of
stand for functions of this module, which note the bytes, the shape and the number format of an
array and check them; every other name is refused. NumPy's own functions never receive the
file's arguments, because they do not check them (for example a dtype with fields outside its elements).
"""
import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from common.errors import InputError

NUMBER_FORMATS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
PLAIN_VALUES = (str, bytes, int, float, bool, type(None))


def read_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays, as the book publishes its trained weights; nothing in it is run.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    list, tuple, dict, ndarray or plain value
        NumPy arrays and scalars of floats, whole numbers or booleans, and plain texts and numbers,
        in lists, tuples and dicts.

    Raises
    ------
    InputError
        The file is missing or damaged, or asks for anything else.
    """
    try:
        content = Path(path).read_bytes()
        _expect_small_memo(content)
        return resolved(_ArrayUnpickler(io.BytesIO(content)).load())
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except _Refused as refused:
        raise InputError(f"{path} is refused: it {refused}, and only arrays of numbers are read") from None
    except Exception as error:  # a damaged pickle can raise any exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read, it is damaged or no pickle of arrays ({reason})") from None


class _Refused(Exception):
    """Raised for something in the file that is not an array of numbers."""


def _expect_small_memo(content):
    """Refuse a file with an object number above its size in bytes: the unpickler would allocate that many places."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(content):
            raise ValueError(f"it numbers an object {argument}")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise _Refused(f"names {module}.{name}")
        return lambda *arguments: stand_in(*arguments)  # a new function, since a file may set attributes on it


class _NumberFormat:
    """A dtype under construction: its code is given first, its byte order then comes in its state."""

    __slots__ = ("dtype",)

    def __init__(self, code):
        if code not in NUMBER_FORMATS:
            raise _Refused(f"holds elements of type {code!r}")
        self.dtype = numpy.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder({"<": "<", ">": ">", "|": "=", "=": "="}[state[1]])


class _PickledArray:
    """An array under construction; its content comes in its state."""

    __slots__ = ("array",)

    def __setstate__(self, state):
        _, shape, number_format, in_fortran_order, content = state
        self.array = _array(content, number_format, shape, "F" if in_fortran_order else "C")


def _array(content, number_format, shape, order):
    """Return a writable array of the shape, in the machine's order of bytes."""
    dtype = number_format.dtype
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"a shape is {shape}")
    array = numpy.frombuffer(content, dtype).reshape(shape, order=order)  # raises where they do not fit
    return array.astype(dtype.newbyteorder("="))


def _from_buffer(content, number_format, shape, order, axis_order=None):
    made = _PickledArray()
    if order == "K":
        made.array = _array(content, number_format, shape, "C").transpose(axis_order)
    else:
        made.array = _array(content, number_format, shape, order)
    return made


def _scalar(number_format, content):
    return _array(content, number_format, (), "C")[()]


def _encode(text, encoding):
    if encoding != "latin1":
        raise _Refused(f"has text encoded as {encoding!r}")
    return text.encode("latin1")


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": lambda: None,  # only named, as the type to make
    "numpy.dtype": lambda code, *_: _NumberFormat(code),
    "_codecs.encode": _encode,  # bytes in the protocols 0 to 2
    "__builtin__.bytes": lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):  # of NumPy 1 and of NumPy 2
    _STAND_INS |= {
        f"{_core}.multiarray._reconstruct": lambda *_: _PickledArray(),
        f"{_core}.multiarray.scalar": _scalar,
        f"{_core}.numeric._frombuffer": _from_buffer,
    }


def resolved(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Return what was unpickled with its arrays in place, or refuse it.

    Parameters
    ----------
    value : object
    done : dict, optional
        Results so far, by the identity of the value, so that a value that occurs in the file at many
        places is resolved once.

    Raises
    ------
    _Refused
        Something is no array, list, tuple, dict or plain value.
    """
    done = {} if done is None else done
    if isinstance(value, (numpy.number, numpy.bool)) or type(value) in PLAIN_VALUES:
        return value
    if id(value) not in done:
        if type(value) is _PickledArray:
            done[id(value)] = value.array
        elif type(value) in (list, tuple):
            done[id(value)] = type(value)([resolved(part, done) for part in value])
        elif type(value) is dict:
            done[id(value)] = {resolved(key, done): resolved(part, done) for key, part in value.items()}
        else:
            raise _Refused(f"holds a {type(value).__name__}")
    return done[id(value)]
