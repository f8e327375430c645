"""A simple recurrent network, one line of arithmetic at a time: `python -m ch_rnn.step --help`."""
import sys

from common.layers.initial import recurrent_weights
from common.layers.rnn import ACTIVATIONS, TimeRNN
from common.np import np
from common.watch import step


def main(argv=None):
    """Step through a tiny network; returns the exit code."""
    return step.run("python -m ch_rnn.step",
                    "Step through a tiny RNN, forwards and backwards, one key for each line of arithmetic.",
                    _add_flags, _make_layer, argv)


def _add_flags(parser):
    parser.add_argument("--activation", choices=ACTIVATIONS, default="tanh", help="default: %(default)s")


def _make_layer(args):
    return TimeRNN(*recurrent_weights(args.wordvec_size, args.hidden_size, 1, np.float64), activation=args.activation)


if __name__ == "__main__":
    sys.exit(main())
