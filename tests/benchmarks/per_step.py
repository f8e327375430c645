"""Training speed against one layer object per time step: `make bench`.

Each of the three language models takes whole training steps (forward, backward, clipping, SGD)
at N = 20, T = 35, V = 10,000 in float32: plain, with the fused loss, and in the per-step
design of `per_step_reference`. The three take turns, a few steps each, so that noise of the
machine hits all alike; the figures are medians over the rounds, the ratios those of paired rounds.
"""
import argparse
import statistics
import time

import common  # noqa: F401, before NumPy is imported: it sets how BLAS threads wait
import numpy as np
from per_step_reference import PerStepModel, per_step_update

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.optimizer import SGD
from common.trainer import training_step

V, N, T = 10_000, 20, 35
WORKLOADS = {  # model, arguments, steps in one turn
    "SimpleRnnlm": (SimpleRnnlm, (V, 100, 100), 10),
    "Rnnlm": (Rnnlm, (V, 100, 100), 10),
    "BetterRnnlm": (BetterRnnlm, (V, 650, 650), 3),
}


def contestants(model_class, sizes, xs, ts):
    """Return the three ways to take one training step, as functions without arguments."""
    plain = model_class(*sizes, seed=0)
    fused = model_class(*sizes, seed=0, fused_loss=True)
    reference = PerStepModel(plain)

    def reference_step():
        reference.forward(xs, ts)
        reference.backward()
        per_step_update(reference, lr=1.0, max_norm=0.25)

    return {
        "fused loss": lambda: training_step(fused, SGD(1.0), xs, ts, 0.25),
        "plain": lambda: training_step(plain, SGD(1.0), xs, ts, 0.25),
        "per step": reference_step,
    }


def measure(steps, rounds, steps_in_turn):
    """Let the contestants take turns; return for each the seconds per step of every round."""
    seconds = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(steps_in_turn):
                step()
            seconds[name].append((time.perf_counter() - start) / steps_in_turn)
    return {name: values[1:] for name, values in seconds.items()}  # the first round warms up


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description="Training speed against one layer object per time step.")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    xs, ts = rng.integers(V, size=(2, N, T))
    print(f"{'model':12} {'design':12} {'ms/step':>8} {'tokens/s':>9}   times as fast as per step: median (min-max)")
    for model, (model_class, sizes, steps_in_turn) in WORKLOADS.items():
        seconds = measure(contestants(model_class, sizes, xs, ts), args.rounds, steps_in_turn)
        for name, values in seconds.items():
            middle = statistics.median(values)
            ratios = [slow / fast for slow, fast in zip(seconds["per step"], values)]
            print(f"{model:12} {name:12} {1000 * middle:8.1f} {N * T / middle:9,.0f}   "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()
