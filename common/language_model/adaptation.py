"""What --cache and --dynamic of the command evaluate add: the perplexity of a model that adapts to what it reads."""
import itertools
import math
from typing import Any

from common.cli.tables import format_table
from common.device.ids import Ids
from common.errors import InputError
from common.language_model.cache import cache_perplexities
from common.language_model.dynamic import RmsWithDecay, dynamic_perplexity, mean_squared_gradients
from common.language_model.model import LanguageModel
from common.np import Array
from common.optimizer import SGD
from common.training.metrics import format_perplexity

# The settings of each way to adapt: the default of each, found on a validation text, and what --tune tries.
WAYS: dict[str, dict[str, tuple[float, tuple[float, ...]]]] = {
    "cache": {"cache_window": (500, (200, 500, 2000)), "cache_theta": (0.6, (0.1, 0.3, 0.6, 1.0)),
              "cache_lambda": (0.2, (0.1, 0.2, 0.3))},
    "sgd": {"dynamic_lr": (0.3, (0.1, 0.2, 0.3, 0.5)), "dynamic_time_size": (5, (5,))},
    "rms": {"dynamic_lr": (0.001, (0.0005, 0.001, 0.002)), "dynamic_decay": (0.001, (0.0003, 0.001, 0.003)),
            "dynamic_time_size": (5, (5,))},
}
DYNAMIC_TOKENS = 10_000  # of the validation text, the most to tune dynamic evaluation on, which takes long
RMS_BATCHES = 200  # of 100 segments of the training text, to collect mean squared gradients from


def expect_consistent(wanted: Any) -> None:
    """Check that the settings of an adaptation go together.

    Parameters
    ----------
    wanted : EvaluateSettings

    Raises
    ------
    InputError
        They do not.
    """
    way = _way(wanted)
    for flag in dict.fromkeys(itertools.chain(*WAYS.values())):
        owners = [name for name, settings in WAYS.items() if flag in settings]
        if getattr(wanted, flag) is not None and way not in owners:
            raise InputError(f"--{flag.replace('_', '-')} goes with " + (
                "--cache" if owners == ["cache"] else "--dynamic rms" if owners == ["rms"] else "--dynamic"))
    if way is None:
        if wanted.tune:
            raise InputError("--tune goes with --cache or --dynamic, whose settings it chooses")
    elif wanted.book:
        raise InputError("--book goes with neither --cache nor --dynamic: they read the text as one strip")
    elif wanted.tune and all(len(values) == 1 for values in _choices(wanted).values()):
        raise InputError(f"--tune has nothing to choose: leave out --{next(iter(WAYS[way])).replace('_', '-')}, say")


def is_wanted(wanted: Any) -> bool:
    """Whether the settings ask for a model that adapts."""
    return _way(wanted) is not None


def needs_corpus(wanted: Any) -> bool:
    """Whether an adaptation reads the training or the validation text of the run, too."""
    return wanted.tune or wanted.dynamic == "rms"


def adapted_perplexity(wanted: Any, model: LanguageModel, ids: Array | Ids,
                       corpus: Any) -> tuple[str, float]:
    """Return how a model adapts, in words, and its perplexity on a text then.

    With --tune, the settings that were not given are chosen by the perplexity on the validation text alone, and what
    was tried is printed as a table.

    Parameters
    ----------
    wanted : EvaluateSettings
    model : LanguageModel
    ids : ndarray of int (n,), or Ids
        The text.
    corpus : Corpus or None
        That of the run, where `needs_corpus` says so.

    Raises
    ------
    InputError
        The updates of dynamic evaluation, or theta, are too large for the model.
    """
    way, choices = _way(wanted), _choices(wanted)
    squares = None
    if way == "rms":
        time_size, = choices["dynamic_time_size"]
        squares = mean_squared_gradients(model, corpus.train, time_size, batches=RMS_BATCHES)
    if wanted.tune:
        valid = corpus.valid if way == "cache" else corpus.valid[:DYNAMIC_TOKENS]
        if len(valid) < 2:
            raise InputError(f"the validation text has {len(valid)} tokens: at least 2 are needed to tune on")
        found = dict(_perplexities(way, model, valid, choices, squares))
        print(f"tried on {'the' if len(valid) == len(corpus.valid) else 'the beginning of the'} validation text "
              f"({len(valid):,} tokens):\n{_table(found, choices)}", flush=True)
        best = min(found, key=lambda values: found[values] if found[values] < math.inf else math.inf)  # NaN is worst
        choices = {flag: (value,) for flag, value in zip(choices, best)}
    (values, perplexity), = _perplexities(way, model, ids, choices, squares)
    if math.isnan(perplexity) or way != "cache" and perplexity == math.inf:
        raise InputError(f"the perplexity {_in_words(way, values)} is not finite: give a lower "
                         f"{'--cache-theta' if way == 'cache' else '--dynamic-lr'}")
    return _in_words(way, values), perplexity


def _way(wanted):
    return "cache" if wanted.cache else wanted.dynamic


def _choices(wanted):
    """Return the values to try of each setting: what is given, or the default, or with --tune several."""
    return {flag: (given,) if (given := getattr(wanted, flag)) is not None else tried if wanted.tune else (default,)
            for flag, (default, tried) in WAYS[_way(wanted)].items()}


def _perplexities(way, model, ids, choices, squares):
    """Yield the values of the settings, in their order, and the perplexity of a text with them."""
    if way == "cache":
        windows, thetas, lambdas = choices.values()
        for window in windows:
            rows = cache_perplexities(model, ids, window, thetas, lambdas)
            for theta, row in zip(thetas, rows):
                for lambda_, perplexity in zip(lambdas, row):
                    yield (window, theta, lambda_), perplexity
    else:
        for values in itertools.product(*choices.values()):
            *rates, time_size = values
            optimizer = SGD(*rates) if way == "sgd" else RmsWithDecay(model.params, squares, *rates)
            yield values, dynamic_perplexity(model, ids, optimizer, time_size)


def _table(found, flags):
    """Return the perplexities of values of settings as a table."""
    names = [flag.partition("_")[2].replace("_", " ") for flag in flags]
    rows = [(*(f"{value:g}" for value in values), format_perplexity(perplexity))
            for values, perplexity in found.items()]
    return format_table([(*names, "perplexity"), *rows], left=0)


def _in_words(way, values):
    if way == "cache":
        window, theta, lambda_ = values
        return f"with a cache of {window:,} tokens (theta {theta:g}, lambda {lambda_:g})"
    lr, *decays, time_size = values
    rates = ", ".join([f"lr {lr:g}", *(f"decay {decay:g}" for decay in decays)])
    return f"with dynamic evaluation by {way} ({rates}, an update every {time_size:,} tokens)"
