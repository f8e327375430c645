import io
import os
import pathlib
import re
import select
import subprocess
import sys

import numpy
import pytest

from ch_lstm import step as lstm_step
from ch_rnn import step as rnn_step
from common.gradients.checker import relative_error
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.time import TimeAffine, TimeSoftmaxWithLoss
from common.np import np
from common.watch import step
from common.watch.step import UnrolledNetwork

ROOT = pathlib.Path(step.__file__).parents[1]

# Script and flags, the gradients of the cell that are checked at every time step.
SCRIPTS = {
    "rnn": (rnn_step, [], "dh da dWx dWh db dx dh_prev"),
    "relu": (rnn_step, ["--activation", "relu"], "dh da dWx dWh db dx dh_prev"),
    "sigmoid": (rnn_step, ["--activation", "sigmoid"], "dh da dWx dWh db dx dh_prev"),
    "lstm": (lstm_step, [], "dh do dc df dg di dc_prev daf dag dai dao da dWx dWh db dx dh_prev"),
    "gru": (lstm_step, ["--cell", "gru"], "dh daz dah drh dar dh_prev dWhh dWhz dWhr dWx db dx"),
    "gru reset after": (lstm_step, ["--cell", "gru-reset-after"], "dh daz dah dar dm dh_prev dWh dWx db dx"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_gradient_has_its_numerical_one_beside_it(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    script, flags, gradients = SCRIPTS[name]
    assert script.main(["--all", "--text", "abca", *flags]) == 0
    printed = capsys.readouterr().out
    assert "Any key" not in printed  # none is read
    for t in range(3):
        (cell,) = re.findall(rf"--- backward, t = {t} .*, cell\n(.*?)\n---", printed + "\n---", re.DOTALL)
        checked = re.findall(r"^\S+\s+(?:\([\d']+\) *)*(\w+)(?:\[.*?\])? [+-]?=.*\n    backward", cell, re.MULTILINE)
        assert sorted(set(checked)) == sorted(gradients.split())
    errors = [float(error) for error in re.findall(r"relative error (\S+)", printed)]
    assert len(errors) == 3 * (len(gradients.split()) + 5) + 6  # of the loss, affine and embedding, and the six sums
    assert max(errors) < 1e-6
    assert float(re.search(r"the largest difference is (\S+)\.$", printed).group(1)) < 1e-14


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_line_names_the_source_that_it_shows(name, capsys):
    script, flags, _ = SCRIPTS[name]
    script.main(["--all", "--text", "ab", *flags])
    common = pathlib.Path(step.__file__).parents[1]
    sources = {path.relative_to(common).as_posix(): path.read_text().splitlines() for path in common.rglob("*.py")}
    shown = re.findall(r"^([\w/]+\.py):(\d+)\s+(?:\([\d']+\) *)*(.*?)  \(", capsys.readouterr().out, re.MULTILINE)
    assert len(shown) > 25
    for file, number, formula in shown:
        line = sources[file][int(number) - 1].replace(" ", "").replace(")", "")
        for word in re.findall(r"\w+", formula.partition("= ")[2]):
            assert word in line, (file, number, line, formula)


def test_numbers_and_lines_wrap_at_the_width_of_the_terminal(capsys, monkeypatch):
    def numbers_by_label(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert lstm_step.main(["--all", "--hidden-size", "2"]) == 0
        printed = capsys.readouterr().out
        (found,) = re.findall(r"^dWx .*\n((?:    .*\n)+?)    relative", printed, re.MULTILINE)
        return printed, found

    wide, all_in_a_row = numbers_by_label(500)
    narrow, in_blocks = numbers_by_label(80)
    assert max(map(len, wide.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80
    values = [line[14:].split() for line in all_in_a_row.splitlines()]  # two rows backward, two numerical; 8 columns
    assert [line[14:].split() for line in in_blocks.splitlines()] == [
        row[start:start + 6] for start in (0, 6) for row in values]
    assert [line[:14].strip() for line in in_blocks.splitlines()] == ["backward", "", "numerical", ""] * 2
    assert "[:, 6:8]" in narrow and "[:, 6:8]" not in wide


def network(cell=LSTM):
    np.seed(0)
    rng = numpy.random.default_rng(0)
    layer = type("Layer", (TimeLSTM,), {"step": property(lambda self: cell(*self.params))})(
        *(rng.standard_normal(shape) for shape in ((2, 12), (3, 12), 12)))
    return UnrolledNetwork("abcab", layer)


def test_loss_is_that_of_the_sequence_layers():
    unrolled = network()
    first = unrolled.layers[0]
    hs = unrolled.sequence_layer.forward(first["embedding"].params[0][unrolled.ids[:, 0]][None])
    scores = TimeAffine(*first["affine"].params).forward(hs)
    loss = TimeSoftmaxWithLoss().forward(scores, unrolled.targets.T)
    assert unrolled.forward()[0] == pytest.approx(4 * loss, rel=1e-14)


class WrongLSTM(LSTM):
    """Forgets in its backward that the output gate's slope is o (1 - o)."""

    def backward(self, dh, dc):
        x, h_prev, c_prev, c, f, g, i, o = self.recall()
        Wx, Wh, b = self.params
        do = dh * np.tanh(c)
        dao = do * o
        dx, dh_prev = dao @ Wx[:, 9:].T, dao @ Wh[:, 9:].T
        return dx, dh_prev, dc * f


def test_a_wrong_backward_shows_where_it_is_wrong():
    unrolled = network(WrongLSTM)
    _, shown = unrolled.forward()
    shown_backward = unrolled.backward()
    unrolled.add_checks(shown, shown_backward)
    last = [each for each in shown_backward if each.t == 3 and each.layer == "cell"]
    errors = {name: relative_error(check(), each.line.values[0])
              for each in last for name, check in each.checks.items()}
    assert errors["dh"] < 1e-9 and errors["do"] < 1e-9
    assert errors["dao"] > 0.1 and errors["dx"] > 0.1


def test_a_wrong_backward_is_printed_with_its_error(capsys, monkeypatch):
    monkeypatch.setattr(TimeLSTM, "step", property(lambda self: WrongLSTM(*self.params)))
    lstm_step.main(["--all"])
    printed = capsys.readouterr().out
    last_step = printed.partition("--- backward, t = 2")[2].partition("--- backward, t = 1")[0]
    errors = dict(re.findall(r" (d\w+) = .*\n(?:    .*\n)*?    relative error (\S+)", last_step))
    assert float(errors["dao"]) > 0.1 and float(errors["do"]) < 1e-6


@pytest.mark.parametrize("flags, message", [
    ([], "stepping needs a terminal: take --all to print everything at once"),
    (["--all", "--text", "a"], "--text has 1 characters, wanted 2 to 20"),
    (["--all", "--text", "a" * 21], "--text has 21 characters, wanted 2 to 20"),
    (["--all", "--hidden-size", "21"], "--wordvec-size and --hidden-size go up to 20: more would not fit a terminal"),
])
def test_wrong_use_is_one_line(flags, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert lstm_step.main(flags) == 2
    assert capsys.readouterr().err == f"python -m ch_lstm.step: {message}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_one_key_shows_one_line():
    import pty
    import termios

    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-m", "ch_lstm.step"], stdin=theirs, stdout=subprocess.PIPE,
                               cwd=ROOT, text=True)
    try:
        assert process.stdout.readline().startswith("LSTM that reads 'ech' and predicts 'cho'")
        for key, wanted in ((b" ", "x = W[ids]"), (b"\x1b[B", "a = x @ Wx"), (b"n", "af, ag, ai, ao =")):
            os.write(ours, key)
            while wanted not in (line := process.stdout.readline()):
                assert line, f"the script ended before it showed {wanted}"
                assert not re.match(r"[\w/]+\.py:", line)
        os.write(ours, b"q")
        assert "sigmoid" not in process.stdout.read()
        assert process.wait(60) == 0
        assert termios.tcgetattr(theirs) == settings
        assert not select.select([ours], [], [], 0)[0]  # no key was echoed
    finally:
        process.kill()
        process.stdout.close()
        os.close(ours)
        os.close(theirs)
