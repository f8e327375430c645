"""How well a language model predicts a text."""
import inspect
import math

from common.batches import StripBatches
from common.np import np

STEPS_AT_ONCE = 500


def perplexity(model, corpus):
    """Predict every token of a text but the first exactly once, and return the perplexity.

    The text is read as one strip, the state carried from its beginning to its end. The state
    that the model has from training is put back afterwards, and dropout is off.

    Parameters
    ----------
    model : LanguageModel
    corpus : ndarray of int (n,)
        Ids on the device in use, n >= 2.

    Returns
    -------
    float
        exp of the mean cross entropy in nats over the n - 1 predictions.
    """
    nats = 0.0
    with model.fresh_state():
        for start in range(0, len(corpus) - 1, STEPS_AT_ONCE):
            stop = min(start + STEPS_AT_ONCE, len(corpus) - 1)
            xs, ts = corpus[start:stop], corpus[start + 1:stop + 1]  # (T,), (T,)
            nats += float(model.forward(xs[None], ts[None], train_flg=False)) * (stop - start)
    return math.exp(nats / (len(corpus) - 1))


def eval_perplexity(model, corpus, batch_size=10, time_size=35):
    """Return the perplexity in the book's way.

    The text is cut into `batch_size` strips, (n - 1) // batch_size tokens apart, and
    (n - 1) // (batch_size * time_size) batches are taken from them, so that the start of each
    strip is predicted without what came before it, and the rest of a last batch is left out. The model's
    state is used and changed: call `model.reset_state()` before and after.

    Parameters
    ----------
    model : BaseModel
        Dropout is switched off where `forward` has an argument `train_flg`.
    corpus : ndarray of int (n,)
    batch_size, time_size : int

    Returns
    -------
    float
        exp of the mean loss of the batches.
    """
    options = {"train_flg": False} if "train_flg" in inspect.signature(model.forward).parameters else {}
    batches = StripBatches(corpus[:-1], corpus[1:], batch_size, time_size)
    total = 0.0
    for _ in range(len(batches)):
        xs, ts = batches.next_batch()
        total += model.forward(xs, ts, **options)
    return float(np.exp(total / len(batches)))
