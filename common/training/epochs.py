"""The training loop: forward, backward, clipping and update, batch after batch and epoch after epoch."""
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from common.device.ids import Ids
from common.np import Array, np
from common.optimizer import Optimizer
from common.training.accumulate import forward_backward_in_parts
from common.training.clip import clip_grads, gradients_of, remove_duplicate
from common.training.finite import NotFinite, expect_finite
from common.training.health import HealthLog

CHECK_EVERY = 20  # batches between two looks at the loss


def training_step(model: Any, optimizer: Optimizer, xs: Array | Ids, ts: Array | Ids, max_grad: float | None = None,
                  before_update: Callable[..., None] | None = None, parts: int = 1, health: HealthLog | None = None,
                  **options: Any) -> Array:
    """Forward, backward and one update on one batch.

    Parameters
    ----------
    model : BaseModel
        With `forward(xs, ts)`, which returns the loss, and `backward()`.
    optimizer : Optimizer
    xs, ts : ndarray
    max_grad : float, optional
        Largest global norm of the gradients; None leaves them as they are.
    before_update : callable, optional
        As for `train_epochs`.
    parts : int
        Parts in which the batch is computed one after the other, in less memory (`forward_backward_in_parts`).
    health : HealthLog, optional
        Where the step is noted, if nothing prevents its update.
    **options
        What else the model's `forward` takes, such as `lengths`; not with parts.

    Returns
    -------
    0-d array or NumPy scalar
        The loss before the update.
    """
    after_forward = None if health is None else health.after_forward
    if parts > 1:
        loss = forward_backward_in_parts(model, xs, ts, parts, after_forward)
    else:
        loss = model.forward(xs, ts, **options)
        if after_forward is not None:
            after_forward(model)
        model.backward()
    takes_sparse = getattr(type(optimizer), "update", None) is Optimizer.update and parts == 1
    params, grads = remove_duplicate(model.params, gradients_of(model) if takes_sparse else model.grads)
    if before_update is not None:
        before_update(loss, math.prod(ts.shape))
    norm = None if max_grad is None else clip_grads(grads, max_grad)
    if health is None:
        optimizer.update(params, grads)
    else:
        health.update(optimizer, params, grads, norm, max_grad)
    return loss


def train_epochs(model: Any, optimizer: Optimizer, batches: Iterable[Any], epochs: int, max_grad: float | None = None,
                 before_update: Callable[..., None] | None = None) -> Iterator[float]:
    """Train, and yield the mean loss of each epoch.

    Between two epochs the caller is free to evaluate, to set `optimizer.lr`, or to stop::

        for epoch, loss in enumerate(train_epochs(model, SGD(1.0), batches, 4), start=1):
            print(epoch, loss, perplexity(model, valid))

    Parameters
    ----------
    model : BaseModel
        With `forward(xs, ts)`, which returns the mean loss of a batch, and `backward()`.
    optimizer : Optimizer
    batches : iterable
        An epoch is one pass over it. A batch is (xs, ts), or (xs, ts, options) with a dict of what else the model's
        `forward` takes, such as `lengths`.
    epochs : int
    max_grad : float, optional
        Largest global norm of the gradients; None leaves them as they are.
    before_update : callable, optional
        Called as `before_update(loss, targets)` once the gradients of a batch are there, before they are clipped and
        used: the place to look at `model.grads` or to set `optimizer.lr` for this update. `targets` is the number of
        targets in the batch.

    Yields
    ------
    float
        Mean loss of the epoch, in the unit of the model's loss. A batch counts by its number of targets. Each loss is
        that before the update that it led to.

    Raises
    ------
    NotFinite
        After an epoch its mean loss or a parameter is not finite; or, where looking at it waits for nothing, the mean
        loss so far.
    ValueError
        A pass over the batches gave none, as a second pass over a generator does.
    """
    for epoch in range(1, epochs + 1):
        mean = RunningMean()
        for batch, (xs, ts, *options) in enumerate(batches, start=1):
            loss = training_step(model, optimizer, xs, ts, max_grad, before_update, **dict(*options))
            mean.add(loss, math.prod(ts.shape))
            if batch % CHECK_EVERY == 0 and np.backend == "numpy":  # on a GPU it would wait for the loss
                expect_finite(mean.value, f"the loss at batch {batch} of epoch {epoch}")
        if mean.weight == 0:
            raise ValueError(f"epoch {epoch} has no batch: give batches that can be iterated over once for each epoch")
        epoch_loss = expect_finite(mean.value, f"the loss of epoch {epoch}")
        if not all(np.isfinite(param).all() for param in model.params):  # the last update may have spoilt them
            raise NotFinite(f"a parameter after epoch {epoch}")
        yield epoch_loss


class RunningMean:
    """The weighted mean of numbers that come one by one, added up in float64.

    On a GPU the sum stays there until its value is asked for, so that no training step waits for it.
    """

    def __init__(self) -> None:
        self.total, self.weight = 0.0, 0

    def add(self, number: Any, weight: int = 1) -> None:
        """Take one more number: a float, or a 0-d array."""
        if hasattr(number, "astype"):
            number = number.astype(np.float64)
        self.total += number * weight
        self.weight += weight

    @property
    def value(self) -> float:
        """The mean of the numbers so far, as a float."""
        return float(self.total) / self.weight
