import numpy
import pytest

from common.np import np
from common.text import ppmi as module
from common.text.ppmi import SymmetricMatrix, largest_eigenvalues, ppmi, ppmi_vectors

V = 7
IDS = numpy.random.default_rng(0).choice(V, 60, p=numpy.array([8, 5, 4, 3, 2, 1, 1]) / 24)


def ppmi_by_the_formula(ids, size, window):
    counts = numpy.zeros((size, size))
    for i, word in enumerate(ids):
        for j, other in enumerate(ids):
            if 0 < abs(i - j) <= window:
                counts[word, other] += 1 / abs(i - j)
    expected = numpy.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return numpy.maximum(numpy.log(numpy.maximum(counts, 1e-300) / numpy.maximum(expected, 1e-300)), 0)


def dense(matrix):
    out = numpy.zeros((matrix.size, matrix.size))
    out[matrix.rows, matrix.columns] = matrix.values
    return out


def root_of_square(matrix):
    """Return the matrix with the sizes of the eigenvalues: (M M)^1/2."""
    values, vectors = numpy.linalg.eigh(matrix)
    return vectors * numpy.abs(values) @ vectors.T


@pytest.mark.parametrize("window", [1, 2, 5])
def test_ppmi_is_the_formula(window):
    found = ppmi(IDS, V, window)
    numpy.testing.assert_allclose(dense(found), ppmi_by_the_formula(IDS, V, window), rtol=1e-6)
    assert (found.values > 0).all() and (numpy.diff(found.rows) >= 0).all()


def test_a_word_that_does_not_come_up_is_near_to_none():
    found = ppmi([0, 1, 0, 1, 3], 5)
    assert not {2, 4} & {*found.rows, *found.columns}


@pytest.mark.parametrize("ids", [[0, 3], [-1, 0], [0.5, 1.0], [[0, 1], [1, 0]]])
def test_ids_that_are_none(ids):
    with pytest.raises(ValueError, match=r"ppmi: ids are .*, wanted a row of whole numbers from 0 to 2$"):
        ppmi(ids, 3)


def test_a_window_is_at_least_1():
    with pytest.raises(ValueError, match="ppmi: window is 0, wanted at least 1"):
        ppmi([0, 1], 2, window=0)


@pytest.mark.parametrize("at_once", [1, 15, 1000])
def test_the_product_is_that_of_the_whole_matrix(monkeypatch, at_once):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    matrix, other = ppmi(IDS, V), numpy.random.default_rng(1).standard_normal((V, 3)).astype(numpy.float32)
    numpy.testing.assert_allclose(matrix @ other, dense(matrix) @ other, rtol=1e-5, atol=1e-6)


def test_the_largest_eigenvalues_are_those_of_the_whole_matrix():
    np.seed(0)
    rng = numpy.random.default_rng(2)
    basis, _ = numpy.linalg.qr(rng.standard_normal((60, 60)))
    wanted = numpy.array([-9, 8, 7, -6, 5, *0.1 * rng.standard_normal(55)])
    whole = (basis * wanted @ basis.T).astype(numpy.float32)
    rows, columns = numpy.divmod(numpy.arange(3600), 60)
    values, vectors = largest_eigenvalues(SymmetricMatrix(60, rows, columns, whole.reshape(-1)), 5)
    numpy.testing.assert_allclose(values, wanted[:5], rtol=1e-5)
    numpy.testing.assert_allclose(whole @ vectors, vectors * values, atol=1e-4)


@pytest.mark.parametrize("size", [V, V + 4])
def test_products_of_whole_vectors_are_the_root_of_the_square_of_the_ppmi(size):
    for options in ({}, {"window": 2}, {"window": 4}):
        vectors = ppmi_vectors(IDS, V, size, **options)
        assert vectors.shape == (V, size)
        expected = root_of_square(ppmi_by_the_formula(IDS, V, **{"window": 2} | options))
        numpy.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


def test_short_vectors_keep_what_is_largest_and_each_element_has_its_share():
    np.seed(0)
    ids = numpy.random.default_rng(3).choice(200, 4000)
    vectors = ppmi_vectors(ids, 200, 40)
    sizes = numpy.sort(numpy.abs(numpy.linalg.eigvalsh(ppmi_by_the_formula(ids, 200, 2))))
    kept, most = numpy.linalg.norm(vectors @ vectors.T), numpy.linalg.norm(sizes[-40:])
    assert 0.94 * most < kept < 1.0001 * most  # of a text without order, whose sizes hardly fall
    spread = vectors.std(axis=0)
    assert spread.max() < 2 * spread.min()


def test_words_in_the_same_company_are_near_each_other():
    rng = numpy.random.default_rng(4)
    text = numpy.concatenate([[rng.choice([0, 1]), rng.choice([2, 3]), 4, rng.choice([5, 6]), 7] for _ in range(300)])
    vectors = ppmi_vectors(text, 8, 3)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors @ vectors.T
    numpy.fill_diagonal(near, -1)
    assert [near[word].argmax() for word in (0, 1, 2, 3, 5, 6)] == [1, 0, 3, 2, 6, 5]
