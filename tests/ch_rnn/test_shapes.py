import re
import sys

import numpy
import pytest
from any_device import np

from ch_rnn import shapes
from common.layers.stack import TimeStack

IDS = [0, 1, 3, 4, 0, 1, 5, 2]


def sections(capsys, device, *flags):
    pytest.importorskip("jieba", reason="needs jieba: pip install -e '.[chinese]'")
    assert shapes.main([*flags, "--device", device]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [section.strip() for section in re.split(r"^\d\. ", out, flags=re.MULTILINE)[1:]]


def numbers(line):
    return [float(number) for number in re.findall(r"-?\d+\.\d{4}", line)]


def windows(rows):
    return [[int(i) for i in row.split()] for row in rows.split(" | ")]


def test_words_have_ids_by_first_appearance_and_a_row_each(device, capsys):
    words, *_ = sections(capsys, device)
    assert "0 1 2 = 我 / 爱 / 学习" in words
    assert "0 1 3 4 = 我 / 爱 / 自然语言 / 处理" in words
    assert "0 1 5 2 = 我 / 爱 / 机器 / 学习" in words
    assert "(V, D) = (6, 4)" in words
    table = [line.split() for line in words.splitlines()[-6:]]
    assert [(row[0], row[-1]) for row in table] == [
        ("0", "我"), ("1", "爱"), ("2", "学习"), ("3", "自然语言"), ("4", "处理"), ("5", "机器")]
    rows = [tuple(row[1:-1]) for row in table]
    assert {len(row) for row in rows} == {4} and len(set(rows)) == 6


def test_the_windows_are_the_five_pairs_of_the_ids(device, capsys):
    section = sections(capsys, device)[1]
    assert section.startswith("Windows of 3 over the ids 0 1 3 4 0 1 5 2\n")
    pairs = re.findall(r"^x = (\d \d \d) +t = (\d \d \d) +(.*) -> (.*)$", section, re.MULTILINE)
    assert [windows(x) + windows(t) for x, t, *_ in pairs] == [
        [[0, 1, 3], [1, 3, 4]],
        [[1, 3, 4], [3, 4, 0]],
        [[3, 4, 0], [4, 0, 1]],
        [[4, 0, 1], [0, 1, 5]],
        [[0, 1, 5], [1, 5, 2]],
    ]
    assert pairs[4][2:] == ("我 爱 机器", "爱 机器 学习")


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_batches_hold_each_pair_once(device, capsys, seed):
    section = sections(capsys, device, "--seed", seed)[1]
    batches = re.findall(r"^x (\(.*?\)) = (.*?) +t (\(.*?\)) = (.*)$", section, re.MULTILINE)
    assert [(x_shape, t_shape) for x_shape, _, t_shape, _ in batches] == [
        ("(2, 3)", "(2, 3)"), ("(2, 3)", "(2, 3)"), ("(1, 3)", "(1, 3)")]
    pairs = [pair for _, xs, _, ts in batches for pair in zip(windows(xs), windows(ts), strict=True)]
    assert sorted(pairs) == sorted((IDS[i:i + 3], IDS[i + 1:i + 4]) for i in range(5))


def test_the_two_layers_read_the_word_vectors_of_the_first_batch(device, capsys, monkeypatch):
    runs = record_stacks(monkeypatch)
    words, section, *_ = sections(capsys, device)
    rows = numpy.array([numbers(line) for line in words.splitlines()[-6:]])
    first_batch = windows(re.search(r"^x \(2, 3\) = (.*?) +t", section, re.MULTILINE)[1])
    for stack, xs, *_ in runs[:2]:
        np.testing.assert_allclose(batch_first(stack, xs), rows[numpy.array(first_batch)], atol=5.1e-5)


def test_the_printed_states_are_those_of_the_recurrence(device, capsys, monkeypatch):
    runs = record_stacks(monkeypatch)
    section = sections(capsys, device)[2]
    shape = r"\((?:\d, ){2}\d\)"
    assert re.findall(rf"^(\w+) .*?({shape}).*?({shape})$", section, re.MULTILINE) == [
        ("input", "(3, 2, 4)", "(2, 3, 4)"),
        ("h0", "(2, 2, 5)", "(2, 2, 5)"),
        ("output", "(3, 2, 5)", "(2, 3, 5)"),
        ("h_n", "(2, 2, 5)", "(2, 2, 5)"),
    ]
    lines = [line for line in section.splitlines() if numbers(line)]
    assert [line.split()[0] for line in lines[::2]] == ["output[0]", "output[1]", "output[2]", "h_n[0]", "h_n[1]"]
    printed = numpy.array([numbers(line) for line in lines]).reshape(5, 2, 5)
    np.testing.assert_array_equal(printed[2], printed[4])
    assert "output[-1] equals h_n[-1]: True" in section and "the same numbers: True" in section

    assert [stack.batch_first for stack, *_ in runs[:2]] == [False, True]
    for stack, xs, h0, (output, h_n) in runs[:2]:
        states = recurrence(stack, batch_first(stack, xs), h0)  # (L, N, T, H)
        np.testing.assert_allclose(batch_first(stack, output), states[-1], atol=1e-6)
        np.testing.assert_allclose(h_n, states[:, :, -1], atol=1e-6)
        np.testing.assert_allclose(printed, [*states[-1].swapaxes(0, 1), *states[:, :, -1]], atol=5.1e-5)
        assert abs(h0).min() > 0


def test_the_cells_differ_in_the_states_they_give_back(device, capsys):
    section = sections(capsys, device)[3]
    assert re.findall(r"^(RNN|GRU|LSTM) +(.*)$", section, re.MULTILINE) == [
        ("RNN", "(3, 5, 10)       (3, 5, 20)        (1, 3, 20)     -"),
        ("GRU", "(3, 5, 10)       (3, 5, 20)        (1, 3, 20)     -"),
        ("LSTM", "(3, 5, 10)       (3, 5, 20)        (1, 3, 20)     (1, 3, 20)"),
    ]


def test_a_seed_repeats_the_numbers_and_another_changes_them_all(device, capsys):
    def printed(seed):
        return [numbers(section) for section in sections(capsys, device, "--seed", seed)]

    assert sections(capsys, device, "--seed", "3") == sections(capsys, device, "--seed", "3")
    assert sections(capsys, device, "--seed", "3")[1] != sections(capsys, device, "--seed", "4")[1]
    for section in (0, 2):
        assert all(three != four for three, four in zip(printed("3")[section], printed("4")[section], strict=True))


def test_without_jieba_one_line_names_the_extra(device, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    assert shapes.main(["--device", device]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "python -m ch_rnn.shapes: Chinese text needs jieba: pip install -e '.[chinese]'" in err


def test_help_and_wrong_flags(capsys):
    with pytest.raises(SystemExit) as stop:
        shapes.main(["--help"])
    assert stop.value.code == 0 and "--seed" in capsys.readouterr().out
    for flags in (["--seed", "-1"], ["--sed"]):
        assert shapes.main(flags) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and flags[0] in err


def record_stacks(monkeypatch):
    """Return a list that collects each forward of a stack: the stack, xs, h0 and what it gave back."""
    runs = []

    class Recorded(TimeStack):
        def forward(self, xs, h0=None):
            result = super().forward(xs, h0)
            runs.append((self, xs, h0, result))
            return result

    monkeypatch.setattr(shapes, "TimeStack", Recorded)
    return runs


def batch_first(stack, array):
    """Return what goes into a stack or comes out of it as (N, T, ...)."""
    return array if stack.batch_first else array.swapaxes(0, 1)


def recurrence(stack, xs, h0):
    """Return the states (L, N, T, H) by h_t = tanh(x_t Wx + h_{t-1} Wh + b), one sequence and one step at a time."""
    xs, h0, *params = (np.to_cpu(array).astype(float) for array in (xs, h0, *stack.params))
    L, N, H = h0.shape
    states = numpy.empty((L, N, xs.shape[1], H))
    for n in range(N):
        inputs = xs[n]  # (T, D), then (T, H)
        for layer in range(L):
            Wx, Wh, b = params[3 * layer:3 * layer + 3]
            h = h0[layer, n]  # (H,)
            for t, x in enumerate(inputs):
                h = numpy.tanh(x @ Wx + h @ Wh + b)
                states[layer, n, t] = h
            inputs = states[layer, n]
    return states
