"""The commands pictures of both chapters: what is drawn, what is said, and every kind of wrong use."""
import shutil

import numpy
import PIL.Image
import pytest
from checkpoint_files import parts_of, rewrite

import ch_lstm.classify
import ch_lstm.pictures
import ch_lstm.train
import ch_rnn.pictures
import ch_rnn.train
from ch_lstm import memory
from common import plots
from common.device.ids import known_ids
from common.language_model.commands import load_run
from common.text.vocabulary import Vocabulary
from common.text.word_vectors import nearest
from common.watch import pictures
from common.watch.states import inside_quotes, principal_components
from common.watch.trace import trace
from dataset.corpus import load_corpus

CHAPTERS = {"ch_lstm": ch_lstm, "ch_rnn": ch_rnn}
TEXT = 'a list (see section "lists")'
TINY_GRADIENTS = ["--length", "3", "--hidden-size", "3", "--batch-size", "2", "--steps", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tiny runs: over characters of both chapters, one with two layers, one over words, one of the classifier."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["--batch-size", "4", "--time-size", "16", "--max-tokens", "3000", "--epochs", "2",
             "--wordvec-size", "12", "--hidden-size", "12"]
    for chapter, name, flags in [
            (ch_lstm, "lstm", ["--unit", "char"]), (ch_rnn, "rnn", ["--unit", "char"]),
            (ch_lstm, "better", ["--unit", "char", "--model", "better"]), (ch_lstm, "words", [])]:
        assert chapter.train.main([*small, "--optimizer", "adam", "--lr", "0.01", *flags,
                                   "--out", str(folder / name)]) == 0
    assert ch_lstm.classify.main(["--smoke", "--task", "reviews", "--out", str(folder / "reviews")]) == 0
    return folder


@pytest.fixture
def draw(runs, monkeypatch, tmp_path, capsys):
    """Run a command in the folder of the runs; returns the figure and what was printed, and writes no file."""
    monkeypatch.chdir(runs)
    saved = []
    monkeypatch.setattr(pictures.plots, "save", lambda *args: saved.append(args))
    out = tmp_path / "picture.png"

    def run(*args, chapter="ch_lstm"):
        capsys.readouterr()
        assert CHAPTERS[chapter].pictures.main([*map(str, args), "--out", str(out)]) == 0
        figure, path = saved.pop()
        assert path == out
        printed = capsys.readouterr().out
        assert printed.endswith(f"; picture in {out}\n")
        return figure, printed

    return run


@pytest.fixture
def refuse(runs, monkeypatch, tmp_path, capsys):
    """Run a command that must fail with one line; returns the line."""
    monkeypatch.chdir(runs)

    def run(*args, chapter="ch_lstm"):
        out = tmp_path / "none.png"
        assert CHAPTERS[chapter].pictures.main([*map(str, args), "--out", str(out)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and line.startswith(f"python -m {chapter}.pictures: ")
        assert not out.exists()
        return line

    return run


def images(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def traced(runs, name, text, checkpoint="best"):
    """Return what the tracer finds in the first recurrent layer of a run over a text, (1, T, ...) by name."""
    _, vocabulary, model, _ = load_run(runs / name, ch_lstm.models.MODELS, checkpoint)
    with trace(model) as record:
        model.predict(known_ids(vocabulary.encode(text)[None]))
    return record.recurrent[0].arrays


def activations(*args):
    """Return tanh(c) (T, H)."""
    return numpy.tanh(traced(*args)["c"][0])


def test_curves_of_runs_of_both_chapters(draw, runs):
    figure, printed = draw("curves", "lstm", "rnn")
    (axes,) = figure.axes
    wanted = [row["valid_perplexity"] for row in parts_of(runs / "lstm" / "last.npz")[1]["history"]]
    numpy.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, wanted[0]], [2, wanted[1]]])
    assert [line.get_label() for line in axes.lines] == ["lstm", "rnn"]
    assert printed.startswith(f"lowest validation perplexity: lstm {min(wanted):.2f}, rnn ")
    figure, printed = draw("curves", "rnn", "--part", "train", chapter="ch_rnn")
    wanted = [row["train_perplexity"] for row in parts_of(runs / "rnn" / "last.npz")[1]["history"]]
    numpy.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), wanted)
    assert printed.startswith(f"lowest training perplexity: rnn {min(wanted):.2f}; ")
    assert "training" in figure.axes[0].get_ylabel()


