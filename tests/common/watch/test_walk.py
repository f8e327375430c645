import inspect
import re

import numpy
import pytest
from any_device import np

from common.layers import gru, lstm, rnn
from common.layers.gru import GRU
from common.layers.lstm import LSTM
from common.layers.rnn import RNN
from common.watch.walk import walk

N, D, H = 2, 3, 4

CELLS = {
    "rnn": (RNN, 1, 1, 1, {}), "relu": (RNN, 1, 1, 1, {"activation": "relu"}),
    "sigmoid": (RNN, 1, 1, 1, {"activation": "sigmoid"}), "lstm": (LSTM, 4, 4, 2, {}),
    "gru": (GRU, 3, 3, 1, {}), "gru reset after": (GRU, 3, 4, 1, {"reset_after": True}),
}


@pytest.fixture(params=CELLS)
def cell(request):
    """A step cell, its inputs, and gradients for its outputs."""
    kind, blocks, biases, states, options = CELLS[request.param]
    rng = np.random.default_rng(1)
    cell = kind(rng.standard_normal((D, blocks * H)), rng.standard_normal((H, blocks * H)),
                rng.standard_normal(biases * H), **options)
    x, *rest = (rng.standard_normal((N, size)) for size in (D, *[H] * 2 * states))
    return cell, [x, *rest[:states]], rest[states:]


def several(result):
    return result if isinstance(result, tuple) else (result,)


