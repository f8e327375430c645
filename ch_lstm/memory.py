"""The purpose of an LSTM, to remember over many steps: `python -m ch_lstm.memory --help`.

Going back through time, the gradient of a simple RNN is multiplied by the same matrix and by tanh' at every step,
and vanishes. The cell of an LSTM whose forget gate is open, and the state of a GRU whose update gate is closed, pass
it on almost as it is (Hochreiter and Schmidhuber 1997). Two tasks of any length show what follows from that: the
adding problem and the copy task of `dataset.memory_tasks`. The error of ignoring the input is known exactly, and
only a model that remembers is better.

Each cell is trained at each length and measured on fresh sequences. For the longest length, the norm of dL/dh_t,
the gradient of the loss with respect to the hidden state after step t, is shown too. Clipping multiplies the
gradients of all parameters by one factor. Since the backward pass is linear, that is as if each dL/dh_t had been
multiplied by it: clipping tames a gradient that explodes, and cannot bring back one that has vanished (Pascanu et
al. 2013).
"""
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy

from ch_lstm.memory_model import MemoryModel
from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.device.ids import known_ids
from common.errors import InputError
from common.layers.losses import MeanSquaredError
from common.layers.stack import CELLS
from common.layers.time import TimeSoftmaxWithLoss
from common.np import np
from common.optimizer import Adam
from common.plots import save_curves
from common.training.batches import DrawnBatches
from common.training.clip import clip_grads, global_norm
from common.training.epochs import train_epochs
from common.training.finite import expect_finite
from dataset.memory_tasks import AddingProblem, CopyTask

SMOKE = {"task": "all", "lengths": [4, 8], "steps": 2, "batch_size": 4, "hidden_size": 8}
TASKS = {"adding": (AddingProblem, MeanSquaredError), "copy": (CopyTask, TimeSoftmaxWithLoss)}
ERRORS = {"adding": "mean squared error", "copy": "cross entropy, nats a symbol"}

SOLVED = 0.05  # of the error of ignoring the input
EVALUATION_INTERVAL = 100  # steps
SEQUENCES_AT_ONCE = 100

ROW = "{:6}  {:>6}  {:4}  {:>7}  {:>18}  {:>5}  {:>7}"


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    task: str = setting("adding", "what to learn", choices=(*TASKS, "all"))
    cell: str = setting("all", "which models to train", choices=(*CELLS, "all"))
    lengths: tuple = setting((10, 25, 50, 100, 200), "steps of the adding problem, blanks of the copy task",
                             cli.positive_int, many=True)
    steps: int = setting(
        2000, "largest number of updates of a model; it stops when it has solved its task", cli.positive_int)
    batch_size: int = setting(50, "N", cli.positive_int)
    hidden_size: int = setting(64, "H", cli.positive_int)
    memory_bias: int = setting(
        8, "largest initial bias that makes gates keep the state; 0 for none", cli.natural)
    lr: float = setting(0.01, "learning rate of Adam", cli.positive_float)
    max_grad: float = setting(1.0, "clip gradients to this global norm", cli.positive_float)
    seed: int = setting(0, "of weights and sequences", cli.natural)
    out: Path | None = setting(None, "a new folder for pictures of the errors and of the norms", Path)


def main(argv=None):
    """Train and print; returns the exit code."""
    return cli.run("python -m ch_lstm.memory", _memory, argv)


def _memory(argv):
    settings = cli.SettingsParser(
        "python -m ch_lstm.memory",
        "Train RNN, LSTM and GRU to remember over many steps, and follow the gradient back through them.",
        Settings, SMOKE).settings(argv)
    settings = dataclasses.replace(settings, lengths=sorted(set(settings.lengths)))
    if settings.task != "copy" and settings.lengths[0] < 2:
        raise InputError("the adding problem needs --lengths of at least 2, for its two markers")
    if settings.out is not None:
        cli.new_folder(settings.out)
    norms = [("task", "cell", "weights", "t = 0", "T/4", "T/2", "3T/4", "T", "parameters", "factor")]
    print(ROW.format("task", "length", "cell", "error", "ignoring the input", "steps", "seconds"), flush=True)
    for task in TASKS if settings.task == "all" else [settings.task]:
        norms += _run(task, settings)
    print(f"\nlength {settings.lengths[-1]}: norms of dL/dh_t at five steps t and of the gradient of all parameters,\n"
          f"and the factor by which clipping multiplies them\n\n{format_table(norms, left=3)}")


