"""The command `python -m common.gradient_check`, and the names of `common.gradients.checker`, with `check_model`."""
import dataclasses
import sys

from common import cli
from common.cli import setting
from common.errors import InputError
from common.gradients import cases
from common.gradients.adapters import check_model
from common.gradients.checker import (
    TOLERANCE,
    Case,
    Result,
    Row,
    assert_gradients,
    check,
    first_order_change,
    numerical_gradient,
    relative_error,
    table,
)

__all__ = [
    "TOLERANCE", "Case", "Result", "Row", "assert_gradients", "check", "check_model", "first_order_change",
    "numerical_gradient", "relative_error", "table", "main",
]


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the command."""

    layers: tuple = setting((), "class to check, as TimeLSTM (default: every one)", many=True, positional=True,
                            metavar="LAYER")
    seed: int = setting(0, "of all arrays", cli.natural)
    tolerance: float = setting(TOLERANCE, "largest relative error allowed", cli.positive_float)


def main(argv: list[str] | None = None) -> int:
    """Check every layer of `common` and print a table.

    Parameters
    ----------
    argv : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0 when all pass, 1 when one fails, 2 for wrong use.
    """
    return cli.run("python -m common.gradient_check", _check_all_layers, argv)


def _check_all_layers(argv):
    settings = cli.SettingsParser(
        "python -m common.gradient_check", "Check the gradients of every layer.", Settings).settings(argv)
    all_cases = cases.layer_cases(settings.seed)
    known = list(dict.fromkeys(case.layer for case in all_cases))
    for name in settings.layers:
        if name not in known:
            raise InputError(f"there is no layer {name}, but {', '.join(known)}")
    results = [check(case, settings.seed) for case in all_cases if case.layer in (settings.layers or known)]
    print(table(results, settings.tolerance))
    failed = [result for result in results if not result.passed(settings.tolerance)]
    for result in failed:
        print(f"\n{result.report(settings.tolerance)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
