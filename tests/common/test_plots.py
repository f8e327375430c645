import itertools
import re

import numpy
import PIL.Image
import pytest
from matplotlib.colors import to_rgb

from common import plots
from common.plots import save_curves, save_matrix
from common.watch.states import principal_components


def pixels(path):
    return numpy.asarray(PIL.Image.open(path).convert("RGB")) / 255  # (rows, columns, 3)


def grey(path):
    return numpy.asarray(PIL.Image.open(path).convert("L")) / 255  # (rows, columns)


def saved(figure, path):
    """Return the pixels of a figure after a way through a file."""
    plots.save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert grey(path).min() < 0.2 and grey(path).max() == 1
    return pixels(path)


def visible_texts(axes):
    return [text.get_text() for text in axes.texts]


def looks(line):
    return line.get_linestyle(), line.get_marker(), line.get_color(), line.get_markerfacecolor()


@pytest.mark.parametrize("yscale", ["linear", "log"])
def test_curves_are_saved_in_colour(tmp_path, yscale):
    path = tmp_path / "curves.png"
    curves = {f"run {i}": (range(1, 6), [10.0 * i + x for x in range(1, 6)]) for i in range(8)}
    save_curves(path, curves, "epoch", "loss in $", "five _epochs_ é", yscale)
    picture = pixels(path)
    for colour in plots.COLOURS.values():
        assert (abs(picture - to_rgb(colour)).max(axis=2) < 0.01).any(), colour


# What a reader without green cones sees of linear red, green and blue (Machado, Oliveira and Fernandes 2009, table 1).
DEUTERANOPIA = numpy.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                            [-0.011820, 0.042940, 0.968881]])


def test_the_first_colours_differ_for_colour_blind_readers_too():
    for seen_by in (numpy.eye(3), DEUTERANOPIA):
        linear = numpy.array([to_rgb(colour) for colour in plots.COLOURS.values()]) ** 2.2 @ seen_by.T  # (8, 3)
        seen = linear.clip(0, 1) ** (1 / 2.2)
        for a, b in itertools.combinations(seen[:4], 2):
            assert numpy.linalg.norm(a - b) > 0.3


def test_no_curve_is_hidden_by_an_equal_one():
    figure = plots.curves_figure({f"run {i}": (range(100), range(100)) for i in range(4)}, "x", "y")
    lines = figure.axes[0].lines
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == 4  # a later one is thinner, on top
    assert len({line.get_markevery() for line in lines}) == 4  # and has its markers elsewhere


def test_curves_show_their_numbers_and_all_look_different(tmp_path):
    curves = {f"run {i}": ([1, 2, 3], [i + 1, 2 * i + 1, 3]) for i in range(8)}
    figure = plots.curves_figure(curves, "epoch", "loss", "a_title $", ylim=(0, 20))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), axes.get_ylim()) == (
        "epoch", "loss", "a_title $", (0, 20))
    for line, (name, (xs, ys)) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_label() == name
        numpy.testing.assert_array_equal(line.get_xydata(), numpy.transpose([xs, ys]))
    assert len({looks(line)[:3] for line in axes.lines}) == 8
    assert len({looks(line)[:2] for line in axes.lines}) == 8  # without colour too
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves)
    saved(figure, tmp_path / "curves.png")


@pytest.mark.parametrize("length", [1, 25, 40, 90])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_legend_covers_no_curve_and_is_whole(count, length):
    curves = {f"{'n' * length} {i}": ([1, 2], [i, i + 1]) for i in range(count)}
    for figure in (plots.curves_figure(curves, "x", "y"),
                   plots.panels_figure({f"panel {i}": dict(curves=curves, xlabel="x", ylabel="y") for i in range(2)})):
        figure.draw_without_rendering()
        axes = figure.axes[0]
        box = axes.get_legend().get_window_extent()
        assert 0 <= box.y0 and box.y1 < axes.bbox.y0 and box.x0 >= 0 and box.x1 <= figure.bbox.x1
        assert axes.bbox.height > 150  # pixels: the legend takes no room from the curves


