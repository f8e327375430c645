"""Attention by dot products: each state of a decoder looks at all states of an encoder.

For one state h of the decoder and the encoder's states hs_1 ... hs_T:

    (1)  s_t = hs_t . h
    (2)  a = softmax(s)
    (3)  c = sum over t of a_t hs_t

Their derivatives, numbered alike and taken in reverse:

    (3)  da_t = hs_t . dc,  dhs_t = a_t dc
    (2)  ds_t = a_t (da_t - sum over u of a_u da_u)
    (1)  dh = sum over t of ds_t hs_t,  dhs_t gains ds_t h

`AttentionWeight`, `WeightSum` and `Attention`, made of these two, are one step of the decoder, written to be
read; `TimeAttention` is all its steps at once. The idea is that of Bahdanau et al. 2015
(arXiv:1409.0473), the score the "dot" of Luong et al. 2015 (arXiv:1508.04025, section 3.1).
"""
from common.layers.base import Layer
from common.layers.dense import Softmax
from common.np import Array


class WeightSum(Layer):
    """Weighted sum over the steps of a sequence: c = sum over t of a_t hs_t."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, hs: Array, a: Array) -> Array:
        """Map hs (N, T, H) and weights a (N, T) to c (N, H)."""
        self.expect("hs", hs, ("N", "T", "H"))
        self.expect("a", a, hs.shape[:2], hs.dtype)
        self.cache = hs, a
        return (a[:, :, None] * hs).sum(axis=1)  # (N, H)

    def backward(self, dc: Array) -> tuple[Array, Array]:
        """Map dc (N, H) to dhs (N, T, H), da (N, T)."""
        hs, a = self.recall()
        self.expect("dc", dc, (hs.shape[0], hs.shape[2]), hs.dtype)
        dc = dc[:, None, :]  # (N, 1, H)
        return a[:, :, None] * dc, (hs * dc).sum(axis=2)  # (N, T, H), (N, T)


class AttentionWeight(Layer):
    """Weight of each encoder state for one decoder state: a = softmax over t of hs_t . h."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = Softmax()

    def forward(self, hs: Array, h: Array) -> Array:
        """Map the encoder's hs (N, T, H) and the decoder's h (N, H) to weights (N, T) that sum to 1."""
        self.expect("hs", hs, ("N", "T", "H"))
        self.expect("h", h, (hs.shape[0], hs.shape[2]), hs.dtype)
        self.cache = hs, h
        s = (hs * h[:, None, :]).sum(axis=2)  # (N, T)  (1)
        return self.softmax.forward(s)  # (N, T)  (2)

    def backward(self, da: Array) -> tuple[Array, Array]:
        """Map da (N, T) to dhs (N, T, H), dh (N, H)."""
        hs, h = self.recall()
        self.expect("da", da, hs.shape[:2], hs.dtype)
        ds = self.softmax.backward(da)[:, :, None]  # (N, T, 1)  (2)
        return ds * h[:, None, :], (ds * hs).sum(axis=1)  # (N, T, H), (N, H)  (1)


class Attention(Layer):
    """One step: what a decoder state takes from the encoder's states.

    Attributes
    ----------
    attention_weight : ndarray (N, T) or None
        The weights of the last forward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention_weight_layer = AttentionWeight()
        self.weight_sum_layer = WeightSum()
        self.attention_weight: Array | None = None

    def forward(self, hs: Array, h: Array) -> Array:
        """Map the encoder's hs (N, T, H) and the decoder's h (N, H) to c (N, H)."""
        self.expect("hs", hs, ("N", "T", "H"))
        self.expect("h", h, (hs.shape[0], hs.shape[2]), hs.dtype)
        self.cache = h.shape, h.dtype
        a = self.attention_weight_layer.forward(hs, h)  # (N, T)
        self.attention_weight = a.copy()
        return self.weight_sum_layer.forward(hs, a)  # (N, H)

    def backward(self, dc: Array) -> tuple[Array, Array]:
        """Map dc (N, H) to dhs (N, T, H), dh (N, H)."""
        shape, dtype = self.recall()
        self.expect("dc", dc, shape, dtype)
        dhs_of_sum, da = self.weight_sum_layer.backward(dc)
        dhs_of_weight, dh = self.attention_weight_layer.backward(da)
        return dhs_of_sum + dhs_of_weight, dh


class TimeAttention(Layer):
    """`Attention` for all steps of a decoder at once, in one product of matrices for each formula.

    Attributes
    ----------
    attention_weights : ndarray (N, U, T) or None
        The weights of the last forward; over T they sum to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.softmax = Softmax()
        self.attention_weights: Array | None = None

    def forward(self, hs_enc: Array, hs_dec: Array) -> Array:
        """Map the encoder's hs_enc (N, T, H) and the decoder's hs_dec (N, U, H) to cs (N, U, H)."""
        self.expect("hs_enc", hs_enc, ("N", "T", "H"))
        N, _, H = hs_enc.shape
        self.expect("hs_dec", hs_dec, (N, "U", H), hs_enc.dtype)
        scores = hs_dec @ hs_enc.swapaxes(1, 2)  # (N, U, T)  (1)
        a = self.softmax.forward(scores)  # (N, U, T)  (2)
        self.attention_weights = a.copy()
        self.cache = hs_enc, hs_dec, a
        return a @ hs_enc  # (N, U, H)  (3)

    def backward(self, dcs: Array) -> tuple[Array, Array]:
        """Map dcs (N, U, H) to dhs_enc (N, T, H), dhs_dec (N, U, H)."""
        hs_enc, hs_dec, a = self.recall()
        self.expect("dcs", dcs, hs_dec.shape, hs_dec.dtype)
        dhs_enc = a.swapaxes(1, 2) @ dcs  # (N, T, H)  (3)
        dscores = self.softmax.backward(dcs @ hs_enc.swapaxes(1, 2))  # (N, U, T)  (3) (2)
        dhs_enc += dscores.swapaxes(1, 2) @ hs_dec  # (1)
        return dhs_enc, dscores @ hs_enc  # (N, T, H), (N, U, H)
