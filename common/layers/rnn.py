"""Simple (Elman) recurrent network: one step, and a whole sequence.

The formulas of a step, Elman 1990, with phi one of tanh, relu and sigmoid:

    (1)  a = x Wx + h_prev Wh + b
    (2)  h = phi(a)

Their derivatives, numbered alike and taken in reverse:

    (2)  da = dh phi'(a)
    (1)  dx = da Wx^T,  dh_prev = da Wh^T,  dWx = x^T da,  dWh = h_prev^T da,  db = sum over N of da
"""
from common.device.elementwise import elementwise
from common.functions import add_product, relu, sigmoid
from common.layers.base import Layer
from common.layers.recurrent import RecurrentLayer, expect_recurrent_weights
from common.np import Array, ArrayLike, np


@elementwise
def tanh_forward(a):
    """Return h = tanh(a)."""
    return np.tanh(a)


@elementwise
def tanh_backward(dh, h):
    """Return da = dh (1 - h^2), given h = tanh(a)."""
    return dh * (1 - h * h)


relu_forward = elementwise(relu)


@elementwise
def relu_backward(dh, h):
    """Return da = dh where h = max(0, a) is positive, else 0."""
    return dh * (h > 0)


sigmoid_forward = elementwise(sigmoid)


@elementwise
def sigmoid_backward(dh, h):
    """Return da = dh h (1 - h), given h = sigmoid(a)."""
    return dh * h * (1 - h)


ACTIVATIONS = {
    "tanh": (tanh_forward, tanh_backward),
    "relu": (relu_forward, relu_backward),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
}


def activation_functions(name: str) -> tuple:
    """Return the name of phi, phi and its derivative.

    Raises
    ------
    ValueError
        The name is not one of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}, wanted one of {', '.join(ACTIVATIONS)}")
    return name, *ACTIVATIONS[name]


class RNN(Layer):
    """One step of a simple recurrent network: h = phi(x Wx + h_prev Wh + b).

    Parameters
    ----------
    Wx : ndarray (D, H)
    Wh : ndarray (H, H)
    b : ndarray (H,)
    activation : {"tanh", "relu", "sigmoid"}
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, activation: str = "tanh") -> None:
        super().__init__(Wx, Wh, b)
        expect_recurrent_weights(self, gates=1, biases=1)
        self.activation_name, self.activation, self.activation_backward = activation_functions(activation)

    def forward(self, x: Array, h_prev: Array) -> Array:
        """Map x (N, D) and h_prev (N, H) to h (N, H)."""
        Wx, Wh, b = self.params
        D, H = Wx.shape
        self.expect("x", x, ("N", D))
        self.expect("h_prev", h_prev, (len(x), H))
        a = x @ Wx + h_prev @ Wh + b  # (N, H)      (1)
        h = self.activation(a)  # (N, H)            (2)
        self.cache = x, h_prev, h.copy()
        return h

    def backward(self, dh: Array) -> tuple[Array, Array]:
        """Map dh (N, H) to dx (N, D) and dh_prev (N, H)."""
        Wx, Wh, b = self.params
        dWx, dWh, db = self.grads
        x, h_prev, h = self.recall()
        self.expect("dh", dh, h.shape)
        da = self.activation_backward(dh, h)  # (N, H)      (2)
        np.matmul(x.T, da, out=dWx)  # (1)
        np.matmul(h_prev.T, da, out=dWh)
        np.sum(da, axis=0, out=db)
        dx, dh_prev = da @ Wx.T, da @ Wh.T  # (N, D), (N, H)
        return dx, dh_prev

    def _options(self):
        return [self.activation_name]


class TimeRNN(RecurrentLayer):
    """A simple recurrent network over a sequence, by the formulas of `RNN`.

    The products with the input, for all T steps, are one product before the loop; the
    gradients of the weights are one product each after it. Only h_prev Wh and phi stay inside.

    Parameters
    ----------
    Wx : ndarray (D, H)
    Wh : ndarray (H, H)
    b : ndarray (H,)
    stateful : bool
        Whether the state is carried from one forward to the next.
    activation : {"tanh", "relu", "sigmoid"}
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False, activation: str = "tanh") -> None:
        super().__init__(Wx, Wh, b, stateful)
        self.activation_name, self.activation, self.activation_backward = activation_functions(activation)

    @property
    def step(self) -> RNN:
        """One step of this layer, an `RNN` over the same weights."""
        Wx, Wh, b = self.params
        return RNN(Wx, Wh, b, self.activation_name)

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
        a = self._project(xs)  # (P, H), x Wx + b
        (h,) = self._states(packing)  # (N + P, H)
        for t, prev, now in packing.steps:
            add_product(h[prev], Wh, out=a[t])  # (1)
            self.activation(a[t], out=h[now])  # (2)
        self.cache = packing, xs, h
        return self._end(packing, h)  # (N, T, H)

    def backward(self, dhs: Array, dh: Array | None = None) -> Array:
        """Map the gradients of the states to those of the input.

        Parameters
        ----------
        dhs : ndarray (N, T, H)
        dh : ndarray (N, H), optional
            Gradient that arrives at the final state from elsewhere.

        Returns
        -------
        ndarray (N, T, D)
            Zeros at the padding.
        """
        packing, xs, h = self.recall()
        (dh,) = self._gradients(packing, dhs, dh)  # (N + P, H)
        da = np.empty((packing.P, h.shape[1]), dtype=h.dtype)  # (P, H)
        Wh_T = self._transposed_Wh()  # (H, H)
        for t, prev, now in reversed(packing.steps):
            self.activation_backward(dh[now], h[now], out=da[t])  # (2)
            add_product(da[t], Wh_T, out=dh[prev])  # (1)
        return self._end_backward(packing, xs, h, da, dh)  # (N, T, D)

    def gate_activations(self) -> list[Array]:
        """Return the states of the last forward as gates (P, H): h of a sigmoid, (1 + h) / 2 of tanh, none of relu.

        Since tanh(a) = 2 sigmoid(2a) - 1, the second is a gate, too: below 0.1 or above 0.9 where |h| is above 0.8.
        """
        packing, _, h = self.recall("gate_activations")
        h = h[packing.N:]  # (P, H)
        return {"tanh": [(1 + h) / 2], "sigmoid": [h], "relu": []}[self.activation_name]

    def _options(self):
        return [self.activation_name, *super()._options()]
