import contextlib
import io
import re

import numpy
import pytest
from any_device import np

from ch_rnn import weather as script
from ch_rnn.simple_rnnlm import SimpleRnnlm
from dataset import weather


@pytest.fixture(scope="module")
def output():
    """What a run prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert script.main(["--epochs", "3"]) == 0
    return printed.getvalue()


@pytest.fixture
def short_output(device, capsys, monkeypatch):
    """What a short run prints on each device."""
    monkeypatch.setattr(script, "HELD_OUT", 1000)
    assert script.main(["--days", "4000", "--epochs", "3", "--device", device]) == 0
    return capsys.readouterr().out


def percentages(line):
    return [float(number) for number in re.findall(r"([\d.]+)%", line)]


def line_with(text, output):
    return next(line for line in output.splitlines() if text in line)


@pytest.mark.training
def test_the_rnn_comes_within_a_point_of_the_best_possible(output):
    best, found = percentages(line_with("all days: the RNN", output))
    assert best == 90
    assert abs(found - best) < 1


def test_best_accuracies_are_the_rules(short_output):
    for text, seen in (("no day at all", 0), ("today ", 1), ("two days", 2), ("three days", 3)):
        best = percentages(line_with(text, short_output))[0]
        assert best == pytest.approx(100 * weather.best_accuracy(seen), abs=0.005)


@pytest.mark.training
def test_the_same_today_has_another_tomorrow_by_the_days_before(output):
    days = [line.split()[0] for line in output.splitlines()[-6:]]
    forecasts = [numpy.argmax(percentages(line)) for line in output.splitlines()[-6:]]
    assert days == ["sunny", "sunny", "sunny", "cloudy", "rainy", "rainy"]
    assert [weather.WEATHER[forecast] for forecast in forecasts] == days[1:] + days[:1]


@pytest.mark.training
def test_epochs_are_reported_with_falling_loss(short_output):
    epochs = [line for line in short_output.splitlines() if line.startswith("epoch")]
    losses = [float(line.split("training loss ")[1].split(",")[0]) for line in epochs]
    assert len(losses) == 3 and losses[0] > losses[1] > losses[2]


class Oracle(SimpleRnnlm):
    """Gives all of its score to the rule's forecast, from the fourth day on."""

    def predict(self, xs):
        days = xs[0].tolist()
        forecasts = [weather.forecast([0, 0, *days[:i + 1]]) for i in range(len(days))]
        return np.to_device(numpy.eye(3)[forecasts][None])


@pytest.mark.usefixtures("device")
def test_accuracy_is_the_share_of_days_foreseen():
    oracle = Oracle(3, 2, 2)
    assert script.accuracy(oracle, np.array([0, 0, 0, 1, 2, 2])) == pytest.approx(3 / 5)  # 0 0 before: 0 -> 1
    assert script.accuracy(oracle, np.array([2, 2, 0, 0, 1, 0])) == pytest.approx(3 / 5)


@pytest.mark.usefixtures("device")
def test_accuracy_leaves_the_state_alone():
    model = SimpleRnnlm(3, 2, 4, seed=0)
    model.forward(np.array([[0, 1]]), np.array([[1, 2]]))
    (before,), = model.get_state()
    script.accuracy(model, np.to_device(weather.generate(50)))
    (after,), = model.get_state()
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("flags, message", [
    (["--days", "400"], "--days must be above 400, one batch, got 400"),
    (["--noise", "1"], "argument --noise: '1' is not a number in [0, 1) (see --help)"),
    (["--noise", "0.7"], "--noise must be at most 2/3, else the rule's day is the unlikeliest, got 0.7"),
    (["--epochs", "0"], "argument --epochs: '0' is not a whole number from 1 to 10^9 (see --help)"),
    (["--days", "500", "--lr", "1e300"], "a parameter after epoch 1 is not finite: try a lower learning rate (--lr)"),
])
def test_wrong_use_is_one_line(flags, message, device, capsys):
    assert script.main([*flags, "--device", device]) == 2
    assert capsys.readouterr().err == f"python -m ch_rnn.weather: {message}\n"


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        script.main(["--help"])
    assert "python -m ch_rnn.weather" in capsys.readouterr().out
