"""Batches of data: a corpus as long strips for stateful training or as short windows, examples in any order.

Whatever is iterated over once for each epoch serves `train_epochs`; a list of batches does, too.

On a GPU the batches are `common.device.ids.Ids`: the corpus goes up once, and what the gradient of an
embedding needs of a batch is found once an epoch, so that a training step waits for nothing.
"""
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from common.device.ids import Ids, ids_array, known_ids
from common.errors import InputError
from common.np import Array, ArrayLike, np

FULL_LENGTH, LEAST_STEPS, LENGTH_STD = 0.95, 5, 5  # of random strips: share, steps, steps


class CorpusBatches:
    """What a training run asks of the batches of a corpus, besides the batches themselves.

    Attributes
    ----------
    position : int
        How far the corpus has been read.
    lr_factor : float
        What the learning rate of an update on the last batch is to be multiplied by.
    least_targets, most_targets : int
        Bounds of the number of targets in a batch.
    """

    position = 0
    lr_factor = 1.0
    least_targets: int
    most_targets: int

    __len__: Callable[[], int]
    next_batch: Callable[[], tuple[Array | Ids, Array | Ids]]

    def left(self, done: int) -> int:
        """Return the number of batches that are left of an epoch of which `done` are behind `position`."""
        return len(self) - done

    def of_epochs(self, epochs: int) -> int:
        """Return the number of batches in the first epochs."""
        return epochs * len(self)

    def position_after(self, batches: int) -> int:
        """Return the position after the first batches."""
        return batches

    def targets_between(self, first: int, stop: int) -> int:
        """Return the number of targets in batches number first, ..., stop - 1; the first of all is number 0."""
        return (stop - first) * self.most_targets


class StripBatches(CorpusBatches):
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
    xs : ndarray (n,) of int, or Ids
        Ids of the inputs, on any device.
    ts : ndarray (n,) of int, or Ids
        Ids of the targets; for a language model `xs` is ``corpus[:-1]``, `ts` is ``corpus[1:]``.
        Both are copied.
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

    def __init__(self, xs: Array | Ids, ts: Array | Ids, batch_size: int, time_size: int) -> None:
        if batch_size < 1 or time_size < 1:
            raise InputError(f"batch_size and time_size must be at least 1, got {batch_size} and {time_size}")
        if xs.ndim != 1 or xs.shape != ts.shape:
            raise InputError(f"xs and ts must be two (n,) arrays, got shapes {xs.shape} and {ts.shape}")
        n = len(xs)
        if n < batch_size * time_size:
            fits = (f"a time size of at most {n // batch_size} (--time-size)" if n >= batch_size else
                    f"a batch size of at most {n} (--batch-size)")
            raise InputError(
                f"the corpus is too short: {n} ids do not fill one batch of {batch_size} x {time_size}; "
                f"give a longer text, or {fits}")
        self.batch_size, self.time_size = batch_size, time_size
        self.least_targets = self.most_targets = batch_size * time_size
        self._n, self._strip = n, n // batch_size  # ids, and ids from the start of a strip to that of the next
        self._xs, self._ts = _twice(known_ids(xs)), _twice(known_ids(ts))  # (2n,): no strip has to go over the end
        self._orders: dict[int, Array] = {}  # from positions of an epoch to rows of (batches, N * T)

    def __len__(self) -> int:
        """The number of batches in an epoch, n // (N * T)."""
        return self._n // (self.batch_size * self.time_size)

    def position_after(self, batches: int) -> int:
        return batches * self.time_size % self._n

    def __iter__(self) -> Iterator[tuple[Array | Ids, Array | Ids]]:
        """Deal an epoch, as many batches as `len` says, from where the last one ended."""
        for _ in range(len(self)):
            yield self.next_batch()

    def next_batch(self) -> tuple[Array | Ids, Array | Ids]:
        """Return the next T steps of every strip and move on.

        Returns
        -------
        xs : ndarray of int or Ids (N, T)
        ts : ndarray of int or Ids (N, T)
            Views of the corpus: only to be read.
        """
        xs, ts = self._read(self._xs, self.time_size), self._read(self._ts, self.time_size)  # (N, T), (N, T)
        if isinstance(xs, Ids):
            xs = xs.sorted_by(self._order())
        self.position = (self.position + self.time_size) % self._n
        return xs, ts

    def _read(self, ids, steps, position=None):
        """Return the next steps of every strip, or those from a position on, as a view (N, steps) of ids (2n,)."""
        start = (self.position if position is None else position) % self._n
        whole = ids[start:start + self.batch_size * self._strip]
        return whole.reshape(self.batch_size, self._strip)[:, :steps]

    def _order(self):
        """Return the order that sorts the next batch (N * T,); sorts the batches of a whole epoch at once."""
        if self.position not in self._orders:
            N, T, batches = self.batch_size, self.time_size, len(self)
            epoch = self._read(self._xs, batches * T).array.reshape(N, batches, T)
            orders = np.argsort(epoch.swapaxes(0, 1).reshape(batches, N * T), axis=1, kind="stable")  # (batches, N T)
            self._orders = {(self.position + i * T) % self._n: orders[i] for i in range(batches)}
        return self._orders[self.position]


