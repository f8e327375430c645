"""The small model that comes with the project: it is whole, and commands take it where there is no run."""
import json
import math
import os
import struct

import numpy
import pytest

from ch_lstm import evaluate, generate, microscope, pictures, small_model
from ch_lstm.models import MODELS
from common.errors import InputError
from common.files.arrays import description
from common.files.safetensors import read_with_metadata, write_safetensors
from common.language_model.commands import corpus_of_run, load_run, model_in_file
from common.language_model.evaluate import perplexity
from common.language_model.model_file import read_model_file
from common.language_model.settings import PlaceSettings
from dataset.corpus import load_corpus

D, H = 32, 96
SHOWN = "is the small model that comes with the project"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def same_documentation():
    texts = read_model_file(small_model.FILE).texts
    if load_corpus("pydoc", "char").fingerprint != texts["corpus"]:
        pytest.skip(f"the documentation of this Python is another text than that of {texts['python']}")


@pytest.fixture(scope="module")
def content():
    return read_with_metadata(small_model.FILE)


def test_the_file_says_what_it_is():
    _, texts, vocabulary, arrays = read_model_file(small_model.FILE)
    assert os.path.getsize(small_model.FILE) < 500_000
    assert texts["command"] == "make small-model" and "PSF" in texts["licence"] and "MIT" in texts["licence"]
    assert list(texts["models"]) == list(microscope.QUANTITIES) == list(arrays)
    V = vocabulary.size
    for name, gates in ("lstm", 4), ("rnn", 1):
        shapes = [(V, D), (D, gates * H), (H, gates * H), (gates * H,), (H, V), (V,)]
        assert [arrays[name][f"param_{i}"].shape for i in range(6)] == shapes and len(arrays[name]) == 6
        assert {array.dtype for array in arrays[name].values()} == {numpy.dtype("float32")}
        of = texts["models"][name]
        assert of["command"].startswith("python -m ch_lstm.train --recipe small") and of["configuration"]["seed"] == 0
        assert of["first_steps"]["steps"] == small_model.STEPS and len(of["first_steps"]["norms"]) == 6
        assert math.isclose(of["test_bits"], math.log2(of["test_perplexity"]))
    assert texts["models"]["lstm"]["test_bits"] < texts["models"]["rnn"]["test_bits"] < 2.3


@pytest.mark.usefixtures("same_documentation")
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_the_model_is_as_good_as_the_file_says(cell):
    run = model_in_file(read_model_file(small_model.FILE), MODELS, cell)
    corpus = corpus_of_run(run, PlaceSettings())
    recorded = read_model_file(small_model.FILE).texts["models"][cell]
    assert math.isclose(perplexity(run.model, corpus.test), recorded["test_perplexity"], rel_tol=1e-3)
    assert math.isclose(perplexity(run.model, corpus.valid), recorded["valid_perplexity"], rel_tol=1e-3)


@pytest.mark.parametrize("named", [[], ["small"], [str(small_model.FILE)]])
def test_it_generates_without_a_run(named, capsys):
    flags = ["--prompt", "The ", "--length", "30", "--greedy"]
    assert generate.main([*named, *flags]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("The ") and len(out.rstrip("\n")) >= 20
    assert (SHOWN in err and err.count("\n") == 1) if not named else err == ""


@pytest.mark.usefixtures("same_documentation")
def test_it_is_evaluated_without_a_run(capsys):
    assert evaluate.main([]) == 0
    out, err = capsys.readouterr()
    bits = read_model_file(small_model.FILE).texts["models"]["lstm"]["test_bits"]
    assert f"({bits:.2f} bits per character" in out and SHOWN in err


def test_the_documentation_of_another_python_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("dataset.pydoc_topics.load_text", lambda part: "The text of another version.\n" * 99)
    assert evaluate.main(["small"]) == 2
    err = capsys.readouterr().err
    assert "pydoc is not the text that the model was trained on: that is the documentation of another version" in err
    assert err.count("\n") == 1


def test_a_folder_of_its_name_is_a_run(tmp_path, capsys):
    (tmp_path / "small").mkdir()
    assert generate.main(["small"]) == 2
    assert "there is no run in small: small/config.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", [lambda: generate.main(["small", "--checkpoint", "last"]),
                                     lambda: pictures.main(["singular", "small"])])
def test_it_has_no_last_checkpoint(command, capsys):
    assert command() == 2
    err = capsys.readouterr().err
    assert "the small model has no last checkpoint" in err and err.count("\n") == 1


