"""JSON from files that a stranger may have written: parsed within bounds, and checked against what it should hold."""
from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import reprlib
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import InputError

WHOLE_AS_FLOAT = 2**53  # up to which every whole number is a float, too
MOST_DIGITS = 4300  # of a whole number
LONGEST_FILE = 256 * 2**20  # bytes: a vocabulary of ten million words


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is none.
    InputError
        It cannot be read, is no ordinary file, or `parse_json` refuses it.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait, reading a device might never end
            raise OSError(errno.EINVAL, "it is no file")
        if found.st_size > LONGEST_FILE:
            raise OSError(errno.EFBIG, f"it has more than {LONGEST_FILE:,} bytes")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return parse_json(content, path)


def parse_json(content: bytes, source: str | Path) -> Any:
    """Return what a JSON document holds.

    Parameters
    ----------
    content : bytes
        UTF-8.
    source : str or Path
        Where it comes from, for the message.

    Raises
    ------
    InputError
        It is no JSON, names a key twice in an object, or is nested deeper than any that is written here.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else brief_text(str(error))
        raise InputError(f"{source} is damaged: its text is no JSON ({reason})") from None


def _whole(digits):
    if len(digits) > MOST_DIGITS:  # which some versions of Python take for ever to read
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60


def brief(value: Any) -> str:
    """Return the `repr` of a value that came from a file, cut to what a message can hold."""
    return _BRIEF.repr(value)


def brief_text(text: str, longest: int = 120) -> str:
    """Return a text in one line, cut to what a message can hold, without what would steer a terminal."""
    line = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest - 3]}..."


# What a document should hold. A schema is called with a value and the name of its place, and raises InputError.

Schema = Callable[[Any, str], None]


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = WHOLE_AS_FLOAT

    def __call__(self, value: Any, place: str) -> None:
        if type(value) is not int or not self.low <= value <= self.high:
            _refuse(value, place, f"a whole number from {self.low} to {self.high}")


@dataclasses.dataclass(frozen=True)
class Real:
    """A number from `low` to `high`; infinity only where `high` is infinity, NaN never."""

    low: float = -sys.float_info.max
    high: float = sys.float_info.max

    def __call__(self, value: Any, place: str) -> None:
        if (type(value) not in (int, float) or not self.low <= value <= self.high
                or type(value) is int and abs(value) > WHOLE_AS_FLOAT):
            wanted = "a finite number" if self.high < math.inf else "a number"
            _refuse(value, place, f"{wanted} of at least {self.low:g}" if self.low > -sys.float_info.max else wanted)


@dataclasses.dataclass(frozen=True)
class Text:
    """A text of at most `longest` characters; `unicode`: which can be written to a file."""

    longest: int = 1000
    unicode: bool = True

    def __call__(self, value: Any, place: str) -> None:
        if not isinstance(value, str) or len(value) > self.longest or self.unicode and not is_unicode(value):
            _refuse(value, place, f"a text of at most {self.longest} characters")


def is_unicode(text: str) -> bool:
    """Tell whether a text is free of lone surrogates, which JSON can name and UTF-8 cannot hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


@dataclasses.dataclass(frozen=True)
class Maybe:
    """null, or what another schema takes."""

    schema: Schema

    def __call__(self, value: Any, place: str) -> None:
        if value is not None:
            self.schema(value, place)


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of at most `longest` values of one kind."""

    schema: Schema
    longest: int = 10**6

    def __call__(self, value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) > self.longest:
            _refuse(value, place, f"a list of at most {self.longest}")
        for i, item in enumerate(value):
            self.schema(item, f"{place}[{i}]")


@dataclasses.dataclass(frozen=True)
class Keyed:
    """An object of any keys, at most `longest`, whose values are of one kind."""

    schema: Schema
    longest: int = 10**5

    def __call__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) > self.longest:
            _refuse(value, place, f"an object of at most {self.longest} keys")
        for key, item in value.items():
            Text()(key, f"{place}, a key,")
            self.schema(item, f"{place}.{brief_text(key, 40)}")


@dataclasses.dataclass(frozen=True)
class Record:
    """An object of named values: all of `required`, and of `optional` what is there; other keys are refused."""

    required: dict[str, Schema]
    optional: dict[str, Schema] = dataclasses.field(default_factory=dict)

    def __call__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, place, "an object")
        schemas = self.required | self.optional
        for key in [*self.required, *value]:
            if key not in value:
                raise InputError(f"{place} lacks {key!r}")
            if key not in schemas:
                raise InputError(f"{place} has {brief(key)}, which does not belong there")
        for key, item in value.items():
            schemas[key](item, f"{place}.{key}")


def plain_value(value: Any, place: str) -> None:
    """The schema of a setting: null, a switch, a finite number, a text, or a list of texts."""
    if isinstance(value, list):
        Items(Text(), 1000)(value, place)
    elif isinstance(value, float):
        Real()(value, place)
    elif value is not None and not isinstance(value, int):  # a switch is an int, too
        Text(10_000, unicode=False)(value, place)  # the name of a file may be of other bytes


def _refuse(value, place, wanted):
    raise InputError(f"{place} is {brief(value)}, wanted {wanted}")
