"""The book's trainers, which train, report and draw the curve: `common.training.epochs` has their loop."""
import itertools
import time

from common.base_model import BaseModel
from common.device.ids import Ids, ids_array
from common.np import Array
from common.optimizer import Optimizer
from common.training.batches import ExampleBatches, StripBatches
from common.training.clip import remove_duplicate
from common.training.epochs import RunningMean, train_epochs, training_step
from common.training.metrics import format_perplexity, safe_exp

# remove_duplicate is defined in common.training.clip; the book's readers import it from here.
__all__ = ["BaseTrainer", "RnnlmTrainer", "Trainer", "remove_duplicate", "training_step"]


class BaseTrainer:
    """The base of both trainers: the loop over epochs and batches, and its report.

    Parameters
    ----------
    model : BaseModel
    optimizer : Optimizer

    Attributes
    ----------
    current_epoch : int
        Epochs begun so far, over all calls of `fit`.
    eval_interval : int or None
        Iterations between two reports and two points of the curve.
    """

    def __init__(self, model: BaseModel, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.current_epoch = 0
        self.eval_interval = None
        self.curve: list[float] = []

    def _fit(self, batches, max_epoch, max_grad, eval_interval, report):
        """Train for `max_epoch` epochs, each one pass over `batches`.

        `report(mean_loss)` turns the mean loss since the last report into a point of the
        curve and the words that show it.
        """
        for name, value, least in (("max_epoch", max_epoch, 0), ("eval_interval", eval_interval, 1)):
            if value is not None and value < least:
                raise ValueError(f"{type(self).__name__}.fit: {name} is {value}, wanted at least {least}")
        self.eval_interval = eval_interval
        start = time.perf_counter()
        iterations = itertools.cycle(range(len(batches)))
        mean = RunningMean()  # since the last report

        def before_update(loss, targets):
            nonlocal mean
            iteration = next(iterations)
            self.current_epoch += iteration == 0
            if eval_interval is None:
                return
            mean.add(loss)
            if iteration % eval_interval == 0:
                point, words = report(mean.value)
                self.curve.append(point)
                seconds = time.perf_counter() - start
                print(f"epoch {self.current_epoch}  batch {iteration + 1}/{len(batches)}  {seconds:.0f} s  {words}")
                mean = RunningMean()

        for _ in train_epochs(self.model, self.optimizer, batches, max_epoch, max_grad, before_update):
            pass

    def _plot(self, ylabel, ylim):
        import matplotlib.pyplot as plt

        axes = plt.gca()
        axes.plot(range(1, len(self.curve) + 1), self.curve, color="black")
        axes.set(xlabel=f"iterations (x {self.eval_interval})", ylabel=ylabel)
        if ylim is not None:
            axes.set_ylim(*ylim)
        plt.show()


class Trainer(BaseTrainer):
    """Trains on examples in random order, a new order each epoch.

    Attributes
    ----------
    loss_list : list of float
        Mean loss of each interval, in nats.
    """

    @property
    def loss_list(self) -> list[float]:
        """Mean loss of each interval, in nats."""
        return self.curve

    def fit(self, x: Array, t: Array, max_epoch: int = 10, batch_size: int = 32, max_grad: float | None = None,
            eval_interval: int | None = 20) -> None:
        """Train, and print the loss every `eval_interval` iterations.

        Parameters
        ----------
        x, t : ndarray (n, ...)
            Examples and their targets.
        max_epoch : int
            Epochs to add.
        batch_size : int
            Examples that do not fill a last batch wait for the next epoch's new order.
        max_grad : float, optional
            Largest global norm of the gradients.
        eval_interval : int or None
            Iterations between two reports; None reports nothing.

        Raises
        ------
        ValueError
            x and t differ in length, there are fewer examples than a batch takes, or `max_epoch` is negative, or
            `batch_size` or `eval_interval` is below 1.
        """
        self._fit(ExampleBatches(x, t, batch_size, drop_last=True), max_epoch, max_grad, eval_interval,
                  lambda loss: (loss, f"loss {loss:.4f}"))

    def plot(self, ylim: tuple[float, float] | None = None) -> None:
        """Show the curve of the loss."""
        self._plot("loss", ylim)


class RnnlmTrainer(BaseTrainer):
    """Trains a language model along the corpus, its state carried from batch to batch.

    The batches go on where the last epoch ended and wrap around the corpus.

    Attributes
    ----------
    time_idx : int
        Tokens that each strip has moved on so far.
    ppl_list : list of float
        Perplexity of each interval: exp of the mean loss.
    """

    def __init__(self, model: BaseModel, optimizer: Optimizer) -> None:
        super().__init__(model, optimizer)
        self.time_idx = 0

    @property
    def ppl_list(self) -> list[float]:
        """Perplexity of each interval."""
        return self.curve

    def get_batch(self, x: Array | Ids, t: Array | Ids, batch_size: int, time_size: int) -> tuple[Array, Array]:
        """Return the next batch: two new arrays of ids, xs and ts, of shape (batch_size, time_size)."""
        batches = StripBatches(x, t, batch_size, time_size)
        batches.position = self.time_idx
        xs, ts = batches.next_batch()
        self.time_idx = batches.position
        return ids_array(xs).copy(), ids_array(ts).copy()

    def fit(self, xs: Array | Ids, ts: Array | Ids, max_epoch: int = 10, batch_size: int = 20, time_size: int = 35,
            max_grad: float | None = None, eval_interval: int | None = 20) -> None:
        """Train, and print the perplexity every `eval_interval` iterations.

        Parameters
        ----------
        xs, ts : ndarray of int (n,)
            Token ids, and the id that follows each. On a GPU the model gets its batches as
            `common.device.ids.Ids`, which the layers here take as they take arrays; `.array` is the array.
        max_epoch : int
            Epochs to add.
        batch_size, time_size : int
            N strips, walked T steps at a time.
        max_grad : float, optional
            Largest global norm of the gradients.
        eval_interval : int or None
            Iterations between two reports; None reports nothing.

        Raises
        ------
        ValueError
            xs and ts differ in length, the corpus is shorter than a batch, or `max_epoch` is negative or another
            number below 1.
        """
        batches = StripBatches(xs, ts, batch_size, time_size)
        batches.position = self.time_idx

        def report(loss):
            perplexity = safe_exp(loss)
            return perplexity, f"perplexity {format_perplexity(perplexity)}"

        try:
            self._fit(batches, max_epoch, max_grad, eval_interval, report)
        finally:
            self.time_idx = batches.position

    def plot(self, ylim: tuple[float, float] | None = None) -> None:
        """Show the curve of the perplexity."""
        self._plot("perplexity", ylim)
