"""A training run of a language model in a folder: epochs, evaluation, checkpoints, pictures."""
import contextlib
import dataclasses
import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy

from common import cli, plots
from common.cli.signals import StopNow, StopRequest
from common.device.ids import known_ids
from common.errors import InputError
from common.files.atomic import flush_folder, temporaries
from common.files.json_text import brief
from common.files.lock import LOCK, FolderLock
from common.language_model.evaluate import perplexity
from common.language_model.machine import differences, machine_facts
from common.language_model.model import LanguageModel
from common.language_model.progress import Progress, write_csv
from common.language_model.report import perplexity_in_words
from common.layers.sampled_softmax import UnigramSampler
from common.np import np
from common.optimizer import ASGD, Optimizer, non_monotone_trigger
from common.text.vocabulary import Vocabulary
from common.training import checkpoint
from common.training.batches import CorpusBatches, RandomStripBatches, StripBatches, WindowBatches
from common.training.clip import global_norm, unique_params
from common.training.epochs import training_step
from common.training.finite import NotFinite
from common.training.health import HealthLog
from common.training.metrics import format_perplexity, safe_exp, singular_values
from common.training.schedules import FALLING, learning_rate
from dataset.corpus import SPLITS, Corpus

REPORT_EVERY = 20  # batches between two readings of the loss
FULL_SOFTMAX = 0.2  # share of a run with sampled softmax that takes all words
MOST_SKIPPED = 20  # batches in a row: then the parameters are at fault, not the batches
BEFORE_THE_FIRST_CHECKPOINT = {"config.json", "vocabulary.json"}
FILES = {*BEFORE_THE_FIRST_CHECKPOINT, "last.npz", "best.npz", "history.csv", "timing.csv", "starts.csv", "loss.png",
         "health.png"}
MAY_CHANGE_ON_RESUME = {"epochs", "minutes", "patience", "lr", "max_grad", "save_every", "skip_nonfinite"}
CHANGE_NO_RESULT = {"save_every"}
PLACES = ("corpus", "valid", "test")  # settings that name a text, which may lie elsewhere when a run goes on


