"""Layers without a time axis."""
from common.functions import sigmoid, softmax
from common.ids import Ids
from common.layer import Layer
from common.np import np
from common.segment_sums import sum_rows_by_id

__all__ = [
    "MatMul", "Affine", "Embedding", "Dropout", "Sigmoid", "Softmax", "SoftmaxWithLoss", "SigmoidWithLoss",
]


class MatMul(Layer):
    """Matrix product y = x W.

    Parameters
    ----------
    W : ndarray (D, H)
    """

    def __init__(self, W):
        super().__init__(W)

    def forward(self, x):
        """Map x (N, D) to y (N, H)."""
        (W,) = self.params
        self.expect("x", x, ("N", W.shape[0]))
        self.cache = x
        return x @ W  # (N, H)

    def backward(self, dout):
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

    def __init__(self, W, b):
        super().__init__(W, b)
        self.expect("W", W, ("D", "H"))
        self.expect("b", b, (W.shape[1],))

    def forward(self, x):
        """Map x (N, D) to y (N, H)."""
        W, b = self.params
        self.expect("x", x, ("N", W.shape[0]))
        self.cache = x
        y = x @ W  # (N, H)
        y += b
        return y

    def backward(self, dout):
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

    def __init__(self, W):
        super().__init__(W)

    def forward(self, idx):
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
        ids = self.expect_ids("ids", idx, getattr(idx, "shape", None), len(W))
        self.cache = ids, idx.order if isinstance(idx, Ids) else None
        return W[ids]

    def backward(self, dout):
        """Set dW, given dout of shape idx.shape + (D,): each row is the sum over its id's places.

        Returns
        -------
        None
            Ids have no gradient.
        """
        (dW,) = self.grads
        ids, order = self.recall()
        D = dW.shape[1]
        self.expect("dout", dout, ids.shape + (D,))
        ids = ids.reshape(-1)  # (n,)
        if order is None:
            order = np.argsort(ids, kind="stable")  # (n,)
        sum_rows_by_id(ids, dout.reshape(-1, D), order, out=dW)


class Dropout(Layer):
    """Dropout as the book's chapters 1 to 5 have it: the output is scaled at test time.

    `TimeDropout` scales at training time instead. Srivastava et al. 2014.

    Parameters
    ----------
    dropout_ratio : float
        Probability that an element is set to 0, in [0, 1).
    """

    def __init__(self, dropout_ratio=0.5):
        super().__init__()
        self.dropout_ratio = checked_dropout_ratio(dropout_ratio)

    def forward(self, x, train_flg=True):
        """Map x to x times a random mask of zeros and ones, or at test time to x (1 - dropout_ratio)."""
        self.expect("x", x, (...,))
        if not train_flg:
            self.cache = None
            return x * (1 - self.dropout_ratio)
        mask = np.rng.random(x.shape, dtype=x.dtype) >= self.dropout_ratio  # shape of x
        self.cache = mask, x.dtype
        return x * mask

    def backward(self, dout):
        """Map dy to dy times the mask."""
        mask, dtype = self.recall()
        self.expect("dout", dout, mask.shape, dtype)
        return dout * mask


def checked_dropout_ratio(ratio):
    """Return `ratio`, or raise a ValueError when it is not in [0, 1)."""
    if not 0 <= ratio < 1:
        raise ValueError(f"dropout_ratio is {ratio}, wanted a number from 0 up to but not 1")
    return ratio


class Sigmoid(Layer):
    """Logistic function y = 1 / (1 + exp(-x)), elementwise."""

    def __init__(self):
        super().__init__()

    def forward(self, x):
        """Map x to y, any shape."""
        self.expect("x", x, (...,))
        y = sigmoid(x)
        self.cache = y.copy()
        return y

    def backward(self, dout):
        """Map dy to dx = dy y (1 - y)."""
        y = self.recall()
        self.expect("dout", dout, y.shape, y.dtype)
        return dout * y * (1 - y)


class Softmax(Layer):
    """Softmax over the last axis: y_i = exp(x_i) / sum_j exp(x_j)."""

    def __init__(self):
        super().__init__()

    def forward(self, x):
        """Map x (N, V) to probabilities y (N, V)."""
        self.expect("x", x, (...,))
        y = softmax(x)
        self.cache = y.copy()
        return y

    def backward(self, dout):
        """Map dy to dx_i = y_i (dy_i - sum_j dy_j y_j)."""
        y = self.recall()
        self.expect("dout", dout, y.shape, y.dtype)
        return y * (dout - (dout * y).sum(axis=-1, keepdims=True))


