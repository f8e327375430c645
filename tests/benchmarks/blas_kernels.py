"""The tests under every kernel of OpenBLAS that this processor can run: `make test-kernels`.

Each kernel rounds in its own way, and so does a product on several threads; training makes other digits of it. So the
quick tests and the notebooks run with each kernel, on one thread and on two, and a table says what passed.
`make test-kernels FLAGS='--only training'` takes one kernel other than the default, on two threads, and of the quick
tests those of the marker `training`. Another processor takes other kernels: the table holds for this one.
"""
import argparse
import subprocess
import sys
from pathlib import Path

from blas import kernels, unsteered

from common.cli.tables import format_table

TESTS = Path(__file__).parents[1]
ALL_CORES = ["-n", "logical", "--maxprocesses", "8", "--dist", "worksteal"]  # as in make test
QUICK, NOTEBOOKS = [*ALL_CORES, TESTS], [TESTS / "notebooks"]
TRAINING = ["-m", "training", "--devices", "numpy", TESTS]  # the stand-in for CuPy rounds as NumPy does


def passes(arguments, coretype, threads):
    """Run pytest with a kernel; return whether all tests passed."""
    steering = {"OPENBLAS_NUM_THREADS": str(threads)} | ({} if coretype is None else {"OPENBLAS_CORETYPE": coretype})
    command = [sys.executable, "-m", "pytest", "-q", *map(str, arguments)]
    return subprocess.run(command, cwd=TESTS.parent, env=unsteered() | steering).returncode == 0


def plan(found, only_training):
    """Return what is to be run: (kernel in words, coretype, threads, arguments of pytest by name) each.

    Parameters
    ----------
    found : dict
        As `blas.kernels` returns it.
    only_training : bool
    """
    words = {kernel: f"{kernel} (default)" if None in coretypes else ", ".join(dict.fromkeys([kernel, *coretypes]))
             for kernel, coretypes in found.items()}
    if only_training:
        return [(words[kernel], coretypes[0], 2, {"training": TRAINING, "notebooks": NOTEBOOKS})
                for kernel, coretypes in list(found.items())[1:2]]
    return [(words[kernel], coretypes[0], threads, {"quick tests": QUICK, "notebooks": NOTEBOOKS})
            for kernel, coretypes in found.items() for threads in (1, 2)]


def main(argv=None):
    """Run the tests, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["training"], help="one other kernel, and what depends on training")
    args = parser.parse_args(argv)
    found = kernels()
    runs = plan(found, args.only == "training")
    if not runs:
        print(f"this processor runs no kernel of NumPy's BLAS but {next(iter(found)) or 'its own'}")
        return 0
    rows = [("kernel", "threads", *runs[0][-1])]
    for words, coretype, threads, suites in runs:
        passed = [passes(arguments, coretype, threads) for arguments in suites.values()]
        rows.append((words, str(threads), *("passed" if good else "FAILED" for good in passed)))
        print(format_table(rows), flush=True)
    return int(any("FAILED" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
