"""What an LSTM is for, remembering over many steps: `python -m ch_lstm.memory --help`.

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
import argparse
import sys
import time
from pathlib import Path

import numpy

from ch_lstm.memory_model import MemoryModel
from common import cli
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
from common.training.epochs import expect_finite, train_epochs
from dataset.memory_tasks import AddingProblem, CopyTask

DEFAULTS = {
    "task": "adding", "cell": "all", "lengths": [10, 25, 50, 100, 200], "steps": 2000, "batch_size": 50,
    "hidden_size": 64, "memory_bias": 8, "lr": 0.01, "max_grad": 1.0, "seed": 0, "out": None,
}
SMOKE = {"task": "all", "lengths": [4, 8], "steps": 2, "batch_size": 4, "hidden_size": 8}
TASKS = {"adding": (AddingProblem, MeanSquaredError), "copy": (CopyTask, TimeSoftmaxWithLoss)}
ERRORS = {"adding": "mean squared error", "copy": "cross entropy, nats a symbol"}

SOLVED = 0.05  # of the error of ignoring the input
EVALUATION_INTERVAL = 100  # steps
SEQUENCES_AT_ONCE = 100

ROW = "{:6}  {:>6}  {:4}  {:>7}  {:>18}  {:>5}  {:>7}"


def main(argv=None):
    """Train and print; returns the exit code."""
    return cli.run("python -m ch_lstm.memory", _memory, argv)


def _parser():
    parser = cli.Parser(
        prog="python -m ch_lstm.memory", argument_default=argparse.SUPPRESS,
        description="Train RNN, LSTM and GRU to remember over many steps, and follow the gradient back through them.")
    add = cli.flag_adder(parser, DEFAULTS)
    add("--task", "what to learn", choices=[*TASKS, "all"])
    add("--cell", "which models to train", choices=[*CELLS, "all"])
    add("--lengths", "steps of the adding problem, blanks of the copy task", type=cli.positive_int, nargs="+")
    add("--steps", "most updates of a model, which stops once it has solved its task", type=cli.positive_int)
    add("--batch-size", "N", type=cli.positive_int)
    add("--hidden-size", "H", type=cli.positive_int)
    add("--memory-bias", "largest bias by which gates hold on to the state at first; 0 for none", type=cli.natural)
    add("--lr", "learning rate of Adam", type=cli.positive_float)
    add("--max-grad", "clip gradients to this global norm", type=cli.positive_float)
    add("--seed", "of weights and sequences", type=cli.natural)
    parser.add_argument("--out", type=Path, help="a new folder for pictures of the errors and of the norms")
    parser.add_argument("--smoke", action="store_true",
                        help="a tiny run of a few seconds, to see that everything works")
    cli.add_device(parser)
    return parser


def _memory(argv):
    given = vars(_parser().parse_args(argv))
    cli.use_device(given.pop("device"))
    smoke = SMOKE if given.pop("smoke", False) else {}
    config = DEFAULTS | smoke | given
    config["lengths"] = sorted(set(config["lengths"]))
    if config["task"] != "copy" and config["lengths"][0] < 2:
        raise InputError("the adding problem needs --lengths of at least 2, for its two markers")
    if config["out"] is not None:
        cli.new_folder(config["out"])
    norms = [("task", "cell", "weights", "t = 0", "T/4", "T/2", "3T/4", "T", "parameters", "factor")]
    print(ROW.format("task", "length", "cell", "error", "ignoring the input", "steps", "seconds"), flush=True)
    for task in TASKS if config["task"] == "all" else [config["task"]]:
        with numpy.errstate(all="ignore"):  # a loss that overflows is an error of its own; NumPy need not warn as well
            norms += _run(task, config)
    print(f"\nlength {config['lengths'][-1]}: norms of dL/dh_t at five steps t and of the gradient of all parameters,\n"
          f"and the factor by which clipping multiplies them\n\n{format_table(norms, left=3)}")


def _run(task, config):
    """Train each cell at each length, print a row for each, and return the rows of norms."""
    cells = list(CELLS) if config["cell"] == "all" else [config["cell"]]
    lengths = config["lengths"]
    errors = {cell: [] for cell in cells}
    norms = {"initial": {}, "trained": {}}  # weights -> cell -> what state_gradient_norms returns
    for length in lengths:
        for cell in cells:
            model, training, held_out = build(task, cell, length, config)
            if length == lengths[-1]:
                norms["initial"][cell] = state_gradient_norms(model, held_out, config)
            start = time.perf_counter()
            steps = train(model, training, held_out, config)
            seconds = time.perf_counter() - start
            error = mean_error(model, held_out, batches=10)
            print(ROW.format(task, length, cell, f"{error:.4f}", f"{training.error_ignoring_input:.4f}",
                             steps, f"{seconds:.1f}"), flush=True)
            errors[cell].append(error)
            if length == lengths[-1]:
                norms["trained"][cell] = state_gradient_norms(model, held_out, config)
    if config["out"] is not None:
        _save_errors(config["out"], task, lengths, errors, training.error_ignoring_input)
        for weights, by_cell in norms.items():
            _save_norms(config["out"], task, lengths[-1], weights, by_cell)
    return [_norms_row(task, cell, weights, *norms[weights][cell]) for cell in cells for weights in norms]


def build(task, cell, length, config):
    """Return a fresh model, and the sequences to train on and to hold out.

    Parameters
    ----------
    task : {"adding", "copy"}
    cell : {"rnn", "lstm", "gru"}
    length : int
    config : dict
        The settings, as `DEFAULTS`.

    Returns
    -------
    model : MemoryModel
    training, held_out : AddingProblem or CopyTask
        The same for every cell.
    """
    make_sequences, make_loss = TASKS[task]
    # [seed, 0] would be the generator of the weights.
    training, held_out = (make_sequences(length, seed=[config["seed"], part]) for part in (1, 2))
    model = MemoryModel(cell, training.input_size, config["hidden_size"], training.output_size,
                        training.answer_steps, make_loss(), config["memory_bias"], config["seed"])
    return model, training, held_out


def train(model, training, held_out, config):
    """Train until a model has solved its task, in two evaluations one after the other, or has made all its steps.

    Parameters
    ----------
    model : MemoryModel
    training, held_out : AddingProblem or CopyTask
    config : dict

    Returns
    -------
    int
        Updates made.
    """
    optimizer = Adam(config["lr"])
    solved = 0
    while solved < 2 and optimizer.steps < config["steps"]:
        updates = min(EVALUATION_INTERVAL, config["steps"] - optimizer.steps)
        batches = DrawnBatches(lambda: _batch(training, config["batch_size"]), updates)
        next(train_epochs(model, optimizer, batches, 1, config["max_grad"]))
        error = mean_error(model, held_out, batches=5)
        solved = solved + 1 if error < SOLVED * held_out.error_ignoring_input else 0
    return optimizer.steps


def mean_error(model, held_out, batches):
    """Return the mean loss over so many batches of 100 fresh sequences.

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


def state_gradient_norms(model, held_out, config):
    """Return the norm of dL/dh_t at each step, and what clipping does.

    Parameters
    ----------
    model : MemoryModel
    held_out : AddingProblem or CopyTask
    config : dict

    Returns
    -------
    norms : numpy.ndarray (T + 1,)
        Of dL/dh_t (N, H) for t = 0 to T, L being the mean loss of one batch.
    norm : float
        Of the gradient of all parameters.
    factor : float
        By which clipping multiplies that gradient.
    """
    xs, ts = _batch(held_out, config["batch_size"])
    gradients = np.to_cpu(model.state_gradients(xs, ts)).astype(numpy.float64)  # (N, T + 1, H), squares in float64
    model.forward(xs, ts)
    model.backward()
    norm = float(clip_grads(model.grads, config["max_grad"]))
    return numpy.linalg.norm(gradients, axis=(0, 2)), norm, float(global_norm(model.grads)) / norm


def _batch(sequences, size):
    """Return xs and ts of so many sequences, on the device in use."""
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
