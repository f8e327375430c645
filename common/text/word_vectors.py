"""Small texts as ids, and questions to word vectors: which words are near, and how they relate."""
from common.np import Array, DTypeLike, np


def preprocess(text: str) -> tuple[Array, dict[str, int], dict[int, str]]:
    """Turn a small text into ids: lower case, full stops on their own, words by order of first appearance.

    `common.text.vocabulary` has tokenizers for real texts.

    Parameters
    ----------
    text : str

    Returns
    -------
    corpus : ndarray of int (n,)
        On the device in use.
    word_to_id : dict of str to int
    id_to_word : dict of int to str
    """
    words = text.lower().replace(".", " .").split()
    word_to_id = {word: i for i, word in enumerate(dict.fromkeys(words))}  # a dict keeps the order
    corpus = np.array([word_to_id[word] for word in words], dtype=np.int64)  # (n,)
    return corpus, word_to_id, {i: word for word, i in word_to_id.items()}


def convert_one_hot(corpus: Array, vocab_size: int) -> Array:
    """Write each id as a row with a single 1.

    Parameters
    ----------
    corpus : ndarray of int, any shape
        For example (N,) targets or (N, C) contexts.
    vocab_size : int
        V.

    Returns
    -------
    ndarray of int32, shape of corpus + (V,)

    Raises
    ------
    ValueError
        An id is not in 0..V-1.
    """
    if corpus.size and (corpus.min() < 0 or corpus.max() >= vocab_size):
        raise ValueError(f"convert_one_hot: ids go from {corpus.min()} to {corpus.max()}, "
                         f"wanted 0 to {vocab_size - 1}")
    return one_hot(corpus, vocab_size, np.int32)


def one_hot(ids: Array, size: int, dtype: DTypeLike) -> Array:
    """Write ids of any shape, all known to be from 0 to size - 1, as rows (..., size) with a single 1."""
    return (ids[..., None] == np.arange(size)).astype(dtype)  # (..., size)


def cos_similarity(x: Array, y: Array, eps: float = 1e-8) -> Array:
    """Cosine of the angle between two vectors: x . y / ((|x| + eps) (|y| + eps)).

    Parameters
    ----------
    x : ndarray (D,), or (V, D) for V vectors at once
    y : ndarray (D,)
    eps : float
        Added to each length, so that a vector of zeros has similarity 0.

    Returns
    -------
    NumPy scalar, or ndarray (V,)
        From -1 to 1.
    """
    x, y = _precise(x), _precise(y)
    return (x / (_length(x) + eps)) @ (y / (_length(y) + eps))


def normalize(x: Array) -> Array:
    """Scale vectors to length 1; a vector of zeros stays one.

    Parameters
    ----------
    x : ndarray (D,), or (V, D) for V vectors at once

    Returns
    -------
    ndarray, shape of x
    """
    x = _precise(x)
    length = _length(x)
    return x / (length + (length == 0))


def most_similar(query: str, word_to_id: dict[str, int], id_to_word: dict[int, str], word_matrix: Array,
                 top: int = 5) -> list[tuple[str, float]]:
    """Print and return the words whose vectors are nearest to that of a word, by their cosine.

    Parameters
    ----------
    query : str
        When it is not in the vocabulary, a line says so and the list is empty.
    word_to_id : dict of str to int
    id_to_word : dict of int to str
    word_matrix : ndarray (V, D)
    top : int
        How many words.

    Returns
    -------
    list of (str, float)
        Words and cosines, nearest first.
    """
    if not _all_known([query], word_to_id):
        return []
    print(f"\n[query] {query}")
    return _printed(nearest(query, word_to_id, id_to_word, word_matrix, top))


def nearest(query: str, word_to_id: dict[str, int], id_to_word: dict[int, str], word_matrix: Array,
            top: int = 8) -> list[tuple[str, float]]:
    """Return the words whose vectors are nearest to that of a word, by their cosine.

    Parameters
    ----------
    query : str
        A word of the vocabulary.
    word_to_id : dict of str to int
    id_to_word : dict of int to str
    word_matrix : ndarray (V, D)
    top : int
        How many words.

    Returns
    -------
    list of (str, float)
        Words and cosines, nearest first, without the word itself.
    """
    return _best(cos_similarity(word_matrix, word_matrix[word_to_id[query]]), id_to_word, {query}, top)


def analogy(a: str, b: str, c: str, word_to_id: dict[str, int], id_to_word: dict[int, str], word_matrix: Array,
            top: int = 5, answer: str | None = None) -> list[tuple[str, float]]:
    """Ask "a is to b as c is to ...": print and return the words nearest to vec(b) - vec(a) + vec(c).

    Mikolov et al. 2013. Scores are products of the words' vectors, as they are, with that sum
    scaled to length 1; give `normalize(word_matrix)` to rank by the cosine.

    Parameters
    ----------
    a, b, c : str
        They are no candidates. When one is not in the vocabulary, a line says so and the list is
        empty.
    word_to_id : dict of str to int
    id_to_word : dict of int to str
    word_matrix : ndarray (V, D)
    top : int
        How many words.
    answer : str, optional
        A word whose score is printed too.

    Returns
    -------
    list of (str, float)
        Words and scores, best first.
    """
    if not _all_known([a, b, c] + ([] if answer is None else [answer]), word_to_id):
        return []
    print(f"\n[analogy] {a}:{b} = {c}:?")
    word_matrix = _precise(word_matrix)  # (V, D)
    vec_a, vec_b, vec_c = (word_matrix[word_to_id[word]] for word in (a, b, c))  # (D,)
    scores = word_matrix @ normalize(vec_b - vec_a + vec_c)  # (V,)
    if answer is not None:
        print(f"==>{answer}: {float(scores[word_to_id[answer]])}")
    return _printed(_best(scores, id_to_word, {a, b, c}, top))


def _precise(x):
    """Return x as floats of at least 32 bits: counts have no cosine, and published vectors have 16 bits."""
    return x.astype(np.result_type(x.dtype, np.float32), copy=False)


def _length(x):
    return np.sqrt((x * x).sum(axis=-1, keepdims=True))  # (..., 1)


def _all_known(words, word_to_id):
    missing = [word for word in words if word not in word_to_id]
    for word in missing:
        print(f"{word} is not found")
    return not missing


def _best(scores, id_to_word, left_out, top):
    """Return the `top` best words and their scores (V,)."""
    scores = np.to_cpu(scores)  # (V,)
    order = (-scores).argsort(kind="stable")  # (V,)
    ranked = ((id_to_word[int(i)], float(scores[i])) for i in order)
    return [(word, score) for word, score in ranked if word not in left_out][:max(top, 0)]


def _printed(best):
    for word, score in best:
        print(f" {word}: {score}")
    return best