def test_curves_over_whole_numbers_have_ticks_at_whole_numbers():
    for xs, whole in ([1, 2], True), ([1], True), ([0.25, 0.5], False):
        figure = plots.curves_figure({"run": (xs, xs)}, "epoch", "loss")
        figure.draw_without_rendering()
        low, high = figure.axes[0].get_xlim()
        ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
        assert ticks and all(float(tick).is_integer() for tick in ticks) == whole


def minor_and_major_labels(values):
    """Return the labels that are seen along a log axis."""
    figure = plots.curves_figure({"x": (range(len(values)), values)}, "x", "y", yscale="log")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    ticks = [*zip(axes.get_yticks(minor=True), axes.get_yticklabels(minor=True)),
             *zip(axes.get_yticks(), axes.get_yticklabels())]
    return {label.get_text() for place, label in ticks if low <= place <= high} - {""}


@pytest.mark.parametrize("values, labels", [
    ([2, 4], {"2", "3", "4"}),
    ([0.0007, 0.03], {"0.001", "0.002", "0.005", "0.01", "0.02"}),
    ([0.002, 0.5], {"0.01", "0.1"}),
    ([1e-5, 1], {f"$\\mathdefault{{10^{{{power}}}}}$" for power in range(-5, 1)})])
def test_a_log_axis_is_labelled_between_its_decades_where_it_has_few(values, labels):
    assert minor_and_major_labels(values) == labels


def test_on_a_log_scale_what_is_not_above_0_is_left_out():
    figure = plots.gradient_norms_figure({"RNN": numpy.array([0, 1e-12, 1.0]), "LSTM": numpy.ones(3, numpy.float32)})
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    rnn, lstm = axes.lines
    numpy.testing.assert_array_equal(rnn.get_xydata(), [[0, numpy.nan], [1, 1e-12], [2, 1]])
    numpy.testing.assert_array_equal(lstm.get_ydata(), 1)
    assert looks(rnn) != looks(lstm)


def test_pale_curves_have_the_style_of_their_partner_and_another_look(tmp_path):
    norms = {cell: 10.0 ** -numpy.arange(5) for cell in ("RNN", "LSTM", "GRU")}
    panel = plots.gradient_norms_panel(norms, {f"{cell} after": values / 2 for cell, values in norms.items()})
    figure = plots.panels_figure({"one": panel, "two": panel, "three": panel}, "all")
    assert [axes.get_title() for axes in figure.axes if axes.axison] == ["one", "two", "three"]
    assert [bool(axes.get_legend()) for axes in figure.axes if axes.axison] == [True, False, False]  # all have one
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines] == ["RNN", "LSTM", "GRU", "RNN after", "LSTM after", "GRU after"]
    for dark, pale in zip(lines[:3], lines[3:]):
        assert looks(dark)[:2] == looks(pale)[:2]
        assert sum(to_rgb(pale.get_color())) > sum(to_rgb(dark.get_color())) + 0.6
    assert len({looks(line) for line in lines}) == 6
    saved(figure, tmp_path / "panels.png")


