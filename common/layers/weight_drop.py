"""Recurrent layers that drop weights of Wh instead of states.

DropConnect (Wan et al. 2013) on the recurrent weights, as in Merity, Keskar and Socher 2018 (arXiv:1708.02182):

    (1)  Wh' = mask Wh,  each element of the mask 0 or 1 / (1 - weight_drop)

takes the place of Wh at every step of a forward, and of its backward. The derivative:

    (1)  dWh = mask dWh'

One mask (H, G) serves a whole sequence, so no state is disturbed on its way through time, and the loop over the
steps is that of the plain layer.
"""
from typing import Any

from common.layers.base import Layer
from common.layers.dense import checked_dropout_ratio
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import TimeRNN
from common.layers.time import scaled_mask
from common.np import Array


class WeightDrop(RecurrentLayer):
    """What makes of a recurrent layer one that drops recurrent weights: inherited before it.

    Parameters
    ----------
    Wx : ndarray (D, G)
    Wh : ndarray (H, G)
    b : ndarray (G,)
    stateful : bool
        Whether the state is carried from one forward to the next.
    weight_drop : float
        Probability that an element of Wh is dropped, in [0, 1).
    **options
        Other options of the layer.

    Attributes
    ----------
    train_flg : bool
        While it is False, nothing is dropped.
    mask : ndarray (H, G) or None
        That of the last forward; None where nothing was dropped.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False, weight_drop: float = 0.5,
                 **options: Any) -> None:
        super().__init__(Wx, Wh, b, stateful, **options)
        self.weight_drop = checked_dropout_ratio(weight_drop, "weight_drop")
        self.train_flg = True
        self.mask: Array | None = None

    @property
    def step(self) -> Any:
        """One step of the plain layer, in training over the Wh that the last forward used."""
        step: Layer = super().step
        if self.train_flg and self.mask is not None:
            step.params[1] = self.mask * self.params[1]
        return step

    def _start(self, xs, lengths):
        started, Wh = super()._start(xs, lengths), self.params[1]
        self.mask = scaled_mask(Wh.shape, self.weight_drop, Wh.dtype) if self.train_flg else None  # (H, G)
        if self.mask is not None:
            self._Wh = self.mask * Wh  # (1)
        return started

    def _project_backward(self, xs, hs_prev, da):
        dxs = super()._project_backward(xs, hs_prev, da)
        if self.mask is not None:
            dWh = self.grads[1]
            dWh *= self.mask  # (1)
        return dxs

    def _options(self):
        return [*super()._options(), f"weight_drop={self.weight_drop}"]


class TimeWeightDropRNN(WeightDrop, TimeRNN):
    """A `TimeRNN` that drops weights of Wh (H, H), with the parameters of both."""


class TimeWeightDropLSTM(WeightDrop, TimeLSTM):
    """A `TimeLSTM` that drops weights of Wh (H, 4H), with the parameters of both."""


class TimeWeightDropGRU(WeightDrop, TimeGRU):
    """A `TimeGRU` that drops weights of Wh (H, 3H), with the parameters of both."""
