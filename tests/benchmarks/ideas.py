"""What each idea is worth on the Penn Treebank: a ladder from the book's Rnnlm to the recipe `laptop`, and that recipe
with one part taken away or added.

    python tests/benchmarks/ideas.py ladder --minutes 30
    python tests/benchmarks/ideas.py ablation --minutes 30

Each run is one command, `python -m ch_lstm.train` with the flags of the table, on one core, for the same minutes; as
many runs side by side as there are cores (--jobs). Runs go on where a stopped script has left them, and those that are
done are not made again. The folder holds each run with its log, and the table as markdown. Needs Linux.
"""
import argparse
import concurrent.futures
import csv
import itertools
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import blas

# Each step has the flags of those above it too; a later flag counts before an earlier one. The last step is the recipe.
LADDER = {
    "the book's Rnnlm": "--recipe chapter6",
    "the learning rate falls by a cosine": "--schedule cosine",
    "two tied layers of 256, dropout 0.3":
        "--model cell --layers 2 --tied --wordvec-size 256 --hidden-size 256 --dropout 0.3",
    "sampled softmax": "--sampled-softmax 400 --full-softmax 0.05",
    "the bias starts at frequencies": "--unigram-bias",
    "the embedding starts at counted vectors": "--ppmi-embedding",
    "locked dropout 0.2, 0.15, 0.35": "--model awd --input-dropout 0.2 --hidden-dropout 0.15 --dropout 0.35 "
                                      "--embedding-dropout 0 --weight-drop 0 --alpha 0 --beta 0",
    "embedding dropout 0.1": "--embedding-dropout 0.1",
    "weight drop 0.15": "--weight-drop 0.15",
    "random lengths": "--random-lengths",
}
RECIPE = "--recipe laptop"
ABLATION = {
    "the recipe": "",
    "without sampled softmax": "--sampled-softmax none",
    "with a constant learning rate": "--schedule constant",
    "without the bias from frequencies": "--no-unigram-bias",
    "without counted vectors": "--no-ppmi-embedding",
    "without tied matrices": "--no-tied",
    "without locked dropout": "--input-dropout 0 --hidden-dropout 0 --dropout 0",
    "without embedding dropout": "--embedding-dropout 0",
    "without weight drop": "--weight-drop 0",
    "without random lengths": "--no-random-lengths",
    "with AR 2 and TAR 1": "--alpha 2 --beta 1",
    "with weight decay 1.2e-6": "--weight-decay 1.2e-6",
    "with averaged SGD": "--optimizer asgd --lr 20 --schedule constant",
}


def ladder_runs():
    """Return the flags of each step of the ladder, those of the steps above it included."""
    return dict(zip(LADDER, itertools.accumulate(LADDER.values(), "{} {}".format)))


def ablation_runs():
    """Return the flags of the recipe, and of the recipe with each change."""
    return {change: f"{RECIPE} {flags}".strip() for change, flags in ABLATION.items()}


KINDS = {"ladder": ("step of the ladder", LADDER, ladder_runs), "ablation": ("change", ABLATION, ablation_runs)}
writing = threading.Lock()  # of table.md


class Result:
    """What a run that is done has come to, from the files in its folder."""

    def __init__(self, folder):
        with (folder / "run" / "history.csv").open(encoding="utf-8", newline="") as file:
            perplexities = [float(row["valid_perplexity"]) for row in csv.DictReader(file)]
        log = (folder / "log.txt").read_text(encoding="utf-8")
        self.epochs, self.valid = len(perplexities), min(perplexities)
        self.test = float(re.findall(r"^test perplexity (\S+)", log, re.MULTILINE)[-1])
        self.seconds = sum(map(float, re.findall(r"^processor seconds: ([\d.]+)$", log, re.MULTILINE)))


def is_done(folder):
    log = folder / "log.txt"
    return log.exists() and re.search(r"^test perplexity", log.read_text(encoding="utf-8"), re.MULTILINE) is not None


def name_of(step):
    """Return the name of a step's folder."""
    return re.sub(r"\W+", "-", step)


def train(folder, flags, minutes, seed, core):
    """Train in a process of its own, which the core is given to alone, from the beginning or from its checkpoint."""
    os.sched_setaffinity(0, {core})  # of this thread, and of what it starts
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "run"
    asked = ["--resume"] if (out / "last.npz").exists() else [
        *shlex.split(flags), "--minutes", str(minutes), "--seed", str(seed)]
    command = [sys.executable, "-m", "ch_lstm.train", *asked, "--out", str(out)]
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        print("$", *command[1:], file=log, flush=True)
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        print(f"processor seconds: {usage.ru_utime + usage.ru_stime:.1f}", file=log)
    return process.returncode


def table(heading, own_flags, out):
    """Return the results so far as lines of markdown, each with the flags of its own."""
    lines = [f"| {heading} | validation perplexity | test perplexity | epochs | processor minutes | flags |",
             "|---|---|---|---|---|---|"]
    for step, flags in own_flags.items():
        if is_done(out / name_of(step)):
            result = Result(out / name_of(step))
            lines.append(f"| {step} | {result.valid:.1f} | {result.test:.1f} | {result.epochs} | "
                         f"{result.seconds / 60:.1f} | {f'`{flags}`' * bool(flags)} |")
    return lines


def main():
    """Train what is not trained yet and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side, each on a core of its own")
    parser.add_argument("--only", type=int, nargs="+", metavar="ROW",
                        help="rows of the table to train, from 1 (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/ideas"))
    args = parser.parse_args()
    print(blas.in_words(), flush=True)
    heading, own_flags, make_runs = KINDS[args.kind]
    runs, out = make_runs(), args.out / f"{args.kind}-{args.minutes:g}-minutes-seed-{args.seed}"
    free_cores = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[:args.jobs]:
        free_cores.put(core)

    def train_on_a_free_core(step):
        core = free_cores.get()
        try:
            return train(out / name_of(step), runs[step], args.minutes, args.seed, core)
        finally:
            free_cores.put(core)
            print(f"{step}: over", flush=True)
            with writing:
                (out / "table.md").write_text("\n".join(table(heading, own_flags, out)) + "\n", encoding="utf-8")

    waiting = [step for row, step in enumerate(runs, start=1)
               if (args.only is None or row in args.only) and not is_done(out / name_of(step))]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(train_on_a_free_core, waiting))
    print("\n".join(table(heading, own_flags, out)))
    return max(codes, default=0)


if __name__ == "__main__":
    blas.restart_unsteered()
    sys.exit(main())