class RandomStripBatches(StripBatches):
    """Strips that are read a random number of steps at a time: another place of each word in its batch every epoch.

    Merity, Keskar and Socher 2018 (arXiv:1708.02182, section 5). With a normal number z for each batch

        B = T with probability 0.95, else T / 2;    steps = max(5, int(B + 5 z))

    An epoch reads n // N steps of every strip, whatever the lengths; its last batch takes what is left. The strips
    then go on as those of `StripBatches` do, so that the n % N ids behind the last strip are dealt too. A longer batch
    is to be learnt from more: `lr_factor` is what the learning rate of its update is multiplied by::

        lr = optimizer.lr

        def before_update(loss, targets):
            optimizer.lr = lr * batches.lr_factor

    The lengths of an epoch depend on the seed and the number of the epoch only. So `position` is all that is needed
    to resume.

    Parameters
    ----------
    xs, ts, batch_size, time_size
        As for `StripBatches`; T is the usual number of steps.
    seed : int, optional
        Of the lengths.

    Attributes
    ----------
    position : int
        Steps of a strip that have been read in all epochs together. Set it to resume.
    lr_factor : float
        Steps of the last batch / T.

    Raises
    ------
    InputError
        As for `StripBatches`.
    """

    def __init__(self, xs: Array | Ids, ts: Array | Ids, batch_size: int, time_size: int,
                 seed: int | None = None) -> None:
        super().__init__(xs, ts, batch_size, time_size)
        self.seed = numpy.random.SeedSequence().entropy if seed is None else seed
        self.least_targets, self.most_targets = batch_size, batch_size * self._strip
        self._ahead: dict[int, tuple[int, Any]] = {}  # from positions to steps, and on a GPU what sorts them

    def lengths(self, epoch: int) -> numpy.ndarray:
        """Return the numbers of steps of the batches of an epoch, the first of which is 0: (batches,) of int."""
        return _random_lengths(self.seed, epoch, self._strip, self.time_size)

    def __len__(self) -> int:
        """The number of batches in the epoch that the next batch belongs to."""
        return len(self.lengths(self.position // self._strip))

    def left(self, done: int) -> int:
        epoch, steps = divmod(self.position, self._strip)
        if done and not steps:  # all, the last of which has led into the next epoch
            return 0
        return int((numpy.cumsum(self.lengths(epoch)) > steps).sum())

    def of_epochs(self, epochs: int) -> int:
        return sum(len(self.lengths(epoch)) for epoch in range(epochs))

    def position_after(self, batches: int) -> int:
        epoch = 0
        while batches > len(self.lengths(epoch)):
            batches -= len(self.lengths(epoch))
            epoch += 1
        return epoch * self._strip + int(self.lengths(epoch)[:batches].sum())

    def targets_between(self, first: int, stop: int) -> int:
        return self.batch_size * (self.position_after(stop) - self.position_after(first))

    def __iter__(self) -> Iterator[tuple[Array | Ids, Array | Ids]]:
        """Deal what is left of the epoch, all of it at first."""
        epoch = self.position // self._strip
        while self.position // self._strip == epoch:
            yield self.next_batch()

    def next_batch(self) -> tuple[Array | Ids, Array | Ids]:
        """Return the next steps of every strip and move on, into the next epoch after the last batch.

        Returns
        -------
        xs : ndarray of int or Ids (N, steps)
        ts : ndarray of int or Ids (N, steps)
            Views of the corpus: only to be read.
        """
        if self.position not in self._ahead:
            self._look_ahead()
        steps, order = self._ahead[self.position]
        xs, ts = self._read(self._xs, steps), self._read(self._ts, steps)  # (N, steps), (N, steps)
        if isinstance(xs, Ids):
            xs = xs.sorted_by(order)
        self.position += steps
        self.lr_factor = steps / self.time_size
        return xs, ts

    def _look_ahead(self):
        """Note the batches of what is left of the epoch; on a GPU, sort them all."""
        epoch, done = divmod(self.position, self._strip)
        ends = numpy.cumsum(self.lengths(epoch))  # (batches,), steps of a strip
        bounds = (epoch * self._strip + numpy.array([done, *ends[ends > done]])).tolist()
        self._ahead = {}
        for start, end in itertools.pairwise(bounds):
            xs = self._read(self._xs, end - start, start)  # (N, steps)
            order = np.argsort(xs.array.reshape(-1), kind="stable") if isinstance(xs, Ids) else None  # (N * steps,)
            self._ahead[start] = end - start, order


@functools.lru_cache(maxsize=4)
def _random_lengths(seed, epoch, strip, T):
    """Return the random lengths (batches,) of the batches of an epoch, of strips of that many steps."""
    rng, most = numpy.random.default_rng([seed, epoch]), strip // LEAST_STEPS + 1
    usual = numpy.where(rng.random(most) < FULL_LENGTH, T, T / 2)  # (most,)
    drawn = numpy.maximum(LEAST_STEPS, rng.normal(usual, LENGTH_STD).astype(int))  # (most,)
    ends = numpy.unique(numpy.minimum(numpy.cumsum(drawn), strip))  # (batches,)
    lengths = numpy.diff(ends, prepend=0)
    lengths.flags.writeable = False
    return lengths


def _twice(ids):
    """Return ids (n,) two times in a row, (2n,)."""
    if isinstance(ids, Ids):
        return Ids(_twice(ids.array), ids.low, ids.high)
    twice = np.concatenate((ids, ids))  # (2n,)
    if np.backend == "numpy":
        twice.flags.writeable = False  # since batches are views of it
    return twice


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

    def __init__(self, corpus: ArrayLike, window: int = 5) -> None:
        corpus = numpy.asarray(corpus)  # (n,)
        _check_window(corpus, window)
        windows = numpy.lib.stride_tricks.sliding_window_view(corpus, window)  # (n - W + 1, W)
        self.xs = windows[:-1]  # (n - W, W)
        self.ts = windows[1:]   # (n - W, W)

    def __len__(self) -> int:
        """The number of pairs, n - W."""
        return len(self.xs)

    def __getitem__(self, i: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return pair i, `x` (W,) and `t` (W,); IndexError past the last, which ends a for loop."""
        return self.xs[i], self.ts[i]


class WindowBatches(CorpusBatches):
    """The pairs of `WindowPairs` in batches; iterating over it once is one epoch.

    Parameters
    ----------
    corpus : ndarray (n,) of int, or Ids
        On any device.
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

    def __init__(self, corpus: Array | Ids, window: int = 5, batch_size: int = 128, shuffle: bool = False,
                 seed: int | None = None) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        _check_window(corpus, window)
        self.corpus = known_ids(corpus)
        self.pairs = len(corpus) - window
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = numpy.random.SeedSequence().entropy if seed is None else seed
        self.most_targets = batch_size * window
        self.least_targets = self.most_targets - self._missing * window
        self._steps = np.arange(window)  # (W,)
        self._epoch: int | None = None
        self._starts: Array  # set by _begin
        self._orders: list[Array] = []

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.pairs // self.batch_size)

    @property
    def _missing(self):
        """Pairs that the last batch of an epoch lacks to be full."""
        return len(self) * self.batch_size - self.pairs

    def targets_between(self, first: int, stop: int) -> int:
        last_batches = stop // len(self) - first // len(self)
        return super().targets_between(first, stop) - last_batches * (self.most_targets - self.least_targets)

    def __iter__(self) -> Iterator[tuple[Array | Ids, Array | Ids]]:
        """Deal what is left of the epoch, all of it at first."""
        for _ in range(len(self) - self.position % len(self)):
            yield self.next_batch()

    def next_batch(self) -> tuple[Array | Ids, Array | Ids]:
        """Return the next batch and move on, into the next epoch after the last.

        Returns
        -------
        xs : ndarray of int or Ids (B, W)
        ts : ndarray of int or Ids (B, W)
        """
        epoch, batch = divmod(self.position, len(self))
        if epoch != self._epoch:
            self._begin(epoch)
        self.position += 1
        starts = self._starts[batch * self.batch_size:(batch + 1) * self.batch_size]  # (B,)
        index = starts[:, None] + self._steps                                         # (B, W)
        xs, ts = self.corpus[index], self.corpus[index + 1]                           # (B, W), (B, W)
        if isinstance(xs, Ids):
            xs = xs.sorted_by(self._orders[batch])
        return xs, ts

    def _begin(self, epoch):
        """Find the first ids of the pairs in the order of an epoch, and on a GPU the orders that sort its batches."""
        self._epoch, self._starts = epoch, np.arange(self.pairs)  # (n - W,)
        if self.shuffle:
            # Seeded by the epoch too, so that any epoch can be dealt again without those before it.
            self._starts = np.to_device(numpy.random.default_rng([self.seed, epoch]).permutation(self.pairs))
        if isinstance(self.corpus, Ids):
            full = self.pairs // self.batch_size * self.batch_size  # pairs in the batches before a short last one
            self._orders = [*self._sorting(self._starts[:full], self.batch_size),
                            *self._sorting(self._starts[full:], self.pairs - full)]

    def _sorting(self, starts, batch_size):
        """Return the orders that sort the batches of windows at these places: rows of (batches, B * W)."""
        if len(starts) == 0:
            return []
        xs = ids_array(self.corpus)[starts[:, None] + self._steps]  # (pairs, W)
        return np.argsort(xs.reshape(len(starts) // batch_size, -1), axis=1, kind="stable")  # (batches, B * W)


class ExampleBatches:
    """Examples with their targets; iterating over it once is one epoch, in a new random order.

    Parameters
    ----------
    xs, ts : ndarray (n, ...) or Ids
        Examples and their targets, on the device in use.
    batch_size : int
        N.
    drop_last : bool
        Leave out the examples that do not fill a last batch, other ones each epoch.

    Raises
    ------
    InputError
        There is not one batch, or `xs` and `ts` differ in length.
    """

    def __init__(self, xs: Array | Ids, ts: Array | Ids, batch_size: int, drop_last: bool = False) -> None:
        if len(xs) != len(ts):
            raise InputError(f"there must be a target for each example, got {len(xs)} examples and {len(ts)} targets")
        if not 1 <= batch_size or len(xs) < (batch_size if drop_last else 1):
            raise InputError(f"batch_size must be from 1 to the number of examples, got {batch_size} for {len(xs)}")
        self.xs, self.ts, self.batch_size, self.drop_last = xs, ts, batch_size, drop_last

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.xs) // self.batch_size if self.drop_last else -(-len(self.xs) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array | Ids, Array | Ids]]:
        order = np.to_device(np.host_rng.permutation(len(self.xs)))  # (n,)
        for i in range(len(self)):
            chosen = order[i * self.batch_size:(i + 1) * self.batch_size]  # (N,)
            yield self.xs[chosen], self.ts[chosen]


class DrawnBatches:
    """Batches that are drawn when they are needed, as from a task that never ends.

    Parameters
    ----------
    draw : callable
        Returns a new batch.
    batches : int
        How many of them are an epoch.
    """

    def __init__(self, draw: Callable[[], Any], batches: int) -> None:
        self.draw, self.batches = draw, batches

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.batches):
            yield self.draw()


def _check_window(corpus, window):
    if window < 1:
        raise InputError(f"window must be at least 1, got {window}")
    if corpus.ndim != 1 or len(corpus) <= window:
        raise InputError(f"windows of {window} need a corpus of at least {window + 1} ids in one row, "
                         f"got shape {corpus.shape}: give a longer text, or smaller windows (--time-size)")
