import collections
import math
import re

import numpy
import pytest
from any_device import np

from ch_rnn import hello
from common.fast import speed_up
from common.fast.rnn import FastTimeRNN
from common.gradients.adapters import model_case
from common.gradients.checker import assert_gradients
from common.layers.rnn import TimeRNN
from common.optimizer import OPTIMIZERS

on_each_device = pytest.mark.usefixtures("device")

TASK_IDS = [1, 0, 2, 2, 3], [3, 1, 2, 3, 2]  # of hello and ohlol, where e h l o are 0 to 3


@on_each_device
def test_the_task_in_one_hot_letters():
    xs, ts = hello.one_hot_task()
    assert xs.shape == (1, 5, 4) and xs.dtype == np.float32
    assert xs.argmax(axis=2).tolist() == [TASK_IDS[0]]
    assert xs.sum(axis=2).tolist() == [[1] * 5] and set(xs.reshape(-1).tolist()) == {0, 1}
    assert ts.tolist() == [TASK_IDS[1]]


@on_each_device
@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_gradients(biases, batch_size):
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((batch_size, 5, 4))
    ts = rng.integers(0, 4, (batch_size, 5))
    case = model_case("HelloRNN", f"biases: {biases}", lambda: hello.HelloRNN(4, biases, seed=1, dtype=np.float64),
                      xs, ts)
    case.constants = ("xs",)
    assert_gradients(case)


@on_each_device
@pytest.mark.parametrize("biases", [1, 2])
def test_weights_and_biases_start_evenly_within_half(biases):
    networks = [hello.HelloRNN(4, biases, seed=seed) for seed in range(200)]
    for arrays in zip(*(network.params for network in networks)):
        values = np.to_cpu(np.stack(arrays)).reshape(-1)
        assert len(values) in (200 * 16, 200 * 4) and abs(values).max() <= 0.5
        shares = numpy.histogram(values, bins=8, range=(-0.5, 0.5))[0] / len(values)
        numpy.testing.assert_allclose(shares, 1 / 8, atol=4 * (1 / 8 * 7 / 8 / len(values))**0.5)  # four deviations


@pytest.mark.training
@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_fast_network_is_the_plain_one_to_rounding(biases, optimizer):
    plain, fast = hello.HelloRNN(biases=biases, seed=3), speed_up(hello.HelloRNN(biases=biases, seed=3))
    assert type(plain.rnn) is TimeRNN and type(fast.rnn) is FastTimeRNN
    losses = [list(hello.train(network, OPTIMIZERS[optimizer](hello.LEARNING_RATES[optimizer]), 30))
              for network in (plain, fast)]
    numpy.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


@on_each_device
@pytest.mark.parametrize("biases", [1, 2])
def test_flat_parameters_and_gradients_are_all_of_them_in_the_same_memory(biases):
    network = hello.HelloRNN(biases=biases, seed=3)
    network.forward(*hello.one_hot_task())
    network.backward()
    for arrays, flat in ((network.params, network.flat.params[0]), (network.grads, network.flat.grads[0])):
        shapes = [array.shape for array in arrays]
        assert shapes == [(4, 4), (4, 4), *[(4,)] * biases] and flat.shape == (32 + 4 * biases,)
        assert [float(number) for array in arrays for number in array.reshape(-1)] == flat.tolist()
        flat[...] = 0
        assert not any(bool(array.any()) for array in arrays)
    if biases == 1:
        assert network.rnn.params[2] is network.params[2]


def spelled_and_loss_by_hand(params, epochs, lr):
    """Yield what is spelled and the loss before each Adam step, letter by letter with the gradient written out."""
    params = [np.to_cpu(param).astype(float) for param in params]
    m, v = [[numpy.zeros_like(param) for param in params] for _ in range(2)]
    for epoch in range(1, epochs + 1):
        Wx, Wh, *biases = params
        states, probabilities, loss = [numpy.zeros(4)], [], 0.0
        for letter, target in zip(*TASK_IDS):
            h = numpy.tanh(Wx[letter] + states[-1] @ Wh + sum(biases))
            states.append(h)
            probabilities.append(numpy.exp(h) / numpy.exp(h).sum())
            loss -= math.log(probabilities[-1][target])
        yield "".join("ehlo"[p.argmax()] for p in probabilities), loss
        dWx, dWh, db, dh_next = numpy.zeros((4, 4)), numpy.zeros((4, 4)), numpy.zeros(4), numpy.zeros(4)
        for t in reversed(range(5)):
            dh = probabilities[t] - numpy.eye(4)[TASK_IDS[1][t]] + dh_next
            da = dh / numpy.cosh(numpy.arctanh(states[t + 1]))**2
            dWx[TASK_IDS[0][t]] += da
            dWh += numpy.outer(states[t], da)
            db += da
            dh_next = Wh @ da
        for i, grad in enumerate([dWx, dWh] + [db] * len(biases)):
            m[i] = 0.9 * m[i] + 0.1 * grad
            v[i] = 0.999 * v[i] + 0.001 * grad**2
            params[i] = params[i] - lr * (m[i] / (1 - 0.9**epoch)) / ((v[i] / (1 - 0.999**epoch))**0.5 + 1e-8)


@pytest.mark.training
@on_each_device
@pytest.mark.parametrize("biases", [1, 2])
@pytest.mark.parametrize("seed", [3, 4])
def test_epochs_equal_a_calculation_by_hand(biases, seed):
    network = hello.HelloRNN(biases=biases, seed=seed)
    by_hand = list(spelled_and_loss_by_hand(network.params, 15, lr=0.1))
    ours = [(hello.spelled(network.scores[0]), loss)
            for loss in hello.train(network, OPTIMIZERS["adam"](0.1), epochs=15)]
    assert [letters for letters, _ in ours] == [letters for letters, _ in by_hand]
    numpy.testing.assert_allclose([loss for _, loss in ours], [loss for _, loss in by_hand], rtol=1e-4)


