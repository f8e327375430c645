"""Weights to and from PyTorch, compared with its documented formulas, and in tests/parity with PyTorch itself."""
import numpy
import pytest
from any_device import np

from common.errors import InputError
from common.files.torch_weights import (
    embedding_from_torch,
    embedding_to_torch,
    linear_from_torch,
    linear_to_torch,
    load_torch_stack,
    recurrent_from_torch,
    recurrent_to_torch,
    torch_state_of_stack,
)
from common.layers.dense import Affine, Embedding, MatMul
from common.layers.gru import GRU
from common.layers.lstm import LSTM
from common.layers.rnn import RNN
from common.layers.stack import TimeStack

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H, V = 2, 3, 4, 5, 7
BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}
OPTIONS = {"rnn": {}, "lstm": {}, "gru": {"reset_after": True}}
CELLS = list(BLOCKS)
SIZES = [(layers, bidirectional) for layers in (1, 2, 3) for bidirectional in (False, True)]


def torch_state(cell, num_layers=1, bidirectional=False, prefix="", one_step=False, dtype=np.float64):
    """Random arrays as the state dict of torch.nn.RNN, LSTM, GRU or of their Cell class holds them."""
    rng = numpy.random.default_rng(2)
    rows, state = BLOCKS[cell] * H, {}
    for layer in range(num_layers):
        size = D if layer == 0 else (1 + bidirectional) * H
        for direction in ("", "_reverse")[:1 + bidirectional]:
            suffix = "" if one_step else f"_l{layer}{direction}"
            for name, shape in (("weight_ih", (rows, size)), ("weight_hh", (rows, H)),
                                ("bias_ih", (rows,)), ("bias_hh", (rows,))):
                state[prefix + name + suffix] = rng.standard_normal(shape).astype(dtype)
    return state


def bits(array):
    """What tells 0 from -0 too."""
    return array.dtype, array.shape, np.to_cpu(array).tobytes()


def same(found, expected):
    assert list(found) == list(expected)
    assert {name: bits(array) for name, array in found.items()} == {
        name: bits(array) for name, array in expected.items()}


def logistic(a):
    return 1 / (1 + numpy.exp(-a))


def inputs():
    rng = numpy.random.default_rng(3)
    return [rng.standard_normal(shape) for shape in ((N, D), (N, H), (N, H))]


def preactivations(state, x, h):
    """Both products of PyTorch's documentation: from the input and from the state."""
    return (x @ state["weight_ih"].T + state["bias_ih"], h @ state["weight_hh"].T + state["bias_hh"])


def test_an_rnn_step_is_pytorchs_formula():
    state, (x, h, _) = torch_state("rnn", one_step=True), inputs()
    expected = numpy.tanh(sum(preactivations(state, x, h)))
    found = RNN(*recurrent_from_torch("rnn", state)).forward(np.to_device(x), np.to_device(h))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_an_lstm_step_is_pytorchs_formula():
    state, (x, h, c) = torch_state("lstm", one_step=True), inputs()
    i, f, g, o = numpy.split(sum(preactivations(state, x, h)), 4, axis=1)
    c_expected = logistic(f) * c + logistic(i) * numpy.tanh(g)
    h_found, c_found = LSTM(*recurrent_from_torch("lstm", state)).forward(*map(np.to_device, (x, h, c)))
    np.testing.assert_allclose(c_found, c_expected, rtol=1e-12)
    np.testing.assert_allclose(h_found, logistic(o) * numpy.tanh(c_expected), rtol=1e-12)


