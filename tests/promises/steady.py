"""Do one thing many times and say what memory it takes: `python steady.py WHAT TIMES`; prints JSON.

WHAT is train, train-gpu (on the stand-in for one), checkpoints (one at each step) or generate. Half way and at the end
it measures, in bytes, the resident memory of the process, "resident", and what Python and NumPy hold of what they have
taken since a tenth of the times, "held".
"""
import contextlib
import gc
import json
import os
import resource
import sys
import tempfile
import tracemalloc
from pathlib import Path

from runs import write_text

import ch_lstm.train
from ch_lstm.rnnlm import Rnnlm
from common.language_model import run as training_run
from common.language_model.generate import generate, generate_tokens


class Meter:
    """Measures half way and at the end."""

    def __init__(self, times):
        self.times, self.done, self.measured = times, 0, []

    def tick(self):
        """Count one time more."""
        self.done += 1
        if self.done == self.times // 10:
            tracemalloc.start()
        elif self.done in (self.times // 2, self.times):
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.measured.append({"resident": pages * resource.getpagesize(), "held": held})


def train(folder, meter, *flags):
    """Train for as many steps, in ten epochs, so that evaluations are measured too."""
    step = training_run.training_step

    def counted(*args, **options):
        loss = step(*args, **options)
        meter.tick()
        return loss

    training_run.training_step = counted
    os.fsync = lambda file: None  # nothing is tested here that waits for a disk
    code = ch_lstm.train.main([
        "--corpus", str(write_text(folder / "text.txt", 10 + meter.times // 20)), "--out", str(folder / "run"),
        *"--hidden-size 4 --wordvec-size 4 --batch-size 1 --time-size 2 --epochs 10 --cell lstm --dropout 0.1".split(),
        "--max-tokens", str(meter.times // 5 + 1), "--optimizer", "adam", "--lr", "0.001", *flags])
    if code != 0 or meter.done != meter.times:
        raise RuntimeError(f"exit code {code} after {meter.done} of {meter.times} steps")


def sample(folder, meter):
    """Draw as many samples, by turns to a length, without an end, and several at once."""
    model = Rnnlm(20, 5, 6, seed=0)
    for i in range(meter.times):
        if i % 3 < 2:
            generate(model, [1, 2, 3], 3, samples=1 + i % 3, top_k=5)
        else:
            with contextlib.closing(generate_tokens(model, [1, 2, 3])) as tokens:
                next(tokens), next(tokens)
        meter.tick()


WHAT = {
    "train": lambda folder, meter: train(folder, meter, "--save-every", "1e9"),
    "train-gpu": lambda folder, meter: train(folder, meter, "--save-every", "1e9", "--device", "gpu"),
    "checkpoints": lambda folder, meter: train(folder, meter, "--save-every", "1e-9"),
    "generate": sample,
}


def main():
    """Measure, and print it."""
    what, times = sys.argv[1:]
    meter = Meter(int(times))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        WHAT[what](Path(folder), meter)
    print(json.dumps(meter.measured))


if __name__ == "__main__":
    main()
