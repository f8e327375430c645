"""One RNN cell learns to answer "hello" with "ohlol", letter by letter: `python -m ch_rnn.hello --help`.

The idea: the same letter l must be answered by l the first time and by o the second. Input and weights are
the same both times; only the state, which remembers what came before, can tell the two apart.

The letters come in as one-hot rows. The cell has a unit for each letter, and its states are the scores of
the answer. A state is a tanh, between -1 and 1, so the loss of a letter cannot fall below ln(1 + 3 e^-2).

From some initial weights training gets stuck: at one of the two l's the units of l and o both come near 1.
The unit that should not is saturated. Its slope 1 - h^2 is next to nothing, so the gradient there hardly
counts against that of the other l, which pulls the same weights the other way. `--seeds` counts such runs.

Adam moves a weight by about the learning rate whatever its gradient, and so drives the wrong units into
saturation too. SGD, whose steps shrink with the gradient, gets stuck less often (`--optimizer sgd`).

PyTorch's cell adds up two biases, which get the same gradient. Adam gives each a whole step, so that their
sum moves twice as fast as the one bias here. `--biases 2` does as PyTorch does.
"""
import collections
import dataclasses
import math
import sys
from typing import Any

import numpy

from common import cli
from common.base_model import BaseModel
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import Ids
from common.fast import speed_up
from common.layers.initial import uniform
from common.layers.rnn import TimeRNN
from common.layers.time import TimeSoftmaxWithLoss
from common.np import np
from common.optimizer import OPTIMIZERS
from common.text.vocabulary import Vocabulary
from common.training.epochs import train_epochs

QUESTION = "hello"
ANSWER = "ohlol"
LETTERS = Vocabulary(sorted(set(QUESTION)))  # e h l o
MILESTONES = (15, 50, 100)

# Adam's is the tutorial's, and AdamW has it too; the others are the best of a few over 100 seeds and 100 epochs.
LEARNING_RATES = {
    "adam": 0.1, "adamw": 0.1, "sgd": 0.3, "momentum": 0.03, "nesterov": 0.03, "adagrad": 0.1, "rmsprop": 0.03}

LEAST_LOSS = math.log(1 + 3 * math.exp(-2))  # of a letter: its own unit at 1, the three others at -1
TIED_LOSS = math.log(2 + 2 * math.exp(-2))  # its own unit and one other at 1
BIASES = cli.Number(int, lambda value: value in (1, 2), "1 or 2")


class HelloRNN(BaseModel):
    """An RNN whose states are the scores of the answer: H = D, and no layer on top.

    Parameters
    ----------
    size : int
        D and H, the number of letters.
    biases : int
        How many biases (H,), trained each by itself, are added up to the one of the cell.
    seed : int, optional
        Restarts the random generators, from which the weights and biases are drawn, evenly from +-1 / sqrt(H).
    dtype : dtype
        float32 to train, float64 to check gradients.

    Attributes
    ----------
    flat : Flat
        The same network with all its parameters, one after the other, as one: an optimizer, which updates each
        number by itself, then does in one step what it would do in three.
    scores : ndarray (N, T, H)
        The states of the last forward.
    """

    def __init__(self, size=LETTERS.size, biases=1, seed=None, dtype=np.float32):
        super().__init__(seed)
        bound = size**-0.5
        shapes = [(size, size), (size, size), *[(size,)] * biases]  # of Wx (D, H), Wh (H, H), biases (H,)
        flat = np.concatenate([uniform(shape, bound, dtype).reshape(-1) for shape in shapes])
        flat_grad = np.zeros_like(flat)
        self.flat = Flat(self, flat, flat_grad)
        self.params, self.grads = _views(flat, shapes), _views(flat_grad, shapes)
        Wx, Wh, *self.biases = self.params
        b = sum(self.biases[1:], self.biases[0])  # (H,)
        self.rnn = TimeRNN(Wx, Wh, b)
        self.rnn.grads = self.grads[:3]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.scores: Any = None

    def forward(self, xs, ts):
        """Return the cross entropy in nats, summed over T, of targets ts (N, T) given xs (N, T, D)."""
        if len(self.biases) > 1:
            b = self.rnn.params[2]
            b[...] = sum(self.biases)
        self.scores = self.rnn.forward(xs)  # (N, T, H)
        return self.loss_layer.forward(self.scores, ts) * ts.shape[1]

    def backward(self, dout=1):
        """Set all gradients of the last forward, times dout."""
        T = self.scores.shape[1]
        self.rnn.backward(self.loss_layer.backward(dout * T))
        _, _, db, *others = self.grads
        for other in others:
            other[...] = db


class Flat:
    """A network as training sees it: forward, backward, and one parameter with its gradient.

    Parameters
    ----------
    network : HelloRNN
    param, grad : ndarray
        The memory of all its parameters, and of their gradients.
    """

    def __init__(self, network, param, grad):
        self.params, self.grads = [param], [grad]
        self.forward, self.backward = network.forward, network.backward


def _views(flat, shapes):
    """Return parts of an array as views of these shapes, one after the other."""
    views, start = [], 0
    for shape in shapes:
        end = start + math.prod(shape)
        views.append(flat[start:end].reshape(shape))
        start = end
    return views


def one_hot_task(dtype=np.float32):
    """Return the question as one-hot xs (1, T, D) and the answer as ids ts (1, T)."""
    one_hot = np.eye(LETTERS.size, dtype=dtype)  # (D, D)
    question, answer = (np.to_device(LETTERS.encode(text)) for text in (QUESTION, ANSWER))  # (T,), (T,)
    return one_hot[question][None], answer[None]


