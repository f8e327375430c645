"""An LSTM or a GRU, one line of arithmetic at a time: `python -m ch_lstm.step --help`."""
import dataclasses
import sys

from common.cli import setting
from common.layers.gru import TimeGRU
from common.layers.initial import recurrent_weights
from common.layers.lstm import TimeLSTM
from common.np import np
from common.watch import step


@dataclasses.dataclass(frozen=True)
class Settings(step.StepSettings):
    """Settings of the script."""

    cell: str = setting("lstm", "gru-reset-after is PyTorch's GRU", choices=("lstm", "gru", "gru-reset-after"))


def main(argv=None):
    """Step through a tiny network; returns the exit code."""
    return step.run("python -m ch_lstm.step",
                    "Step through a tiny LSTM or GRU, forwards and backwards, one key for each line of arithmetic.",
                    Settings, _make_layer, argv)


def _make_layer(settings):
    D, H = settings.wordvec_size, settings.hidden_size
    if settings.cell == "lstm":
        return TimeLSTM(*recurrent_weights(D, H, 4, np.float64))
    Wx, Wh, b = recurrent_weights(D, H, 3, np.float64)
    if settings.cell == "gru":
        return TimeGRU(Wx, Wh, b)
    return TimeGRU(Wx, Wh, np.concatenate((b, b[:H])), reset_after=True)  # b (4H,)


if __name__ == "__main__":
    sys.exit(main())