def test_a_matrix_is_dark_where_it_is_large(tmp_path):
    path = tmp_path / "matrix.png"
    save_matrix(path, numpy.eye(12) * 3, "abcdefghijkl", ["$"] * 12, "guessed", "true", "confusion", numbers=True)
    picture = pixels(path)
    rows, columns = picture.shape[:2]
    corner = picture[rows // 4: rows // 2, columns // 2:].mean()  # above the diagonal
    assert corner > 0.8


def test_a_square_that_is_nan_stays_empty(tmp_path):
    nan = numpy.nan
    matrix = numpy.array([[8, nan, 1], [nan, nan, 3]])
    figure = plots.matrix_figure(matrix, "ab", "cde", "x", "y", numbers=True)
    (axes,) = figure.axes
    written = {tuple(map(int, reversed(text.get_position()))): text for text in axes.texts}
    assert {place: text.get_text() for place, text in written.items()} == {(0, 0): "8", (0, 2): "1", (1, 2): "3"}
    assert [text.get_color() for text in written.values()] == ["white", "black", "black"]
    picture = saved(figure, tmp_path / "matrix.png")
    for (row, column), value in numpy.ndenumerate(matrix):
        x, y = axes.transData.transform((column - 0.3, row - 0.3))  # beside the number
        shade = picture[len(picture) - 1 - round(y), round(x)]
        assert (shade == 1).all() == numpy.isnan(value), (row, column)
    assert not plots.matrix_figure(matrix * nan, "ab", "cde", "x", "y", numbers=True).axes[0].texts


def test_confusion_writes_counts_and_shades_shares_of_the_row(tmp_path):
    matrix = numpy.array([[90, 10], [1, 3]])
    figure = plots.confusion_figure(matrix, ["often", "rare"], "names")
    (axes,) = figure.axes
    numpy.testing.assert_allclose(axes.images[0].get_array(), [[0.9, 0.1], [0.25, 0.75]])
    assert visible_texts(axes) == ["90", "10", "1", "3"]
    assert [text.get_color() for text in axes.texts] == ["white", "black", "black", "white"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["often", "rare"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    saved(figure, tmp_path / "confusion.png")
    plots.confusion_figure(numpy.array([[0, 0], [1, 3]]), "ab")  # a class that never occurs


def test_gates_are_one_band_each_a_row_for_each_unit(tmp_path):
    rng = numpy.random.default_rng(0)
    gates = {"f": rng.random((5, 3)), "h": rng.uniform(-0.5, 0.5, (5, 3)), "c": rng.uniform(-4, 4, (5, 3))}
    figure = plots.gates_figure("a\n b\u4e2d", gates, "gates", units=[7, 8, 30])
    bands = figure.axes[:3]
    for axes, (name, values) in zip(bands, gates.items()):
        (image,) = axes.images
        numpy.testing.assert_array_equal(image.get_array(), values.T)
        assert axes.get_ylabel() == name
        assert [label.get_text() for label in axes.get_yticklabels()] == ["7", "8", "30"]
    largest = numpy.abs(gates["c"]).max()
    assert [axes.images[0].get_clim() for axes in bands] == [(0, 1), (-1, 1), (-largest, largest)]
    assert [label.get_text() for label in bands[-1].get_xticklabels()] == ["a", "\u21b5", "\u2423", "b", "U+4E2D"]
    saved(figure, tmp_path / "gates.png")
    plots.save(plots.gates_figure(["two", "words"], {"h": numpy.zeros((2, 40))}), tmp_path / "one.png")


def test_signed_bands_are_white_at_zero_and_gates_at_none():
    values = numpy.array([[-2.0, 0, 2]]).T  # (T, H)
    figure = plots.gates_figure("abc", {"f": abs(values) / 2, "c": values, "h": abs(values) / 2}, signed=["h"])
    gate, cell, state = (axes.images[0] for axes in figure.axes[:3])
    assert gate.get_clim() == (0, 1) and cell.get_clim() == (-2, 2) and state.get_clim() == (-1, 1)
    for image in (cell, state):
        (below, zero, above) = image.to_rgba(numpy.array([-1.0, 0, 1]) * image.get_clim()[1])[:, :3]
        assert zero.min() > 0.95 and below[2] > below[0] + 0.2 and above[0] > above[2] + 0.2
    assert gate.to_rgba(0.0)[:3] != pytest.approx(cell.to_rgba(0.0)[:3])


def is_within(figure, path):
    """Whether nothing of a saved picture is cut off: nothing touches its edges."""
    picture = saved(figure, path)
    return all((edge == 1).all() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]))


LONG_TITLE = "a-run-with-a-rather-long-name, layer 0: 12 of 100 units whose state changes most"


@pytest.mark.parametrize("T", [1, 2, 8, 16, 17, 60, 200])
@pytest.mark.parametrize("character", ["a", "\u0378", "\u4e2d", "\t", "\n", "\U0001f600"],
                         ids=["letter", "no glyph", "Chinese", "tab", "end of line", "emoji"])
def test_gates_of_texts_of_any_length_stay_within_the_picture(T, character, tmp_path):
    gates = {words: numpy.full((T, 12), 0.5) for words in ("forget gate f", "candidate g", "state h")}
    assert is_within(plots.gates_figure(character * T, gates, LONG_TITLE), tmp_path / "gates.png")


@pytest.mark.parametrize("tokens", [["understanding", "of", "it"], ["w" * 60]])
def test_gates_of_long_words_have_room_for_them(tokens, tmp_path):
    figure = plots.gates_figure(tokens, {"state h": numpy.zeros((len(tokens), 1))}, LONG_TITLE)
    assert is_within(figure, tmp_path / "gates.png")
    assert figure.axes[0].bbox.height > 20  # pixels


def test_labels_of_states_stay_within_the_axes():
    words = ["internationalisation"] * 6
    figure = plots.states_figure(words, numpy.random.default_rng(0).normal(size=(6, 2)), (0.7, 0.3))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for label in axes.texts:
        box = label.get_window_extent()
        assert (box.min >= axes.bbox.min).all() and (box.max <= axes.bbox.max).all()


@pytest.mark.parametrize("draw", [
    lambda: plots.coloured_text_figure("ab", [0.5, -0.5], LONG_TITLE),
    lambda: plots.coloured_text_figure("a\u0378\n\U0001f600\t", [0] * 5, LONG_TITLE),
    lambda: plots.curves_figure({f"{LONG_TITLE} {i}": ([1, 2], [i, 2]) for i in range(2)}, "x", "y", LONG_TITLE),
    lambda: plots.matrix_figure(numpy.eye(2), ["a long label"] * 2, ["another long label"] * 2, "x", "y", LONG_TITLE),
    lambda: plots.states_figure("ab", numpy.eye(2), [0.5, 0.25], LONG_TITLE),
    lambda: plots.neighbours_figure({"a" * 40: [("b" * 60, 0.9)]}, LONG_TITLE),
    lambda: plots.matrix_figure(numpy.eye(2), ["a" * 60] * 2, ["b" * 60] * 2, "x", "y", LONG_TITLE),
    lambda: plots.singular_values_figure([0, 1], numpy.ones((2, 3)), LONG_TITLE),
], ids=["text", "odd text", "curves", "matrix", "states", "neighbours", "long labels", "singular"])
def test_titles_and_labels_stay_within_the_picture(draw, tmp_path):
    assert is_within(draw(), tmp_path / "picture.png")


def test_units_are_counted_in_whole_numbers():
    figure = plots.gates_figure("ab", {"h": numpy.zeros((2, 40))})
    figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_yticks())


