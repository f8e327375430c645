"""Long short-term memory: one step, and a whole sequence.

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. The four blocks of
Wx (D, 4H), Wh (H, 4H), b (4H,) stand in the order f, g, i, o: forget gate, candidate, input
gate, output gate.

    (1)  [af ag ai ao] = x Wx + h_prev Wh + b
    (2)  f = sigmoid(af),  g = tanh(ag),  i = sigmoid(ai),  o = sigmoid(ao)
    (3)  c = f c_prev + g i
    (4)  h = o tanh(c)

Their derivatives, numbered alike and taken in reverse:

    (4)  do = dh tanh(c),  dc gains dh o (1 - tanh(c)^2)
    (3)  df = dc c_prev,  dg = dc i,  di = dc g,  dc_prev = dc f
    (2)  daf = df f (1 - f),  dag = dg (1 - g^2),  dai = di i (1 - i),  dao = do o (1 - o)
    (1)  dx = da Wx^T,  dh_prev = da Wh^T,  dWx = x^T da,  dWh = h_prev^T da,  db = sum over N of da
"""
from common.device.elementwise import elementwise
from common.functions import add_product, sigmoid
from common.layers.base import Layer
from common.layers.recurrent import RecurrentLayer, expect_recurrent_weights
from common.np import Array, ArrayLike, np


@elementwise
def gates_forward(af, ag, ai, ao, c_prev):
    """Compute a step from its pre-activations; all arrays are (N, H).

    Returns
    -------
    h, c, f, g, i, o : ndarray (N, H)
    """
    f, g, i, o = sigmoid(af), np.tanh(ag), sigmoid(ai), sigmoid(ao)  # (2)
    c = f * c_prev + g * i  # (3)
    h = o * np.tanh(c)  # (4)
    return h, c, f, g, i, o


@elementwise
def gates_backward(dh, dc, f, g, i, o, c_prev, c):
    """Compute the gradients of a step's pre-activations; all arrays are (N, H).

    Parameters
    ----------
    dh, dc : ndarray
        Gradients that arrive at h and, from the step after, at c.
    f, g, i, o, c_prev, c : ndarray
        Gates and cells of the forward pass.

    Returns
    -------
    daf, dag, dai, dao, dc_prev : ndarray (N, H)
    """
    tanh_c = np.tanh(c)
    do = dh * tanh_c  # (4)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    df, dg, di, dc_prev = dc * c_prev, dc * i, dc * g, dc * f  # (3)
    daf, dag, dai, dao = df * f * (1 - f), dg * (1 - g * g), di * i * (1 - i), do * o * (1 - o)  # (2)
    return daf, dag, dai, dao, dc_prev


def split_gates(a: Array) -> tuple[Array, Array, Array, Array]:
    """Return the four blocks f, g, i, o of (..., 4H) as views (..., H)."""
    H = a.shape[-1] // 4
    return a[..., :H], a[..., H:2 * H], a[..., 2 * H:3 * H], a[..., 3 * H:]


class LSTM(Layer):
    """One step of an LSTM; gate blocks in the order f, g, i, o.

    Parameters
    ----------
    Wx : ndarray (D, 4H)
    Wh : ndarray (H, 4H)
    b : ndarray (4H,)
    """

    gates_forward, gates_backward = staticmethod(gates_forward), staticmethod(gates_backward)

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        super().__init__(Wx, Wh, b)
        expect_recurrent_weights(self, gates=4, biases=4)

    def forward(self, x: Array, h_prev: Array, c_prev: Array) -> tuple[Array, Array]:
        """Map x (N, D), h_prev (N, H), c_prev (N, H) to h (N, H), c (N, H)."""
        Wx, Wh, b = self.params[:3]
        D, H = Wx.shape[0], Wh.shape[0]
        self.expect("x", x, ("N", D))
        self.expect("h_prev", h_prev, (len(x), H))
        self.expect("c_prev", c_prev, (len(x), H))
        a = x @ Wx + h_prev @ Wh + b  # (N, 4H)                          (1)
        h, c, f, g, i, o = self.gates_forward(*split_gates(a), c_prev)  # (2) (3) (4)
        self.cache = x, h_prev, c_prev, c.copy(), f, g, i, o
        return h, c

    def backward(self, dh: Array, dc: Array) -> tuple[Array, Array, Array]:
        """Map dh (N, H), dc (N, H) to dx (N, D), dh_prev (N, H), dc_prev (N, H)."""
        Wx, Wh, b = self.params[:3]
        dWx, dWh, db = self.grads[:3]
        x, h_prev, c_prev, c, f, g, i, o = self.recall()
        self.expect("dh", dh, c.shape)
        self.expect("dc", dc, c.shape)
        *blocks, dc_prev = self.gates_backward(dh, dc, f, g, i, o, c_prev, c)  # (4) (3) (2)
        da = np.concatenate(blocks, axis=1)  # (N, 4H)
        np.matmul(x.T, da, out=dWx)  # (1)
        np.matmul(h_prev.T, da, out=dWh)
        np.sum(da, axis=0, out=db)
        dx, dh_prev = da @ Wx.T, da @ Wh.T  # (N, D), (N, H)
        return dx, dh_prev, dc_prev


