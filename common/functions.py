"""Functions without state: products, activations, softmax, cross entropy."""
from common.np import Array, np


def add_product(x: Array, W: Array, out: Array) -> None:
    """Add the product x W to `out` (N, M), in place; on a GPU in one operation of cuBLAS.

    Parameters
    ----------
    x : ndarray (N, D)
    W : ndarray (D, M)
    out : ndarray (N, M)
        Contiguous.
    """
    if np.backend == "numpy":
        out += x @ W
    else:
        np.cublas.gemm("N", "N", x, W, out=out, beta=1)


def sigmoid(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x)), elementwise.

    Written as exp(min(x, 0)) / (1 + exp(-|x|)): exp is only taken of numbers that are not
    positive, so no input overflows, and small results keep their relative precision.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    ndarray, shape of x
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def relu(x: Array) -> Array:
    """Rectifier max(0, x), elementwise."""
    return np.maximum(x, 0)


def softmax(x: Array) -> Array:
    """Softmax over the last axis: exp(x_i) / sum_j exp(x_j).

    Parameters
    ----------
    x : ndarray (V,) or (N, V), or with more leading axes

    Returns
    -------
    ndarray, shape of x
        Not negative, sums to 1 over the last axis.
    """
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y


def cross_entropy_error(y: Array, t: Array) -> float:
    """Mean cross entropy of predicted probabilities, in nats.

    The loss layers work on scores instead and never meet a probability that underflowed
    to 0; here such a probability counts as the smallest normal number of its dtype.

    Parameters
    ----------
    y : ndarray (N, V) or (V,)
        Probabilities.
    t : ndarray of int (N,), or one-hot of the shape of y
        Targets.

    Returns
    -------
    float
    """
    y = y.reshape(-1, y.shape[-1])  # (N, V)
    t = t.argmax(axis=-1).reshape(-1) if t.size == y.size else t.reshape(-1)  # (N,)
    likelihood = y[np.arange(len(y)), t]  # (N,)
    return -np.log(np.maximum(likelihood, np.finfo(y.dtype).tiny)).mean()
