"""How much of a training step sampled softmax saves.

    python tests/benchmarks/sampled_softmax.py

Steps of the same model by all words and by k drawn ones follow one another, on random ids of the frequencies that words
have by Zipf's law; the medians of their ratios stand in the table. N = 20, T = 35, V = 10,000, SGD, tied weights.
"""
import statistics
import sys
import time

import blas
import numpy

from common.cli.tables import format_table
from common.fast import speed_up
from common.language_model.cell_rnnlm import CellRnnlm
from common.layers.sampled_softmax import UnigramSampler
from common.np import np
from common.optimizer import SGD
from common.training.epochs import training_step

V, N, T, ROUNDS = 10_000, 20, 35, 15
CASES = [(size, samples) for size in (200, 320, 650) for samples in (400, 1000)]


def seconds_of(model, xs, ts):
    """Return how long a training step takes."""
    start = time.perf_counter()
    training_step(model, SGD(1.0), xs, ts, 0.25)
    return time.perf_counter() - start


def main():
    """Measure and print a table; returns the exit code."""
    print(blas.in_words())
    rng = numpy.random.default_rng(0)
    shares = 1 / numpy.arange(1, V + 1)  # (V,)
    shares /= shares.sum()
    frequencies = numpy.ceil(shares * 1e6).astype(int)  # (V,)
    rows = [("model", "k", "all words, ms", "sampled, ms", "ratio")]
    for size, samples in CASES:
        model = speed_up(CellRnnlm("lstm", V, size, size, 2, True, 0.5, seed=0))
        sampler, pairs = UnigramSampler(frequencies, samples), []
        for _ in range(ROUNDS + 1):
            xs, ts = (np.to_device(rng.choice(V, (N, T), p=shares)) for _ in range(2))  # (N, T), (N, T)
            pair = []
            for chosen in (None, sampler):
                model.sample_softmax(chosen)
                pair.append(seconds_of(model, xs, ts))
            pairs.append(pair)
        whole, sampled = zip(*pairs[1:])  # the first warms up
        ratio = statistics.median(of_sample / of_all for of_all, of_sample in zip(whole, sampled))
        milliseconds = [f"{1e3 * statistics.median(times):.0f}" for times in (whole, sampled)]
        rows.append((f"2 x {size}", str(samples), *milliseconds, f"{ratio:.2f}"))
    print(format_table(rows))
    return 0


if __name__ == "__main__":
    blas.restart_unsteered()
    sys.exit(main())