class TimeLSTM(RecurrentLayer):
    """An LSTM over a sequence, by the formulas of `LSTM`.

    The products with the input, for all T steps, are one product before the loop; the
    gradients of the weights are one product each after it. The gates overwrite their
    pre-activations: a sequence of P rows needs one (P, 4H) array forward and one backward.

    Parameters
    ----------
    Wx : ndarray (D, 4H)
    Wh : ndarray (H, 4H)
    b : ndarray (4H,)
    stateful : bool
        Whether the state is carried from one forward to the next.

    Attributes
    ----------
    h, c : ndarray (N, H) or None
        The state after the last forward, or the one given to `set_state`.
    dh, dc : ndarray (N, H) or None
        Gradients, set by backward, with respect to the state that the sequence began with.
    """

    gates = 4
    state_names = ("h", "c")
    gates_forward, gates_backward = staticmethod(gates_forward), staticmethod(gates_backward)

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        super().__init__(Wx, Wh, b, stateful)
        self.c: Array | None = None
        self.dc: Array | None = None

    @property
    def step(self) -> LSTM:
        """One step of this layer, an `LSTM` over the same weights."""
        return LSTM(*self.params)

    def set_state(self, h: Array | None, c: Array | None = None) -> None:
        """Let the next forward start from copies of h (N, H) and c (N, H); None stands for zeros."""
        c = self._checked_state("c", c)
        super().set_state(h)
        self.c = c

    def forward(self, xs: Array, lengths: ArrayLike | None = None) -> Array:
        """Map xs (N, T, D) to the states hs (N, T, H).

        Parameters
        ----------
        xs : ndarray (N, T, D)
        lengths : sequence of int (N,), optional
            Real steps of each sequence. Outputs beyond them are zeros, and the final state of a
            sequence is that of its last real step.
        """
        packing, xs = self._start(xs, lengths)  # (P, D)
        Wh = self._Wh
        a = self._project(xs)  # (P, 4H), x Wx + b
        h, c = self._states(packing)  # (N + P, H)
        for t, prev, now in packing.steps:
            add_product(h[prev], Wh, out=a[t])  # (1)
            gates = split_gates(a[t])  # (N, H) each: pre-activations, then gates
            self.gates_forward(*gates, c[prev], out=(h[now], c[now], *gates))  # (2) (3) (4)
        self.cache = packing, xs, h, c, a
        return self._end(packing, h, c)  # (N, T, H)

    def backward(self, dhs: Array, dh: Array | None = None, dc: Array | None = None) -> Array:
        """Map the gradients of the states to those of the input.

        Parameters
        ----------
        dhs : ndarray (N, T, H)
        dh, dc : ndarray (N, H), optional
            Gradients that arrive at the final state from elsewhere.

        Returns
        -------
        ndarray (N, T, D)
            Zeros at the padding.
        """
        packing, xs, h, c, gates = self.recall()
        f, g, i, o = split_gates(gates)  # (P, H)
        dh, dc = self._gradients(packing, dhs, dh, dc)  # (N + P, H)
        da = np.empty(gates.shape, dtype=gates.dtype)  # (P, 4H)
        daf, dag, dai, dao = split_gates(da)  # (P, H)
        Wh_T = self._transposed_Wh()  # (4H, H)
        for t, prev, now in reversed(packing.steps):
            self.gates_backward(dh[now], dc[now], f[t], g[t], i[t], o[t], c[prev], c[now],
                                out=(daf[t], dag[t], dai[t], dao[t], dc[prev]))  # (4) (3) (2)
            add_product(da[t], Wh_T, out=dh[prev])  # (1)
        return self._end_backward(packing, xs, h, da, dh, dc)  # (N, T, D)

    def gate_activations(self) -> list[Array]:
        """Return the gates f (P, H), and i and o (P, 2H), of the last forward."""
        gates, H = self.recall("gate_activations")[4], self.hidden_size  # (P, 4H)
        return [gates[:, :H], gates[:, 2 * H:]]
