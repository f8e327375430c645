"""Report the perplexity of a trained model: `python -m ch_rnn.evaluate --help`."""
import sys

from ch_rnn.models import MODELS
from common.language_model.commands import evaluate


def main(argv=None):
    """Evaluate; returns the exit code."""
    return evaluate("python -m ch_rnn.evaluate", MODELS, argv)


if __name__ == "__main__":
    sys.exit(main())
