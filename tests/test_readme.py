"""What the README and the pages in docs/ say of the project is so: files, lines, commands, flags, targets."""
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from common.layers.lstm import TimeLSTM

ROOT = pathlib.Path(__file__).parents[1]
FILES = {path.name: path for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))}
PAGES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
README = PAGES["README.md"]
READING = PAGES["reading.md"]
MOST_WORDS = 1300  # of the README, with code and tables
ROW = re.compile(r"^\| (?P<formula>.+) \| \[(?P<file>\S+):(?P<line>\d+)\]\((?P<link>\S+)\) \| `(?P<code>.+)` \|$",
                 re.MULTILINE)
every_page = pytest.mark.parametrize("page", PAGES)


def wrong_rows(text):
    """Return what is wrong with the table from formula to line, row by row."""
    wrong = []
    for row in ROW.finditer(text):
        lines = (ROOT / row["file"]).read_text(encoding="utf-8").splitlines()
        at = [number for number, line in enumerate(lines, start=1) if row["code"] in line]
        if int(row["line"]) not in at:
            wrong.append(f"{row['formula']}: {row['file']}:{row['line']} has no {row['code']!r}; it is in {at}")
        if row["link"] != f"../{row['file']}#L{row['line']}":
            wrong.append(f"{row['formula']}: the link goes to {row['link']}")
    return wrong


def test_every_formula_stands_in_its_line():
    table = READING.partition("## From formula to line")[2].partition("## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 20
    assert [row for row in rows if not ROW.fullmatch(row)] == []
    assert wrong_rows(READING) == []


def test_a_line_that_moved_is_noticed():
    row = next(ROW.finditer(READING))
    moved = row[0].replace(f":{row['line']}]", f":{int(row['line']) + 1}]")
    (shown, link) = wrong_rows(moved)
    assert row["code"] in shown and "the link goes to" in link


def test_the_readme_is_short():
    assert len(README.split()) <= MOST_WORDS


def blocks(kind):
    """Return the blocks of code of a kind that the README has."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_loops_of_the_lstm_are_quoted_as_they_stand():
    source = inspect.getsource(TimeLSTM)
    forward, backward, _ = blocks("python")
    assert textwrap.indent(forward, 8 * " ") in source
    assert textwrap.indent(backward, 8 * " ") in source
    assert forward.startswith("for t, prev, now in packing.steps") and backward.startswith("for t, prev, now in rev")


def test_the_example_is_short_and_prints_what_stands_below_it():
    *_, example = blocks("python")
    (shown,) = blocks("text")
    assert len(example.splitlines()) <= 20
    ran = subprocess.run([sys.executable, "-c", example], cwd=ROOT, check=True, capture_output=True, text=True)

    def without_error(text):  # central differences round differently on each machine
        return re.sub(r"error \d\.\de-\d\d", "error", text)

    assert without_error(ran.stdout) == without_error(shown)


def test_the_newest_release_notes_are_of_this_version():
    (version,) = re.findall(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^## (\S+)$", PAGES["release-notes.md"], re.MULTILINE)[1] == version


def test_contributing_is_short():
    assert len(PAGES["CONTRIBUTING.md"].split()) <= 250


@every_page
def test_python_is_that_of_the_environment_that_is_entered_once(page):
    assert ".venv/bin/" not in PAGES[page].replace("source .venv/bin/activate", "")


@every_page
def test_links_lead_to_files(page):
    folder = FILES[page].parent
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", PAGES[page])
    assert [target for target in targets if not (folder / target).exists()] == []


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    |^\| `)make ([a-z-]+)", PAGES[page], re.MULTILINE))
    assert named <= targets


def commands(text):
    """Return the scripts that a page starts: (module, flags)."""
    found = re.findall(r"python -m ((?:ch_rnn|ch_lstm|common)\.\w+)((?: [^`#\n]*)?)", text)
    return sorted({(module, *re.findall(r"(?<= )--[a-z-]+", words)) for module, words in found})


@pytest.mark.parametrize("command", sorted({each for text in PAGES.values() for each in commands(text)}), ids=" ".join)
def test_scripts_know_their_flags(command, capsys):
    module, *flags = command
    with pytest.raises(SystemExit) as end:
        importlib.import_module(module).main(["--help"])
    usage = capsys.readouterr().out
    assert end.value.code == 0
    assert [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", usage)] == []
