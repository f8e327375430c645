"""Which tests execute which lines of the project, found in one run of the tests under coverage."""
import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import coverage
import pytest

PACKAGES = ("common", "ch_rnn", "ch_lstm", "dataset")


@functools.cache
def digest(file):
    """Return a digest of a file's content, "" where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


class Lines:
    """The lines that each of some tests executes.

    Parameters
    ----------
    file : Path
        What a `Recorder` wrote.

    Attributes
    ----------
    seconds : dict of str to float
        By the name of a test, the CPU time that it took.
    """

    def __init__(self, file):
        found = json.loads(file.read_text(encoding="utf-8"))
        self.seconds, self.lines, self.digests = found["seconds"], found["lines"], found["digests"]

    def fit(self, project):
        """Whether the files that took part are the same in a project."""
        return all(digest(project / path) == old for path, old in self.digests.items())

    def tests_of(self, path, lines):
        """Return the names of the tests that execute one of these lines of a file.

        What runs on import, or for more than one test, counts for all of them.
        """
        found = {test for test, files in self.lines.items() if not lines.isdisjoint(files.get(path, ()))}
        return set(self.seconds) if "" in found else found


class Recorder:
    """A plugin of pytest that notes the lines and the seconds of each test.

    Parameters
    ----------
    project : Path
    """

    def __init__(self, project):
        self.project = project
        self.seconds = {}
        self.test = ""  # the one that runs
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{project / package}/*" for package in PACKAGES])
        self.coverage.set_option("run:core", "ctrace")  # the one that tells contexts apart on every version of Python

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self):
        self.coverage.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self._forget_cached_results()
        before = sum(os.times()[:4])
        self._switch_to(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch_to("")
            self.seconds[item.nodeid] = round(sum(os.times()[:4]) - before, 3)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        test = self.test
        if fixturedef.scope != "function":
            self._switch_to("")  # other tests will use it too
        try:
            return (yield)
        finally:
            self._switch_to(test)

    def _switch_to(self, test):
        self.test = test
        self.coverage.switch_context(test)

    def _forget_cached_results(self):
        """Let every test execute what it needs, also where one before it left a result."""
        for module in list(sys.modules.values()):
            if str(getattr(module, "__file__", None)).startswith(str(self.project)):
                for value in list(vars(module).values()):
                    if hasattr(value, "cache_clear"):
                        value.cache_clear()

    def save(self, file, test_file):
        """Write what was noted, with a digest of each file that took part."""
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {}
        for measured in data.measured_files():
            path = str(Path(measured).relative_to(self.project))
            for line, tests in data.contexts_by_lineno(measured).items():
                for test in tests:
                    lines.setdefault(test, {}).setdefault(path, []).append(line)
        paths = {test_file, "tests/conftest.py", *(path for files in lines.values() for path in files)}
        digests = {path: digest(self.project / path) for path in sorted(paths)}
        file.write_text(json.dumps({"digests": digests, "seconds": self.seconds, "lines": lines}), encoding="utf-8")
