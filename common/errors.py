"""The one exception that a script turns into a single line on stderr."""


class InputError(ValueError):
    """Raised when something that the user gave cannot be used; the message says in one line what would be right.

    Raised for files, flags and checkpoints. A script prints the message and exits with
    code 2 (`common.cli.command.run`); every other exception is a defect and keeps its traceback.
    """


class Stopped(KeyboardInterrupt):
    """Raised where a signal that asks a process to end has been received, Ctrl-C or another.

    Parameters
    ----------
    signum : int
        The signal; a script that ends by it exits with 128 + signum, as a shell says it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
