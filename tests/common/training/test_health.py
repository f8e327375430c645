"""The health log against norms, shares and ratios that are computed here, from what a step leaves."""
import json
import math

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from common import plots
from common.fast import speed_up
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.language_model.cell_rnnlm import CellRnnlm
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import TimeRNN
from common.layers.weight_drop import TimeWeightDropGRU, TimeWeightDropLSTM, TimeWeightDropRNN
from common.optimizer import ASGD, SGD, Adam, Momentum
from common.training.epochs import training_step
from common.training.health import LOOK_EVERY, HealthLog

pytestmark = pytest.mark.usefixtures("device")

V, N, T, D, H = 9, 4, 3, 5, 6
LAYERS = {  # layer, gate blocks, biases, options
    "rnn": (TimeRNN, 1, 1, {}), "sigmoid": (TimeRNN, 1, 1, {"activation": "sigmoid"}),
    "lstm": (TimeLSTM, 4, 4, {}), "gru": (TimeGRU, 3, 3, {}),
    "gru, reset after": (TimeGRU, 3, 4, {"reset_after": True}),
    "fast rnn": (FastTimeRNN, 1, 1, {}), "fast lstm": (FastTimeLSTM, 4, 4, {}),
    "weight drop rnn": (TimeWeightDropRNN, 1, 1, {}), "weight drop lstm": (TimeWeightDropLSTM, 4, 4, {}),
    "weight drop gru": (TimeWeightDropGRU, 3, 3, {})}
EMPTY = {"gradient_norm": None, "clipped": None, "saturated": None, "update_ratio": None}


def layer_of(name):
    kind, gates, biases, options = LAYERS[name]
    return kind(*(normal(*shape) for shape in ((D, gates * H), (H, gates * H), (biases * H,))), **options)


def normal(*shape):
    return np.to_device(numpy.random.default_rng(len(shape)).standard_normal(shape))


def sigmoid(a):
    return 1 / (1 + numpy.exp(-a))


def gates_by_hand(layer, xs, lengths):
    """All gates of all real steps, one sequence after the other, by the formulas in the layers' docstrings."""
    Wx, Wh, b = map(np.to_cpu, layer.params)
    if getattr(layer, "mask", None) is not None:
        Wh = Wh * np.to_cpu(layer.mask)
    found = []
    for x, length in zip(np.to_cpu(xs), lengths):
        h, c = numpy.zeros(H), numpy.zeros(H)
        for t in range(length):
            if layer.gates == 1:
                a = x[t] @ Wx + h @ Wh + b
                h = sigmoid(a) if layer.activation_name == "sigmoid" else numpy.tanh(a)
                found.append(h if layer.activation_name == "sigmoid" else sigmoid(2 * a))
            elif layer.gates == 4:
                af, ag, ai, ao = numpy.split(x[t] @ Wx + h @ Wh + b, 4)
                c = sigmoid(af) * c + numpy.tanh(ag) * sigmoid(ai)
                h = sigmoid(ao) * numpy.tanh(c)
                found += sigmoid(af), sigmoid(ai), sigmoid(ao)
            else:
                a, (mz, mr, mh) = x[t] @ Wx + b[:3 * H], numpy.split(h @ Wh, 3)
                z, r = sigmoid(a[:H] + mz), sigmoid(a[H:2 * H] + mr)
                mh = r * (mh + b[3 * H:]) if layer.reset_after else (r * h) @ Wh[:, 2 * H:]
                h = (1 - z) * h + z * numpy.tanh(a[2 * H:] + mh)
                found += z, r
    return numpy.sort(numpy.concatenate(found))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, [1, 3, 2, 3]])
def test_a_layer_gives_the_gates_of_its_real_steps(name, lengths):
    layer = layer_of(name)
    xs = normal(N, T, D)
    layer.forward(xs, lengths)
    found = numpy.sort(numpy.concatenate([np.to_cpu(gates).ravel() for gates in layer.gate_activations()]))
    numpy.testing.assert_allclose(found, gates_by_hand(layer, xs, lengths or [T] * N), rtol=1e-9, atol=1e-12)


