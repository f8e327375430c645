"""Disks that are full, broken or not writable, and power that is lost: at every single step of what a run writes."""
import contextlib
import errno
import io
import itertools
import os
import shutil

import pytest
from disk import Disk
from runs import assert_same_run, write_text

from ch_lstm.train import main
from common import plots
from common.files.atomic import replacing

ERRORS = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT]
FLAGS = ("--max-tokens 80 --hidden-size 5 --wordvec-size 4 --batch-size 2 --time-size 12 --epochs 2 --dropout 0.2 "
         "--cell lstm --optimizer adam --lr 0.01 --save-every 1e-9").split()  # a checkpoint at each of its 6 steps
GOES_ON = "; training goes on, and saving is tried again after "
PROMISE = "A disk that fails costs no more than the steps since the last checkpoint"


def run(*argv):
    """Run the training in this process; returns the exit code and what it printed on stderr, but that it goes on."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main([str(each) for each in argv])
    return code, "".join(line for line in stderr.getvalue().splitlines(keepends=True) if GOES_ON not in line)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait for no disk, and draw pictures that take no time: they are written as the others are."""
    def save(path, history, title):
        with replacing(path, "wb") as file:
            file.write(f"{title}: {history}".encode())

    for name in "save_history", "save_health":
        monkeypatch.setattr(plots, name, save)
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def new(tmp_path):
    """The flags of a new run, but for --out, and in the folder `wanted` such a run without a fault."""
    flags = ["--corpus", write_text(tmp_path / "text.txt", 40), *FLAGS]
    assert run(*flags, "--out", tmp_path / "wanted") == (0, "")
    return flags


def expect_recovery(out, new, wanted):
    """Resume a run to its end, or begin it where there is nothing to resume, and compare."""
    code, said = run("--out", out, "--resume", *FLAGS[-2:])
    if code == 2 and not (out / "last.npz").exists():
        assert said.count("\n") == 1, said
        code, said = run(*new, "--out", out)
    assert (code, said) == (0, "")
    assert_same_run(out, wanted)


def steps_and_errors(out, full, act, reads=False):
    """Return the steps that an act without a fault takes in `out`, which it leaves empty, each with an error: all of
    them, or twenty."""
    with Disk(out, reads=reads).watched() as disk:
        assert act() == (0, "")
    shutil.rmtree(out)
    assert disk.steps > 60
    steps = range(disk.steps) if full else range(0, disk.steps, disk.steps // 20)
    return list(zip(steps, itertools.cycle(ERRORS)))


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for-good"])
def test_writing_fails_at_each_step(for_good, new, tmp_path, full, count_cases):
    """Each opening, write, fsync, renaming, removal and locking of a run in turn fails, once or from then on, with a
    full disk, a broken one, a quota, or no permission: the run goes on, or one line says why not; then it is resumed to
    the bits of one without a fault."""
    out = tmp_path / "run"
    for step, error in steps_and_errors(out, full, lambda: run(*new, "--out", out)):
        with Disk(out, step, error, for_good).watched() as disk:
            code, said = run(*new, "--out", out)
        assert disk.failures and code in (0, 2) and said.count("\n") == (code == 2), (step, said)
        expect_recovery(out, new, tmp_path / "wanted")
        shutil.rmtree(out)
        count_cases(1)


@pytest.mark.promise(PROMISE)
def test_resuming_fails_at_each_step(new, tmp_path, full, count_cases):
    """The same while a run is resumed, where reading fails too."""
    first, out = tmp_path / "first", tmp_path / "run"
    assert run(*new, "--out", first, "--epochs", 1) == (0, "")

    def resume():
        return run("--out", out, "--resume", "--epochs", 2)

    shutil.copytree(first, out)
    for step, error in steps_and_errors(out, full, resume, reads=True):
        shutil.copytree(first, out)
        with Disk(out, step, error, reads=True).watched() as disk:
            code, said = resume()
        assert disk.failures and code in (0, 2) and said.count("\n") == (code == 2), (step, said)
        assert resume() == (0, "")
        assert_same_run(out, tmp_path / "wanted")
        shutil.rmtree(out)
        count_cases(1)


@pytest.mark.promise("A run survives a loss of power")
def test_power_is_lost_after_each_file(new, tmp_path, count_cases):
    """A copy of the folder is made each time that a file takes its place, as if the power were lost then: each copy is
    resumed to the same bits. No file takes its place before an fsync of all that was written to it."""
    out, copies = tmp_path / "run", []

    def copy():
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(out, copies[-1])

    with Disk(out, after_replacing=copy).watched() as disk:
        assert run(*new, "--out", out) == (0, "")
    assert disk.unsafe == [] and len(copies) > 8
    for folder in copies:
        expect_recovery(folder, new, tmp_path / "wanted")
        count_cases(1)