def test_returns_and_leaves_behind_what_the_call_does(device, cell):
    cell, inputs, upstream = cell
    for function, args in ((cell.forward, inputs), (cell.backward, upstream)):
        found, _ = walk(function, *args)
        grads = [grad.copy() for grad in cell.grads]
        for a, b in zip(several(found), several(function(*args)), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(grads, cell.grads):
            np.testing.assert_array_equal(a, b)


def test_each_line_stands_in_the_source_and_gives_its_values(cell):
    cell, inputs, upstream = cell
    scope = dict(zip(("Wx", "Wh", "b", "x", "h_prev", "c_prev"), cell.params + inputs)) | {"self": cell, "H": H}
    _, lines = walk(cell.forward, *inputs)
    _, lines_back = walk(cell.backward, *upstream)
    assert lines and lines_back
    for line in lines + lines_back:
        module = {"layers/rnn.py": rnn, "layers/lstm.py": lstm, "layers/gru.py": gru}[line.file]
        source = inspect.getsource(module).splitlines()[line.number - 1].replace(" ", "")
        assert line.formula.replace(" ", "").strip("()")[:20] in re.sub(r",out=\w+(\[.*?\])?", "", source)
    for line in lines:
        for name, value in zip(line.names, line.values):
            if len(line.names) == 1:
                names = vars(inspect.getmodule(type(cell))) | scope
                numpy.testing.assert_array_equal(eval(line.formula, names), value)
            scope[name] = value
            scope["ah_x"] = scope.get("ah")  # what gru.reset_after_step calls it, until the line after


def test_names_every_gate_and_gradient_of_an_lstm_step():
    rng = numpy.random.default_rng(0)
    cell = LSTM(rng.standard_normal((D, 4 * H)), rng.standard_normal((H, 4 * H)), rng.standard_normal(4 * H))
    _, lines = walk(cell.forward, *(rng.standard_normal((N, size)) for size in (D, H, H)))
    assert [name for line in lines for name in line.names] == "a af ag ai ao f g i o c h".split()
    assert [line.equations for line in lines if line.names[0] in "fch"] == ["(2)", "(3)", "(4)"]
    _, lines = walk(cell.backward, *(rng.standard_normal((N, H)) for _ in range(2)))
    assert [name for line in lines for name in line.names] == (
        "tanh_c do dc df dg di dc_prev daf dag dai dao da dWx dWh db dx dh_prev").split()


def test_goes_on_with_a_replaced_value():
    rng = numpy.random.default_rng(0)
    cell = LSTM(rng.standard_normal((D, 4 * H)), rng.standard_normal((H, 4 * H)), rng.standard_normal(4 * H))
    x, h_prev, c_prev = (rng.standard_normal((N, size)) for size in (D, H, H))
    forget = numpy.zeros((N, H))
    (_, c), lines = walk(cell.forward, x, h_prev, c_prev, replace={"f": forget})
    values = {name: value for line in lines for name, value in zip(line.names, line.values)}
    numpy.testing.assert_array_equal(c, values["g"] * values["i"])
    (h, _), _ = walk(cell.forward, x, h_prev, c_prev, replace={"h": forget})
    numpy.testing.assert_array_equal(h, forget)
    (_, _), lines = walk(cell.forward, x, h_prev, c_prev, replace={"af": forget})
    assert all((value == 0.5).all() for line in lines if line.names == ("f",) for value in line.values)


def a_loop(x):
    for _ in range(3):
        x = x + 1
    return x


def test_says_which_line_is_no_straight_line_code():
    with pytest.raises(ValueError, match=r"walk: line \d+ of test_walk.py is no straight-line code"):
        walk(a_loop, numpy.ones(3))


def chained(rng):
    x = rng.random(2).astype("float64")
    return x


def test_each_expression_runs_once():
    found, _ = walk(chained, numpy.random.default_rng(0))
    numpy.testing.assert_array_equal(found, numpy.random.default_rng(0).random(2))


def returns_early(x, nothing):
    if nothing:
        return None
    y = x * 2
    return y


def test_a_return_inside_an_if_ends_the_function():
    assert walk(returns_early, numpy.ones(2), True) == (None, [])
    assert walk(returns_early, numpy.ones(2), False)[0].tolist() == [2, 2]


def pair_forward(x):
    return x * 2, x * 3


def takes_a_pair(x):
    *first, last = pair_forward(x)
    whole, part = numpy.modf(last)
    mask = (x >= 0).astype(x.dtype)
    y = mask * whole
    y += part
    y[:1] = x[:1]
    return y


def test_names_and_texts_are_those_of_the_source():
    _, lines = walk(takes_a_pair, numpy.array([0.5, -1.0]))
    assert [line.text for line in lines] == [
        "whole, part = numpy.modf(last)", "mask = (x >= 0).astype(x.dtype)", "y = mask * whole", "y += part",
        "y[:1] = x[:1]"]
    assert [line.values[-1].tolist() for line in lines[2:]] == [[0.5, -0.0], [1.5, -3.0], [0.5, -3.0]]


def test_what_is_replaced_is_recorded_and_stays_the_callers():
    whole = numpy.array([7.0, 7.0])
    found, lines = walk(takes_a_pair, numpy.array([0.5, 1.0]), replace={"whole": whole})
    assert lines[0].values[0].tolist() == [7, 7] and found.tolist() == [0.5, 10]
    y = numpy.array([5.0, 5.0])
    walk(takes_a_pair, numpy.array([0.5, 1.0]), replace={"y": y})
    assert whole.tolist() == [7, 7] and y.tolist() == [5, 5]


def test_closures_and_generators_see_their_variables():
    factor = 3.0

    def scaled(x):
        y = numpy.array(list(factor * each for each in x))
        return y

    assert walk(scaled, numpy.ones(2))[0].tolist() == [3, 3]


@pytest.mark.parametrize("function, args, options, error, message", [
    (pair_forward, (), {}, TypeError, "missing a required argument: 'x'"),
    (pair_forward, (1, 2), {}, TypeError, "too many positional arguments"),
    (pair_forward, (numpy.ones(1),), {"replace": {"z": 1}}, ValueError, "no line makes z, which is to be replaced"),
    (lambda x: x, (1,), {}, ValueError, "is not a function written with def"),
    (numpy.tanh, (1,), {}, ValueError, "is not a function written with def"),
])
def test_wrong_use_is_named(function, args, options, error, message):
    with pytest.raises(error, match=message):
        walk(function, *args, **options)
