"""Sampling text from a language model."""
import contextlib
import reprlib
from collections.abc import Generator, Sequence

import numpy

from common.errors import InputError
from common.language_model.model import LanguageModel
from common.np import Array, np

NOT_FINITE = ("the model's scores are not finite: its parameters are too large, train it again with a lower learning "
              "rate")


def generate(model: LanguageModel, prompt: Sequence[int] | numpy.ndarray, length: int, temperature: float = 1.0,
             top_k: int | None = None, top_p: float | None = None, greedy: bool = False, banned: Sequence[int] = (),
             samples: int = 1, rng: numpy.random.Generator | None = None) -> numpy.ndarray:
    """Continue a prompt by a number of tokens, each drawn from the model's prediction.

    Parameters
    ----------
    model, prompt, temperature, top_k, top_p, greedy, banned, samples, rng
        As for `generate_tokens`.
    length : int
        Tokens to add.

    Returns
    -------
    numpy.ndarray of int (S, length)

    Raises
    ------
    ValueError
        As for `generate_tokens`, or length is below 0.
    """
    if length < 0 or samples < 1:
        raise ValueError(f"length is {length} and samples {samples}, wanted at least 0 and at least 1")
    generated = numpy.empty((samples, length), dtype=numpy.int32)  # (S, length)
    tokens = generate_tokens(model, prompt, temperature, top_k, top_p, greedy, banned, samples, rng)
    with contextlib.closing(tokens):
        for position, chosen in zip(range(length), tokens):
            generated[:, position] = chosen
    return generated


def generate_tokens(model: LanguageModel, prompt: Sequence[int] | numpy.ndarray, temperature: float = 1.0,
                    top_k: int | None = None, top_p: float | None = None, greedy: bool = False,
                    banned: Sequence[int] = (), samples: int = 1,
                    rng: numpy.random.Generator | None = None) -> Generator[numpy.ndarray, None, None]:
    """Continue a prompt, and yield each token as it is drawn, without end.

    The prompt is read once, from a state of zeros, in memory that grows neither with its length times V nor with the
    number of samples. The state that the model has from training is back when the generator is closed.

    Parameters
    ----------
    model : LanguageModel
    prompt : sequence of int (P,)
        At least one id.
    temperature, top_k, top_p, banned
        See `next_probabilities`.
    greedy : bool
        Take the most likely token each time instead of drawing.
    samples : int
        S, how many continuations to draw at once.
    rng : numpy.random.Generator, optional
        By default `np.host_rng`.

    Yields
    ------
    numpy.ndarray of int (S,)

    Raises
    ------
    ValueError
        The prompt is empty or holds what is not an id, a banned id is outside the vocabulary, or samples is below 1.
    """
    rng = rng or np.host_rng
    xs = prompt_ids(model, prompt, banned)  # (1, P)
    if samples < 1:
        raise ValueError(f"samples is {samples}, wanted at least 1")
    with model.fresh_state():
        scores = model.advance(xs)  # (1, V)
        scores = np.repeat(scores, samples, axis=0)  # (S, V)
        model.set_state([tuple(np.repeat(array, samples, axis=0) for array in state if array is not None)
                         for state in model.get_state()])
        while True:
            probabilities = next_probabilities(np.to_cpu(scores), temperature, top_k, top_p, banned)  # (S, V)
            chosen = probabilities.argmax(axis=1) if greedy else draw(probabilities, rng)  # (S,)
            yield chosen
            scores = model.advance(np.to_device(chosen.astype(numpy.int32)[:, None]))  # (S, V)


def prompt_ids(model: LanguageModel, prompt: Sequence[int] | numpy.ndarray, banned: Sequence[int]) -> Array:
    """Return a prompt (P,) as ids (1, P) on the device in use.

    Raises
    ------
    ValueError
        The prompt is empty, or it or `banned` holds what is no id of the model.
    """
    if not len(prompt) or not all(0 <= i < model.vocab_size and int(i) == i for i in (*prompt, *banned)):
        given = " and ".join(reprlib.repr(numpy.asarray(ids).tolist()) for ids in (prompt, banned))
        raise ValueError(f"prompt and banned must be ids from 0 to {model.vocab_size - 1}, with one in the prompt at "
                         f"least, got {given}")
    return np.to_device(numpy.asarray(prompt, dtype=numpy.int32)[None])


def next_probabilities(scores: numpy.ndarray, temperature: float = 1.0, top_k: int | None = None,
                       top_p: float | None = None, banned: Sequence[int] = ()) -> numpy.ndarray:
    """Turn scores into the probabilities to draw from.

    Parameters
    ----------
    scores : numpy.ndarray (S, V)
    temperature : float
        Scores are divided by it: below 1 the likely tokens become likelier.
    top_k : int, optional
        Keep the k most likely tokens only (Fan et al. 2018).
    top_p : float, optional
        Keep the smallest set of most likely tokens that together reach this probability
        (nucleus sampling, Holtzman et al. 2020).
    banned : sequence of int
        Ids that never come.

    Returns
    -------
    numpy.ndarray (S, V) of float64

    Raises
    ------
    ValueError
        There are no scores, temperature is not above 0, top_k is below 1, top_p is not in (0, 1], every id is banned, a
        banned id is outside the vocabulary, or a score is NaN or infinite.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, wanted a number above 0; greedy takes the likeliest token")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}, wanted at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, wanted a number above 0 and up to 1")
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"scores have shape {scores.shape}, wanted (S, V), and no axis may be empty")
    if not all(0 <= i < scores.shape[1] for i in banned):
        raise ValueError(f"banned must be ids from 0 to {scores.shape[1] - 1}, got {list(banned)}")
    scores = scores.astype(numpy.float64)  # (S, V)
    if not (scores < numpy.inf).all():  # NaN or infinity; minus infinity is a token that never comes
        raise InputError(NOT_FINITE)
    scores[:, [int(i) for i in banned]] = -numpy.inf
    best = scores.max(axis=1, keepdims=True)  # (S, 1)
    if numpy.isneginf(best).any():
        raise ValueError("every token is banned, nothing is left to draw")
    with numpy.errstate(over="ignore"):  # a tiny temperature sends all but the best to -infinity
        probabilities = numpy.exp((scores - best) / temperature)  # (S, V)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    if top_k is not None or top_p is not None:
        order = numpy.argsort(-probabilities, axis=1, kind="stable")  # (S, V)
        ranked = numpy.take_along_axis(probabilities, order, axis=1)  # (S, V)
        if top_k is not None:
            ranked[:, top_k:] = 0
            ranked /= ranked.sum(axis=1, keepdims=True)
        if top_p is not None:
            before = numpy.cumsum(ranked, axis=1) - ranked  # (S, V)
            ranked[before >= top_p] = 0
        numpy.put_along_axis(probabilities, order, ranked, axis=1)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def draw(probabilities: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Draw one id from each row.

    Parameters
    ----------
    probabilities : numpy.ndarray (S, V)
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray of int (S,)
    """
    cumulative = numpy.cumsum(probabilities, axis=1)  # (S, V)
    points = rng.random((len(probabilities), 1)) * cumulative[:, -1:]  # (S, 1)
    return (cumulative <= points).sum(axis=1)  # (S,)
