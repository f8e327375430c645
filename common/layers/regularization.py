"""What keeps a recurrent network from learning a text by heart, besides plain dropout.

Merity, Keskar and Socher 2018 (arXiv:1708.02182) collected these for their AWD-LSTM. The dropout of the recurrent
weights is in `common.layers.weight_drop`.
"""
from common.layers.time import TimeDropout
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