def test_a_darker_place_of_a_gate_is_always_a_larger_number():
    from matplotlib import colormaps

    shades = colormaps[plots._LIGHT_TO_DARK](numpy.linspace(0, 1, 64))[:, :3] @ (0.299, 0.587, 0.114)  # (64,)
    assert (numpy.diff(shades) < 0.002).all()
    assert shades[0] > 0.95 and shades[-1] < 0.2


def test_a_coloured_text_has_each_character_on_its_shade(tmp_path):
    text, activation = "ab\ncd ef", numpy.array([-1, 1, 0, 0.5, -0.5, 1, -1, 0.25])
    figure = plots.coloured_text_figure(text, activation, "cell $3", width=4)
    axes = figure.axes[0]
    shown = axes.images[0].get_array().filled(numpy.nan)  # (rows, columns)
    numpy.testing.assert_array_equal(shown, [[-1, 1, 0, numpy.nan], [0.5, -0.5, 1, -1], [0.25] + 3 * [numpy.nan]])
    assert axes.images[0].get_clim() == (-1, 1)
    places = {text.get_text(): tuple(numpy.round(text.get_position()).astype(int)) for text in axes.texts}
    assert places == {"a": (0, 0), "b": (1, 0), "\u21b5": (2, 0), "c": (0, 1), "d": (1, 1), "e": (3, 1), "f": (0, 2)}
    assert axes.get_title() == "cell $3"
    saved(figure, tmp_path / "text.png")


