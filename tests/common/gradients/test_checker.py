import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re

import numpy
import pytest
from any_device import checks_elements, np

import common
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.gradient_check import main
from common.gradients import cases as gradient_cases
from common.gradients.adapters import check_model, layer_case, loss_case, model_case, sequence_case, step_case
from common.gradients.cases import D, Draw, H, N, T, V, layer_cases
from common.gradients.checker import Case, assert_gradients, check, numerical_gradient, relative_error, table
from common.layers.base import Layer
from common.layers.dense import Affine, Embedding, MatMul, Softmax
from common.layers.losses import SoftmaxWithLoss
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import TimeRNN
from common.layers.weight_drop import WeightDrop
from common.training.clip import unique_params

on_each_device = pytest.mark.usefixtures("device")

BASE_CLASSES = {Layer, RecurrentLayer, WeightDrop}
NAMES = [f"{case.layer}-{case.variant}" for case in layer_cases(seed=1)]


@functools.cache
def cases_of(array_type):
    """Build the cases once for each device, which has its own type of array."""
    return layer_cases(seed=1)


@on_each_device
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_every_layer(number):
    case = cases_of(np.ndarray)[number]
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))


def layers_of_common():
    classes = set()
    for found in pkgutil.walk_packages(common.__path__, "common."):
        module = importlib.import_module(found.name)
        classes |= {member for _, member in inspect.getmembers(module, inspect.isclass)}
    return {cls for cls in classes if issubclass(cls, Layer) and cls.__module__.startswith("common.")} - BASE_CLASSES


def layers_without_a_case():
    return layers_of_common() - {type(case.build()) for case in cases_of(np.ndarray)}


def test_every_layer_class_has_a_case():
    assert not layers_without_a_case()


def test_a_new_layer_class_without_a_case_is_noticed(monkeypatch):
    class Forgotten(Layer):
        __module__ = "common.layers.rnn"

    monkeypatch.setattr("common.layers.rnn.Forgotten", Forgotten, raising=False)
    assert layers_without_a_case() == {Forgotten}


def randomized(model):
    draw = Draw(2)
    for param in unique_params(model.params):
        param[...] = draw.normal(*param.shape, std=0.5)
    return model


MODELS = {
    "SimpleRnnlm": lambda **options: SimpleRnnlm(V, D, H, **options),
    "Rnnlm": lambda **options: Rnnlm(V, D, H, **options),
    "BetterRnnlm": lambda **options: BetterRnnlm(V, D, D, dropout_ratio=0.4, **options),
}


@on_each_device
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, fast):
    xs, ts = Draw(3).ids(N, T), Draw(4).ids(N, T)
    xs[0, 0], xs[1, 1], ts[1, 0] = 2, 2, -1

    def build():
        model = randomized(MODELS[name](dtype=np.float64))
        return speed_up(model) if fast else model

    case = model_case(name, "fast" if fast else "plain", build, xs, ts, single_backward=fast and np.backend == "numpy")
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))


@on_each_device
def test_a_model_that_goes_on_from_a_carried_state():
    draw = Draw(5)
    case = model_case("Rnnlm", "carried state", lambda: randomized(MODELS["Rnnlm"](dtype=np.float64)),
                      draw.ids(N, T), draw.ids(N, T), states=[(draw.normal(N, H), draw.normal(N, H))])
    from_zeros = dataclasses.replace(case, forward=model_case("", "", None, *case.inputs.values()).forward)
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))
    assert check(case, elements=False).rows[0].backward.tolist() != (
        check(from_zeros, elements=False).rows[0].backward.tolist())


@on_each_device
def test_a_model_is_checked_in_one_line(monkeypatch):
    model = randomized(MODELS["Rnnlm"](dtype=np.float64))
    xs, ts = np.array([[0, 1, 2]]), np.array([[1, 2, 0]])  # (1, T)
    result = check_model(model, xs, ts)
    assert re.fullmatch(r"Rnnlm: 6 arrays, largest relative error \d\.\de-\d\d, ok", str(result))
    assert model.get_state() == [(None, None)]
    monkeypatch.setattr(type(model.layers[2]), "backward", lambda self, dout: 2 * dout @ self.params[0].T)
    assert str(check_model(model, xs, ts)).endswith("FAILED")


