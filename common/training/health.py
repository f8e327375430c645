"""How healthy the steps of an epoch are: what is noted of them, at next to no cost.

- The norm of the gradient before clipping, and whether it was clipped: Pascanu, Mikolov and Bengio 2013. Clipping
  computes the norm, so it is noted at each step; where nothing is clipped, at the batches that are looked at.
- Saturated gates: below 0.1 or above 0.9. Karpathy, Johnson and Fei-Fei 2015 (arXiv:1506.02078) call them left and
  right saturated.
- The norm of the update over the norm of the weights, each of all parameters as one vector.

What costs time is looked at on every 20th batch of an epoch only, the first included. On a GPU all sums stay there
until they are asked for: no step waits for them.
"""
import math
from typing import Any

from common.device.elementwise import elementwise
from common.layers.recurrent import RecurrentLayer
from common.np import Array, np
from common.optimizer import SGD, Optimizer
from common.training.clip import global_norm

LOOK_EVERY = 20  # batches of an epoch from one look to the next
LOW, HIGH = 0.1, 0.9  # a gate beyond these is saturated


@elementwise
def _is_saturated(gate):
    return np.logical_or(gate < LOW, gate > HIGH)


@elementwise
def _add_norm(total, clipped, norm, max_norm):
    return total + norm, clipped + (norm > max_norm)


class HealthLog:
    """Sums over the steps of one epoch, for `training_step`::

        log = HealthLog()
        for batch, (xs, ts) in enumerate(batches):
            training_step(model, optimizer, xs, ts, max_grad, health=log.at(batch))
        print(log.row())

    Parameters
    ----------
    sums : dict, optional
        What `sums()` returned, to go on from there.
    """

    def __init__(self, sums: dict[str, Any] | None = None) -> None:
        sums = sums or {}
        self.steps: int = sums.get("steps", 0)
        self.norms: int = sums.get("norms", 0)  # steps whose norm was noted
        self.gates: int = sums.get("gates", 0)  # that were looked at
        self.norm, self.clipped, self.saturated, self.update_norm, self.weight_norm = (
            np.array(float(sums.get(name, 0))) for name in ("norm", "clipped", "saturated", "update", "weight"))
        self.at(-1)

    def at(self, batch: int) -> "HealthLog":
        """Be ready for the batch of this number in its epoch, from 0, and forget one that made no update."""
        self._looks = batch % LOOK_EVERY == 0
        self._gates: int = 0
        self._saturated: Any = 0
        return self

    def after_forward(self, model: Any) -> None:
        """Look at the gates of a model, before its backward, which may overwrite them."""
        if not self._looks:
            return
        for layer in getattr(model, "recurrent_layers", ()):
            for gates in layer.gate_activations() if isinstance(layer, RecurrentLayer) else ():
                self._gates += gates.size
                self._saturated += _is_saturated(gates, out=np.empty(gates.shape, dtype=bool)).sum()

    def update(self, optimizer: Optimizer, params: list[Array], grads: list[Array], norm: Array | None,
               max_grad: float | None) -> None:
        """Let the optimizer take its step, and note it.

        Parameters
        ----------
        optimizer : Optimizer
        params, grads : list of ndarray
            Each memory once, the gradients clipped.
        norm : 0-d array, NumPy scalar or None
            That of the gradients before they were clipped.
        max_grad : float or None
            The norm that they were clipped to; without it nothing was clipped.
        """
        if norm is None and self._looks:
            norm = global_norm(grads)
        if norm is not None:
            _add_norm(self.norm, self.clipped, norm, math.inf if max_grad is None else max_grad,
                      out=(self.norm, self.clipped))
            self.norms += 1
        if self._looks:
            self.weight_norm += global_norm(params)
            self.update_norm += _updated(optimizer, params, grads, norm, max_grad)
            self.saturated += self._saturated
            self.gates += self._gates
        else:
            optimizer.update(params, grads)
        self.steps += 1

    def sums(self) -> dict[str, Any]:
        """Return all sums as numbers of Python; on a GPU this waits for them."""
        return {"steps": self.steps, "norms": self.norms, "norm": float(self.norm), "clipped": int(self.clipped),
                "gates": self.gates, "saturated": int(self.saturated), "update": float(self.update_norm),
                "weight": float(self.weight_norm)}

    def is_possible(self, updates: int) -> bool:
        """Whether these can be the sums of an epoch of at most that many updates."""
        sums = self.sums()
        return (sums["clipped"] <= sums["norms"] <= sums["steps"] <= updates and sums["saturated"] <= sums["gates"])

    def row(self, clips: bool = True) -> dict[str, float | None]:
        """Return what a history says of the epoch; None for what was not seen.

        Parameters
        ----------
        clips : bool
            Whether gradients are clipped at all.

        Returns
        -------
        dict
            gradient_norm, the mean of the norms before clipping; clipped, the share of the steps that were clipped;
            saturated, the share of the gates looked at; update_ratio, the sum of the norms of the updates looked at
            over the sum of the norms of the weights before them.
        """
        sums = self.sums()
        return {"gradient_norm": _quotient(sums["norm"], sums["norms"]),
                "clipped": _quotient(sums["clipped"], sums["steps"]) if clips else None,
                "saturated": _quotient(sums["saturated"], sums["gates"]),
                "update_ratio": _quotient(sums["update"], sums["weight"])}


def _updated(optimizer, params, grads, norm, max_grad):
    """Let the optimizer take its step, and return the norm of the change of all parameters."""
    if type(optimizer) is SGD and not optimizer.weight_decay:  # whose update is lr times the gradient: no copy
        optimizer.update(params, grads)
        return optimizer.lr * (norm if max_grad is None else np.minimum(norm, max_grad))
    changes = [param.copy() for param in params]
    optimizer.update(params, grads)
    for param, change in zip(params, changes):
        np.subtract(param, change, out=change)
    return global_norm(changes)


def _quotient(total, weight):
    """Return total / weight; None where that is no finite number."""
    quotient = total / weight if weight else math.inf
    return quotient if math.isfinite(quotient) else None
