import json
import pathlib
import re

import numpy
import pytest

import common
from ch_lstm import microscope, train
from ch_lstm.cell_rnnlm import CellRnnlm
from common.functions import softmax
from common.gradients.checker import numerical_gradient
from common.text.vocabulary import Vocabulary
from common.training.batches import StripBatches
from common.watch.trace import trace

D, H = 3, 4
TEXT = "a list (b)"
HOSTILE = "</script><b>\"'&\\ {{DATA}}\n\t<!--ü\u2028𝒳"
T = len(TEXT)
CELLS = ("lstm", "rnn")

every_cell = pytest.mark.parametrize("cell", CELLS)


def made(text=TEXT, hidden_size=H):
    """A sentence's ids, its vocabulary and two models of random weights in float64."""
    vocabulary = Vocabulary(sorted(set(text)))
    models = {}
    for cell in CELLS:
        models[cell] = CellRnnlm(cell, vocabulary.size, D, hidden_size, dtype=numpy.float64)
        rng = numpy.random.default_rng(1)
        for param in models[cell].params:
            param[...] = rng.standard_normal(param.shape)
    return vocabulary.encode(text), vocabulary, models


def whole(data):
    """The data of a page with what the script adds."""
    for model in data["models"].values():
        model |= {"source": "trained for 0 epochs", "perplexity": 1.0}
    return data | {"corpus": "nothing"}


@pytest.fixture(scope="module")
def data():
    return microscope.page_data(*made())


@every_cell
def test_forward_numbers_are_those_of_the_tracer(cell, data):
    ids, _, models = made()
    model = models[cell]
    with trace(model) as record:
        scores = model.predict(ids[None])[0]  # (T, V)
    arrays = record["layers[1]"].arrays
    forward = data["models"][cell]["forward"]
    assert forward.keys() == {"lstm": {"af", "ag", "ai", "ao", "f", "g", "i", "o", "c", "h"}, "rnn": {"a", "h"}}[cell]
    for name, rows in forward.items():
        assert rows == numpy.round(arrays[name][0], 3).tolist()
        assert abs(arrays[name]).max() < 10
    assert scores.shape == (T, len(set(TEXT)))


def test_large_numbers_have_fewer_decimals():
    ids, vocabulary, models = made()
    for cell in CELLS:
        models[cell].params[3][:2] = [50, 3333.33]  # the bias
    data = microscope.page_data(ids, vocabulary, models)
    for cell, name in (("lstm", "af"), ("rnn", "a")):
        with trace(models[cell]) as record:
            models[cell].predict(ids[None])
        exact = record["layers[1]"].arrays[name][0]  # (T, H)
        for k, decimals in enumerate((2, 1, 3)):
            found = [row[k] for row in data["models"][cell]["forward"][name]]
            assert found == numpy.round(exact[:, k], decimals).tolist()


@every_cell
def test_next_characters(cell, data):
    ids, vocabulary, models = made()
    found = data["models"][cell]
    probabilities = softmax(models[cell].predict(ids[None])[0])  # (T, V)
    for t, (likeliest, row) in enumerate(zip(found["next"], probabilities, strict=True)):
        assert [probability for _, probability in likeliest] == sorted(numpy.round(row, 3).tolist())[:-7:-1]
        for character, probability in likeliest:
            assert probability == round(float(row[vocabulary.word_to_id[character]]), 3)
        if t < T - 1:
            to_come = float(row[ids[t + 1]])
            assert found["probability"][t] == round(to_come, 3)
            assert found["loss"][t] == round(float(-numpy.log(to_come)), 3)
    assert len(found["probability"]) == len(found["loss"]) == T - 1