def test_runs_of_the_same_name_are_told_apart():
    from pathlib import Path

    assert pictures._names([Path("a/x"), Path("b/x")]) == ["a/x", "b/x"]
    assert pictures._names([Path("a/x"), Path("b/y")]) == ["x", "y"]
    assert pictures._names([Path(".")]) == ["."] and pictures._names([Path("."), Path("a/x")]) == [".", "x"]


def test_gates_are_those_of_the_tracer(draw, runs, device):
    figure, printed = draw("gates", "lstm", "--text", TEXT, "--cells", 3, 0, "--device", device)
    arrays = traced(runs, "lstm", TEXT)
    bands = images(figure)
    for name, band in zip("fgioch", bands, strict=True):
        wanted = numpy.tanh(arrays[name]) if name == "c" else arrays[name]
        numpy.testing.assert_allclose(band, wanted[0][:, [3, 0]].T, atol=1e-5)
    assert printed.startswith(f"2 units over {len(TEXT)} tokens")


def test_gates_of_the_units_that_change_most(draw):
    figure, _ = draw("gates", "lstm", "--text", TEXT)
    assert images(figure)[0].shape == (pictures.UNITS, len(TEXT))
    figure, _ = draw("gates", "rnn", "--text", TEXT, "--cells", *range(12), chapter="ch_rnn")
    (h,) = images(figure)
    figure, _ = draw("gates", "rnn", "--text", TEXT, chapter="ch_rnn")
    (most,) = images(figure)
    assert sorted(most.var(axis=1)) == sorted(h.var(axis=1))[-pictures.UNITS:]
    figure, _ = draw("gates", "better", "--text", TEXT, "--layer", 1)
    assert len(images(figure)) == 6


def test_gates_of_one_and_of_two_hundred_characters(draw):
    figure, printed = draw("gates", "lstm", "--text", "a")
    assert images(figure)[0].shape == (pictures.UNITS, 1) and printed.startswith("10 units over 1 token;")
    assert "changes" not in figure.get_suptitle()
    figure, printed = draw("gates", "lstm", "--text", "ab" * 100)
    assert images(figure)[0].shape == (pictures.UNITS, 200) and printed.startswith("10 units over 200 tokens")


def test_what_may_be_negative_is_drawn_as_signed_even_where_it_is_not(draw, monkeypatch):
    found = []
    monkeypatch.setattr(plots, "gates_figure", lambda *args: found.append(args))
    draw("gates", "lstm", "--text", TEXT)
    draw("gates", "rnn", "--text", TEXT, chapter="ch_rnn")
    for (_, gates, _, _, signed), wanted in zip(found, (["candidate g", "tanh of cell c", "state h"], ["state h"])):
        assert sorted(gates.keys() & signed) == sorted(wanted)


def test_a_text_is_coloured_by_the_cell_that_is_asked_for(draw, runs, tmp_path):
    figure, printed = draw("cell", "lstm", "--text", TEXT, "--cell", 5)
    wanted = activations(runs, "lstm", TEXT)[:, 5]
    numpy.testing.assert_allclose(images(figure)[0][0], wanted, atol=1e-5)
    assert f"goes from {wanted.min():.2f} to {wanted.max():.2f}" in printed
    file = tmp_path / "text.txt"
    file.write_text("one line\nand \u4e2d\n" * 60)  # a character that the run does not know
    figure, _ = draw("cell", "lstm", "--text-file", file, "--cell", 5, "--checkpoint", "last")
    shown = images(figure)[0]
    assert len(shown) == pictures.PASSAGE_LINES
    numpy.testing.assert_allclose(shown[0, :9], activations(runs, "lstm", "one line\n", "last")[:, 5], atol=1e-5)
    figure, printed = draw("cell", "rnn", "--text", TEXT, "--cell", 5, chapter="ch_rnn")
    assert printed.startswith("h of cell 5 of layer 0 goes from")


