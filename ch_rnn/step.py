"""A simple recurrent network, one line of arithmetic at a time: `python -m ch_rnn.step --help`."""
import dataclasses
import sys

from common.cli import setting
from common.layers.initial import recurrent_weights
from common.layers.rnn import ACTIVATIONS, TimeRNN
from common.np import np
from common.watch import step


@dataclasses.dataclass(frozen=True)
class Settings(step.StepSettings):
    """Settings of the script."""

    activation: str = setting("tanh", "of the state", choices=ACTIVATIONS)


def main(argv=None):
    """Step through a tiny network; returns the exit code."""
    return step.run("python -m ch_rnn.step",
                    "Step through a tiny RNN, forwards and backwards, one key for each line of arithmetic.",
                    Settings, _make_layer, argv)


def _make_layer(settings):
    return TimeRNN(*recurrent_weights(settings.wordvec_size, settings.hidden_size, 1, np.float64),
                   activation=settings.activation)


if __name__ == "__main__":
    sys.exit(main())