class TrainingRun:
    """Trains a language model along a corpus and keeps all that it needs to go on in a folder.

    The folder holds config.json, vocabulary.json, last.npz and best.npz, and what is written anew from last.npz:
    history.csv (no times in it, so that two equal runs leave equal files), timing.csv, starts.csv, loss.png and
    health.png. `begin` or `resume` gives the model the parameters to start with, where settings ask for others.

    Parameters
    ----------
    folder : Path or None
        None: a new one under runs/, made when the run begins.
    settings : TrainSettings
    script : str
        What makes such runs, "ch_lstm.train".
    model : LanguageModel
    optimizer : Optimizer
    corpus : dataset.corpus.Corpus
    """

    def __init__(self, folder: Path | None, settings: Any, script: str, model: LanguageModel, optimizer: Optimizer,
                 corpus: Corpus) -> None:
        self._folder, self.settings, self.script = folder, settings, script
        self.model, self.optimizer, self.corpus = model, optimizer, corpus
        train = known_ids(corpus.train)
        self.valid = known_ids(corpus.valid)
        self.batches = _batches(train, settings)
        if settings.accumulate > settings.batch_size:
            raise InputError(f"--accumulate {settings.accumulate} is more parts than the --batch-size "
                             f"{settings.batch_size} has rows")
        self.full_softmax = FULL_SOFTMAX if settings.full_softmax is None else settings.full_softmax
        self.sampler: UnigramSampler | None = None
        if settings.sampled_softmax is not None:
            self.sampler = UnigramSampler(_frequencies(corpus), settings.sampled_softmax)
        if settings.warmup and settings.minutes is None and settings.warmup >= self._all_batches:
            raise InputError(f"--warmup {settings.warmup} takes all {self._all_batches} updates of the run: give a "
                             "smaller one")
        self.say = {part: perplexity_in_words(corpus, part) for part in SPLITS}
        self.lr = optimizer.lr  # the largest of a schedule; a plateau divides it
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self.starts: list[dict[str, Any]] = []  # when and on what machine the run began and was resumed
        self.singular_value_epochs: list[int] = []  # 0 before training
        self.singular_values: list[list[numpy.ndarray]] = []  # then, of each recurrent layer's Wh: (H,)
        self.batches_before = 0  # in complete epochs, of which one that the time ended is shorter
        self.batch = 0  # batches of the current epoch that are done
        self.sampled = 0  # of these, batches by sampled softmax
        self.skipped = 0  # of these, batches whose loss or gradient was not finite
        self.skipped_in_a_row = 0
        self.tokens = 0  # that the others predicted
        self.nats: Any = 0.0  # sum of the losses of these tokens
        self.health = HealthLog()  # of the current epoch
        self.seconds = 0.0  # that they took
        self.spent = 0.0  # seconds of training and evaluation in all
        self.evaluation_seconds = 0.0  # of the last one
        self.stop = StopRequest()
        self._lock: FolderLock | None = None
        self._saved: tuple[int, int] | None = None  # epoch and step of last.npz

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        if self._folder is None:
            self._folder = cli.free_folder(f"{Path(self.settings.corpus).stem}-{self.settings.model}")
        return self._folder

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return len(self.history)

    @property
    def step(self) -> int:
        """The number of batches that are done in all epochs."""
        return self.batches_before + self.batch

    @property
    def of_epoch(self) -> int:
        """The number of batches in the current epoch."""
        return self.batch + self.batches.left(self.batch)

    def begin(self) -> None:
        """Make the folder and save the run as it is before its first step.

        The folder must be new, or empty, or hold no more than a run that ended before its first checkpoint.
        """
        folder = self.folder
        try:
            self._expect_free(folder)
            folder.mkdir(parents=True, exist_ok=True)
            flush_folder(folder.parent)
            with self._taking_folder():
                self._expect_free(folder)  # another run may have had it meanwhile
                self._save_beginning()
        except OSError as error:
            raise InputError(f"cannot use the folder {folder}: {error.strerror}") from None

    def resume(self, lr: float | None = None) -> None:
        """Go on from last.npz, in the middle of an epoch if need be; begin if the run ended before its first one.

        Parameters
        ----------
        lr : float, optional
            Learning rate to go on with; by default that which a plateau has left, or that of changed settings.
        """
        with self._taking_folder():
            if any((self.folder / name).exists() for name in FILES - BEFORE_THE_FIRST_CHECKPOINT):
                self._restore(self.folder / "last.npz", lr)
            else:
                self._save_beginning()

    def _expect_free(self, folder):
        if not folder.exists():
            return
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
        found -= {path.name for path in temporaries(folder, FILES)} | {LOCK}
        if "config.json" in found and found <= BEFORE_THE_FIRST_CHECKPOINT:
            with contextlib.suppress(InputError):
                cli.read_settings(folder, type(self.settings), self.script)
                return
        if found:
            raise InputError(f"{folder} is there already: choose another --out"
                             + (", or go on with --resume" if "config.json" in found else ""))

    @contextlib.contextmanager
    def _taking_folder(self):
        """Keep other runs out of the folder, also after the block, and clear what killed ones left."""
        self._lock = FolderLock(self.folder)
        try:
            for path in temporaries(self.folder, FILES):
                path.unlink(missing_ok=True)
            yield
        except BaseException:
            self.close()
            raise

    def _save_beginning(self):
        cli.save_settings(self.folder, self.settings, self.script)
        self.corpus.vocabulary.save(self.folder / "vocabulary.json")
        self._start_from_counts()
        self._note_singular_values()
        self._note_start()
        self._save_last()

    def _start_from_counts(self):
        if self.settings.unigram_bias:
            self.model.start_from_frequencies(_frequencies(self.corpus))
        if self.settings.ppmi_embedding:
            self.model.start_from_ppmi(self.corpus.train)

    def _restore(self, path, lr):
        """Put everything of a checkpoint back, and write anew what is made from it."""
        if Vocabulary.load(self.folder / "vocabulary.json") != self.corpus.vocabulary:
            raise InputError(f"the vocabulary of {self.corpus.name} is not the one in {self.folder}: the text has "
                             "changed since the run began, or vocabulary.json has")
        arrays, header = checkpoint.read_checkpoint(path, self.settings.model, self.corpus.vocabulary)
        if header["corpus"] != self.corpus.fingerprint:
            raise InputError(f"the text of {self.corpus.name} has changed since the run in {self.folder} began")
        before = header["configuration"] or cli.read_config(self.folder)  # files of older versions lack it
        expect_same_configuration(before, self.settings, path)
        self._expect_possible(header, path)
        progress, times = header["progress"], header["times"]
        noted = [arrays.pop(name) for i in range(len(arrays)) if (name := f"singular_values_{i}") in arrays]
        widths = [layer.hidden_size for layer in self.model.recurrent_layers]
        if noted and [values.shape[1] for values in noted] != widths:
            raise InputError(f"{path} is damaged: its singular values are not of {widths}, the sizes of the layers")
        rows = None if self.settings.windows else self.settings.batch_size
        try:
            np.set_random_state(progress["random_state"])
        except (TypeError, ValueError):
            raise InputError(f"{path} is damaged: its random_state is of another generator") from None
        checkpoint.restore(path, arrays, header, self.model, self.optimizer, rows)
        self.singular_value_epochs = progress["singular_value_epochs"]
        self.singular_values = [list(values) for values in zip(*noted)]
        self.history, self.timing, self.starts = header["history"], times["timing"], times["starts"]
        self.batch, self.skipped, self.tokens = progress["batch"], progress["skipped"], progress["tokens"]
        self.batches_before, self.sampled = progress["batches_before"], progress.get("sampled", 0)
        self.nats, self.seconds = progress["nats"], times["seconds"]
        self.health = HealthLog(progress.get("health"))
        self.spent, self.evaluation_seconds = times["spent"], times["evaluation_seconds"]
        self.batches.position = progress["position"]
        self.skipped_in_a_row = progress["skipped_in_a_row"]
        self.lr = progress["largest_lr"]
        if isinstance(self.optimizer, ASGD):
            self.optimizer.start = progress.get("averaging_from")
        if header["format"] < checkpoint.FORMAT:
            self._save_in_present_format()
        if lr is not None or before["lr"] != self.settings.lr:
            self.lr = self.settings.lr if lr is None else lr
        self._saved = self.epoch, self.step
        cli.save_settings(self.folder, self.settings, self.script)
        self._note_start()
        if self.history and self.batch == 0 and self._last_is_best():
            self._save_best()  # which the end of the process right after the epoch may have prevented
        self._write_tables()
        self._draw_history()

    def _save_in_present_format(self):
        """Save what an older version made with its own settings, before config.json has those of now."""
        settings = self.settings
        self.settings = cli.read_settings(self.folder, type(settings), self.script)
        self._save_last()
        self.settings = settings

    def _expect_possible(self, header, path):
        """Check that the progress of a checkpoint is one that this run can have made."""
        if not header.keys() >= {"progress", "times"}:
            raise InputError(f"{path} is damaged: it does not say how far the run is")
        progress, epochs = header["progress"], len(header["history"])
        if header["format"] < checkpoint.FORMAT:
            self._complete_older(progress, epochs)
        elif None in (progress["tokens"], progress["batches_before"]):
            raise InputError(f"{path} is damaged: it does not say how far the run is")
        if self.settings.epochs < epochs:
            raise InputError(f"--epochs {self.settings.epochs} is less than the {epochs} epochs that are done")
        before, batch, skipped = progress["batches_before"], progress["batch"], progress["skipped"]
        step, noted, batches = before + batch, progress["singular_value_epochs"], self.batches
        if not (len(header["times"]["timing"]) == epochs and header.get("steps", 0) <= step
                and noted == sorted({*noted}) and all(epoch <= epochs for epoch in noted)
                and epochs <= before and step <= batches.of_epochs(epochs + 1) and skipped <= batch
                and progress["position"] == batches.position_after(step)
                and batches.least_targets * skipped
                <= batches.targets_between(before, step) - progress["tokens"] <= batches.most_targets * skipped
                and HealthLog(progress.get("health")).is_possible(batch - skipped)
                and [row["epoch"] for row in header["history"]] == list(range(1, epochs + 1))):
            raise InputError(f"{path} is damaged: the progress that it records is impossible")

    def _complete_older(self, progress, epochs):
        """Older runs did not count the batches; the oldest added up their mean losses, and did not count tokens."""
        if progress["batches_before"] is None:
            progress["batches_before"] = self.batches.of_epochs(epochs)
        if progress["tokens"] is None:
            full = self.settings.batch_size * self.settings.time_size
            progress["tokens"] = progress["batch"] * full
            progress["nats"] *= full

    @property
    def changes(self) -> list[str]:
        """What has changed on the machine since the run was last started, in words."""
        return differences(*(start["machine"] for start in self.starts[-2:])) if len(self.starts) > 1 else []

    def close(self) -> None:
        """Let others write into the folder."""
        if self._lock is not None:
            self._lock.release()

    def train(self) -> bool:
        """Train until the epochs of the configuration are done, or a signal asks to stop: Ctrl-C, SIGTERM or SIGHUP.

        Returns
        -------
        bool
            Whether all epochs were done; otherwise `stop.signum` is the signal. Everything is saved.

        Raises
        ------
        NotFinite
            The training came to NaN or infinity; the last checkpoint stays.
        Stopped
            A second signal came; what was not saved yet is not.
        """
        # A loss that overflows is said by the run itself; NumPy need not warn as well.
        with contextlib.closing(self), self.stop.noted(), numpy.errstate(all="ignore"):
            try:
                while not self.is_done and self._train_epoch() and self._close_epoch():
                    pass
            except OSError:  # whoever read the output is gone
                self._save_last()
                if self.stop.signum is None:
                    raise
            self._save_last()
            self._draw_history()
        return self.stop.signum is None

    @property
    def is_done(self) -> bool:
        """Whether all epochs are done, the time is over, or the last epochs were so bad that patience is at an end."""
        return (self.epoch >= self.settings.epochs or self.patience_is_over
                or self.time_is_over and self.batch == 0 and self.epoch > 0)

    @property
    def patience_is_over(self) -> bool:
        """Whether the best epoch is as many epochs ago as patience allows."""
        perplexities = [row["valid_perplexity"] for row in self.history]
        since_best = len(perplexities) - 1 - perplexities.index(min(perplexities)) if perplexities else 0
        return since_best >= (self.settings.patience or math.inf)

    @property
    def time_is_over(self) -> bool:
        """Whether what is left of the minutes is not enough for more than an evaluation."""
        return self.spent + self.evaluation_seconds >= 60 * (self.settings.minutes or math.inf)

    def _train_epoch(self):
        """Train on what is left of the epoch, and save from time to time; False if a signal came first."""
        last_nats, last_tokens, started_at = float(self.nats), self.tokens, self.tokens
        before, spent_before, start = self.seconds, self.spent, time.perf_counter()
        next_save = start + self.settings.save_every
        epochs = self.settings.epochs if self.settings.minutes is None else None
        of_epoch = self.of_epoch
        with Progress(self.epoch + 1, epochs, of_epoch, self.batch, self._say_training) as progress:
            while self.batch < of_epoch and self.stop.signum is None and not self.time_is_over:
                self.train_batch()
                now = time.perf_counter()
                self.seconds, self.spent = before + now - start, spent_before + now - start
                if now >= next_save:
                    self._try_to_save()
                    next_save = time.perf_counter() + self.settings.save_every
                if self.batch % REPORT_EVERY == 0 or self.batch == of_epoch:
                    nats = self._expect_finite(float(self.nats), "the loss")
                    if self.tokens > last_tokens and self.stop.signum is None:
                        recent = safe_exp((nats - last_nats) / (self.tokens - last_tokens))
                        progress.show(self.batch, recent, (self.tokens - started_at) / (now - start))
                    last_nats, last_tokens = nats, self.tokens
        return self.stop.signum is None

    def _say_training(self, perplexity):
        return self.say["train"](perplexity, *["sampled softmax"] * (self.sampled > 0))

    def _try_to_save(self):
        """Save the run; where a disk is full for a while, training goes on."""
        try:
            self._save_last()
        except NotFinite:
            raise
        except InputError as error:
            print(f"{error}; training goes on, and saving is tried again after {self.settings.save_every:g} s",
                  file=sys.stderr, flush=True)

    def train_batch(self) -> None:
        """Train on the next batch."""
        xs, ts = self.batches.next_batch()
        state = self.model.get_state()
        tokens = math.prod(ts.shape)
        if self.sampler is not None:
            is_sampled = self._share_done() < 1 - self.full_softmax
            self.model.sample_softmax(self.sampler if is_sampled else None)
            self.sampled += is_sampled
        lr = self._learning_rate()
        self.optimizer.lr = lr * self.batches.lr_factor
        try:
            loss = training_step(self.model, self.optimizer, xs, ts, self.settings.max_grad, self._before_update,
                                 self.settings.accumulate, self.health.at(self.batch))
        except _BatchNotFinite as error:
            self.model.set_state(state)
            self.skipped += 1
            self.skipped_in_a_row += 1
            if self.skipped_in_a_row == MOST_SKIPPED:
                self.batch += 1
                raise self._not_finite(f"{error} of {MOST_SKIPPED} batches in a row") from None
        else:
            self.nats += loss.astype(np.float64) * tokens
            self.tokens += tokens
            self.skipped_in_a_row = 0
        self.optimizer.lr = lr
        self.batch += 1
        if self.settings.windows:
            self.model.reset_state()  # the next windows have nothing to do with these

    def _before_update(self, loss, targets):
        """Prevent the update that follows if it would spoil the parameters."""
        if self.settings.skip_nonfinite:
            for name, number in ("the loss", loss), ("the gradient", global_norm(self.model.grads)):
                if not math.isfinite(float(number)):
                    raise _BatchNotFinite(name)

    def _learning_rate(self):
        """Return the learning rate of the next update, for a batch of the usual length."""
        schedule = self.settings.schedule or "constant"
        updates = self._updates() if schedule in FALLING else math.inf
        return learning_rate(self.lr, schedule, self.optimizer.steps, updates, self.settings.warmup)

    @functools.cached_property
    def _all_batches(self):
        """The number of batches in all epochs; to count those of random lengths takes time."""
        return self.batches.of_epochs(self.settings.epochs)

    def _updates(self):
        """Return how many updates there are in all, where the time ends the run by the speed so far."""
        if self.settings.minutes is None:
            return self._all_batches
        if not self.spent:
            return math.inf
        return max(self.optimizer.steps + 1, self.optimizer.steps * 60 * self.settings.minutes / self.spent)

    def _share_done(self):
        """Return the share of all updates that are done."""
        return self.optimizer.steps / self._updates()

    def _close_epoch(self):
        """Evaluate, note the epoch in the history, adapt the learning rate, save; False if a signal came first."""
        if not self.tokens:
            raise self._not_finite("the loss of every batch")
        state, start = self.model.get_state(), time.perf_counter()
        try:
            with self._averaged(), self.stop.at_once():
                valid_perplexity = perplexity(self.model, self.valid)
        except StopNow:
            self.model.set_state(state)  # the signal may have come while the evaluation put it back
            return False
        self.evaluation_seconds = time.perf_counter() - start
        self.spent += self.evaluation_seconds
        self._expect_finite(valid_perplexity, "the validation perplexity")
        best = min((row["valid_perplexity"] for row in self.history), default=math.inf)
        self.history.append({
            "epoch": self.epoch + 1,
            "lr": self.optimizer.lr,
            "max_grad": self.settings.max_grad,
            "train_perplexity": safe_exp(float(self.nats) / self.tokens),
            "valid_perplexity": valid_perplexity,
            "skipped": self.skipped,
            **self.health.row(clips=self.settings.max_grad is not None),
        } | ({} if self.sampler is None else {"sampled": self.sampled}))
        self.timing.append({
            "epoch": self.epoch, "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-6))})
        words = (f"epoch {self.epoch}: training perplexity {self._say_training(self.history[-1]['train_perplexity'])}, "
                 f"validation perplexity {self.say['valid'](valid_perplexity)}, {self.seconds:.1f} s")
        if self.skipped:
            words += f"; {self.skipped} batches skipped, not finite"
        is_best = self._last_is_best()
        if isinstance(self.optimizer, ASGD) and self.optimizer.start is None:
            *earlier, last = (row["valid_perplexity"] for row in self.history)
            if non_monotone_trigger(earlier, last):
                self.optimizer.start_averaging()
                words += "; averaging begins"
        if not is_best and self.settings.lr_decay > 1:
            self.lr /= self.settings.lr_decay
            self.optimizer.lr = self.lr
            words += f"; not better than {format_perplexity(best)}, so the learning rate becomes {self.lr:g}"
        if self.patience_is_over and self.epoch < self.settings.epochs:
            words += f"; no better epoch in {self.settings.patience}, so training ends"
        self.batches_before += self.batch
        self.batch, self.sampled, self.skipped, self.tokens, self.nats, self.seconds = 0, 0, 0, 0, 0.0, 0.0
        self.health = HealthLog()
        if self.time_is_over:
            words += f"; the {self.settings.minutes:g} minutes are over"
        self._note_singular_values()
        self._save_last()
        if is_best:
            self._save_best()
        self._write_tables()
        print(words, flush=True)
        return True

    def _averaged(self):
        """Within the block the model has the averages of its parameters, where the optimizer keeps any."""
        if isinstance(self.optimizer, ASGD) and self.optimizer.start is not None:
            return self.optimizer.averaged(unique_params(self.model.params))
        return contextlib.nullcontext()

    def _last_is_best(self):
        """Whether the last epoch is better than all before it."""
        *others, last = (row["valid_perplexity"] for row in self.history)
        return last < min(others, default=math.inf)

    def _note_singular_values(self):
        """Note the epoch and, for each recurrent layer, the singular values of Wh (H,), for a picture."""
        weights = [np.to_cpu(layer.params[1]).astype(float) for layer in self.model.recurrent_layers]
        if not all(numpy.isfinite(Wh).all() for Wh in weights):
            raise self._not_finite("a recurrent weight")
        self.singular_value_epochs.append(self.epoch)
        self.singular_values.append([singular_values(Wh).round(6) for Wh in weights])

    def _note_start(self):
        self.starts.append({"step": self.step, "lr": self.lr, "max_grad": self.settings.max_grad,
                            "machine": machine_facts()})

    # Not finite

    def _expect_finite(self, value, what):
        if not math.isfinite(value):
            raise self._not_finite(what)
        return value

    def _not_finite(self, what):
        if self._saved is None:
            return NotFinite(what)
        _, saved = self._saved
        return NotFinite(
            what, f"training stops at step {self.step}, batch {self.batch} of epoch {self.epoch + 1}, with the "
            f"learning rate {self.optimizer.lr:g}. The checkpoint of step {saved} stays: go on from it with "
            f"--out {self.folder} --resume and a lower --lr or --max-grad, or with --skip-nonfinite")

    # Files

    def _header(self):
        configuration = dataclasses.asdict(self.settings)
        return {
            "model": self.settings.model,
            "vocabulary": self.corpus.vocabulary.fingerprint,
            "corpus": self.corpus.fingerprint,
            "configuration": {name: value for name, value in configuration.items() if name not in CHANGE_NO_RESULT},
            "history": self.history,
        }

    def _save_last(self):
        """Save the run as it is, unless it is saved already or has come to numbers that are not finite."""
        if self._saved == (self.epoch, self.step):
            return
        nats = self._expect_finite(float(self.nats), "the loss")
        if self.step and not self.skipped_in_a_row:
            self._expect_finite(float(global_norm(self.model.grads)), "the norm of the gradients")
        header = self._header()
        header["progress"] = {
            "largest_lr": self.lr, "batches_before": self.batches_before, "batch": self.batch,
            "tokens": self.tokens, "nats": nats, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row,
            "position": self.batches.position, "random_state": np.random_state(),
            "singular_value_epochs": self.singular_value_epochs, "health": self._health_sums()}
        if self.sampler is not None:
            header["progress"]["sampled"] = self.sampled
        if isinstance(self.optimizer, ASGD):
            header["progress"]["averaging_from"] = self.optimizer.start
        header["times"] = {
            "seconds": self.seconds, "spent": self.spent, "evaluation_seconds": self.evaluation_seconds,
            "timing": self.timing, "starts": self.starts}
        values = {f"singular_values_{i}": numpy.array(of_layer)  # (E, H)
                  for i, of_layer in enumerate(zip(*self.singular_values))}
        try:
            checkpoint.save_checkpoint(self.folder / "last.npz", self.model, header, self.optimizer, values)
        except NotFinite as error:
            raise self._not_finite(error.what) from None
        self._saved = self.epoch, self.step

    def _health_sums(self):
        sums = self.health.sums()
        for name in "norm", "update", "weight":
            self._expect_finite(sums[name], f"the sum of each {name} in the health log")
        return sums

    def _save_best(self):
        with self._averaged():
            checkpoint.save_checkpoint(self.folder / "best.npz", self.model, self._header())

    def _write_tables(self):
        """Write what people read of the checkpoint, as tables."""
        write_csv(self.folder / "history.csv", self.history)
        write_csv(self.folder / "timing.csv", self.timing)
        own = [{name: start[name] for name in ("step", "lr", "max_grad")} for start in self.starts]
        write_csv(self.folder / "starts.csv", [row | start["machine"] | row for row, start in zip(own, self.starts)])

    def _draw_history(self):
        if self.history:
            title = f"{self.settings.model} on {Path(self.corpus.name).name}"
            plots.save_history(self.folder / "loss.png", self.history, title)
            plots.save_health(self.folder / "health.png", self.history, title)

    def finish(self) -> float:
        """Put the best parameters into the model and return their perplexity on the test text."""
        path = self.folder / "best.npz"
        arrays, _ = checkpoint.read_checkpoint(path, self.settings.model, self.corpus.vocabulary)
        checkpoint.restore_params(path, arrays, self.model)
        return self.test_perplexity()

    def test_perplexity(self) -> float:
        """Return the perplexity of the parameters in the model on the test text."""
        return self._expect_finite(perplexity(self.model, self.corpus.test), "the test perplexity")


def _frequencies(corpus):
    """Return how often each token comes up in the training text, (V,)."""
    return numpy.bincount(corpus.train, minlength=corpus.vocabulary.size)


def _batches(train, settings) -> CorpusBatches:
    """Return the batches of a training text (n,) that settings describe."""
    if settings.windows:
        return WindowBatches(train, settings.time_size, settings.batch_size, settings.shuffle, settings.seed)
    if settings.random_lengths:
        return RandomStripBatches(train[:-1], train[1:], settings.batch_size, settings.time_size, settings.seed)
    return StripBatches(train[:-1], train[1:], settings.batch_size, settings.time_size)


def expect_same_configuration(before: dict[str, Any], settings: Any, path: Path) -> None:
    """Check that a checkpoint was made with settings that make the same results, but for those that may change.

    Parameters
    ----------
    before : dict
        What the checkpoint at `path` says; what it does not say is not compared.
    settings : TrainSettings

    Raises
    ------
    InputError
        A setting differs.
    """
    now = json.loads(json.dumps(dataclasses.asdict(settings)))
    for name in before.keys() & now.keys():
        if name not in {*MAY_CHANGE_ON_RESUME, *PLACES} and before[name] != now[name]:
            raise InputError(f"{path} was made with {name} {brief(before[name])}, but config.json has "
                             f"{brief(now[name])}: put it back")


class _BatchNotFinite(Exception):
    """Raised before an update that the loss or the gradient of a batch would spoil."""
