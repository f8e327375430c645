"""What one training step makes a GPU do, counted without a GPU.

    make count-launches

Runs whole training steps (forward, backward, clipping, SGD; N = 20, T = 35, V = 10,000) on the
stand-in for CuPy: the three language models as they are, and in the design with one layer object for
each time step (`per_step_reference`). What is counted says `strict_cupy`.
"""

import numpy
import strict_cupy
from per_step_reference import PerStepModel, per_step_update

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.cli.tables import format_table
from common.np import np
from common.optimizer import SGD
from common.trainer import training_step
from common.training.batches import StripBatches

N, T, V = 20, 35, 10_000
MODELS = {"SimpleRnnlm": (SimpleRnnlm, 100), "Rnnlm": (Rnnlm, 100), "BetterRnnlm": (BetterRnnlm, 650)}


def count_training_step(model, batches, optimizer, max_grad=0.25, health=None):
    """Take two training steps and return the counts of the second, in which nothing is compiled or sorted."""
    nats = np.zeros((), dtype=np.float64)
    for _ in range(2):
        with strict_cupy.counting() as counts:
            nats += training_step(model, optimizer, *batches.next_batch(), max_grad, health=health)
    return counts


def count_plain_port(model, batches):
    """Count a training step of the design with one layer object for each time step."""
    reference, (xs, ts) = PerStepModel(model), batches.next_batch()
    with strict_cupy.counting() as counts:
        float(reference.forward(xs.array, ts.array))
        reference.backward()
        per_step_update(reference, lr=1.0, max_norm=0.25)
    return counts


def main():
    """Print the table."""
    ids = numpy.random.default_rng(0).integers(V, size=4 * N * T + 1)
    rows = [("model", "design", "launches", "synchronisations", "transfers")]
    with strict_cupy.in_place_of_cupy():
        np.use("cupy")
        for name, (make, size) in MODELS.items():
            batches = StripBatches(ids[:-1], ids[1:], N, T)
            plain, ours = (make(V, size, size, seed=0) for _ in range(2))
            for design, counts in (("one object per step", count_plain_port(plain, batches)),
                                   ("ours", count_training_step(ours, batches, SGD(1.0)))):
                rows.append((name, design, *map(str, (counts.launches, counts.synchronisations, counts.transfers))))
        np.use("numpy")
    print(format_table(rows, left=2))


if __name__ == "__main__":
    main()
