"""Write docs/promises.md from the results of the tests that hold a promise: `make promises`.

    python tests/promises/report.py RESULTS PAGE

RESULTS is what pytest wrote by --promises. The exit code is 0 only where every test passed.
"""
import json
import platform
import sys
from pathlib import Path

import blas

FAULTS = Path(__file__).with_name("faults.md")  # the end of the page, written by hand
HEAD = """# Promises

What this project promises, and how often it was tried. `make promises` runs these tests in their full form and writes
this page from their results; `make test-promises` runs some of the cases, which every change must pass.

Python {python}, {blas}.

| promise | how it is tested | cases | failures |
|---|---|---|---|
"""


def page(tests, versions):
    """Return the page, in Markdown.

    Parameters
    ----------
    tests : list of dict
        As `promised.Results` writes them.
    versions : dict
        Texts by the names python and blas.
    """
    promises = {}  # by their line: the results of their tests
    for test in sorted(tests, key=lambda test: not test["file"].startswith("tests/promises/")):
        promises.setdefault(test["promise"], []).append(test)
    rows = [_row(promise, results) for promise, results in promises.items()]
    return HEAD.format(**versions) + "".join(rows) + _note(tests) + FAULTS.read_text(encoding="utf-8")


def _row(promise, results):
    """Return the row of a promise."""
    how = dict.fromkeys(f"{test['how']} ([{Path(test['file']).stem}](../{test['file']}))" for test in results)
    cells = [promise, "<br>".join(how), f"{sum(test['cases'] for test in results):,}", _failures(results)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _failures(results):
    """Return in words how many tests of a promise failed, and how many could not be tried."""
    failed, skipped = (sum(test["outcome"] == outcome for test in results) for outcome in ("failed", "skipped"))
    words = [f"**{failed}**"] if failed else []
    words += [f"**{skipped} not tried**"] if skipped else []
    return ", ".join(words) or "none"


def _note(tests):
    """Return what stands below the table: nothing where all went well."""
    bad = [test for test in tests if test["outcome"] != "passed"]
    if not bad:
        return ""
    return ("\nNot every promise was kept or tried when this page was written. The failures are numbers of tests; "
            "of a test that failed, only the cases until then are counted:\n\n"
            + "".join(f"- `{test['file']}::{test['test']}` {test['outcome']}\n" for test in bad))


def main(argv=None):
    """Write the page; returns the exit code."""
    results, target = map(Path, sys.argv[1:] if argv is None else argv)
    tests = json.loads(results.read_text(encoding="utf-8"))
    if not tests:
        print("no test with a promise ran: the page stays as it is", file=sys.stderr)
        return 2
    versions = {"python": platform.python_version(), "blas": blas.in_words()}
    target.write_text(page(tests, versions), encoding="utf-8")
    bad = sum(test["outcome"] != "passed" for test in tests)
    print(f"{target}: {len({test['promise'] for test in tests})} promises, {sum(test['cases'] for test in tests):,} "
          f"cases; tests that failed or were skipped: {bad or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
