"""Days of weather by a rule with chance in it, so that the best possible forecast is known exactly.

Spells of weather follow each other in a circle: three sunny days, a cloudy one, two rainy ones. Each day
keeps to this rule with probability 1 - noise; otherwise it is one of the two other kinds, both as likely.
A broken spell is not made up for: only how many days the present one has lasted decides what comes next.

So the weather is a Markov chain of third order. From its stationary distribution over three consecutive days
follows how often the best forecast is right that sees the last three days, or fewer.
"""
import itertools
from collections.abc import Sequence

import numpy

from common.errors import InputError

WEATHER = ("sunny", "cloudy", "rainy")
SPELLS = (3, 1, 2)  # days that each kind lasts
ORDER = max(SPELLS)
NOISE = 0.1


def forecast(days: Sequence[int] | numpy.ndarray) -> int:
    """Return the kind of weather that the rule gives for the day after `days`.

    Parameters
    ----------
    days : sequence of int
        Places in `WEATHER`, today last; at least `ORDER`.

    Returns
    -------
    int
    """
    today = days[-1]
    is_over = all(day == today for day in days[-SPELLS[today]:])
    return (today + 1) % len(WEATHER) if is_over else today


def generate(days: int, noise: float = NOISE, seed: int = 0) -> numpy.ndarray:
    """Draw days of weather, the first ones from the stationary distribution.

    Parameters
    ----------
    days : int
        n.
    noise : float
        Probability, in [0, 1), that a day breaks the rule.
    seed : int

    Returns
    -------
    ndarray (n,) of int32
        Places in `WEATHER`.

    Raises
    ------
    InputError
        `days` is below 1, or `noise` is out of range.
    """
    if days < 1:
        raise InputError(f"days must be at least 1, got {days}")
    first_days = stationary(noise)  # (3, 3, 3)
    rng = numpy.random.default_rng(seed)
    start = rng.choice(first_days.size, p=first_days.ravel())
    weather = [int(day) for day in numpy.unravel_index(start, first_days.shape)]
    is_broken = rng.random(days) < noise  # (n,)
    shifts = is_broken * rng.integers(1, len(WEATHER), days)  # (n,)
    for shift in shifts[ORDER:].tolist():
        weather.append((forecast(weather[-ORDER:]) + shift) % len(WEATHER))
    return numpy.array(weather[:days], dtype=numpy.int32)  # (n,)


def next_day(noise: float = NOISE) -> numpy.ndarray:
    """Return the probability of each kind of weather after every three days.

    Parameters
    ----------
    noise : float
        As in `generate`.

    Returns
    -------
    ndarray (3, 3, 3, 3)
        By the days in their order; the last axis sums to 1.

    Raises
    ------
    InputError
        `noise` is out of range.
    """
    if not 0 <= noise < 1:
        raise InputError(f"noise must be in [0, 1), got {noise}")
    kinds = len(WEATHER)
    probabilities = numpy.full((kinds,) * (ORDER + 1), noise / (kinds - 1))  # (3, 3, 3, 3)
    for days in itertools.product(range(kinds), repeat=ORDER):
        probabilities[(*days, forecast(days))] = 1 - noise
    return probabilities


def stationary(noise: float = NOISE) -> numpy.ndarray:
    """Return the share of every three consecutive days in endless weather.

    It solves p(b, c, d) = sum over a of p(a, b, c) P(d | a, b, c).

    Parameters
    ----------
    noise : float
        As in `generate`.

    Returns
    -------
    ndarray (3, 3, 3)
        Sums to 1.
    """
    kinds = len(WEATHER)
    states = kinds**ORDER
    step = next_day(noise).reshape(states, kinds)  # (27, 3)
    balance = -numpy.eye(states)  # (27, 27)
    for state, day in itertools.product(range(states), range(kinds)):
        next_state = state * kinds % states + day  # the first of the three days falls away
        balance[next_state, state] += step[state, day]
    balance[-1] = 1  # one equation follows from the others; the shares sum to 1 instead
    shares = numpy.linalg.solve(balance, numpy.eye(states)[-1])  # (27,)
    return shares.clip(0).reshape((kinds,) * ORDER)  # rounding may leave a 0 below 0


def best_accuracy(seen: int, noise: float = NOISE) -> float:
    """Return how often the best forecast that sees only the last days is right.

    Parameters
    ----------
    seen : int
        Days it sees, 0 to `ORDER`; more do not help.
    noise : float
        As in `generate`.

    Returns
    -------
    float
        Sum, over all runs of days it can see, of the joint probability of that run and the likeliest next day.

    Raises
    ------
    InputError
        `seen` or `noise` is out of range.
    """
    if not 0 <= seen <= ORDER:
        raise InputError(f"seen must be from 0 to {ORDER}, got {seen}")
    together = stationary(noise)[..., None] * next_day(noise)  # (3, 3, 3, 3)
    unseen = tuple(range(ORDER - seen))
    return float(together.sum(axis=unseen).max(axis=-1).sum())
