"""Layers over sequences (N, T, ...), batch first, besides the recurrent ones."""
from typing import Any

from common.layers.base import Layer
from common.layers.dense import Affine, Embedding, checked_dropout_ratio
from common.layers.losses import SigmoidWithLoss, SoftmaxWithLoss
from common.layers.packing import checked_lengths, mask
from common.np import Array, ArrayLike, np


class TimeEmbedding(Embedding):
    """Table of word vectors: ids (N, T) to vectors (N, T, D). The gradient is one pass over all N * T ids.

    Parameters
    ----------
    W : ndarray (V, D)
    """


class TimeAffine(Layer):
    """The same affine map y = x W + b at every step.

    Parameters
    ----------
    W : ndarray (D, M)
        May be the transposed view of an embedding (Press and Wolf 2017); the two then share
        their memory, and `common.training.clip.remove_duplicate` adds up their gradients.
    b : ndarray (M,)
    """

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__()
        self.expect("W", W, ("D", "M"))
        self.expect("b", b, W.shape[1:])
        self.affine = Affine(W, b)
        self.params, self.grads = self.affine.params, self.affine.grads
        self.sizes = dict(zip("DM", W.shape))

    def forward(self, x: Array) -> Array:
        """Map x (N, T, D) to y (N, T, M)."""
        D, M = self.params[0].shape
        self.expect("x", x, ("N", "T", D))
        N, T, _ = self.cache = x.shape
        return self.affine.forward(x.reshape(N * T, D)).reshape(N, T, M)  # (N, T, M)

    def backward(self, dout: Array) -> Array:
        """Map dy (N, T, M) to dx (N, T, D)."""
        N, T, D = self.recall()
        M = self.params[0].shape[1]
        self.expect("dout", dout, (N, T, M))
        return self.affine.backward(dout.reshape(N * T, M)).reshape(N, T, D)  # (N, T, D)


class TimeDropout(Layer):
    """Dropout whose output is scaled by 1 / (1 - dropout_ratio) at training time.

    Srivastava et al. 2014; every step draws a mask of its own (Zaremba et al. 2014).

    Parameters
    ----------
    dropout_ratio : float
        Probability that an element is set to 0, in [0, 1).

    Attributes
    ----------
    train_flg : bool
        While it is False, the layer returns its input.
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        super().__init__()
        self.dropout_ratio = checked_dropout_ratio(dropout_ratio)
        self.train_flg = True

    def _options(self):
        return [str(self.dropout_ratio)]

    def forward(self, xs: Array) -> Array:
        """Map xs, any shape, to xs times the scaled mask."""
        self.expect("xs", xs, (...,))
        if self.train_flg:
            mask = scaled_mask(self._mask_shape(xs), self.dropout_ratio, xs.dtype)
        else:
            mask = np.ones((), dtype=xs.dtype)
        self.cache = mask, xs.shape
        return xs * mask

    def backward(self, dout: Array) -> Array:
        """Map dy to dy times the scaled mask."""
        mask, shape = self.recall()
        self.expect("dout", dout, shape, mask.dtype)
        return dout * mask

    def _mask_shape(self, xs):
        return xs.shape


def scaled_mask(shape: tuple[int, ...], dropout_ratio: float, dtype: Any) -> Array:
    """Draw a mask that on average leaves what it multiplies as it is.

    Parameters
    ----------
    shape : tuple of int
    dropout_ratio : float
        Probability of a 0, in [0, 1).
    dtype : dtype

    Returns
    -------
    ndarray
        0 or 1 / (1 - dropout_ratio), each element drawn by itself.
    """
    keep = np.rng.random(shape, dtype=dtype) >= dropout_ratio
    mask = keep.astype(dtype)
    mask /= 1 - dropout_ratio
    return mask


class TimeSigmoidWithLoss(SigmoidWithLoss):
    """Sigmoid at every step, followed by the binary cross entropy averaged over all steps.

    `forward(xs, ts)` takes scores (N, T), or with more axes, and targets of the same shape.
    """


class TimeLast(Layer):
    """Picks the last real step of each sequence."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, xs: Array, lengths: ArrayLike | None = None) -> Array:
        """Map xs (N, T, D) to (N, D).

        Parameters
        ----------
        xs : ndarray (N, T, D)
        lengths : sequence of int (N,), optional
            Real steps of each sequence, by default T.
        """
        self.expect("xs", xs, ("N", "T", "D"))
        N, T, _ = xs.shape
        lengths = checked_lengths([T] * N if lengths is None else lengths, N, T)
        at_last = np.arange(N), np.to_device(lengths - 1)
        self.cache = at_last, xs.shape, xs.dtype
        return xs[at_last]  # (N, D)

    def backward(self, dout: Array) -> Array:
        """Map dy (N, D) to dxs (N, T, D): zeros everywhere but at the last real steps."""
        at_last, (N, T, D), dtype = self.recall()
        self.expect("dout", dout, (N, D), dtype)
        dxs = np.zeros((N, T, D), dtype=dtype)  # (N, T, D)
        dxs[at_last] = dout
        return dxs


class TimeMask(Layer):
    """Sets the padding behind each sequence to zero, and its gradient too."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, xs: Array, lengths: ArrayLike) -> Array:
        """Map xs (N, T, D) to xs with zeros from step lengths[n] of sequence n on."""
        self.expect("xs", xs, ("N", "T", "D"))
        N, T, _ = xs.shape
        real = mask(lengths, N, T, bool)[:, :, None]  # (N, T, 1)
        self.cache = real, xs.shape, xs.dtype
        return np.where(real, xs, 0)  # (N, T, D), not a product: NaN * 0 is NaN

    def backward(self, dout: Array) -> Array:
        """Map dy (N, T, D) to dy with zeros at the padding."""
        real, shape, dtype = self.recall()
        self.expect("dout", dout, shape, dtype)
        return np.where(real, dout, 0)  # (N, T, D)


class TimeSoftmaxWithLoss(SoftmaxWithLoss):
    """Softmax at every step, followed by the cross entropy averaged over the targets that count.

    `forward(xs, ts)` takes scores (N, T, V) and targets (N, T), or one-hot (N, T, V); a target
    equal to `ignore_label` does not count. The loss, in nats, is 0 and the gradient zeros when
    none counts. `backward(dout=1)` returns (N, T, V).
    """

    ignore_label: int | None = -1
