"""Signals that ask a process to end: Ctrl-C, SIGTERM, SIGHUP."""
import contextlib
import os
import signal
import time
from collections.abc import Iterator

from common.errors import Stopped

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]

TWICE = 1.0  # seconds within which a signal is the same again: a shell and its terminal both send SIGHUP


def signal_name(number: int) -> str:
    """Return what a signal is called: Ctrl-C, SIGTERM, SIGHUP."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class StopRequest:
    """Notes a signal that asks to stop, for work that ends at a point of its own choice.

    Attributes
    ----------
    signum : int or None
        The signal, once it has come.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._came = 0.0
        self._at_once = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Within the block the first signal is noted, and a second one raises `Stopped`.

        SIGTERM or SIGHUP once more within a second is the same one, sent twice.
        A signal that is ignored stays ignored, as nohup has it. Outside of the main thread no signal arrives.
        """
        self.signum = None
        old = {}
        with contextlib.suppress(ValueError):  # not the main thread
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    old[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        if self.signum is not None:
            if number == self.signum != signal.SIGINT and time.monotonic() < self._came + TWICE:
                return
            raise Stopped(number)
        self.signum, self._came = number, time.monotonic()
        with contextlib.suppress(OSError):  # a terminal that is gone is what SIGHUP tells of
            os.write(2, f"\n{signal_name(number)}: stopping after this step (once more to stop at once, without saving)"
                        "\n".encode())
        if self._at_once:
            raise StopNow

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block, for work that can be done again, the first signal raises `StopNow`, an earlier one too."""
        try:
            self._at_once = True
            if self.signum is not None:
                raise StopNow
            yield
        finally:
            self._at_once = False


class StopNow(KeyboardInterrupt):
    """Raised by a signal within `StopRequest.at_once`."""
