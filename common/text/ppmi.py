"""Word vectors that are counted, not trained: which words stand near each other, and the SVD of that.

The book's chapter 2 has the idea: a row of counts says of a word beside which others it stands. Positive pointwise
mutual information (PPMI, Church and Hanks 1990) sets them against chance, and the singular value decomposition makes
them short (Levy, Goldberg and Dagan 2015).
"""
import dataclasses

import numpy

from common.device.threads import one_blas_thread
from common.np import ArrayLike, np

AT_ONCE = 16_000_000  # elements of the rows of a matrix that are written out at once
OVERSAMPLING, ROUNDS = 20, 3  # of the randomized SVD


@dataclasses.dataclass(frozen=True)
class SymmetricMatrix:
    """A symmetric matrix (V, V), of which only the elements that are not 0 are kept.

    Attributes
    ----------
    size : int
        V.
    rows, columns : ndarray of int (n,)
        Where the elements are, in order of their rows; of two that mirror each other, both are there.
    values : ndarray of float32 (n,)
    """

    size: int
    rows: numpy.ndarray
    columns: numpy.ndarray
    values: numpy.ndarray

    def __matmul__(self, other: numpy.ndarray) -> numpy.ndarray:
        """Return the product with a matrix (V, m), some rows at a time: (V, m)."""
        step = max(1, AT_ONCE // self.size)
        out = numpy.empty((self.size, other.shape[1]), dtype=self.values.dtype)  # (V, m)
        for start in range(0, self.size, step):
            some = slice(*numpy.searchsorted(self.rows, (start, start + step)))
            dense = numpy.zeros((min(step, self.size - start), self.size), dtype=self.values.dtype)  # (step, V)
            dense[self.rows[some] - start, self.columns[some]] = self.values[some]
            numpy.matmul(dense, other, out=out[start:start + step])
        return out


def ppmi(ids: ArrayLike, vocab_size: int, window: int = 2) -> SymmetricMatrix:
    """Return the positive pointwise mutual information of the words of a text.

    Two words at a distance of d <= window count 1 / d. With the counts C and the sum S of all of them

        PPMI_ij = max(0, ln(C_ij S / (C_i C_j))),    C_i = sum_j C_ij

    Parameters
    ----------
    ids : array_like of int (n,)
        The text, from 0 to V - 1.
    vocab_size : int
        V.
    window : int
        At least 1.

    Returns
    -------
    SymmetricMatrix (V, V)

    Raises
    ------
    ValueError
        The ids are no row of whole numbers from 0 to V - 1, or the window is below 1.
    """
    ids = numpy.asarray(ids)  # (n,)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < vocab_size):
        span = f" from {ids.min()} to {ids.max()}" if ids.size else ""
        raise ValueError(f"ppmi: ids are {ids.dtype} of shape {ids.shape}{span}, wanted a row of whole numbers from 0 "
                         f"to {vocab_size - 1}")
    if window < 1:
        raise ValueError(f"ppmi: window is {window}, wanted at least 1")
    ids = ids.astype(numpy.int64)
    near = [(ids[:-d] * vocab_size + ids[d:], ids[d:] * vocab_size + ids[:-d]) for d in range(1, window + 1)]
    weights = numpy.concatenate([numpy.full(2 * len(one), 1 / d) for d, (one, _) in enumerate(near, start=1)])
    pairs, which = numpy.unique(numpy.concatenate([pair for both in near for pair in both]), return_inverse=True)
    rows, columns = numpy.divmod(pairs, vocab_size)  # (pairs,), (pairs,)
    counts = numpy.bincount(which, weights)  # (pairs,)
    of_word = numpy.bincount(rows, counts, minlength=vocab_size)  # (V,)
    values = numpy.log(counts * of_word.sum() / (of_word[rows] * of_word[columns]))  # (pairs,)
    kept = values > 0
    return SymmetricMatrix(vocab_size, rows[kept], columns[kept], values[kept].astype(numpy.float32))


@one_blas_thread
def largest_eigenvalues(matrix: SymmetricMatrix, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the k eigenvalues of the largest size and their eigenvectors, nearly.

    A few products with random vectors leave hardly anything but these (Halko, Martinsson and Tropp 2011): a basis of
    them is small enough for a decomposition.

    Parameters
    ----------
    matrix : SymmetricMatrix (V, V)
    k : int
        At most V.

    Returns
    -------
    values : ndarray (k,)
        From the largest size to the smallest.
    vectors : ndarray (V, k)
    """
    width = min(matrix.size, k + OVERSAMPLING)
    basis = np.host_rng.standard_normal((matrix.size, width)).astype(matrix.values.dtype)  # (V, width)
    for _ in range(ROUNDS):
        basis, _ = numpy.linalg.qr(matrix @ basis)
    values, vectors = numpy.linalg.eigh(basis.T @ (matrix @ basis))  # (width,), (width, width)
    order = numpy.argsort(-numpy.abs(values))[:k]
    return values[order], basis @ vectors[:, order]


def ppmi_vectors(ids: ArrayLike, vocab_size: int, wordvec_size: int, window: int = 2) -> numpy.ndarray:
    """Return word vectors from the singular value decomposition of the PPMI M of a text.

    With the D eigenvalues e_k of the largest size and their vectors u_k, word i has sqrt|e_k| u_ik: the singular values
    of a symmetric matrix are the sizes of its eigenvalues. With D = V the products of the vectors are (M M)^1/2. A
    random rotation changes no angle between two words, and gives each element of a vector its share.

    Parameters
    ----------
    ids, vocab_size, window
        As for `ppmi`.
    wordvec_size : int
        D. Of more than V, the vectors lie in a space of V dimensions.

    Returns
    -------
    ndarray (V, D)
    """
    values, vectors = largest_eigenvalues(ppmi(ids, vocab_size, window), min(wordvec_size, vocab_size))
    rotation, _ = numpy.linalg.qr(np.host_rng.standard_normal((wordvec_size, len(values))))  # (D, k)
    return vectors * numpy.abs(values)**0.5 @ rotation.T
