"""Training speed on a GPU: `make bench-gpu`.

For each of the three language models, whole training steps (forward, backward, clipping, SGD; N = 20,
T = 35, V = 10,000, float32, TF32 off): the time of a step, and how much of it the host needs to start its
operations; tokens per second; device operations of a step as the stand-in for CuPy counts them, and beside them
what a profiler saw launched and moved between host and device; the share of the time that the bare matrix products
take; the seconds of the 40 epochs of the recipe for the Penn Treebank, evaluation included; and where torch is
installed the same model in PyTorch with cuDNN.
Without a GPU it says so. A figure that fails is a dash, and says why below the table.
"""
import argparse
import statistics
import sys
import time

import numpy
import strict_cupy
from count_kernels import count_kernels, torch_on_gpu
from count_launches import MODELS, count_training_step
from products import prepare, products_of

from common import cli
from common.language_model.evaluate import perplexity
from common.np import np
from common.optimizer import SGD
from common.trainer import training_step
from common.training.batches import StripBatches

PTB_TOKENS = {"train": 929_589, "valid": 73_760}
EPOCHS = 40
ROUNDS = 5  # that are measured, after one that compiles and warms up
HEADING = ("model", "ms a step", "host ms", "tokens/s", "operations", "launched", "transfers", "products",
           "40 epochs, s", "PyTorch tokens/s")


def seconds_of(step, steps):
    """Return the median seconds of a step over several rounds, the device waited for after each round."""
    found = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        np.cuda.runtime.deviceSynchronize()
        found.append((time.perf_counter() - start) / steps)
    return statistics.median(found[1:])


def host_seconds_of(step):
    """Return the median seconds that the host needs for a step, the device idle when it begins and not waited for."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
        np.cuda.runtime.deviceSynchronize()
    return statistics.median(found)


def launches_of(make, args, ids):
    """Count the device operations of a training step on the stand-in; they do not depend on the sizes of layers."""
    with strict_cupy.in_place_of_cupy():
        np.use("cupy")
        batches = StripBatches(ids[:-1], ids[1:], args.batch_size, args.time_size)
        counts = count_training_step(make(args.vocab_size, 4, 4, seed=0), batches, SGD(1.0))
        np.use("numpy")
    return counts.launches


def torch_tokens_per_second(name, args, size, ids):
    """Measure the same model in PyTorch; None where it or its GPU is missing."""
    torch = torch_on_gpu()
    if torch is None:
        return None
    from torch_models import MODELS as TORCH_MODELS
    from torch_models import torch_training_step

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = TORCH_MODELS[name](args.vocab_size, size).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    N, T = args.batch_size, args.time_size
    xs, ts = (torch.from_numpy(part.reshape(N, T)).cuda() for part in (ids[:N * T], ids[1:N * T + 1]))
    return N * T / seconds_of(lambda: torch_training_step(model, optimizer, xs, ts, 0.25), args.steps)


def attempt(measure, problems):
    """Return what `measure()` returns; where it fails None, and what was wrong goes to the list of problems."""
    try:
        return measure()
    except Exception as error:  # one figure fewer, whatever a library or a driver does
        problems.append(f"{type(error).__name__}: {error}")
        return None


def row_of(name, make, size, args, ids, problems):
    """Measure one model; returns its row of the table."""
    operations = launches_of(make, args, ids)
    np.use("cupy")
    model, optimizer = make(args.vocab_size, size, size, seed=0), SGD(1.0)
    batches, nats = StripBatches(ids[:-1], ids[1:], args.batch_size, args.time_size), np.zeros((), dtype=np.float64)

    def step():
        nonlocal nats
        nats += training_step(model, optimizer, *batches.next_batch(), 0.25)

    seconds, host_seconds = seconds_of(step, args.steps), host_seconds_of(step)
    on_stand_in = sys.modules["cupy"] is strict_cupy
    launched, transfers = (None if on_stand_in else attempt(lambda: count_kernels(step), problems)) or (None, None)
    products = seconds_of(prepare(products_of(model, args.batch_size, args.time_size)), args.steps)
    perplexity(model, ids[:args.evaluate])  # compiles
    start = time.perf_counter()
    perplexity(model, ids[:args.evaluate])
    per_token = (time.perf_counter() - start) / args.evaluate
    tokens = args.batch_size * args.time_size
    recipe = EPOCHS * (PTB_TOKENS["train"] // tokens * seconds + PTB_TOKENS["valid"] * per_token)
    theirs = attempt(lambda: torch_tokens_per_second(name, args, size, ids), problems)
    figures = ((1000 * seconds, ".2f"), (1000 * host_seconds, ".2f"), (tokens / seconds, ",.0f"), (operations, ""),
               (launched, ""), (transfers, ""), (products / seconds, ".0%"), (recipe, ",.0f"), (theirs, ",.0f"))
    return name, *("-" if figure is None else format(figure, form) for figure, form in figures)


def show(row):
    """Print a row at once, so that it stays whatever becomes of the next."""
    print(f"{row[0]:11}", *(cell.rjust(max(len(heading), 9)) for cell, heading in zip(row[1:], HEADING[1:])),
          sep="  ", flush=True)


def main(argv=None):
    """Print the table; returns the exit code."""
    parser = cli.Parser(prog="make bench-gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=cli.positive_int, default=50, help="training steps in a round")
    parser.add_argument("--evaluate", type=cli.positive_int, default=5000, help="tokens to time the evaluation on")
    parser.add_argument("--batch-size", type=cli.positive_int, default=20)
    parser.add_argument("--time-size", type=cli.positive_int, default=35)
    parser.add_argument("--vocab-size", type=cli.positive_int, default=10_000)
    parser.add_argument("--size", type=cli.positive_int, help="width of all layers, by default the models' own")

    def script(argv):
        args = parser.parse_args(argv)
        np.use("cupy")
        properties = np.cuda.runtime.getDeviceProperties(0)
        print(f"{properties['name'].decode()}, CuPy {sys.modules['cupy'].__version__}, {args.batch_size} x "
              f"{args.time_size} tokens a step, float32")
        # All steps of a model lie in one epoch, so that its batches are sorted once, in the first round.
        n = max((3 + ROUNDS) * args.steps * args.batch_size * args.time_size, args.evaluate) + 1
        ids = numpy.random.default_rng(0).integers(args.vocab_size, size=n)
        show(HEADING)
        problems = []
        for name, (make, size) in MODELS.items():
            show(row_of(name, make, args.size or size, args, ids, problems))
        for problem in dict.fromkeys(problems):
            print(problem)
        return 1 if problems else 0

    return cli.run("make bench-gpu", script, argv)


if __name__ == "__main__":
    sys.exit(main())
