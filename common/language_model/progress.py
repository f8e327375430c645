"""What a training run shows while it goes on, and the tables that it leaves."""
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.files.atomic import replacing
from common.training.metrics import format_perplexity


class Progress:
    """Shows how an epoch goes on: a bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, epoch: int, epochs: int | None, batches: int, done: int,
                 say: Callable[[float], str] = format_perplexity) -> None:
        self.title, self.batches, self.say = f"epoch {epoch}" + (f"/{epochs}" if epochs else ""), batches, say
        self.bar = None
        if sys.stdout.isatty():
            import tqdm  # here, since a run without a terminal, as on a bare CUDA image, does without it

            self.bar = tqdm.tqdm(
                total=batches, initial=done, desc=self.title, file=sys.stdout, leave=False, dynamic_ncols=True,
                bar_format="{desc} {percentage:.0f}% {bar} {remaining} left{postfix}")  # fits 80 columns
        self.next_line = done + batches / 4

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def show(self, batch: int, recent_perplexity: float, tokens_per_second: float) -> None:
        """Show the perplexity of the last batches and the tokens per second of this epoch."""
        words = f"perplexity {self.say(recent_perplexity)}, {tokens_per_second:,.0f} tokens/s"
        if self.bar is not None:
            self.bar.set_postfix_str(words, refresh=False)
            self.bar.update(batch - self.bar.n)
        elif self.next_line <= batch < self.batches:
            print(f"{self.title}, batch {batch}/{self.batches}: {words}", flush=True)
            self.next_line += self.batches / 4


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write dicts as the rows of a CSV file, what a row lacks as empty; without rows nothing is written."""
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(path) as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
