"""Sequences of different length in one batch, without work on their padding.

A batch (N, T, ...) whose sequence n has lengths[n] real steps is packed into rows (P, ...), P the
sum of the lengths: first the first step of every sequence, then the second of those that have one,
and so on. The sequences are sorted by length, longest first, so that those that still run at a
step are the first ones::

    lengths 2 4 1          sorted       packed rows
    a b                    d e f g      d a c | e b | f | g
    d e f g                a b          t = 0   t=1   2   3
    c                      c

Without lengths every sequence runs to the end, and the rows are the batch with time first.
"""
import functools
from collections.abc import Sequence

import numpy

from common.np import Array, ArrayLike, DTypeLike, np


class Packing:
    """The way between a padded batch and packed rows.

    Parameters
    ----------
    N, T : int
        Sequences, and steps of the longest.
    lengths : sequence of int (N,), optional
        Real steps of each sequence, in any order. By default T for all.

    Attributes
    ----------
    P : int
        Packed rows.
    steps : list of (slice, slice, slice)
        For each step its rows, and in an array (N + P, H) of states, which begins with the initial ones, the
        rows of the states before and after it.

    Raises
    ------
    ValueError
        There are not N lengths, or one is not a whole number from 1 to T.
    """

    order: Array | None

    def __init__(self, N: int, T: int, lengths: ArrayLike | None = None) -> None:
        self.N, self.T, self.P, self.order = N, T, N * T, None
        if lengths is None:
            self.steps = _equal_steps(N, T)
        else:
            self._sort(checked_lengths(lengths, N, T))

    def _sort(self, lengths):
        """Set everything for sequences of different length (N,), longest first."""
        N, T = self.N, self.T
        order = numpy.argsort(-lengths, kind="stable")  # (N,)
        running = (lengths > numpy.arange(T)[:, None]).sum(axis=1)  # (T,)
        ends = numpy.cumsum(running)  # (T,)
        starts = ends - running  # (T,)
        befores = numpy.concatenate(([0], N + starts[:-1]))  # (T,)
        self.P = int(running.sum())
        self.steps = [(slice(start, start + n), slice(before, before + n), slice(N + start, N + start + n))
                      for start, before, n in zip(starts.tolist(), befores.tolist(), running.tolist()) if n > 0]
        self.order = np.to_device(order)
        self.inverse = np.to_device(numpy.argsort(order))
        self.row_sequence = np.to_device(numpy.concatenate([order[:n] for n in running]))  # (P,)
        self.row_step = np.to_device(numpy.repeat(numpy.arange(T), running))  # (P,)
        self.row_before = np.to_device(numpy.concatenate(
            [numpy.arange(before.start, before.stop) for _, before, _ in self.steps]))  # (P,)
        self.last_row = np.to_device(N + starts[lengths - 1] + numpy.argsort(order))  # (N,)

    def pack(self, xs: Array) -> Array:
        """Turn xs (N, T, D) into rows (P, D)."""
        if self.order is None:
            return np.ascontiguousarray(xs.swapaxes(0, 1)).reshape(self.P, -1)
        return xs[self.row_sequence, self.row_step]

    def pack_into(self, rows: Array, xs: Array) -> None:
        """Write xs (N, T, D) into rows (P, D)."""
        if self.order is None:
            rows.reshape(self.T, self.N, -1)[...] = xs.swapaxes(0, 1)
        else:
            rows[...] = xs[self.row_sequence, self.row_step]

    def unpack(self, rows: Array) -> Array:
        """Turn rows (P, D) into a new array (N, T, D), zeros at the padding."""
        if self.order is None:
            return rows.reshape(self.T, self.N, -1).swapaxes(0, 1).copy()
        xs = np.zeros((self.N, self.T, rows.shape[1]), dtype=rows.dtype)  # (N, T, D)
        xs[self.row_sequence, self.row_step] = rows
        return xs

    def sort(self, state: Array) -> Array:
        """Bring a state (N, H) into the order of the packed rows."""
        return state if self.order is None else state[self.order]

    def unsort(self, state: Array) -> Array:
        """Bring a state (N, H) back into the order of the batch."""
        return state if self.order is None else state[self.inverse]

    def before(self, states: Array) -> Array:
        """Pick from states (N + P, H) the one before each row, (P, H)."""
        return states[:self.P] if self.order is None else states[self.row_before]

    def by_step(self, rows: Array) -> list[Array]:
        """Return rows (P, ...) step by step: views (n, ...)."""
        if self.order is None:
            return list(rows.reshape(self.T, self.N, *rows.shape[1:]))
        return [rows[step] for step, _, _ in self.steps]

    def by_step_before(self, states: Array) -> list[Array]:
        """Return from states (N + P, H) those before each step: views (n, H)."""
        if self.order is None:
            return self.by_step(states[:self.P])
        return [states[before] for _, before, _ in self.steps]

    def last(self, states: Array) -> Array:
        """Copy from states (N + P, H) the one after each sequence's last step, (N, H), in the order of the batch."""
        return states[self.P:].copy() if self.order is None else states[self.last_row]

    def add_to_last(self, states: Array, addend: Array) -> None:
        """Add (N, H), in the order of the batch, to what `last` picks from states (N + P, H), in place."""
        states[slice(self.P, None) if self.order is None else self.last_row] += addend


