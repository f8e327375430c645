"""Equal runs leave equal bits, whatever does not belong to the run."""
import pytest
from runs import KINDS, assert_same_run

PROMISE = "The same seed gives the same bits"
WIDE = ("--hidden-size", "160", "--wordvec-size", "160", "--batch-size", "60", "--time-size", "4", "--epochs", "2",
        "--lr", "1", "--save-every", "1e9")  # products that OpenBLAS shares out among its threads


@pytest.mark.promise(PROMISE)
def test_twice(launcher, tmp_path, full, count_cases):
    """Each kind of run is trained twice, and all files are compared byte for byte."""
    for name in KINDS if full else ("dropout", "gpu"):
        child = launcher.train(KINDS[name], tmp_path / name)
        assert child.wait() == 0, child.output
        assert_same_run(tmp_path / name, launcher.wanted(KINDS[name])[0])
        count_cases(1)


@pytest.mark.promise(PROMISE)
def test_whatever_the_hashes_of_texts(launcher, tmp_path, full, count_cases):
    """New processes with several values of PYTHONHASHSEED leave the same files."""
    for seed in (*range(6), 2**32 - 1, "random") if full else (1, "random"):
        child = launcher.train(KINDS["adamw"], tmp_path / str(seed), new_process=True,
                               environment={"PYTHONHASHSEED": str(seed)})
        assert child.wait() == 0, child.output
        assert_same_run(tmp_path / str(seed), launcher.wanted(KINDS["adamw"])[0])
        count_cases(1)


@pytest.mark.promise("How often a run saves changes nothing in it")
@pytest.mark.parametrize("seconds", ["1e-9", "0.01", "1e9"])
def test_however_often_it_saves(seconds, launcher, tmp_path, full, count_cases):
    """--save-every, from a checkpoint at every step to none within an epoch, leaves the same files."""
    for name in KINDS if full else ["dropout"]:
        child = launcher.train(KINDS[name], tmp_path / name, flags=["--save-every", seconds])
        assert child.wait() == 0, child.output
        assert_same_run(tmp_path / name, launcher.wanted(KINDS[name])[0], but=["config.json"])
        count_cases(1)


@pytest.mark.promise(PROMISE)
def test_from_another_folder(launcher, tmp_path):
    """A run that is started in another folder, with relative paths, leaves the same files."""
    (tmp_path / "here").mkdir()
    child = launcher.train(KINDS["rnn"], "../run", cwd=tmp_path / "here")
    assert child.wait() == 0, child.output
    assert_same_run(tmp_path / "run", launcher.wanted(KINDS["rnn"])[0])


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_with_the_same_number_of_threads(threads, launcher, tmp_path):
    """Runs with wide layers are trained twice with one thread and twice with two, and compared byte for byte."""
    for name in ("one", "other"):
        child = launcher.start("ch_lstm.train", ["--corpus", launcher.text, "--out", tmp_path / name, *WIDE],
                               new_process=True, environment={"OPENBLAS_NUM_THREADS": threads})
        assert child.wait() == 0, child.output
    assert_same_run(tmp_path / "one", tmp_path / "other")
