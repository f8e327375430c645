"""Encoder and decoder: one LSTM reads a question, another writes its answer, character by character.

Sutskever et al. 2014 (arXiv:1409.3215); with the encoding shown to the decoder at every step,
Cho et al. 2014 (arXiv:1406.1078), which the book calls peeky; with attention, Bahdanau et al. 2015
(`common.layers.attention`). They are the models of the book's chapters 7 and 8.
"""
from typing import Any

from common.base_model import BaseModel
from common.device.ids import Ids
from common.language_model.beam import Hypothesis, search
from common.layers.attention import TimeAttention
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.lstm import TimeLSTM
from common.layers.time import TimeAffine, TimeEmbedding, TimeLast, TimeSoftmaxWithLoss
from common.np import Array, DTypeLike, np


class Encoder(BaseModel):
    """Reads a question and encodes it as the last state of an LSTM.

    Parameters
    ----------
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    dtype : dtype
    """

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        self.embed = TimeEmbedding(embedding_weight(vocab_size, wordvec_size, dtype))
        self.lstm = TimeLSTM(*recurrent_weights(wordvec_size, hidden_size, 4, dtype))
        self.last = TimeLast()
        self.layers = [self.embed, self.lstm, self.last]
        self.collect_params()

    def forward(self, xs: Array | Ids) -> Array:
        """Map ids xs (N, T) to the last state h (N, H)."""
        return self.last.forward(self.lstm.forward(self.embed.forward(xs)))

    def backward(self, dh: Array) -> None:
        """Set all gradients, given dh (N, H)."""
        self.embed.backward(self.lstm.backward(self.last.backward(dh)))


class AttentionEncoder(Encoder):
    """Reads a question and encodes it as all states of an LSTM."""

    def forward(self, xs: Array | Ids) -> Array:
        """Map ids xs (N, T) to the states hs (N, T, H)."""
        return self.lstm.forward(self.embed.forward(xs))

    def backward(self, dhs: Array) -> None:
        """Set all gradients, given dhs (N, T, H)."""
        self.embed.backward(self.lstm.backward(dhs))


class Decoder(BaseModel):
    """Predicts each next character of an answer; its LSTM starts from the encoder's last state.

    A subclass changes what the LSTM and the affine layer see: the methods `start`, `select`, `scores` and
    `backward`, and the two input sizes.

    Parameters
    ----------
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    dtype : dtype
    """

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        lstm_input, affine_input = self.input_sizes(wordvec_size, hidden_size)
        self.embed = TimeEmbedding(embedding_weight(vocab_size, wordvec_size, dtype))
        self.lstm = TimeLSTM(*recurrent_weights(lstm_input, hidden_size, 4, dtype), stateful=True)
        self.affine = TimeAffine(*affine_weights(affine_input, vocab_size, dtype))
        self.layers = [self.embed, self.lstm, self.affine]
        self.collect_params()

    @staticmethod
    def input_sizes(D: int, H: int) -> tuple[int, int]:
        """Return the input sizes of the LSTM and of the affine layer."""
        return D, H

    def start(self, encoded: Array) -> None:
        """Let the next `scores` begin an answer to what the encoder read."""
        self.lstm.set_state(encoded)

    def select(self, rows: Array) -> None:
        """Let the next `scores` go on from rows (B,) of the batch so far, in this order; a row may come repeatedly."""
        self.lstm.set_state(*(state[rows] for state in self.lstm.state if state is not None))

    def scores(self, xs: Array | Ids) -> Array:
        """Map ids xs (N, U) to the scores (N, U, V) of each next character, and keep the state."""
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def forward(self, xs: Array | Ids, encoded: Array) -> Array:
        """Map ids xs (N, U) and the encoder's output to the scores (N, U, V) of each next character."""
        self.start(encoded)
        return self.scores(xs)

    def backward(self, dscores: Array) -> Any:
        """Set all gradients, given dscores (N, U, V); return that of the encoder's output."""
        self.embed.backward(self.lstm.backward(self.affine.backward(dscores)))
        return self.lstm.dh  # (N, H)

    def generate(self, encoded: Array, start_id: int, sample_size: int) -> Array:
        """Write answers greedily: each character is the likeliest one, and the input of the next step.

        Parameters
        ----------
        encoded : ndarray (N, ...)
            Output of the encoder.
        start_id : int
            What an answer begins with.
        sample_size : int
            U, characters to write.

        Returns
        -------
        ndarray of int (N, U)
        """
        self.start(encoded)
        answer = [np.full((len(encoded), 1), start_id)]  # (N, 1) each
        for _ in range(sample_size):
            answer.append(self.scores(answer[-1]).argmax(axis=2))
        return np.concatenate(answer[1:], axis=1)  # (N, U)

    def beam_search(self, encoded: Array, start_id: int, sample_size: int, beam: int,
                    **options: Any) -> list[list[Hypothesis]]:
        """Search the likeliest answers.

        Parameters
        ----------
        encoded, start_id, sample_size
            As for `generate`.
        beam, **options
            As for `common.language_model.beam.search`, which also says what is returned and raised.
        """
        def step(parents, tokens):
            self.select(parents)
            return self.scores(tokens[:, None])[:, 0]  # (B, V)

        self.start(encoded)
        scores = self.scores(np.full((len(encoded), 1), start_id))[:, 0]  # (N, V)
        return search(scores, step, sample_size, beam, **options)


