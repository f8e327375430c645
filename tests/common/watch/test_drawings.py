import inspect
import re

import pytest

from common import plots
from common.layers import lstm
from common.watch import drawings

FORWARD, BACKWARD = inspect.getsource(lstm.gates_forward), inspect.getsource(lstm.gates_backward)


def labels(figure):
    """Return the texts of each part of a drawing."""
    return [[text.get_text() for text in axes.texts if text.get_text()] for axes in figure.axes]


def test_the_cell_shows_every_quantity_function_and_equation():
    forward, backward = labels(drawings.lstm_cell_figure())
    assert sorted(forward) == sorted(
        ["Forward", "x", "h_prev", "x Wx + h_prev Wh + b", "a", "af", "ag", "ai", "ao", "f", "g", "i", "o", "c_prev",
         "c", "h", *["sigmoid"] * 3, *["tanh"] * 2, *"×××+", "(1)", "(2)", "(3)", "(4)"])
    assert sorted(backward) == sorted(
        ["Backward", "dx", "dh_prev", "x Wx + h_prev Wh + b", "da", "daf", "dag", "dai", "dao", "df", "dg", "di", "do",
         "dc_prev", "dc", "dh", *["sigmoid"] * 3, *["tanh"] * 2, *"×××+", "(1)", "(2)", "(3)", "(4)"])


def test_a_variable_that_is_renamed_in_the_source_is_renamed_in_the_drawing():
    names = drawings.cell_names(re.sub(r"\bf\b", "forget", FORWARD).replace("np.tanh(ag)", "relu(ag)"),
                                re.sub(r"\bdi\b", "dinput", BACKWARD))
    forward, backward = labels(drawings.lstm_cell_figure(names))
    assert "forget" in forward and "f" not in forward and "relu" in forward
    assert "dinput" in backward and "di" not in backward


@pytest.mark.parametrize("forward", [
    FORWARD.replace("# (3)", ""), FORWARD.replace("f * c_prev + g * i", "f * c_prev"),
    FORWARD.replace("f, g, i, o = ", "f, g = ")])
def test_another_cell_than_an_lstm_is_refused(forward):
    with pytest.raises(ValueError, match="the source of the LSTM has no equation"):
        drawings.cell_names(forward)


def test_the_unrolled_network_has_three_steps_with_the_same_layers():
    (texts,) = labels(drawings.unrolled_figure())
    for text in ("Embedding", "LSTM", "Affine", "SoftmaxWithLoss", "x", "dx", "h", "dh", "loss", "scores", "dscores"):
        assert texts.count(text) == 3, text
    assert texts.count("h, c") == texts.count("dh, dc") == 4
    assert {"step t - 1", "step t", "step t + 1"} < set(texts)


@pytest.mark.parametrize("draw", [drawings.lstm_cell_figure, drawings.unrolled_figure])
def test_a_drawing_is_the_same_file_each_time(draw, tmp_path):
    for name in ("one.svg", "two.svg"):
        plots.save(draw(), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert first == second and first.startswith(b"<?xml") and len(first) < 150_000