def test_a_rectifier_has_no_gates_and_neither_has_a_layer_that_does_not_say_them():
    layer = TimeRNN(np.ones((D, H)), np.ones((H, H)), np.ones(H), activation="relu")
    layer.forward(np.ones((N, T, D)))
    assert layer.gate_activations() == []
    assert RecurrentLayer(np.ones((D, H)), np.ones((H, H)), np.ones(H)).gate_activations() == []


def test_gates_that_are_not_there_are_said():
    layer = layer_of("fast lstm")
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: gate_activations needs a forward in training mode"):
        layer.gate_activations()
    layer.forward(np.ones((N, T, D)))
    layer.backward(np.ones((N, T, H)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: gate_activations needs a forward"):
        layer.gate_activations()


MODELS = {
    "lstm": lambda: CellRnnlm("lstm", V, D, H, seed=1, dtype=np.float64),
    "fast lstm": lambda: speed_up(CellRnnlm("lstm", V, D, H, seed=1, dtype=np.float64)),
    "gru of two layers": lambda: CellRnnlm("gru", V, D, H, layers=2, seed=1, dtype=np.float64),
    "tied": lambda: speed_up(BetterRnnlm(V, H, H, 0.0, seed=1, dtype=np.float64))}
OPTIMIZERS = {"sgd": lambda: SGD(3.0), "decay": lambda: SGD(3.0, 0.001), "momentum": lambda: Momentum(0.1),
              "adam": lambda: Adam(0.1), "asgd": lambda: ASGD(3.0, 0.0, 5)}


def model_of(name):
    model = MODELS[name]()
    for param in model.params[:-2]:
        param *= 10  # as drawn, no gate would be saturated
    return model


def norm_of(arrays):
    return math.sqrt(sum(float((array**2).sum()) for array in arrays))


def trained(model, optimizer, batches, max_grad, parts, log):
    """Take a step on each batch with a log; what it should say, from the gates, gradients and parameters."""
    norms, updates, weights, gates, counts = [], [], [], [], []
    tied = isinstance(model, BetterRnnlm)

    def own(arrays):  # each memory once
        return [np.to_cpu(array).copy() for k, array in enumerate(arrays) if not tied or k != len(arrays) - 2]

    head_forward = model.head.forward

    def noting_forward(*args):
        for layer in model.recurrent_layers:
            counts.append(numpy.concatenate([np.to_cpu(each).ravel() for each in layer.gate_activations()]))
        return head_forward(*args)

    model.head.forward = noting_forward
    for batch in batches:
        xs, ts = np.to_device(numpy.random.default_rng(batch).integers(V, size=(2, N, T)))
        before = own(model.params)
        counts.clear()
        training_step(model, optimizer, xs, ts, max_grad, lambda *_: norms.append(norm_of(own(model.grads))), parts,
                      log.at(batch))
        if batch % 20 == 0:
            gates += counts
            weights.append(norm_of(before))
            updates.append(norm_of(new - old for new, old in zip(own(model.params), before)))
    gates = numpy.concatenate(gates)
    seen = norms if max_grad is not None else norms[::20]
    return {"gradient_norm": numpy.mean(seen),
            "clipped": None if max_grad is None else numpy.mean(numpy.array(norms) > max_grad),
            "saturated": numpy.mean((gates < 0.1) | (gates > 0.9)), "update_ratio": sum(updates) / sum(weights)}


@pytest.mark.parametrize("model, optimizer, parts", [
    *((name, "sgd", 1) for name in MODELS), *(("lstm", name, 1) for name in OPTIMIZERS),
    *((name, "adam", 3) for name in MODELS), *((name, "sgd", 3) for name in MODELS)])
@pytest.mark.parametrize("max_grad", [None, 0.8])
def test_it_says_what_the_steps_were(model, optimizer, parts, max_grad):
    log = HealthLog()
    wanted = trained(model_of(model), OPTIMIZERS[optimizer](), range(43), max_grad, parts, log)
    found = log.row(clips=max_grad is not None)
    assert found.keys() == wanted.keys() and {type(value) for value in found.values()} <= {float, type(None)}
    assert 0.05 < found["saturated"] < 0.95 and (max_grad is None or 0 < found["clipped"] < 1)
    for name, value in wanted.items():
        assert value is None and found[name] is None or found[name] == pytest.approx(value, rel=1e-5)


def test_it_goes_on_from_its_sums():
    def model_and_optimizer():
        return model_of("lstm"), Adam(0.1)

    through, before = HealthLog(), HealthLog()
    trained(*model_and_optimizer(), range(43), 0.8, 1, through)
    both = model_and_optimizer()
    trained(*both, range(25), 0.8, 1, before)
    after = HealthLog(json.loads(json.dumps(before.sums())))
    assert after.sums() == before.sums()
    trained(*both, range(25, 43), 0.8, 1, after)
    assert after.sums() == through.sums() and after.row() == through.row()


@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_that_makes_no_update_is_not_noted(batch):
    model, optimizer, log = model_of("lstm"), SGD(1.0), HealthLog()
    xs = ts = np.to_device(numpy.arange(N * T).reshape(N, T) % V)

    class Prevented(Exception):
        pass

    def prevent(*_):
        raise Prevented

    with pytest.raises(Prevented):
        training_step(model, optimizer, xs, ts, 0.25, prevent, 1, log.at(batch))
    assert log.row() == EMPTY and log.sums() == HealthLog().sums()
    training_step(model, optimizer, xs, ts, 0.25, None, 1, log.at(LOOK_EVERY))
    assert (log.steps, log.norms, log.gates) == (1, 1, 3 * N * T * H)


def test_what_was_not_seen_is_none():
    assert HealthLog().row() == EMPTY
    model, log = model_of("lstm"), HealthLog()
    for param in model.params:
        param[...] = 0
    xs = np.zeros((N, T), dtype=int)
    training_step(model, SGD(0.0), xs, xs, None, None, 1, log.at(0))
    row = log.row(clips=False)
    assert row["clipped"] is row["update_ratio"] is None and row["saturated"] == 0 and row["gradient_norm"] > 0


def test_a_step_is_the_same_with_a_log():
    xs = ts = np.to_device(numpy.arange(N * T).reshape(N, T) % V)
    for optimizer in OPTIMIZERS.values():
        with_log, without = model_of("fast lstm"), model_of("fast lstm")
        training_step(with_log, optimizer(), xs, ts, 0.1, None, 1, HealthLog().at(0))
        training_step(without, optimizer(), xs, ts, 0.1)
        for one, other in zip(with_log.params, without.params):
            numpy.testing.assert_array_equal(np.to_cpu(one), np.to_cpu(other))


@pytest.mark.parametrize("sums, updates, possible", [
    ({"steps": 3, "norms": 2, "clipped": 1, "gates": 5, "saturated": 5}, 3, True), ({"steps": 3}, 2, False),
    ({"steps": 3, "norms": 4}, 9, False), ({"steps": 3, "norms": 2, "clipped": 3}, 9, False),
    ({"gates": 5, "saturated": 6}, 9, False), ({}, 0, True)])
def test_sums_that_cannot_be_are_noticed(sums, updates, possible):
    assert HealthLog(sums).is_possible(updates) == possible


def test_the_picture_has_a_panel_for_what_was_seen(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    older = {"epoch": 1, "max_grad": 0.25}
    row = {"epoch": 2, "max_grad": 0.25, "gradient_norm": 3.0, "clipped": 0.5, "saturated": 0.2, "update_ratio": 0.01}
    plots.save_health(tmp_path / "health.png", [older], "none")
    assert drawn == []
    plots.save_health(tmp_path / "health.png", [older, row, row | {"epoch": 3, "clipped": None}], "all")
    plots.save_health(tmp_path / "health.png", [row | EMPTY | {"max_grad": None, "gradient_norm": 2.0}], "one")
    lines = [[(axes.get_title(), [line.get_xydata().tolist() for line in axes.lines])
              for axes in figure.axes if axes.axison] for figure in drawn]
    assert lines == [
        [("gradient", [[[2, 3], [3, 3]], [[1, 0.25], [2, 0.25], [3, 0.25]]]), ("clipped steps", [[[2, 0.5]]]),
         ("saturated gates", [[[2, 0.2], [3, 0.2]]]), ("update", [[[2, 0.01], [3, 0.01]]])],
        [("gradient", [[[2, 2]]])]]
    assert [figure.axes[0].get_ylim()[0] for figure in drawn] == [0, 0]
