"""Gradients that are zero but for a few rows, and known to be."""
from typing import Any

from common.np import Array, np


class SparseGradient:
    """A gradient that is zero but in some of its rows, or columns, which are known.

    A batch of 700 words uses a few hundred rows of a table of 10,000. The array is whole, so that whoever does not
    know of this class takes it as any gradient; clipping, the sum of shared gradients and the optimizers read and
    write the rows in use only.

    Parameters
    ----------
    array : ndarray
    used : ndarray of int (n,)
        Places along `axis` at which it may differ from zero, each once.
    axis : int
    """

    def __init__(self, array: Array, used: Array, axis: int = 0) -> None:
        self.array, self.used, self.axis = array, used, axis

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def T(self) -> "SparseGradient":
        """The transposed gradient, in the same memory."""
        return SparseGradient(self.array.T, self.used, self.array.ndim - 1 - self.axis)

    @property
    def at(self) -> tuple[Any, ...]:
        """The index of the rows, or columns, in use."""
        return (*(slice(None),) * self.axis, self.used)

    @property
    def values(self) -> Array:
        """A copy of the rows, or columns, in use."""
        return self.array[self.at]

    def __imul__(self, factor: Any) -> "SparseGradient":
        """Multiply the array in place."""
        self.array[self.at] *= factor
        return self


def add_in_place(total: Array | SparseGradient, grad: Array | SparseGradient) -> Array | SparseGradient:
    """Add a gradient into the array of another one of the same shape, and return the sum, sparse if both are."""
    if not isinstance(grad, SparseGradient):
        whole = dense(total)
        whole += grad
        return whole
    dense(total)[grad.at] += grad.values
    if not isinstance(total, SparseGradient):
        return total
    if total.axis != grad.axis:
        return total.array
    return SparseGradient(total.array, np.unique(np.concatenate((total.used, grad.used))), total.axis)


def dense(grad: Array | SparseGradient) -> Array:
    """Return the whole array of a gradient."""
    return grad.array if isinstance(grad, SparseGradient) else grad
