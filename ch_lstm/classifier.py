"""A classifier of sequences: embedding, recurrent layer, its last real state into an affine layer."""
from common.base_model import BaseModel
from common.device.ids import Ids
from common.layers.dense import Affine
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.losses import SoftmaxWithLoss
from common.layers.stack import CELLS
from common.layers.time import TimeDropout, TimeEmbedding, TimeLast
from common.np import Array, ArrayLike, DTypeLike, np


class SequenceClassifier(BaseModel):
    """Gives each sequence of ids one of K classes.

    ::

        ids (N, T) -> TimeEmbedding -> TimeLSTM -> state of the last real step -> Affine -> scores (N, K)

    Dropout stands before the recurrent layer and before the affine one (Zaremba et al. 2014).

    Parameters
    ----------
    vocab_size : int
        V, number of different ids.
    wordvec_size, hidden_size : int
        D and H.
    classes : int
        K.
    cell : {"lstm", "gru", "rnn"}
        The recurrent layer.
    dropout_ratio : float
        In [0, 1).
    seed : int, optional
        Restarts the random generators, from which weights and dropout masks are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Raises
    ------
    ValueError
        No such cell, or dropout_ratio is not in [0, 1).
    """

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int, classes: int, cell: str = "lstm",
                 dropout_ratio: float = 0.0, seed: int | None = None, dtype: DTypeLike = np.float32) -> None:
        super().__init__(seed)
        if cell not in CELLS:
            raise ValueError(f"SequenceClassifier: cell is {cell!r}, wanted one of {', '.join(CELLS)}")
        time_layer, gates = CELLS[cell]
        self.embedding = TimeEmbedding(embedding_weight(vocab_size, wordvec_size, dtype))
        self.input_dropout = TimeDropout(dropout_ratio)
        self.recurrent = time_layer(*recurrent_weights(wordvec_size, hidden_size, gates, dtype))
        self.last = TimeLast()
        self.output_dropout = TimeDropout(dropout_ratio)
        self.affine = Affine(*affine_weights(hidden_size, classes, dtype))
        self.loss_layer = SoftmaxWithLoss()
        self.layers = [
            self.embedding, self.input_dropout, self.recurrent, self.last, self.output_dropout, self.affine]
        self.collect_params()

    def predict(self, xs: Array | Ids, lengths: ArrayLike | None = None, train_flg: bool = False) -> Array:
        """Map ids to the scores of each class; `backward` needs a new `forward` after it.

        Parameters
        ----------
        xs : ndarray of int (N, T)
            Any ids stand at the padding.
        lengths : sequence of int (N,), optional
            Real steps of each sequence, by default T.
        train_flg : bool
            Whether dropout is on.

        Returns
        -------
        ndarray (N, K)
        """
        self.forget()
        self.input_dropout.train_flg = self.output_dropout.train_flg = train_flg
        vectors = self.input_dropout.forward(self.embedding.forward(xs))  # (N, T, D)
        hs = self.recurrent.forward(vectors, lengths)  # (N, T, H)
        h = self.output_dropout.forward(self.last.forward(hs, lengths))  # (N, H)
        return self.affine.forward(h)  # (N, K)

    def forward(self, xs: Array | Ids, ts: Array | Ids, lengths: ArrayLike | None = None,
                train_flg: bool = True) -> Array:
        """Return the mean cross entropy, in nats, of classes ts (N,) given sequences xs (N, T)."""
        return self.loss_layer.forward(self.predict(xs, lengths, train_flg), ts)

    def backward(self, dout: float | Array = 1) -> None:
        """Set all gradients of the last forward, times dout."""
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
