import argparse
import configparser
import io
import os
import pathlib
import subprocess
import sys

import pytest

from common import cli
from common.cli.command import REQUIRED_PACKAGES
from common.errors import InputError

ROOT = pathlib.Path(__file__).parents[3]


def test_a_new_folder_is_made_with_those_above_it(tmp_path):
    cli.new_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="choose a new one for --out"):
            cli.new_folder(path)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("parse, taken, refused", [
    (cli.positive_int, ["1", "1000000000"], ["0", "1000000001", "1.0", "one"]),
    (cli.natural, ["0", "7"], ["-1", "0.5"]),
    (cli.positive_float, ["1e-9", "1e300"], ["0", "inf", "nan"]),
    (cli.ratio, ["0", "0.999"], ["-0.1", "1", "nan"]),
    (cli.probability, ["1e-9", "1"], ["0", "1.001", "nan"]),
    (cli.at_least_one, ["1", "1.5", "1e300"], ["0.999", "inf", "nan"]),
])
def test_a_number_is_taken_up_to_the_ends_of_its_range_and_not_beyond(parse, taken, refused):
    assert [parse(text) for text in taken] == list(map(float, taken))
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a "):
            parse(text)


def test_characters_that_a_terminal_lacks_are_replaced(monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="ascii", write_through=True))
    assert cli.run("prog", lambda argv: print("caf\xe9"), []) == 0
    assert output.getvalue() == b"caf?\n"


def test_output_that_cannot_be_set_up_is_written_to_as_it_is(monkeypatch):
    output = io.StringIO()  # as of a notebook: without reconfigure
    monkeypatch.setattr("sys.stdout", output)
    assert cli.run("prog", lambda argv: print("caf\xe9"), []) == 0
    assert output.getvalue() == "caf\xe9\n"


def test_a_script_gets_the_arguments_of_the_process_unless_it_is_given_others(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog", "--of", "process"])
    got = []
    for argv in (None, ["--given"], []):
        assert cli.run("prog", got.append, argv) == 0
    assert got == [["--of", "process"], ["--given"], []]


def test_too_little_memory_is_one_line(capsys):
    def script(argv):
        raise MemoryError("8 GiB")

    assert cli.run("prog", script, []) == 2
    assert capsys.readouterr().err == "prog: not enough memory (8 GiB): choose smaller sizes\n"


def test_when_the_reader_of_the_output_is_gone_the_script_ends_without_a_word(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:  # closing it writes what is left, as the end of the process does
        monkeypatch.setattr("sys.stdout", output)
        assert cli.run("prog", lambda argv: print("words", flush=True), []) == 141


def test_a_missing_package_is_one_line_that_says_how_to_install_it(capsys):
    def script(argv):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    assert cli.run("prog", script, []) == 2
    assert capsys.readouterr().err == "prog: matplotlib is missing: in the project's folder, pip install -e .\n"


def test_a_missing_module_of_our_own_is_a_fault_and_stays_one():
    def script(argv):
        raise ModuleNotFoundError("No module named 'common.cache'", name="common.cache")

    with pytest.raises(ModuleNotFoundError, match="cache"):
        cli.run("prog", script, [])


@pytest.mark.parametrize("command", [["-m", "ch_rnn.weather"], ["-m", "ch_lstm.train"], ["-m", "common.gradient_check"],
                                     ["-c", "import common.layers"], ["-c", "import dataset.ptb"]], ids=" ".join)
def test_without_numpy_the_hint_says_what_to_install(command):
    ran = subprocess.run([sys.executable, "-S", *command], cwd=ROOT, capture_output=True, text=True)  # no site-packages
    *traceback, hint = ran.stderr.splitlines()
    assert hint.endswith("NumPy is missing: in the project's folder, pip install -e .")
    assert ran.returncode == 1 and ("-m" in command) == (traceback == [])


def test_the_packages_with_a_hint_are_those_that_the_project_requires():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    required = {line.split()[0] for line in config["options"]["install_requires"].split("\n") if line}
    assert REQUIRED_PACKAGES == {"PIL" if name == "pillow" else name for name in required - {"numpy"}}
