"""Functions for several notebooks: time a call, train on a task, show a text that differs between machines."""
import statistics
import time

from common.optimizer import Adam
from common.training.batches import DrawnBatches
from common.training.epochs import train_epochs

ROUNDING = "how the processor rounds"  # a trained network has other digits elsewhere


def seconds_of(function, *args, repeats=7):
    """Return the median time of a call, in seconds.

    Parameters
    ----------
    function : callable
    *args
    repeats : int
        Number of calls.
    """
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*args)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def double_batch(task, size):
    """Draw a batch in double precision, so that rounding has little effect on training.

    Parameters
    ----------
    task : AddingProblem
        Any object with `batch(size)`, which returns arrays of numbers.
    size : int
        Number of sequences, N.

    Returns
    -------
    xs, ts : numpy.ndarray of float64 (N, ...)
    """
    return tuple(array.astype("float64") for array in task.batch(size))


def learn(model, task, updates, each=None):
    """Train a model in double precision: Adam with a rate of 0.01, batches of 50, gradients clipped to a norm of 1.

    Parameters
    ----------
    model : BaseModel
    task : AddingProblem
        Any task that `double_batch` takes. Each update draws a batch of it.
    updates : int
    each : callable, optional
        Function called as `each(update, model)`, with 0 before the first update and with k after update k.
    """
    each = each or (lambda update, model: None)
    each(0, model)
    batches = DrawnBatches(lambda: double_batch(task, 50), 1)
    for update, _ in enumerate(train_epochs(model, Adam(0.01), batches, updates, 1.0), start=1):
        each(update, model)


class Varying:
    """A text that differs between machines: a notebook shows it in a box and says why, and no test compares it.

    Parameters
    ----------
    text : str
    *causes : str
        Causes of the differences, such as "the version of Python" or `ROUNDING`.
    """

    def __init__(self, text, *causes):
        self.text, self.causes = text, " and ".join(causes)

    def __repr__(self):
        return f"(depends on {self.causes})"

    def _repr_markdown_(self):
        return f"```\n{self.text}\n```\n*This output is from one machine. It depends on {self.causes}.*"