def losses(cell, model, ids, changes):
    """The loss of each character to come, by formulas of its own; `changes` are added to quantities, (T, ...) each."""
    embed, Wx, Wh, b, W, bias = model.params
    h = c = numpy.zeros(H)
    result = []
    for t in range(T - 1):
        def changed(name, array, t=t):
            return array + changes[name][t] if name in changes else array

        a = changed("x", embed[ids[t]]) @ Wx + h @ Wh + b
        if cell == "rnn":
            h = changed("h", numpy.tanh(changed("a", a)))
        else:
            af, ag, ai, ao = (changed(f"a{gate}", part) for gate, part in zip("fgio", numpy.split(a, 4)))
            f, i, o = (changed(gate, 1 / (1 + numpy.exp(-part))) for gate, part in (("f", af), ("i", ai), ("o", ao)))
            g = changed("g", numpy.tanh(ag))
            c = changed("c", f * changed("c_prev", c) + g * i)
            h = changed("h", o * numpy.tanh(c))
        scores = h @ W + bias
        result.append(numpy.log(numpy.exp(scores - scores[ids[t + 1]]).sum()))
    return numpy.array(result)  # (T - 1,)


def numerical(cell, model, ids, name, p):
    """The gradient of loss p with respect to a quantity at each step, (T, its size)."""
    change = numpy.zeros((T, D if name == "x" else H))
    return numerical_gradient(lambda: losses(cell, model, ids, {name: change})[p], change)


@pytest.mark.parametrize("p", [0, 4, T - 2])
@pytest.mark.parametrize("cell, name", [(cell, name) for cell in CELLS for name in microscope.BACKWARD[cell]])
def test_norms_are_those_of_the_numerical_gradient(cell, name, p, data):
    ids, _, models = made()
    gradient = numerical(cell, models[cell], ids, name[1:], p)
    exact = microscope.observe(cell, models[cell], ids)["layers[1]"].arrays[name][p]
    numpy.testing.assert_allclose(exact, gradient, rtol=1e-6, atol=1e-9)
    norms = data["models"][cell]["norms"][name][p]
    assert len(norms) == p + 1
    # Three digits are shown. What is 0 is exactly 0: the first cell of all.
    assert norms == pytest.approx(numpy.linalg.norm(gradient, axis=1)[:p + 1].tolist(), rel=5.1e-3, abs=1e-12)
    assert norms == [float(f"{norm:.2e}") for norm in numpy.linalg.norm(exact, axis=1)[:p + 1]]


def test_every_gradient_of_a_step_is_shown():
    for cell in CELLS:
        ids, _, models = made()
        arrays = microscope.observe(cell, models[cell], ids)["layers[1]"].arrays
        shown = {"lstm": set("dh do dc df dg di dc_prev daf dag dai dao dx".split()), "rnn": {"dh", "da", "dx"}}[cell]
        assert shown == set(microscope.BACKWARD[cell]) <= arrays.keys()


@every_cell
def test_the_models_stay_as_they_are(cell):
    ids, vocabulary, models = made()
    models[cell].predict(ids[None])
    params, (state,) = [param.copy() for param in models[cell].params], models[cell].get_state()
    microscope.page_data(ids, vocabulary, models)
    assert all(numpy.array_equal(before, param) for before, param in zip(params, models[cell].params))
    assert models[cell].get_state()[0][0] is state[0]


@every_cell
def test_formulas_and_lines_stand_in_the_source(cell, data):
    for name, quantity in data["models"][cell]["quantities"].items():
        assert quantity["title"] and quantity["words"] and quantity["lines"], name
        for line in quantity["lines"]:
            folder, _, file = line["file"].partition("/")
            assert folder == "common"
            source = (pathlib.Path(common.__file__).parent / file).read_text(encoding="utf-8").splitlines()
            assert line["code"] == source[line["line"] - 1].strip() != ""
            right = re.sub(r"^.*?[-+*/]?= ", "", line["formula"])
            if "matmul" not in right:  # whose out= is left out
                assert right.replace(" ", "") in line["code"].replace(" ", ""), name


