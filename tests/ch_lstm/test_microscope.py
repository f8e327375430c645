import base64
import json
import pathlib
import re

import numpy
import pytest

import common
from ch_lstm import microscope, train
from common.language_model.cell_rnnlm import CellRnnlm
from common.text.vocabulary import Vocabulary
from common.training.batches import StripBatches

D, H = 3, 4
TEXT = "a list (b)"
HOSTILE = "</script><b>\"'&\\ {{DATA}}\n\t<!--ü\u2028𝒳"
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
@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_the_page_has_the_very_weights(cell, dtype):
    vocabulary = Vocabulary(sorted(set(TEXT)))
    model = CellRnnlm(cell, vocabulary.size, D, H, seed=0, dtype=dtype)
    data = microscope.page_data(vocabulary.encode(TEXT), vocabulary, {cell: model})["models"][cell]
    assert list(data["weights"]) == ["embedding", "Wx", "Wh", "b", "W", "output_b"]
    for weight, param in zip(data["weights"].values(), model.params, strict=True):
        read = numpy.frombuffer(base64.b64decode(weight["base64"]), weight["dtype"])
        assert read.dtype == dtype and read.tolist() == param.reshape(-1).tolist()
    assert (data["hidden_size"], data["parameters"]) == (H, sum(param.size for param in model.params))


def test_the_characters_stand_in_the_order_of_their_ids(data):
    assert data["characters"] == sorted(set(TEXT)) and "".join(data["text"]) == TEXT
    assert data["longest"] == microscope.LONGEST


def test_every_gradient_of_a_step_is_shown():
    shown = {"lstm": set("dh do dc df dg di dc_prev daf dag dai dao dx".split()), "rnn": {"dh", "da", "dx"}}
    assert {cell: set(names) for cell, names in microscope.BACKWARD.items()} == shown


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

    _, _, model, _ = microscope.load_run(tmp_path / "char-rnnlm", microscope.MODELS)
    Wh = base64.b64decode(data["models"]["lstm"]["weights"]["Wh"]["base64"])
    assert Wh == model.layers[1].params[1].tobytes()

    page = out.read_bytes()
    capsys.readouterr()
    for folder, message in (("word-rnnlm", "reads units of 'word': train one with --unit char"),
                            ("char-better", "is of the model 'better': the page shows one LSTM layer"),
                            ("none", "there is no run in")):
        assert microscope.main([*flags, str(tmp_path / folder)]) == 2
        assert message in capsys.readouterr().err
    corpus.write_text("another line of a list?\n" * 100, encoding="utf-8")
    assert microscope.main([*flags, str(tmp_path / "char-rnnlm")]) == 2
    assert "has changed since" in capsys.readouterr().err
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
    (["--lr", "1e38"], "a parameter after epoch 1 is not finite: try a lower learning rate (--lr)"),
    (["--out", "/dev/null"], "cannot write /dev/null: it is a device or a pipe, give the name of a file"),
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
    assert "it is a folder, give the name of a file" in capsys.readouterr().err
