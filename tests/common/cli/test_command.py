import argparse
import configparser
import errno
import io
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import common
from common import cli
from common.cli.command import REQUIRED_PACKAGES
from common.errors import InputError

ROOT = pathlib.Path(__file__).parents[3]
SCRIPTS = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts)
                 for folder in ("ch_rnn", "ch_lstm", "common") for path in (ROOT / folder).rglob("*.py")
                 if "\ndef main(argv" in path.read_text(encoding="utf-8"))


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


# Ctrl-C while a script is being imported. A module of the test's own is found in the place of a package.

# In a child: Ctrl-C has its usual meaning, or is ignored, whatever it is for the tests themselves.
WITH_CTRL_C = ("import os, signal, sys; signal.signal(signal.SIGINT, getattr(signal, sys.argv[1])); "
               "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])")
PRESSED = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('nothing happened')\n"


def start(folder, *command, ctrl_c="SIG_DFL"):
    """Run Python from the project's folder, modules of another folder before installed ones."""
    return subprocess.run([sys.executable, "-c", WITH_CTRL_C, ctrl_c, *command], cwd=ROOT, capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(folder)}, timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_numpy_is_imported_is_one_line(script, tmp_path):
    (tmp_path / "numpy.py").write_text(PRESSED)
    for command in (["-m", script, "--help"], [f"-m{script}"]):
        ran = start(tmp_path, *command)
        assert (ran.returncode, ran.stderr) == (130, f"python -m {script}: stopped by Ctrl-C\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
def test_ctrl_c_late_in_the_imports_and_in_what_swallows_exceptions_is_one_line(tmp_path):
    (tmp_path / "regex.py").write_text(f"class Swallows:\n    def __del__(self):\n"
                                       f"        {PRESSED.replace(chr(10), chr(10) + 8 * ' ')}\nSwallows()\n")
    ran = start(tmp_path, "-m", "ch_lstm.train")
    assert (ran.returncode, ran.stderr) == (130, "python -m ch_lstm.train: stopped by Ctrl-C\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
def test_ctrl_c_in_a_script_that_has_begun_lets_it_clean_up(tmp_path):
    (tmp_path / "jieba.py").write_text(  # imported by the script at work
        f"try:\n    {PRESSED.replace(chr(10), chr(10) + 4 * ' ')}\nfinally:\n    print('cleaned up')\n")
    ran = start(tmp_path, "-m", "ch_rnn.shapes")
    assert (ran.returncode, ran.stdout) == (130, "cleaned up\n")
    assert ran.stderr == "python -m ch_rnn.shapes: stopped by Ctrl-C\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path):
    (tmp_path / "numpy.py").write_text(PRESSED)
    assert start(tmp_path, "-m", "ch_lstm.train", ctrl_c="SIG_IGN").stderr == "nothing happened\n"


def test_a_library_that_is_imported_leaves_ctrl_c_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import common.layers\n")
    (tmp_path / "mine" / "tool.py").write_text("import signal\nprint(signal.getsignal(signal.SIGINT).__name__)\n")
    asks = "import signal, common.layers, ch_lstm.train; print(signal.getsignal(signal.SIGINT).__name__)"
    for command in (["-m", "mine.tool"], ["-c", asks]):
        assert start(tmp_path, *command).stdout == "default_int_handler\n"


def test_a_script_takes_ctrl_c_over_and_gives_it_back(monkeypatch):
    before = signal.signal(signal.SIGINT, common.stop_at_once)
    try:
        during = []
        assert cli.run("prog", lambda argv: during.append(signal.getsignal(signal.SIGINT)), []) == 0
        assert during == [signal.default_int_handler] and signal.getsignal(signal.SIGINT) is common.stop_at_once
    finally:
        signal.signal(signal.SIGINT, before)


# Output that cannot be written


FULL = pathlib.Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
NO_SPACE = f"python -m common.gradient_check: cannot write: {os.strerror(errno.ENOSPC)}\n"


def through_shell(arguments, redirections, unbuffered):
    """Run `python -m common.gradient_check` with its output redirected by a shell."""
    command = f'"$0" -m common.gradient_check {arguments} {redirections}'
    return subprocess.run(["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env=os.environ | {"PYTHONUNBUFFERED": unbuffered})


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments, redirections, code, error", [
    ("MatMul", ">/dev/full", 2, NO_SPACE), ("--help", ">/dev/full", 2, NO_SPACE),
    ("MatMul", ">/dev/full 2>&1", 2, ""), ("MatMul", ">&-", 0, ""), ("--help", ">&-", 0, ""),
    ("MatMul", ">&- 2>&-", 0, ""), ("--seed=--", "2>/dev/full", 2, ""), ("--seed=--", ">&- 2>&-", 2, ""),
])
def test_output_that_is_full_or_closed(arguments, redirections, code, error, unbuffered):
    ran = through_shell(arguments, redirections, unbuffered)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", error)


@pytest.mark.parametrize("number, path, message", [
    ("ENOSPC", None, "cannot write: trouble"), ("EIO", "some/path", "cannot write: trouble"),
    ("EACCES", "some/path", "cannot use some/path: trouble"), ("ENAMETOOLONG", "long", "cannot use long: trouble"),
    ("EACCES", None, None), ("ENOENT", "some/path", None), ("ENOENT", None, None),
])
def test_a_full_disk_or_an_unusable_path_is_one_line_and_other_trouble_with_files_is_a_fault(
        number, path, message, capsys):
    def script(argv):
        raise OSError(getattr(errno, number), "trouble", path)

    if message is None:
        with pytest.raises(OSError, match="trouble"):
            cli.run("prog", script, [])
    else:
        assert cli.run("prog", script, []) == 2
        assert capsys.readouterr().err == f"prog: {message}\n"


def test_a_path_that_is_too_long_is_one_line(capsys):
    assert cli.run("prog", lambda argv: print(pathlib.Path(argv[0]).read_text()), [300 * "x"]) == 2
    assert capsys.readouterr().err.startswith("prog: cannot use xxx")


def test_a_message_is_one_line_without_control_characters_of_a_length_that_can_be_read(capsys):
    def script(argv):
        raise InputError("\x1b[2J\n\x00 \u202e \udc80 \u2028 \x85 " + 5000 * "long " + "end")

    assert cli.run("prog", script, []) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prog: \\x1b[2J \\x00 \\u202e \\udc80 long long") and line.endswith("long end")
    assert len(line) < 1000
