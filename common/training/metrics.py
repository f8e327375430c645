"""Perplexity, measures of a classifier from its confusion matrix, and the singular values of a recurrent matrix."""
import math

import numpy

from common.np import ArrayLike

LONGEST = 12  # characters of a printed perplexity: its column in a table


def safe_exp(nats: float) -> float:
    """exp, or infinity where that is too large for a float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def format_perplexity(perplexity: float, decimals: int = 2) -> str:
    """Return a perplexity as text: "135.17", with its decimals as far as they fit.

    Parameters
    ----------
    perplexity : float
        exp of a mean loss in nats, as `safe_exp` returns it.
    decimals : int

    Returns
    -------
    str
        At most 12 characters. A number that needs more is rounded to three digits, "1.23e+09"; "inf" and "nan" are
        what they say.
    """
    text = f"{perplexity:.{decimals}f}"
    return text if len(text) <= LONGEST else f"{perplexity:.2e}"


def confusion_matrix(ts: numpy.ndarray, ys: numpy.ndarray, classes: int) -> numpy.ndarray:
    """Count how often each class was predicted for each true one.

    Parameters
    ----------
    ts, ys : numpy.ndarray of int (n,)
        True and predicted classes, 0 to classes - 1.
    classes : int
        K.

    Returns
    -------
    numpy.ndarray of int (K, K)
        A row for each true class, a column for each predicted one.

    Raises
    ------
    ValueError
        There are not as many predicted classes as true ones, or one is no whole number from 0 to K - 1.
    """
    if ts.shape != ys.shape:
        raise ValueError(f"confusion_matrix: true classes have shape {ts.shape}, predicted ones {ys.shape}")
    for ids in ts, ys:
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or ids.size and (ids.min() < 0 or ids.max() >= classes):
            raise ValueError(f"confusion_matrix: classes must be a row of whole numbers from 0 to {classes - 1}")
    pairs = ts.astype(numpy.int64) * classes + ys.astype(numpy.int64)  # (n,), which a smaller dtype may not hold
    return numpy.bincount(pairs, minlength=classes**2).reshape(classes, classes)  # (K, K)


def accuracy(matrix: numpy.ndarray) -> float:
    """Return the share of right predictions in a confusion matrix (K, K), which counts at least one."""
    if not matrix.sum():
        raise ValueError(f"accuracy: the confusion matrix of shape {matrix.shape} counts no prediction")
    return float(matrix.trace() / matrix.sum())


def macro_f1(matrix: numpy.ndarray) -> float:
    """Return the mean over the classes of F1 = 2 TP / (2 TP + FP + FN); van Rijsbergen 1979.

    Parameters
    ----------
    matrix : numpy.ndarray of int (K, K)
        As `confusion_matrix` returns it. A class that neither occurs nor was predicted has F1 = 0.
    """
    right = matrix.diagonal()  # (K,)
    occurred_and_predicted = matrix.sum(axis=1) + matrix.sum(axis=0)  # (K,)
    return float((2 * right / numpy.maximum(occurred_and_predicted, 1)).mean())


def singular_values(Wh: ArrayLike) -> numpy.ndarray:
    """Return the singular values of a recurrent matrix Wh (H, G), the largest first; (H,).

    The largest is the greatest factor by which Wh can lengthen a state, or a gradient going back (Pascanu et al. 2013).
    """
    return numpy.linalg.svd(numpy.asarray(Wh), compute_uv=False)
