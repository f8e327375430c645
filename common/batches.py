"""How a corpus becomes batches: long strips for stateful training, short windows for the rest."""
import numpy

from common.errors import InputError
from common.np import np


class StripBatches:
    """Walk N strips of a corpus side by side, T steps at a time.

    The N strips start n // N ids apart. Each batch goes on where the one before it ended, so
    a recurrent layer can carry its state over. With n = 12 ids, N = 2 and T = 3::

        corpus    a b c d e f g h i j k l

        strip 0   a b c | d e f        batch 0 = a b c    batch 1 = d e f
        strip 1   g h i | j k l                  g h i              j k l

    Past the end of the corpus a strip goes on at its beginning, and nothing is reset between
    epochs: strip 0 reads g h i next, strip 1 reads a b c.

    Parameters
    ----------
    xs : ndarray (n,) of int
        Ids of the inputs, in NumPy or in the backend in use; the batches are of the same kind.
    ts : ndarray (n,) of int
        Ids of the targets; for a language model `xs` is ``corpus[:-1]``, `ts` is ``corpus[1:]``.
    batch_size : int
        N, the number of strips.
    time_size : int
        T, the number of steps in a batch.

    Attributes
    ----------
    position : int
        How far the strips have been read, from 0 to n - 1. Set it to resume.

    Raises
    ------
    InputError
        A size is below 1, `xs` and `ts` differ in shape, or the corpus is shorter than one batch.
    """

    def __init__(self, xs, ts, batch_size, time_size):
        if batch_size < 1 or time_size < 1:
            raise InputError(f"batch_size and time_size must be at least 1, got {batch_size} and {time_size}")
        if xs.ndim != 1 or xs.shape != ts.shape:
            raise InputError(f"xs and ts must be two (n,) arrays, got shapes {xs.shape} and {ts.shape}")
        n = len(xs)
        if n < batch_size * time_size:
            fits = f"time_size at most {n // batch_size}" if n >= batch_size else f"batch_size at most {n}"
            raise InputError(
                f"the corpus is too short: {n} ids do not fill one batch of {batch_size} x {time_size}; "
                f"give a longer text, or {fits}")
        self.xs, self.ts = xs, ts
        self.batch_size, self.time_size = batch_size, time_size
        self.position = 0
        xp = numpy if isinstance(xs, numpy.ndarray) else np
        starts = xp.arange(batch_size) * (n // batch_size)             # (N,)
        self._first_index = starts[:, None] + xp.arange(time_size)     # (N, T)

    def __len__(self):
        """The number of batches in an epoch, n // (N * T)."""
        return len(self.xs) // (self.batch_size * self.time_size)

    def next_batch(self):
        """Return the next T steps of every strip and move on.

        Returns
        -------
        xs : ndarray (N, T) of int
        ts : ndarray (N, T) of int
        """
        n = len(self.xs)
        index = (self._first_index + self.position) % n    # (N, T)
        self.position = (self.position + self.time_size) % n
        return self.xs[index], self.ts[index]              # (N, T), (N, T)


class WindowPairs:
    """Every window of a corpus with its target, the same window one step later.

    The corpus a b c d e with windows of 3 has two pairs::

        x = a b c    t = b c d
        x = b c d    t = c d e

    Parameters
    ----------
    corpus : ndarray (n,) of int
        Ids on the host.
    window : int
        Ids in a window, W.

    Attributes
    ----------
    xs, ts : ndarray (n - W, W) of int
        All inputs and all targets, as read-only views of the corpus: they take no memory.

    Raises
    ------
    InputError
        `window` is below 1 or the corpus has no more than `window` ids.
    """

    def __init__(self, corpus, window=5):
        corpus = numpy.asarray(corpus)  # (n,)
        _check_window(corpus, window)
        windows = numpy.lib.stride_tricks.sliding_window_view(corpus, window)  # (n - W + 1, W)
        self.xs = windows[:-1]  # (n - W, W)
        self.ts = windows[1:]   # (n - W, W)

    def __len__(self):
        """The number of pairs, n - W."""
        return len(self.xs)

    def __getitem__(self, i):
        """Return pair i, `x` (W,) and `t` (W,); IndexError past the last, which ends a for loop."""
        return self.xs[i], self.ts[i]


class WindowBatches:
    """The pairs of `WindowPairs` in batches; iterating over it once is one epoch.

    Parameters
    ----------
    corpus : ndarray (n,) of int
        Ids, in NumPy or in the backend in use; the batches are of the same kind.
    window : int
        Ids in a window, W.
    batch_size : int
        Pairs in a batch, B; the last batch of an epoch holds what is left.
    shuffle : bool
        Deal the pairs in a new random order each epoch.
    seed : int or None
        Two objects with the same seed deal the same orders, epoch by epoch.

    Attributes
    ----------
    position : int
        The number of batches dealt, over all epochs. Set it to resume.

    Raises
    ------
    InputError
        A size is below 1 or the corpus has no more than `window` ids.
    """

    def __init__(self, corpus, window=5, batch_size=128, shuffle=False, seed=None):
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        _check_window(corpus, window)
        self.corpus = corpus
        self.pairs = len(corpus) - window
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = numpy.random.SeedSequence().entropy if seed is None else seed
        self.position = 0
        self._xp = numpy if isinstance(corpus, numpy.ndarray) else np
        self._steps = self._xp.arange(window)  # (W,)
        self._epoch, self._order = None, None

    def __len__(self):
        """The number of batches in an epoch."""
        return -(-self.pairs // self.batch_size)

    def __iter__(self):
        """Deal what is left of the epoch, all of it at first."""
        for _ in range(len(self) - self.position % len(self)):
            yield self.next_batch()

    def next_batch(self):
        """Return the next batch and move on, into the next epoch after the last.

        Returns
        -------
        xs : ndarray (B, W) of int
        ts : ndarray (B, W) of int
        """
        epoch, batch = divmod(self.position, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        self.position += 1
        starts = self._order[batch * self.batch_size:(batch + 1) * self.batch_size]  # (B,)
        index = starts[:, None] + self._steps                                        # (B, W)
        return self.corpus[index], self.corpus[index + 1]                            # (B, W), (B, W)

    def _order_of(self, epoch):
        """Return the first ids of the pairs in the order of an epoch, (n - W,)."""
        if not self.shuffle:
            return self._xp.arange(self.pairs)
        # Seeded by the epoch too, so that any epoch can be dealt again without those before it.
        order = numpy.random.default_rng([self.seed, epoch]).permutation(self.pairs)
        return order if self._xp is numpy else np.to_device(order)


def _check_window(corpus, window):
    if window < 1:
        raise InputError(f"window must be at least 1, got {window}")
    if corpus.ndim != 1 or len(corpus) <= window:
        raise InputError(f"windows of {window} need a corpus of at least {window + 1} ids in one row, "
                         f"got shape {corpus.shape}")
