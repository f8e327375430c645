"""The page of promises and the plugin that gathers them: what is counted, what is shown, what is never left out."""
import ast
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import report

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"
VERSIONS = {"python": "3.x", "blas": "NumPy 2.x"}
ROW = re.compile(r"^\| (?P<promise>(?:\\\||[^|])+?) \| (?P<how>.+) \| (?P<cases>[\d,]+) \| (?P<failures>[^|]+) \|$",
                 re.MULTILINE)
TESTS = '''
import pytest

@pytest.mark.promise("Two and two are four")
def test_sum(count_cases):
    """Sums are compared with
    counting.

    More is not shown."""
    count_cases(3)
    assert 2 + 2 == 4
    count_cases(4)

@pytest.mark.promise("Two and two are four")
@pytest.mark.parametrize("x", [1, 2, 3])
def test_one_case_each(x):
    """Numbers equal themselves."""
    assert x == x

@pytest.fixture
def broken():
    yield
    raise OSError

@pytest.mark.promise("Nothing fails")
def test_fails(count_cases, full):
    """It fails."""
    count_cases(5)
    assert full

@pytest.mark.promise("Nothing fails")
def test_fails_at_its_end(broken):
    """It fails at its end."""

@pytest.mark.promise("All is tried")
def test_skipped():
    """It is skipped."""
    pytest.skip("not here")

def test_without_a_promise():
    pass
'''


def promised():
    """Return the lines of all promises by what makes them in the source: tests, or files that mark all of theirs."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
        marks = [(named["pytestmark"], tree)] if "pytestmark" in named else []
        marks += [(mark, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                  for mark in node.decorator_list]
        for mark, owner in marks:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                line = named.get(ast.unparse(mark.args[0]), mark.args[0])
                found.setdefault(ast.literal_eval(line), []).append(owner)
    return found


@pytest.fixture(scope="module", params=[[], ["-n", "2"]], ids=["one-process", "two-processes"])
def results(request, tmp_path_factory):
    """The results of TESTS, as the plugin writes them."""
    folder = tmp_path_factory.mktemp("tests")
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "promised", "--promises", "out.json", *request.param],
                   cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / "promises")}, capture_output=True)
    return json.loads((folder / "out.json").read_text())


def test_the_plugin_notes_promise_way_cases_and_outcome(results):
    assert [(each["promise"], each["test"], each["cases"], each["outcome"]) for each in results] == [
        ("Two and two are four", "test_sum", 7, "passed"),
        *[("Two and two are four", "test_one_case_each", 1, "passed")] * 3,
        ("Nothing fails", "test_fails", 5, "failed"),
        ("Nothing fails", "test_fails_at_its_end", 1, "failed"),
        ("All is tried", "test_skipped", 0, "skipped")]
    assert results[0]["how"] == "Sums are compared with counting."
    assert {each["file"] for each in results} == {"test_some.py"}


def test_the_page_has_a_row_for_each_promise_and_hides_no_failure(results):
    rows = [match.groupdict() for match in ROW.finditer(report.page(results, VERSIONS))]
    assert [(row["promise"], row["cases"], row["failures"]) for row in rows] == [
        ("Two and two are four", "10", "none"), ("Nothing fails", "6", "**2**"),
        ("All is tried", "0", "**1 not tried**")]
    assert rows[0]["how"] == ("Sums are compared with counting. ([test_some](../test_some.py))<br>"
                              "Numbers equal themselves. ([test_some](../test_some.py))")


def test_the_exit_code_tells_whether_all_went_well(results, tmp_path):
    def written(some):
        (tmp_path / "in.json").write_text(json.dumps(some))
        code = report.main([str(tmp_path / "in.json"), str(tmp_path / "out.md")])
        return code, (tmp_path / "out.md").read_text() if code != 2 else None

    good, again = written(results[:4]), written(results[:4])
    assert good == again and good[0] == 0 and "Not every promise" not in good[1]
    for bad in (results[4], results[-1]):
        code, page = written([results[0], bad])
        assert code == 1 and f"- `test_some.py::{bad['test']}` {bad['outcome']}" in page
    assert written([])[0] == 2


def test_every_promise_is_one_line_of_plain_text_and_its_tests_say_how():
    for line, tests in promised().items():
        assert re.fullmatch(r"[A-Z][^\n]*[^.\n]", line)
        assert [ast.dump(owner)[:80] for owner in tests if not ast.get_docstring(owner)] == []


def test_the_page_names_every_promise_and_no_other():
    if not PAGE.exists():
        pytest.skip("there is no docs/promises.md yet: make promises writes it")
    rows = [match["promise"].replace("\\|", "|") for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert sorted(rows) == sorted(promised())


def test_each_fault_on_the_page_is_held_by_a_test_that_exists():
    named = re.findall(r"`(tests/[a-z_0-9/]+\.py)::(test_\w+)`", report.FAULTS.read_text(encoding="utf-8"))
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), (file, test)
