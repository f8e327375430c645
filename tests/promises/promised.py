"""A plugin of pytest: tests that hold a promise, their cases, and a file of their results.

A promise is one plain line. A test says which one it holds by a marker, how in its docstring or in that of its file,
and in how many cases by a fixture; tests with the same line are one promise::

    @pytest.mark.promise("A run that is killed at any moment goes on to the same bits")
    def test_kills(count_cases, full):
        \"""Training is killed at random moments and resumed.\"""
        for moment in moments(150 if full else 12):
            ...
            count_cases(1)

`--promises FILE` writes what came out as JSON, for report.py.
"""
import inspect
import json
from pathlib import Path

import pytest

MARKER = "promise(line): what the test promises, in one plain line"


def pytest_addoption(parser):
    parser.addoption("--cases", choices=("short", "full"), default="short", help=(
        "how many cases the tests with a promise try: short, some seconds a test, or full, as for docs/promises.md"))
    parser.addoption("--promises", type=Path, metavar="FILE", help=(
        "write the results of the tests with a promise to this file"))


def pytest_configure(config):
    config.addinivalue_line("markers", MARKER)
    if config.getoption("promises") and not hasattr(config, "workerinput"):  # of several processes only the first
        config.pluginmanager.register(Results(config.getoption("promises")))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Note what a test promises where its report takes it along, from another process too."""
    marker = item.get_closest_marker("promise")
    if marker is not None:
        (line,) = marker.args
        how, _, _ = (inspect.getdoc(item.function) or inspect.getdoc(item.module)).partition("\n\n")
        item.user_properties += [("promise", line), ("how", " ".join(how.split()))]


@pytest.fixture
def full(request):
    """Whether as many cases are wanted as for docs/promises.md."""
    return request.config.getoption("cases") == "full"


@pytest.fixture
def count_cases(record_property):
    """A function that adds a number, by default 1, to the cases of this test; a test without a call is one case."""
    return lambda number=1: record_property("cases", number)


def pytest_terminal_summary(terminalreporter):
    """Say how many cases ran, where tests counted them."""
    counts = [number for reports in terminalreporter.stats.values() for report in reports
              if getattr(report, "when", None) == "call" for name, number in report.user_properties if name == "cases"]
    if counts:
        terminalreporter.write_line(f"{sum(counts):,} cases counted")


class Results:
    """Gathers the results of the tests with a promise, and writes them to a file.

    The file holds a list of dicts: promise, how, file, line, test, cases, outcome ("passed", "failed" or "skipped").

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        self.path, self.tests = path, {}  # by the test's id

    def pytest_runtest_logreport(self, report):
        """Take the report of one of a test's three phases: a test has passed where all have."""
        properties = dict(report.user_properties)
        if "promise" not in properties:
            return
        cases = [number for name, number in report.user_properties if name == "cases"]
        file, line, _ = report.location
        outcome = report.outcome
        if outcome == "passed":
            outcome = self.tests.get(report.nodeid, {"outcome": "passed"})["outcome"]
        self.tests[report.nodeid] = {
            "promise": properties["promise"], "how": properties["how"],
            "file": Path(file).as_posix(), "line": line, "test": report.nodeid.partition("::")[2].partition("[")[0],
            "cases": sum(cases) if cases else int(outcome != "skipped"), "outcome": outcome}

    def pytest_sessionfinish(self):
        """Write the file."""
        in_order = sorted(self.tests.items(), key=lambda test: (test[1]["file"], test[1]["line"], test[0]))
        self.path.write_text(json.dumps([test for _, test in in_order], indent=1) + "\n", encoding="utf-8")
