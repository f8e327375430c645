"""What every script shares: flags that check their range, one line for wrong use, tables, single keys.

Read first: command.
May be skipped: everything; no formula is here.
"""
from common.cli.command import (
    Parser,
    add_device,
    at_least_one,
    flag_adder,
    free_folder,
    natural,
    new_folder,
    positive_float,
    positive_int,
    probability,
    ratio,
    run,
    use_device,
)

__all__ = [
    "Parser", "add_device", "at_least_one", "flag_adder", "free_folder", "natural", "new_folder", "positive_float",
    "positive_int", "probability", "ratio", "run", "use_device",
]
