"""Simple (Elman) recurrent network: one step, and a whole sequence.

The formulas of a step, Elman 1990, with phi one of tanh, relu and sigmoid:

    (1)  a = x Wx + h_prev Wh + b
    (2)  h = phi(a)

Their derivatives, numbered alike and taken in reverse:

    (2)  da = dh phi'(a)
    (1)  dx = da Wx^T,  dh_prev = da Wh^T,  dWx = x^T da,  dWh = h_prev^T da,  db = sum over N of da
"""
from common.functions import relu, sigmoid
from common.layer import Layer
from common.np import np
from common.recurrent import RecurrentLayer, swap_batch_and_time


def tanh_forward(a):
    """Return h = tanh(a)."""
    return np.tanh(a)


def tanh_backward(dh, h):
    """Return da = dh (1 - h^2), given h = tanh(a)."""
    return dh * (1 - h * h)


def relu_backward(dh, h):
    """Return da = dh where h = max(0, a) is positive, else 0."""
    return dh * (h > 0)


def sigmoid_backward(dh, h):
    """Return da = dh h (1 - h), given h = sigmoid(a)."""
    return dh * h * (1 - h)


ACTIVATIONS = {
    "tanh": (tanh_forward, tanh_backward),
    "relu": (relu, relu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
}


def activation_functions(name):
    """Return phi and its derivative by name.

    Raises
    ------
    ValueError
        The name is not one of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}, wanted one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class RNN(Layer):
    """One step of a simple recurrent network: h = phi(x Wx + h_prev Wh + b).

    Parameters
    ----------
    Wx : ndarray (D, H)
    Wh : ndarray (H, H)
    b : ndarray (H,)
    activation : {"tanh", "relu", "sigmoid"}
    """

    def __init__(self, Wx, Wh, b, activation="tanh"):
        super().__init__(Wx, Wh, b)
        self.activation, self.activation_backward = activation_functions(activation)

    def forward(self, x, h_prev):
        """Map x (N, D) and h_prev (N, H) to h (N, H)."""
        Wx, Wh, b = self.params
        D, H = Wx.shape
        self.expect("x", x, ("N", D))
        self.expect("h_prev", h_prev, (len(x), H))
        a = x @ Wx + h_prev @ Wh + b  # (N, H)      (1)
        h = self.activation(a)  # (N, H)            (2)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh):
        """Map dh (N, H) to dx (N, D) and dh_prev (N, H)."""
        Wx, Wh, b = self.params
        dWx, dWh, db = self.grads
        x, h_prev, h = self.recall()
        self.expect("dh", dh, h.shape)
        da = self.activation_backward(dh, h)  # (N, H)      (2)
        np.matmul(x.T, da, out=dWx)  # (1)
        np.matmul(h_prev.T, da, out=dWh)
        np.sum(da, axis=0, out=db)
        return da @ Wx.T, da @ Wh.T  # (N, D), (N, H)


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

    def __init__(self, Wx, Wh, b, stateful=False, activation="tanh"):
        super().__init__(Wx, Wh, b, stateful=stateful)
        self.activation, self.activation_backward = activation_functions(activation)

    def forward(self, xs):
        """Map xs (N, T, D) to the states hs (N, T, H)."""
        Wx, Wh, b = self.params
        D, H = Wx.shape
        self.expect("xs", xs, ("N", "T", D))
        N, T, _ = xs.shape
        xs = swap_batch_and_time(xs)  # (T, N, D)
        a = self._project(xs)  # (T, N, H)
        hs = np.empty((T + 1, N, H), dtype=a.dtype)  # (T + 1, N, H)
        hs[0] = self._initial("h", self.h, N)
        for t in range(T):
            a[t] += hs[t] @ Wh  # (1)
            hs[t + 1] = self.activation(a[t])  # (2)
        self.h = hs[T]
        self.cache = xs, hs
        return swap_batch_and_time(hs[1:])  # (N, T, H)

    def backward(self, dhs, dh=None):
        """Map the gradients of the states to those of the input.

        Parameters
        ----------
        dhs : ndarray (N, T, H)
        dh : ndarray (N, H), optional
            Gradient that arrives at the final state from elsewhere.

        Returns
        -------
        ndarray (N, T, D)
        """
        Wx, Wh, b = self.params
        xs, hs = self.recall()
        T, N, D = xs.shape
        H = self.hidden_size
        self.expect("dhs", dhs, (N, T, H))
        dh = self._final_gradient("dh", dh, N)
        dhs = dhs.swapaxes(0, 1)  # (T, N, H)
        da = np.empty((T, N, H), dtype=dhs.dtype)  # (T, N, H)
        Wh_T = np.ascontiguousarray(Wh.T)  # a plain view makes each product in the loop twice as slow
        for t in reversed(range(T)):
            da[t] = self.activation_backward(dhs[t] + dh, hs[t + 1])  # (2)
            dh = da[t] @ Wh_T  # (N, H)      (1)
        self.dh = dh
        return swap_batch_and_time(self._project_backward(xs, hs[:T], da))  # (N, T, D)