@pytest.fixture
def plant(monkeypatch):
    """Let one cell of a run follow the quotes of whatever text is read, or follow them in the first text only."""
    def planted(cell, sign=1.0, everywhere=True):
        calls = []

        def recorded_states(model, ids):
            vocabulary = Vocabulary.load("lstm/vocabulary.json")
            signal = inside_quotes(pictures._characters(vocabulary.decode(ids), vocabulary))
            rng = numpy.random.default_rng(len(calls))
            states = 0.1 * rng.normal(size=(len(ids), 12))
            if everywhere or not calls:
                states[:, cell] += sign * 9 * signal
            calls.append(len(ids))
            return [{"h": states, "c": states}]

        monkeypatch.setattr(pictures, "recorded_states", recorded_states)
        return calls

    return planted


def test_the_passage_is_where_the_signal_changes_and_ends_behind_a_line():
    line = "some words in a line of text\n"  # 29 characters
    text = line * 60
    signal = numpy.zeros(len(text))
    signal[29 * 33:29 * 34:2] = 1
    start, end = pictures._liveliest_passage(text, signal)
    assert start % 29 == end % 29 == 0 and start <= 29 * 33 < end == start + 29 * pictures.PASSAGE_LINES
    assert pictures._passage_end(text.replace("\n", " "), 10) == 10 + pictures.PASSAGE
    assert pictures._passage_end("short\n" + "x" * 5000, 0) == pictures.PASSAGE
    assert pictures._passage_end("x" * 600 + "\n" + "x" * 5000, 0) == 601
    assert pictures._passage_end("ab", 0) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_the_search_finds_a_planted_cell(sign, draw, plant, tmp_path, monkeypatch):
    plant(4, sign)
    monkeypatch.setattr(pictures, "PASSAGE", 200)
    figure, printed = draw("cell", "lstm", "--follow", "quotes")
    table, sentence = printed.splitlines()[:-1], printed.splitlines()[-1]
    heading, first = table[0], table[1].split()
    assert heading.split() == ["follows", "cell", "chosen", "with", "r", "measured", "r", "by", "chance"]
    assert first[:5] == ["quotes", "4", "of", "layer", "0"] and len(table) == 1 + pictures.BEST
    chosen, measured, chance = map(float, first[5:])
    assert 0.6 < sign * chosen < 1 and 0.6 < sign * measured < 1 and 0 < chance < 0.4
    assert sentence.startswith(f"closest to quotes: cell 4 of layer 0, r = {measured:.2f} on ")
    assert "no better than chance" not in sentence
    shown = images(figure)[0]
    dark = [text.get_text() for text in figure.axes[0].texts
            if shown[tuple(round(place) for place in reversed(text.get_position()))] > 0.5]
    read = load_corpus("pydoc", "char", max_tokens=3000)
    measuring = pictures._characters(read.vocabulary.decode(read.test), read.vocabulary)
    signal = inside_quotes(measuring)
    start, end = pictures._liveliest_passage(measuring, signal)
    assert start > 0 and signal[start:end].any()
    assert "".join(dark) == "".join(plots._drawable(measuring[t]) for t in range(start, end)
                                    if signal[t] == 1 and measuring[t] != " ")
    assert f"r = {abs(measured):.2f}" in figure.axes[0].get_title()
    assert ("\u2212tanh" in figure.axes[0].get_title()) == (sign < 0)

    file = tmp_path / "other.txt"
    file.write_text('Nothing here. Then "something quoted" and nothing more, for a while at least.\n')
    figure, printed = draw("cell", "lstm", "--follow", "quotes", "--text-file", file)
    assert "on 78 characters" in printed
    shown = images(figure)[0].filled(numpy.nan)[0]
    inside = inside_quotes(file.read_text()) == 1
    assert shown[:78][inside].mean() > 0.5 + shown[:78][~inside].mean()  # dark inside, whatever the sign


def test_a_cell_that_fits_only_where_it_was_chosen_is_called_chance(draw, plant):
    plant(4, everywhere=False)
    _, printed = draw("cell", "lstm", "--follow", "quotes")
    first = printed.splitlines()[1]
    assert first.split()[:2] == ["quotes", "4"] and float(first.split()[5]) > 0.6
    assert first.endswith("no better than chance")
    assert printed.rstrip().split("; picture")[0].endswith("no better than chance")


