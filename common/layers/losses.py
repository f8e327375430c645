"""Losses: the last layer of a network in training, from scores to one number."""
from typing import Any

from common.device.ids import Ids, ids_array
from common.functions import ids_of_one_hot, sigmoid
from common.layers.base import Layer
from common.np import Array, np


class SoftmaxWithLoss(Layer):
    """Softmax followed by the mean cross entropy.

    loss = mean over the rows n that count of (log sum_j exp(x_nj) - x_n,t(n)), in nats.
    The logarithm of a probability is never taken, so no score can underflow it.
    """

    ignore_label: int | None = None

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Array, t: Array | Ids) -> Array:
        """Compute the loss of scores against targets.

        Parameters
        ----------
        x : ndarray (N, V)
            Scores.
        t : ndarray of int (N,), or one-hot (N, V)
            Targets. Rows whose target is `ignore_label` do not count, whatever their scores are.

        Returns
        -------
        0-d array or NumPy scalar
            Nats; 0 when no row counts.

        Raises
        ------
        ValueError
            Targets of the shape (N, V) are not one-hot: probabilities, or several ones in a row.
        """
        self.expect("x", x, (..., "V"))
        if getattr(t, "shape", None) == x.shape:
            t = ids_of_one_hot(self._expect_array("targets", t), f"{self._name}: targets")
        targets, weights = targets_and_weights(self, t, x)  # (n,), (n,)
        scores = where_counted(self, x, t).reshape(-1, x.shape[-1])  # (n, V)
        rows = np.arange(len(targets))  # (n,)
        x_max = scores.max(axis=1, keepdims=True)  # (n, 1)
        shifted = scores - x_max  # (n, V)
        target_scores = shifted[rows, targets]  # (n,)
        np.exp(shifted, out=shifted)
        totals = shifted.sum(axis=1)  # (n,)
        self.cache = x.shape, scores, rows, targets, weights, x_max, totals
        return ((np.log(totals) - target_scores) * weights).sum()

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dx = (softmax(x) - onehot(t)) dout / number of rows that count.

        Parameters
        ----------
        dout : float or 0-d array
            Gradient of whatever is minimised with respect to this loss.
        """
        shape, scores, rows, targets, weights, x_max, totals = self.recall()
        weights = scaled(weights, dout)  # (n,)
        dx = scores - x_max  # (n, V)
        np.exp(dx, out=dx)
        dx *= (weights / totals)[:, None]
        dx[rows, targets] -= weights
        return dx.reshape(shape)


def targets_and_weights(layer: Any, t: Array | Ids, x: Array, V: int | None = None) -> tuple[Array, Array]:
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


def where_counted(layer: Any, x: Array, t: Array | Ids) -> Array:
    """Select the rows of x whose target counts: zeros in place of the others, whose NaN a weight of 0 would keep.

    Parameters
    ----------
    layer : Layer
        With an `ignore_label`, the target that does not count, or None.
    x : ndarray (..., D)
    t : ndarray of int or Ids (...)
        Of another shape, it selects nothing: it is for the loss to refuse.

    Returns
    -------
    ndarray (..., D)
        x itself where all rows are known to count, or none has NaN or infinity.
    """
    label = layer.ignore_label
    if label is None or isinstance(t, Ids) and not t.low <= label <= t.high:
        return x
    if getattr(t, "shape", None) != x.shape[:-1]:
        return x
    is_counted = ids_array(t) != label  # (...)
    if np.backend == "numpy" and (is_counted.all() or np.isfinite(x).all()):  # a GPU would have to be waited for
        return x  # so that a trace shows the scores of a step that does not count, too
    return np.where(is_counted[..., None], x, 0)


class SigmoidWithLoss(Layer):
    """Sigmoid followed by the mean binary cross entropy.

    loss = mean of (max(x, 0) - x t + log(1 + exp(-|x|))), in nats.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Array, t: Array) -> Array:
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
        if self._expect_array("targets", t).dtype.kind not in "fiub":
            raise ValueError(f"{self._name}: targets are {t.dtype}, wanted numbers from 0 to 1, or booleans")
        t = t.astype(x.dtype)
        self.expect("targets", t, x.shape)
        self.cache = x, t
        return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dx = (sigmoid(x) - t) dout / number of elements."""
        x, t = self.recall()
        return scaled(sigmoid(x) - t, dout) / x.size


class MeanSquaredError(Layer):
    """Mean squared error: loss = mean over all elements of (y - t)^2."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, y: Array, t: Array) -> Array:
        """Compute the loss of predictions against targets.

        Parameters
        ----------
        y : ndarray (..., M)
            Predictions.
        t : ndarray, shape and dtype of y
            Targets.

        Returns
        -------
        0-d array or NumPy scalar
            In the squared unit of the targets.
        """
        self.expect("y", y, (..., "M"))
        self.expect("targets", t, y.shape, y.dtype)
        self.cache = y - t
        return (self.cache * self.cache).mean()

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dy = 2 (y - t) dout / number of elements.

        Parameters
        ----------
        dout : float or 0-d array
            Gradient of whatever is minimised with respect to this loss.
        """
        difference = self.recall()
        return scaled(difference, dout) * 2 / difference.size


class OutputWithLoss(Layer):
    """The head of a network: an output layer, and the loss of its scores.

    Parameters
    ----------
    output : Layer
        Its parameters and gradients are those of the head.
    loss_layer : Layer
    """

    def __init__(self, output: Layer, loss_layer: Layer) -> None:
        super().__init__()
        self.output, self.loss_layer = output, loss_layer
        self.params, self.grads = output.params, output.grads

    def forward(self, xs: Array, ts: Array | Ids, gradients: bool = True) -> Array:
        """Return the loss of targets ts given the input xs of the output layer.

        Parameters
        ----------
        xs, ts : ndarray
        gradients : bool
            Whether a `backward` may follow.
        """
        self.expect("xs", xs, (..., len(self.params[0])))
        self.cache = gradients or None
        return self.loss_layer.forward(self.output.forward(where_counted(self.loss_layer, xs, ts)), ts)

    def backward(self, dout: float | Array = 1) -> Array:
        """Set the gradients of the output layer, and return dxs."""
        self.recall()
        return self.output.backward(self.loss_layer.backward(dout))

    def _options(self):
        return [repr(self.output), repr(self.loss_layer)]


def scaled(array: Array, dout: float | Array) -> Array:
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
        given = f"{dout.dtype} of shape {dout.shape}" if hasattr(dout, "shape") else repr(dout)
        raise ValueError(f"dout of a loss is {given}, wanted a number or a {array.dtype} scalar")
    return array * dout
