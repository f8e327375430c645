"""The base of every language model: a stack of layers from ids to scores, and a loss on top."""
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy

from common.base_model import BaseModel
from common.device.ids import Ids
from common.layers.base import Layer
from common.layers.losses import OutputWithLoss
from common.layers.sampled_softmax import OutputWithSampledLoss, UnigramSampler, counts_from_one
from common.layers.sparse import SparseGradient
from common.layers.time import TimeSoftmaxWithLoss
from common.np import Array, ArrayLike, np
from common.text.ppmi import ppmi_vectors

STEPS_AT_ONCE = 500  # of a long text that is only read


class LanguageModel(BaseModel):
    """Predicts each next token from all before it: ids (N, T) to scores (N, T, V).

    A subclass gives its layers, from an embedding to a `TimeAffine` of V outputs, to `compose`. `layers` lead from ids
    to scores, and `head` joins the last of them with the loss.
    Its recurrent layers carry their state from call to call.

    Parameters
    ----------
    vocab_size : int
    seed : int or None
        Restarts the random generators, from which weights and dropout masks are drawn; None leaves them alone.
    """

    def __init__(self, vocab_size: int, seed: int | None = None) -> None:
        super().__init__(seed)
        self.vocab_size = vocab_size

    def compose(self, layers: list[Layer]) -> None:
        """Take the layers, from ids to scores, and a loss for the scores.

        Parameters
        ----------
        layers : list of Layer
            The last one is the output layer.
        """
        self.layers = layers
        self.head = OutputWithLoss(layers[-1], TimeSoftmaxWithLoss())
        self.sampled_head: OutputWithSampledLoss | None = None
        self.sampled_form = OutputWithSampledLoss
        self._last_head: Layer = self.head
        self.collect_params()

    def sample_softmax(self, sampler: UnigramSampler | None) -> None:
        """Let each training forward from now on take the softmax over its targets and some drawn words only.

        A forward with `train_flg=False` takes all words, as before.

        Parameters
        ----------
        sampler : UnigramSampler or None
            None: take all words in training too.
        """
        output: Any = self.layers[-1]
        self.sampled_head = None if sampler is None else self.sampled_form(output, sampler)

    def start_from_frequencies(self, frequencies: ArrayLike) -> None:
        """Set the output bias to the logarithms of the tokens' shares of a text.

        Before it has learnt anything, the model then expects each token as often as it comes up there. Optimizers
        whose steps do not grow with the gradient, as Adam's, take epochs to bring the biases there by themselves.

        Parameters
        ----------
        frequencies : array_like of int (V,)
            How often each token comes up; one that does not counts as if it came up once.

        Raises
        ------
        ValueError
            The frequencies are no row of numbers from 0.
        """
        counts = counts_from_one("start_from_frequencies", frequencies)  # (V,)
        self.layers[-1].params[1][...] = np.to_device(numpy.log(counts / counts.sum()))

    def start_from_ppmi(self, ids: ArrayLike) -> None:
        """Set the embedding to word vectors that are counted in a text, scaled to the spread that it has.

        Words in similar company are then near each other before the training begins; with tied weights, so are their
        scores. See `common.text.ppmi`. A text in which no two words are near each other more often than by chance
        leaves the embedding as it is.

        Parameters
        ----------
        ids : array_like of int (n,)
            The text, on the host.
        """
        W = self.layers[0].params[0]  # (V, D)
        vectors = ppmi_vectors(ids, *W.shape)  # (V, D)
        if vectors.any():
            W[...] = np.to_device(vectors * (float(W.std()) / vectors.std()))

    @property
    def sparse(self) -> list[SparseGradient]:
        """Gradients of the head's last backward that are zero in most rows."""
        return self._last_head.sparse

    def forget(self) -> None:
        """Let `backward` raise until the next `forward`, as the layers now keep another input than the loss."""
        self._last_head.cache = None

    def predict(self, xs: Array | Ids, train_flg: bool = False) -> Array:
        """Map ids xs (N, T) to the scores (N, T, V) of each next token; `backward` needs a new `forward` after it.

        Parameters
        ----------
        xs : ndarray of int (N, T)
        train_flg : bool
            Whether dropout is on.
        """
        self.forget()
        return self._through(self.layers, xs, train_flg)

    def read(self, xs: Array | Ids) -> Array:
        """Read ids xs (N, T) without dropout, and return the input (N, T, H) of the output layer at each step.

        `backward` needs a new `forward` after it.
        """
        self.forget()
        return self._through(self.layers[:-1], xs, False)

    def advance(self, xs: Array | Ids) -> Array:
        """Read ids xs (N, T) and return the scores (N, V) of the token that follows; `backward` needs a new `forward`.

        Long texts are read a block of steps at a time, and scores are computed behind the last step only: the memory
        that it takes does not grow with T.

        Parameters
        ----------
        xs : ndarray of int (N, T)
        """
        for start in range(0, xs.shape[1], STEPS_AT_ONCE):
            hs = self.read(xs[:, start:start + STEPS_AT_ONCE])  # (N, steps, H)
        return self.layers[-1].forward(hs[:, -1:])[:, 0]  # (N, V)

    def forward(self, xs: Array | Ids, ts: Array | Ids, train_flg: bool = True, gradients: bool = True) -> Array:
        """Return the mean cross entropy, in nats, of targets ts (N, T) after ids xs (N, T).

        Parameters
        ----------
        xs, ts : ndarray of int (N, T)
            Targets of -1 do not count.
        train_flg : bool
            Whether dropout is on.
        gradients : bool
            Whether a `backward` may follow, with dropout or without; if none may, an evaluation takes less time.
        """
        return self._loss(self._through(self.layers[:-1], xs, train_flg), ts, train_flg, gradients)

    def _loss(self, hs, ts, train_flg, gradients):
        """Return the loss of targets ts given the input hs of the output layer."""
        if train_flg and self.sampled_head is not None:
            self._last_head = self.sampled_head
            return self.sampled_head.forward(hs, ts)
        self._last_head = self.head
        return self.head.forward(hs, ts, gradients)

    def backward(self, dout: float | Array = 1) -> None:
        """Set all gradients of the last forward, times dout."""
        dout = self._last_head.backward(dout)
        for layer in reversed(self.layers[:-1]):
            dout = layer.backward(dout)

    def _through(self, layers, xs, train_flg):
        for layer in layers:
            if hasattr(layer, "train_flg"):
                layer.train_flg = train_flg
            xs = layer.forward(xs)
        return xs

    @property
    def recurrent_layers(self) -> list[Any]:
        """The layers that carry a state."""
        return [layer for layer in self.layers if hasattr(layer, "reset_state")]

    def reset_state(self) -> None:
        """Let the next forward start from zeros."""
        for layer in self.recurrent_layers:
            layer.reset_state()

    def get_state(self) -> list[tuple[Array | None, ...]]:
        """Return the carried states: for each recurrent layer a tuple, (h,) or (h, c)."""
        return [layer.state for layer in self.recurrent_layers]

    def set_state(self, states: list[tuple[Array | None, ...]]) -> None:
        """Put states that `get_state` returned back."""
        for layer, state in zip(self.recurrent_layers, states, strict=True):
            layer.set_state(*state)

    @contextlib.contextmanager
    def fresh_state(self) -> Iterator[None]:
        """Within the block the state starts from zeros; after it the old one is back.

        A `backward` then needs a new `forward`.
        """
        states = self.get_state()
        self.reset_state()
        try:
            yield
        finally:
            self.set_state(states)
            self.forget()


def expect_corpus(name: str, corpus: Array | Ids) -> None:
    """Check that a corpus is a row of ids in which something is predicted."""
    if corpus.ndim != 1 or len(corpus) < 2:
        raise ValueError(f"{name}: the corpus has shape {corpus.shape}, wanted (n,) of at least 2 ids: "
                         "the first one is not predicted")
