"""Runs that are killed at random moments, any number of times, and then end as if nothing had been."""
import random
import signal
import time

import pytest
from runs import KINDS, assert_same_run

MOST_ATTEMPTS = 60  # to end one run


def run_with_kills(launcher, kind, out, draw, **options):
    """Train in `out`, with kills at random moments, until the training ends; returns the number of kills."""
    _, seconds = launcher.wanted(kind)
    kills, resume = 0, False
    for _ in range(MOST_ATTEMPTS):
        child = launcher.train(kind, out, resume, **options)
        if kills == 0 or draw.random() < 0.7:
            time.sleep(draw.uniform(0, seconds))
            child.send(signal.SIGKILL)
        code = child.wait()
        if code == 0:
            return kills
        if code == -signal.SIGKILL:
            kills, resume = kills + 1, True
        elif resume:
            child.expect_nothing_to_resume(out)
            resume = False
        else:
            raise AssertionError(f"exit code {code} after {kills} kills: {child.output}")
    raise AssertionError(f"the run made no progress in {MOST_ATTEMPTS} attempts: {child.output}")


@pytest.mark.promise("A run that is killed at any moment goes on to the same bits")
@pytest.mark.parametrize("name", KINDS)
def test_killed_at_random_moments(name, launcher, tmp_path, full, count_cases):
    """Training gets kill -9 at random moments, is resumed and killed again; what it leaves in the end is compared
    byte for byte with a run that was never interrupted: RNN, LSTM and GRU, dropout, Adam, AdamW with a schedule,
    windows, accumulated gradients, and a stand-in for a GPU."""
    draw, kills, run = random.Random(f"kills of {name}"), 0, 0
    while kills < (20 if full else 1):
        out = tmp_path / str(run)
        kills_of_run = run_with_kills(launcher, KINDS[name], out, draw)
        assert_same_run(out, launcher.wanted(KINDS[name])[0])
        count_cases(kills_of_run)
        kills, run = kills + kills_of_run, run + 1


@pytest.mark.promise("A run that is killed at any moment goes on to the same bits")
def test_killed_while_python_starts_too(launcher, tmp_path, full, count_cases):
    """The same with `python -m ch_lstm.train` as a new process each time, so that imports are interrupted as well."""
    draw, kills, run = random.Random("kills of new processes"), 0, 0
    while kills < (12 if full else 1):
        out = tmp_path / str(run)
        kills_of_run = run_with_kills(launcher, KINDS["adam"], out, draw, new_process=True)
        assert_same_run(out, launcher.wanted(KINDS["adam"])[0])
        count_cases(kills_of_run)
        kills, run = kills + kills_of_run, run + 1


@pytest.mark.promise("A run that is killed at any moment goes on to the same bits")
@pytest.mark.parametrize("left", [("config.json",), ("config.json", "vocabulary.json"),
                                  ("config.json", "vocabulary.json", ".last.npz.1.tmp"), (".config.json.1.tmp",), ()],
                         ids=lambda left: "+".join(left) or "nothing")
def test_killed_before_the_first_checkpoint(left, launcher, tmp_path):
    """A folder as a kill leaves it before the first checkpoint, with parts of files, is resumed or used anew."""
    kind = KINDS["rnn"]
    wanted, _ = launcher.wanted(kind)
    (tmp_path / "run").mkdir()
    for name in left:
        source = wanted / name
        content = source.read_bytes() if source.exists() else (wanted / "last.npz").read_bytes()[:700]
        (tmp_path / "run" / name).write_bytes(content)
    launcher.finish(kind, tmp_path / "run")
    assert_same_run(tmp_path / "run", wanted)
