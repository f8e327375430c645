"""The names and call forms that readers of the book expect, each used as a chapter's script uses it."""
# ruff: noqa: F403, F405
import inspect
import pickle
import sys

import numpy
import pytest

import common.trainer
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common import config
from common.base_model import BaseModel
from common.functions import cross_entropy_error, relu, sigmoid, softmax
from common.np import *
from common.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from common.time_layers import *
from common.trainer import RnnlmTrainer, Trainer, remove_duplicate
from common.util import (
    analogy,
    clip_grads,
    convert_one_hot,
    cos_similarity,
    eval_perplexity,
    eval_seq2seq,
    most_similar,
    normalize,
    preprocess,
    to_cpu,
    to_gpu,
)
from dataset import ptb, sequence

V, D, H = 5, 6, 8
CYCLE = numpy.tile(numpy.arange(V), 60)  # after each word always the same one


@pytest.fixture(autouse=True)
def seeded(device):
    np.random.seed(0)  # np.random.randn, with which the book draws its weights
    np.seed(0)


def drawn(*shape):
    return (np.random.randn(*shape) / np.sqrt(shape[0])).astype("f")


class HandmadeRnnlm(BaseModel):
    """A language model with the constructor written out, and without `super().__init__()`."""

    def __init__(self, vocab_size=V, wordvec_size=D, hidden_size=H):
        embed_W = (np.random.randn(vocab_size, wordvec_size) / 100).astype("f")
        lstm = drawn(wordvec_size, 4 * hidden_size), drawn(hidden_size, 4 * hidden_size), \
            np.zeros(4 * hidden_size).astype("f")
        affine = drawn(hidden_size, vocab_size), np.zeros(vocab_size).astype("f")
        self.layers = [TimeEmbedding(embed_W), TimeLSTM(*lstm, stateful=True), TimeAffine(*affine)]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.lstm_layer = self.layers[1]
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def predict(self, xs):
        for layer in self.layers:
            xs = layer.forward(xs)
        return xs

    def forward(self, xs, ts):
        return self.loss_layer.forward(self.predict(xs), ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def reset_state(self):
        self.lstm_layer.reset_state()


class Encoder:
    def __init__(self, vocab_size):
        lstm = drawn(D, 4 * H), drawn(H, 4 * H), np.zeros(4 * H).astype("f")
        self.embed, self.lstm = TimeEmbedding(drawn(vocab_size, D)), TimeLSTM(*lstm, stateful=False)
        self.params, self.grads = self.embed.params + self.lstm.params, self.embed.grads + self.lstm.grads
        self.hs = None

    def forward(self, xs):
        self.hs = self.lstm.forward(self.embed.forward(xs))
        return self.hs[:, -1, :]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1, :] = dh
        return self.embed.backward(self.lstm.backward(dhs))


class Decoder:
    def __init__(self, vocab_size):
        lstm = drawn(D, 4 * H), drawn(H, 4 * H), np.zeros(4 * H).astype("f")
        self.embed, self.lstm = TimeEmbedding(drawn(vocab_size, D)), TimeLSTM(*lstm, stateful=True)
        self.affine = TimeAffine(drawn(H, vocab_size), np.zeros(vocab_size).astype("f"))
        self.params, self.grads = [], []
        for layer in (self.embed, self.lstm, self.affine):
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, h):
        self.lstm.set_state(h)
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def backward(self, dscore):
        self.embed.backward(self.lstm.backward(self.affine.backward(dscore)))
        return self.lstm.dh

    def generate(self, h, start_id, sample_size):
        sampled, char_id = [], start_id
        self.lstm.set_state(h)
        for _ in range(sample_size):
            x = np.array(char_id).reshape((1, 1))
            score = self.affine.forward(self.lstm.forward(self.embed.forward(x)))
            char_id = np.argmax(score.flatten())
            sampled.append(int(char_id))
        return sampled


class Seq2seq(BaseModel):
    def __init__(self, vocab_size):
        self.encoder, self.decoder, self.softmax = Encoder(vocab_size), Decoder(vocab_size), TimeSoftmaxWithLoss()
        self.params = self.encoder.params + self.decoder.params
        self.grads = self.encoder.grads + self.decoder.grads

    def forward(self, xs, ts):
        return self.softmax.forward(self.decoder.forward(ts[:, :-1], self.encoder.forward(xs)), ts[:, 1:])

    def backward(self, dout=1):
        return self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs, start_id, sample_size):
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)


