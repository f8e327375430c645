"""A lock on a folder, which only one process has at a time."""
import importlib
import os
import weakref
from pathlib import Path
from typing import Any

from common.errors import InputError

LOCK = ".lock"  # the file that is locked; it stays, since to remove it could unlock another process


class FolderLock:
    """The right to write into a folder, until it is released, or its process ends in whatever way.

    Parameters
    ----------
    folder : Path
        It must be there.

    Raises
    ------
    InputError
        Another process, or another lock of this one, has it; or the folder cannot be written into.
    """

    def __init__(self, folder: Path) -> None:
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
        except OSError as error:
            raise InputError(f"cannot use the folder {folder}: {error.strerror}") from None
        self.release = weakref.finalize(self, os.close, handle)
        if not _try_lock(handle):
            self.release()
            raise InputError(f"another run is at work in {folder}: wait until it has ended, or choose another --out")


def _try_lock(handle):
    """Lock a file, or return False where it is locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = importlib.import_module("msvcrt")
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: better a run without one than none
        return True
    return True
