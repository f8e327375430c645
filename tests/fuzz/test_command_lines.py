"""No command line breaks a script: it works, or one line says what is wrong and the exit code is 2.

Flags and values are drawn from each script's own parser. The scripts run in this process, in a folder of their own with
a few texts and trained runs. They read and check all that they are given, and stop where the long work begins: where a
model is trained, or a picture is drawn.
"""
import argparse
import contextlib
import functools
import importlib
import io
import os
import pathlib
import shutil
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import cli
from common.np import np

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = "ch_rnn", "ch_lstm", "common", "dataset"
SCRIPTS = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts)
                 for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
                 if "\ndef main(argv" in path.read_text(encoding="utf-8"))
NOTEBOOKS = "execute"  # notebooks/execute.py
COMMANDS = [*SCRIPTS, NOTEBOOKS]

LARGEST_MODEL = 100_000  # weights of a layer that is made
TEXT = "the cat sat on the mat .\nthe dog sat on the cat .\n" * 8


class AtWork(BaseException):
    """Raised where the long work begins."""


def begin(*args, **kwargs):
    raise AtWork


# What is replaced by `begin`: the first thing of a script's work that takes long or much memory.
WORK = [
    "common.language_model.run.training_step", "common.training.epochs.training_step", "ch_rnn.hello.train",
    "ch_rnn.char_rnnlm.MikolovRnnlm", "dataset.weather.generate", "ch_lstm.grammar.Grammar", "ch_lstm.seq2seq._load",
    "ch_lstm.memory.build", "ch_lstm.microscope._train", "ch_lstm.small_model._train",
    "ch_lstm.classify._train_and_save", "ch_lstm.classify._expect_scikit_learn", "common.gradient_check.check",
    "common.watch.step.UnrolledNetwork.forward",
    *(f"common.plots.{name}" for name in ("curves_figure", "panels_figure", "singular_values_figure", "matrix_figure",
                                          "gates_figure", "coloured_text_figure", "states_figure",
                                          "neighbours_figure", "confusion_figure", "save")),
    "common.watch.drawings.lstm_cell_figure", "common.watch.drawings.unrolled_figure",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with texts and trained runs."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "text.txt").write_text(TEXT)
    (folder / "long.txt").write_text(20 * TEXT)
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text(" \n" * 40)
    (folder / "short.txt").write_text("a b")
    (folder / "latin.txt").write_bytes("caf\xe9 ".encode("latin-1") * 40)
    (folder / "utf16.txt").write_text(TEXT, encoding="utf-16")
    (folder / "zeros.txt").write_bytes(bytes(100))
    (folder / "folder").mkdir()
    small = ["--smoke", "--wordvec-size", "4", "--hidden-size", "4"]
    with in_folder(folder):
        for argv in (["ch_lstm.train", "--out", "runs/words"], ["ch_rnn.train", "--out", "runs/simple"],
                     ["ch_lstm.train", "--out", "runs/characters", "--unit", "char"]):
            run_really(*argv, "--corpus", "long.txt", *small)
        run_really("ch_lstm.classify", "--task", "reviews", "--epochs", "1", "--out", "runs/reviews", *small)
    (folder / "runs" / "broken").mkdir()
    (folder / "runs" / "broken" / "config.json").write_text("{")
    return folder


def run_really(script, *argv):
    with contextlib.redirect_stdout(io.StringIO()):
        assert importlib.import_module(script).main(argv) == 0


@contextlib.contextmanager
def in_folder(folder):
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture
def seams(monkeypatch):
    """Stop scripts where the long work begins, and give them small corpora."""
    for place in WORK:
        monkeypatch.setattr(place, begin)
    monkeypatch.setattr("nbclient.NotebookClient.execute", begin)
    for place in "dataset.pydoc_topics.load_text", "dataset.ptb.read_text":
        monkeypatch.setattr(place, lambda part: TEXT)
    tiny = [[("one", "English"), ("uno", "Spanish")] * 4] * 3
    monkeypatch.setattr("dataset.names.load_data", lambda seed=0: tiny)
    commands = importlib.import_module("common.language_model.commands")
    build, draw = commands.build_model, commands.generate_tokens

    def build_small(models, settings, vocab_size, seed=None):
        D, H = settings.wordvec_size, settings.hidden_size
        if (D + H) * max(H, vocab_size) * settings.layers > LARGEST_MODEL:
            raise AtWork
        return build(models, settings, vocab_size, seed)

    def draw_few(*args, **kwargs):
        for i, chosen in enumerate(draw(*args, **kwargs)):
            if i == 20:
                raise AtWork
            yield chosen

    search = commands.beam_search

    def search_short(model, prompt, length, beam, *args):
        if length * beam > 1000:
            raise AtWork
        return search(model, prompt, length, beam, *args)

    monkeypatch.setattr(commands, "beam_search", search_short)
    monkeypatch.setattr(commands, "build_model", build_small)
    monkeypatch.setattr(commands, "generate_tokens", draw_few)
    monkeypatch.setattr("common.language_model.generate.generate_tokens", draw_few)
    yield
    np.use("numpy")


@functools.cache
def parser_of(script):
    """Return the parser of a script, as it stands when it reads its command line."""
    found = []

    def catch(parser, args=None, namespace=None):
        found.append(parser)
        raise AtWork

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.Parser, "parse_args", catch)
        with pytest.raises(AtWork):
            importlib.import_module(script).main([])
    return found[0]


