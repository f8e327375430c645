"""What the health log adds to a training step.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests/benchmarks python tests/benchmarks/health.py

Models of the book's sizes, with 10,000 words. A round is three steps, in an order that changes: without the log, with
it, and with it on a batch that it looks at, as on one of 20. All times are processor time, which other programs disturb
less than time itself. The table shows the medians over all rounds of

- the time with the log over that without it, and what 20 steps cost more by these ratios,
- the share of a step's time that is spent in the log, and what 20 steps cost more by these shares: the ratios differ
  by some percent from round to round, the shares do not.
"""
import argparse
import statistics
import sys
import time

import blas
import numpy

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.cli.tables import format_table
from common.fast import speed_up
from common.optimizer import SGD, Adam
from common.training.epochs import training_step
from common.training.health import LOOK_EVERY, HealthLog

N, T, V = 20, 35, 10_000
CASES = [("Rnnlm, SGD", Rnnlm, 100, lambda: SGD(1.0), 1), ("Rnnlm, Adam", Rnnlm, 100, Adam, 1),
         ("BetterRnnlm, SGD", BetterRnnlm, 650, lambda: SGD(1.0), 8), ("BetterRnnlm, Adam", BetterRnnlm, 650, Adam, 8)]
WAYS = {"without": None, "noted": 1, "looked at": 0}  # and the number of the batch in its epoch


class TimedLog(HealthLog):
    """A log that adds up the time that it takes, without the update of the optimizer."""

    seconds = 0.0

    def after_forward(self, model):
        start = time.process_time()
        super().after_forward(model)
        self.seconds += time.process_time() - start

    def update(self, optimizer, *args):
        start = time.process_time()
        super().update(optimizer, *args)
        self.seconds += time.process_time() - start - optimizer.seconds


def main(argv=None):
    """Measure and print a table; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=160, help="of Rnnlm; BetterRnnlm takes an eighth of them")
    args = parser.parse_args(argv)
    print(blas.in_words())
    rows = [("model", "ms a step", "noted", "looked at", "cost", "in the log", "looked at", "cost")]
    for name, kind, size, optimizer, fewer in CASES:
        model = speed_up(kind(V, size, size, seed=0))
        rounds = measure(model, optimizer(), max(3, args.rounds // fewer))  # (rounds, 3, 2)
        (without, _), (noted, in_noted), (looked, in_looked) = rounds.transpose(1, 2, 0)
        ratios = statistics.median(noted / without), statistics.median(looked / without)
        shares = statistics.median(in_noted / noted), statistics.median(in_looked / looked)
        rows.append((name, f"{1000 * statistics.median(without):.1f}", *(f"{ratio:.4f}" for ratio in ratios),
                     f"{of_all(*ratios) - 1:+.2%}", *(f"{share:.3%}" for share in shares), f"{of_all(*shares):.2%}"))
    print(format_table(rows))
    return 0


def of_all(noted, looked):
    """Return the mean over steps of which one in LOOK_EVERY is looked at."""
    return ((LOOK_EVERY - 1) * noted + looked) / LOOK_EVERY


def measure(model, optimizer, rounds):
    """Return for each round and each of `WAYS` the seconds of the step, and of these the log's, (rounds, 3, 2)."""
    xs, ts = numpy.random.default_rng(0).integers(V, size=(2, N, T))
    update = optimizer.update

    def timed_update(params, grads):
        start = time.process_time()
        update(params, grads)
        optimizer.seconds = time.process_time() - start

    optimizer.update = timed_update
    seconds = numpy.zeros((rounds + 1, 3, 2))
    for k in range(rounds + 1):
        for way in range(3):
            way = (way + k) % 3
            batch, log = [*WAYS.values()][way], TimedLog()
            start = time.process_time()
            training_step(model, optimizer, xs, ts, 0.25, health=None if batch is None else log.at(batch))
            seconds[k, way] = time.process_time() - start, log.seconds
    return seconds[1:]  # in the first round the model makes its buffers


if __name__ == "__main__":
    sys.exit(main())
