"""What keeps a recurrent network from learning a text by heart, besides plain dropout.

Merity, Keskar and Socher 2018 (arXiv:1708.02182) collected these for their AWD-LSTM. The dropout of the recurrent
weights is in `common.layers.weight_drop`.
"""
from common.device.ids import Ids
from common.layers.dense import checked_dropout_ratio
from common.layers.time import TimeDropout, TimeEmbedding, scaled_mask
from common.np import Array


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
