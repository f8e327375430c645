"""An LSTM or a GRU, one line of arithmetic at a time: `python -m ch_lstm.step --help`."""
import sys

from common.layers.gru import TimeGRU
from common.layers.initial import recurrent_weights
from common.layers.lstm import TimeLSTM
from common.np import np
from common.watch import step


def main(argv=None):
    """Step through a tiny network; returns the exit code."""
    return step.run("python -m ch_lstm.step",
                    "Step through a tiny LSTM or GRU, forwards and backwards, one key for each line of arithmetic.",
                    _add_flags, _make_layer, argv)


def _add_flags(parser):
    parser.add_argument("--cell", choices=("lstm", "gru", "gru-reset-after"), default="lstm",
                        help="gru-reset-after is PyTorch's GRU (default: %(default)s)")


def _make_layer(args):
    D, H = args.wordvec_size, args.hidden_size
    if args.cell == "lstm":
        return TimeLSTM(*recurrent_weights(D, H, 4, np.float64))
    Wx, Wh, b = recurrent_weights(D, H, 3, np.float64)
    if args.cell == "gru":
        return TimeGRU(Wx, Wh, b)
    return TimeGRU(Wx, Wh, np.concatenate((b, b[:H])), reset_after=True)  # b (4H,)


if __name__ == "__main__":
    sys.exit(main())