@pytest.mark.training
def test_a_language_model_written_by_hand_is_trained_evaluated_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, optimizer = HandmadeRnnlm(), SGD(5.0)
    trainer = RnnlmTrainer(model, optimizer)
    trainer.fit(CYCLE[:-1], CYCLE[1:], 4, 4, 5, 0.5, eval_interval=7)
    optimizer.lr /= 2
    trainer.fit(CYCLE[:-1], CYCLE[1:], max_epoch=4, batch_size=4, time_size=5, max_grad=0.5, eval_interval=7)
    assert trainer.ppl_list[0] == pytest.approx(V, rel=0.2) and trainer.ppl_list[-1] < 1.2
    assert trainer.current_epoch == 8 and trainer.eval_interval == 7
    model.reset_state()
    assert model.lstm_layer.h is None and model.lstm_layer.c is None
    text = numpy.tile(CYCLE, 3)
    found = eval_perplexity(model, text)
    assert 1 < found < 1.5
    model.reset_state()
    assert eval_perplexity(model, text, batch_size=10, time_size=35) == found

    model.save_params()
    other = HandmadeRnnlm()
    other.load_params()
    assert (tmp_path / "HandmadeRnnlm.npz").exists()
    (tmp_path / "HandmadeRnnlm.npz").unlink()
    (tmp_path / "HandmadeRnnlm.pkl").write_bytes(pickle.dumps([to_cpu(param).astype("e") for param in model.params]))
    rounded = HandmadeRnnlm()
    rounded.load_params("HandmadeRnnlm.pkl")
    for param, copy, near in zip(model.params, other.params, rounded.params):
        assert np.array_equal(param, copy)
        assert np.array_equal(near, param.astype(np.float16)) and near.dtype == np.float32


@pytest.mark.training
def test_a_loop_written_by_hand_trains_too():
    model, optimizer = HandmadeRnnlm(), SGD(5.0)
    xs, ts, jump = CYCLE[:-1], CYCLE[1:], 100
    batch_x, batch_t = np.empty((2, 5), dtype="i"), np.empty((2, 5), dtype="i")
    losses, time_idx = [], 0
    for _ in range(60):
        for t in range(5):
            for i, offset in enumerate((0, jump)):
                batch_x[i, t], batch_t[i, t] = xs[(offset + time_idx) % len(xs)], ts[(offset + time_idx) % len(xs)]
            time_idx += 1
        losses.append(model.forward(batch_x, batch_t))
        model.backward()
        params, grads = remove_duplicate(model.params, model.grads)
        clip_grads(grads, 0.5)
        optimizer.update(params, grads)
    assert float(losses[0]) == pytest.approx(numpy.log(V), rel=0.1) and losses[-1] < 0.5
    x = np.array(2).reshape(1, 1)
    model.reset_state()
    assert softmax(model.predict(x).flatten()).argmax() == 3


@pytest.mark.training
def test_a_sequence_to_sequence_model_written_by_hand():
    x = np.array([[a, b] for a in range(V) for b in range(V)])
    t = np.concatenate((np.full((len(x), 1), V), x[:, ::-1]), axis=1)  # answers with the question back to front
    model, optimizer = Seq2seq(V + 1), Adam(0.03)
    trainer = Trainer(model, optimizer)
    for _ in range(4):
        trainer.fit(x, t, max_epoch=15, batch_size=5, max_grad=5.0, eval_interval=5)
    assert len(trainer.loss_list) == 60 and trainer.loss_list[-1] < 0.3 < trainer.loss_list[0]
    id_to_char = dict(enumerate("abcde_"))
    right = sum(eval_seq2seq(model, x[i:i + 1], t[i:i + 1], id_to_char, i < 3, False) for i in range(len(x)))
    assert right >= 20
    assert eval_seq2seq(model, x[:1], t[:1], id_to_char, verbose=False, is_reverse=True) in (0, 1)


def test_the_trainers_call_forms():
    def defaults(function):
        return [(name, parameter.default) for name, parameter in inspect.signature(function).parameters.items()][1:]

    empty = inspect.Parameter.empty
    assert defaults(Trainer.fit) == [("x", empty), ("t", empty), ("max_epoch", 10), ("batch_size", 32),
                                     ("max_grad", None), ("eval_interval", 20)]
    assert defaults(RnnlmTrainer.fit) == [("xs", empty), ("ts", empty), ("max_epoch", 10), ("batch_size", 20),
                                          ("time_size", 35), ("max_grad", None), ("eval_interval", 20)]
    for trainer in (Trainer, RnnlmTrainer):
        assert defaults(trainer.plot) == [("ylim", None)]
        assert defaults(trainer.__init__) == [("model", empty), ("optimizer", empty)]
    trainer = RnnlmTrainer(HandmadeRnnlm(), SGD())
    first, second = trainer.get_batch(CYCLE[:-1], CYCLE[1:], 2, 3), trainer.get_batch(CYCLE[:-1], CYCLE[1:], 2, 3)
    assert [batch.tolist() for batch in first] == [[[0, 1, 2], [4, 0, 1]], [[1, 2, 3], [0, 1, 2]]]
    assert second[0].tolist() == [[3, 4, 0], [2, 3, 4]]
    assert "remove_duplicate" in common.trainer.__all__ and common.trainer.remove_duplicate is remove_duplicate