def test_the_search_reads_as_much_as_it_is_told_to_of_two_texts(draw, plant):
    calls = plant(4)
    _, printed = draw("cell", "lstm", "--follow", "all", "--search-length", 1500)
    assert calls == [1500, 1500]
    rows = {line.split()[0]: line for line in printed.splitlines() if not line.startswith(" ")}
    assert rows.keys() >= {"position", "quotes", "brackets", "capitals", "indent"}
    assert rows["indent"].endswith("not in the validation part and the test part")
    assert "closest to quotes: cell 4" in printed


def test_a_search_that_finds_nothing_says_which_text_lacks_it_and_how_to_give_another(refuse):
    read = load_corpus("pydoc", "char", max_tokens=3000)
    both = refuse("cell", "lstm", "--follow", "indent")
    assert both.endswith(
        f"no cell can follow indent: none in the {len(read.valid):,} characters of the validation part and the "
        f"{len(read.test):,} characters of the test part; train a run on a text that has it\n")
    first = refuse("cell", "lstm", "--follow", "indent", "--text", "a\n  b\n")
    assert "of the validation part; train a run" in first and "given" not in first


def test_a_search_over_real_states_names_its_layer(draw):
    _, printed = draw("cell", "better", "--follow", "position", "--search-length", 600, "--layer", 1)
    assert all("of layer 1" in line for line in printed.splitlines()[1:])
    _, printed = draw("cell", "rnn", "--follow", "all", "--search-length", 600, chapter="ch_rnn")
    assert "closest to" in printed


def test_states_are_drawn_in_two_dimensions(draw, runs):
    figure, printed = draw("states", "lstm", "--text", TEXT, "--state", "c")
    wanted, shares = principal_components(traced(runs, "lstm", TEXT)["c"][0])
    numpy.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), wanted, atol=1e-3)
    assert printed.startswith(f"two principal components hold {shares.sum():.0%} of the variance of c")
    figure, _ = draw("states", "words", "--text", "a list is an object")
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "list", "is", "an", "object"]


def test_neighbours_of_words(draw, runs):
    figure, printed = draw("neighbours", "words", "--words", "a", "object", "a", "--top", 3)
    _, vocabulary, model, _ = load_run(runs / "words", ch_lstm.models.MODELS)
    found = nearest("a", vocabulary.word_to_id, vocabulary.id_to_word, model.layers[0].params[0], 3)
    first, second = [axes for axes in figure.axes if axes.axison]
    numpy.testing.assert_allclose([bar.get_width() for bar in first.patches], [cosine for _, cosine in found])
    assert printed.startswith(f"nearest: a: {found[0][0]} {found[0][1]:.2f}, object: ")


def test_singular_values_are_kept_from_before_training_to_the_last_epoch(draw, runs):
    figure, printed = draw("singular", "better", "--layer", 1)
    _, _, model, _ = load_run(runs / "better", ch_lstm.models.MODELS, "last")
    wanted = numpy.linalg.svd(model.recurrent_layers[1].params[1], compute_uv=False)
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    assert list(curves) == ["epoch 0", "epoch 2"]
    numpy.testing.assert_allclose(curves["epoch 2"], wanted, atol=2e-6)
    assert not numpy.allclose(curves["epoch 0"], wanted)
    assert printed.startswith(f"largest singular value of Wh: {curves['epoch 0'][0]:.2f} at epoch 0, "
                              f"{wanted[0]:.2f} at epoch 2")


def test_singular_values_of_a_run_that_has_no_best_yet(runs, tmp_path, draw):
    run = tmp_path / "begun"
    shutil.copytree(runs / "lstm", run)
    (run / "best.npz").unlink()
    draw("singular", run)


