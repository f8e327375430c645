"""Reading arrays from a pickle file without trusting it.

A pickle is a program: it may name any function and have it called with any arguments.
Nothing named in a file is looked up here. The few names that a pickled NumPy array consists of
stand for functions of this module, which note the bytes, the shape and the number format of an
array and check them; every other name is refused. NumPy's own functions never receive the
file's arguments, because they do not check them (for example a dtype with fields outside its elements).

A short file can also ask for more work than a computer can do. Forty tuples that each hold the one before
twice are 2^40 parts to whoever hashes, compares or prints them; so nothing of a file is hashed, compared or
printed before its type and its size are known.
"""
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy

from common.errors import InputError

NUMBER_FORMATS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
PLAIN_VALUES = (str, bytes, int, float, bool, type(None))
LONGEST_KEY = 1000  # characters or bytes; equal keys are compared as often as a file repeats them
LARGEST_KEY = 2**64  # a large whole number is hashed anew wherever it is a key
LONGEST_QUOTE = 100  # characters of a file that a message repeats


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
        return resolved(_ArrayUnpickler(Path(path).read_bytes()).load())
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except _Refused as refused:
        raise InputError(f"{path} is refused: it {refused}, and only arrays of numbers are read") from None
    except Exception as error:  # a damaged pickle can raise any exception
        reason = _quoted(str(error)) or type(error).__name__
        raise InputError(f"{path} cannot be read, it is damaged or no pickle of arrays ({reason})") from None


class _Refused(Exception):
    """Raised for something in the file that is not an array of numbers."""


def _quoted(text):
    """Return the beginning of a text that may come from a file, on one line."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:LONGEST_QUOTE])
    return shown + ("..." if len(text) > LONGEST_QUOTE else "")


class _ArrayUnpickler(pickle._Unpickler):
    """The unpickler of the standard library that is written in Python, since its single steps can be replaced.

    The one in C puts any key into a dict, and so hashes it, before a subclass can look at it.
    """

    # Of the base class; they have no annotations there.
    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    append: Callable[[Any], None]

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self._bytes_left = 2 * len(content)  # a byte of the file is made into text, or an array, or one after the other

    def find_class(self, module, name):
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise _Refused(f"names {_quoted(f'{module}.{name}')}")
        return lambda *arguments: self._counted(stand_in(*arguments))

    def get_extension(self, code):
        raise _Refused(f"names the extension {code}")  # an object that some package has registered under a number

    def _counted(self, made):
        """Refuse a file that has the same bytes made into arrays again and again."""
        value = made.array if type(made) is _PickledArray else made
        self._bytes_left -= len(value) if type(value) is bytes else getattr(value, "nbytes", 0)
        if self._bytes_left < 0:
            raise _Refused("makes more bytes than it has")
        return made

    def _build(self):
        state = self.stack.pop()
        made = self.stack[-1]
        if type(made) not in (_NumberFormat, _PickledArray):
            raise _Refused(f"sets the state of a {type(made).__name__}")
        made.set_state(state)
        self._counted(made)

    def _set_items(self):
        items = self.pop_mark()
        _fill(self.stack[-1], items)

    def _set_item(self):
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [key, value])

    def _make_dict(self):
        made: dict[Any, Any] = {}
        _fill(made, self.pop_mark())
        self.append(made)

    def _make_bytearray(self):
        size, = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))  # the base class takes memory for a size that is only claimed

    def _refuse_set(self):
        raise _Refused("holds a set")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: _build,
        pickle.SETITEMS[0]: _set_items,
        pickle.SETITEM[0]: _set_item,
        pickle.DICT[0]: _make_dict,
        pickle.BYTEARRAY8[0]: _make_bytearray,
        pickle.FROZENSET[0]: _refuse_set,
        pickle.ADDITEMS[0]: _refuse_set,
    }


def _fill(target, items):
    """Put keys and values, which take turns in `items`, into a dict."""
    if type(target) is not dict:
        raise _Refused(f"sets items of a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not _is_plain(key):
            raise _Refused(f"has a key that is a {type(key).__name__}")
        if type(key) in (str, bytes) and len(key) > LONGEST_KEY or type(key) is int and abs(key) > LARGEST_KEY:
            raise _Refused(f"has a key that is too large, a {type(key).__name__}")
        target[key] = value


def _is_plain(value):
    return isinstance(value, (numpy.number, numpy.bool)) or type(value) in PLAIN_VALUES


class _NumberFormat:
    """A dtype under construction: its code is given first, its byte order then comes in its state."""

    __slots__ = ("dtype",)

    def __init__(self, code):
        if type(code) is not str or code not in NUMBER_FORMATS:
            shown = _quoted(repr(code)) if type(code) is str else f"a {type(code).__name__}"
            raise _Refused(f"holds elements of type {shown}")
        self.dtype = numpy.dtype(code)

    def set_state(self, state):
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("an order of bytes is none of < > | =")
        self.dtype = self.dtype.newbyteorder(state[1])


class _PickledArray:
    """An array under construction; its content comes in its state."""

    __slots__ = ("array",)

    def __init__(self):
        self.array = None

    def set_state(self, state):
        _, shape, number_format, in_fortran_order, content = state
        self.array = _array(content, number_format, shape, "F" if in_fortran_order else "C")


def _array(content, number_format, shape, order):
    """Return a writable array of the shape, in the machine's order of bytes."""
    if type(number_format) is not _NumberFormat:
        raise ValueError("an array has no type of elements")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("a shape is not of whole numbers from 0")
    dtype = number_format.dtype
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
    if type(text) is not str or encoding != "latin1":
        raise _Refused("has bytes that are no text encoded as latin1")
    return text.encode("latin1")


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": lambda: None,  # only named, as the type to make
    "numpy.dtype": lambda code, align=False, copy=False: _NumberFormat(code),
    "_codecs.encode": _encode,  # bytes in the protocols 0 to 2
    "__builtin__.bytes": lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):  # of NumPy 1 and of NumPy 2
    _STAND_INS |= {
        f"{_core}.multiarray._reconstruct": lambda kind, shape, code: _PickledArray(),
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
    if _is_plain(value):
        return value
    if id(value) not in done:
        if type(value) is _PickledArray:
            if value.array is None:
                raise ValueError("an array has no content")
            done[id(value)] = value.array
        elif type(value) in (list, tuple):
            done[id(value)] = type(value)([resolved(part, done) for part in value])
        elif type(value) is dict:
            done[id(value)] = {resolved(key, done): resolved(part, done) for key, part in value.items()}
        else:
            raise _Refused(f"holds a {type(value).__name__}")
    return done[id(value)]
