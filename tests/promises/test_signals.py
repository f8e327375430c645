"""Signals that ask a training run to stop: it ends its step, saves, says how to go on, and the exit code tells why."""
import random
import re
import signal
import time

import pytest
from runs import KINDS, assert_same_run, header_of

KIND = KINDS["adam"]
PROMISE = "A run that is asked to stop saves the step that it has finished and says how to go on"
EPOCHS = 4  # of every run here
CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
PLACE = re.compile(r"^epoch (?P<epoch>\d+)(?:/\d+, batch (?P<batch>\d+)/\d+)?: .*$", re.MULTILINE)


def progress(child):
    """Return how far a run says it has come: complete epochs, and batches of the one that goes on."""
    lines = list(PLACE.finditer(child.out.read_text(encoding="utf-8")))
    if not lines:
        return 0, 0
    epoch, batch = int(lines[-1]["epoch"]), lines[-1]["batch"]
    return (epoch, 0) if batch is None else (epoch - 1, int(batch))


def wait_for(child, place):
    """Wait until a run says that it has come so far; returns False where it has ended before."""
    while progress(child) < place:
        if child.ended:
            return False
        time.sleep(0.002)
    return True


def interrupted(launcher, out, draw, *numbers, **options):
    """Train in `out` and send signals at a random moment of training.

    Returns the run, how far it said that it had come before, and its exit code. Where the run was done before the
    signals came, as may be beside other work, it is started anew in another folder.
    """
    for attempt in range(20):
        folder = out / str(attempt)
        child = launcher.train(KIND, folder, **options)
        wait_for(child, draw.choice([(0, 1), (1, 0), (1, 1), (2, 0)]))
        time.sleep(draw.uniform(0, 0.03))
        place = progress(child)
        for number in numbers:
            child.send(number)
        code = child.wait()
        if f"\nepoch {EPOCHS}: " not in child.output:
            return child, folder, place, code
        if code != 0:  # they came when only the last picture or the test was left
            launcher.finish(KIND, folder)
        assert_same_run(folder, launcher.wanted(KIND)[0])
    raise AssertionError("all runs were done before the signals came")


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("number", CODES)
def test_one_signal(number, launcher, tmp_path, full, count_cases):
    """SIGTERM, SIGHUP or SIGINT comes at a random moment of training: the exit code is 128 and its number, the last
    line says how to resume, the checkpoint holds what the run had said it had done, and resuming it ends in the bits
    of a run that was never interrupted."""
    draw = random.Random(f"signal {number}")
    for case in range(12 if full else 1):
        child, folder, place, code = interrupted(launcher, tmp_path / str(case), draw, number)
        assert code == CODES[number], child.output
        assert any("--resume" in line and str(folder) in line for line in child.last_lines), child.output
        _, header = header_of(folder / "last.npz")
        batch = header.get("progress", header)["batch"]
        assert (len(header["history"]), batch) >= place, "the last steps are not in the checkpoint"
        launcher.finish(KIND, folder)
        assert_same_run(folder, launcher.wanted(KIND)[0])
        count_cases(1)


@pytest.mark.promise("A second signal ends a run at once, and it can be resumed all the same")
@pytest.mark.parametrize("number", CODES)
def test_two_signals(number, launcher, tmp_path, full, count_cases):
    """The same signal comes twice, one right after the other: the exit code is 128 and its number, and resuming ends
    in the bits of a run that was never interrupted."""
    draw = random.Random(f"two signals {number}")
    for case in range(12 if full else 1):
        child, folder, _, code = interrupted(launcher, tmp_path / str(case), draw, number, number)
        assert code == CODES[number], child.output
        assert "Traceback" not in child.output
        launcher.finish(KIND, folder)
        assert_same_run(folder, launcher.wanted(KIND)[0])
        count_cases(1)


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("number", CODES)
def test_one_signal_to_a_new_process(number, launcher, tmp_path):
    """The same with `python -m ch_lstm.train`, whose exit code the system passes on."""
    child, folder, _, code = interrupted(
        launcher, tmp_path, random.Random("new process"), number, new_process=True)
    assert code == CODES[number], child.output
    launcher.finish(KIND, folder)
    assert_same_run(folder, launcher.wanted(KIND)[0])


@pytest.mark.promise("A run that is started by nohup outlives its terminal")
def test_nohup(launcher, tmp_path):
    """SIGHUP, ignored from the start as nohup does, comes in the middle of training: it goes on to its end."""
    child = launcher.train(KIND, tmp_path / "run", ignored=[signal.SIGHUP])
    assert wait_for(child, (1, 0))
    child.send(signal.SIGHUP)
    assert child.wait() == 0, child.output
    assert_same_run(tmp_path / "run", launcher.wanted(KIND)[0])
