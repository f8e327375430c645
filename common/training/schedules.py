"""Learning rates that change from update to update."""
import itertools
import math
from collections.abc import Callable

from common.optimizer import Optimizer

FALLING = ("linear", "cosine")  # to 0 over all updates
SCHEDULES = ("constant", "plateau", *FALLING)


def learning_rate(lr: float, schedule: str, step: int, steps: float, warmup: int = 0) -> float:
    """Return the learning rate of an update.

    After k updates of warm-up it is, with p = (step - k) / (steps - k),

        linear    lr (1 - p)
        cosine    lr (1 + cos(pi p)) / 2         Loshchilov and Hutter 2017, without restarts

    and for the other schedules lr itself.

    Parameters
    ----------
    lr : float
        The largest.
    schedule : {"constant", "plateau", "linear", "cosine"}
        On a plateau whoever trains divides lr; here it is constant.
    step : int
        Updates made before this one.
    steps : float
        Updates in all, perhaps an estimate; 0 is reached behind the last, and stays.
    warmup : int
        k, updates over which the rate grows evenly up to lr (Goyal et al. 2017).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        There is no such schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}, wanted one of {', '.join(SCHEDULES)}")
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule not in FALLING:
        return lr
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return lr * (1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2)


def scheduled(optimizer: Optimizer, schedule: str, steps: int, warmup: int = 0) -> Callable[..., None]:
    """Return a `before_update` for `train_epochs` that sets the learning rate of each update.

    Parameters
    ----------
    optimizer : Optimizer
        Its learning rate now is the largest.
    schedule, steps, warmup
        As for `learning_rate`.
    """
    lr, done = optimizer.lr, itertools.count()

    def before_update(loss, targets):
        optimizer.lr = learning_rate(lr, schedule, next(done), steps, warmup)

    return before_update