class SoftmaxWithLoss(Layer):
    """Softmax followed by the mean cross entropy.

    loss = mean over the rows n that count of (log sum_j exp(x_nj) - x_n,t(n)), in nats.
    The logarithm of a probability is never taken, so no score can underflow it.
    """

    ignore_label = None

    def __init__(self):
        super().__init__()

    def forward(self, x, t):
        """Compute the loss of scores against targets.

        Parameters
        ----------
        x : ndarray (N, V)
            Scores.
        t : ndarray of int (N,), or one-hot (N, V)
            Targets. Rows whose target is `ignore_label` do not count.

        Returns
        -------
        0-d array or NumPy scalar
            Nats; 0 when no row counts.
        """
        self.expect("x", x, (..., "V"))
        if getattr(t, "shape", None) == x.shape:
            self._expect_array("targets", t)
            t = t.argmax(axis=-1)
        scores = x.reshape(-1, x.shape[-1])  # (n, V)
        targets, weights = targets_and_weights(self, t, x)  # (n,), (n,)
        rows = np.arange(len(targets))  # (n,)
        x_max = scores.max(axis=1, keepdims=True)  # (n, 1)
        shifted = scores - x_max  # (n, V)
        target_scores = shifted[rows, targets]  # (n,)
        np.exp(shifted, out=shifted)
        totals = shifted.sum(axis=1)  # (n,)
        self.cache = x, rows, targets, weights, x_max, totals
        return ((np.log(totals) - target_scores) * weights).sum()

    def backward(self, dout=1):
        """Return dx = (softmax(x) - onehot(t)) dout / number of rows that count.

        Parameters
        ----------
        dout : float or 0-d array
            Gradient of whatever is minimised with respect to this loss.
        """
        x, rows, targets, weights, x_max, totals = self.recall()
        weights = scaled(weights, dout)  # (n,)
        dx = x.reshape(-1, x.shape[-1]) - x_max  # (n, V)
        np.exp(dx, out=dx)
        dx *= (weights / totals)[:, None]
        dx[rows, targets] -= weights
        return dx.reshape(x.shape)


def targets_and_weights(layer, t, x, V=None):
    """Check the targets of a softmax loss, and weigh each for the mean over those that count.

    Parameters
    ----------
    layer : Layer
        With an `ignore_label`, the target that does not count, or None.
    t : ndarray of int or Ids, any shape
    x : ndarray, shape of t and one more axis
        Scores, or what they are computed from.
    V : int, optional
        Number of classes, by default the size of the last axis of x.

    Returns
    -------
    targets : ndarray of int (n,)
        Row by row, 0 where they do not count.
    weights : ndarray (n,)
        1 / number of targets that count, or 0; of the dtype of x.
    """
    V = x.shape[-1] if V is None else V
    ts = layer.expect_integers("targets", t, x.shape[:-1]).reshape(-1)  # (n,)
    if layer.ignore_label is None or isinstance(t, Ids) and not t.low <= layer.ignore_label <= t.high:
        weights = np.full(ts.shape, 1 / max(ts.size, 1), dtype=x.dtype)  # (n,)
    else:
        is_counted = ts != layer.ignore_label  # (n,)
        counts = is_counted.astype(x.dtype)  # (n,)
        weights = counts / np.maximum(counts.sum(), 1)  # (n,)
        ts = np.where(is_counted, ts, 0)
    if not (isinstance(t, Ids) and t.lie_in(-1 if layer.ignore_label == -1 else 0, V - 1)):
        layer.expect_range("targets", ts, V)
    return ts, weights


class SigmoidWithLoss(Layer):
    """Sigmoid followed by the mean binary cross entropy.

    loss = mean of (max(x, 0) - x t + log(1 + exp(-|x|))), in nats.
    """

    def __init__(self):
        super().__init__()

    def forward(self, x, t):
        """Compute the loss of scores against targets.

        Parameters
        ----------
        x : ndarray, any shape
            Scores.
        t : ndarray, shape of x
            Targets, 0 or 1 (or a probability between).

        Returns
        -------
        0-d array or NumPy scalar
            Nats.
        """
        self.expect("x", x, (...,))
        self._expect_array("targets", t)
        t = t.astype(x.dtype)
        self.expect("targets", t, x.shape)
        self.cache = x, t
        return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()

    def backward(self, dout=1):
        """Return dx = (sigmoid(x) - t) dout / number of elements."""
        x, t = self.recall()
        return scaled(sigmoid(x) - t, dout) / x.size


def scaled(array, dout):
    """Return array times the upstream gradient of a loss, in the dtype of `array`; for 1 the array itself.

    Parameters
    ----------
    array : ndarray
    dout : float or 0-d array of the dtype of `array`

    Raises
    ------
    ValueError
        `dout` is not a scalar, or a 0-d array of another dtype.
    """
    if isinstance(dout, (int, float)):
        return array if dout == 1 else array * float(dout)
    if getattr(dout, "shape", None) != () or dout.dtype != array.dtype:
        raise ValueError(f"dout of a loss is {dout!r}, wanted a number or a {array.dtype} scalar")
    return array * dout
