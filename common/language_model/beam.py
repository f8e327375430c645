"""Beam search: the likeliest texts of a language model, or answers of a decoder.

Of all prefixes of one length the K likeliest are kept, and each of them is extended by every token. A prefix that ends
in an end token is finished, and keeps its place among the K (Sutskever et al. 2014, arXiv:1409.3215, section 3.2).
"""
import dataclasses
import itertools
import math
import reprlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from common.errors import InputError
from common.language_model.generate import NOT_FINITE, prompt_ids
from common.language_model.model import LanguageModel
from common.np import Array, np

LARGEST_PENALTY = 10.0  # with more, little but the length would count


class Hypothesis(NamedTuple):
    """A text that a search found.

    Attributes
    ----------
    tokens : tuple of int
        What stands behind the prompt, with the end token where it has one.
    log_probability : float
        Of these tokens, in nats.
    score : float
        log_probability / len(tokens)^length_penalty, by which hypotheses are ranked.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def beam_search(model: LanguageModel, prompt: Sequence[int] | numpy.ndarray, length: int, beam: int,
                length_penalty: float = 0.0, end_ids: Sequence[int] = (), banned: Sequence[int] = (),
                n_best: int = 1) -> list[Hypothesis]:
    """Search the likeliest continuations of a prompt.

    The prompt is read once, from a state of zeros. The state that the model has from training is back in the end.

    Parameters
    ----------
    model : LanguageModel
    prompt : sequence of int (P,)
        At least one id.
    length, beam, length_penalty, end_ids, banned, n_best
        As for `search`.

    Returns
    -------
    list of Hypothesis
        The n best, the best first.

    Raises
    ------
    ValueError
        As for `search`, or the prompt is empty or holds what is not an id.
    """
    xs = prompt_ids(model, prompt, banned)  # (1, P)

    def step(parents, tokens):
        model.set_state([tuple(array[parents] for array in state if array is not None) for state in model.get_state()])
        return model.advance(tokens[:, None])  # (B, V)

    with model.fresh_state():
        (hypotheses,) = search(model.advance(xs), step, length, beam, length_penalty, end_ids, banned, n_best)
    return hypotheses


def search(scores: Array, step: Callable[[Array, Array], Array], length: int, beam: int, length_penalty: float = 0.0,
           end_ids: Sequence[int] = (), banned: Sequence[int] = (), n_best: int = 1) -> list[list[Hypothesis]]:
    """Search the likeliest continuations of N beginnings, all in one batch.

    Parameters
    ----------
    scores : ndarray (N, V)
        Of the first token behind each beginning.
    step : callable
        `step(parents, tokens)` reads a token behind each of B prefixes and returns the scores (B, V) of the next one.
        Prefix b goes on from row parents[b] of the scores that came last, with id tokens[b]; several may go on from
        one row. Both are ndarrays of int (B,), on the device in use.
    length : int
        Tokens to add, at most.
    beam : int
        K, hypotheses and prefixes that a search keeps. With 1 it takes the likeliest token each time.
    length_penalty : float
        The exponent alpha, from 0 to 10, in score = log p / length^alpha: 0 ranks by log p, which favours short texts,
        1 by the mean log p of a token (Wu et al. 2016, arXiv:1609.08144, section 7, before their equation 14, which
        has ((5 + length) / 6)^alpha in its place). All prefixes of a step are equally long, so it decides only between
        hypotheses.
    end_ids : sequence of int
        Ids that finish a text. Without any, each text has `length` tokens.
    banned : sequence of int
        Ids that never come. The log probabilities of the others stay those of the model.
    n_best : int
        Hypotheses to return of each search, at most K.

    Returns
    -------
    list of list of Hypothesis
        For each beginning the n best, the best first, or fewer where there are no more. Of equally good ones the lower
        ids come first.

    Raises
    ------
    ValueError
        An option is out of range, every id is banned, or a score is NaN or infinite.
    """
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores have shape {scores.shape}, wanted (N, V) with V at least 1")
    options = _Options(scores.shape[1], length, beam, length_penalty, end_ids, banned, n_best)
    searches = [_Search(options) for _ in range(len(scores))]
    for n in itertools.count(1):  # tokens of the prefixes to come
        log_p = log_probabilities(np.to_cpu(scores), banned)  # (B, V)
        parents, tokens, first = [], [], 0
        for each in searches:
            rows = slice(first, first + len(each.prefixes))
            chosen, ids = each.extend(log_p[rows], n)
            parents.append(rows.start + chosen)
            tokens.append(ids)
            first = rows.stop
        if not any(len(ids) for ids in tokens):
            break
        scores = step(np.to_device(numpy.concatenate(parents)),
                      np.to_device(numpy.concatenate(tokens).astype(numpy.int32)))  # (B, V)
    return [each.hypotheses[:n_best] for each in searches]


@dataclasses.dataclass(frozen=True)
class _Options:
    """What `search` is asked for; it refuses what is out of range."""

    vocab_size: int
    length: int
    beam: int
    length_penalty: float
    end_ids: Sequence[int]
    banned: Sequence[int]
    n_best: int

    def __post_init__(self):
        for name, most, words in (("length", math.inf, ""), ("beam", math.inf, ""),
                                  ("n_best", self.beam, f" to {self.beam}, the beam")):
            value = getattr(self, name)
            if not isinstance(value, int | numpy.integer) or not 1 <= value <= most:
                raise ValueError(f"{name} is {value!r}, wanted a whole number from 1{words}")
        if not 0 <= self.length_penalty <= LARGEST_PENALTY:
            raise ValueError(f"length_penalty is {self.length_penalty}, wanted a number from 0 to {LARGEST_PENALTY:g}")
        for name in "end_ids", "banned":
            ids = getattr(self, name)
            if not all(0 <= i < self.vocab_size and int(i) == i for i in ids):
                raise ValueError(f"{name} must be ids from 0 to {self.vocab_size - 1}, got "
                                 f"{reprlib.repr(numpy.asarray(ids).tolist())}")
        if len({int(i) for i in self.banned}) == self.vocab_size:
            raise ValueError("every token is banned, nothing is left to search")


class _Search:
    """One search.

    Attributes
    ----------
    hypotheses : list of Hypothesis
        The texts that are complete, the best first.
    prefixes : list of tuple of int
        Those that go on, in the order of their ids: so their extensions are in that order too, and of equally likely
        ones the first has the lower ids.
    log_p : numpy.ndarray of float64 (B,)
        Their log probabilities.
    """

    def __init__(self, options):
        self.options = options
        self.hypotheses: list[Hypothesis] = []
        self.prefixes: list[tuple[int, ...]] = [()]
        self.log_p = numpy.zeros(1)

    def extend(self, log_p, n):
        """Extend the prefixes by a token each.

        Parameters
        ----------
        log_p : numpy.ndarray (B, V)
            Of each token behind each prefix.
        n : int
            Tokens of the new prefixes.

        Returns
        -------
        parents, tokens : numpy.ndarray of int (B',)
            For each of the new prefixes the number of the one that it extends, and its last id.
        """
        options = self.options
        totals = (self.log_p[:, None] + log_p).ravel()  # (B V,)
        places = _largest(totals, options.beam - len(self.hypotheses))  # (C,)
        parents, tokens = numpy.divmod(places, log_p.shape[1])  # (C,)
        prefixes = [(*self.prefixes[parent], token) for parent, token in zip(parents.tolist(), tokens.tolist())]
        goes_on = ~numpy.isin(tokens, options.end_ids) & (n < options.length)  # (C,)
        for i in numpy.flatnonzero(~goes_on):
            total = float(totals[places[i]])
            self.hypotheses.append(Hypothesis(prefixes[i], total, total / n**options.length_penalty))
        self.hypotheses = sorted(self.hypotheses, key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens))
        if self._is_decided(totals[places[goes_on]]):
            goes_on[:] = False
        self.prefixes = [prefixes[i] for i in numpy.flatnonzero(goes_on)]
        self.log_p = totals[places[goes_on]]
        return parents[goes_on], tokens[goes_on]

    def _is_decided(self, log_p):
        """Whether no prefix, with log probabilities log_p (B,), can come among the n best any more.

        More tokens only lower a log probability, since none is above 0. Divided by a larger penalty it is nearer to 0,
        and the largest one is that of the full length. So no text with this prefix has a score above
        log p / length^alpha.
        """
        n_best, length, alpha = self.options.n_best, self.options.length, self.options.length_penalty
        return (len(log_p) > 0 and len(self.hypotheses) >= n_best
                and self.hypotheses[n_best - 1].score > log_p.max() / length**alpha)


def log_probabilities(scores: numpy.ndarray, banned: Sequence[int] = ()) -> numpy.ndarray:
    """Turn scores into log probabilities, in nats.

    Parameters
    ----------
    scores : numpy.ndarray (B, V)
    banned : sequence of int
        Ids that get minus infinity; those of the others do not change.

    Returns
    -------
    numpy.ndarray (B, V) of float64

    Raises
    ------
    InputError
        A score is NaN or infinite. Minus infinity is a token that never comes; a row of nothing else is refused.
    """
    scores = scores.astype(numpy.float64)  # (B, V)
    best = scores.max(axis=1, keepdims=True)  # (B, 1)
    if not numpy.isfinite(best).all():
        raise InputError(NOT_FINITE)
    with numpy.errstate(over="ignore"):  # a difference beyond the largest number is a token that never comes
        log_p = scores - best  # (B, V)
    log_p -= numpy.log(numpy.exp(log_p).sum(axis=1, keepdims=True))
    log_p[:, [int(i) for i in banned]] = -numpy.inf
    return log_p


def _largest(values, count):
    """Return the places of the largest values (n,) in ascending order; of equal values the first, never -infinity."""
    count = min(count, len(values))
    if count == 0:
        return numpy.empty(0, dtype=int)
    least = numpy.partition(values, -count)[-count]  # sorting only what may be among them saves time where V is large
    candidates = numpy.flatnonzero((values >= least) & (values > -numpy.inf))
    order = numpy.argsort(-values[candidates], kind="stable")[:count]
    return numpy.sort(candidates[order])
