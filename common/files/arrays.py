"""Arrays in .npz files."""
from pathlib import Path
from typing import Any

import numpy

from common.errors import InputError
from common.files.atomic import replacing


def write_arrays(path: str | Path, arrays: dict[str, Any]) -> None:
    """Write arrays to a .npz file.

    Parameters
    ----------
    path : str or Path
    arrays : dict of str to numpy.ndarray
    """
    with replacing(path, "wb") as file:
        numpy.savez(file, **arrays)


def read_arrays(path: str | Path) -> dict[str, numpy.ndarray]:
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
