"""Writing files: a crash while writing leaves the old one whole."""
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from common.errors import InputError

CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}  # file systems that cannot flush a folder


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its place once it is complete, and safe on the disk.

    Parameters
    ----------
    path : str or Path
        Its folder is made where it is missing. A symbolic link is followed.
    mode : {"w", "wb"}
        Text is written as UTF-8.

    Yields
    ------
    file
        When the block raises, `path` stays as it was.

    Raises
    ------
    InputError
        The file cannot be written, or `path` is a folder, a device or a pipe.
    """
    expect_replaceable(path)
    target = Path(os.path.realpath(path))
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    # Also beside other machines' files. No Path, which would keep each new name in Python's table of names.
    temporary = os.path.join(target.parent, f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode.replace("w", "x"), **text) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        flush_folder(target.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def expect_replaceable(path: str | Path) -> None:
    """Check that a file can be put at `path`: nothing is there yet, or a file.

    Raises
    ------
    InputError
        A folder, a device or a pipe is there, which a file would take the place of.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # not there yet, or to be said when it is written
        return
    except ValueError:
        raise InputError(f"{str(path)!r} cannot be the name of a file") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or a pipe"
        raise InputError(f"cannot write {path}: it is a {kind}, give the name of a file")


def flush_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that a file that took another's place has it after a power cut too.

    Where the operating system cannot, as Windows, it does so by itself.
    """
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written into and not be read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise
    finally:
        os.close(handle)


def temporaries(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the temporary files for files of these names that are in a folder, of killed processes or of live ones."""
    return [path for name in names for path in folder.glob(f".{name}.*.tmp") if not path.is_dir()]