def test_the_microscope_shows_it_without_training(capsys, monkeypatch, tmp_path):
    def never(*args):
        raise AssertionError("something is trained or read")

    for name in "_train", "load_corpus":
        monkeypatch.setattr(microscope, name, never)
    assert microscope.main(["--text", "the value of a list"]) == 0
    assert capsys.readouterr().out.startswith("microscope.html: ")
    html = (tmp_path / "microscope.html").read_text(encoding="utf-8")
    data = json.loads(html.partition('id="data">')[2].partition("</script")[0])
    assert data["corpus"] == "the documentation of Python"
    for cell, of in read_model_file(small_model.FILE).texts["models"].items():
        shown = data["models"][cell]
        assert shown["hidden_size"] == H and shown["perplexity"] == round(of["valid_perplexity"], 2)
        assert shown["source"] == f"trained for {of['configuration']['epochs']} epochs"
    for flag in ("--epochs", "1"), ("--hidden-size", "8"), ("--seed", "1"), ("--lr", "0.1"), ("--wordvec-size", "4"):
        with pytest.raises(AssertionError, match="is trained or read"):
            microscope.main([*flag])


def changed_json(texts, name, change):
    value = json.loads(texts[name])
    change(value)
    return texts | {name: json.dumps(value)}


@pytest.mark.parametrize("change, message", [
    (lambda a, t: (a, {}), "is no file of trained models: it does not say what its arrays are"),
    (lambda a, t: (a, t | {"format": "2"}), "has format 2, wanted 1: it is of a newer version"),
    (lambda a, t: (a, t | {"format": "{"}), "its text 'format', is damaged: its text is no JSON"),
    (lambda a, t: (a, {k: v for k, v in t.items() if k != "licence"}), "lacks 'licence'"),
    (lambda a, t: (a, t | {"more": "1"}), "has 'more', which does not belong there"),
    (lambda a, t: (a, t | {"models": "{}"}), "models names no model"),
    (lambda a, t: (a, changed_json(t, "vocabulary", lambda v: v["words"].append(v["words"][0]))),
     "holds no vocabulary"),
    (lambda a, t: (a, changed_json(t, "vocabulary", lambda v: (v["words"].pop(), v["frequencies"].pop()))),
     "does not fit this run: it has float32 of shape"),
    (lambda a, t: (a, changed_json(t, "models", lambda m: m["lstm"]["configuration"].update(hidden_size=95))),
     "does not fit this run: it has float32 of shape"),
    (lambda a, t: (a, changed_json(t, "models", lambda m: m["lstm"]["configuration"].update(epochs=-1))),
     "is damaged: its configuration of lstm: epochs is -1"),
    (lambda a, t: (a, changed_json(t, "models", lambda m: m["lstm"]["configuration"].update(x=1))),
     "is damaged: its configuration of lstm: "),
    (lambda a, t: (a, changed_json(t, "models", lambda m: m["lstm"]["configuration"].update(model="other"))),
     "is of the model 'other', wanted one of rnnlm"),
    (lambda a, t: (a, changed_json(t, "models", lambda m: m.update({"x": m.pop("lstm")}))),
     "which is of none of its models"),
    (lambda a, t: ({k: v for k, v in a.items() if k != "rnn.param_0"}, t), "its arrays are not those that were saved"),
    (lambda a, t: (a | {"rnn.param_0": a["rnn.param_0"] + 1}, t), "its arrays are not those that were saved"),
    (lambda a, t: (a | {"rnn.param_0": a["rnn.param_0"].astype(float)}, t), "its arrays are not those that were saved"),
])
def test_damage_is_one_line(change, message, content, tmp_path, capsys):
    arrays, texts = content
    path = tmp_path / "x.safetensors"
    write_safetensors(path, *change(arrays, texts))
    with pytest.raises(InputError) as raised:
        model_in_file(read_model_file(path), MODELS)
    line = str(raised.value)
    assert message in line and str(path) in line and "\n" not in line


def test_numbers_that_are_not_finite_are_refused(content, tmp_path):
    arrays, texts = content
    bad = arrays["rnn.param_5"].copy()
    bad[0] = numpy.nan
    path = tmp_path / "x.safetensors"
    described = json.loads(texts["arrays"])
    described["rnn.param_5"] = description(bad)
    write_safetensors(path, arrays | {"rnn.param_5": bad}, texts | {"arrays": json.dumps(described)})
    with pytest.raises(InputError, match=r"is damaged: an array \(rnn\.param_5\) is not finite"):
        read_model_file(path)


def test_a_changed_byte_is_noticed_by_the_commands(tmp_path, capsys, monkeypatch):
    whole = bytearray(small_model.FILE.read_bytes())
    (length,) = struct.unpack_from("<Q", whole)
    whole[8 + length + 1000] ^= 1
    path = tmp_path / "small.safetensors"
    path.write_bytes(whole)
    monkeypatch.setattr("common.language_model.commands.small_model_of", lambda models: path)
    monkeypatch.setattr(microscope, "small_model_of", lambda models: path)
    for command in generate, evaluate, microscope:
        assert command.main([]) == 2
        assert "its arrays are not those that were saved" in capsys.readouterr().err


def test_a_model_that_is_not_there():
    with pytest.raises(InputError, match="has no model 'gru', but lstm, rnn"):
        model_in_file(read_model_file(small_model.FILE), MODELS, "gru")
    assert load_run(None, MODELS).settings.model == "rnnlm"
