"""What `speed.py` times: one function for each workload, which makes its contestants.

Each takes the name of a contestant and returns its step, a function without arguments, and how many tokens
that step goes through. "fast" takes the fast forms of layers, as the scripts do, "plain" those to be read; "floor" is
the bare matrix products of a training step of the fast forms. PyTorch is imported only where it is the contestant.
"""
import itertools

import numpy as np
from per_step_reference import PerStepModel, per_step_update
from products import prepare, products_of

import common  # noqa: F401, before NumPy is imported: it sets how BLAS threads wait
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.hello import LETTERS, HelloRNN
from ch_rnn.hello import train as train_hello
from ch_rnn.mikolov import MikolovRnnlm
from ch_rnn.online_sgd import train_online
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.fast.lstm import FastTimeLSTM
from common.language_model.evaluate import perplexity
from common.language_model.generate import generate
from common.language_model.model import LanguageModel
from common.layers.gru import TimeGRU
from common.layers.initial import affine_weights, embedding_weight, recurrent_weights
from common.layers.lstm import TimeLSTM
from common.layers.time import TimeAffine, TimeEmbedding
from common.optimizer import SGD, Adam
from common.trainer import training_step

N, T, V = 20, 35, 10_000
PTB_TEST_TOKENS = 82_430
OURS, PLAIN, TORCH, PER_STEP, FLOOR = "fast", "plain", "PyTorch", "per step", "floor"


class GRURnnlm(LanguageModel):
    """Language model with a GRU whose reset gate comes after the product, as PyTorch has it."""

    def __init__(self, vocab_size, wordvec_size, hidden_size, seed=None):
        super().__init__(vocab_size, seed)
        Wx, Wh, _ = recurrent_weights(wordvec_size, hidden_size, 3, np.float32)
        self.compose([
            TimeEmbedding(embedding_weight(vocab_size, wordvec_size, np.float32)),
            TimeGRU(Wx, Wh, np.zeros(4 * hidden_size, dtype=np.float32), stateful=True, reset_after=True),
            TimeAffine(*affine_weights(hidden_size, vocab_size, np.float32)),
        ])


def language_model(contestant, make, torch_name, size, vocab_size=V):
    """A training step: forward, backward, clipping, SGD."""
    rng = np.random.default_rng(0)
    xs, ts = rng.integers(vocab_size, size=(2, N, T))
    if contestant == TORCH:
        import torch
        from torch_models import MODELS, torch_training_step

        model = MODELS[torch_name](vocab_size, size)
        optimizer, xs, ts = torch.optim.SGD(model.parameters(), lr=1.0), torch.from_numpy(xs), torch.from_numpy(ts)
        return lambda: torch_training_step(model, optimizer, xs, ts, 0.25), N * T
    model = make(vocab_size, size, size, seed=0)
    model = speed_up(model) if contestant == OURS else model
    if contestant == FLOOR:
        return prepare(products_of(model, N, T)), N * T
    if contestant in (OURS, PLAIN):
        return lambda: training_step(model, SGD(1.0), xs, ts, 0.25), N * T
    reference = PerStepModel(model)

    def step():
        reference.forward(xs, ts)
        reference.backward()
        per_step_update(reference, lr=1.0, max_norm=0.25)

    return step, N * T


def one_character_at_a_time(contestant, characters=1000, vocab_size=73, hidden_size=128):
    """An update after every character, the gradient through one step."""
    ids = np.random.default_rng(0).integers(vocab_size, size=characters + 1)
    if contestant == OURS:
        model = MikolovRnnlm(vocab_size, hidden_size, seed=0)
        return lambda: train_online(model, ids[:-1], ids[1:], 0.1), characters
    import torch

    hidden, output = torch.nn.Linear(vocab_size + hidden_size, hidden_size), torch.nn.Linear(hidden_size, vocab_size)
    optimizer = torch.optim.SGD([*hidden.parameters(), *output.parameters()], lr=0.1)
    one_hot, ids = torch.eye(vocab_size), torch.from_numpy(ids)

    def step():
        h = torch.zeros(1, hidden_size)
        for x, t in itertools.pairwise(ids):
            optimizer.zero_grad()
            h = torch.sigmoid(hidden(torch.cat((one_hot[x][None], h.detach()), dim=1)))
            torch.nn.functional.cross_entropy(output(h), t[None]).backward()
            optimizer.step()

    return step, characters


