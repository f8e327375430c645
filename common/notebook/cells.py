"""What several notebooks need: timing a call, learning a task, and showing what is not the same everywhere."""
import statistics
import time

from common.optimizer import Adam
from common.training.batches import DrawnBatches
from common.training.epochs import train_epochs

ROUNDING = "how the processor rounds"  # a cause of other digits, once a network has been trained


def seconds_of(function, *args, repeats=7):
    """Return the median time of a call, in seconds.

    Parameters
    ----------
    function : callable
    *args
    repeats : int
        Calls that are timed.
    """
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*args)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def double_batch(task, size):
    """Draw a batch in double precision, with which rounding plays the least part in what is learnt.

    Parameters
    ----------
    task : AddingProblem
        Or whatever else has `batch(size)`, which returns arrays of numbers.
    size : int
        N.

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
        Or another, as for `double_batch`; each update draws a batch of it.
    updates : int
    each : callable, optional
        Called as `each(update, model)`, with 0 before the first update and with k after update k.
    """
    each = each or (lambda update, model: None)
    each(0, model)
    batches = DrawnBatches(lambda: double_batch(task, 50), 1)
    for update, _ in enumerate(train_epochs(model, Adam(0.01), batches, updates, 1.0), start=1):
        each(update, model)


class Varying:
    """A text that is not the same everywhere: a notebook shows it in a box and says why, and no test compares it.

    Parameters
    ----------
    text : str
    *causes : str
        What the text depends on, as "the version of Python" or `ROUNDING`.
    """

    def __init__(self, text, *causes):
        self.text, self.causes = text, " and ".join(causes)

    def __repr__(self):
        return f"(depends on {self.causes})"

    def _repr_markdown_(self):
        return f"```\n{self.text}\n```\n*One machine's: depends on {self.causes}.*"
