"""A run that version 0.3 made, stopped in its second of three epochs, is read and goes on."""
import csv
import pathlib
import shutil

import numpy
import pytest
from checkpoint_files import parts_of

import ch_lstm.evaluate
import ch_lstm.generate
import ch_lstm.train
from common.language_model import run as training_run

pytestmark = pytest.mark.promise("A run of an earlier version is read and goes on")
KEPT = pathlib.Path(__file__).parent / "format_1"  # history_through.csv is of version 0.3, too, without the stop


@pytest.fixture
def run(tmp_path, monkeypatch):
    shutil.copytree(KEPT, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.mark.parametrize("checkpoint, perplexity", [("best", 13.11), ("last", 12.87)])
def test_it_is_evaluated_and_generates(checkpoint, perplexity, run, capsys):
    flags = ["run", "--checkpoint", checkpoint]
    assert ch_lstm.evaluate.main([*flags, "--corpus", str(run / "text.txt")]) == 0
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(perplexity, abs=0.02)
    assert ch_lstm.generate.main([*flags, "--prompt", "the cat", "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("the cat")


def test_it_goes_on_to_the_end_that_it_would_have_had(run, capsys):
    assert ch_lstm.train.main(["--out", "run", "--resume", "--corpus", str(run / "text.txt")]) == 0
    with open(run / "history.csv", newline="") as file, open(run / "history_through.csv", newline="") as wanted:
        for found, row in zip(csv.DictReader(file), csv.DictReader(wanted), strict=True):
            assert bool(found["gradient_norm"]) == (row["epoch"] != "1")  # it noted none
            for name, number in row.items():
                assert float(found[name]) == pytest.approx(float(number), rel=1e-4)
    arrays, header = parts_of(run / "last.npz")
    assert header["format"] == 2 and header["progress"]["singular_value_epochs"] == [0, 1, 2, 3]
    assert arrays["singular_values_0"].shape == (4, 4)
    assert header["times"]["starts"][0]["step"] == 30
    assert ch_lstm.evaluate.main(["run"]) == 0


def test_another_learning_rate_may_be_given_and_another_size_not(run, capsys):
    resume = ["--out", "run", "--resume", "--corpus", str(run / "text.txt")]
    assert ch_lstm.train.main([*resume, "--hidden-size", "5"]) == 2
    assert ch_lstm.train.main([*resume, "--lr", "0.005"]) == 0
    assert {row["lr"] for row in parts_of(run / "last.npz")[1]["history"][1:]} == {0.005}


def test_a_nan_in_it_is_noticed(run, capsys):
    with numpy.load(run / "best.npz") as file:
        held = {name: file[name] for name in file.files}
    held["param_2"][0, 0] = numpy.nan
    numpy.savez(run / "best.npz", **held)
    assert ch_lstm.evaluate.main(["run", "--corpus", str(run / "text.txt")]) == 2
    assert "best.npz is damaged: a parameter (param_2) is not finite" in capsys.readouterr().err


def test_a_new_learning_rate_is_not_lost_where_the_run_is_killed_before_its_next_checkpoint(run, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    resume = ["--out", "run", "--resume", "--corpus", str(run / "text.txt")]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training_run, "training_step", kill)
        ch_lstm.train.main([*resume, "--lr", "0.001"])
    assert ch_lstm.train.main(resume) == 0
    assert {row["lr"] for row in parts_of(run / "last.npz")[1]["history"][1:]} == {0.001}
