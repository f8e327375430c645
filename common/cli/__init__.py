"""The parts that every script shares: flags that check their range, one line for wrong use, tables, single keys.

Read first: settings, then command.
May be skipped: everything; no formula is here.
"""
from common.cli.command import (
    Number,
    Parser,
    add_device,
    at_least_one,
    free_folder,
    natural,
    new_folder,
    not_negative,
    positive_float,
    positive_int,
    print_or_give_up,
    probability,
    ratio,
    run,
    use_device,
)
from common.cli.settings import (
    REQUIRED,
    Settings,
    SettingsParser,
    add_settings,
    flag_of,
    newest_run,
    read_config,
    read_settings,
    save_settings,
    setting,
)
from common.cli.signals import signal_name

__all__ = [
    "Number", "Parser", "REQUIRED", "Settings", "SettingsParser", "add_device", "add_settings", "at_least_one",
    "flag_of", "free_folder", "natural", "new_folder", "newest_run", "not_negative", "positive_float",
    "positive_int", "print_or_give_up", "probability", "ratio", "read_config", "read_settings", "run",
    "save_settings", "setting", "signal_name", "use_device",
]