def test_a_resumed_run_keeps_the_same_singular_values(runs, tmp_path):
    shutil.copytree(runs / "lstm", tmp_path / "halves")
    shutil.copytree(runs / "lstm", tmp_path / "through")
    for folder, steps in ("through", [4]), ("halves", [3, 4]):
        for epochs in steps:
            assert ch_lstm.train.main(["--out", str(tmp_path / folder), "--resume", "--epochs", str(epochs)]) == 0
    (through, epochs), (halves, _) = map(noted, (tmp_path / "through", tmp_path / "halves"))
    assert epochs == [0, 1, 2, 3, 4] and len(through) == 5
    numpy.testing.assert_array_equal(through, halves)


def noted(run):
    """The singular values of the first layer in last.npz, and their epochs."""
    arrays, header = parts_of(run / "last.npz")
    return arrays["singular_values_0"], header["progress"]["singular_value_epochs"]


def forget(header):
    header["progress"]["singular_value_epochs"] = []


def test_an_older_run_can_be_resumed_and_keeps_them_from_then_on(runs, tmp_path, refuse, draw):
    run = tmp_path / "old"
    shutil.copytree(runs / "lstm", run)
    rewrite(run / "last.npz", forget, singular_values_0=None)
    assert "older version" in refuse("singular", run)
    assert ch_lstm.train.main(["--out", str(run), "--resume", "--epochs", "3"]) == 0
    assert noted(run)[1] == [3]
    draw("singular", run)


@pytest.mark.parametrize("values", [None, numpy.ones((2, 6)), numpy.ones(3), numpy.ones((3, 0)), numpy.ones((3, 2, 2))])
def test_damaged_singular_values_are_an_error_of_one_line(values, runs, tmp_path, refuse):
    run = tmp_path / "damaged"
    shutil.copytree(runs / "lstm", run)
    rewrite(run / "last.npz", singular_values_0=values)
    assert "damaged" in refuse("singular", run)


@pytest.mark.training
def test_gradients_vanish_and_explode_in_the_rnn_and_clipping_scales_them(draw):
    figure, printed = draw("gradients", "--length", 30, "--hidden-size", 24, "--batch-size", 8, "--steps", 60,
                           "--lr", 0.5)
    small, large, norms, loss = figure.axes
    curves = {line.get_label(): numpy.asarray(line.get_ydata()) for line in small.lines}
    for cell in ("RNN", "LSTM", "GRU"):
        assert len(curves[cell]) == 31
        factors = curves[f"{cell} after clipping"] / curves[cell]
        assert factors[0] <= 1
        numpy.testing.assert_allclose(factors, factors[0], rtol=1e-5)  # one factor for all time steps
    model, _, held_out = memory.build("adding", "rnn", 30, memory.Settings(hidden_size=24, batch_size=8))
    model.recurrent.params[1][...] *= ch_lstm.pictures.SMALL
    wanted, _, _ = memory.state_gradient_norms(model, held_out, memory.Settings(batch_size=8))
    numpy.testing.assert_allclose(curves["RNN"], wanted)
    assert curves["RNN"][0] < 1e-6 * curves["RNN"][-1]
    exploding = {line.get_label(): numpy.asarray(line.get_ydata()) for line in large.lines}
    assert exploding["RNN"][0] > 10 * exploding["RNN"][-1]
    assert exploding["RNN after clipping"][0] < exploding["RNN"][0] / 10

    without, before, after = (numpy.asarray(line.get_ydata()) for line in norms.lines)
    assert len(without) < 60 == len(before) == len(after)  # it overflows
    assert f"without clipping the loss overflows at update {len(without) + 1}, with clipping it is " in printed
    assert before[0] == without[0] > 1
    numpy.testing.assert_array_equal(after, numpy.minimum(before, 1))
    assert loss.lines[1].get_ydata()[-1] < loss.lines[1].get_ydata()[0]
    assert norms.get_ylim()[1] < without.max()  # the curve with clipping fills the picture
    assert norms.get_ylim()[0] < before.min() and before.max() < norms.get_ylim()[1]


def test_gradients_that_need_no_clipping(draw):
    _, printed = draw("gradients", "--length", 4, "--hidden-size", 4, "--batch-size", 4, "--steps", 3, "--lr", 1e-4,
                      "--memory-bias", 0, "--max-grad", 1000)
    assert "without clipping the loss ends at " in printed


