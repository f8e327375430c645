"""The one exception that a script turns into a single line on stderr."""


class InputError(ValueError):
    """Raised when something that the user gave cannot be used; the message says in one line what would be right.

    Raised for files, flags and checkpoints. A script prints the message and exits with
    code 2 (`common.cli.command.run`); every other exception is a defect and keeps its traceback.
    """
