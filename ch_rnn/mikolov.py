"""The recurrent language model of Mikolov et al. (2010), "Recurrent neural network based language model"."""
from common.device.ids import Ids
from common.language_model.model import LanguageModel
from common.layers.base import Layer
from common.layers.initial import uniform
from common.layers.rnn import TimeRNN
from common.layers.time import TimeAffine
from common.np import Array, DTypeLike, np
from common.text.word_vectors import one_hot


class TimeOneHot(Layer):
    """Ids (N, T) as one-hot vectors (N, T, V).

    Parameters
    ----------
    vocab_size : int
        V.
    dtype : dtype
        Of the vectors.
    """

    def __init__(self, vocab_size: int, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        self.sizes = {"V": vocab_size}
        self.vocab_size = vocab_size
        self.dtype = dtype

    def forward(self, ids: Array | Ids) -> Array:
        """Map ids (N, T) to vectors (N, T, V)."""
        ids = self.expect_ids("ids", ids, ids.shape, self.vocab_size)
        return one_hot(ids, self.vocab_size, self.dtype)  # (N, T, V)

    def backward(self, dout: Array) -> None:
        """Return None: ids have no gradient."""


class MikolovRnnlm(LanguageModel):
    """Language model whose hidden layer reads a one-hot token joined with the state before.

    With w the one-hot token, s the state and y the distribution of the next token:

        s(t) = sigmoid([w(t), s(t-1)] U + b),  y(t) = softmax(s(t) W + c)

    The V upper rows of U are the Wx of an RNN layer, the H lower ones its Wh.

    Parameters
    ----------
    vocab_size : int
        V.
    hidden_size : int
        H.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Notes
    -----
    Weights and biases are drawn evenly from +-1 / sqrt(numbers that a unit reads), as torch.nn.Linear draws them.
    """

    def __init__(self, vocab_size: int, hidden_size: int = 128, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(vocab_size, seed)
        V, H = vocab_size, hidden_size
        hidden_bound, output_bound = (V + H)**-0.5, H**-0.5
        Wx, Wh, b = (uniform(shape, hidden_bound, dtype) for shape in ((V, H), (H, H), (H,)))
        W, c = (uniform(shape, output_bound, dtype) for shape in ((H, V), (V,)))
        self.compose([
            TimeOneHot(V, dtype),
            TimeRNN(Wx, Wh, b, stateful=True, activation="sigmoid"),
            TimeAffine(W, c),
        ])

    def draw_state(self) -> None:
        """Let the next forward, on a single text (N = 1), start from 0.1 times standard normal numbers."""
        b = self.layers[1].params[2]  # (H,)
        h = (0.1 * np.host_rng.standard_normal((1, len(b)))).astype(b.dtype)  # (1, H)
        self.set_state([(np.to_device(h),)])