@pytest.mark.training
def test_confusion_is_that_of_the_test_part(draw, runs):
    figure, printed = draw("confusion", "reviews")
    settings, vocabulary, model = ch_lstm.classify.load_run(runs / "reviews")
    classes = settings.classes
    test = ch_lstm.classify.TASKS["reviews"]["load"](seed=settings.seed)[2]
    wanted = numpy.zeros((2, 2), dtype=int)
    for text, label in test:
        ids = vocabulary.encode(ch_lstm.classify.tokenize_words(text))
        wanted[classes.index(label), int(model.predict(ids[None]).argmax())] += 1
    assert wanted[0, 1] != wanted[1, 0]  # true and predicted cannot be taken for each other
    (axes,) = figure.axes
    assert [int(text.get_text()) for text in axes.texts] == wanted.reshape(-1).tolist()
    assert printed.startswith(f"{wanted.trace() / len(test):.1%} of {len(test):,} right")
    assert [label.get_text() for label in axes.get_xticklabels()] == classes


@pytest.mark.parametrize("args", [
    ["cell", "lstm", "--cell", "2", "--text", TEXT], ["states", "better", "--text", TEXT, "--layer", "1"],
    ["neighbours", "words", "--words", "object"], ["singular", "lstm"], ["confusion", "reviews"],
    ["gradients", *TINY_GRADIENTS]])
def test_a_picture_is_the_same_from_either_device(args, device, draw):
    on_cpu = draw(*args)[1]
    assert device == "cpu" or draw(*args, "--device", device)[1] == on_cpu


@pytest.mark.parametrize("args, words", [
    (["curves", "nowhere"], "there is no run with a complete epoch in nowhere"),
    (["curves", "lstm", "lstm"], "given twice"),
    (["curves"], "RUN"),
    (["gates", "nowhere", "--text", "ab"], "there is no run in nowhere"),
    (["gates", "rnn", "--text", "ab"], "rnn is a run of ch_rnn.train, wanted one of ch_lstm.train"),
    (["gates", "lstm"], "--text"),
    (["gates", "lstm", "--text", ""], "--text has 0 tokens: from 1 to 200 fit"),
    (["gates", "lstm", "--text", "a" * 201], "--text has 201 tokens: from 1 to 200 fit"),
    (["gates", "lstm", "--text", "a\u4e2d"], "--text has '\u4e2d'"),
    (["gates", "lstm", "--text", "ab", "--cells", "3", "12"], "there is no cell 12: the cells are 0 to 11"),
    (["gates", "lstm", "--text", "ab", "--layer", "1"], "--layer 1 is not there: the model has 1 recurrent layer"),
    (["cell", "lstm", "--text", "ab"], "one of --cell and --follow"),
    (["cell", "lstm", "--cell", "1", "--follow", "quotes"], "one of --cell and --follow"),
    (["cell", "lstm", "--cell", "1"], "--cell needs a text"),
    (["cell", "lstm", "--cell", "12", "--text", "ab"], "there is no cell 12"),
    (["cell", "lstm", "--cell", "1", "--text", "ab", "--search-length", "3"], "--search-length goes with --follow"),
    (["cell", "lstm", "--cell", "1", "--text", ""], "the text is empty"),
    (["cell", "lstm", "--cell", "1", "--text", "ab", "--text-file", "x"], "one of --text and --text-file"),
    (["cell", "lstm", "--cell", "1", "--text-file", "nowhere.txt"], "nowhere.txt"),
    (["cell", "lstm", "--follow", "rhymes"], "invalid choice: 'rhymes'"),
    (["cell", "lstm", "--follow", "quotes", "--text", "none here"],
     "no cell can follow quotes: none in the 9 characters of the text that is given; "
     "give a text that has it by --text or --text-file"),
    (["cell", "lstm", "--follow", "quotes", "--text", 'here "it" is', "--search-length", "4"],
     "no cell can follow quotes: none in the 4 characters of the validation part and the 4 characters of the text that "
     "is given; read more by --search-length, or train a run on a text that has it"),
    (["cell", "lstm", "--follow", "all", "--text", "a"],
     "no cell can follow anything: no signal is in both texts, see the table; "),
    (["cell", "lstm", "--follow", "quotes", "--layer", "1"], "--layer 1 is not there"),
    (["cell", "words", "--follow", "quotes"], "train with --unit char"),
    (["states", "lstm", "--text", "a"], "--text has 1 token: from 2 to 200 fit"),
    (["states", "better", "--text", "ab", "--layer", "2"], "has 2 recurrent layers"),
    (["neighbours", "words", "--words", "objekt"], "'objekt' (near it: object"),
    (["singular", "reviews"], "reviews is a run of ch_lstm.classify, wanted one of ch_lstm.train"),
    (["singular", "lstm", "--layer", "1"], "--layer 1 is not there"),
    (["gradients", "--length", "1"], "--length of at least 2"),
    (["gradients", "--lr", "0"], "a number above 0"),
    (["gradients", *TINY_GRADIENTS, "--lr", "1e30"], "even with clipping the loss overflows, at update 2"),
    (["confusion", "lstm"], "lstm is a run of ch_lstm.train, wanted one of ch_lstm.classify"),
    (["confusion", "nowhere"], "there is no run in nowhere"),
    ([], "PICTURE"),
    (["portrait"], "invalid choice: 'portrait'"),
])
def test_wrong_use_is_one_line(args, words, refuse):
    assert words in refuse(*args)


