"""The time that a checkpoint takes, and its share of training at the default of --save-every.

    python tests/benchmarks/saving.py

Models of the book's sizes, with 10,000 words. Each checkpoint is written, flushed to the disk and renamed as in
training.
"""
import statistics
import sys
import tempfile
import time
from pathlib import Path

import blas
import numpy

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.cli.tables import format_table
from common.fast import speed_up
from common.language_model.run import TrainingRun
from common.language_model.settings import TrainSettings
from common.optimizer import SGD, Adam
from common.text.vocabulary import Vocabulary
from dataset.corpus import Corpus

V, TIMES = 10_000, 11
CASES = [("Rnnlm, SGD", Rnnlm, 100, SGD(20)), ("Rnnlm, Adam", Rnnlm, 100, Adam()),
         ("BetterRnnlm, SGD", BetterRnnlm, 650, SGD(20)), ("BetterRnnlm, Adam", BetterRnnlm, 650, Adam())]


def main():
    """Measure and print a table; returns the exit code."""
    print(blas.in_words())
    ids = numpy.random.default_rng(0).integers(V, size=20_000).astype(numpy.int32)  # (20000,)
    corpus = Corpus("random", "words", Vocabulary([f"w{i}" for i in range(V)]), ids, ids[:100], ids[:100])
    rows = [("model", "MB", "seconds", f"of {TrainSettings.save_every:g} s")]
    for name, kind, size, optimizer in CASES:
        model = speed_up(kind(V, size, size, seed=0))
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainSettings("x", corpus="random")
            run = TrainingRun(Path(folder, "run"), settings, "bench", model, optimizer, corpus)
            run.begin()
            seconds = []
            for _ in range(TIMES):
                run.train_batch()
                start = time.perf_counter()
                run._save_last()
                seconds.append(time.perf_counter() - start)
            size = (run.folder / "last.npz").stat().st_size
            run.close()
        median = statistics.median(seconds)
        rows.append((name, f"{size / 1e6:.1f}", f"{median:.3f}", f"{median / TrainSettings.save_every:.2%}"))
    print(format_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