class PeekyDecoder(Decoder):
    """A decoder whose LSTM and affine layer see the encoding h at every step, beside their own input."""

    @staticmethod
    def input_sizes(D: int, H: int) -> tuple[int, int]:
        """Return the input sizes of the LSTM and of the affine layer."""
        return H + D, H + H

    def start(self, encoded: Array) -> None:
        """Let the next `scores` begin an answer to what the encoder read, h (N, H)."""
        super().start(encoded)
        self.h = encoded

    def select(self, rows: Array) -> None:
        """Let the next `scores` go on from rows (B,) of the batch so far."""
        super().select(rows)
        self.h = self.h[rows]

    def scores(self, xs: Array | Ids) -> Array:
        """Map ids xs (N, U) to the scores (N, U, V) of each next character, and keep the state."""
        N, U = xs.shape
        h = np.broadcast_to(self.h[:, None, :], (N, U, self.h.shape[1]))  # (N, U, H)
        hs = self.lstm.forward(np.concatenate((h, self.embed.forward(xs)), axis=2))  # (N, U, H)
        return self.affine.forward(np.concatenate((h, hs), axis=2))  # (N, U, V)

    def backward(self, dscores: Array) -> Any:
        """Set all gradients, given dscores (N, U, V); return that of h (N, H)."""
        H = self.h.shape[1]
        daffine_input = self.affine.backward(dscores)  # (N, U, H + H)
        dlstm_input = self.lstm.backward(daffine_input[:, :, H:])  # (N, U, H + D)
        self.embed.backward(dlstm_input[:, :, H:])
        return self.lstm.dh + (daffine_input[:, :, :H] + dlstm_input[:, :, :H]).sum(axis=1)  # (N, H)


class AttentionDecoder(Decoder):
    """A decoder whose affine layer sees, beside each state, what that state attends to in the question.

    Attributes
    ----------
    attention : TimeAttention
        Its `attention_weights` (N, U, T) are those of the last steps.
    """

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int, dtype: DTypeLike = np.float32) -> None:
        super().__init__(vocab_size, wordvec_size, hidden_size, dtype)
        self.attention = TimeAttention()

    @staticmethod
    def input_sizes(D: int, H: int) -> tuple[int, int]:
        """Return the input sizes of the LSTM and of the affine layer."""
        return D, H + H

    def start(self, encoded: Array) -> None:
        """Let the next `scores` begin an answer to what the encoder read, hs (N, T, H)."""
        super().start(encoded[:, -1])
        self.hs_enc = encoded

    def select(self, rows: Array) -> None:
        """Let the next `scores` go on from rows (B,) of the batch so far."""
        super().select(rows)
        self.hs_enc = self.hs_enc[rows]

    def scores(self, xs: Array | Ids) -> Array:
        """Map ids xs (N, U) to the scores (N, U, V) of each next character, and keep the state."""
        hs = self.lstm.forward(self.embed.forward(xs))  # (N, U, H)
        cs = self.attention.forward(self.hs_enc, hs)  # (N, U, H)
        return self.affine.forward(np.concatenate((cs, hs), axis=2))  # (N, U, V)

    def backward(self, dscores: Array) -> Any:
        """Set all gradients, given dscores (N, U, V); return that of hs (N, T, H)."""
        H = self.lstm.hidden_size
        daffine_input = self.affine.backward(dscores)  # (N, U, H + H)
        dhs_enc, dhs = self.attention.backward(daffine_input[:, :, :H])  # (N, T, H), (N, U, H)
        self.embed.backward(self.lstm.backward(dhs + daffine_input[:, :, H:]))
        dhs_enc[:, -1] += self.lstm.dh
        return dhs_enc


