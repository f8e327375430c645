"""docs/your-own-text.md: its commands print what stands below them."""
import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from common.text.tokenizers import TOKENIZERS, tokenize_chinese
from dataset.corpus import tokenizer_of

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "your-own-text.md").read_text(encoding="utf-8")
ANY = "..."  # any lines, or any folder


def steps():
    """Return what the page runs, in order: a command and the lines that follow until the next one."""
    found = []
    for line in re.findall(r"^(?:    |      )(\S.*)$", PAGE, re.MULTILINE):
        is_message = re.match(r"python -m \S+: ", line)
        if line.startswith(("python -m", "mv ", "iconv ")) and not is_message:
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return [(command, lines) for command, lines in found if "my.txt" not in command]


def run(command, capsys):
    """Run a command of the page in this folder, and return what it prints."""
    if not command.startswith("python -m ch_"):
        subprocess.run(command.replace("python", shlex.quote(sys.executable), 1) if command.startswith("python")
                       else command, shell=True, check=True)
        return ""
    _, _, module, *flags = shlex.split(command)
    importlib.import_module(module).main(flags)
    out, error = capsys.readouterr()
    return error + out


def without_digits(text):
    return re.sub(r"\d+\.\d+(?![%\d])|(?<=best of )\d+", "#", text)


def test_the_page_shows_what_its_commands_print(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = 0
    for command, lines in steps():
        printed = without_digits(run(command, capsys)).replace(str(tmp_path), ANY)
        if command.startswith("mv"):
            assert not pathlib.Path("zen.txt").exists()
        place = 0  # the lines stand in this order
        for line in lines:
            if line == ANY or line.startswith("sample: "):  # what trained weights draw is not the same everywhere
                continue
            place = printed.find(without_digits(line) + "\n", place)
            assert place >= 0, (command, line, printed)
            shown += 1
    assert shown >= 12 and len(steps()) >= 10


UNIT_ROWS = re.findall(r"^\| `--unit (\w+)( --keep-case)?`.*? \| (.+?) \| ", PAGE, re.MULTILINE)


@pytest.mark.parametrize("unit, keep_case, cell", UNIT_ROWS, ids=[f"{unit}{flag}" for unit, flag, _ in UNIT_ROWS])
def test_what_each_unit_does_to_a_line(unit, keep_case, cell):
    shown = re.findall(r"`([^`]+)`", cell)
    if unit == "chinese":
        pytest.importorskip("jieba", reason="needs jieba: pip install -e '.[chinese]'")
        text, *tokens = shown
        assert tokenize_chinese(text) == tokens
        return
    (line,) = re.findall(r"The line `(.+)` becomes", PAGE)
    tokens = TOKENIZERS[tokenizer_of("my.txt", unit, bool(keep_case))](line + "\n")
    assert tokens[:len(shown)] == shown if unit == "char" else tokens == shown


def test_every_unit_has_its_row():
    assert [unit for unit, _, _ in UNIT_ROWS] == ["word", "word", "tokens", "char", "chinese"]