def test_wrong_use_of_what_only_one_chapter_has(refuse):
    assert "has no cells" in refuse("states", "rnn", "--text", "ab", "--state", "c", chapter="ch_rnn")
    assert "invalid choice: 'gradients'" in refuse("gradients", chapter="ch_rnn")


@pytest.mark.parametrize("args", [
    ["curves", "lstm", "rnn"], ["gates", "lstm", "--text", TEXT], ["cell", "lstm", "--cell", "2", "--text", TEXT],
    ["states", "better", "--text", TEXT], ["neighbours", "words", "--words", "object"], ["singular", "lstm"],
    ["confusion", "reviews"], ["gradients", *TINY_GRADIENTS]])
def test_every_picture_can_be_written(args, runs, monkeypatch, tmp_path):
    monkeypatch.chdir(runs)
    assert ch_lstm.pictures.main([*args, "--out", str(tmp_path / "picture.png")]) == 0
    with PIL.Image.open(tmp_path / "picture.png") as picture:
        assert picture.size[0] > 200 and picture.format == "PNG"
        low, high = picture.convert("L").getextrema()
        assert low < 50 and high == 255


def test_a_picture_is_a_png(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert ch_lstm.pictures.main(["curves", "lstm", "--out", "curves.jpg"]) == 2
    assert "must end in .png" in capsys.readouterr().err
    assert ch_lstm.pictures.main(["curves", "lstm", "--out", "lstm/config.json/x.png"]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "epoch,train_perplexity\n1,2\n", "epoch,valid_perplexity\n1,x\n", "\0"])
def test_a_damaged_history_is_an_error_of_one_line(text, tmp_path, refuse):
    (tmp_path / "history.csv").write_text(text)
    assert "damaged" in refuse("curves", tmp_path)


def test_a_corpus_that_has_changed_is_not_searched(runs, tmp_path, refuse):
    text = tmp_path / "text.txt"
    text.write_text('He said "no" to (all) of us.\n' * 40)
    assert ch_lstm.train.main(["--smoke", "--unit", "char", "--corpus", str(text), "--out", str(tmp_path / "run")]) == 0
    text.write_text('She said "yes" to (some) of them.\n' * 40)
    assert "has changed since" in refuse("cell", tmp_path / "run", "--follow", "quotes")


@pytest.mark.parametrize("chapter, name", [
    *((chapter, name) for chapter in CHAPTERS for name in pictures.PICTURES),
    ("ch_lstm", "gradients"), ("ch_lstm", "confusion"), ("ch_lstm", None), ("ch_rnn", None)])
def test_help(chapter, name, capsys):
    with pytest.raises(SystemExit) as exit:
        CHAPTERS[chapter].pictures.main([*filter(None, [name]), "--help"])
    assert exit.value.code == 0
    assert f"python -m {chapter}.pictures" in capsys.readouterr().out
