"""Settings of the commands train, evaluate and generate."""
import dataclasses
from pathlib import Path

from common import cli
from common.cli import setting
from common.layers.stack import CELLS
from common.optimizer import ASGD, OPTIMIZERS
from common.training.schedules import SCHEDULES
from dataset.corpus import SPLIT, UNITS

RUN_OPTIMIZERS = OPTIMIZERS | {"asgd": ASGD}  # for a run evaluates the averages
MOST_EPOCHS = 50_000  # of which a checkpoint can hold the history
number_of_epochs = cli.Number(int, lambda value: 1 <= value <= MOST_EPOCHS, f"a whole number from 1 to {MOST_EPOCHS}")
beam_width = cli.Number(int, lambda value: 1 <= value <= 1000, "a whole number from 1 to 1000")
penalty = cli.Number(float, lambda value: 0 <= value <= 10, "a number from 0 to 10")  # as in `beam.search`


@dataclasses.dataclass(frozen=True)
class TrainSettings(cli.Settings):
    """Settings of a training run of a language model."""

    model: str = setting(cli.REQUIRED, "which network")
    corpus: str = setting("pydoc", "pydoc, ptb, or a text file")
    valid: str | None = setting(None, "a text file to validate on (default: a part of the corpus)")
    test: str | None = setting(None, "a text file to test on (default: a part of the corpus)")
    split: str = setting(SPLIT, "shares of a text file's tokens to train, validate and test on")
    encoding: str = setting("utf-8", "of the text files")
    unit: str = setting("word", "what a token is", choices=UNITS)
    keep_case: bool = setting(False, "leave capitals in words")
    keep_form: bool = setting(False, "leave characters in their Unicode form, instead of bringing them to NFC")
    min_freq: int | None = setting(None, "rarer words become <unk>", cli.positive_int)
    max_tokens: int | None = setting(None, "tokens to train on, from the beginning of the text", cli.positive_int)
    windows: bool = setting(
        False, "read every window of T tokens, each from a state of zeros, instead of N strips with carried state")
    shuffle: bool = setting(False, "with --windows: in a new random order each epoch")
    epochs: int = setting(4, "times through the corpus", number_of_epochs)
    minutes: float | None = setting(
        None, "end the run when this many minutes of training and evaluation are over, and let its schedule span them",
        cli.positive_float)
    patience: int | None = setting(
        None, "stop after this number of epochs without a better validation", cli.positive_int)
    batch_size: int = setting(20, "N, strips or windows read side by side", cli.positive_int)
    accumulate: int = setting(
        1, "compute each batch in this number of parts and add up their gradients, in less memory", cli.positive_int)
    time_size: int = setting(35, "T, number of steps that the gradient goes back", cli.positive_int)
    random_lengths: bool = setting(
        False, "read strips a random number of steps at a time, T on average, each with a learning rate in proportion")
    cell: str | None = setting(None, "kind of the recurrent layers, for a model of your own", choices=CELLS)
    layers: int = setting(1, "L, number of recurrent layers, of awd or a model of your own", cli.positive_int)
    tied: bool = setting(False, "share the weights of embedding and output layer, in awd or a model of your own")
    wordvec_size: int = setting(100, "D", cli.positive_int)
    hidden_size: int = setting(100, "H", cli.positive_int)
    dropout: float | None = setting(
        None, "dropout ratio, for models that use dropout (default: 0, of the model better 0.5, of awd 0.4)", cli.ratio)
    input_dropout: float | None = setting(
        None, "of the embedded input, for the model awd (default: 0.4)", cli.ratio)
    hidden_dropout: float | None = setting(None, "between two LSTM layers of awd (default: 0.25)", cli.ratio)
    embedding_dropout: float | None = setting(None, "of whole words, for awd (default: 0.1)", cli.ratio)
    weight_drop: float | None = setting(None, "of recurrent weights, for awd (default: 0.5)", cli.ratio)
    alpha: float | None = setting(
        None, "weight of the activation regularisation of awd (default: 2)", cli.not_negative)
    beta: float | None = setting(
        None, "weight of the temporal activation regularisation of awd (default: 1)", cli.not_negative)
    optimizer: str = setting(
        "sgd", "what updates the parameters; asgd is sgd that averages them, once validation has not got better for a "
        "while", choices=RUN_OPTIMIZERS)
    weight_decay: float | None = setting(None, "of adamw (default: 0.01), sgd or asgd (default: 0)", cli.not_negative)
    schedule: str | None = setting(
        None, "how the learning rate changes; plateau divides it by --lr-decay if validation gets worse, linear and "
        "cosine let it fall to 0 over all epochs (default: constant, with --lr-decay plateau)", choices=SCHEDULES)
    warmup: int = setting(0, "updates over which the learning rate grows to --lr", cli.natural)
    lr: float = setting(
        20.0, "learning rate; with another --optimizer than that of the recipe one that suits it", cli.positive_float)
    lr_decay: float = setting(
        1.0, "divide the learning rate by this if validation gets worse; 1: no change", cli.at_least_one)
    sampled_softmax: int | None = setting(
        None, "train by a softmax over the targets of each batch and this number of drawn words, instead of all words",
        cli.positive_int)
    full_softmax: float | None = setting(
        None, "with --sampled-softmax: share of the run, at its end, that takes all words (default: 0.2)", cli.ratio)
    unigram_bias: bool = setting(
        False, "start the output bias at the logarithms of the tokens' frequencies instead of 0")
    ppmi_embedding: bool = setting(
        False, "start the embedding at word vectors counted in the training text (PPMI), instead of random ones")
    max_grad: float | None = setting(0.25, "clip gradients to this global norm", cli.positive_float, optional=True)
    skip_nonfinite: bool = setting(
        False, "leave out and count batches whose loss or gradient is not finite, instead of stopping there")
    save_every: float = setting(
        60.0, "seconds from one checkpoint to the next inside an epoch; each epoch ends with one", cli.positive_float)
    seed: int = setting(0, "random seed of weights and dropout", cli.natural)
    plain: bool = setting(False, "use the plain layers, slower and easy to step through")