def test_characters_stand_out_from_their_shade_in_grey():
    activation = numpy.linspace(-1, 1, 41)
    figure = plots.coloured_text_figure("x" * 41, activation)
    axes = figure.axes[0]
    shades = axes.images[0].to_rgba(activation)[:, :3] @ (0.299, 0.587, 0.114)  # (41,)
    for text, shade in zip(axes.texts, shades, strict=True):
        assert abs(to_rgb(text.get_color())[0] - shade) > 0.45


def test_words_of_a_coloured_text_stay_whole():
    figure = plots.coloured_text_figure(["one", "three", "two"], [0.1, 0.2, 0.3], width=8)
    shown = figure.axes[0].images[0].get_array().filled(9)
    numpy.testing.assert_allclose(shown, [[0.1] * 3 + [0.2] * 5, [0.3] * 3 + [9] * 5])


def test_states_are_a_path_through_their_principal_components(tmp_path):
    states = numpy.random.default_rng(0).normal(size=(9, 4)).cumsum(axis=0)
    labels = ["The", " ", *"sailor\n"]
    figure = plots.states_figure(labels, *principal_components(states), "states")
    (axes,) = figure.axes
    places, shares = principal_components(states)
    for t, line in enumerate(axes.lines):
        numpy.testing.assert_allclose(line.get_xydata(), places[t:t + 2])
    assert len(axes.lines) == 8
    lightness = [sum(to_rgb(line.get_color())) / 3 for line in axes.lines]
    assert lightness == sorted(lightness, reverse=True) and lightness[0] - lightness[-1] > 0.4
    points, first, last = axes.collections
    numpy.testing.assert_allclose(points.get_offsets(), places)
    numpy.testing.assert_allclose([*first.get_offsets(), *last.get_offsets()], places[[0, -1]])
    assert visible_texts(axes) == ["The", "\u2423", *"sailor", "\u21b5"]
    numpy.testing.assert_allclose([text.xy for text in axes.texts], places)
    assert f"{shares[0]:.0%}" in axes.get_xlabel() and f"{shares[1]:.0%}" in axes.get_ylabel()
    saved(figure, tmp_path / "states.png")


def test_labels_of_states_stand_apart():
    """On a circle, where there is room for each."""
    angles = numpy.linspace(0, 2 * numpy.pi, 24, endpoint=False)
    places = numpy.stack([3 * numpy.cos(angles), 2 * numpy.sin(angles)], axis=1)
    figure = plots.states_figure(["word"] * 24, places, (0.7, 0.3))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_of_states_that_lie_close_together_stand_apart():
    places = numpy.array([[i, i % 2 + j / 1000] for i in (0, 1, 2) for j in (0, 1, 2)])
    figure = plots.states_figure("abcdefghi", places, (0.7, 0.3))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    centres = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]
    distances = [numpy.hypot(a[0] - b[0], a[1] - b[1]) for i, a in enumerate(centres) for b in centres[:i]]
    assert min(distances) > 6  # pixels


def test_one_state_and_states_that_never_change_can_be_drawn(tmp_path):
    saved(plots.states_figure("a", *principal_components(numpy.ones((1, 3)))), tmp_path / "one.png")
    saved(plots.states_figure("ab", *principal_components(numpy.ones((2, 3)))), tmp_path / "same.png")


