"""The AWD-LSTM: several LSTM layers, and everything that keeps them from learning a text by heart."""
import itertools

from common.device.ids import Ids
from common.language_model.model import LanguageModel
from common.layers.base import Layer
from common.layers.dense import checked_dropout_ratio
from common.layers.initial import uniform
from common.layers.regularization import (
    ActivationRegularization,
    TemporalActivationRegularization,
    TimeEmbeddingDropout,
    TimeLockedDropout,
)
from common.layers.time import TimeAffine
from common.layers.weight_drop import TimeWeightDropLSTM
from common.np import Array, DTypeLike, np


class AwdLstm(LanguageModel):
    """The regularised LSTM language model of Merity, Keskar and Socher 2018 (arXiv:1708.02182).

    Dropout of whole words, locked dropout before, between and after the LSTM layers, and dropout of their recurrent
    weights. With tied weights the output layer's W (D, V) is the transposed view of the embedding's (V, D), and the
    last LSTM layer has D units, however many the others have. The defaults are those that the paper trains on the
    Penn Treebank with.

    `forward` returns the cross entropy alone; `backward` adds the gradients of two more terms: alpha mean(h^2) of the
    states behind the last dropout, and beta mean((h_t - h_t-1)^2) of those before it. Without training
    (`train_flg=False`) there is no mask and no term.

    Parameters
    ----------
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    layers : int
        L, number of LSTM layers.
    tied : bool
        Whether embedding and output layer share their weights.
    dropout_ratio : float
        Of the output of the last LSTM layer.
    hidden_dropout : float
        Between two LSTM layers.
    input_dropout : float
        Of the embedded input.
    embedding_dropout : float
        Of whole words.
    weight_drop : float
        Of the elements of each Wh. All ratios are in [0, 1).
    alpha, beta : float
        Weights of the terms.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Attributes
    ----------
    penalty : 0-d array, NumPy scalar or None
        The two terms of the last forward, added up; None where there were none.

    Raises
    ------
    ValueError
        There is no layer, a ratio is not in [0, 1), or alpha or beta is negative or not finite.

    Notes
    -----
    Weights are drawn evenly as in the paper's code: embedding and output from +-0.1, an LSTM of H units from
    +-1 / sqrt(H).
    """

    def __init__(self, vocab_size: int = 10000, wordvec_size: int = 400, hidden_size: int = 1150, layers: int = 3,
                 tied: bool = True, dropout_ratio: float = 0.4, hidden_dropout: float = 0.25,
                 input_dropout: float = 0.4, embedding_dropout: float = 0.1, weight_drop: float = 0.5,
                 alpha: float = 2.0, beta: float = 1.0, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        if layers < 1:
            raise ValueError(f"AwdLstm: layers is {layers}, wanted at least 1")
        for name, ratio in (("dropout_ratio", dropout_ratio), ("hidden_dropout", hidden_dropout),
                            ("input_dropout", input_dropout), ("embedding_dropout", embedding_dropout)):
            checked_dropout_ratio(ratio, name)
        self.small_term, self.slow_term = ActivationRegularization(alpha), TemporalActivationRegularization(beta)
        self.penalty: Array | None = None
        super().__init__(vocab_size, seed)
        embed_W = uniform((vocab_size, wordvec_size), 0.1, dtype)  # (V, D)
        sizes = [wordvec_size, *[hidden_size] * (layers - 1), wordvec_size if tied else hidden_size]
        stack: list[Layer] = [TimeEmbeddingDropout(embed_W, embedding_dropout), TimeLockedDropout(input_dropout)]
        for below, size in itertools.pairwise(sizes):
            Wx, Wh, b = (uniform(shape, size**-0.5, dtype)
                         for shape in ((below, 4 * size), (size, 4 * size), (4 * size,)))
            stack.append(TimeWeightDropLSTM(Wx, Wh, b, stateful=True, weight_drop=weight_drop))
            stack.append(TimeLockedDropout(hidden_dropout))
        stack[-1] = TimeLockedDropout(dropout_ratio)
        W = embed_W.T if tied else uniform((hidden_size, vocab_size), 0.1, dtype)  # (D, V), or (H, V)
        self.compose([*stack, TimeAffine(W, np.zeros(vocab_size, dtype=dtype))])

    def forward(self, xs: Array | Ids, ts: Array | Ids, train_flg: bool = True, gradients: bool = True) -> Array:
        """Return the mean cross entropy, as `LanguageModel.forward`, and in training compute the terms."""
        hs = self._through(self.layers[:-2], xs, train_flg)  # (N, T, D), or (N, T, H)
        dropped = self._through(self.layers[-2:-1], hs, train_flg)  # as hs
        self.penalty = None
        if train_flg and gradients:
            self.penalty = self.small_term.forward(dropped) + self.slow_term.forward(hs)
        return self._loss(dropped, ts, train_flg, gradients)

    def backward(self, dout: float | Array = 1) -> None:
        """Set all gradients of the last forward, those of the loss and in training of the terms, times dout."""
        dhs = self._last_head.backward(dout)
        if self.penalty is not None:
            dhs = dhs + self.small_term.backward(dout)
        dhs = self.layers[-2].backward(dhs)
        if self.penalty is not None:
            dhs = dhs + self.slow_term.backward(dout)
        for layer in reversed(self.layers[:-2]):
            dhs = layer.backward(dhs)