@on_each_device
def test_the_gradients_of_tied_weights_are_added_and_checked_once():
    case = model_case("BetterRnnlm", "tied", lambda: randomized(MODELS["BetterRnnlm"](dtype=np.float64)),
                      Draw(3).ids(N, T), Draw(4).ids(N, T))
    names = {row.array for row in check(case, elements=False).rows}
    assert names == {f"params[{i}]" for i in (0, 1, 2, 3, 4, 5, 6, 8)}  # 7 is the transposed view of 0


# Planted faults. Each is a layer of ours with one thing wrong.


class ZeroSoftmax(Softmax):
    def backward(self, dout):
        return 0 * dout


class AddingAffine(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        self.total = [g + t for g, t in zip(self.grads, getattr(self, "total", [0, 0]))]
        for grad, total in zip(self.grads, self.total):
            grad[...] = total
        return dx


class CacheChangingSoftmax(Softmax):
    def backward(self, dout):
        dx = super().backward(dout)
        self.cache *= 0.5
        return dx


class ArgumentChangingAffine(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        dout *= 2
        return dx


class InputChangingAffine(Affine):
    def forward(self, x):
        y = super().forward(x)
        x += 1
        return y


class ParamChangingAffine(Affine):
    def forward(self, x):
        y = super().forward(x)
        self.params[0][0, 0] += 1e-9
        return y


class RebindingAffine(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        self.grads[1] = self.grads[1].copy()
        return dx


class ReusedOutputAffine(Affine):
    """Its output is one buffer that every forward fills again."""

    def forward(self, x):
        y = super().forward(x)
        if not hasattr(self, "buffer"):
            self.buffer = y
        self.buffer[...] = y + 1e-3 * getattr(self, "calls", 0)
        self.calls = getattr(self, "calls", 0) + 1
        return self.buffer


class WrongSignLSTM(LSTM):
    def backward(self, dh, dc):
        gradients = super().backward(dh, dc)
        self.grads[1][:, 2 * H:3 * H] *= -1  # the block of the input gate
        return gradients


class HalfForgetfulRNN(TimeRNN):
    """Its dh from the later step is dropped."""

    def backward(self, dhs, dh=None):
        dxs = super().backward(dhs, dh)
        packing, xs, hs = self.cache
        da = self.activation_backward(packing.pack(dhs), hs[packing.N:])
        return packing.unpack(self._project_backward(xs, packing.before(hs), da)) + 0 * dxs


class ScaledRNN(TimeRNN):
    def backward(self, dhs, dh=None):
        dxs = super().backward(dhs, dh)
        self.grads[1] *= 1.01
        return dxs


class OneElementRNN(TimeRNN):
    def backward(self, dhs, dh=None):
        dxs = super().backward(dhs, dh)
        self.grads[0][1, 3] += 1e-4
        return dxs


class ScaledInitialStateLSTM(TimeLSTM):
    def backward(self, dhs, dh=None, dc=None):
        dxs = super().backward(dhs, dh, dc)
        self.dc = self.dc * 1.01
        return dxs


class FinalStateBlindLSTM(TimeLSTM):
    def backward(self, dhs, dh=None, dc=None):
        return super().backward(dhs, dh, None)


class ConstantLoss(SoftmaxWithLoss):
    def backward(self, dout=1):
        return super().backward(1)


class LastOnlyEmbedding(Embedding):
    def backward(self, dout):
        self.grads[0][...] = 0
        self.grads[0][self.cache[0]] = dout


class LeavingRowsEmbedding(Embedding):
    """The rows of other ids stay as the last backward left them."""

    def backward(self, dout):
        before = self.grads[0].copy()
        super().backward(dout)
        others = np.ones(V, dtype=bool)
        others[self.cache[0]] = False
        self.grads[0][others] = before[others]


class WritingLaterAffine(Affine):
    """What backward returned is a buffer that the next backward fills again."""

    def backward(self, dout):
        dx = super().backward(dout)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty_like(dx)
        self.buffer[...] = dx
        return self.buffer


class WrongShapeAffine(Affine):
    def backward(self, dout):
        return super().backward(dout).T


class NanAffine(Affine):
    def backward(self, dout):
        dx = super().backward(dout)
        self.grads[1][2] = np.nan
        return dx


def affine(layer):
    draw = Draw(0)
    return layer_case(layer, "broken", {"W": draw.normal(D, H), "b": draw.normal(H)}, draw.normal(N, D))


def sequence(layer, gates=1, states=("h",)):
    draw = Draw(0)
    return sequence_case(layer, "broken", draw.recurrent(gates), draw.normal(N, T, D),
                         {name: draw.normal(N, H) for name in states}, final=states)


lstm_sequence = functools.partial(sequence, gates=4, states=("h", "c"))


def softmax(layer):
    return layer_case(layer, "broken", {}, Draw(0).normal(N, V))


def loss(layer):
    return loss_case(layer, "broken", {}, Draw(0).normal(N, V), Draw(0).ids(N))


def embedding(layer):
    return layer_case(layer, "broken", {"W": Draw(0).normal(V, D)}, np.array([3, 1, 3]))


def lstm_step(layer):
    draw = Draw(0)
    return step_case(
        layer, "broken", draw.recurrent(4), draw.normal(N, D), h_prev=draw.normal(N, H), c_prev=draw.normal(N, H))


FAULTS = [
    (softmax, ZeroSoftmax, "x: relative error 1.0e+00 by element"),
    (affine, AddingAffine, "W: a second backward gives another gradient"),
    (softmax, CacheChangingSoftmax, "x: a second backward gives another gradient"),
    (affine, ArgumentChangingAffine, "y: backward changed the upstream gradient"),
    (affine, InputChangingAffine, "input x: forward or backward changed it"),
    (affine, ParamChangingAffine, "parameter W: forward or backward changed it"),
    (affine, RebindingAffine, "params or grads: an array was replaced"),
    (affine, ReusedOutputAffine, "y: this output was written to after it was returned"),
    (affine, ReusedOutputAffine, "y: a second forward gives another output"),
    (affine, WritingLaterAffine, "x: its gradient was written to after it was returned"),
    (affine, WrongShapeAffine, "x: its gradient is float64 of shape (4, 2), wanted float64 of shape (2, 4)"),
    (affine, NanAffine, "b: relative error nan by element, worst at element (2,)"),
    (lstm_step, WrongSignLSTM, "Wh: relative error"),
    (sequence, HalfForgetfulRNN, "Wx: relative error"),
    (sequence, ScaledRNN, "Wh: relative error 9.9e-03 by element"),
    (sequence, OneElementRNN, "Wx: relative error"),
    (sequence, OneElementRNN, "worst at element (1, 3)"),
    (lstm_sequence, ScaledInitialStateLSTM, "initial c: relative error 9.9e-03 by direction"),
    (lstm_sequence, FinalStateBlindLSTM, "initial c: relative error"),
    (loss, ConstantLoss, "x: the gradient for a zero upstream gradient is not zero"),
    (embedding, LeavingRowsEmbedding, "numerical 0, backward 1"),
    (embedding, LastOnlyEmbedding, "W: relative error"),
]


@on_each_device
@pytest.mark.parametrize(
    "case, layer, message", FAULTS, ids=[f"{layer.__name__}-{message}" for _, layer, message in FAULTS])
def test_a_planted_fault_is_caught_and_named(case, layer, message):
    with pytest.raises(AssertionError) as raised:
        assert_gradients(case(layer), tolerance=1e-6, seed=3)
    assert message in str(raised.value)
    assert f"{layer.__name__} (broken): tolerance 1e-06, repeat with seed 3" in str(raised.value)


@on_each_device
@pytest.mark.parametrize("layer, right", [(OneElementRNN, "Wh"), (ScaledRNN, "Wx"), (FinalStateBlindLSTM, None)])
def test_only_what_is_wrong_is_named(layer, right):
    case = lstm_sequence if layer is FinalStateBlindLSTM else sequence
    report = check(case(layer)).report()
    if right is not None:
        assert f"{right}:" not in report
    assert check(case(layer.__base__)).passed()


@on_each_device
def test_a_fault_that_needs_the_final_gradient_is_not_seen_without_it():
    draw = Draw(0)
    case = sequence_case(FinalStateBlindLSTM, "no final gradient", draw.recurrent(4), draw.normal(N, T, D), final=())
    assert check(case).passed()


@on_each_device
def test_a_second_backward_must_raise_where_the_layer_says_so():
    case = softmax(Softmax)
    case.single_backward = True
    assert check(case).faults == ["a second backward did not raise, as this layer documents"]


@on_each_device
def test_a_missing_input_gradient_is_a_fault():
    case = dataclasses.replace(softmax(Softmax), backward=lambda layer, upstream: {})
    assert check(case).faults == ["x: backward returned no gradient for this input"]


@on_each_device
def test_float32_is_refused():
    weights = {"W": np.ones((D, H), dtype=np.float32), "b": np.ones(H, dtype=np.float32)}
    with pytest.raises(ValueError, match="Affine: W is float32, a gradient check needs float64"):
        check(layer_case(Affine, "float32", weights, np.ones((N, D), dtype=np.float32)))


@on_each_device
def test_an_input_that_is_no_array_is_refused():
    case = dataclasses.replace(softmax(Softmax), inputs={"x": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match=r"^Softmax: x is a list, a gradient check needs an array$"):
        check(case)


@on_each_device
def test_the_message_has_both_numbers():
    def backward(layer, upstream):
        layer.grads[0][...] = 5
        return {"x": np.zeros(1)}

    class Linear(Layer):
        pass

    case = Case("Linear", "by hand", lambda: Linear(np.array([2.0])), {"x": np.array([3.0])},
                lambda layer, inputs: {"y": layer.params[0] * inputs["x"]}, backward, ("w",))
    rows = {(row.array, row.kind): row for row in check(case).rows}
    G = rows["w", "element"].numerical[0] / 3
    assert rows["x", "element"].numerical[0] == pytest.approx(2 * G, rel=1e-10)
    assert f"numerical {3 * G:.6g}"[:16] in str(rows["w", "element"]) and "backward 5" in str(rows["w", "element"])
    assert rows["x", "element"].error == 1


@on_each_device
def test_an_input_that_changes_nothing_has_exactly_no_slope():
    case = softmax(Softmax)
    case.inputs["unused"] = np.ones(3)
    backward = case.backward
    case.backward = lambda layer, upstream: backward(layer, upstream) | {"unused": np.zeros(3)}
    result = check(case)
    assert result.passed()
    assert [row.error for row in result.rows if row.array == "unused"] == [0, 0]


@on_each_device
def test_a_check_can_be_repeated_and_leaves_everything_as_it_was():
    case = next(case for case in cases_of(np.ndarray) if case.layer == "TimeLSTM" and case.variant == "stateful")
    before = {name: x.copy() for name, x in case.inputs.items()} | {
        i: param.copy() for i, param in enumerate(case.build().params)}
    state = np.random_state()
    first, second, other = check(case, 1), check(case, 1), check(case, 2)
    assert np.random_state() == state
    assert all(numpy.array_equal(a.numerical, b.numerical) for a, b in zip(first.rows, second.rows))
    assert not numpy.array_equal(first.rows[0].numerical, other.rows[0].numerical)
    after = case.inputs | dict(enumerate(case.build().params))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_relative_error():
    assert relative_error(numpy.zeros(3), numpy.zeros(3)) == 0
    assert relative_error(numpy.zeros(3), numpy.full(3, 1e-200)) == 1  # no floor that hides small numbers
    assert relative_error(numpy.array([3.0, 4.0]), numpy.array([3.0, 4.5])) == pytest.approx(0.5 / numpy.hypot(3, 4.5))
    assert numpy.isnan(relative_error(numpy.array([numpy.nan]), numpy.array([1.0])))


@on_each_device
def test_the_table_has_a_line_for_each_case():
    good, bad = check(softmax(Softmax)), check(softmax(ZeroSoftmax))
    _, first, second = table([good, bad]).splitlines()
    assert first.split()[:3] == ["Softmax", "broken", "1"] and first.endswith("ok")
    assert second.split() == ["ZeroSoftmax", "broken", "1", "1.0e+00", "FAILED"]


@on_each_device
def test_a_drawn_case_does_not_depend_on_the_other_layers(monkeypatch):
    expected = next(case for case in cases_of(np.ndarray) if case.layer == "TimeRNN").inputs["xs"]
    alone = [maker for maker in gradient_cases.MAKERS if maker.__name__ == "time_rnn"]
    monkeypatch.setattr(gradient_cases, "MAKERS", alone)
    assert np.array_equal(layer_cases(seed=1)[0].inputs["xs"], expected)


def test_the_command_line_without_names_checks_all_layers(capsys, monkeypatch):
    makers = [gradient_cases.matmul, gradient_cases.time_rnn]
    monkeypatch.setattr(gradient_cases, "MAKERS", makers)
    assert main([]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"MatMul", "TimeRNN"}
    assert len(lines) == len(layer_cases(seed=0)) and all(line.endswith(" ok") for line in lines)


def test_the_command_line_checks_the_layers_that_it_is_given(capsys):
    assert main(["TimeRNN", "MatMul"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"layer", "TimeRNN", "MatMul"}
    assert main(["TimeRNN", "TimeRnn"]) == 2
    assert "there is no layer TimeRnn, but MatMul, Affine," in capsys.readouterr().err


def test_the_command_line_fails_on_a_broken_layer(device, capsys, monkeypatch):
    monkeypatch.setattr(gradient_cases, "MAKERS", [gradient_cases.matmul, lambda draw: [softmax(ZeroSoftmax)]])
    assert main(["--device", device, "--seed", "7"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed and "x: relative error" in printed and "repeat with seed 7" in printed
    assert main(["--device", device, "--tolerance", "1.5"]) == 0
    assert main(["--device", device, "--tolerance", "1e-20"]) == 1


def test_the_command_line_checks_on_the_device_it_is_given(device, monkeypatch):
    backend, backends = np.backend, []
    monkeypatch.setattr(gradient_cases, "MAKERS", [lambda draw: backends.append(np.backend) or [softmax(Softmax)]])
    np.use("numpy")
    assert main(["--device", device]) == 0
    assert backends == [backend]


@pytest.mark.parametrize("flag, value", [("--tolerance", "-1"), ("--device", "tpu")])
def test_wrong_use_of_the_command_line(capsys, flag, value):
    assert main([flag, value]) == 2
    assert flag in capsys.readouterr().err


def strided(shape, strides):
    """A writeable view (in bytes) of a few numbers."""
    return numpy.lib.stride_tricks.as_strided(numpy.arange(40.0), shape, strides)


@pytest.mark.parametrize("shape, strides", [
    ((3, 4), (0, 8)), ((3, 4), (8, 0)), ((3, 4), (8, 8)), ((3, 4), (24, 8)), ((2, 3, 4), (96, 32, 4)), ((5,), (0,)),
    ((5,), (4,))])
def test_an_array_that_overlaps_itself_is_refused(shape, strides):
    """Each of its numbers is several elements, so none has a derivative of its own."""
    array = strided(shape, strides)
    with pytest.raises(ValueError, match=r"^numerical_gradient: elements of the array, of shape .*, overlap in memory"):
        numerical_gradient(lambda: (array * array).sum(), array)


@pytest.mark.parametrize("shape, strides", [
    ((3, 4), (32, 8)), ((3, 4), (8, 24)), ((3, 2), (16, 8)), ((2, 3), (8, 16)), ((1, 4), (0, 8)), ((), ()),
    ((0, 3), (0, 0))])
def test_an_array_with_gaps_or_in_another_order_is_taken(shape, strides):
    array = strided(shape, strides)
    numpy.testing.assert_allclose(numerical_gradient(lambda: (array * array).sum(), array), 2 * array, atol=1e-9)


@pytest.mark.parametrize("name", ["W", "x"])
def test_a_case_whose_array_overlaps_itself_is_refused(name):
    arrays = {"W": numpy.ones((4, 5)), "x": numpy.ones((2, 4))}
    arrays[name] = strided(arrays[name].shape, (0, 8))
    case = layer_case(MatMul, "overlapping", {"W": arrays["W"]}, arrays["x"])
    for elements in (True, False):
        with pytest.raises(ValueError, match=f"^MatMul: elements of {name} overlap in memory, a gradient check needs"):
            check(case, elements=elements)
