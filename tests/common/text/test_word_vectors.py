import itertools

import numpy
import pytest
from any_device import np

from common.text.word_vectors import (
    analogy,
    convert_one_hot,
    cos_similarity,
    most_similar,
    nearest,
    normalize,
    preprocess,
)

pytestmark = pytest.mark.usefixtures("device")

WORDS = ["king", "queen", "man", "woman", "boat"]
WORD_TO_ID = {word: i for i, word in enumerate(WORDS)}
ID_TO_WORD = dict(enumerate(WORDS))
#                 royal male female thing
VECTORS = numpy.array([[3, 1, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2]], dtype=np.float64)


def test_preprocess_gives_ids_by_first_appearance():
    corpus, word_to_id, id_to_word = preprocess("You say goodbye and I say hello.")
    assert corpus.tolist() == [0, 1, 2, 3, 4, 1, 5, 6] and corpus.dtype.kind == "i"
    assert word_to_id == {"you": 0, "say": 1, "goodbye": 2, "and": 3, "i": 4, "hello": 5, ".": 6}
    assert id_to_word == {i: word for word, i in word_to_id.items()}


def test_preprocess_splits_at_any_white_space():
    assert preprocess("a  b.\n\ta ")[0].tolist() == [0, 1, 2, 0]
    empty, word_to_id, _ = preprocess("")
    assert empty.shape == (0,) and empty.dtype.kind == "i" and word_to_id == {}


@pytest.mark.parametrize("ids", [[0, 2, 1], [[0, 2], [3, 3]], 2, numpy.zeros((0, 2), dtype=int)])
def test_one_hot(ids):
    ids = np.array(ids)
    found = convert_one_hot(ids, 4)
    assert found.shape == (*ids.shape, 4) and found.dtype == np.int32
    assert np.array_equal(found, np.eye(4)[ids])


@pytest.mark.parametrize("ids", [[0, 4], [-1, 0]])
def test_one_hot_refuses_ids_outside_the_vocabulary(ids):
    with pytest.raises(ValueError, match=f"convert_one_hot: ids go from {ids[0]} to {ids[1]}, wanted 0 to 3"):
        convert_one_hot(np.array(ids), 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_cosines(dtype):
    x, y = np.array([3, 4, 0], dtype=dtype), np.array([0, 2, 0], dtype=dtype)
    assert float(cos_similarity(x, y)) == pytest.approx(0.8, rel=1e-6)
    assert float(cos_similarity(x, -x)) == pytest.approx(-1, rel=1e-6)
    assert cos_similarity(x, 0 * x) == 0
    np.testing.assert_allclose(cos_similarity(np.stack((x, y, 0 * x)), y), [0.8, 1, 0], rtol=1e-6)
    assert float(cos_similarity(x, y, eps=5)) == pytest.approx(8 / (10 * 7), rel=1e-6)
    assert x.tolist() == [3, 4, 0]


def test_a_cosine_of_16_bit_vectors_does_not_overflow():
    x = np.array([300, 400], dtype=np.float16)
    assert float(cos_similarity(x, x)) == pytest.approx(1)
    np.testing.assert_allclose(normalize(x), [0.6, 0.8], rtol=1e-6)


def test_normalize_scales_each_vector_to_length_one():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])
    np.testing.assert_allclose(normalize(x), [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-15)
    np.testing.assert_allclose(normalize(x[0]), [0.6, 0.8], rtol=1e-15)
    assert x[0].tolist() == [3, 4]
    assert normalize(x.astype(np.float32)).dtype == np.float32


def test_most_similar_words_of_the_books_first_text(capsys):
    corpus, word_to_id, id_to_word = preprocess("You say goodbye and I say hello.")
    counts = np.zeros((7, 7), dtype=np.int32)
    for one, other in itertools.pairwise(corpus):
        counts[one, other] += 1
        counts[other, one] += 1
    found = most_similar("you", word_to_id, id_to_word, counts, top=5)
    assert [word for word, _ in found] == ["goodbye", "i", "hello", "say", "and"]
    # the book's section 2.3.6 gives 0.7071067691154799 for the first three
    assert [score for _, score in found] == pytest.approx([0.7071067691154799] * 3 + [0, 0], rel=1e-14)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["", "[query] you"]
    assert lines[2].startswith(" goodbye: 0.70710676911") and len(lines) == 7


@pytest.mark.parametrize("top", [0, 1, 2, 4, 9])
def test_most_similar_gives_the_best_others(top, capsys):
    found = most_similar("king", WORD_TO_ID, ID_TO_WORD, np.to_device(VECTORS), top=top)
    cosines = {word: VECTORS[0] @ row / numpy.sqrt((row @ row) * 10) for word, row in zip(WORDS, VECTORS)}
    expected = sorted((word for word in WORDS if word != "king"), key=lambda word: -cosines[word])
    assert [word for word, _ in found] == expected[:top]
    assert [score for _, score in found] == pytest.approx([cosines[word] for word in expected[:top]], rel=1e-6)
    assert capsys.readouterr().out.count(": ") == min(top, 4)


def test_an_unknown_word_is_reported(capsys):
    assert most_similar("ship", WORD_TO_ID, ID_TO_WORD, np.to_device(VECTORS)) == []
    assert analogy("king", "ship", "sea", WORD_TO_ID, ID_TO_WORD, np.to_device(VECTORS)) == []
    assert analogy("king", "man", "queen", WORD_TO_ID, ID_TO_WORD, np.to_device(VECTORS), answer="tree") == []
    assert capsys.readouterr().out.splitlines() == [
        f"{word} is not found" for word in ("ship", "ship", "sea", "tree")]


@pytest.mark.parametrize("dtype, rel", [(np.float64, 1e-12), (np.float16, 1e-6)])
def test_an_analogy(capsys, dtype, rel):
    vectors = np.to_device(VECTORS.astype(dtype))
    found = analogy("man", "king", "woman", WORD_TO_ID, ID_TO_WORD, vectors, top=1, answer="boat")
    query = numpy.array([3, 0, 1, 0]) / numpy.sqrt(10)  # king - man + woman
    assert found == [("queen", pytest.approx(VECTORS[1] @ query, rel=rel))]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["", "[analogy] man:king = woman:?", "==>boat: 0.0"]
    assert lines[3].startswith(" queen: 2.213") and len(lines) == 4


def test_the_words_of_an_analogy_are_no_answers():
    found = analogy("man", "king", "woman", WORD_TO_ID, ID_TO_WORD, np.to_device(VECTORS))
    assert [word for word, _ in found] == ["queen", "boat"]


def test_nearest_words_by_their_cosine(device):
    vectors = np.to_device(numpy.array([[1, 0], [0, 2], [3, 1], [-5, 0]], dtype=numpy.float32))
    word_to_id = {"a": 0, "b": 1, "c": 2, "d": 3}
    id_to_word = dict(enumerate(word_to_id))
    found = nearest("a", word_to_id, id_to_word, vectors)
    assert [word for word, _ in found] == ["c", "b", "d"]
    numpy.testing.assert_allclose([cosine for _, cosine in found], [3 / 10**0.5, 0, -1], atol=1e-6)
    assert nearest("b", word_to_id, id_to_word, vectors, top=1)[0][0] == "c"