class Seq2seq(BaseModel):
    """Answers questions of T characters by U characters.

    Parameters
    ----------
    vocab_size, wordvec_size, hidden_size : int
        V, D and H.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn (`np.seed`).
    dtype : dtype
        float32 to train, float64 to check gradients.
    """

    encoder_class: type[Encoder] = Encoder
    decoder_class: type[Decoder] = Decoder

    def __init__(self, vocab_size: int, wordvec_size: int, hidden_size: int, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(seed)
        self.encoder = self.encoder_class(vocab_size, wordvec_size, hidden_size, dtype)
        self.decoder = self.decoder_class(vocab_size, wordvec_size, hidden_size, dtype)
        self.loss_layer = TimeSoftmaxWithLoss()
        self.layers = [self.encoder, self.decoder]
        self.collect_params()

    def forward(self, xs: Array | Ids, ts: Array | Ids) -> Array:
        """Return the mean cross entropy, in nats, of the characters of the right answers.

        Parameters
        ----------
        xs : ndarray of int (N, T)
            Questions.
        ts : ndarray of int (N, 1 + U)
            Right answers, each behind the id that tells the decoder to start; the decoder reads
            ts[:, :-1] and is to predict ts[:, 1:].
        """
        scores = self.decoder.forward(ts[:, :-1], self.encoder.forward(xs))  # (N, U, V)
        return self.loss_layer.forward(scores, ts[:, 1:])

    def backward(self, dout: float | Array = 1) -> None:
        """Set all gradients of the last forward, times dout."""
        self.encoder.backward(self.decoder.backward(self.loss_layer.backward(dout)))

    def answer(self, xs: Array | Ids, start_id: int, sample_size: int) -> Array:
        """Answer questions xs (N, T) greedily, by ids (N, sample_size); `backward` needs a new `forward` after it."""
        self.forget()
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)

    def beam_answers(self, xs: Array | Ids, start_id: int, sample_size: int, beam: int,
                     **options: Any) -> list[list[Hypothesis]]:
        """Search the likeliest answers to questions xs (N, T); `backward` needs a new `forward` after it.

        Parameters
        ----------
        xs : ndarray of int (N, T)
        start_id : int
            What an answer begins with.
        sample_size : int
            U, characters of an answer, at most.
        beam : int
            K, answers to each question that the search keeps; 1 gives those of `answer`.
        **options
            length_penalty, end_ids, banned and n_best, as for `common.language_model.beam.search`.

        Returns
        -------
        list of list of Hypothesis
            For each question the n best answers, the best first.

        Raises
        ------
        ValueError
            An option is out of range, or a score is NaN or infinite.
        """
        self.forget()
        return self.decoder.beam_search(self.encoder.forward(xs), start_id, sample_size, beam, **options)

    def generate(self, question: Array | Ids, start_id: int, sample_size: int) -> list[int]:
        """Answer one question (1, T) greedily, by a list of sample_size ids."""
        return self.answer(question, start_id, sample_size)[0].tolist()


class PeekySeq2seq(Seq2seq):
    """`Seq2seq` with a `PeekyDecoder`."""

    decoder_class = PeekyDecoder


class AttentionSeq2seq(Seq2seq):
    """`Seq2seq` with attention."""

    encoder_class = AttentionEncoder
    decoder_class = AttentionDecoder
    decoder: AttentionDecoder

    def attention_map(self, xs: Array | Ids, ts: Array | Ids) -> Any:
        """Return the weight (N, U, T) of each character of questions xs (N, T) as each of ts[:, 1:] is predicted."""
        self.forget()
        self.decoder.forward(ts[:, :-1], self.encoder.forward(xs))
        return self.decoder.attention.attention_weights
