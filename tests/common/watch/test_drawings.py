import inspect
import re
from pathlib import Path

import pytest

from common import plots
from common.layers import lstm
from common.watch import drawings, step

ROOT = Path(__file__).parents[3]
LSTM, STEP = inspect.getsource(lstm), inspect.getsource(step)


def labels(figure):
    """Return the texts of each part of a drawing."""
    return [[text.get_text() for text in axes.texts if text.get_text()] for axes in figure.axes]


CELL, UNROLLED = labels(drawings.lstm_cell_figure()), labels(drawings.unrolled_figure())


def test_the_cell_shows_every_quantity_function_and_equation():
    forward, backward = CELL
    assert sorted(forward) == sorted(
        ["Forward", "x", "h_prev", "x Wx + h_prev Wh + b", "a", "af", "ag", "ai", "ao", "f", "g", "i", "o", "c_prev",
         "c", "h", *["sigmoid"] * 3, *["tanh"] * 2, *"×××+", "(1)", "(2)", "(3)", "(4)"])
    assert sorted(backward) == sorted(
        ["Backward", "dx", "dh_prev", "x Wx + h_prev Wh + b", "da", "daf", "dag", "dai", "dao", "df", "dg", "di", "do",
         "dc_prev", "dc", "dh", *["sigmoid"] * 3, *["tanh"] * 2, *"×××+", "(1)", "(2)", "(3)", "(4)"])


def renamed(old, new, source):
    return re.sub(rf"\b{old}\b", new, source)


@pytest.mark.parametrize("name", [
    "x", "h_prev", "c_prev", "Wx", "Wh", "b", "a", "af", "ag", "ai", "ao", "f", "g", "i", "o", "c", "h",
    "dx", "dh_prev", "dc_prev", "da", "daf", "dag", "dai", "dao", "df", "dg", "di", "do", "dc", "dh"])
def test_a_variable_that_is_renamed_in_the_source_is_renamed_in_the_cell(name):
    after = labels(drawings.lstm_cell_figure(drawings.cell_names(renamed(name, "other", LSTM))))
    assert [[renamed(name, "other", text) for text in part] for part in CELL] == after != CELL


def test_another_function_in_the_source_is_another_one_in_the_cell():
    forward, _ = labels(drawings.lstm_cell_figure(drawings.cell_names(LSTM.replace("np.tanh(ag)", "relu(ag)"))))
    assert forward.count("relu") == 1 and forward.count("tanh") == 1


@pytest.mark.parametrize("old, new", [
    ("# (3)", ""), ("f * c_prev + g * i", "f * c_prev"), ("f * c_prev + g * i", "f * c_prev - g * i"),
    ("f * c_prev + g * i", "c_prev * f + g * i"), ("o * np.tanh(c)", "i * np.tanh(c)"), ("f, g, i, o = ", "f, g = "),
    ("x @ Wx + h_prev @ Wh + b", "x @ Wx + b"), ("def gates_backward", "def backward"),
    ("return dx, dh_prev, dc_prev", "return dx, dh_prev")])
def test_another_cell_than_an_lstm_is_refused(old, new):
    assert old in LSTM
    with pytest.raises(ValueError, match=r"the source (of the LSTM )?has no "):
        drawings.cell_names(LSTM.replace(old, new))


def test_the_unrolled_network_has_three_steps_with_the_same_layers():
    (texts,) = UNROLLED
    assert sorted(texts) == sorted([
        *["Embedding", "LSTM", "Affine", "SoftmaxWithLoss", "idx", "x", "h", "scores", "loss"] * 3,
        *["dx", "dh_out", "dscores", "1"] * 3, *["h, c", "dh, dc"] * 4, "step t - 1", "step t", "step t + 1"])


@pytest.mark.parametrize("name", ["idx", "x", "scores", "loss", "dx", "dh_out", "dscores"])
def test_a_variable_that_is_renamed_in_the_source_is_renamed_in_the_unrolled_network(name):
    source = re.sub(rf"(?<![\"\w]){name}(?![\"\w])", "other", STEP)  # the names of layers stand in quotation marks
    after = labels(drawings.unrolled_figure(drawings.unrolled_names(source)))
    assert [[{name: "other"}.get(text, text) for text in part] for part in UNROLLED] == after != UNROLLED


def test_an_unrolled_network_without_a_layer_is_refused():
    with pytest.raises(ValueError, match=r"has no line as the drawing wants it: .*affine"):
        drawings.unrolled_names(STEP.replace('run("affine"', 'run("other"'))


@pytest.mark.parametrize("draw", [drawings.lstm_cell_figure, drawings.unrolled_figure])
def test_labels_stay_within_the_picture_and_apart(draw):
    figure = draw()
    figure.draw_without_rendering()
    boxes = {id(text): text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_text()}
    page = figure.bbox
    for key, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other_key, other in boxes.items() if other_key != key)


@pytest.mark.parametrize("draw", [drawings.lstm_cell_figure, drawings.unrolled_figure])
def test_a_drawing_is_the_same_file_each_time(draw, tmp_path):
    for name in ("one.svg", "two.svg"):
        plots.save(draw(), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert first == second and first.startswith(b"<?xml") and len(first) < 150_000


@pytest.mark.parametrize("name, drawn", [("lstm-cell", CELL), ("unrolled", UNROLLED)])
def test_the_drawings_of_the_documentation_have_the_names_of_today(name, drawn):
    text = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert sorted(re.findall("<!-- (.*) -->", text)) == sorted(sum(drawn, []))
