"""A batch in parts, whose gradients are added up."""
import itertools
from collections.abc import Callable
from typing import Any

from common.device.ids import Ids
from common.np import Array, np


def forward_backward_in_parts(model: Any, xs: Array | Ids, ts: Array | Ids, parts: int,
                              after_forward: Callable[[Any], None] | None = None) -> Array:
    """Compute the loss and the gradients of a batch a few of its rows at a time.

    What comes out equals, to rounding, `forward` and `backward` on the whole batch, dropout apart, whose masks are
    drawn part by part. What a layer keeps for `backward` takes the memory of one part only. A state that the model
    carries is divided and put together again with the rows.

    Parameters
    ----------
    model : BaseModel
        Its loss is the mean over the rows of a batch.
    xs, ts : ndarray or Ids (N, ...)
    parts : int
        At least 1; no more than N are made.
    after_forward : callable, optional
        Called as `after_forward(model)` between the forward of each part and its backward.

    Returns
    -------
    0-d array or NumPy scalar
        The loss of the whole batch.
    """
    N = len(xs)
    parts = min(parts, N)
    bounds = [N * i // parts for i in range(parts + 1)]
    states = model.get_state() if hasattr(model, "get_state") else []
    totals = [np.zeros_like(grad) for grad in model.grads]
    loss: Any = 0.0
    new_states = []
    for start, stop in itertools.pairwise(bounds):
        if states:
            model.set_state([tuple(None if array is None else array[start:stop] for array in state)
                             for state in states])
        share = (stop - start) / N
        loss = loss + model.forward(xs[start:stop], ts[start:stop]) * share
        if after_forward is not None:
            after_forward(model)
        model.backward(share)
        for total, grad in zip(totals, model.grads):
            total += grad
        if states:
            new_states.append(model.get_state())
    for total, grad in zip(totals, model.grads):
        grad[...] = total
    if states:
        model.set_state([tuple(map(np.concatenate, zip(*layer))) for layer in zip(*new_states)])
    return loss
