"""A training run of a language model in a folder: epochs, evaluation, checkpoints, pictures."""
import contextlib
import csv
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from common import plots
from common.cli import save_settings
from common.device.ids import known_ids
from common.errors import InputError
from common.files.atomic import replacing
from common.language_model.evaluate import perplexity
from common.language_model.model import LanguageModel
from common.language_model.report import perplexity_in_words
from common.np import np
from common.optimizer import Optimizer
from common.training import checkpoint
from common.training.batches import StripBatches, WindowBatches
from common.training.epochs import expect_finite, training_step
from common.training.metrics import format_perplexity, safe_exp, singular_values
from common.training.schedules import learning_rate
from dataset.corpus import SPLITS, Corpus

REPORT_EVERY = 20  # batches between two readings of the loss


class TrainingRun:
    """Trains a language model along a corpus and keeps all that it needs to go on in a folder.

    The folder holds config.json, vocabulary.json, history.csv (no times in it, so that two equal
    runs leave equal files), timing.csv, loss.png, last.npz and best.npz.

    Parameters
    ----------
    folder : Path
    settings : TrainSettings
    script : str
        What makes such runs, "ch_lstm.train".
    model : LanguageModel
    optimizer : Optimizer
    corpus : dataset.corpus.Corpus
    """

    def __init__(self, folder: Path, settings: Any, script: str, model: LanguageModel, optimizer: Optimizer,
                 corpus: Corpus) -> None:
        self.folder, self.settings, self.script = folder, settings, script
        self.model, self.optimizer, self.corpus = model, optimizer, corpus
        train = known_ids(corpus.train)
        self.valid = known_ids(corpus.valid)
        self.batches: StripBatches | WindowBatches
        if settings.windows:
            self.batches = WindowBatches(
                train, settings.time_size, settings.batch_size, settings.shuffle, settings.seed)
        else:
            self.batches = StripBatches(train[:-1], train[1:], settings.batch_size, settings.time_size)
        if settings.accumulate > settings.batch_size:
            raise InputError(f"--accumulate {settings.accumulate} is more parts than the --batch-size "
                             f"{settings.batch_size} has rows")
        updates = settings.epochs * len(self.batches)
        if settings.warmup >= updates:
            raise InputError(f"--warmup {settings.warmup} takes all {updates} updates of the run: give a smaller one")
        self.say = {part: perplexity_in_words(corpus, part) for part in SPLITS}
        self.lr = optimizer.lr  # the largest of a schedule; a plateau divides it
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self.singular_values: list[Any] = []  # of Wh before training and after each epoch
        self.batch = 0  # batches of the current epoch that are done
        self.tokens = 0  # that they predicted
        self.nats: Any = 0.0  # sum of the losses of these tokens
        self.seconds = 0.0  # that they took
        self.stop_asked = False

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return len(self.history)

    def begin(self) -> None:
        """Make the folder, which must be new or empty, and save the run as it is before its first step."""
        try:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise InputError(f"{self.folder} is there already: choose another --out"
                                 + (", or go on with --resume" if (self.folder / "config.json").exists() else ""))
        except OSError as error:
            raise InputError(f"cannot use the folder {self.folder}: {error.strerror}") from None
        save_settings(self.folder, self.settings, self.script)
        self.corpus.vocabulary.save(self.folder / "vocabulary.json")
        self._note_singular_values()
        self._save_last()

    def resume(self) -> None:
        """Go on from last.npz, in the middle of an epoch if need be."""
        path = self.folder / "last.npz"
        arrays, facts = checkpoint.read_checkpoint(path, self.settings.model, self.corpus.vocabulary)
        if facts.get("corpus") != self.corpus.fingerprint:
            raise InputError(f"the text of {self.corpus.name} has changed since the run in {self.folder} began")
        try:
            history, timing = list(facts["history"]), list(facts["timing"])
            noted = list(facts.get("singular_values", []))  # not there in older runs
            lr = float(facts.get("largest_lr", facts["lr"]))
            batch, nats, seconds = int(facts["batch"]), float(facts["nats"]), float(facts["seconds"])
            position, random_state = int(facts["position"]), facts["random_state"]
            last_epoch = [(row["epoch"], float(row["valid_perplexity"])) for row in history][-1:]
            if not (0 <= batch < len(self.batches) and 0 <= position):
                raise ValueError
            full = self.settings.batch_size * self.settings.time_size  # tokens of all batches but an epoch's last
            if "tokens" not in facts:  # older runs added up the mean losses of the batches
                nats *= full
            elif facts["tokens"] != batch * full:
                raise ValueError
            if last_epoch and last_epoch[0][0] != len(history):
                raise ValueError
            np.set_random_state(random_state)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path} is damaged: the progress that it records is impossible") from None
        if self.settings.epochs < len(history):
            raise InputError(f"--epochs {self.settings.epochs} is less than the {len(history)} epochs that are done")
        rows = None if self.settings.windows else self.settings.batch_size
        checkpoint.restore(path, arrays, facts, self.model, self.optimizer, rows)
        self.history, self.timing = history, timing
        self.batch, self.tokens, self.nats, self.seconds = batch, batch * full, nats, seconds
        self.singular_values, self.lr = noted, lr
        self.batches.position = position
        save_settings(self.folder, self.settings, self.script)

    def train(self) -> bool:
        """Train until the epochs of the configuration are done, or Ctrl-C.

        Returns
        -------
        bool
            Whether all epochs were done.
        """
        # A loss that overflows is said by the run itself; NumPy need not warn as well.
        with self._ctrl_c_asks_to_stop(), numpy.errstate(all="ignore"):
            while not self.is_done and self._train_epoch():
                self._close_epoch()
            if not self.is_done:
                self._save_last()
        if self.history:
            name = Path(self.corpus.name).name
            plots.save_history(self.folder / "loss.png", self.history, f"{self.settings.model} on {name}")
        return self.is_done

    @property
    def is_done(self) -> bool:
        """Whether all epochs are done, or the last ones were so bad that patience is at an end."""
        perplexities = [row["valid_perplexity"] for row in self.history]
        since_best = len(perplexities) - 1 - perplexities.index(min(perplexities)) if perplexities else 0
        return self.epoch >= self.settings.epochs or since_best >= (self.settings.patience or math.inf)

    @contextlib.contextmanager
    def _ctrl_c_asks_to_stop(self):
        """The first Ctrl-C ends the epoch after the current batch, a second one stops at once."""
        def ask(signum, frame):
            if self.stop_asked:
                raise KeyboardInterrupt
            self.stop_asked = True
            print("\nCtrl-C: stopping after this step (press it again to stop at once, without saving)", flush=True)

        try:
            old = signal.signal(signal.SIGINT, ask)
        except ValueError:  # not in the main thread, where signals do not arrive
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, old)

    def _train_epoch(self):
        """Train on what is left of the epoch; False when Ctrl-C came first."""
        max_grad = self.settings.max_grad
        last_nats, last_tokens = float(self.nats), self.tokens
        before, start = self.seconds, time.perf_counter()
        started_at = self.tokens
        with Progress(self.epoch + 1, self.settings.epochs, len(self.batches), self.batch,
                      self.say["train"]) as progress:
            while self.batch < len(self.batches) and not self.stop_asked:
                xs, ts = self.batches.next_batch()
                loss = training_step(self.model, self.optimizer, xs, ts, max_grad, self._set_learning_rate,
                                     self.settings.accumulate)
                if self.settings.windows:
                    self.model.reset_state()  # the next windows have nothing to do with these
                tokens = math.prod(ts.shape)
                self.nats += loss.astype(np.float64) * tokens
                self.tokens += tokens
                self.batch += 1
                if self.batch % REPORT_EVERY == 0 or self.batch == len(self.batches):
                    nats = float(self.nats)
                    expect_finite(nats, f"the loss at batch {self.batch} of epoch {self.epoch + 1}")
                    seconds = time.perf_counter() - start
                    recent = safe_exp((nats - last_nats) / (self.tokens - last_tokens))
                    progress.show(self.batch, recent, (self.tokens - started_at) / seconds)
                    last_nats, last_tokens = nats, self.tokens
        self.seconds = before + time.perf_counter() - start
        return self.batch == len(self.batches)

    def _set_learning_rate(self, loss, targets):
        """Set the learning rate of the update that follows."""
        settings = self.settings
        updates = settings.epochs * len(self.batches)
        self.optimizer.lr = learning_rate(
            self.lr, settings.schedule or "constant", self.optimizer.steps, updates, settings.warmup)

    def _close_epoch(self):
        """Evaluate, note the epoch in the history, adapt the learning rate, save."""
        valid_perplexity = expect_finite(perplexity(self.model, self.valid),
                                         f"the validation perplexity of epoch {self.epoch + 1}")
        best = min((row["valid_perplexity"] for row in self.history), default=math.inf)
        self.history.append({
            "epoch": self.epoch + 1,
            "lr": self.optimizer.lr,
            "train_perplexity": safe_exp(float(self.nats) / self.tokens),
            "valid_perplexity": valid_perplexity,
        })
        self.timing.append({
            "epoch": self.epoch, "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / self.seconds)})
        words = (f"epoch {self.epoch}: training perplexity {self.say['train'](self.history[-1]['train_perplexity'])}, "
                 f"validation perplexity {self.say['valid'](valid_perplexity)}, {self.seconds:.1f} s")
        if valid_perplexity < best:
            checkpoint.save_checkpoint(self.folder / "best.npz", self.model, self._facts())
        elif self.settings.lr_decay > 1:
            self.lr /= self.settings.lr_decay
            self.optimizer.lr = self.lr
            words += f"; not better than {format_perplexity(best)}, so the learning rate becomes {self.lr:g}"
        if self.is_done and self.epoch < self.settings.epochs:
            words += f"; no better epoch in {self.settings.patience}, so training ends"
        print(words, flush=True)
        self.batch, self.tokens, self.nats, self.seconds = 0, 0, 0.0, 0.0
        self._note_singular_values()
        self._save_last()

    def _note_singular_values(self):
        """Note the epoch and, for each recurrent layer, the singular values of Wh (H,), for a picture."""
        self.singular_values.append({
            "epoch": self.epoch,
            "layers": [[round(float(value), 6) for value in singular_values(np.to_cpu(layer.params[1]))]
                       for layer in self.model.recurrent_layers]})

    def _facts(self):
        return {
            "model": self.settings.model,
            "vocabulary": self.corpus.vocabulary.fingerprint,
            "corpus": self.corpus.fingerprint,
            "history": self.history,
        }

    def _save_last(self):
        progress = {
            "largest_lr": self.lr, "timing": self.timing, "singular_values": self.singular_values,
            "batch": self.batch, "tokens": self.tokens, "nats": float(self.nats), "seconds": self.seconds,
            "position": self.batches.position, "random_state": np.random_state(),
        }
        checkpoint.save_checkpoint(self.folder / "last.npz", self.model, self._facts() | progress, self.optimizer)
        write_csv(self.folder / "history.csv", self.history)
        write_csv(self.folder / "timing.csv", self.timing)

    def finish(self) -> float:
        """Put the best parameters into the model and return their perplexity on the test text."""
        path = self.folder / "best.npz"
        arrays, _ = checkpoint.read_checkpoint(path, self.settings.model, self.corpus.vocabulary)
        checkpoint.restore_params(path, arrays, self.model)
        return self.test_perplexity()

    def test_perplexity(self) -> float:
        """Return the perplexity of the parameters in the model on the test text."""
        return perplexity(self.model, self.corpus.test)


class Progress:
    """Shows how an epoch goes on: a bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, epoch: int, epochs: int, batches: int, done: int,
                 say: Callable[[float], str] = format_perplexity) -> None:
        self.title, self.batches, self.say = f"epoch {epoch}/{epochs}", batches, say
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
    """Write dicts as the rows of a CSV file; without rows nothing is written."""
    if rows:
        with replacing(path) as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
