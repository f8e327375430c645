"""Speed and memory against PyTorch and against one layer object per time step: `make bench`.

Each contestant of a workload (see `workloads`) has a process of its own, in which it waits for its turn:
a turn has as many steps as fit half a second. The contestants take turns, so that noise of the
machine hits all alike; a ratio is that of two turns of the same round, and the table has the median of
the rounds with minimum and maximum. "floor" is what the bare matrix products of a training step take, and its share of
ours. Memory is the most that the process ever held. OpenBLAS is left to choose its kernel, which the first line names.
"""
import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time

import blas

TURN = 0.5  # seconds


def worker(letter, contestant):
    """Run steps as told on stdin: "3" prints the seconds that 3 of them took, "0" the megabytes of the process."""
    import resource

    from workloads import WORKLOADS

    step, tokens = WORKLOADS[letter][2](contestant)
    print(tokens, blas.in_words(), sep="\n", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds = time.perf_counter() - start
        print(seconds if int(line) else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


class Contestant:
    """A process that runs steps when it is its turn."""

    def __init__(self, letter, name):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", letter, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
        self.tokens, self.blas = int(self.process.stdout.readline()), self.process.stdout.readline().strip()
        self.steps = max(1, round(TURN / min(self.ask(1) for _ in range(2))))
        self.seconds = []  # of a step, by round

    def ask(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def take_turn(self):
        self.seconds.append(self.ask(self.steps) / self.steps)

    def leave(self):
        self.memory = self.ask(0)
        self.process.stdin.close()
        self.process.wait()


def run(letter, names, rounds):
    """Let the contestants of a workload take turns."""
    contestants = [Contestant(letter, name) for name in names]
    for _ in range(rounds):
        for contestant in contestants:
            contestant.take_turn()
    for contestant in contestants:
        contestant.leave()
    return contestants


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", metavar="LETTER", help="these workloads only")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        return worker(*args.worker)
    from workloads import FLOOR, TORCH, WORKLOADS

    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is left out, it is not installed: .venv/bin/pip install -e '.[parity]'")
    heading = (f"{'':3} {'workload':26} {'contestant':10} {'ms/step':>9} {'tokens/s':>9} {'MB':>6}   "
               "their time over the fast form's: median (min-max)")
    for letter in args.only or WORKLOADS:
        title, names, _ = WORKLOADS[letter]
        ours, *others = run(letter, [name for name in names if has_torch or name != TORCH], args.rounds)
        if heading:
            print(ours.blas, heading, sep="\n")
            heading = None
        for contestant in (ours, *others):
            middle = statistics.median(contestant.seconds)
            ratios = [b / a for a, b in zip(ours.seconds, contestant.seconds)]
            words = "" if contestant is ours else spread(ratios)
            if contestant.name == FLOOR:
                words = f"{statistics.median(ratios):.0%} of the fast form"
            print(f"{letter:3} {title:26} {contestant.name:10} {1000 * middle:9.2f} {contestant.tokens / middle:9,.0f} "
                  f"{contestant.memory:6.0f}   {words}".rstrip(), flush=True)
            letter = title = ""


if __name__ == "__main__":
    blas.restart_unsteered()
    sys.exit(main())