def test_the_models_defaults_are_the_books():
    def sizes(model, count):
        return [parameter.default for parameter in list(inspect.signature(model).parameters.values())[:count]]

    assert sizes(Rnnlm, 3) == [10000, 100, 100]
    assert sizes(BetterRnnlm, 4) == [10000, 650, 650, 0.5]


def test_the_switch_and_the_shim(device):
    assert config.GPU is False
    assert np.backend == ("numpy" if device == "cpu" else "cupy") and np.tanh is sys.modules[np.backend].tanh
    assert to_cpu(numpy.ones(2)).tolist() == to_cpu(np.ones(2)).tolist() == [1, 1]
    assert callable(to_gpu)


def test_functions_and_layers_without_a_time_axis():
    x, t = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]]), np.array([2, 0])
    y = softmax(x)
    assert y.sum(axis=1).tolist() == pytest.approx([1, 1]) and np.allclose(softmax(x[0]), y[0])
    expected = float(-np.log(y[np.arange(2), t]).mean())
    assert float(cross_entropy_error(y, t)) == pytest.approx(expected)
    assert float(cross_entropy_error(y, np.eye(3)[t])) == pytest.approx(expected)
    assert relu(x).min() == 0 and sigmoid(np.zeros(1))[0] == 0.5

    W, b, ones = np.ones((3, 4)), np.ones(4), np.ones((2, 4))
    assert np.array_equal(MatMul(W).forward(x) + 1, Affine(W, b).forward(x))
    for layer in (MatMul(W), Affine(W, b)):
        layer.forward(x)
        assert layer.backward(ones).shape == x.shape
        layer.grads[0][...] = 0  # written in place, as the lists of a model expect
    for layer in (Softmax(), Sigmoid(), Dropout(dropout_ratio=0.5), Dropout(0.5)):
        assert layer.backward(layer.forward(x)).shape == x.shape and (layer.params, layer.grads) == ([], [])
    assert np.array_equal(Dropout(0.25).forward(x, train_flg=False), 0.75 * x)
    embedding = Embedding(W)
    assert embedding.forward(np.array([0, 2, 0])).shape == (3, 4)
    embedding.backward(np.ones((3, 4)))
    assert embedding.grads[0].tolist() == [[2] * 4, [0] * 4, [1] * 4]
    for targets in (t, np.eye(3)[t]):
        loss_layer = SoftmaxWithLoss()
        assert float(loss_layer.forward(x, targets)) == pytest.approx(expected)
        assert np.allclose(loss_layer.backward(), (y - np.eye(3)[t]) / 2)
    loss_layer = SigmoidWithLoss()
    assert float(loss_layer.forward(np.zeros(2), np.array([0, 1]))) == pytest.approx(numpy.log(2))
    assert np.allclose(loss_layer.backward(), np.array([0.25, -0.25]))


def test_recurrent_layers_take_states_and_give_gradients():
    xs, h, dhs = np.random.randn(2, 3, D), np.random.randn(2, H), np.ones((2, 3, H))
    for step, layer, blocks in ((RNN, TimeRNN, 1), (LSTM, TimeLSTM, 4), (GRU, TimeGRU, 3)):
        params = [drawn(*shape).astype("d") for shape in ((D, blocks * H), (H, blocks * H), (blocks * H,))]
        sequence_layer = layer(*params, True)
        sequence_layer.set_state(h)
        cell, states = step(*params), [h] if layer is not TimeLSTM else [h, np.zeros_like(h)]
        first = cell.forward(xs[:, 0], *states)
        assert np.allclose(sequence_layer.forward(xs)[:, 0], first[0] if layer is TimeLSTM else first)
        assert sequence_layer.backward(dhs).shape == xs.shape and sequence_layer.dh.shape == h.shape
        assert layer(*params, stateful=False).forward(xs).shape == dhs.shape
        if layer is TimeLSTM:
            sequence_layer.set_state(h, c=h)
            assert np.array_equal(sequence_layer.c, h)
        assert sequence_layer.h.shape == h.shape
        sequence_layer.reset_state()
        assert sequence_layer.h is None


def test_time_bi_lstm_takes_six_arrays():
    params = [drawn(*shape) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,)) * 2]
    layer = TimeBiLSTM(*params, stateful=False)
    xs = drawn(2, 3, D)
    hs = layer.forward(xs)
    assert hs.shape == (2, 3, 2 * H) and layer.backward(hs).shape == xs.shape
    assert len(layer.params) == len(layer.grads) == 6 and layer.params[3] is params[3]
    assert np.array_equal(hs[:, :, :H], TimeLSTM(*params[:3]).forward(xs))


