import itertools

import numpy
import pytest

from common.errors import InputError
from dataset import weather

SUNNY, CLOUDY, RAINY = range(3)
NOISES = [0, 0.1, 0.3, 0.8]


def endless_quadruples(noise):
    """The share of every four consecutive days in endless weather, day by day from any beginning."""
    shares = dict.fromkeys(itertools.product(range(3), repeat=3), 1 / 27)
    mean = dict.fromkeys(itertools.product(range(3), repeat=4), 0.0)
    for step in range(400 + 600):  # 600 is a multiple of the six days of a season, without noise the period
        after = dict.fromkeys(shares, 0.0)
        for days, share in shares.items():
            expected = weather.forecast(days)
            for day in range(3):
                probability = share * (1 - noise if day == expected else noise / 2)
                after[(*days[1:], day)] += probability
                if step >= 400:
                    mean[(*days, day)] += probability / 600
        shares = after
    return mean


@pytest.fixture(scope="module", params=NOISES)
def quadruples(request):
    return request.param, endless_quadruples(request.param)


@pytest.mark.parametrize("days, tomorrow", [
    ((RAINY, RAINY, SUNNY), SUNNY),
    ((RAINY, SUNNY, SUNNY), SUNNY),
    ((SUNNY, SUNNY, SUNNY), CLOUDY),
    ((SUNNY, SUNNY, CLOUDY), RAINY),
    ((CLOUDY, CLOUDY, CLOUDY), RAINY),
    ((SUNNY, CLOUDY, RAINY), RAINY),
    ((CLOUDY, RAINY, RAINY), SUNNY),
    ((RAINY, RAINY, RAINY), SUNNY),
    ((RAINY, SUNNY, RAINY), RAINY),
    ((RAINY, RAINY, SUNNY, SUNNY, SUNNY), CLOUDY),
])
def test_the_rule(days, tomorrow):
    assert weather.forecast(days) == tomorrow


def test_without_noise_seasons_repeat_from_every_possible_day():
    beginnings = set()
    for seed in range(60):
        text = "".join("scr"[day] for day in weather.generate(30, noise=0, seed=seed))
        assert text in "ssscrr" * 6
        beginnings.add(text[:3])
    assert len(beginnings) == 6


def test_days_break_the_rule_as_often_as_the_noise_says():
    days = weather.generate(20_000, noise=0.3, seed=4).tolist()
    shifts = [(days[i] - weather.forecast(days[i - 3:i])) % 3 for i in range(3, len(days))]
    shares = numpy.bincount(shifts) / len(shifts)
    numpy.testing.assert_allclose(shares, [0.7, 0.15, 0.15], atol=4 * (0.3 * 0.7 / 20_000)**0.5)  # four deviations


def test_stationary_shares_are_those_of_endless_weather(quadruples):
    noise, shares = quadruples
    ours = weather.stationary(noise)[..., None] * weather.next_day(noise)
    for days, share in shares.items():
        assert ours[days] == pytest.approx(share, abs=1e-12)
    assert weather.stationary(noise).sum() == pytest.approx(1)


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_best_accuracy_is_that_of_the_best_of_all_forecasters(quadruples, seen):
    noise, shares = quadruples
    together = numpy.zeros((3**seen, 3))  # last days seen, tomorrow
    for (*days, tomorrow), share in shares.items():
        together[int("0" + "".join(map(str, days[3 - seen:])), 3), tomorrow] += share
    rows = together.tolist()
    forecasters = itertools.product(range(3), repeat=len(rows))  # a forecast for everything that can be seen
    best = max(sum(row[day] for row, day in zip(rows, forecaster)) for forecaster in forecasters)
    assert weather.best_accuracy(seen, noise) == pytest.approx(best, abs=1e-12)


def test_best_accuracy_on_the_back_of_an_envelope():
    for seen, right_of_six_days in enumerate((3, 4, 5, 6)):  # without noise: a season is s s s c r r
        assert weather.best_accuracy(seen, noise=0) == pytest.approx(right_of_six_days / 6)
    for noise in (0.05, 0.1, 0.5):
        assert weather.best_accuracy(3, noise) == pytest.approx(1 - noise)
    for seen in range(4):
        assert weather.best_accuracy(seen, noise=2 / 3) == pytest.approx(1 / 3)  # nothing but chance


def test_weather_begins_in_the_stationary_distribution():
    first = [tuple(weather.generate(3, noise=0.3, seed=seed)) for seed in range(1000)]
    counts = numpy.zeros((3, 3, 3))
    numpy.add.at(counts, tuple(zip(*first)), 1)
    shares = weather.stationary(0.3)
    chi_square = ((counts - 1000 * shares)**2 / (1000 * shares)).sum()
    assert chi_square < 26 + 4 * (2 * 26)**0.5  # mean and four deviations for 27 - 1 degrees of freedom


def test_the_seed_decides():
    days = weather.generate(1000, seed=1)
    assert days.shape == (1000,) and days.dtype == numpy.int32
    assert numpy.array_equal(days, weather.generate(1000, seed=1))
    assert not numpy.array_equal(days, weather.generate(1000, seed=2))
    assert weather.generate(1, seed=1).shape == (1,)


@pytest.mark.parametrize("call, message", [
    (lambda: weather.generate(0), "days must be at least 1, got 0"),
    (lambda: weather.generate(5, noise=1), r"noise must be in \[0, 1\), got 1"),
    (lambda: weather.next_day(-0.1), r"noise must be in \[0, 1\), got -0.1"),
    (lambda: weather.best_accuracy(4), "seen must be from 0 to 3, got 4"),
    (lambda: weather.best_accuracy(-1), "seen must be from 0 to 3, got -1"),
])
def test_wrong_use(call, message):
    with pytest.raises(InputError, match=message):
        call()
