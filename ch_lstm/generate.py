"""Generate text with a trained model: `python -m ch_lstm.generate --help`."""
import sys

from ch_lstm.models import MODELS
from common.language_model.commands import generate_text


def main(argv=None):
    """Generate; returns the exit code."""
    return generate_text("python -m ch_lstm.generate", MODELS, argv)


if __name__ == "__main__":
    sys.exit(main())