def test_the_switches_of_the_time_layers():
    xs, ts = np.ones((2, 3, V)), np.array([[1, 2, -1], [0, -1, 3]])
    dropout = TimeDropout(0.5)
    assert set(np.unique(dropout.forward(np.ones((9, 9, 9)))).tolist()) == {0, 2}
    dropout.train_flg = False
    assert np.array_equal(dropout.forward(xs), xs)
    loss_layer = TimeSoftmaxWithLoss()
    assert loss_layer.ignore_label == -1
    assert float(loss_layer.forward(xs, ts)) == pytest.approx(numpy.log(V))
    assert not loss_layer.backward()[0, 2].any() and loss_layer.backward()[0, 0].any()
    one_hot = np.eye(V)[np.array([[1, 2, 0], [0, 1, 3]])]
    assert float(loss_layer.forward(xs, one_hot)) == pytest.approx(numpy.log(V))
    loss_layer = TimeSigmoidWithLoss()
    assert float(loss_layer.forward(np.zeros((2, 3)), np.ones((2, 3), dtype=int))) == pytest.approx(numpy.log(2))
    assert loss_layer.backward().shape == (2, 3)
    embedding, affine = TimeEmbedding(np.ones((V, D))), TimeAffine(np.ones((D, V)), np.zeros(V))
    assert affine.forward(embedding.forward(np.array([[0, 1]]))).tolist() == [[[D] * V] * 2]


def test_every_optimizer_updates_in_place_and_has_a_rate():
    for optimizer in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam):
        steps = optimizer(lr=0.1)
        params, grads = [np.ones(2), np.ones(3)], [np.ones(2), -np.ones(3)]
        held = params[0]
        steps.update(params, grads)
        assert params[0] is held and held.max() < 1 and params[1].min() > 1
        moved = float(1 - held.max())
        fresh = optimizer()
        assert 0 < fresh.lr < 0.1
        fresh.lr = 0.2
        other = [np.ones(2), np.ones(3)]
        fresh.update(other, grads)
        assert float(1 - other[0].max()) == pytest.approx(2 * moved)


def test_small_texts_and_word_vectors(capsys):
    corpus, word_to_id, id_to_word = preprocess("You say goodbye and I say hello.")
    one_hot = convert_one_hot(corpus, len(word_to_id))
    assert one_hot.shape == (8, 7) and np.array_equal(one_hot.argmax(axis=1), corpus)
    vectors = normalize(np.random.randn(7, 3))
    assert np.allclose((vectors**2).sum(axis=1), np.ones(7))
    assert float(cos_similarity(vectors[0], vectors[0])) == pytest.approx(1)
    assert len(most_similar("you", word_to_id, id_to_word, vectors, top=2)) == 2
    assert len(analogy("you", "say", "hello", word_to_id, id_to_word, vectors)) == 4
    assert "[query] you" in capsys.readouterr().out


def test_the_penn_treebank_s_call_forms(tmp_path, monkeypatch):
    for split, text in (("train", " a dog \n the dog \n"), ("valid", " the dog \n"), ("test", " dog \n")):
        (tmp_path / f"ptb.{split}.txt").write_text(text)
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    corpus, word_to_id, id_to_word = ptb.load_data("train")
    assert corpus.tolist() == [0, 1, 2, 3, 1, 2] and word_to_id["<eos>"] == 2 and id_to_word[3] == "the"
    for split, ids in (("valid", [3, 1, 2]), ("val", [3, 1, 2]), ("test", [1, 2])):
        corpus, _, _ = ptb.load_data(split)
        assert corpus.tolist() == ids
    assert ptb.load_vocab() == (word_to_id, id_to_word)


def test_the_sequence_tasks_call_forms():
    (x_train, t_train), (x_test, t_test) = sequence.load_data("addition.txt", seed=1984)
    char_to_id, id_to_char = sequence.get_vocab()
    assert x_train.shape == (45000, 7) and t_train.shape == (45000, 5)
    assert x_test.shape == (5000, 7) and t_test.shape == (5000, 5)
    assert (t_train[:, 0] == char_to_id["_"]).all()
    question, answer = ("".join(id_to_char[int(c)] for c in row) for row in (x_train[0], t_train[0]))
    assert sum(int(number) for number in question.split("+")) == int(answer.strip("_ "))
    default, _ = sequence.load_data("addition.txt")
    assert numpy.array_equal(default[0], x_train)
    reversed_questions = np.to_device(x_train[:2, ::-1])
    model = Seq2seq(len(char_to_id))
    assert np.isfinite(model.forward(reversed_questions, np.to_device(t_train[:2])))
    model.backward()
