"""An RNN forecasts the weather: `python -m ch_rnn.weather --help`.

The idea: today alone does not tell tomorrow's weather, the days before matter too, and an RNN keeps in its
state what it needs of them. The weather of `dataset.weather` follows a rule with chance in it, so it is known
how often the best possible forecast is right, and how often the best that sees today only.

Three kinds of weather are three words: the model is the chapter's language model, with V = 3.
"""
import dataclasses
import sys

import numpy

from ch_rnn.simple_rnnlm import SimpleRnnlm
from common import cli
from common.cli import setting
from common.cli.tables import format_table
from common.errors import InputError
from common.functions import softmax
from common.np import np
from common.optimizer import Adam
from common.training.batches import StripBatches
from common.training.epochs import train_epochs
from dataset import weather

BATCH_SIZE, TIME_SIZE = 20, 20
WORDVEC_SIZE = 4
HELD_OUT = 20_000


@dataclasses.dataclass(frozen=True)
class Settings(cli.Settings):
    """Settings of the script."""

    noise: float = setting(weather.NOISE, "probability that a day breaks the rule", cli.ratio)
    days: int = setting(20_000, f"to train on; {HELD_OUT} more are held out", cli.positive_int)
    hidden_size: int = setting(16, "H, size of the state", cli.positive_int)
    epochs: int = setting(6, "times through the days to train on", cli.positive_int)
    lr: float = setting(0.01, "of Adam", cli.positive_float)
    seed: int = setting(0, "of weather and weights", cli.natural)


def main(argv=None):
    """Train and compare; returns the exit code."""
    return cli.run("python -m ch_rnn.weather", _weather, argv)


def _weather(argv):
    settings = cli.SettingsParser("python -m ch_rnn.weather",
                                  "Train an RNN to forecast generated weather and compare it with the best possible.",
                                  Settings).settings(argv)
    if settings.days <= BATCH_SIZE * TIME_SIZE:
        raise InputError(f"--days must be above {BATCH_SIZE * TIME_SIZE}, one batch, got {settings.days}")
    if settings.noise > 2 / 3:
        raise InputError(f"--noise must be at most 2/3, else the rule's day is the unlikeliest, got {settings.noise}")
    days = np.to_device(weather.generate(settings.days + HELD_OUT, settings.noise, settings.seed))  # (n,)
    training, held_out = days[:settings.days], days[settings.days:]
    model = SimpleRnnlm(len(weather.WEATHER), WORDVEC_SIZE, settings.hidden_size, seed=settings.seed)
    batches = StripBatches(training[:-1], training[1:], BATCH_SIZE, TIME_SIZE)
    for epoch, loss in enumerate(train_epochs(model, Adam(settings.lr), batches, settings.epochs), start=1):
        right = accuracy(model, held_out)
        print(f"epoch {epoch}: training loss {loss:.4f}, {right:.2%} of the held-out days right")
    print_comparison(model, held_out, settings.noise)
    print_season(model)


def accuracy(model, days):
    """Return the share of days (n,), all but the first, that the model forecasts from all days before."""
    with model.fresh_state():
        scores = model.predict(days[None, :-1])[0]  # (n - 1, 3)
    return float((scores.argmax(axis=1) == days[1:]).mean())


def print_comparison(model, days, noise):
    """Print how often the best forecasts can be right, and how often the model and the rule are on days (n,)."""
    best = [f"{weather.best_accuracy(seen, noise):.2%}" for seen in range(weather.ORDER + 1)]
    on_host = np.to_cpu(days).tolist()
    order = weather.ORDER
    by_rule = [weather.forecast(on_host[i - order:i]) == on_host[i] for i in range(order, len(on_host))]
    print()
    print(format_table([
        ("forecast from", "best possible", "on the held-out days"),
        ("no day at all", best[0], ""),
        ("today", best[1], ""),
        ("the last two days", best[2], ""),
        ("the last three days: the rule", best[3], f"{sum(by_rule) / len(by_rule):.2%}"),
        ("all days: the RNN", best[3], f"{accuracy(model, days):.2%}"),
    ]))


def print_season(model):
    """Print the model's forecast on each day of a season without chance, in which spells have their rule's lengths."""
    season = numpy.repeat(range(len(weather.WEATHER)), weather.SPELLS)  # (6,)
    xs = np.to_device(season[None])  # (1, 6)
    with model.fresh_state():
        model.predict(xs)
        probabilities = softmax(model.predict(xs))[0]  # (6, 3)
    print("\nA season by the rule, and the RNN's forecast for each next day:\n")
    rows: list[tuple[str, ...]] = [("today", *weather.WEATHER)]
    for today, forecast in zip(season.tolist(), probabilities.tolist()):
        rows.append((weather.WEATHER[today], *(f"{probability:.1%}" for probability in forecast)))
    print(format_table(rows))


if __name__ == "__main__":
    sys.exit(main())
