"""Tests with drawn cases: how many, the same ones each time or new ones, and a count of those that ran."""
import pathlib

import hypothesis
import pytest
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = pathlib.Path(__file__).parents[2]


def pytest_addoption(parser):
    parser.addoption("--cases", type=int, default=400, help="cases of each test in tests/fuzz (default: 400)")
    parser.addoption("--repeatable", action="store_true", help="draw the same cases each time")


def pytest_configure(config):
    repeatable = config.getoption("repeatable")
    hypothesis.settings.register_profile(
        "fuzz", max_examples=config.getoption("cases"), deadline=None, print_blob=True, derandomize=repeatable,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None if repeatable else DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"))
    hypothesis.settings.load_profile("fuzz")


@pytest.fixture
def count_cases(record_property):
    """Counts cases: `count_cases(n)` adds n. The report of the test has the sum as the property "cases"."""
    total = 0

    def add(cases=1):
        nonlocal total
        total += cases

    yield add
    record_property("cases", total)


def pytest_terminal_summary(terminalreporter):
    counts = [int(value) for reports in terminalreporter.stats.values() for report in reports
              if getattr(report, "when", None) == "teardown" for name, value in report.user_properties
              if name == "cases"]
    terminalreporter.write_line(f"{sum(counts):,} cases in {len(counts)} tests")
