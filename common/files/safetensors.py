"""Arrays in `.safetensors` files, with texts beside them.

The format (https://huggingface.co/docs/safetensors) is a number of 8 bytes, lowest first, so many bytes of JSON, and
the numbers of all arrays, one array after the other. The JSON says of each array its dtype, its shape and where its
numbers lie, and holds texts by their names in "__metadata__". This is short enough to need no package; all of it is
checked before any number is read, and nothing in a file is run.
"""
import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy

from common.errors import InputError
from common.files.arrays import LONGEST_HEADER
from common.files.atomic import replacing
from common.files.json_text import Items, Keyed, Record, Text, Whole, brief_text, parse_json
from common.np import Array, np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
METADATA = "__metadata__"
LENGTH = struct.Struct("<Q")  # of the JSON, in front of it
ALIGNED = 8  # bytes: the numbers begin at a multiple of it

_TENSOR = Record({"dtype": Text(20), "shape": Items(Whole(), 32), "data_offsets": Items(Whole(), 2)})
_TEXTS = Keyed(Text(LONGEST_HEADER))


def write_safetensors(path: str | Path, arrays: dict[str, Array], metadata: dict[str, str] | None = None) -> None:
    """Write arrays to a `.safetensors` file, which safetensors.torch.load_file reads too.

    Parameters
    ----------
    path : str or Path
    arrays : dict of str to ndarray
    metadata : dict of str to str, optional
        Texts to keep beside them.

    Raises
    ------
    InputError
        An array is none of numbers that the format knows, or the file cannot be written. An old file then stays.
    """
    names = {numpy.dtype(code): name for name, code in DTYPES.items()}
    on_host = {name: numpy.asarray(np.to_cpu(array), order="C") for name, array in arrays.items()}
    header: dict[str, Any] = {} if metadata is None else {METADATA: metadata}
    data, end = [], 0
    # The widest numbers first, so that each array begins at a multiple of what its numbers take.
    for name, array in sorted(on_host.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if name == METADATA or array.dtype not in names:
            raise InputError(f"{path} is not written: no .safetensors file holds an array {name!r} of {array.dtype}")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        data.append(array.tobytes())
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    with replacing(path, "wb") as file:
        file.write(LENGTH.pack(len(text)) + text + b"".join(data))


def read_safetensors(path: str | Path) -> dict[str, numpy.ndarray]:
    """Read all arrays of a `.safetensors` file; parameters and errors as for `read_with_metadata`."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: str | Path) -> tuple[dict[str, numpy.ndarray], dict[str, str]]:
    """Read all arrays of a `.safetensors` file, whoever wrote it, and the texts beside them.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    arrays : dict of str to numpy.ndarray
        Of the byte order of this machine.
    metadata : dict of str to str

    Raises
    ------
    InputError
        The file is missing, damaged, or has a dtype that NumPy does not know (bfloat16).
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        content = Path(path).read_bytes()
        header, begin = _header(content, path)
        metadata = header.pop(METADATA, {})
        _TEXTS(metadata, METADATA)
        _expect_sound(header, len(content) - begin)
        return {name: _array(content, begin, tensor) for name, tensor in header.items()}, metadata
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # InputError is one
        reason = brief_text(str(error))
        raise InputError(f"{path} cannot be read, it is damaged or no .safetensors file ({reason})") from None


def _header(content, path):
    """Return what the JSON of a file says, and where the numbers begin."""
    if len(content) < LENGTH.size:
        raise ValueError("it is too short")
    (length,) = LENGTH.unpack_from(content)
    if length > min(LONGEST_HEADER, len(content) - LENGTH.size):
        raise ValueError("its header is longer than the file, or than that of any model")
    begin = LENGTH.size + length
    header = parse_json(content[LENGTH.size:begin], "its header")
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header, begin


def _expect_sound(header, size):
    """Check that the arrays that a header describes fill `size` bytes, each what its dtype and shape take."""
    places = []
    for name, tensor in header.items():
        shown = brief_text(name, 40)
        _TENSOR(tensor, shown)
        if tensor["dtype"] not in DTYPES:
            raise ValueError(f"the dtype {brief_text(tensor['dtype'], 20)} of {shown} is not one of NumPy")
        if len(tensor["data_offsets"]) != 2:
            raise ValueError(f"{shown} does not say where its numbers lie")
        begin, end = tensor["data_offsets"]
        if end - begin != math.prod(tensor["shape"]) * numpy.dtype(DTYPES[tensor["dtype"]]).itemsize:
            raise ValueError(f"{shown} has another size than it says")
        places.append((begin, end))
    ends = [0, *(end for _, end in sorted(places))]
    if [begin for begin, _ in sorted(places)] != ends[:-1] or ends[-1] != size:
        raise ValueError("its arrays do not fill it one after the other")


def _array(content, begin, tensor):
    dtype = numpy.dtype(DTYPES[tensor["dtype"]])
    numbers = content[begin + tensor["data_offsets"][0]:begin + tensor["data_offsets"][1]]
    if tensor["dtype"] == "BOOL" and numbers.strip(b"\0\1"):
        raise ValueError("a truth value is neither 0 nor 1")
    array = numpy.frombuffer(bytearray(numbers), dtype)  # of which a part can be written
    return array.reshape(tensor["shape"]).astype(dtype.newbyteorder("="), copy=False)
