"""Pictures of trained models of the chapter on the LSTM, and of gradients: `python -m ch_lstm.pictures --help`."""
import contextlib
import dataclasses
import math
import sys
from pathlib import Path

import numpy

from ch_lstm import classify, memory
from ch_lstm.models import MODELS
from common import cli, plots
from common.cli import setting
from common.errors import InputError
from common.layers.stack import CELLS
from common.np import np
from common.optimizer import SGD
from common.training.batches import DrawnBatches
from common.training.clip import global_norm
from common.training.epochs import train_epochs
from common.training.metrics import accuracy
from common.watch.pictures import Picture, PictureSettings, pictures

SMALL, LARGE = 0.5, 3.0  # by which the recurrent weights are multiplied, drawn with a standard deviation of 1 / sqrt(H)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientsSettings(PictureSettings):
    """Settings of the picture `gradients`."""

    length: int = setting(50, "time steps T of the adding problem", cli.positive_int)
    hidden_size: int = setting(64, "H", cli.positive_int)
    batch_size: int = setting(50, "N", cli.positive_int)
    memory_bias: int = setting(
        8, "largest bias that makes the gates of LSTM and GRU keep the state; 0 for none", cli.natural)
    steps: int = setting(200, "updates of the RNN that is trained", cli.positive_int)
    lr: float = setting(0.1, "learning rate of its SGD", cli.positive_float)
    max_grad: float = setting(1.0, "clip gradients to this global norm", cli.positive_float)
    seed: int = setting(0, "of weights and sequences", cli.natural)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionSettings(PictureSettings):
    """Settings of the picture `confusion`."""

    run: Path = setting(cli.REQUIRED, "folder of a run of ch_lstm.classify", Path, positional=True)


def main(argv=None):
    """Draw; returns the exit code."""
    return pictures("python -m ch_lstm.pictures", MODELS, {
        "gradients": Picture("How gradients vanish and explode in RNN, LSTM and GRU, and what clipping does to them.",
                             GradientsSettings, _draw_gradients),
        "confusion": Picture("The confusion matrix of a run of ch_lstm.classify, on its test part.",
                             ConfusionSettings, _draw_confusion),
    }, argv)


# Gradients


def _draw_gradients(settings, models):
    """Draw the norm of dL/dh_t before training, for small and large recurrent weights, and an RNN's training.

    Before training the answer to "what does clipping change?" is one factor for the whole curve: it lowers a gradient
    that exploded, keeps its shape, and leaves one that vanished as small as it was. Over training it is what keeps one
    steep place from throwing all parameters away.
    """
    if settings.length < 2:
        raise InputError("the adding problem needs a --length of at least 2, for its two markers")
    panels, first = {}, {}
    with numpy.errstate(all="ignore"):  # training without clipping is meant to overflow
        for words, scale in ("small", SMALL), ("large", LARGE):
            before, after = {}, {}
            for cell in CELLS:
                model, _, held_out = _build(cell, settings, scale)
                norms, _, factor = memory.state_gradient_norms(model, held_out, settings)
                before[cell.upper()] = norms
                after[f"{cell.upper()} after clipping"] = norms * factor
                first[cell, words] = norms[0]
            panels[f"{words} recurrent weights: {scale:g} / sqrt(H)"] = plots.gradient_norms_panel(before, after)
        unclipped, clipped = ([*_train(settings, max_grad)] for max_grad in (None, settings.max_grad))
    if len(clipped) < settings.steps:
        raise InputError(f"even with clipping the loss overflows, at update {len(clipped) + 1}: try a lower --lr")
    panels["gradient of all parameters of an RNN in training"] = dict(curves={
        "without clipping": _curve([norm for norm, _ in unclipped]),
        "with clipping, before it": _curve([norm for norm, _ in clipped]),
        "with clipping, after it": _curve([min(norm, settings.max_grad) for norm, _ in clipped]),
    }, xlabel="update", ylabel="global norm", yscale="log", ylim=_within(norm for norm, _ in clipped))
    panels["loss of the same RNN"] = dict(curves={
        "without clipping": _curve([loss for _, loss in unclipped]),
        "with clipping": _curve([loss for _, loss in clipped]),
    }, xlabel="update", ylabel="mean squared error", yscale="log", ylim=_within(loss for _, loss in clipped))
    numbers = ", ".join(f"{cell.upper()} {first[cell, 'small']:.0e} and {first[cell, 'large']:.0e}" for cell in CELLS)
    end = (f"without clipping the loss overflows at update {len(unclipped) + 1}" if len(unclipped) < settings.steps
           else f"without clipping the loss ends at {unclipped[-1][1]:.2g}")
    return (plots.panels_figure(panels, f"adding problem of {settings.length} steps"),
            f"norm of dL/dh_0 with small and large weights: {numbers}; {end}, with clipping it is {clipped[-1][1]:.2g}")


def _curve(values):
    return range(1, len(values) + 1), values


def _within(values):
    """Return limits of a log scale around the curve with clipping; the one without may leave the picture."""
    values = list(values)
    return min(values) / 5, 1000 * max(values)


def _build(cell, settings, scale):
    """Return what `memory.build` does, the recurrent weights multiplied by a number."""
    model, training, held_out = memory.build("adding", cell, settings.length, settings)
    model.recurrent.params[1][...] *= scale
    return model, training, held_out


def _train(settings, max_grad):
    """Train an RNN by plain SGD, and yield the global norm before clipping and the loss of each update.

    Ends early where one of them is no longer finite.
    """
    model, training, _ = _build("rnn", settings, 1.0)
    batches = DrawnBatches(lambda: map(np.to_device, training.batch(settings.batch_size)), 1)
    norms = []

    def before_update(loss, targets):
        norms.append(float(global_norm(model.grads)))

    with contextlib.suppress(InputError):  # it says that the loss is not finite, which is meant to be seen here
        for loss in train_epochs(model, SGD(settings.lr), batches, settings.steps, max_grad, before_update):
            if not math.isfinite(norms[-1]):
                return
            yield norms[-1], loss


# The confusion matrix


def _draw_confusion(args, models):
    settings, vocabulary, model = classify.load_run(args.run)
    matrix = classify.confusion_on_test(settings, vocabulary, model)  # (K, K)
    share = f"{accuracy(matrix):.1%} of {matrix.sum():,}"
    return (plots.confusion_figure(matrix, settings.classes, f"{settings.task}, {settings.cell.upper()}: {share}"),
            f"{share} right")


if __name__ == "__main__":
    sys.exit(main())
