"""Two LSTM layers with dropout, and an output layer that shares the embedding's weights."""
from common.language_model.model import LanguageModel
from common.layers.initial import embedding_weight, recurrent_weights
from common.layers.lstm import TimeLSTM
from common.layers.time import TimeAffine, TimeDropout, TimeEmbedding
from common.np import DTypeLike, np


class BetterRnnlm(LanguageModel):
    """The improved LSTM language model of the book's chapter 6.

    Dropout between the layers (Zaremba et al. 2014) and weights shared by embedding and output
    layer (Inan et al. 2016, Press and Wolf 2017): the affine's W (H, V) is the transposed view
    of the embedding's (V, D), so D must equal H.

    Parameters
    ----------
    vocab_size : int
        V, number of words.
    wordvec_size, hidden_size : int
        D and H, equal.
    dropout_ratio : float
        In [0, 1).
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Raises
    ------
    ValueError
        wordvec_size and hidden_size differ, or dropout_ratio is not in [0, 1).
    """

    def __init__(self, vocab_size: int = 10000, wordvec_size: int = 650, hidden_size: int = 650,
                 dropout_ratio: float = 0.5, seed: int | None = None, dtype: DTypeLike = np.float32) -> None:
        if wordvec_size != hidden_size:
            raise ValueError(
                f"BetterRnnlm shares the embedding with the output layer: wordvec_size ({wordvec_size}) "
                f"and hidden_size ({hidden_size}) must be equal")
        super().__init__(vocab_size, seed)
        embed_W = embedding_weight(vocab_size, wordvec_size, dtype)  # (V, D)
        self.compose([
            TimeEmbedding(embed_W),
            TimeDropout(dropout_ratio),
            TimeLSTM(*recurrent_weights(wordvec_size, hidden_size, 4, dtype), stateful=True),
            TimeDropout(dropout_ratio),
            TimeLSTM(*recurrent_weights(hidden_size, hidden_size, 4, dtype), stateful=True),
            TimeDropout(dropout_ratio),
            TimeAffine(embed_W.T, np.zeros(vocab_size, dtype=dtype)),
        ])
