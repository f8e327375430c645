"""Training speed on a GPU: `make bench-gpu`.

For each of the three language models, whole training steps (forward, backward, clipping, SGD; N = 20,
T = 35, V = 10,000, float32, TF32 off): tokens per second, device operations of a step as the stand-in
for CuPy counts them, the share of the time that the bare matrix products take, the seconds of the
40 epochs of the recipe for the Penn Treebank, evaluation included, and where torch is installed the same
model in PyTorch with cuDNN. Without a GPU it says so.
"""
import argparse
import importlib.util
import statistics
import sys
import time
from unittest import mock

import numpy
import strict_cupy
from count_launches import MODELS, count_training_step
from products import prepare, products_of

from common import cli
from common.batches import StripBatches
from common.evaluate import perplexity
from common.np import np
from common.optimizer import SGD
from common.tables import format_table
from common.trainer import training_step

PTB_TOKENS = {"train": 929_589, "valid": 73_760}
EPOCHS = 40


def seconds_of(step, steps, rounds=5):
    """Return the median seconds of a step over several rounds, the device waited for after each round."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        np.cuda.runtime.deviceSynchronize()
        found.append((time.perf_counter() - start) / steps)
    return statistics.median(found[1:])  # the first round compiles and warms up


def launches_of(make, args, ids):
    """Count the device operations of a training step on the stand-in; they do not depend on the sizes of layers."""
    with mock.patch.dict(sys.modules, cupy=strict_cupy):
        np.use("cupy")
        batches = StripBatches(ids[:-1], ids[1:], args.batch_size, args.time_size)
        counts = count_training_step(make(args.vocab_size, 4, 4, seed=0), batches, SGD(1.0))
        np.use("numpy")
    return counts.launches


def torch_step(name, args, size, ids):
    """Return a training step of the same model in PyTorch, or None where it or its GPU is missing."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from torch_models import MODELS as TORCH_MODELS
    from torch_models import torch_training_step

    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = TORCH_MODELS[name](args.vocab_size, size).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    N, T = args.batch_size, args.time_size
    xs, ts = (torch.from_numpy(part.reshape(N, T)).cuda() for part in (ids[:N * T], ids[1:N * T + 1]))

    return lambda: torch_training_step(model, optimizer, xs, ts, 0.25)


def row_of(name, make, size, args, ids):
    """Measure one model; returns its row of the table."""
    launches = launches_of(make, args, ids)
    np.use("cupy")
    model, optimizer = make(args.vocab_size, size, size, seed=0), SGD(1.0)
    batches = StripBatches(ids[:-1], ids[1:], args.batch_size, args.time_size)
    seconds = seconds_of(lambda: training_step(model, optimizer, *batches.next_batch(), 0.25), args.steps)
    products = seconds_of(prepare(products_of(model, args.batch_size, args.time_size)), args.steps)
    start = time.perf_counter()
    perplexity(model, ids[:args.evaluate])
    per_token = (time.perf_counter() - start) / args.evaluate
    tokens = args.batch_size * args.time_size
    recipe = EPOCHS * (PTB_TOKENS["train"] // tokens * seconds + PTB_TOKENS["valid"] * per_token)
    other = torch_step(name, args, size, ids)
    theirs = f"{tokens / seconds_of(other, args.steps):,.0f}" if other else "-"
    return (name, f"{1000 * seconds:.2f}", f"{tokens / seconds:,.0f}", str(launches), f"{products / seconds:.0%}",
            f"{recipe:,.0f}", theirs)


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
        ids = numpy.random.default_rng(0).integers(args.vocab_size, size=4 * args.batch_size * args.time_size + 5001)
        heading = ("model", "ms a step", "tokens/s", "operations", "products", "40 epochs, s", "PyTorch tokens/s")
        print(format_table([heading, *(
            row_of(name, make, args.size or size, args, ids) for name, (make, size) in MODELS.items())]))

    return cli.run("make bench-gpu", script, argv)


if __name__ == "__main__":
    sys.exit(main())