def _run(task, settings):
    """Train each cell at each length, print a row for each, and return the rows of norms."""
    cells = list(CELLS) if settings.cell == "all" else [settings.cell]
    lengths = settings.lengths
    errors: dict[str, list[float]] = {cell: [] for cell in cells}
    norms: dict[str, dict[str, Any]] = {"initial": {}, "trained": {}}  # by weights and cell: state_gradient_norms
    for length in lengths:
        for cell in cells:
            model, training, held_out = build(task, cell, length, settings)
            if length == lengths[-1]:
                norms["initial"][cell] = state_gradient_norms(model, held_out, settings)
            start = time.perf_counter()
            steps = train(model, training, held_out, settings)
            seconds = time.perf_counter() - start
            error = mean_error(model, held_out, batches=10)
            print(ROW.format(task, length, cell, f"{error:.4f}", f"{training.error_ignoring_input:.4f}",
                             steps, f"{seconds:.1f}"), flush=True)
            errors[cell].append(error)
            if length == lengths[-1]:
                norms["trained"][cell] = state_gradient_norms(model, held_out, settings)
    if settings.out is not None:
        _save_errors(settings.out, task, lengths, errors, training.error_ignoring_input)
        for weights, by_cell in norms.items():
            _save_norms(settings.out, task, lengths[-1], weights, by_cell)
    return [_norms_row(task, cell, weights, *norms[weights][cell]) for cell in cells for weights in norms]


def build(task, cell, length, settings):
    """Return a fresh model, and the sequences to train on and to hold out.

    Parameters
    ----------
    task : {"adding", "copy"}
    cell : {"rnn", "lstm", "gru"}
    length : int
    settings : Settings

    Returns
    -------
    model : MemoryModel
    training, held_out : AddingProblem or CopyTask
        The same for every cell.
    """
    make_sequences, make_loss = TASKS[task]
    # [seed, 0] would be the generator of the weights.
    training, held_out = (make_sequences(length, seed=[settings.seed, part]) for part in (1, 2))
    model = MemoryModel(cell, training.input_size, settings.hidden_size, training.output_size,
                        training.answer_steps, make_loss(), settings.memory_bias, settings.seed)
    return model, training, held_out


def train(model, training, held_out, settings):
    """Train until a model has solved its task, in two evaluations one after the other, or has made all its steps.

    Parameters
    ----------
    model : MemoryModel
    training, held_out : AddingProblem or CopyTask
    settings : Settings

    Returns
    -------
    int
        Updates made.
    """
    optimizer = Adam(settings.lr)
    solved = 0
    while solved < 2 and optimizer.steps < settings.steps:
        updates = min(EVALUATION_INTERVAL, settings.steps - optimizer.steps)
        batches = DrawnBatches(lambda: _batch(training, settings.batch_size), updates)
        next(train_epochs(model, optimizer, batches, 1, settings.max_grad))
        error = mean_error(model, held_out, batches=5)
        solved = solved + 1 if error < SOLVED * held_out.error_ignoring_input else 0
    return optimizer.steps


def mean_error(model, held_out, batches):
    """Return the mean loss over a number of batches of 100 fresh sequences.

    Parameters
    ----------
    model : MemoryModel
    held_out : AddingProblem or CopyTask
    batches : int

    Returns
    -------
    float

    Raises
    ------
    InputError
        It is not finite.
    """
    error = float(sum(model.forward(*_batch(held_out, SEQUENCES_AT_ONCE)) for _ in range(batches))) / batches
    return expect_finite(error, "the loss")


def state_gradient_norms(model, held_out, settings):
    """Return the norm of dL/dh_t at each step, and what clipping does.

    Parameters
    ----------
    model : MemoryModel
    held_out : AddingProblem or CopyTask
    settings : Settings

    Returns
    -------
    norms : numpy.ndarray (T + 1,)
        Of dL/dh_t (N, H) for t = 0 to T, L being the mean loss of one batch.
    norm : float
        Of the gradient of all parameters.
    factor : float
        By which clipping multiplies that gradient.
    """
    xs, ts = _batch(held_out, settings.batch_size)
    gradients = np.to_cpu(model.state_gradients(xs, ts)).astype(numpy.float64)  # (N, T + 1, H), squares in float64
    model.forward(xs, ts)
    model.backward()
    norm = float(clip_grads(model.grads, settings.max_grad))
    return numpy.linalg.norm(gradients, axis=(0, 2)), norm, float(global_norm(model.grads)) / norm


def _batch(sequences, size):
    """Return xs and ts of a number of sequences, on the device in use."""
    xs, ts = sequences.batch(size)
    return np.to_device(xs), known_ids(ts) if ts.dtype.kind == "i" else np.to_device(ts)


def _norms_row(task, cell, weights, norms, norm, factor):
    T = len(norms) - 1
    return (task, cell, weights, *(f"{norms[T * quarter // 4]:.1e}" for quarter in range(5)),
            f"{norm:.2g}", f"{factor:.2g}")


def _save_errors(folder, task, lengths, errors, error_ignoring_input):
    curves = {cell: (lengths, errors[cell]) for cell in errors}
    curves["ignoring the input"] = (lengths, [error_ignoring_input] * len(lengths))
    save_curves(folder / f"{task}_error.png", curves, "length", ERRORS[task], f"{task}: error on fresh sequences")


def _save_norms(folder, task, length, weights, by_cell):
    curves = {}
    for cell, (norms, _, factor) in by_cell.items():
        curves[f"{cell}, before clipping"] = range(len(norms)), norms
        curves[f"{cell}, after clipping"] = range(len(norms)), factor * norms
    save_curves(folder / f"{task}_gradient_{weights}.png", curves, "t", "norm of dL/dh_t",
                f"{task} at length {length}: {weights} weights", yscale="log")


if __name__ == "__main__":
    sys.exit(main())