def test_some_formulas(data):
    lines = {(cell, name): [line["formula"] for line in quantity["lines"]]
             for cell in CELLS for name, quantity in data["models"][cell]["quantities"].items()}
    assert lines["lstm", "c"] == ["c = f * c_prev + g * i"]
    assert lines["lstm", "f"] == ["a = x @ Wx + h_prev @ Wh + b", "af, ag, ai, ao = split_gates(a)", "f = sigmoid(af)"]
    assert lines["lstm", "df"] == ["df = dc * c_prev"]
    assert lines["rnn", "h"] == ["a = x @ Wx + h_prev @ Wh + b", "h = np.tanh(a)"]
    assert lines["rnn", "dh"][0] == "dh_prev = da @ Wh.T" and lines["rnn", "dh"][-1] == "dh = dout @ W.T"
    assert lines["rnn", "loss"] == ["loss = ((np.log(totals) - target_scores) * weights).sum()"]


def parsed(html):
    """The data within a page, as a browser finds it: up to the first end of the element."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script', html, re.DOTALL | re.IGNORECASE)
    return json.loads(text)


@pytest.mark.parametrize("text", [TEXT, HOSTILE, "\r\n", "--> ]]>"])
def test_any_text_stays_data(text):
    data = whole(microscope.page_data(*made(text)))
    html = microscope.page(data)
    assert parsed(html) == data
    assert "".join(parsed(html)["text"]) == text
    template = microscope.TEMPLATE.read_text(encoding="utf-8")
    assert html.count("<") == template.count("<")
    html.encode("utf-8")


def test_the_page_needs_nothing_else():
    html = microscope.page(whole(microscope.page_data(*made())))
    assert set(re.findall(r"\w+://[\w./]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert re.findall(r'(?:src|href)="(.*?)"', html) == ["data:,"]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", html)


@pytest.mark.parametrize("hidden_size, kilobytes", [(32, 500), (microscope.LARGEST, 1000)])
def test_the_largest_page_is_small(hidden_size, kilobytes):
    text = "abcdefghij" * (microscope.LONGEST // 10)
    html = microscope.page(whole(microscope.page_data(*made(text, hidden_size))))
    assert len(html.encode()) < 1000 * kilobytes


def test_smoke(capsys, tmp_path):
    out = tmp_path / "new folder" / "page.html"
    flags = ["--smoke", "--text", "</script><b>", "--seed", "3", "--out", str(out)]
    assert microscope.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[:2]] == ["LSTM", "RNN "] and str(out) in lines[2]
    page = out.read_bytes()
    data = parsed(page.decode())
    assert "".join(data["text"]) == "</script><b>" and data["corpus"] == "the documentation of Python"
    for model in data["models"].values():
        assert model["hidden_size"] == 4 and model["source"] == "trained for 1 epoch" and model["perplexity"] > 1
    assert microscope.main(flags) == 0
    assert out.read_bytes() == page


def test_the_lstm_of_a_run(capsys, tmp_path):
    corpus = tmp_path / "text.txt"
    corpus.write_text("one line of a list\n" * 100, encoding="utf-8")
    sizes = ["--hidden-size", "5", "--wordvec-size", "6", "--batch-size", "4", "--time-size", "8", "--epochs", "1"]
    for unit, model in (("char", "rnnlm"), ("word", "rnnlm"), ("char", "better")):
        run = ["--corpus", str(corpus), "--unit", unit, "--model", model, "--out", str(tmp_path / f"{unit}-{model}")]
        size = ["--wordvec-size", "5"] if model == "better" else []
        assert train.main([*run, *sizes, *size]) == 0
    out = tmp_path / "page.html"
    flags = ["--text", "a line", "--epochs", "2", "--out", str(out), "--run"]
    assert microscope.main([*flags, str(tmp_path / "char-rnnlm")]) == 0
    data = parsed(out.read_text(encoding="utf-8"))
    assert data["corpus"] == "text.txt"
    assert data["models"]["rnn"]["hidden_size"] == 5 and data["models"]["rnn"]["source"] == "trained for 2 epochs"

    _, vocabulary, model = microscope.load_run(tmp_path / "char-rnnlm", microscope.MODELS)
    with trace(model) as record:
        model.predict(vocabulary.encode("a line")[None])
    numpy.testing.assert_allclose(
        data["models"]["lstm"]["forward"]["c"], record["layers[1]"].arrays["c"][0], atol=0.00051)

    page = out.read_bytes()
    capsys.readouterr()
    for folder, message in (("word-rnnlm", "reads units of 'word': train one with --unit char"),
                            ("char-better", "is of the model 'better': the page shows one LSTM layer"),
                            ("none", "there is no run in")):
        assert microscope.main([*flags, str(tmp_path / folder)]) == 2
        assert message in capsys.readouterr().err
    corpus.write_text("another line of a list?\n" * 100, encoding="utf-8")
    assert microscope.main([*flags, str(tmp_path / "char-rnnlm")]) == 2
    assert "has changed since the run" in capsys.readouterr().err
    assert out.read_bytes() == page


@pytest.mark.parametrize("lines, batch", [(40, (12, 50)), (2, (1, 29))])
def test_a_short_corpus_has_smaller_batches(lines, batch, tmp_path, monkeypatch):
    corpus, run, out = tmp_path / "text.txt", tmp_path / "run", tmp_path / "page.html"
    corpus.write_text("one line of a list\n" * lines, encoding="utf-8")
    assert train.main(["--corpus", str(corpus), "--unit", "char", "--out", str(run), "--hidden-size", "4",
                       "--wordvec-size", "4", "--batch-size", "2", "--time-size", "5", "--epochs", "1"]) == 0
    batches = []

    def strip_batches(xs, ts, *sizes):
        batches.append(sizes)
        return StripBatches(xs, ts, *sizes)

    monkeypatch.setattr(microscope, "StripBatches", strip_batches)
    assert microscope.main(["--run", str(run), "--epochs", "1", "--text", "a line", "--out", str(out)]) == 0
    assert batches == [batch]
    assert parsed(out.read_text(encoding="utf-8"))["models"]["rnn"]["perplexity"] > 1


@pytest.mark.parametrize("flags, message", [
    (["--text", ""], "the sentence has 0 characters: give --text from 2 to 60"),
    (["--text", "a"], "the sentence has 1 characters"),
    (["--text", "a" * 61], "the sentence has 61 characters"),
    (["--text", "naïve 漢\x1b"], r"--text has 'ï', '漢', '\x1b', which the training text never has"),
    (["--hidden-size", "101"], "101 units are too many for a page: at most 100"),
    (["--hidden-size", "0"], "'0' is not a whole number from 1"),
    (["--lr", "1e38"], "the perplexity of the LSTM is not finite: try a lower learning rate (--lr)"),
    (["--lr", "1e38", "--epochs", "2"], "the loss of epoch 2 is not finite: try a lower learning rate (--lr)"),
    (["--checkpoint", "last"], "--checkpoint goes with --run"),
    (["--run", "x", "--hidden-size", "8"], "--hidden-size does not go with --run"),
])
def test_wrong_use_is_one_line(capsys, tmp_path, flags, message):
    out = tmp_path / "page.html"
    out.write_text("kept")
    assert microscope.main(["--smoke", "--out", str(out), *flags]) == 2
    line = capsys.readouterr().err
    assert message in line and re.fullmatch(r"python -m ch_lstm\.microscope: .*\n", line)
    assert out.read_text() == "kept"


def test_a_folder_is_no_page(capsys, tmp_path):
    assert microscope.main(["--smoke", "--out", str(tmp_path)]) == 2
    assert "is a folder: give --out the name of a file" in capsys.readouterr().err
