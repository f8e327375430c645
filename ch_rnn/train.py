"""Train a language model of the chapter on the simple RNN: `python -m ch_rnn.train --help`."""
import sys

from ch_rnn.models import MODELS, RECIPES
from common.language_model.commands import train


def main(argv=None):
    """Train; returns the exit code."""
    return train("python -m ch_rnn.train", MODELS, RECIPES, argv, cell="rnn")


if __name__ == "__main__":
    sys.exit(main())
