"""The softmax over a sample of the vocabulary: an output layer of which a training step computes a part."""
import numpy

from common.device.ids import Ids
from common.layers.base import Layer
from common.layers.losses import SoftmaxWithLoss, where_counted
from common.layers.sparse import SparseGradient
from common.np import Array, ArrayLike, np


class UnigramSampler:
    """Draws words by their frequency in a text, and knows how likely a batch has each among its candidates.

    Candidates are the targets of the batch, R words of the text, and k words drawn from q, the frequencies to a power
    (0.75 in Mikolov et al. 2013, arXiv:1310.4546). With p the frequencies, both as shares of 1, word w is among them
    with the probability

        pi_w = 1 - (1 - p_w)^R (1 - q_w)^k

    Parameters
    ----------
    frequencies : array_like of int (V,)
        How often each word comes up in the text; one that does not counts as if it came up once.
    samples : int
        k, at least 1.
    power : float

    Attributes
    ----------
    words : int
        V, the number of words.

    Raises
    ------
    ValueError
        `samples` is below 1, or the frequencies are no row of numbers from 0.
    """

    def __init__(self, frequencies: ArrayLike, samples: int, power: float = 0.75) -> None:
        counts = counts_from_one("UnigramSampler", frequencies)  # (V,)
        if samples < 1:
            raise ValueError(f"UnigramSampler: samples is {samples}, wanted at least 1")
        self.samples, self.words = samples, len(counts)
        p, q = counts / counts.sum(), counts**power / (counts**power).sum()  # (V,), (V,)
        with numpy.errstate(divide="ignore"):  # a word that is all of the text is never missed
            self._missed_by_target, self._missed_by_draw = numpy.log1p(-p), numpy.log1p(-q)  # (V,), (V,)
        self._ends = np.to_device(q.cumsum())  # (V,)
        self._log_inclusion: dict[int, Array] = {}

    def draw(self) -> Array:
        """Draw k words, some of them perhaps several times: (k,) of int."""
        drawn = np.searchsorted(self._ends, np.rng.random((self.samples,)), side="right")  # (k,)
        return np.minimum(drawn, self.words - 1)  # the shares may add up to a little less than 1

    def log_inclusion(self, targets: int) -> Array:
        """Return log pi (V,), in float64, for a batch of R targets."""
        if targets not in self._log_inclusion:
            log_missed = targets * self._missed_by_target + self.samples * self._missed_by_draw  # (V,)
            self._log_inclusion[targets] = np.to_device(numpy.log(-numpy.expm1(log_missed)))
        return self._log_inclusion[targets]


class OutputWithSampledLoss(Layer):
    """The head of a network in training, by the sampled softmax: `OutputWithLoss` over a few of the words.

    C, the candidates, are the targets of the batch and the words of a sampler, each once. With the scores
    s_w = x W_w + b_w, a row of x whose target is t has the loss

        log sum_{w in C} exp(s_w - log pi_w) - (s_t - log pi_t)

    in nats. A word that is a candidate in one batch of ten counts ten times where it is one, so the sum is on average
    the one over all words (Bengio and Senecal 2008; Jean et al. 2015, arXiv:1412.2007). The loss itself is not the
    full one: a perplexity that is to be compared takes the whole softmax. R is the number of all targets of the batch.

    Parameters
    ----------
    output : TimeAffine
        Its parameters W (D, V) and b (V,) and its gradients are those of the head.
    sampler : UnigramSampler
        Of as many words.

    Raises
    ------
    ValueError
        The sampler is of another number of words.
    """

    ignore_label = -1

    def __init__(self, output: Layer, sampler: UnigramSampler) -> None:
        super().__init__()
        V = output.params[0].shape[1]
        if sampler.words != V:
            raise ValueError(f"{self._name}: the sampler has frequencies of {sampler.words} words, wanted those of {V}")
        self.params, self.grads, self.sizes = output.params, output.grads, output.sizes
        self.sampler, self.loss_layer = sampler, SoftmaxWithLoss()
        self.loss_layer.ignore_label = self.ignore_label

    def forward(self, xs: Array, ts: Array | Ids) -> Array:
        """Return the loss of targets ts given the input xs of the output layer.

        Parameters
        ----------
        xs : ndarray (N, T, D)
        ts : ndarray of int (N, T)
            Targets equal to `ignore_label` do not count, whatever xs is there.

        Returns
        -------
        0-d array or NumPy scalar
            Nats; 0 when no target counts.
        """
        W, b = self.params
        D, V = W.shape
        self.expect("xs", xs, ("N", "T", D))
        x = where_counted(self, xs, ts).reshape(-1, D)  # (n, D)
        ids = self.expect_integers("targets", ts, xs.shape[:-1]).reshape(-1)  # (n,)
        drawn, is_counted = self.sampler.draw(), ids != self.ignore_label  # (k,), (n,)
        targets = np.where(is_counted, ids, drawn[0])  # (n,)
        if not (isinstance(ts, Ids) and ts.lie_in(self.ignore_label, V - 1)):
            self.expect_range("targets", targets, V)
        candidates, is_first = _sorted_once(np.concatenate((targets, drawn)))  # (C,), (C,)
        W_c = W.T[candidates]  # (C, D)
        offset = b[candidates] - self.sampler.log_inclusion(len(ids))[candidates].astype(W.dtype)  # (C,)
        scores = self._product(x, W_c.T)  # (1), (n, C)
        scores += np.where(is_first, offset, -np.inf)  # (2)
        columns = np.where(is_counted, np.searchsorted(candidates, targets), self.ignore_label)  # (n,)
        self.cache = x, xs.shape, W_c, candidates
        return self.loss_layer.forward(scores, columns)  # (3)

    def backward(self, dout: float | Array = 1) -> Array:
        """Set dW and db, zeros but at the candidates, and return dxs (N, T, D)."""
        dW, db = self.grads
        x, shape, W_c, candidates = self.recall()
        dscores = self.loss_layer.backward(dout)  # (3), (n, C)
        places = np.searchsorted(candidates, candidates)  # (C,), of each candidate's first
        dW[...], db[...] = 0, 0
        db[candidates] = dscores.sum(axis=0)[places]  # (2)
        dW.T[candidates] = self._product(dscores.T, x)[places]  # (1)
        if np.backend == "numpy":
            self.sparse = [SparseGradient(dW, candidates, axis=1), SparseGradient(db, candidates)]
        return self._product(dscores, W_c).reshape(shape)  # (1), (N, T, D)

    def _options(self):
        return [f"samples={self.sampler.samples}"]


def counts_from_one(name: str, frequencies: ArrayLike) -> numpy.ndarray:
    """Return frequencies of words (V,), each at least 1, or raise a ValueError that begins with a name."""
    counts = numpy.asarray(frequencies)
    if counts.ndim != 1 or not counts.size or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"{name}: frequencies are {counts.dtype} of shape {counts.shape}, wanted whole numbers from 0 "
                         "of shape (V,)")
    return numpy.maximum(counts, 1)


def _sorted_once(ids):
    """Sort ids (n,), and leave each once; on a GPU, where their number would have to be waited for, mark its first.

    Returns
    -------
    ids : ndarray of int (C,)
    is_first : ndarray of bool (C,)
        Whether the id is not the one before it.
    """
    if np.backend == "numpy":
        ids = np.unique(ids)
        return ids, np.ones(ids.shape, dtype=bool)
    ids = np.sort(ids)
    return ids, np.concatenate((np.ones(1, dtype=bool), ids[1:] != ids[:-1]))
