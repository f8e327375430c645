"""What make small-model writes is the file that comes with the project, as far as rounding allows."""
import json
import math

import numpy
import pytest

from ch_lstm import small_model
from common.files.safetensors import read_with_metadata
from common.language_model import run as training_run
from common.language_model.settings import TrainSettings
from dataset.corpus import load_corpus

MAY_DIFFER = {"python", "arrays", "models"}
COMPARED_APART = {"configuration", "valid_perplexity", "test_perplexity", "test_bits", "first_steps"}


@pytest.fixture(scope="module")
def recorded():
    arrays, texts = read_with_metadata(small_model.FILE)
    texts = {name: json.loads(text) for name, text in texts.items()}
    found = load_corpus("pydoc", "char").fingerprint
    if found != texts["corpus"]:
        pytest.skip(f"the documentation of this Python is another text than that of {texts['python']}")
    return arrays, texts


def test_a_new_training_makes_the_same_file(recorded, tmp_path, monkeypatch):
    arrays, texts = recorded
    noted, step = [], training_run.training_step

    def noting(model, optimizer, *args):
        loss = step(model, optimizer, *args)
        if optimizer.steps == small_model.STEPS:
            noted.append(small_model.norms(model))
        return loss

    monkeypatch.setattr(training_run, "training_step", noting)
    assert small_model.main(["--out", str(tmp_path / "new.safetensors")]) == 0
    new_arrays, new_texts = read_with_metadata(tmp_path / "new.safetensors")
    new_texts = {name: json.loads(text) for name, text in new_texts.items()}

    assert {name: (array.shape, array.dtype) for name, array in new_arrays.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()}
    assert new_texts.keys() == texts.keys()
    for name in texts.keys() - MAY_DIFFER:
        assert new_texts[name] == texts[name], name
    assert list(new_texts["models"]) == list(texts["models"])
    # Each model is trained, and then its first steps are made again for the record.
    trained, on_record = noted[::2], noted[1::2]
    assert trained == on_record
    for (cell, of), norms in zip(texts["models"].items(), trained, strict=True):
        new = new_texts["models"][cell]
        assert {name: new[name] for name in new.keys() - COMPARED_APART} == {
            name: of[name] for name in of.keys() - COMPARED_APART}
        # A setting that is newer than the file has its default.
        assert TrainSettings(**new["configuration"]) == TrainSettings(**of["configuration"])
        assert new["first_steps"]["steps"] == of["first_steps"]["steps"]
        numpy.testing.assert_allclose(norms, of["first_steps"]["norms"], rtol=1e-5)
        numpy.testing.assert_allclose(new["first_steps"]["norms"], of["first_steps"]["norms"], rtol=1e-5)
        assert math.isclose(new["test_bits"], of["test_bits"], rel_tol=0.01)