@dataclasses.dataclass(frozen=True)
class TrainedSettings(cli.Settings):
    """Settings that name a trained model."""

    run: Path | None = setting(
        None, "folder of a training run, or small: the small model that comes with ch_lstm (default: the newest run "
        "under runs/, or where there is none the small model)", Path, positional=True)
    checkpoint: str = setting("best", "best by validation, or last", choices=("best", "last"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaceSettings(cli.Settings):
    """Settings of a command that reads the text of a run again, which may lie elsewhere now."""

    corpus: str | None = setting(None, "where the text of the run is now (default: where it was)")
    valid: str | None = setting(None, "where its validation text is now, if that is a file of its own")
    test: str | None = setting(None, "where its test text is now, if that is a file of its own")


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(TrainedSettings, PlaceSettings):
    """Settings of the command evaluate."""

    split: str = setting("test", "the part of the run's text to evaluate on", choices=("train", "valid", "test"))
    text: Path | None = setting(None, "a text file to evaluate on instead", Path)
    encoding: str | None = setting(None, "of --text (default: that of the run's text)")
    book: bool = setting(False, "evaluate in ten strips, as the book does")
    cache: bool = setting(
        False, "also with a cache: words that followed similar states a short while ago become likelier",
        one_of="adaptation")
    dynamic: str | None = setting(
        None, "also while the model learns from what it has just predicted: by plain SGD, or by gradients divided by "
        "their size in training, with decay to the trained parameters", choices=("sgd", "rms"), one_of="adaptation")
    cache_window: int | None = setting(None, "tokens in the cache (default: 500)", cli.positive_int)
    cache_theta: float | None = setting(
        None, "how much more similar states count in the cache (default: 0.6)", cli.not_negative)
    cache_lambda: float | None = setting(None, "weight of the cache in the mixture (default: 0.2)", cli.ratio)
    dynamic_lr: float | None = setting(
        None, "learning rate of dynamic evaluation (default: 0.3 for sgd, 0.001 for rms)", cli.not_negative)
    dynamic_decay: float | None = setting(
        None, "share of the way back to the trained parameters that an update by rms goes (default: 0.001)",
        cli.not_negative)
    dynamic_time_size: int | None = setting(
        None, "tokens from one update of dynamic evaluation to the next (default: 5)", cli.positive_int)
    tune: bool = setting(
        False, "choose what is not given of the settings of --cache or --dynamic on the validation text")


@dataclasses.dataclass(frozen=True)
class GenerateSettings(TrainedSettings):
    """Settings of the command generate."""

    prompt: str | None = setting(None, "text to go on from (default: the beginning of a text)")
    unknown: str = setting("error", "what to do with unknown words of the prompt", choices=("error", "replace"))
    length: int = setting(100, "tokens to add", cli.positive_int)
    temperature: float = setting(1.0, "below 1 favours the likely tokens", cli.positive_float)
    top_k: int | None = setting(None, "draw among the k most likely tokens only", cli.positive_int)
    top_p: float | None = setting(None, "draw among the most likely that add up to this probability", cli.probability)
    greedy: bool = setting(False, "always take the most likely token")
    ban: str = setting("", "words that are never generated, as one text")
    samples: int = setting(1, "texts to draw at once", cli.positive_int)
    stream: bool = setting(False, "print each token as soon as it is drawn")
    seed: int | None = setting(None, "the same seed gives the same text", cli.natural)
    beam: int | None = setting(
        None, "draw nothing, but search for the likeliest text, with this number of candidates", beam_width)
    n_best: int | None = setting(
        None, "with --beam: print this number of texts, with their log probabilities", beam_width)
    until_eos: bool = setting(False, "with --beam: a text may be shorter and end with its line")
    length_penalty: float | None = setting(
        None, "with --until-eos: rank texts by log p / length^A, so that longer ones come first (default: 0)", penalty,
        metavar="A")
