"""A language model whose recurrent layer is an RNN, a GRU or an LSTM: to compare them with each other."""
from common.language_model.model import LanguageModel
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.stack import CELLS
from common.layers.time import TimeAffine, TimeEmbedding
from common.np import DTypeLike, np


class CellRnnlm(LanguageModel):
    """Language model with one recurrent layer of any kind: embedding, RNN, GRU or LSTM, affine, softmax.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.
    """

    def __init__(self, cell: str, vocab_size: int, wordvec_size: int, hidden_size: int, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(vocab_size, seed)
        time_layer, gates = CELLS[cell]
        self.compose([
            TimeEmbedding(embedding_weight(vocab_size, wordvec_size, dtype)),
            time_layer(*recurrent_weights(wordvec_size, hidden_size, gates, dtype), stateful=True),
            TimeAffine(*affine_weights(hidden_size, vocab_size, dtype)),
        ])
