"""Settings of the commands train, evaluate and generate."""
import dataclasses
from pathlib import Path

from common import cli
from common.cli import setting
from common.optimizer import OPTIMIZERS
from dataset.corpus import UNITS


@dataclasses.dataclass(frozen=True)
class TrainSettings(cli.Settings):
    """Settings of a training run of a language model."""

    model: str = setting(cli.REQUIRED, "which network")
    corpus: str = setting("pydoc", "pydoc, ptb, or a text file")
    unit: str = setting("word", "what a token is", choices=UNITS)
    min_freq: int | None = setting(None, "rarer words become <unk>", cli.positive_int)
    max_tokens: int | None = setting(None, "tokens to train on, from the beginning of the text", cli.positive_int)
    windows: bool = setting(
        False, "read every window of T tokens, each from a state of zeros, instead of N strips with carried state")
    shuffle: bool = setting(False, "with --windows: in a new random order each epoch")
    epochs: int = setting(4, "times through the corpus", cli.positive_int)
    batch_size: int = setting(20, "N, strips or windows read side by side", cli.positive_int)
    time_size: int = setting(35, "T, number of steps that the gradient goes back", cli.positive_int)
    wordvec_size: int = setting(100, "D", cli.positive_int)
    hidden_size: int = setting(100, "H", cli.positive_int)
    dropout: float = setting(0.5, "dropout ratio, for models that use dropout", cli.ratio)
    optimizer: str = setting("sgd", "what updates the parameters", choices=OPTIMIZERS)
    lr: float = setting(20.0, "learning rate", cli.positive_float)
    lr_decay: float = setting(
        1.0, "divide the learning rate by this if validation gets worse; 1: no change", cli.at_least_one)
    max_grad: float | None = setting(0.25, "clip gradients to this global norm", cli.positive_float, optional=True)
    seed: int = setting(0, "random seed of weights and dropout", cli.natural)
    plain: bool = setting(False, "use the plain layers, slower and easy to step through")


@dataclasses.dataclass(frozen=True)
class TrainedSettings(cli.Settings):
    """Settings that name a trained model."""

    run: Path | None = setting(
        None, "folder of a training run (default: the newest under runs/)", Path, positional=True)
    checkpoint: str = setting("best", "best by validation, or last", choices=("best", "last"))


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(TrainedSettings):
    """Settings of the command evaluate."""

    split: str = setting("test", "the text to evaluate on", choices=("train", "valid", "test"))
    text: Path | None = setting(None, "a text file to evaluate on instead", Path)
    book: bool = setting(False, "evaluate in ten strips, as the book does")


@dataclasses.dataclass(frozen=True)
class GenerateSettings(TrainedSettings):
    """Settings of the command generate."""

    prompt: str | None = setting(None, "text to go on from (default: the beginning of a text)")
    length: int = setting(100, "tokens to add", cli.positive_int)
    temperature: float = setting(1.0, "below 1 favours the likely tokens", cli.positive_float)
    top_k: int | None = setting(None, "draw among the k most likely tokens only", cli.positive_int)
    top_p: float | None = setting(None, "draw among the most likely that add up to this probability", cli.probability)
    greedy: bool = setting(False, "always take the most likely token")
    ban: str = setting("", "words that are never generated, as one text")
    samples: int = setting(1, "texts to draw at once", cli.positive_int)
    seed: int | None = setting(None, "the same seed gives the same text", cli.natural)
