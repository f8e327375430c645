"""Train on a GPU for a number of seconds: as many epochs as they allow of a recipe of ch_lstm.train.

    python tests/devices/train_for.py SECONDS [flags of ch_lstm.train]

On the Penn Treebank where RNN_DATA_DIR leads to it, else on the embedded corpus. After the time the run is stopped
as by Ctrl-C: it ends its step and saves, and is evaluated as it is then. What it leaves is shown, not kept.
"""
import csv
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import ch_lstm.evaluate
import ch_lstm.train
from dataset import ptb


def main(argv=None):
    """Train; returns the exit code."""
    seconds, *flags = sys.argv[1:] if argv is None else argv
    if ptb.data_folder() is None:
        print("on the embedded corpus: RNN_DATA_DIR does not lead to the Penn Treebank", flush=True)
        flags += ["--corpus", "pydoc"]
    stop = threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGINT))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        stop.start()
        code = ch_lstm.train.main([*flags, "--device", "gpu", "--out", str(run)])
        stop.cancel()
        if code == 128 + signal.SIGINT:
            code = ch_lstm.evaluate.main([str(run), "--checkpoint", "last", "--device", "gpu"])
        if code == 0:
            epochs = [row | time for row, time in zip(*(rows_of(run / name) for name in ("history.csv", "timing.csv")))]
            for epoch in epochs:
                print(", ".join(f"{name} {value}" for name, value in epoch.items()))
            speed = f", the last at {int(epochs[-1]['tokens_per_second']):,} tokens/s" if epochs else ""
            print(f"whole epochs: {len(epochs)}{speed}")
    return code


def rows_of(path):
    """Return the rows of a CSV file as dicts; none where it is missing, as before the end of the first epoch."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