def test_a_gru_step_is_pytorchs_formula():
    state, (x, h, _) = torch_state("gru", one_step=True), inputs()
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (numpy.split(a, 3, axis=1) for a in preactivations(state, x, h))
    z = logistic(z_x + z_h)
    n = numpy.tanh(n_x + logistic(r_x + r_h) * n_h)
    found = GRU(*recurrent_from_torch("gru", state), reset_after=True).forward(np.to_device(x), np.to_device(h))
    np.testing.assert_allclose(found, (1 - z) * n + z * h, rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers, bidirectional", SIZES)
def test_parameters_stand_layer_by_layer_forwards_before_backwards(cell, num_layers, bidirectional):
    state = torch_state(cell, num_layers, bidirectional)
    params = recurrent_from_torch(cell, state)
    suffixes = [name.removeprefix("weight_ih") for name in state if name.startswith("weight_ih")]
    assert len(params) == 3 * len(suffixes) == 3 * num_layers * (1 + bidirectional)
    for i, suffix in enumerate(suffixes):
        one = {name: state[name + suffix] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        for found, expected in zip(params[3 * i:3 * i + 3], recurrent_from_torch(cell, one), strict=True):
            assert bits(found) == bits(expected) and found.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers, bidirectional", SIZES)
def test_ours_to_torch_and_back_is_exact(cell, num_layers, bidirectional, dtype):
    stack = TimeStack(cell, D, H, num_layers, bidirectional, dtype=dtype, **OPTIONS[cell])
    for param in stack.params:
        param[..., ::2] = 0.0  # both zeros: they must keep their sign
        param[..., ::4] = -0.0
    state = recurrent_to_torch(cell, stack.params, bidirectional, prefix="rnn.")
    for found, param in zip(recurrent_from_torch(cell, state, "rnn."), stack.params, strict=True):
        assert bits(found) == bits(param)
    same(torch_state_of_stack(stack, "rnn."), state)
    other = TimeStack(cell, D, H, num_layers, bidirectional, dtype=dtype, **OPTIONS[cell])
    before = list(other.params)
    load_torch_stack(other, state, "rnn.")
    for param, loaded, same_array in zip(stack.params, other.params, before, strict=True):
        assert bits(loaded) == bits(param) and loaded is same_array


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers, bidirectional", SIZES)
def test_torch_to_ours_and_back_is_exact_where_bias_hh_adds_nothing(cell, num_layers, bidirectional):
    state = torch_state(cell, num_layers, bidirectional)
    for name in state:
        if name.startswith("bias_hh"):
            state[name][:2 * H if cell == "gru" else None] = 0
        if name.startswith("bias_ih"):
            state[name][::2] = -0.0
    same(recurrent_to_torch(cell, recurrent_from_torch(cell, state), bidirectional), state)


@pytest.mark.parametrize("cell", CELLS)
def test_torch_to_ours_and_back_moves_the_sum_of_the_biases_into_bias_ih(cell):
    state = torch_state(cell, one_step=True)
    found = recurrent_to_torch(cell, recurrent_from_torch(cell, state), one_step=True)
    summed = 2 * H if cell == "gru" else BLOCKS[cell] * H
    expected = state | {
        "bias_ih": numpy.concatenate(((state["bias_ih"] + state["bias_hh"])[:summed], state["bias_ih"][summed:])),
        "bias_hh": numpy.concatenate((numpy.zeros(summed), state["bias_hh"][summed:])),
    }
    same(found, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_without_any_bias_ours_is_zero(cell):
    state = {name: array for name, array in torch_state(cell, 2).items() if name.startswith("weight")}
    zeros = {name: numpy.zeros(BLOCKS[cell] * H) for name in torch_state(cell, 2) if name.startswith("bias")}
    params = recurrent_from_torch(cell, state)
    for found, expected in zip(params, recurrent_from_torch(cell, state | zeros), strict=True):
        assert np.array_equal(found, expected)
    with pytest.raises(InputError, match=r"^torch weights: bias_hh_l0 is missing$"):
        recurrent_from_torch(cell, state | {"bias_ih_l0": numpy.zeros(BLOCKS[cell] * H)})


def test_nothing_is_shared():
    state = torch_state("rnn")
    stack = TimeStack("rnn", D, H, dtype=np.float64)
    copies = [array.copy() for array in stack.params]
    arrays = [*torch_state_of_stack(stack).values(), *recurrent_from_torch("rnn", state)]
    W, b = np.ones((D, H)), np.ones(H)
    arrays += [*linear_to_torch([W, b]).values(), *embedding_to_torch([W]).values()]
    linear = {"weight": numpy.ones((1, D)), "bias": numpy.ones(1)}  # of one row: its transpose is contiguous too
    arrays += [*linear_from_torch(linear), *embedding_from_torch({"weight": W})]
    for array in arrays:
        array[...] = 9
    assert all(np.array_equal(param, copy) for param, copy in zip(stack.params, copies))
    assert (W == 1).all() and (b == 1).all() and all((array == 1).all() for array in linear.values())
    same(state, torch_state("rnn"))


def test_linear_and_embedding():
    rng = numpy.random.default_rng(4)
    # Whole numbers, whose sums are exact in any order.
    x, weight, bias = (rng.choice(999, shape, replace=False) - 500.0 for shape in ((N, D), (H, D), (H,)))
    state = {"out.weight": weight, "out.bias": bias, "other": numpy.zeros(1)}
    W, b = linear_from_torch(state, "out.")
    np.testing.assert_array_equal(Affine(W, b).forward(np.to_device(x)), x @ weight.T + bias)
    same(linear_to_torch([W, b], "out."), {"out.weight": weight, "out.bias": bias})
    (W,) = linear_from_torch({"weight": weight})
    np.testing.assert_array_equal(MatMul(W).forward(np.to_device(x)), x @ weight.T)
    same(linear_to_torch([W]), {"weight": weight})
    table = rng.standard_normal((V, D))
    (W,) = embedding_from_torch({"embed.weight": table, "out.bias": bias}, "embed.")
    np.testing.assert_array_equal(Embedding(W).forward(np.array([6, 0])), table[[6, 0]])
    same(embedding_to_torch([W], "embed."), {"embed.weight": table})


def broken(state, **changes):
    """A state dict with some arrays replaced, or taken out where None is given."""
    return {name: array for name, array in (state | changes).items() if array is not None}


WRONG = [
    ({"weight_hh_l1": None}, "weight_hh_l1 is missing"),
    ({"bias_ih_l0_reverse": None}, "bias_ih_l0_reverse is missing"),
    ({"weight_hr_l0": numpy.zeros((2, H))}, "weight_hr_l0 is one name too many"),
    ({"weight_ih_l3": numpy.zeros((4 * H, 2 * H))}, "weight_ih_l3 is one name too many"),
    ({"weight_ih_l0": numpy.zeros((4 * H, 1, D))}, r"weight_ih_l0 has shape \(20, 1, 4\), wanted \(.*, (D|4)\)"),
    ({"weight_hh_l0": numpy.zeros(4 * H)}, r"weight_hh_l0 has shape \(20,\), wanted \(.*, (H|5)\)"),
    ({"weight_ih_l1": numpy.zeros((4 * H, H))}, r"weight_ih_l1 has shape \(20, 5\), wanted \(20, 10\)"),
    ({"weight_hh_l1_reverse": numpy.zeros((H, 4 * H))}, r"weight_hh_l1_reverse has shape \(5, 20\), wanted \(20, 5\)"),
    ({"bias_hh_l1": numpy.zeros(3 * H)}, r"bias_hh_l1 has shape \(15,\), wanted \(20,\)"),
    ({"bias_hh_l0": numpy.zeros(4 * H, dtype=int)}, "bias_hh_l0 is int64, wanted a floating dtype"),
]


@pytest.mark.parametrize("changes, message", WRONG, ids=[message.split()[0] for _, message in WRONG])
def test_a_wrong_state_is_refused_in_one_line_and_changes_nothing(changes, message):
    state = broken(torch_state("lstm", 2, True), **changes)
    stack = TimeStack("lstm", D, H, 2, True, dtype=np.float64)
    before = [param.copy() for param in stack.params]
    prefixed = {f"rnn.{name}": array for name, array in state.items()}
    for attempt in (lambda: recurrent_from_torch("lstm", prefixed, "rnn."),
                    lambda: load_torch_stack(stack, prefixed, "rnn.")):
        with pytest.raises(InputError, match=rf"^torch weights: rnn\.{message}$"):
            attempt()
    assert all(np.array_equal(param, copy) for param, copy in zip(stack.params, before))


@pytest.mark.parametrize("stack, message", [
    (("lstm", D + 1, H, 2), r"weight_ih_l0 has shape \(20, 4\), wanted \(20, 5\)"),
    (("lstm", D, H + 1, 2), r"weight_ih_l0 has shape \(20, 4\), wanted \(24, 4\)"),
    (("rnn", D, H, 2), r"weight_ih_l0 has shape \(20, 4\), wanted \(5, 4\)"),
    (("lstm", D, H, 3), "weight_ih_l2 is missing"),
    (("lstm", D, H, 1), "weight_ih_l1 is one name too many"),
    (("lstm", D, H, 2, True), "weight_ih_l0_reverse is missing"),
])
def test_a_stack_of_other_sizes_is_refused(stack, message):
    stack = TimeStack(*stack, dtype=np.float64)
    with pytest.raises(InputError, match=f"^torch weights: {message}$"):
        load_torch_stack(stack, torch_state("lstm", 2))


def test_other_dtypes():
    state = torch_state("lstm", dtype=np.float32)
    wide, narrow = (TimeStack("lstm", D, H, dtype=dtype) for dtype in (np.float64, np.float32))
    load_torch_stack(wide, state)
    for param, expected in zip(wide.params[:2], recurrent_from_torch("lstm", state)):
        assert param.dtype == np.float64 and np.array_equal(param, expected)
    with pytest.raises(InputError, match=r"^torch weights: weight_ih_l0 is float64, wanted float32$"):
        load_torch_stack(narrow, torch_state("lstm"))
    with pytest.raises(InputError, match=r"^torch weights: bias_hh_l0 is float64, wanted float32$"):
        recurrent_from_torch("lstm", state | {"bias_hh_l0": numpy.zeros(4 * H)})


def test_stacks_that_pytorch_cannot_compute_are_refused():
    for stack, message in (
        (TimeStack("gru", D, H, dtype=np.float64), "make the stack with reset_after=True$"),
        (TimeStack("rnn", D, H, 1, True, dtype=np.float64, activation="sigmoid"), "has no sigmoid: .* or 'relu'$"),
    ):
        with pytest.raises(InputError, match=message):
            torch_state_of_stack(stack)
        with pytest.raises(InputError, match=message):
            load_torch_stack(stack, torch_state("gru"))


def test_wrong_arguments():
    for call in (lambda: recurrent_from_torch("LSTM", {}), lambda: recurrent_to_torch("LSTM", [])):
        with pytest.raises(ValueError, match="cell is 'LSTM', wanted one of rnn, lstm, gru"):
            call()
    lstm = recurrent_from_torch("lstm", torch_state("lstm", 3))
    for arguments, message in ((([],), "0 parameters, wanted Wx, Wh, b of each layer"),
                               ((lstm[:5],), "5 parameters, wanted Wx, Wh, b of each layer"),
                               ((lstm, True), "9 parameters, wanted Wx, Wh, b of both readers of each layer"),
                               ((lstm, False, True), "9 parameters, wanted Wx, Wh, b of one reader")):
        with pytest.raises(ValueError, match=message):
            recurrent_to_torch("lstm", *arguments)
    Wx, Wh, b = GRU(np.zeros((D, 3 * H)), np.zeros((H, 3 * H)), np.zeros(3 * H)).params
    with pytest.raises(ValueError, match=r"b \(15,\) of a gru, wanted .*, \(20,\), with reset_after=True"):
        recurrent_to_torch("gru", [Wx, Wh, b])
    for call, message in (
        (lambda: linear_from_torch({"weight": numpy.zeros(3)}), r"weight has shape \(3,\), wanted \(M, D\)"),
        (lambda: linear_from_torch({"bias": numpy.zeros(3)}), "weight is missing"),
        (lambda: linear_from_torch({"weight": numpy.zeros((3, 2)), "bias": numpy.zeros(2)}),
         r"bias has shape \(2,\), wanted \(3,\)"),
        (lambda: embedding_from_torch({"weight": numpy.zeros((3, 2)), "bias": numpy.zeros(2)}),
         "bias is one name too many"),
        (lambda: embedding_from_torch({"weight": numpy.zeros((3, 2), dtype=int)}),
         "weight is int64, wanted a floating"),
    ):
        with pytest.raises(InputError, match=f"^torch weights: {message}"):
            call()
