"""The neural cache: at evaluation, words that followed similar states a short while ago become likelier."""
from collections.abc import Sequence

import numpy

from common.device.ids import Ids, known_ids
from common.language_model.model import STEPS_AT_ONCE, LanguageModel, expect_corpus
from common.np import Array, np
from common.training.metrics import safe_exp

PRODUCTS_AT_ONCE = 4_000_000  # of a block's states with those in the cache: 16 MB


def cache_perplexity(model: LanguageModel, corpus: Array | Ids, window: int, theta: float, lambda_: float) -> float:
    """Return the perplexity of a model with a cache. Grave, Joulin and Usunier 2017 (arXiv:1612.04426).

    With h_t the input of the output layer at step t,

        p(w) = (1 - lambda) p_vocab(w) + lambda p_cache(w),
        p_cache(w) = sum of exp(theta h_t . h_i) over the steps i with x_(i+1) = w / the same sum over all steps i,

    where i goes over the last `window` steps before t. At the first prediction the cache is empty, and only p_vocab
    counts. The text is read as `common.language_model.evaluate.perplexity` reads it.

    Parameters
    ----------
    model : LanguageModel
        Its state is put back afterwards.
    corpus : ndarray of int (n,), or Ids
        On any device, n >= 2.
    window : int
        At least 1.
    theta : float
        At least 0. With 0, p_cache is how frequent a word was in the window; the larger theta is, the more the most
        similar states count.
    lambda_ : float
        In [0, 1).

    Returns
    -------
    float
        exp of the mean cross entropy in nats over the n - 1 predictions; NaN where theta is too large for the dtype.

    Raises
    ------
    ValueError
        The corpus is no row of at least 2 ids, or a number is out of its range.
    """
    return cache_perplexities(model, corpus, window, [theta], [lambda_])[0][0]


def cache_perplexities(model: LanguageModel, corpus: Array | Ids, window: int, thetas: Sequence[float],
                       lambdas: Sequence[float]) -> list[list[float]]:
    """Return the perplexity with each theta, and there with each lambda, while the text is read once.

    Parameters
    ----------
    model, corpus, window
        As for `cache_perplexity`.
    thetas, lambdas : sequence of float
    """
    corpus = known_ids(corpus)
    expect_corpus("cache_perplexity", corpus)
    if not (window >= 1 and all(0 <= theta < np.inf for theta in thetas) and all(0 <= value < 1 for value in lambdas)):
        raise ValueError(f"cache_perplexity: window is {window}, theta {thetas}, lambda {lambdas}, wanted at least 1, "
                         "a number of at least 0 and one in [0, 1)")
    n = len(corpus) - 1
    steps = max(1, min(STEPS_AT_ONCE, PRODUCTS_AT_ONCE // min(window, n)))  # in a block
    weights = np.to_device(numpy.asarray(lambdas, dtype=numpy.float64))  # (L,)
    nats = np.zeros((len(thetas), len(lambdas)), dtype=np.float64)
    W = model.layers[-1].params[0]  # (H, V)
    hs_cached, words = np.empty((0, len(W)), dtype=W.dtype), np.empty(0, dtype=corpus.dtype)
    # The logarithm of a sum over no step is -infinity; where the whole cache is empty, p_cache is NaN until it is set.
    with model.fresh_state(), numpy.errstate(all="ignore"):
        for start in range(0, n, steps):
            stop = min(start + steps, n)
            hs = model.read(corpus[start:stop][None])[0]  # (T, H)
            ts = model.head.expect_ids("targets", corpus[start + 1:stop + 1], (stop - start,), model.vocab_size)  # (T,)
            scores = model.layers[-1].forward(hs[None])[0]  # (T, V)
            log_vocab = scores[np.arange(len(ts)), ts] - _log_sum_exp(scores)  # (T,)

            hs_cached = np.concatenate((hs_cached, hs))[-window - len(hs):]  # (C, H)
            words = np.concatenate((words, ts))[-window - len(ts):]  # (C,), what followed each of these states
            now = np.arange(start, stop)[:, None]  # (T, 1)
            before = np.arange(stop - len(words), stop)  # (C,)
            in_cache = (before < now) & (before >= now - window)  # (T, C)
            is_target = in_cache & (words == ts[:, None])  # (T, C)
            products = hs @ hs_cached.T  # (T, C)
            for i, theta in enumerate(thetas):
                similar = products * float(theta)  # (T, C)
                log_cache = _log_sum_exp(similar, is_target) - _log_sum_exp(similar, in_cache)  # (T,)
                if start == 0:
                    log_cache[0] = log_vocab[0]
                log_p = np.logaddexp(np.log1p(-weights) + log_vocab[:, None], np.log(weights) + log_cache[:, None])
                nats[i] -= log_p.sum(axis=0)  # of (T, L)
    return [[safe_exp(total / n) for total in row] for row in np.to_cpu(nats).tolist()]


def _log_sum_exp(scores, counted=None):
    """Return log(sum of exp(scores)) of each row (T,), over all columns or those that count; -infinity if none does."""
    if counted is not None:
        scores = np.where(counted, scores, -np.inf)
    largest = np.maximum(scores.max(axis=1), np.finfo(scores.dtype).min)  # (T,), finite, so that -inf minus it is -inf
    return largest + np.log(np.exp(scores - largest[:, None]).sum(axis=1))
