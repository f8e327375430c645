"""The command `python -m common.gradient_check`, and the names of `common.gradients.checker`."""
import sys

from common import cli
from common.errors import InputError
from common.gradients import cases
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
    "TOLERANCE", "Case", "Result", "Row", "assert_gradients", "check", "first_order_change", "numerical_gradient",
    "relative_error", "table", "main",
]


def main(argv=None):
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
    parser = cli.Parser(prog="python -m common.gradient_check", description="Check the gradients of every layer.")
    parser.add_argument("layers", metavar="LAYER", nargs="*", help="class to check, as TimeLSTM (default: every one)")
    parser.add_argument("--seed", type=cli.natural, default=0, help="of all arrays (default: %(default)s)")
    parser.add_argument("--tolerance", type=cli.positive_float, default=TOLERANCE,
                        help="largest relative error allowed (default: %(default)s)")
    cli.add_device(parser)
    args = parser.parse_args(argv)
    cli.use_device(args.device)
    all_cases = cases.layer_cases(args.seed)
    known = list(dict.fromkeys(case.layer for case in all_cases))
    for name in args.layers:
        if name not in known:
            raise InputError(f"there is no layer {name}, but {', '.join(known)}")
    results = [check(case, args.seed) for case in all_cases if case.layer in (args.layers or known)]
    print(table(results, args.tolerance))
    failed = [result for result in results if not result.passed(args.tolerance)]
    for result in failed:
        print(f"\n{result.report(args.tolerance)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
