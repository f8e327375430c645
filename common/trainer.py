"""Training loops."""
import time

from common.device.ids import ids_array
from common.np import np
from common.training.batches import StripBatches
from common.training.clip import clip_grads, remove_duplicate

# remove_duplicate is defined in common.training.clip; the book's readers import it from here.
__all__ = ["BaseTrainer", "RnnlmTrainer", "Trainer", "remove_duplicate", "training_step"]


def training_step(model, optimizer, xs, ts, max_grad=None, **options):
    """Forward, backward and one update on one batch.

    Parameters
    ----------
    model : BaseModel
        With `forward(xs, ts)`, which returns the loss, and `backward()`.
    optimizer : Optimizer
    xs, ts : ndarray
    max_grad : float, optional
        Largest global norm of the gradients; None leaves them as they are.
    **options
        What else the model's `forward` takes, such as `lengths`.

    Returns
    -------
    0-d array or NumPy scalar
        The loss before the update.
    """
    loss = model.forward(xs, ts, **options)
    model.backward()
    params, grads = remove_duplicate(model.params, model.grads)
    if max_grad is not None:
        clip_grads(grads, max_grad)
    optimizer.update(params, grads)
    return loss


class BaseTrainer:
    """What both trainers share: the loop over epochs and batches, and its report.

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

    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.current_epoch = 0
        self.eval_interval = None
        self.curve = []

    def _fit(self, batches_of_epoch, iterations, max_epoch, max_grad, eval_interval, report):
        """Train for `max_epoch` epochs, each over `batches_of_epoch()`.

        `report(mean_loss)` turns the mean loss since the last report into a point of the
        curve and the words that show it.
        """
        self.eval_interval = eval_interval
        start = time.perf_counter()
        total, count = 0.0, 0
        for _ in range(max_epoch):
            self.current_epoch += 1
            for iteration, (xs, ts) in enumerate(batches_of_epoch()):
                total += training_step(self.model, self.optimizer, xs, ts, max_grad)
                count += 1
                if eval_interval is not None and iteration % eval_interval == 0:
                    point, words = report(float(total) / count)
                    self.curve.append(point)
                    seconds = time.perf_counter() - start
                    print(f"epoch {self.current_epoch}  batch {iteration + 1}/{iterations}  {seconds:.0f} s  {words}")
                    total, count = 0.0, 0

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
    def loss_list(self):
        """Mean loss of each interval, in nats."""
        return self.curve

    def fit(self, x, t, max_epoch=10, batch_size=32, max_grad=None, eval_interval=20):
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
        """
        iterations = len(x) // batch_size

        def batches_of_epoch():
            order = np.to_device(np.host_rng.permutation(len(x)))  # (n,)
            for i in range(iterations):
                chosen = order[i * batch_size:(i + 1) * batch_size]  # (batch_size,)
                yield x[chosen], t[chosen]

        self._fit(batches_of_epoch, iterations, max_epoch, max_grad, eval_interval,
                  lambda loss: (loss, f"loss {loss:.4f}"))

    def plot(self, ylim=None):
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

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self.time_idx = 0

    @property
    def ppl_list(self):
        """Perplexity of each interval."""
        return self.curve

    def get_batch(self, x, t, batch_size, time_size):
        """Return the next batch: two new arrays of ids, xs and ts, of shape (batch_size, time_size)."""
        batch = self._next_batch(StripBatches(x, t, batch_size, time_size))
        return tuple(ids_array(ids).copy() for ids in batch)

    def _next_batch(self, batches):
        """Return the next batch of strips, from where the last one ended."""
        batches.position = self.time_idx
        batch = batches.next_batch()
        self.time_idx = batches.position
        return batch

    def fit(self, xs, ts, max_epoch=10, batch_size=20, time_size=35, max_grad=None, eval_interval=20):
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
        """
        batches = StripBatches(xs, ts, batch_size, time_size)
        iterations = len(batches)

        def batches_of_epoch():
            for _ in range(iterations):
                yield self._next_batch(batches)

        def report(loss):
            perplexity = float(np.exp(loss))
            return perplexity, f"perplexity {perplexity:.2f}"

        self._fit(batches_of_epoch, iterations, max_epoch, max_grad, eval_interval, report)

    def plot(self, ylim=None):
        """Show the curve of the perplexity."""
        self._plot("perplexity", ylim)