def train(model, optimizer, epochs):
    """Train, and yield the loss of each epoch; it and `model.scores` are those before the epoch's update."""
    xs, ts = one_hot_task()
    return train_epochs(model.flat, optimizer, [(xs, Ids(ts, 0, LETTERS.size - 1))], epochs)


def spelled(scores):
    """Return the letters with the highest scores (T, H)."""
    return "".join(LETTERS.decode(np.to_cpu(scores.argmax(axis=1))))


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    epochs: int | None = setting(None, "default: 15, with --seeds 100", cli.positive_int)
    optimizer: str = setting("adam", "what updates the parameters", choices=OPTIMIZERS)
    lr: float = setting(LEARNING_RATES["adam"], "learning rate", cli.positive_float)
    biases: int = setting(1, "number of biases; PyTorch's cell has 2", BIASES)
    seed: int = setting(3, "of the initial weights; 3 is the first to spell it in 15 epochs", cli.natural,
                        one_of="seeds")
    seeds: int | None = setting(
        None, "train a network from each of the seeds 0 to N - 1 and count those that spell it right; "
              "2000 take one or two minutes", cli.positive_int, one_of="seeds")


def main(argv=None):
    """Train one network or many; returns the exit code."""
    return cli.run("python -m ch_rnn.hello", _hello, argv)


def _hello(argv):
    settings = cli.SettingsParser(
        "python -m ch_rnn.hello", f'Train one RNN cell to answer "{QUESTION}" with "{ANSWER}".', Settings,
        presets={optimizer: {"lr": lr} for optimizer, lr in LEARNING_RATES.items()}, chosen_by="optimizer",
    ).settings(argv)
    settings = dataclasses.replace(settings, epochs=settings.epochs or (100 if settings.seeds else 15))
    if settings.seeds:
        print_many(settings)
    else:
        print_one(settings)


def _network(settings, seed):
    return speed_up(HelloRNN(biases=settings.biases, seed=seed)), OPTIMIZERS[settings.optimizer](settings.lr)


def print_one(settings):
    """Train one network and print what it spells, and its loss, before each update."""
    model, optimizer = _network(settings, settings.seed)
    for epoch, loss in enumerate(train(model, optimizer, settings.epochs), start=1):
        print(f"epoch {epoch:{len(str(settings.epochs))}}: {spelled(model.scores[0])}, loss {loss:.4f}")
    print(f"the answer is {ANSWER}, the least possible loss {len(ANSWER) * LEAST_LOSS:.4f}")


def print_many(settings):
    """Train a network from each seed, count the right ones at each milestone and sort the last answers."""
    milestones = sorted({epoch for epoch in MILESTONES if epoch < settings.epochs} | {settings.epochs})
    biases = "one bias" if settings.biases == 1 else "two biases"
    print(f"{settings.seeds} networks with {biases}, {settings.optimizer} with learning rate {settings.lr:g}\n",
          flush=True)
    results: dict[int, list[Any]] = {epoch: [] for epoch in milestones}  # of each network: states (T, H) and loss
    for seed in range(settings.seeds):
        model, optimizer = _network(settings, seed)
        for epoch, loss in enumerate(train(model, optimizer, settings.epochs), start=1):
            if epoch in results:
                results[epoch].append((np.to_cpu(model.scores[0]), loss))
    print(milestone_table(results))
    print(f"\nWhat they spell at epoch {settings.epochs}, the median loss, and the median slope 1 - h^2 of the unit\n"
          "that wins at the first wrong letter:\n")
    print(answer_table(results[settings.epochs]))
    letters = len(ANSWER)
    print(f"\nScores are states, between -1 and 1: a letter costs at least ln(1 + 3 e^-2) = {LEAST_LOSS:.3f}, the "
          f"{letters} together {letters * LEAST_LOSS:.3f}.\nA stuck network has two units near 1 at one l, which "
          f"costs ln(2 + 2 e^-2) = {TIED_LOSS:.3f}, the {letters} together "
          f"{(letters - 1) * LEAST_LOSS + TIED_LOSS:.3f}.\n"
          "The slope of the wrong one is almost 0, so almost no gradient is left to correct it.")


def milestone_table(results):
    """Lay out how many networks are right, their loss and how saturated they are, after some epochs.

    Parameters
    ----------
    results : dict of int to list of (numpy.ndarray (T, H), float)
        Epoch to the states and the loss of each network.
    """
    rows = [("epoch", f"spell {ANSWER}", "", "median loss", "mean 1 - h^2")]
    for epoch, networks in results.items():
        states, losses = zip(*networks)
        right = sum(spelled(h) == ANSWER for h in states)
        slope = 1 - numpy.square(states).mean()
        rows.append((str(epoch), str(right), f"{right / len(networks):.1%}",
                     f"{numpy.median(losses):.3f}", f"{slope:.3f}"))
    return format_table(rows, left=0)


def answer_table(networks):
    """Lay out what networks spell, the most frequent answer first.

    Parameters
    ----------
    networks : list of (numpy.ndarray (T, H), float)
        States and loss of each.
    """
    groups = collections.defaultdict(list)
    for h, loss in networks:
        groups[spelled(h)].append((loss, slope_of_wrong_unit(h)))
    rows = [("answer", "networks", "loss", "slope")]
    for answer, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        loss, slope = numpy.median(group, axis=0)
        rows.append((answer, str(len(group)), f"{loss:.3f}", "-" if answer == ANSWER else f"{slope:.1e}"))
    return format_table(rows)


def slope_of_wrong_unit(states):
    """Return 1 - h^2 of the highest of the states (T, H) at the first wrong letter; NaN where all are right."""
    wrong = states.argmax(axis=1) != LETTERS.encode(ANSWER)  # (T,)
    return 1 - float(states[wrong.argmax()].max())**2 if wrong.any() else math.nan


if __name__ == "__main__":
    sys.exit(main())
