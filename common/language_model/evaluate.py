"""The perplexity of a language model on a text, and the answers of a sequence-to-sequence model."""
import inspect
from typing import Any

from common.base_model import BaseModel
from common.device.ids import Ids, known_ids
from common.language_model.model import STEPS_AT_ONCE, LanguageModel, expect_corpus
from common.np import Array, np
from common.training.batches import StripBatches
from common.training.epochs import RunningMean
from common.training.metrics import format_perplexity, safe_exp

# format_perplexity and safe_exp are defined in common.training.metrics, since the trainers need them too.
__all__ = ["eval_perplexity", "eval_seq2seq", "format_perplexity", "perplexity", "safe_exp"]


def perplexity(model: LanguageModel, corpus: Array | Ids) -> float:
    """Predict every token of a text but the first exactly once, and return the perplexity.

    The text is read as one strip, the state carried from its beginning to its end. The state
    that the model has from training is put back afterwards, and dropout is off.

    Parameters
    ----------
    model : LanguageModel
    corpus : ndarray of int (n,), or Ids
        On any device, n >= 2.

    Returns
    -------
    float
        exp of the mean cross entropy in nats over the n - 1 predictions.

    Raises
    ------
    ValueError
        The corpus is no row of at least 2 ids.
    """
    corpus, nats = known_ids(corpus), np.zeros((), dtype=np.float64)
    expect_corpus("perplexity", corpus)
    with model.fresh_state():
        for start in range(0, len(corpus) - 1, STEPS_AT_ONCE):
            stop = min(start + STEPS_AT_ONCE, len(corpus) - 1)
            xs, ts = corpus[start:stop], corpus[start + 1:stop + 1]  # (T,), (T,)
            loss = model.forward(xs[None], ts[None], train_flg=False, gradients=False)
            nats += loss.astype(np.float64) * (stop - start)
    return safe_exp(float(nats) / (len(corpus) - 1))


def eval_perplexity(model: BaseModel, corpus: Array | Ids, batch_size: int = 10, time_size: int = 35) -> float:
    """Return the perplexity in the book's way.

    The text is cut into `batch_size` strips, (n - 1) // batch_size tokens apart, and
    (n - 1) // (batch_size * time_size) batches are taken from them, so that the start of each
    strip is predicted without what came before it, and the rest of a last batch is left out. The model's
    state is used and changed: call `model.reset_state()` before and after.

    Parameters
    ----------
    model : BaseModel
        Where `forward` has an argument `train_flg` or `gradients`, it is False: neither dropout nor a backward. On a
        GPU it gets `common.device.ids.Ids`; `.array` is the array.
    corpus : ndarray of int (n,), or Ids
        On any device.
    batch_size, time_size : int

    Returns
    -------
    float
        exp of the mean loss of the batches, which are added up in float64.

    Raises
    ------
    ValueError
        The corpus is no row of at least 2 ids, or too short for one batch.
    """
    expect_corpus("eval_perplexity", corpus)
    options = dict.fromkeys({"train_flg", "gradients"} & inspect.signature(model.forward).parameters.keys(), False)
    batches = StripBatches(corpus[:-1], corpus[1:], batch_size, time_size)
    mean = RunningMean()
    for xs, ts in batches:
        mean.add(model.forward(xs, ts, **options))
    return safe_exp(mean.value)


def eval_seq2seq(model: Any, question: Array, correct: Array, id_to_char: dict[int, str], verbose: bool = False,
                 is_reverse: bool = False) -> int:
    """Let a sequence-to-sequence model answer one question, greedily, and say whether all of it is right.

    Parameters
    ----------
    model : object
        With `generate(question, start_id, sample_size)`, which returns that many ids.
    question : ndarray of int (1, T)
    correct : ndarray of int (1, U)
        The right answer, behind the id that tells the decoder to start.
    id_to_char : dict of int to str
    verbose : bool
        Whether to print question, answer and guess.
    is_reverse : bool
        Whether `question` is back to front; it is printed the right way round.

    Returns
    -------
    int
        1 when every character is right, else 0.
    """
    start_id, *answer = np.to_cpu(correct).reshape(-1).tolist()
    guess = [int(char_id) for char_id in model.generate(question, start_id, len(answer))]
    is_right = guess == answer
    if verbose:
        question = np.to_cpu(question).reshape(-1)
        asked, wanted, given = ("".join(id_to_char[char_id] for char_id in ids)
                                for ids in ((question[::-1] if is_reverse else question).tolist(), answer, guess))
        print(f"Q {asked}\nT {wanted}\n{'O' if is_right else 'X'} {given}\n---")
    return 1 if is_right else 0
