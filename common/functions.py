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


def ids_of_one_hot(t: Array, name: str) -> Array:
    """Return the id (...) that each row of one-hot targets (..., V) stands for.

    On a GPU the host waits for the check. A training step has ids as targets, and none of this.

    Parameters
    ----------
    t : ndarray (..., V)
        Numbers or booleans.
    name : str
        What the error message calls them.

    Raises
    ------
    ValueError
        A row holds anything but a single 1 and zeros, as soft targets and those of several labels do.
    """
    if not (((t == 0) | (t == 1)).all() and ((t == 1).sum(axis=-1) == 1).all()):
        raise ValueError(f"{name} of shape {t.shape} are not one-hot, wanted a single 1 and zeros in each row, or ids")
    return t.argmax(axis=-1)


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

    Raises
    ------
    ValueError
        The targets fit neither form: soft or of several labels, of another number of rows, or ids out of range.
    """
    if not y.ndim:
        raise ValueError("cross_entropy_error: the probabilities are a single number, wanted shape (N, V) or (V,)")
    name = "cross_entropy_error: targets"
    rows = y.reshape(-1, y.shape[-1])  # (N, V)
    if t.shape in (y.shape, rows.shape):
        t = ids_of_one_hot(t, name)
    y, t = rows, t.reshape(-1)  # (N, V), (N,)
    if t.dtype.kind not in "iu" or len(t) != len(y) or not len(y):
        raise ValueError(f"{name} are {t.dtype} of shape {t.shape}, wanted one-hot rows of shape {y.shape}, or "
                         f"integers of shape ({len(y)},)")
    if t.min() < 0 or t.max() >= y.shape[1]:
        raise ValueError(f"{name} go from {t.min()} to {t.max()}, wanted 0 to {y.shape[1] - 1}")
    likelihood = y[np.arange(len(y)), t]  # (N,)
    return -np.log(np.maximum(likelihood, np.finfo(y.dtype).tiny)).mean()
