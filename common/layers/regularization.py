"""What keeps a recurrent network from learning a text by heart, besides plain dropout.

Merity, Keskar and Socher 2018 (arXiv:1708.02182) collected these for their AWD-LSTM. The dropout of the recurrent
weights is in `common.layers.weight_drop`.
"""
import math

from common.device.ids import Ids
from common.layers.base import Layer
from common.layers.dense import checked_dropout_ratio
from common.layers.losses import scaled
from common.layers.time import TimeDropout, TimeEmbedding, scaled_mask
from common.np import Array, np


class TimeLockedDropout(TimeDropout):
    """Dropout with one mask for all steps of a sequence, scaled by 1 / (1 - dropout_ratio) at training time.

    Also called variational dropout, Gal and Ghahramani 2016 (arXiv:1512.05287). A unit that is dropped is dropped
    from the first step to the last, so a state cannot be averaged over time to see what is behind the mask. Each
    forward draws a mask (N, 1, D): each sequence has its own.

    Parameters
    ----------
    dropout_ratio : float
        Probability that a unit of a sequence is set to 0, in [0, 1).

    Attributes
    ----------
    train_flg : bool
        While it is False, the layer returns its input.
    """

    def forward(self, xs: Array) -> Array:
        """Map xs (N, T, D) to xs times the scaled mask (N, 1, D)."""
        self.expect("xs", xs, ("N", "T", "D"))
        return super().forward(xs)

    def _mask_shape(self, xs):
        N, _, D = xs.shape
        return N, 1, D


class TimeEmbeddingDropout(TimeEmbedding):
    """Table of word vectors that drops whole words: a dropped word is zeros wherever it stands in the batch.

    Gal and Ghahramani 2016 (arXiv:1512.05287). The mask (V, 1), scaled by 1 / (1 - dropout_ratio), belongs to the
    lookup, not to W: an output layer that shares W has all of it.

    Parameters
    ----------
    W : ndarray (V, D)
    dropout_ratio : float
        Probability that a word is dropped, in [0, 1).

    Attributes
    ----------
    train_flg : bool
        While it is False, the layer is a `TimeEmbedding`.
    """

    def __init__(self, W: Array, dropout_ratio: float = 0.1) -> None:
        super().__init__(W)
        self.dropout_ratio = checked_dropout_ratio(dropout_ratio)
        self.train_flg = True
        self.mask: Array | None = None

    def forward(self, idx: Array | Ids) -> Array:
        """Look up the vectors of ids, (N, T) to (N, T, D), and drop those of some words."""
        (W,) = self.params
        vectors = super().forward(idx)  # (N, T, D)
        self.mask = scaled_mask((len(W), 1), self.dropout_ratio, W.dtype) if self.train_flg else None
        if self.mask is None:
            return vectors
        ids, _ = self.cache
        return vectors * self.mask[ids]

    def backward(self, dout: Array) -> None:
        """Set dW, given dout (N, T, D): of each word the sum over its places, times its mask."""
        super().backward(dout)
        if self.mask is not None:
            (dW,) = self.grads
            dW *= self.mask

    def _options(self):
        return [str(self.dropout_ratio)]


class ActivationRegularization(Layer):
    """A term of the objective that keeps states small: alpha times the mean of the squares of all elements.

    L = alpha mean(h^2), Merity, McCann and Socher 2017 (arXiv:1708.01009), who take the states of the last layer
    after its dropout. Whoever minimises it adds `backward()` to the gradient of the states.

    Parameters
    ----------
    alpha : float
        At least 0.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        self.alpha = _checked_weight("alpha", alpha)

    def forward(self, hs: Array) -> Array:
        """Return the term, a 0-d array or NumPy scalar, of states hs (N, T, H)."""
        self.expect("hs", hs, ("N", "T", "H"))
        self.cache = hs
        return (hs * hs).mean() * self.alpha

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dhs = 2 alpha hs dout / number of elements, (N, T, H)."""
        hs = self.recall()
        return scaled(hs * (2 * self.alpha / hs.size), dout)

    def _options(self):
        return [str(self.alpha)]


class TemporalActivationRegularization(Layer):
    """A term of the objective that keeps states slow: beta times the mean of their squared changes.

    L = beta mean((h_t - h_t-1)^2), over all elements of the T - 1 changes; 0 for a single step. Merity, McCann and
    Socher 2017 (arXiv:1708.01009), who take the states of the last layer before its dropout.

    Parameters
    ----------
    beta : float
        At least 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _checked_weight("beta", beta)

    def forward(self, hs: Array) -> Array:
        """Return the term, a 0-d array or NumPy scalar, of states hs (N, T, H)."""
        self.expect("hs", hs, ("N", "T", "H"))
        changes = hs[:, 1:] - hs[:, :-1]  # (N, T - 1, H)
        self.cache = changes
        return (changes * changes).sum() * (self.beta / max(1, changes.size))

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dhs (N, T, H): each change pulls at the state after it, and the other way at that before it."""
        changes = self.recall()
        N, between, H = changes.shape
        pulls = scaled(changes * (2 * self.beta / max(1, changes.size)), dout)  # (N, T - 1, H)
        dhs = np.zeros((N, between + 1, H), dtype=changes.dtype)  # (N, T, H)
        dhs[:, 1:] = pulls
        dhs[:, :-1] -= pulls
        return dhs

    def _options(self):
        return [str(self.beta)]


def _checked_weight(name, weight):
    """Return the weight of a term as a Python float, or raise a ValueError when it is negative, infinite or NaN."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"{name} is {weight}, wanted a finite number of at least 0")
    return float(weight)
