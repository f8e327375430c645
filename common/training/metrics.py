"""Measures of a classifier, computed from its confusion matrix, and the singular values of a recurrent matrix."""
import numpy

from common.np import ArrayLike


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
    """
    return numpy.bincount(ts * classes + ys, minlength=classes**2).reshape(classes, classes)  # (K, K)


def accuracy(matrix: numpy.ndarray) -> float:
    """Return the share of right predictions in a confusion matrix (K, K)."""
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
