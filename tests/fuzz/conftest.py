"""Tests with drawn cases: a few that stay the same, or with --cases full many new ones."""
import pathlib

import hypothesis
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = pathlib.Path(__file__).parents[2]
CASES = {"short": 12, "full": 200}  # of each test


def pytest_configure(config):
    cases = config.getoption("cases")
    hypothesis.settings.register_profile(
        "fuzz", max_examples=CASES[cases], deadline=None, print_blob=True, derandomize=cases == "short",
        suppress_health_check=list(hypothesis.HealthCheck),
        database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples") if cases == "full" else None)
    hypothesis.settings.load_profile("fuzz")
