"""What is done many times takes no more memory in the end than half way."""
import json
import os
import subprocess
import sys

import pytest
from runs import ROOT

FOLDERS = [ROOT, *(ROOT / "tests" / folder for folder in ("promises", "devices", "devices/stand_in"))]
MOST_HELD = 8  # bytes for each time: the smallest object that could be left each time takes more
HISTORY = 30_000  # bytes: that of five epochs, and what is kept to be used again
MOST_RESIDENT = 0.01


@pytest.mark.promise("Memory stays flat, however long a run or a text")
@pytest.mark.parametrize("what, times", [
    ("train", 20_000), ("train-gpu", 4_000), ("generate", 10_000), ("checkpoints", 2_000)])
def test_memory_stays_flat(what, times, full, count_cases):
    """A process takes 20,000 training steps, or 4,000 on a stand-in for a GPU, draws 10,000 samples or writes 2,000
    checkpoints: from half way to the end its resident memory grows by less than 1%, and what Python and NumPy hold by
    less than 8 bytes each time."""
    times = times if full else max(times // 100, 100)
    ran = subprocess.run([sys.executable, ROOT / "tests" / "promises" / "steady.py", what, str(times)], text=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    half, end = json.loads(ran.stdout)
    assert end["held"] - half["held"] < HISTORY + MOST_HELD * times / 2
    assert end["resident"] < half["resident"] * (1 + MOST_RESIDENT)
    count_cases(times)