# Texts of a command line

TAKEN = ["1", "2", "3", "4", "8", "0.5", "0", "1.5", "20"]
NUMBERS = [*TAKEN, "-1", "-0", "0.0", "1.0", "+1", "1_0", " 1 ", "0x10", "1e-320", "1e999", "-1e999", "1e300", "1e9",
           "nan", "inf", "-inf", "9" * 12, "9" * 20, "9" * 400, "9" * 5000, "1000000000", "1000000001", "0.999999",
           "0.6667", "\u0663", "\xbd", "1,5", "True", "None", "1j", "--", "-", "", "\0", "\ud800", "one"]
NAMES = ["text.txt", "long.txt", "empty.txt", "blank.txt", "short.txt", "latin.txt", "utf16.txt", "zeros.txt", "folder",
         "runs", "runs/words", "runs/simple", "runs/characters", "runs/reviews", "runs/broken", "runs/words/",
         "missing", "missing/deeper", "text.txt/below", "new", "new.png", "new.SVG", ".png", ".", "pydoc", "ptb",
         "a\0b", "\ud800", "x" * 300, "x/" * 60 + "x", "\xe9", "\U0001f389", " ", "", "-", "--", "new\nline", "\x1b[2J"]
WORDS = ["the", "cat", "the cat sat", "the film was good , not bad", "dog the", "t", "hello", "a", "utf-8", "utf-16",
         "cp1252", "hex", "80/10/10", "1/1/1", "0/1/1", "nan/1/1", "1e999/1/1", "MatMul", "TimeLSTM", "01", "08"]
NO_PATHS = st.characters(exclude_characters="/\\.~")  # scripts may run as root: no text leads out of the folder
TEXTS = st.one_of(st.sampled_from(WORDS), st.sampled_from(NAMES), st.text(NO_PATHS, max_size=20),
                  st.sampled_from(["the " * 60, "x" * 5000, "\n", "\u2028", "\u202e", "%s %d", "{}", "'\""]))


def values_of(action):
    if action.choices is not None and not isinstance(action, argparse._SubParsersAction):
        return st.one_of(st.sampled_from(list(action.choices)), st.sampled_from(list(action.choices)), TEXTS)
    if isinstance(action.type, cli.Number):
        return st.one_of(st.sampled_from(TAKEN), st.sampled_from(NUMBERS), TEXTS)
    if action.type is pathlib.Path:
        return st.one_of(st.sampled_from(NAMES), TEXTS)
    return TEXTS


@st.composite
def flags(draw, action):
    """Draw one flag with its value, or without one where it should have one."""
    flag = draw(st.sampled_from(action.option_strings))
    if flag.startswith("--") and draw(st.integers(0, 9)) == 0:
        flag = flag[:draw(st.integers(3, len(flag)))]  # an abbreviation, which may be ambiguous
    if action.nargs == 0:
        return [flag] if draw(st.integers(0, 19)) else [f"{flag}={draw(TEXTS)}"]
    if draw(st.integers(0, 19)) == 0:
        return [flag]
    if action.nargs == "+":
        return [flag, *draw(st.lists(values_of(action), max_size=3))]
    value = draw(values_of(action))
    return draw(st.sampled_from([[flag, value], [f"{flag}={value}"]]))


