"""How time and memory grow with T, N, H and V: `make growth`.

Training steps of Rnnlm (fast forms; forward, backward, clipping, SGD) over two decades of each size, the
others held. The sizes of a sweep take turns, the figures are medians over the rounds; an exponent is the slope of a
straight line through the upper decade in logarithms, where calls of NumPy no longer matter. Beside it the
most memory that the output layer and the loss allocate, weights and their gradients left out. Draws docs/growth.png.
OpenBLAS is left to choose its kernel, which the first line names.
"""
import argparse
import statistics
import time
import tracemalloc
from pathlib import Path

import blas
import matplotlib
import numpy as np

import common  # noqa: F401, before NumPy is imported: it sets how BLAS threads wait
from ch_lstm.rnnlm import Rnnlm
from common.cli.tables import format_table
from common.fast import speed_up
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.optimizer import SGD
from common.trainer import training_step

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

PICTURE = Path(__file__).parents[2] / "docs" / "growth.png"
SIZES = {"N": 20, "T": 35, "H": 100, "V": 10_000}
SWEEPS = {
    "T": [20, 63, 200, 632, 2000],
    "N": [2, 6, 20, 63, 200],
    "H": [10, 32, 100, 316, 1000],
    "V": [2000, 6325, 20_000, 63_246, 200_000],
}


def training(N, T, H, V):
    """Return a training step."""
    model, rng = speed_up(Rnnlm(V, H, H, seed=0)), np.random.default_rng(0)
    xs, ts = rng.integers(V, size=(2, N, T))
    return lambda: training_step(model, SGD(1.0), xs, ts, 0.25)


def seconds_of(steps, rounds):
    """Let steps take turns; return the median seconds of each."""
    found = [[] for _ in steps]
    for _ in range(rounds + 1):
        for step, seconds in zip(steps, found):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[1:]) for seconds in found]  # the first round warms up


def loss_megabytes(N, T, H, V):
    """Return the most memory that output layer and loss allocate in a step."""
    layer = TimeAffineSoftmaxWithLoss(np.zeros((H, V), dtype=np.float32), np.zeros(V, dtype=np.float32))
    xs, ts = np.zeros((N, T, H), dtype=np.float32), np.zeros((N, T), dtype=int)
    tracemalloc.start()
    layer.forward(xs, ts)
    layer.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def exponent(sizes, values):
    """Return the slope in logarithms over the upper decade."""
    upper = [i for i, size in enumerate(sizes) if size >= 0.09 * sizes[-1]]
    return np.polyfit(np.log([sizes[i] for i in upper]), np.log([values[i] for i in upper]), 1)[0]


def main(argv=None):
    """Measure, print a table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture (default: docs/growth.png)")
    args = parser.parse_args(argv)
    rows = [("size", "from", "to", "ms a step", "exponent", "memory of the loss, MB", "scores as one array, MB")]
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.6), layout="constrained")
    for axis, (name, sizes), marker in zip(axes, SWEEPS.items(), "osD^"):
        settings = [SIZES | {name: size} for size in sizes]
        seconds = seconds_of([training(**setting) for setting in settings], args.rounds)
        slope = exponent(sizes, seconds)
        memory = [loss_megabytes(**setting) for setting in settings]
        scores = [4 * setting["N"] * setting["T"] * setting["V"] / 1e6 for setting in settings]
        rows.append((name, f"{sizes[0]:,}", f"{sizes[-1]:,}", f"{1e3 * seconds[0]:.1f} to {1e3 * seconds[-1]:,.0f}",
                     f"{slope:.2f}", f"{memory[0]:.0f} to {memory[-1]:.0f}", f"{scores[0]:.0f} to {scores[-1]:,.0f}"))
        axis.loglog(sizes, seconds, f"k{marker}-")
        axis.set(xlabel=name, title=f"time ~ {name}^{slope:.2f}", xticks=sizes[::2])
        axis.set_xticks(sizes[::2], [f"{size:,}" for size in sizes[::2]])
        axis.xaxis.set_minor_locator(NullLocator())
        axes[-1].loglog(scores, memory, f"k{marker}-", label=f"{name} grows", mfc="white")
    axes[0].set_ylabel("seconds a training step")
    axes[-1].loglog(scores, scores, "k:", label="scores as one array")
    axes[-1].set(xlabel="4 N T V bytes, in MB", title="memory of the loss", ylabel="MB")
    axes[-1].legend(fontsize="x-small", loc="upper left")
    print(blas.in_words(), format_table(rows), sep="\n")
    args.out.parent.mkdir(exist_ok=True)
    figure.savefig(args.out, dpi=80)


if __name__ == "__main__":
    blas.restart_unsteered()
    main()