def test_neighbours_are_bars_with_their_cosines(tmp_path):
    found = {"cat": [("dog", 0.9), ("a\n", 0.25)], "$": [("b", 0.5), ("c", -0.5)], "x": [("y", 1.0)], "z": [("w", 0.1)]}
    figure = plots.neighbours_figure(found, "near")
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["near cat", "near $", "near x", "near z"]
    for axes, near in zip(panels, found.values()):
        numpy.testing.assert_allclose([bar.get_width() for bar in axes.patches], [cosine for _, cosine in near])
        assert visible_texts(axes) == [f"{cosine:.2f}" for _, cosine in near]
        low, high = axes.get_xlim()
        assert low <= min(cosine for _, cosine in near) and high > 1
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["dog", "a\u21b5"]
    assert panels[0].yaxis_inverted()  # the nearest on top
    saved(figure, tmp_path / "near.png")


def test_singular_values_over_the_epochs_and_before_and_after(tmp_path):
    values = numpy.array([[3.0, 2, 1, 0.5], [4, 2, 1, 0.4], [6, 3, 1, 0.3]])
    figure = plots.singular_values_figure([0, 1, 2], values, "Wh")
    over_time, spectrum = figure.axes
    named = {line.get_label(): line.get_ydata().tolist() for line in over_time.lines[4:]}
    assert named == {"largest": [3, 4, 6], "median": [1, 1, 1], "smallest": [0.5, 0.4, 0.3]}
    numpy.testing.assert_array_equal([line.get_ydata() for line in over_time.lines[:4]], values.T)
    assert {line.get_label(): line.get_ydata().tolist() for line in spectrum.lines} == {
        "epoch 0": [3, 2, 1, 0.5], "epoch 2": [6, 3, 1, 0.3]}
    assert len({looks(line) for line in spectrum.lines}) == 2
    saved(figure, tmp_path / "values.png")
    assert over_time.get_legend().get_window_extent().y1 < over_time.bbox.y0  # curves are everywhere above
    plots.save(plots.singular_values_figure([0], values[:1]), tmp_path / "one.png")


@pytest.mark.parametrize("draw, message", [
    (lambda: plots.panels_figure({}), "panels_figure: there is nothing to draw"),
    (lambda: plots.neighbours_figure({}), "neighbours_figure: there is nothing to draw"),
    (lambda: plots.neighbours_figure({"cat": []}), "neighbours_figure: there is nothing to draw"),
    (lambda: plots.gates_figure("abc", {}), "gates_figure: there is nothing to draw"),
    (lambda: plots.gates_figure("", {"f": numpy.ones((0, 2))}), "gates_figure: there is nothing to draw"),
    (lambda: plots.gates_figure("abc", {"f": numpy.ones((5, 2))}),
     "gates_figure: f has the shape (5, 2), wanted (3, 2) for 3 characters or tokens"),
    (lambda: plots.gates_figure("abc", {"f": numpy.ones((3, 2)), "h": numpy.ones((3, 4))}), "h has the shape (3, 4)"),
    (lambda: plots.coloured_text_figure("", []), "coloured_text_figure: there is nothing to draw"),
    (lambda: plots.coloured_text_figure("abc", [0, 1]), "3 characters or tokens, but 2 activations"),
    (lambda: plots.states_figure("", numpy.ones((0, 2)), (1, 0)), "states_figure: there is nothing to draw"),
    (lambda: plots.states_figure("ab", numpy.ones((3, 2)), (1, 0)), "states_figure: 2 labels, but 3 states"),
])
def test_what_cannot_be_drawn_is_said(draw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw()


def test_a_picture_in_colour_keeps_it(tmp_path):
    figure = plots.coloured_text_figure("abc", numpy.array([-1, 0, 1.0]))
    assert saved(figure, tmp_path / "text.png").std(axis=2).max() > 0.05
