"""Single keys from the terminal, without waiting for the end of a line."""
import contextlib
import os
import sys
from collections.abc import Callable, Iterator


def _windows_key(read):
    key = read()
    if key == "\x03":
        raise KeyboardInterrupt
    return key + read() if key in "\x00\xe0" else key  # an arrow key sends two characters


@contextlib.contextmanager
def single_keys() -> Iterator[Callable[[], str]]:
    """Within the block, keys reach the program one by one, and are not shown.

    Yields
    ------
    callable
        Waits for a key and returns what it sends, "" at the end of the input. Ctrl-C is a KeyboardInterrupt.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        import msvcrt

        yield lambda: _windows_key(msvcrt.getwch)  # type: ignore[attr-defined]  # known on Windows only
        return
    terminal = sys.stdin.fileno()
    settings = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield lambda: os.read(terminal, 8).decode(errors="replace")  # an arrow key sends several bytes
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, settings)
