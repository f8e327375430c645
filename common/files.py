"""Reading and writing files: a crash while writing leaves the old one whole."""
import contextlib
import os
from pathlib import Path

import numpy

from common.errors import InputError


@contextlib.contextmanager
def replacing(path, mode="w"):
    """Open a temporary file beside `path` that takes its place once it is complete.

    Parameters
    ----------
    path : str or Path
        Its folder is made where it is missing.
    mode : {"w", "wb"}
        Text is written as UTF-8.

    Yields
    ------
    file
        When the block raises, `path` stays as it was.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def write_arrays(path, arrays):
    """Write arrays to a .npz file.

    Parameters
    ----------
    path : str or Path
    arrays : dict of str to numpy.ndarray
    """
    with replacing(path, "wb") as file:
        numpy.savez(file, **arrays)


def read_arrays(path):
    """Read all arrays of a .npz file; nothing in it is run.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    InputError
        The file is missing or broken, or no .npz file.
    """
    try:
        with open(path, "rb") as file, numpy.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read, it is damaged or no .npz file ({reason})") from None