@pytest.mark.training
def test_a_run_prints_each_epoch(device, capsys):
    assert hello.main(["--device", device]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_hand = spelled_and_loss_by_hand(hello.HelloRNN(seed=3).params, 15, lr=0.1)
    for epoch, (line, (letters, loss)) in enumerate(zip(lines, by_hand, strict=False), start=1):
        assert line.startswith(f"epoch {epoch:2}: {letters}, loss ")
        assert float(line.split()[-1]) == pytest.approx(loss, abs=1e-3)
    assert "ohlol" in lines[14] and lines[15:] == ["the answer is ohlol, the least possible loss 1.7038"]


@pytest.mark.training
@pytest.mark.parametrize("biases, rate", [(1, 0.73), (2, 0.69)])
def test_about_seven_networks_in_ten_spell_it_at_epoch_15(biases, rate, capsys):
    """The rates are those of 20,000 networks; PyTorch's two biases give 0.69 too (0.687 over 2,000)."""
    assert hello.main(["--seeds", "200", "--epochs", "15", "--biases", str(biases)]) == 0
    right = int(re.search(r"^ *15 +(\d+) ", capsys.readouterr().out, re.MULTILINE)[1])
    assert abs(right / 200 - rate) < 3 * (rate * (1 - rate) / 200)**0.5  # three standard deviations


@pytest.mark.training
@on_each_device
def test_no_network_gets_below_the_least_loss_and_a_stuck_one_not_below_that_of_a_tie():
    one_right, tied = numpy.array([1.0, -1, -1, -1]), numpy.array([1.0, 1, -1, -1])
    assert hello.LEAST_LOSS == pytest.approx(-math.log(math.exp(1) / numpy.exp(one_right).sum()))
    assert hello.TIED_LOSS == pytest.approx(-math.log(math.exp(1) / numpy.exp(tied).sum()))
    for seed, answer, floor in (
        (3, "ohlol", 5 * hello.LEAST_LOSS), (0, "ohlll", 4 * hello.LEAST_LOSS + hello.TIED_LOSS),
    ):
        network = hello.HelloRNN(seed=seed)
        *_, loss = hello.train(network, OPTIMIZERS["adam"](0.1), epochs=150)
        assert hello.spelled(network.scores[0]) == answer
        assert floor < loss < floor + 0.02


def test_tables_of_many_networks():
    states = numpy.full((5, 4), -0.4, dtype=numpy.float32)
    states[range(5), TASK_IDS[1]] = 0.8  # spells ohlol
    stuck = states.copy()
    stuck[3, 2] = 0.9  # spells ohlll, by a unit of slope 1 - 0.81
    assert math.isnan(hello.slope_of_wrong_unit(states))
    assert hello.slope_of_wrong_unit(stuck) == pytest.approx(0.19)
    networks = [(stuck, 3.0), (states, 2.0), (stuck, 5.0), (stuck, 4.0)]
    assert [line.split() for line in hello.answer_table(networks).splitlines()] == [
        ["answer", "networks", "loss", "slope"], ["ohlll", "3", "4.000", "1.9e-01"], ["ohlol", "1", "2.000", "-"]]
    slope = 1 - (4 * (15 * 0.16 + 5 * 0.64) + 3 * (0.81 - 0.16)) / 80
    assert [line.split() for line in hello.milestone_table({7: networks}).splitlines()[1:]] == [
        ["7", "1", "25.0%", "3.500", f"{slope:.3f}"]]


@pytest.mark.parametrize("flags, epochs", [
    (["--epochs", "15"], [15]), (["--epochs", "20"], [15, 20]), (["--epochs", "3"], [3]), ([], [15, 50, 100])])
def test_many_networks_are_counted_at_the_milestones(flags, epochs, device, capsys):
    assert hello.main(["--seeds", "2", "--device", device, *flags]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [int(line.split()[0]) for line in table[1:]] == epochs


def test_many_networks_are_those_of_the_first_seeds(device, capsys):
    spelled = []
    for seed in range(4):
        assert hello.main(["--seed", str(seed), "--device", device]) == 0
        spelled.append(re.findall(r": (\w+), loss", capsys.readouterr().out)[-1])
    assert hello.main(["--seeds", "4", "--epochs", "15", "--device", device]) == 0
    answers = [line.split()[:2] for line in capsys.readouterr().out.split("\n\n")[3].splitlines()[1:]]
    assert {answer: int(count) for answer, count in answers} == collections.Counter(spelled)


@pytest.mark.training
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_a_learning_rate_at_which_it_learns(optimizer, device, capsys):
    assert hello.main(["--optimizer", optimizer, "--epochs", "30", "--device", device]) == 0
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[29] < losses[0] / 2


@pytest.mark.parametrize("flags, message", [
    (["--seeds", "0"], "argument --seeds: '0' is not a whole number from 1 to 10^9 (see --help)"),
    (["--lr", "-1"], "argument --lr: '-1' is not a number above 0 (see --help)"),
    (["--seed", "1", "--seeds", "2"], "argument --seeds: not allowed with argument --seed (see --help)"),
    (["--lr", "1e300"], "a parameter after epoch 1 is not finite: try a lower learning rate (--lr)"),
])
def test_wrong_use_is_one_line(flags, message, device, capsys):
    assert hello.main([*flags, "--device", device]) == 2
    assert capsys.readouterr().err == f"python -m ch_rnn.hello: {message}\n"


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        hello.main(["--help"])
    assert "python -m ch_rnn.hello" in capsys.readouterr().out
