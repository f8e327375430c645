"""The recipe `laptop` beside PyTorch, for the same minutes, on the Penn Treebank: perplexity against minutes.

    python tests/benchmarks/laptop.py --minutes 30

First `python -m ch_lstm.train --recipe laptop` runs, then a model and a training in PyTorch in the style of PyTorch's
own example (github.com/pytorch/examples, word_language_model): two LSTM layers of 200 units, tied, dropout 0.2, SGD
with learning rate 20, divided by 4 whenever validation gets no better, gradients clipped to 0.25, 20 strips, 35 steps.
Each evaluates after every epoch; its clock goes on meanwhile. Needs torch: the extra `parity`.
"""
import argparse
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import blas
import torch
from torch_models import TorchLanguageModel, torch_training_step

from common.plots import curves_figure, save
from dataset import ptb

N, T, SIZE, DROPOUT, LR, DECAY, CLIP, WIDTH = 20, 35, 200, 0.2, 20.0, 4.0, 0.25, 0.1
EPOCH = re.compile(r"epoch (\d+): .*validation perplexity ([\d.]+)")
TEST = re.compile(r"test perplexity ([\d.]+)")


def ours(minutes, flags):
    """Train by the recipe; return minutes and validation perplexities of all epochs, and the test perplexity."""
    command = [sys.executable, "-m", "ch_lstm.train", "--recipe", "laptop", "--minutes", str(minutes), *flags]
    print(" ".join(command[1:]), flush=True)
    curve, test, start = [], math.nan, time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := EPOCH.match(line):
                curve.append(((time.perf_counter() - start) / 60, float(found[2])))
            elif found := TEST.match(line):
                test = float(found[1])
    if process.returncode:
        sys.exit(process.returncode)
    return curve, test


def theirs(minutes, seed):
    """Train in PyTorch; return what `ours` returns."""
    parts = {part: torch.from_numpy(ptb.load_data(part)[0].astype("int64")) for part in ("train", "valid", "test")}
    torch.manual_seed(seed)
    model = TorchLanguageModel("lstm", 10_000, SIZE, SIZE, 2, DROPOUT, tied=True)
    torch.nn.init.uniform_(model.embedding.weight, -WIDTH, WIDTH)
    torch.nn.init.zeros_(model.output.bias)
    optimizer = torch.optim.SGD(model.parameters(), LR)
    steps = (len(parts["train"]) - 1) // N  # of a strip
    xs, ts = (parts["train"][start:start + N * steps].view(N, steps) for start in (0, 1))
    curve, best, best_params = [], math.inf, None
    start = time.perf_counter()
    end = start + 60 * minutes
    while time.perf_counter() < end:
        model.train()
        model.state = None
        for at in range(0, steps, T):
            torch_training_step(model, optimizer, xs[:, at:at + T], ts[:, at:at + T], CLIP)
            if time.perf_counter() > end:
                break
        perplexity = evaluated(model, parts["valid"])
        curve.append(((time.perf_counter() - start) / 60, perplexity))
        print(f"PyTorch, epoch {len(curve)}: validation perplexity {perplexity:.2f} after {curve[-1][0]:.1f} minutes, "
              f"learning rate {optimizer.param_groups[0]['lr']:g}", flush=True)
        if perplexity < best:
            best, best_params = perplexity, {name: value.clone() for name, value in model.state_dict().items()}
        else:
            optimizer.param_groups[0]["lr"] /= DECAY
    model.load_state_dict(best_params)
    test = evaluated(model, parts["test"])
    print(f"PyTorch, test perplexity {test:.2f}", flush=True)
    return curve, test


def evaluated(model, ids, steps=500):
    """Return the perplexity of each token of a text but the first, read as one strip."""
    model.eval()
    model.state, nats = None, 0.0
    with torch.no_grad():
        for at in range(0, len(ids) - 1, steps):
            xs, ts = ids[at:at + steps][:len(ids) - 1 - at], ids[at + 1:at + 1 + steps]
            nats += torch.nn.functional.cross_entropy(model(xs[None])[0], ts, reduction="sum").item()
    return math.exp(nats / (len(ids) - 1))


def main():
    """Train both and draw their curves; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/laptop"), help="folder of our run, the curves beside it")
    args = parser.parse_args()
    print(blas.in_words(), flush=True)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    results = {"this project": ours(args.minutes, ["--seed", str(args.seed), "--out", str(args.out)]),
               "PyTorch": theirs(args.minutes, args.seed)}
    args.out.with_suffix(".json").write_text(json.dumps(results), encoding="utf-8")
    draw(results, args.out.with_suffix(".png"))
    return 0


def draw(results, path):
    """Draw the curves of both into one picture."""
    curves = {f"{name} (test {test:.1f})": list(zip(*curve)) for name, (curve, test) in results.items()}
    save(curves_figure(curves, "minutes", "validation perplexity", "Penn Treebank, two cores", "log"), path)


if __name__ == "__main__":
    blas.restart_unsteered()
    sys.exit(main())