@functools.lru_cache(maxsize=64)  # listing them takes 2% of a step of the smallest network
def _equal_steps(N: int, T: int) -> list[tuple[slice, slice, slice]]:
    """Return the steps of N sequences of T steps each."""
    rows = [slice(t * N, t * N + N) for t in range(T + 1)]
    return list(zip(rows, rows, rows[1:]))


def checked_lengths(lengths: ArrayLike, N: int, T: int) -> numpy.ndarray:
    """Return lengths as a new NumPy array (N,), or raise a ValueError that says what is wrong."""
    lengths = numpy.asarray(np.to_cpu(lengths))
    if lengths.shape != (N,) or lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths are {lengths.dtype} of shape {lengths.shape}, wanted integers of shape ({N},)")
    if lengths.min() < 1 or lengths.max() > T:
        raise ValueError(f"lengths go from {lengths.min()} to {lengths.max()}, wanted 1 to {T}")
    return lengths.astype(numpy.int64)


def pad(sequences: Sequence[Array]) -> tuple[Array, numpy.ndarray]:
    """Put sequences of different length into one batch.

    Parameters
    ----------
    sequences : list of ndarray (T_n, ...)
        Of NumPy or of the backend in use; one dtype, and equal axes behind the first.

    Returns
    -------
    xs : ndarray (N, T, ...)
        Of the same kind; zeros behind each sequence's end.
    lengths : numpy.ndarray of int (N,)

    Raises
    ------
    ValueError
        There is no sequence, one has no step, or they differ in more than their length.
    """
    _expect_alike(sequences)
    lengths = numpy.array([len(sequence) for sequence in sequences])  # (N,)
    first = sequences[0]
    xp = numpy if isinstance(first, numpy.ndarray) else np
    xs = xp.zeros((len(sequences), int(lengths.max()), *first.shape[1:]), dtype=first.dtype)  # (N, T, ...)
    for n, sequence in enumerate(sequences):
        xs[n, :len(sequence)] = sequence
    return xs, lengths


def _expect_alike(sequences):
    """Check that sequences fit into one batch."""
    if len(sequences) == 0:
        raise ValueError("pad: there is no sequence, wanted at least one")
    first = sequences[0]
    trailing = "".join(f", {size}" for size in getattr(first, "shape", ())[1:])
    for n, sequence in enumerate(sequences):
        if not isinstance(sequence, (numpy.ndarray, np.ndarray)) or type(sequence) is not type(first):
            raise ValueError(f"pad: sequence {n} is a {type(sequence).__name__}, wanted arrays of one library")
        is_alike = sequence.shape[1:] == first.shape[1:] and sequence.dtype == first.dtype
        if not is_alike or not sequence.ndim or not len(sequence):
            raise ValueError(f"pad: sequence {n} is {sequence.dtype} of shape {sequence.shape}, wanted {first.dtype} "
                             f"of shape (T{trailing}) as the first one, T at least 1")


def mask(lengths: ArrayLike, N: int, T: int, dtype: DTypeLike) -> Array:
    """Return (N, T): 1 at each real step, 0 at the padding."""
    lengths = checked_lengths(lengths, N, T)
    return np.to_device((numpy.arange(T) < lengths[:, None]).astype(dtype))


def reverse(xs: Array, lengths: ArrayLike | None = None) -> Array:
    """Reverse each sequence of xs (N, T, ...) up to its own end; the padding stays where it is.

    Doing it twice gives xs back.
    """
    N, T = xs.shape[:2]
    if lengths is None:
        return xs[:, ::-1]
    lengths = checked_lengths(lengths, N, T)
    steps = numpy.arange(T)
    source = numpy.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (N, T)
    return xs[np.to_device(numpy.arange(N)[:, None]), np.to_device(source)]
