"""The parts that every script shares: flags that check their range, the device, one line for wrong use."""
import argparse
import dataclasses
import errno
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy

from common import stop_at_once
from common.cli.signals import signal_name
from common.errors import InputError, Stopped
from common.np import np

# Beside NumPy; each is imported where it is used.
REQUIRED_PACKAGES = {"matplotlib", "PIL", "platformdirs", "regex", "threadpoolctl", "tqdm"}
# What an operating system says of a path that a user may not use, or that can be none, and of a disk that is full or
# broken. A fault of the code is neither.
NO_PATH = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
LONGEST_LINE = 1000  # characters of a message


@dataclasses.dataclass(frozen=True)
class Number:
    """The numbers that a flag takes: called with a text, it returns the number or says what would be one.

    Attributes
    ----------
    kind : {int, float}
    allowed : callable
        Tells whether a number is one of them.
    wanted : str
        What they are, for the message.
    """

    kind: type
    allowed: Callable[[Any], bool]
    wanted: str

    def __call__(self, text):
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if not self.accepts(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {self.wanted}")
        return value

    def accepts(self, value: object) -> bool:
        """Tell whether a value, of any type, is one of these numbers."""
        return type(value) is self.kind and self.allowed(value)


positive_int = Number(int, lambda value: 1 <= value <= 10**9, "a whole number from 1 to 10^9")
natural = Number(int, lambda value: value >= 0, "a whole number of at least 0")
positive_float = Number(float, lambda value: 0 < value < math.inf, "a number above 0")
ratio = Number(float, lambda value: 0 <= value < 1, "a number in [0, 1)")
probability = Number(float, lambda value: 0 < value <= 1, "a number above 0 and up to 1")
not_negative = Number(float, lambda value: 0 <= value < math.inf, "a number of at least 0")
at_least_one = Number(float, lambda value: 1 <= value < math.inf, "a number of at least 1")


class Parser(argparse.ArgumentParser):
    """An argument parser that says what was wrong in one line; `--help` has the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for text in args or ():  # from Python code: no shell can give a null character, say
            try:
                is_possible = b"\0" not in os.fsencode(text)
            except UnicodeEncodeError:
                is_possible = False
            if not is_possible:
                self.error(f"{text!r} has a character that no argument can have")
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse would pass over a disk that is full

    def _get_values(self, action, arg_strings):
        # Before 3.13, argparse takes the text of --lr=-- for the mark behind which no flags come, and drops it.
        if action.option_strings and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value if action.nargs is None else [value]
        return super()._get_values(action, arg_strings)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device to a parser."""
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu needs CuPy and an NVIDIA card")


def use_device(device: str) -> None:
    """Move `np` to the device of the flag --device."""
    np.use("cupy" if device == "gpu" else "numpy")


def free_folder(name: str) -> Path:
    """Make the folder runs/<name>-1, or the one of the first number that is free, and return it.

    Of several processes that ask at once, each gets one of its own.

    Raises
    ------
    InputError
        It cannot be made.
    """
    for number in itertools.count(1):
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"cannot make the folder {folder} ({error.strerror}): choose one with --out") from None
    return folder


def new_folder(path: Path) -> None:
    """Make the folder of the flag --out.

    Raises
    ------
    InputError
        It is there already, or cannot be made.
    """
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path} ({error.strerror}): choose a new one for --out") from None


def run(prog: str, script: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run `script(argv)`; an InputError becomes one line on stderr and exit code 2.

    Parameters
    ----------
    prog : str
        How the script is started, for the message.
    script : callable
        Takes the list of arguments.
    argv : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0; 2 after an InputError, where a required package is missing, or where what is to be written does
        not fit; 130 after Ctrl-C; 128 + its number after another signal that asked to stop; 141 when whoever reads the
        output closed it.
    """
    if sys.stdout is None:  # closed, as by >&-: nobody wants the output
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (it stays open)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the text's characters is no reason to stop
    is_starting = signal.getsignal(signal.SIGINT) is stop_at_once
    try:
        if is_starting:  # from here on Ctrl-C is an exception, so that a script can clean up
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with numpy.errstate(all="ignore"):  # a script looks itself at what must be finite, and says it in one line
                return script(sys.argv[1:] if argv is None else argv) or 0
        finally:
            sys.stdout.flush()  # not first at exit, where what goes wrong has a traceback
    except InputError as error:
        _say(f"{prog}: {error}")
        return 2
    except ModuleNotFoundError as error:
        if error.name not in REQUIRED_PACKAGES:
            raise
        _say(f"{prog}: {error.name} is missing: in the project's folder, pip install -e .")
        return 2
    except Stopped as stopped:
        _say(f"{prog}: stopped by {signal_name(stopped.signum)}")
        return 128 + stopped.signum
    except KeyboardInterrupt:
        _say(f"{prog}: stopped by Ctrl-C")
        return 130
    except MemoryError as error:
        _say(f"{prog}: not enough memory ({error}): choose smaller sizes")
        return 2
    except BrokenPipeError:
        _give_up(sys.stdout)
        return 141
    except OSError as error:
        if error.errno in NO_PATH and error.filename is not None:
            _say(f"{prog}: cannot use {error.filename}: {error.strerror}")
            return 2
        if error.errno not in NO_SPACE:
            raise
        _give_up(sys.stdout)
        _say(f"{prog}: cannot write: {error.strerror}")
        return 2
    finally:
        if is_starting:
            signal.signal(signal.SIGINT, stop_at_once)


def print_or_give_up(line: str) -> None:
    """Print a line, or throw it and all that follows away where the terminal is gone."""
    try:
        print(line, flush=True)
    except OSError:
        _give_up(sys.stdout)


def _say(message):
    """Print one line on stderr, without control characters, and not too long to be read."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(message.split()))
    if len(line) > LONGEST_LINE:
        line = f"{line[:LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4:]}"
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream):
    """Throw away what a stream cannot write, or Python would complain of it at exit."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
