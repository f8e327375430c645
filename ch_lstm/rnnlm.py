"""An LSTM language model: embedding, LSTM, affine, softmax."""
from common.language_model.model import LanguageModel
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.lstm import TimeLSTM
from common.layers.time import TimeAffine, TimeEmbedding
from common.np import DTypeLike, np


class Rnnlm(LanguageModel):
    """LSTM language model of the book's chapter 6.

    Parameters
    ----------
    vocab_size : int
        V, number of words.
    wordvec_size : int
        D, size of a word vector.
    hidden_size : int
        H, size of the state.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.
    """

    def __init__(self, vocab_size: int = 10000, wordvec_size: int = 100, hidden_size: int = 100,
                 seed: int | None = None, dtype: DTypeLike = np.float32) -> None:
        super().__init__(vocab_size, seed)
        self.compose([
            TimeEmbedding(embedding_weight(vocab_size, wordvec_size, dtype)),
            TimeLSTM(*recurrent_weights(wordvec_size, hidden_size, 4, dtype), stateful=True),
            TimeAffine(*affine_weights(hidden_size, vocab_size, dtype)),
        ])
