"""Layers without a time axis."""
from common.device.ids import Ids
from common.device.segment_sums import sum_rows_by_id
from common.functions import sigmoid, softmax
from common.layers.base import Layer
from common.layers.sparse import SparseGradient
from common.np import Array, np


class MatMul(Layer):
    """Matrix product y = x W.

    Parameters
    ----------
    W : ndarray (D, H)
    """

    def __init__(self, W: Array) -> None:
        super().__init__(W)
        self.expect("W", W, ("D", "H"))
        self.sizes = dict(zip("DH", W.shape))

    def forward(self, x: Array) -> Array:
        """Map x (N, D) to y (N, H)."""
        (W,) = self.params
        self.expect("x", x, ("N", W.shape[0]))
        self.cache = x
        return x @ W  # (N, H)

    def backward(self, dout: Array) -> Array:
        """Map dy (N, H) to dx (N, D) = dy W^T, and set dW = x^T dy."""
        (W,), (dW,) = self.params, self.grads
        x = self.recall()
        self.expect("dout", dout, (len(x), W.shape[1]))
        np.matmul(x.T, dout, out=dW)
        return dout @ W.T  # (N, D)


class Affine(Layer):
    """Affine map y = x W + b.

    Parameters
    ----------
    W : ndarray (D, H)
    b : ndarray (H,)
    """

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self.expect("W", W, ("D", "H"))
        self.expect("b", b, (W.shape[1],))
        self.sizes = dict(zip("DH", W.shape))

    def forward(self, x: Array) -> Array:
        """Map x (N, D) to y (N, H)."""
        W, b = self.params
        self.expect("x", x, ("N", W.shape[0]))
        self.cache = x
        y = x @ W  # (N, H)
        y += b
        return y

    def backward(self, dout: Array) -> Array:
        """Map dy (N, H) to dx (N, D) = dy W^T, and set dW = x^T dy, db = sum over N of dy."""
        W, b = self.params
        dW, db = self.grads
        x = self.recall()
        self.expect("dout", dout, (len(x), W.shape[1]))
        np.matmul(x.T, dout, out=dW)
        np.sum(dout, axis=0, out=db)
        return dout @ W.T  # (N, D)


class Embedding(Layer):
    """Table of word vectors: the row of W for each id.

    Parameters
    ----------
    W : ndarray (V, D)
    """

    def __init__(self, W: Array) -> None:
        super().__init__(W)
        self.expect("W", W, ("V", "D"))
        self.sizes = dict(zip("VD", W.shape))

    def forward(self, idx: Array | Ids) -> Array:
        """Look up the vectors of ids.

        Parameters
        ----------
        idx : ndarray of int or Ids, any shape

        Returns
        -------
        ndarray, shape of idx + (D,)

        Raises
        ------
        ValueError
            An id is not in 0..V-1.
        """
        (W,) = self.params
        ids = self.expect_ids("ids", idx, getattr(idx, "shape", ()), len(W))
        self.cache = ids, idx.order if isinstance(idx, Ids) else None
        return W[ids]

    def backward(self, dout: Array) -> None:
        """Set dW, given dout of shape idx.shape + (D,): each row is the sum over its id's places.

        Returns
        -------
        None
            Ids have no gradient.
        """
        (dW,) = self.grads
        ids, order = self.recall()
        D = dW.shape[1]
        self.expect("dout", dout, (*ids.shape, D))
        ids = ids.reshape(-1)  # (n,)
        if order is None:
            order = np.argsort(ids, kind="stable")  # (n,)
        sum_rows_by_id(ids, dout.reshape(-1, D), order, out=dW)
        if np.backend == "numpy":  # a GPU would have to be waited for to know how many ids there are
            self.sparse = [SparseGradient(dW, np.unique(ids))]


class Dropout(Layer):
    """Dropout as the book's chapters 1 to 5 have it: the output is scaled at test time.

    `TimeDropout` scales at training time instead. Srivastava et al. 2014.

    Parameters
    ----------
    dropout_ratio : float
        Probability that an element is set to 0, in [0, 1).
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        super().__init__()
        self.dropout_ratio = checked_dropout_ratio(dropout_ratio)

    def _options(self):
        return [str(self.dropout_ratio)]

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """Map x to x times a random mask of zeros and ones, or at test time to x (1 - dropout_ratio)."""
        self.expect("x", x, (...,))
        if not train_flg:
            self.cache = None
            return x * (1 - self.dropout_ratio)
        mask = np.rng.random(x.shape, dtype=x.dtype) >= self.dropout_ratio  # shape of x
        self.cache = mask, x.dtype
        return x * mask

    def backward(self, dout: Array) -> Array:
        """Map dy to dy times the mask."""
        mask, dtype = self.recall()
        self.expect("dout", dout, mask.shape, dtype)
        return dout * mask


def checked_dropout_ratio(ratio: float, name: str = "dropout_ratio") -> float:
    """Return `ratio` as a Python float, or raise a ValueError, which calls it by `name`, when it is not in [0, 1)."""
    if not 0 <= ratio < 1:
        raise ValueError(f"{name} is {ratio}, wanted a number in [0, 1)")
    return float(ratio)  # with a float64 of NumPy's, float32 arrays would become float64


class Sigmoid(Layer):
    """Logistic function y = 1 / (1 + exp(-x)), elementwise."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Array) -> Array:
        """Map x to y, any shape."""
        self.expect("x", x, (...,))
        y = sigmoid(x)
        self.cache = y.copy()
        return y

    def backward(self, dout: Array) -> Array:
        """Map dy to dx = dy y (1 - y)."""
        y = self.recall()
        self.expect("dout", dout, y.shape, y.dtype)
        return dout * y * (1 - y)


class Softmax(Layer):
    """Softmax over the last axis: y_i = exp(x_i) / sum_j exp(x_j)."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Array) -> Array:
        """Map x (N, V) to probabilities y (N, V)."""
        self.expect("x", x, (...,))
        y = softmax(x)
        self.cache = y.copy()
        return y

    def backward(self, dout: Array) -> Array:
        """Map dy to dx_i = y_i (dy_i - sum_j dy_j y_j)."""
        y = self.recall()
        self.expect("dout", dout, y.shape, y.dtype)
        return y * (dout - (dout * y).sum(axis=-1, keepdims=True))
