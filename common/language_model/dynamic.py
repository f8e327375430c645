"""Dynamic evaluation: while a model reads a text, it learns from what it has just predicted."""
import contextlib
import itertools
from collections.abc import Iterator

import numpy

from common.device.ids import Ids, known_ids
from common.language_model.model import LanguageModel, expect_corpus
from common.np import Array, np
from common.optimizer import Optimizer
from common.training.batches import StripBatches
from common.training.clip import remove_duplicate, unique_params
from common.training.epochs import training_step
from common.training.metrics import safe_exp


def dynamic_perplexity(model: LanguageModel, corpus: Array | Ids, optimizer: Optimizer, time_size: int = 5) -> float:
    """Return the perplexity of a model that is updated after each segment of the text.

    Krause, Kahembwe, Murray and Renals 2018 (arXiv:1709.07432). Each token but the first is predicted once, before the
    update that learns from it. The text is read as one strip, the state carried from its beginning to its end, and
    dropout is off.

    Parameters
    ----------
    model : LanguageModel
        Its parameters and its state are put back afterwards, bit for bit.
    corpus : ndarray of int (n,), or Ids
        On any device, n >= 2.
    optimizer : Optimizer
        `SGD`, or `RmsWithDecay`. The loss is the mean over the steps of a segment.
    time_size : int
        T, steps of a segment.

    Returns
    -------
    float
        exp of the mean cross entropy in nats over the n - 1 predictions; NaN or infinity where the updates were too
        large.

    Raises
    ------
    ValueError
        The corpus is no row of at least 2 ids, or `time_size` is below 1.
    """
    corpus, nats = known_ids(corpus), np.zeros((), dtype=np.float64)
    expect_corpus("dynamic_perplexity", corpus)
    if time_size < 1:
        raise ValueError(f"dynamic_perplexity: time_size is {time_size}, wanted at least 1")
    with model.fresh_state(), restored(model.params), numpy.errstate(all="ignore"):
        for start in range(0, len(corpus) - 1, time_size):
            stop = min(start + time_size, len(corpus) - 1)
            xs, ts = corpus[start:stop], corpus[start + 1:stop + 1]  # (T,), (T,)
            loss = training_step(model, optimizer, xs[None], ts[None], train_flg=False)
            nats += loss.astype(np.float64) * (stop - start)
    return safe_exp(float(nats) / (len(corpus) - 1))


class RmsWithDecay(Optimizer):
    """Krause et al.'s update: gradients divided by their size in training, and a way back to the trained parameters.

    w <- w - lr g / (sqrt(ms) + eps) + min(decay r, 1) (w_trained - w), where ms is the mean squared gradient and
    r = sqrt(ms) / (its mean over all parameters): what learnt fast in training is also drawn back fast.

    Parameters
    ----------
    params : list of ndarray
        As they are now, trained; one memory may be there twice.
    mean_squares : list of ndarray
        What `mean_squared_gradients` returned.
    lr, decay, eps : float

    Raises
    ------
    ValueError
        A number is negative, infinite or NaN.
    """

    memories = 3

    def __init__(self, params: list[Array], mean_squares: list[Array], lr: float, decay: float = 0.001,
                 eps: float = 1e-3) -> None:
        super().__init__(lr)
        if not (0 <= decay < np.inf and 0 <= eps < np.inf):
            raise ValueError(f"RmsWithDecay: decay is {decay} and eps {eps}, wanted numbers of at least 0")
        sizes = [np.sqrt(square) for square in mean_squares]
        mean = sum(float(size.sum(dtype=np.float64)) for size in sizes) / sum(size.size for size in sizes)
        rate = decay / mean if mean else 0.0
        self.state = [[size + float(eps), np.minimum(size * rate, 1), param.copy()]
                      for param, size in zip(unique_params(params), sizes, strict=True)]

    def update_one(self, param: Array, grad: Array, size: Array, rate: Array, trained: Array) -> None:
        step = self.lr * grad / size
        param += rate * (trained - param) - step


def mean_squared_gradients(model: LanguageModel, corpus: Array | Ids, time_size: int = 5, batch_size: int = 100,
                           batches: int | None = None) -> list[Array]:
    """Return the mean of each parameter's squared gradients over the batches of a text, with dropout off.

    Parameters
    ----------
    model : LanguageModel
        Its state is put back afterwards; its gradients are others then.
    corpus : ndarray of int (n,), or Ids
        The training text, n >= 2.
    time_size, batch_size : int
        T and N, the most of each: a short text has fewer.
    batches : int, optional
        Only the first ones, at least 1.

    Returns
    -------
    list of ndarray
        For each memory in `model.params` once.
    """
    expect_corpus("mean_squared_gradients", corpus)
    T = min(time_size, len(corpus) - 1)
    strips = StripBatches(corpus[:-1], corpus[1:], min(batch_size, (len(corpus) - 1) // T), T)
    means = [np.zeros_like(param) for param in unique_params(model.params)]
    with model.fresh_state():
        for count, (xs, ts) in enumerate(itertools.islice(strips, batches), start=1):
            model.forward(xs, ts, train_flg=False)
            model.backward()
            for mean, grad in zip(means, remove_duplicate(model.params, model.grads)[1], strict=True):
                mean += (grad * grad - mean) / count
    return means


@contextlib.contextmanager
def restored(params: list[Array]) -> Iterator[None]:
    """Put parameters back after the block to what they were before it."""
    params = unique_params(params)
    before = [param.copy() for param in params]
    try:
        yield
    finally:
        for param, array in zip(params, before):
            param[...] = array
