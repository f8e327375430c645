"""A language model of any recurrent cell and any number of layers."""
from common.language_model.model import LanguageModel
from common.layers.base import Layer
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.stack import CELLS
from common.layers.time import TimeAffine, TimeDropout, TimeEmbedding
from common.np import DTypeLike, np


class CellRnnlm(LanguageModel):
    """Language model of recurrent layers of one kind: embedding, RNN, GRU or LSTM layers, affine, softmax.

    The book's models are three of these: `SimpleRnnlm` has one RNN layer, `Rnnlm` one LSTM layer, `BetterRnnlm` two
    LSTM layers with dropout and tied weights.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    layers : int
        L, number of recurrent layers.
    tied : bool
        Whether the output layer's W (H, V) is the transposed view of the embedding's (V, D), so that D must equal H
        (Inan et al. 2016, Press and Wolf 2017).
    dropout_ratio : float
        In [0, 1), of the inputs of the recurrent layers and of the output layer (Zaremba et al. 2014).
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Raises
    ------
    ValueError
        There is no such cell, there is no layer, `tied` and D differs from H, or dropout_ratio is not in [0, 1).
    """

    def __init__(self, cell: str, vocab_size: int, wordvec_size: int, hidden_size: int, layers: int = 1,
                 tied: bool = False, dropout_ratio: float = 0.0, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        if cell not in CELLS:
            raise ValueError(f"CellRnnlm: cell is {cell!r}, wanted one of {', '.join(CELLS)}")
        if layers < 1:
            raise ValueError(f"CellRnnlm: layers is {layers}, wanted at least 1")
        if tied and wordvec_size != hidden_size:
            raise ValueError(f"tied weights need a wordvec_size ({wordvec_size}) equal to hidden_size ({hidden_size})")
        super().__init__(vocab_size, seed)
        time_layer, gates = CELLS[cell]
        embed_W = embedding_weight(vocab_size, wordvec_size, dtype)  # (V, D)
        stack: list[Layer] = [TimeEmbedding(embed_W)]
        for size in [wordvec_size, *[hidden_size] * (layers - 1)]:
            if dropout_ratio:
                stack.append(TimeDropout(dropout_ratio))
            stack.append(time_layer(*recurrent_weights(size, hidden_size, gates, dtype), stateful=True))
        if dropout_ratio:
            stack.append(TimeDropout(dropout_ratio))
        if tied:
            stack.append(TimeAffine(embed_W.T, np.zeros(vocab_size, dtype=dtype)))
        else:
            stack.append(TimeAffine(*affine_weights(hidden_size, vocab_size, dtype)))
        self.compose(stack)
