"""Writing files: a crash while writing leaves the old one whole."""
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import InputError


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
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
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode, **text) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