def hello(contestant, epochs=15):
    """15 epochs of "hello" to "ohlol" with one cell of four units and Adam."""
    tokens = 5 * epochs
    if contestant == OURS:
        return lambda: list(train_hello(speed_up(HelloRNN(seed=3)), Adam(0.1), epochs)), tokens
    import torch

    one_hot, target = torch.eye(LETTERS.size), torch.from_numpy(np.array(LETTERS.encode("ohlol"), dtype=np.int64))
    xs = one_hot[torch.from_numpy(np.array(LETTERS.encode("hello")))]

    def step():
        cell = torch.nn.RNNCell(LETTERS.size, LETTERS.size)
        optimizer = torch.optim.Adam(cell.parameters(), lr=0.1)
        for _ in range(epochs):
            optimizer.zero_grad()
            h, loss = torch.zeros(1, LETTERS.size), 0
            for x, t in zip(xs, target):
                h = cell(x[None], h)
                loss = loss + torch.nn.functional.cross_entropy(h, t[None])
            loss.backward()
            optimizer.step()

    return step, tokens


def evaluation(contestant, tokens=PTB_TEST_TOKENS, size=100, steps_at_once=500):
    """The perplexity of an Rnnlm on a text, read as one strip."""
    ids = np.random.default_rng(0).integers(V, size=tokens)
    if contestant == OURS:
        model = speed_up(Rnnlm(V, size, size, seed=0))
        return lambda: perplexity(model, ids), tokens
    import torch
    from torch_models import MODELS

    model, ids = MODELS["Rnnlm"](V, size).eval(), torch.from_numpy(ids)

    @torch.no_grad()
    def step():
        model.state, nats = None, 0.0
        for xs, ts in zip(ids[:-1].split(steps_at_once), ids[1:].split(steps_at_once)):
            nats += torch.nn.functional.cross_entropy(model(xs[None])[0], ts, reduction="sum").item()

    return step, tokens


def generation(contestant, samples, length=20, size=650):
    """Texts drawn from a BetterRnnlm, side by side."""
    if contestant == OURS:
        model = speed_up(BetterRnnlm(V, size, size, seed=0))
        return lambda: generate(model, [0], length, samples=samples), samples * length
    import torch
    from torch_models import MODELS

    model = MODELS["BetterRnnlm"](V, size).eval()

    @torch.no_grad()
    def step():
        model.state, ids = None, torch.zeros(samples, 1, dtype=torch.int64)
        for _ in range(length):
            ids = torch.multinomial(torch.softmax(model(ids)[:, -1], dim=1), 1)

    return step, samples * length


def lstm(contestant, N, T, size, lengths=None):
    """An LSTM layer alone, forwards and backwards."""
    rng = np.random.default_rng(0)
    xs, dhs = rng.standard_normal((2, N, T, size), dtype=np.float32)
    tokens = N * T if lengths is None else int(lengths.sum())
    if contestant in (OURS, PLAIN):
        layer = (FastTimeLSTM if contestant == OURS else TimeLSTM)(*recurrent_weights(size, size, 4, np.float32))

        def step():
            layer.forward(xs, lengths)
            layer.backward(dhs)

        return step, tokens
    import torch

    layer, xs, dhs = torch.nn.LSTM(size, size, batch_first=True), torch.from_numpy(xs), torch.from_numpy(dhs)
    xs.requires_grad_()

    def torch_step():
        layer.zero_grad()
        xs.grad = None
        if lengths is None:
            hs, _ = layer(xs)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                xs, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
            hs, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=T)
        hs.backward(dhs)

    return torch_step, tokens


BOTH, TRAINING, LAYER = (OURS, TORCH), (OURS, TORCH, FLOOR), (OURS, TORCH, PLAIN)
MODEL = (OURS, TORCH, PLAIN, PER_STEP, FLOOR)
WORKLOADS = {  # letter: title, contestants, function of the contestant
    "a": ("SimpleRnnlm", MODEL, lambda who: language_model(who, SimpleRnnlm, "SimpleRnnlm", 100)),
    "b": ("Rnnlm", MODEL, lambda who: language_model(who, Rnnlm, "Rnnlm", 100)),
    "c": ("BetterRnnlm", MODEL, lambda who: language_model(who, BetterRnnlm, "BetterRnnlm", 650)),
    "d": ("GRU of 200", TRAINING, lambda who: language_model(who, GRURnnlm, "GRU", 200)),
    "e": ("a character at a time", BOTH, one_character_at_a_time),
    "f": ("hello", BOTH, hello),
    "g": ("evaluation, Rnnlm", BOTH, evaluation),
    "h": ("generation, 1 sample", BOTH, lambda who: generation(who, 1)),
    "h64": ("generation, 64 samples", BOTH, lambda who: generation(who, 64)),
    "i": ("Rnnlm, V = 50,000", TRAINING, lambda who: language_model(who, Rnnlm, "Rnnlm", 100, vocab_size=50_000)),
    "j": ("LSTM layer, T = 500, H = 256", LAYER, lambda who: lstm(who, 20, 500, 256)),
    "k": ("lengths from 5 to 100", LAYER, lambda who: lstm(
        who, 32, 100, 128, np.linspace(5, 100, 32).astype(np.int64))),
}
