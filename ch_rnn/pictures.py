"""Pictures of trained language models of the chapter on the simple RNN: `python -m ch_rnn.pictures --help`."""
import sys

from ch_rnn.models import MODELS
from common.watch.pictures import pictures


def main(argv=None):
    """Draw; returns the exit code."""
    return pictures("python -m ch_rnn.pictures", MODELS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
