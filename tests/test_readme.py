"""What the README and the pages in docs/ say of the project is so: files, lines, commands, flags, targets."""
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
README = PAGES["README.md"]
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
        if row["link"] != f"{row['file']}#L{row['line']}":
            wrong.append(f"{row['formula']}: the link goes to {row['link']}")
    return wrong


def test_every_formula_stands_in_its_line():
    table = README.partition("## From formula to line")[2].partition("## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 20
    assert [row for row in rows if not ROW.fullmatch(row)] == []
    assert wrong_rows(README) == []


def test_a_line_that_moved_is_noticed():
    row = next(ROW.finditer(README))
    moved = row[0].replace(f":{row['line']}]", f":{int(row['line']) + 1}]")
    (shown, link) = wrong_rows(moved)
    assert row["code"] in shown and "the link goes to" in link


@every_page
def test_links_lead_to_files(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
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
