"""Arrays in .npz files, with a header in JSON where they are more than arrays.

A .npz file is a zip archive of .npy files. Here nothing in it is compressed, so that no file can claim more than it
holds, and no array is read before all names, shapes and sizes have been found in order. NumPy can read it without this
project.
"""
import contextlib
import hashlib
import json
import math
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from common.errors import InputError
from common.files.atomic import replacing
from common.files.json_text import brief_text, parse_json

HEADER = "header.json"
LONGEST_HEADER = 16 * 2**20  # bytes: more than 50,000 epochs
MOST_MEMBERS = 10_000
LONGEST_TABLE = 4 * 2**20  # bytes of the table of members
LONGEST_TABLE32 = 2**31  # bytes of an archive up to which no record of 64 bits is needed for its table
LONGEST_END = 65_557  # bytes in which the record of the table stands, with a comment behind it
DATE = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal arrays make equal files
NUMBERS = "fiub"  # kinds of dtypes
TEXT = "facts"  # the array of text that checkpoints had before they had a header


def write_arrays(path: str | Path, arrays: dict[str, Any], header: dict[str, Any] | None = None) -> None:
    """Write arrays to a .npz file.

    Parameters
    ----------
    path : str or Path
    arrays : dict of str to numpy.ndarray
    header : dict, optional
        What JSON can hold. It becomes the first member of the archive, header.json, with "arrays" added: for each its
        shape, dtype and the SHA-256 of its numbers.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    arrays = {name: _in_native_order(numpy.asarray(array, order="C")) for name, array in arrays.items()}
    with replacing(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        if header is not None:
            described = {name: description(array) for name, array in arrays.items()}
            text = json.dumps(header | {"arrays": described}).encode()
            if len(text) > LONGEST_HEADER:  # which nobody could read
                raise InputError(f"{path} is not written: its header would have more than {LONGEST_HEADER:,} bytes")
            archive.writestr(zipfile.ZipInfo(HEADER, DATE), text)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", DATE), "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)


def _in_native_order(array):
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def description(array: numpy.ndarray) -> dict[str, Any]:
    """Return shape, dtype and SHA-256 of the numbers of an array, as a header has them.

    Parameters
    ----------
    array : numpy.ndarray
        Its numbers lie in the order of its axes.
    """
    return {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": hashlib.sha256(array.data).hexdigest()}


class Described(NamedTuple):
    """Shape and dtype of an array that has not been read yet."""

    shape: tuple[int, ...]
    dtype: numpy.dtype


class ArrayFile:
    """A .npz file, open for reading, with `header` and `described` known and no array read yet.

    Attributes
    ----------
    header : object
        What header.json holds; None where there is none.
    described : dict of str to Described
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, path: str | Path) -> None:
        self.archive = archive
        members = archive.infolist()
        _expect_sound(members, size)
        self.header = None
        if members and members[0].filename == HEADER:
            if members[0].file_size > LONGEST_HEADER:
                raise ValueError(f"its header has more than {LONGEST_HEADER} bytes")
            self.header = parse_json(archive.read(members.pop(0)), f"the header of {path}")
        self.described = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise ValueError(f"it has a member {brief_text(member.filename, 40)!r}, which is no array")
            self.described[member.filename.removesuffix(".npy")] = self._describe(member)

    def _describe(self, member):
        """Read shape and dtype of an array, and see that its numbers fill the member."""
        with self.archive.open(member) as content:
            shape, _, dtype = _npy_header(content)
            left = member.file_size - content.tell()
        kinds = "U" if member.filename == f"{TEXT}.npy" else NUMBERS
        if dtype.kind not in kinds or dtype.fields is not None or dtype.subdtype is not None:
            raise ValueError(f"{brief_text(member.filename, 40)} is no array of numbers")
        if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != left:
            raise ValueError(f"{brief_text(member.filename, 40)} has another size than it says")
        return Described(shape, dtype)

    def read(self, name: str) -> numpy.ndarray:
        """Read an array.

        Raises
        ------
        ValueError
            Its numbers are not those that were written.
        """
        with self.archive.open(f"{name}.npy") as content:
            shape, in_fortran_order, dtype = _npy_header(content)
            numbers = bytearray(content.read())  # an array of it can be written
        array = numpy.frombuffer(numbers, dtype)
        array = array.reshape(shape[::-1]).T if in_fortran_order else array.reshape(shape)
        return _in_native_order(array)

    def read_all(self) -> dict[str, numpy.ndarray]:
        """Read every array; one that `header` describes must be as it says."""
        arrays = {name: self.read(name) for name in self.described}
        described = self.header["arrays"] if isinstance(self.header, dict) else {}
        for name, wanted in described.items():
            if name not in arrays or description(arrays[name]) != wanted:
                raise ValueError(f"{brief_text(name, 40)} is not what was written")
        return arrays


def _npy_header(content):
    """Return shape, order and dtype of a .npy file, and leave it at its first number."""
    version = numpy.lib.format.read_magic(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a header as Python 2 wrote it
        if version == (1, 0):
            return numpy.lib.format.read_array_header_1_0(content)
        if version == (2, 0):
            return numpy.lib.format.read_array_header_2_0(content)
    raise ValueError(f"an array is of the format {version[0]}.{version[1]}")


def _zip_file(file, size):
    """Open an archive, unless its table of members is longer than that of any model: to read one takes time."""
    file.seek(max(0, size - LONGEST_END))
    end = file.read()
    record = end.rfind(b"PK\x05\x06")
    if record >= 0 and len(end) >= record + 16:
        (table,) = struct.unpack_from("<I", end, record + 12)
        if table > LONGEST_TABLE or size < LONGEST_TABLE32 and b"PK\x06\x07" in end[max(0, record - 20):record]:
            raise ValueError("its table of members is longer than that of any model")
    return zipfile.ZipFile(file)


def _expect_sound(members, size):
    """Check the table of an archive of `size` bytes, before anything in it is read."""
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it has more than {MOST_MEMBERS} members")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has a member twice")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError("it is compressed or encrypted: write it by numpy.savez")
        if member.file_size != member.compress_size:
            raise ValueError(f"{brief_text(member.filename, 40)} has another size than it says")
    if sum(member.file_size for member in members) > size:
        raise ValueError("it claims more than the file holds")


@contextlib.contextmanager
def open_arrays(path: str | Path) -> Iterator[ArrayFile]:
    """Open a .npz file, whoever wrote it; nothing in it is run.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    ArrayFile

    Raises
    ------
    InputError
        The file is missing or broken, or no .npz file; also where reading it within the block fails.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        with open(path, "rb") as file, _zip_file(file, found.st_size) as archive:
            yield ArrayFile(archive, found.st_size, path)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise
    except Exception as error:  # zipfile and numpy have many errors for a damaged file, RecursionError among them
        reason = brief_text(str(error)) or type(error).__name__
        raise InputError(f"{path} cannot be read, it is damaged or no .npz file ({reason})") from None


def read_arrays(path: str | Path) -> dict[str, numpy.ndarray]:
    """Read all arrays of a .npz file; parameters as for `open_arrays`."""
    with open_arrays(path) as file:
        return file.read_all()
