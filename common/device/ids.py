"""Ids on a GPU that were looked at before training, so that no training step has to wait for them."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from common.np import Array, np


class Ids:
    """An array of ids on a GPU whose range is known, and sometimes the order that sorts it.

    To learn the smallest and the largest id of an array, or to sort it, the host waits for the GPU.
    A layer has to know the range, since CuPy silently uses another id in place of a wrong one, and
    the gradient of an embedding needs the order. So batches come as objects of this class: the range
    is read once for a whole corpus (`known_ids`), the order is found once an epoch for all its
    batches. Slices and index arrays work as on an array, and keep the range.

    Parameters
    ----------
    array : ndarray of int
        On the device in use.
    low, high : int
        No id is below the one or above the other.
    order : ndarray of int (n,), optional
        The places of the n ids, read row by row, sorted by id, equal ids by place.
    """

    def __init__(self, array: Array, low: int, high: int, order: Array | None = None) -> None:
        self.array, self.low, self.high, self.order = array, low, high, order

    def lie_in(self, low: int, high: int) -> bool:
        """Whether every id is from `low` to `high`, as far as is known without looking at them."""
        return low <= self.low and self.high <= high

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> numpy.dtype:
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> Ids:
        return Ids(self.array[key], self.low, self.high)

    def __iter__(self) -> Iterator[Ids]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: int) -> Ids:
        """Return the same ids in another shape."""
        return Ids(self.array.reshape(*shape), self.low, self.high)

    def sorted_by(self, order: Array) -> Ids:
        """Return the same ids with the order that sorts them."""
        return Ids(self.array, self.low, self.high, order)


def known_ids(ids: Array | Ids) -> Array | Ids:
    """Bring ids to the device in use, and on a GPU note their range.

    Parameters
    ----------
    ids : ndarray of int, of NumPy or of the backend in use, or Ids

    Returns
    -------
    ndarray of int or Ids
        On a CPU an array, since reading its range there takes almost no time; an empty array stays one too.
    """
    if isinstance(ids, Ids):
        return ids
    if np.backend == "numpy" or ids.size == 0:
        return np.to_device(ids)
    return Ids(np.to_device(ids), int(ids.min()), int(ids.max()))


def ids_array(ids: Array | Ids) -> Array:
    """Return the array of what a layer takes as ids, an array or `Ids`."""
    return ids.array if isinstance(ids, Ids) else ids


def ids_on_host(ids: Array | Ids) -> numpy.ndarray:
    """Return ids as a NumPy array."""
    return np.to_cpu(ids_array(ids))