@st.composite
def command_lines(draw, parser):
    """Draw the arguments of a parser; of one with commands, the name of one first."""
    argv = []
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            name = draw(st.sampled_from([*action.choices, *action.choices, "", "--", "none"]))
            inner = draw(command_lines(action.choices.get(name, parser))) if name in action.choices else []
            return [*argv, name, *inner]
    for action in draw(st.lists(st.sampled_from(actions), max_size=6)):
        if action.option_strings:
            argv += draw(flags(action))
        else:
            argv += draw(st.lists(values_of(action), max_size=2))
    for action in actions:  # what must be given is, most of the time
        if action.required and draw(st.integers(0, 9)):
            argv += draw(flags(action)) if action.option_strings else [draw(values_of(action))]
    extra = draw(st.integers(0, 29))
    if extra == 0:
        unknown = draw(st.sampled_from(["--help", "-h", "--unknown", "-x", "--", "-"]))
        argv.insert(draw(st.integers(0, len(argv))), unknown)
    elif extra == 1:
        argv.insert(draw(st.integers(0, len(argv))), draw(TEXTS))
    return argv


def outcome(script, argv):
    """Run a script as a process would, and return its exit code and what it wrote on stderr."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                code = importlib.import_module(script).main(argv)
            except AtWork:
                code = "at work"
            except SystemExit as end:
                code = "help" if end.code == 0 else end.code
    stderr.flush()
    return code, stderr.buffer.getvalue().decode()


def test_every_script_is_among_them():
    started = {path for folder in (*FOLDERS, "notebooks") for path in (ROOT / folder).rglob("*.py")
               if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert len(started) == len(COMMANDS) and {path.stem for path in started} == {
        name.rpartition(".")[2] for name in COMMANDS}


@pytest.mark.parametrize("script, argv", [
    *((script, "--corpus text.txt --smoke") for script in ("ch_lstm.train", "ch_rnn.train", "ch_rnn.char_rnnlm")),
    ("ch_rnn.hello", ""), ("ch_rnn.weather", ""), ("ch_lstm.grammar", ""), ("ch_lstm.seq2seq", ""),
    ("ch_lstm.memory", ""), ("ch_lstm.microscope", "--text the --epochs 1"), ("ch_lstm.classify", ""),
    ("ch_lstm.small_model", ""),
    ("common.gradient_check", ""), ("ch_rnn.step", "--all"), ("ch_lstm.step", "--all"), (NOTEBOOKS, "--dry-run 01"),
    *(("ch_lstm.pictures", line) for line in (
        "gradients", "lstm-cell", "unrolled", "curves runs/words", "gates runs/words --text cat",
        "cell runs/characters --cell 0 --text cat", "states runs/words --text the=cat", "singular runs/words",
        "neighbours runs/words --words cat", "confusion runs/reviews")),
])
def test_the_seams_are_where_the_work_begins(script, argv, template, seams, tmp_path):
    shutil.copytree(template, tmp_path / "here")
    with in_folder(tmp_path / "here"):
        assert outcome(script, [word.replace("=", " ") for word in argv.split()])[0] == "at work"


@pytest.mark.parametrize("script, argv", [
    ("ch_lstm.evaluate", "runs/words --split valid"), ("ch_rnn.evaluate", "runs/simple --text long.txt"),
    ("ch_lstm.generate", "runs/words --length 9 --stream"), ("ch_rnn.generate", "runs/simple --length 9 --samples 2"),
    ("ch_rnn.generate", "runs/simple --length 9 --beam 3 --n-best 2 --until-eos --length-penalty 0.5"),
    ("ch_lstm.classify", "runs/reviews --predict good"), ("ch_rnn.shapes", "--seed 3"),
])
def test_what_takes_no_time_runs_to_its_end(script, argv, template, seams, tmp_path):
    shutil.copytree(template, tmp_path / "here")
    with in_folder(tmp_path / "here"):
        assert outcome(script, argv.split()) == (0, "")


@pytest.mark.promise("A command line that cannot be used gets one line and exit code 2, whatever is in it")
@pytest.mark.parametrize("script", COMMANDS)
@given(data=st.data())
def test_every_command_line_works_or_gets_one_line(script, template, seams, count_cases, data):
    """Flags and values are drawn from the parser of each script; the script runs up to where long work begins."""
    argv = data.draw(command_lines(parser_of(script)))
    count_cases()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        with in_folder(folder):
            code, error = outcome(script, argv)
    assert code in (0, 2, "at work", "help"), error
    if code == 2:
        (line,) = error.splitlines()
        assert line.startswith(f"{parser_of(script).prog}: ") and line.isprintable() and 20 < len(line) < 1000
    elif code == "help":
        assert not error and any(text in ("-h", "--help") or text.startswith("--h") for text in argv)
