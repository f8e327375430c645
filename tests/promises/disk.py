"""A disk that fails at a chosen moment, or is looked at after each step of what is done to the files of a folder."""
import builtins
import contextlib
import fcntl
import io
import os
from pathlib import Path
from unittest import mock


class Disk:
    """Counts what is done to a folder and its files, and fails where it is told to.

    Each opening, write, fsync, renaming, removal, locking and making of a folder is a step. A write that fails has
    written half of its bytes. An fsync waits for no real disk.

    Parameters
    ----------
    folder : Path
    fail_at : int, optional
        The step that fails, counted from 0.
    error : int
        The errno of the failure.
    for_good : bool
        Whether all steps after it fail too.
    reads : bool
        Whether opening files to read, and reading them, are steps too.
    after_replacing : callable, optional
        Called without arguments after each file that took another's place.

    Attributes
    ----------
    steps : int
        Taken so far.
    failures : int
        Steps that failed.
    unsafe : list of str
        Files that took another's place before all that was written to them was on the disk.
    """

    def __init__(self, folder, fail_at=None, error=None, for_good=False, reads=False, after_replacing=None):
        self.folder, self.fail_at, self.error, self.for_good, self.reads = folder, fail_at, error, for_good, reads
        self.after_replacing = after_replacing
        self.steps, self.failures, self.unsafe = 0, 0, []
        self.dirty = set()  # paths with bytes that no fsync has put on the disk

    def step(self, path):
        """Count a step, and fail if it is its turn."""
        number, self.steps = self.steps, self.steps + 1
        if self.fail_at is not None and (number == self.fail_at or (self.for_good and number > self.fail_at)):
            self.failures += 1
            raise OSError(self.error, os.strerror(self.error), str(path))

    def has(self, path):
        """Whether a path or file descriptor is of this folder."""
        return Path(self.path_of(path)).is_relative_to(self.folder)

    def path_of(self, path):
        """Return the absolute path of a path or file descriptor."""
        if isinstance(path, int):
            return os.readlink(f"/proc/self/fd/{path}")
        return os.path.abspath(os.fsdecode(path))

    @contextlib.contextmanager
    def watched(self):
        """Watch the disk while the block runs."""
        open_, os_open, os_write, replace = io.open, os.open, os.write, os.replace
        disk = self

        class Raw(io.FileIO):
            def write(self, data):
                path = disk.path_of(self.fileno())
                disk.dirty.add(path)
                try:
                    disk.step(path)
                except OSError:
                    super().write(bytes(data)[:len(data) // 2])
                    raise
                return super().write(data)

            def readinto(self, buffer):
                if disk.reads:
                    disk.step(self.name)
                return super().readinto(buffer)

            def readall(self):
                if disk.reads:
                    disk.step(self.name)
                return super().readall()

        def opening(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            if not self.has(path):
                return open_(path, mode, buffering, encoding, errors, newline, closefd, opener)
            writes = not {"w", "a", "x", "+"}.isdisjoint(mode)
            if writes or self.reads:
                self.step(path)
            raw = Raw(path, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            kind = io.BufferedRandom if "+" in mode else io.BufferedWriter if writes else io.BufferedReader
            file = kind(raw)
            return file if "b" in mode else io.TextIOWrapper(file, encoding, errors, newline)

        def opening_low(path, flags, *args, **options):
            if self.has(path) and (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or self.reads):
                self.step(path)
            return os_open(path, flags, *args, **options)

        def writing_low(number, data):
            if self.has(number):
                self.dirty.add(self.path_of(number))
                self.step(number)
            return os_write(number, data)

        def syncing(file):
            number = file if isinstance(file, int) else file.fileno()
            if self.has(number):
                self.step(number)
                self.dirty.discard(self.path_of(number))

        def replacing(source, target, **options):
            if self.has(target):
                self.step(target)
                if self.path_of(source) in self.dirty:
                    self.unsafe.append(os.path.basename(target))
                    self.dirty.discard(self.path_of(source))
            replace(source, target, **options)
            if self.has(target) and self.after_replacing is not None:
                self.after_replacing()

        def counted(function):
            def call(path, *args, **options):
                if self.has(path):
                    self.step(path)
                return function(path, *args, **options)
            return call

        with contextlib.ExitStack() as stack:
            for module, name, new in [
                    (builtins, "open", opening), (io, "open", opening), (os, "open", opening_low),
                    (os, "write", writing_low), (os, "fsync", syncing), (os, "fdatasync", syncing),
                    (os, "replace", replacing), (os, "rename", replacing), (os, "link", replacing),
                    *[(os, name, counted(getattr(os, name))) for name in ("mkdir", "unlink", "remove", "rmdir")],
                    *[(fcntl, name, counted(getattr(fcntl, name))) for name in ("flock", "lockf")]]:
                stack.enter_context(mock.patch.object(module, name, new))
            yield self
