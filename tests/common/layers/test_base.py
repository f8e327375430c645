"""What every layer promises, for every case of the gradient checker, and the base class itself."""
import contextlib
import functools
import inspect
import re

import numpy
import pytest
from any_device import np
from strict_cupy import in_place_of_cupy

import common.np
from common.device.ids import Ids
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.gradients.cases import layer_cases
from common.layers.base import Layer
from common.layers.bidirectional import TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN

pytestmark = pytest.mark.usefixtures("device")

NAMES = [f"{case.layer}-{case.variant}" for case in layer_cases(1)]
every_case = pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)


def cases_where(holds):
    """Run a test on the cases for which `holds(case)`."""
    numbers = [i for i, case in enumerate(layer_cases(1)) if holds(case)]
    return pytest.mark.parametrize("number", numbers, ids=[NAMES[i] for i in numbers])


@functools.cache
def cases_of(array_type, dtype):
    """Build the cases once for each device, which has its own type of array."""
    return layer_cases(1, dtype)


@pytest.fixture
def case(device, number):
    return cases_of(np.ndarray, np.float64)[number]


def upstream_for(outputs):
    rng = np.random.default_rng(0)
    return {name: np.asarray(rng.standard_normal(y.shape)).astype(y.dtype) for name, y in outputs.items()}


def forward_and_backward(case, layer):
    np.seed(0)
    outputs = case.forward(layer, case.inputs)
    return outputs, case.backward(layer, upstream_for(outputs))


@every_case
def test_float32_stays_float32(case, number):
    exact_case, case = case, cases_of(np.ndarray, np.float32)[number]
    layer, exact_layer = case.build(), exact_case.build()
    outputs, gradients = forward_and_backward(case, layer)
    exact_outputs, exact_gradients = forward_and_backward(exact_case, exact_layer)
    found = outputs | gradients | {f"grad {i}": grad for i, grad in enumerate(layer.grads)}
    exact = exact_outputs | exact_gradients | {f"grad {i}": grad for i, grad in enumerate(exact_layer.grads)}
    for name, array in found.items():
        assert array.dtype == np.float32, name
        assert exact[name].dtype == np.float64, name
        drops = "dropout" in case.variant or case.layer.endswith("Dropout") and case.variant != "train_flg=False"
        if not drops:  # a mask of another dtype is another mask
            np.testing.assert_allclose(array, exact[name], rtol=1e-3, atol=1e-5, err_msg=name)


@every_case
def test_a_float32_layer_makes_no_array_of_another_float(case, number):
    case = cases_of(np.ndarray, np.float32)[number]
    layer = case.build()
    upstream = upstream_for(case.forward(layer, case.inputs))
    found = set()

    def watched(make):
        def made(*args, **options):
            array = make(*args, **options)
            found.add(array.dtype)
            return array

        return made

    with pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "zeros", "ones", "full"):
            patch.setattr(common.np, name, watched(getattr(common.np, name)))
        layer = case.build()
        case.forward(layer, case.inputs)
        case.backward(layer, upstream)
    assert {dtype for dtype in found if dtype.kind == "f"} <= {np.dtype(np.float32)}


@every_case
def test_the_upstream_gradient_may_have_any_strides(case):
    layer = case.build()
    np.seed(0)
    outputs = case.forward(layer, case.inputs)
    upstream = upstream_for(outputs)
    expected = case.backward(layer, upstream)
    expected_grads = [grad.copy() for grad in layer.grads]
    np.seed(0)
    case.forward(layer, case.inputs)
    strided = {name: np.repeat(np.asarray(G)[..., None], 2, axis=-1)[..., 0] for name, G in upstream.items()}
    got = case.backward(layer, strided)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-12)
    for grad, other in zip(layer.grads, expected_grads):
        np.testing.assert_allclose(grad, other, rtol=1e-12)


@every_case
def test_what_a_layer_returned_belongs_to_the_caller(case, number):
    layer, untouched = case.build(), case.build()
    _, expected = forward_and_backward(case, untouched)
    np.seed(0)
    outputs = case.forward(layer, case.inputs)
    upstream = upstream_for(outputs)
    scribble(outputs)
    gradients = case.backward(layer, upstream)
    for name in expected:
        np.testing.assert_array_equal(gradients[name], expected[name], err_msg=name)
    for grad, other in zip(layer.grads, untouched.grads):
        np.testing.assert_array_equal(grad, other)

    scribble(gradients)  # the next call neither reads nor writes what the caller has
    other_case = layer_cases_of_another_seed(np.ndarray)[number]
    other_outputs, other_gradients = forward_and_backward(other_case, layer)
    for array in (*outputs.values(), *gradients.values()):
        assert array.ndim == 0 or np.isnan(array).all()
    assert not any(np.isnan(array).any() for array in (*other_outputs.values(), *other_gradients.values()))


@functools.cache
def layer_cases_of_another_seed(array_type):
    return layer_cases(2)


def scribble(arrays):
    """Overwrite what a layer returned; a loss is a scalar of NumPy, which nobody can."""
    for array in arrays.values():
        if array.ndim:
            array[...] = np.nan


@every_case
def test_forward_and_backward_change_neither_inputs_nor_upstream(case):
    layer = case.build()
    inputs = {name: array.copy() for name, array in case.inputs.items()}
    np.seed(0)
    upstream = upstream_for(case.forward(layer, inputs))
    given = {name: G.copy() for name, G in upstream.items()}
    case.backward(layer, given)
    for before, after in ((case.inputs, inputs), (upstream, given)):
        for name in before:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)


@every_case
def test_backward_before_forward_raises(case):
    upstream = upstream_for(case.forward(case.build(), case.inputs))
    with pytest.raises(ValueError, match=f"^{case.layer}: backward needs a forward in training mode before it"):
        case.backward(case.build(), upstream)


@every_case
def test_each_input_must_be_an_array(case):
    for name, array in case.inputs.items():
        named = "(OutputWithLoss|TimeSoftmaxWithLoss)" if case.layer == "OutputWithLoss" else case.layer
        message = rf"^{named}: .* is a builtins\.list, wanted an array of {np.backend}"
        with pytest.raises(ValueError, match=message):
            case.forward(case.build(), case.inputs | {name: array.tolist()})


@every_case
def test_another_float_dtype_is_refused(case):
    for name, array in case.inputs.items():
        if array.dtype.kind == "f" and name not in case.constants and case.build().params:
            with pytest.raises(ValueError, match=f"^{case.layer}: .* is float32 of shape .*, wanted float64"):
                case.forward(case.build(), case.inputs | {name: array.astype(np.float32)})


@every_case
def test_an_upstream_gradient_of_another_dtype_or_shape_is_refused(case):
    layer = case.build()
    upstream = upstream_for(case.forward(layer, case.inputs))
    for name, G in upstream.items():
        if G.shape == ():
            continue  # the adapter makes it a float; see the tests of the loss layers
        with pytest.raises(ValueError, match=f"^{case.layer}: .* is float32 of shape .*, wanted float64"):
            case.backward(layer, upstream | {name: G.astype(np.float32)})
        with pytest.raises(ValueError, match=f"^{case.layer}: .*, wanted float64 of shape"):
            case.backward(layer, upstream | {name: np.concatenate((G, G), axis=-1)})


def test_expect_names_the_layer_what_it_got_and_what_it_wanted():
    layer = Layer(np.zeros((4, 5)))
    layer.expect("x", np.zeros((2, 4)), ("N", 4))
    layer.expect("x", np.zeros((2, 3, 4)), (..., 4))
    layer.expect("x", np.zeros((2, 4), dtype=np.float32), ("N", 4), np.dtype(np.float32))
    with pytest.raises(ValueError, match=r"^Layer: x is float64 of shape \(2, 3\), wanted float64 of shape \(N, 4\)$"):
        layer.expect("x", np.zeros((2, 3)), ("N", 4))
    with pytest.raises(ValueError, match=r"wanted float64 of shape \(N, 4\)$"):
        layer.expect("x", np.zeros((2, 3, 4)), ("N", 4))
    with pytest.raises(ValueError, match=r"^Layer: x is int64 of shape \(2, 4\), wanted float64 of shape \(..., 4\)$"):
        layer.expect("x", np.zeros((2, 4), dtype=np.int64), (..., 4))
    with pytest.raises(ValueError, match=rf"^Layer: x is a builtins.list, wanted an array of {np.backend}$"):
        layer.expect("x", [[1.0]], (..., 1))


def names_in(layer):
    """What matches the beginning of a message of a layer, or of one inside it."""
    return rf"^({'|'.join({type(layer).__name__, *re.findall(r'([A-Za-z]+)[(]', repr(layer))})}): "


def first_of(case):
    return next(iter(case.inputs.values()))


def assert_empty_is_refused(case, axis):
    """Cut each input to size 0 along an axis, as far as it has that axis of the first one."""
    layer, shape = case.build(), first_of(case).shape[:axis + 1]
    inputs = {name: array[(slice(None),) * axis + (slice(0),)] if array.shape[:axis + 1] == shape else array
              for name, array in case.inputs.items()}
    assert not next(iter(inputs.values())).size
    with pytest.raises(ValueError, match=names_in(layer)):
        case.forward(layer, inputs)


@every_case
def test_a_batch_of_no_sequence_is_refused(case):
    assert_empty_is_refused(case, axis=0)


@cases_where(lambda case: first_of(case).ndim > 1)
def test_a_batch_of_no_step_is_refused(case):
    assert_empty_is_refused(case, axis=1)


MADE_OF_LAYERS = (
    "OutputWithLoss", "OutputWithSampledLoss", "FastOutputWithSampledLoss", "TimeStack", "TimeBidirectional")


@cases_where(lambda case: case.build().params and case.layer not in MADE_OF_LAYERS)
def test_weights_of_other_dimensions_or_that_do_not_fit_are_refused(case):
    layer = case.build()
    kind = type(layer)
    options = {"reset_after": True} if "reset after" in case.variant else {}
    kind(*layer.params, **options)
    for i, param in enumerate(layer.params):
        wrong = [param[..., 0], param[None], param[:0]]
        if len(layer.params) > 1:
            wrong.append(np.concatenate((param, param[..., :1]), axis=-1))
        for array in wrong:
            with pytest.raises(ValueError, match=rf"{names_in(layer)}.* is float64 of shape .*, wanted float64 of"):
                kind(*layer.params[:i], array, *layer.params[i + 1:], **options)


def layers_with(argument):
    """Return the classes of the cases whose forward takes an argument of this name."""
    return {case.layer for case in layer_cases() if argument in inspect.signature(case.build().forward).parameters}


def test_every_layer_that_takes_lengths_has_a_case_with_some():
    assert layers_with("lengths") == {case.layer for case in layer_cases() if case.lengths is not None}
    assert len(layers_with("lengths")) >= 12


def spoiled(array, unused, garbage):
    """Return an array (N, T, ...) with garbage where `unused` (N, T) is true."""
    return np.where(unused.reshape(*unused.shape, *(1 for _ in array.shape[2:])), garbage, array)


def assert_equal_arrays(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@cases_where(lambda case: case.lengths is not None)
@pytest.mark.parametrize("garbage", [numpy.nan, numpy.inf, -1e300])
def test_what_stands_in_the_padding_changes_nothing(case, garbage):
    xs, name = first_of(case), next(iter(case.inputs))
    unused = np.arange(xs.shape[1]) >= np.array(case.lengths)[:, None]  # (N, T)
    layer, other = case.build(), case.build()
    outputs, gradients = forward_and_backward(case, layer)

    np.seed(0)
    found = case.forward(other, case.inputs | {name: spoiled(xs, unused, garbage)})
    assert_equal_arrays(found, outputs)
    upstream = {key: spoiled(G, unused, garbage) if G.shape[:2] == xs.shape[:2] else G
                for key, G in upstream_for(outputs).items()}
    found_gradients = case.backward(other, upstream)
    assert_equal_arrays(found_gradients, gradients)
    assert not found_gradients[name][unused].any()
    assert_equal_arrays(dict(enumerate(other.grads)), dict(enumerate(layer.grads)))


def ignore_label_of(layer):
    return getattr(getattr(layer, "loss_layer", layer), "ignore_label", None)


def ignored_steps(case):
    """Return where the targets of a loss are the one that does not count, or None for any other layer."""
    label, t = ignore_label_of(case.build()), case.inputs.get("t")
    is_ids = label is not None and t is not None and t.ndim == next(iter(case.inputs.values())).ndim - 1
    return t == label if is_ids and bool((t == label).any()) else None


def test_every_loss_that_ignores_targets_has_a_case_with_some():
    ignoring = {case.layer for case in layer_cases() if ignore_label_of(case.build()) is not None}
    assert ignoring == {case.layer for case in layer_cases() if ignored_steps(case) is not None}
    assert len(ignoring) >= 3


@cases_where(lambda case: ignored_steps(case) is not None)
@pytest.mark.parametrize("garbage", [numpy.nan, numpy.inf, -1e300])
def test_what_stands_at_an_ignored_step_changes_nothing(case, garbage):
    unused = ignored_steps(case)
    layer, other, x = case.build(), case.build(), case.inputs["x"]
    np.seed(0)  # what a loss draws is the same
    outputs, gradients = forward_and_backward(case, layer)
    np.seed(0)
    found = case.forward(other, case.inputs | {"x": spoiled(x, unused, garbage)})
    assert_equal_arrays(found, outputs)
    found_gradients = case.backward(other, upstream_for(outputs))
    assert_equal_arrays(found_gradients, gradients)
    assert not found_gradients["x"][unused].any()
    assert_equal_arrays(dict(enumerate(other.grads)), dict(enumerate(layer.grads)))


@cases_where(lambda case: ignored_steps(case) is not None and "all" not in case.variant)
def test_nan_at_a_step_that_counts_stays_seen(case):
    counted, layer = ~ignored_steps(case), case.build()
    assert all(np.isnan(y) for y in case.forward(
        layer, case.inputs | {"x": spoiled(case.inputs["x"], counted, np.nan)}).values())


def is_softmax_loss(case):
    layer = case.build()
    return hasattr(getattr(layer, "loss_layer", layer), "ignore_label")


@cases_where(is_softmax_loss)
def test_targets_that_are_no_ids_are_one_hot_or_refused(case):
    """Soft targets, those of several labels or of none, NaN; a loss that takes no one-hot targets refuses these too."""
    x, layer = case.inputs["x"], case.build()
    V = layer.params[0].shape[1] if layer.params else x.shape[-1]
    good = numpy.eye(V)[numpy.zeros(x.shape[:-1], dtype=int)]  # (..., V)
    for row in ([0.5, 0.5], [1, 1], [0, 0], [2, 0], [numpy.nan, 1], [-1, 1], [1, 1e-9]):
        wrong = good.copy()
        wrong[(0,) * (x.ndim - 1)][:2] = row
        kinds = (float, int) if all(isinstance(number, int) for number in row) else (float,)
        for kind in kinds:
            with pytest.raises(ValueError, match=rf"{names_in(layer)}targets (of shape .* are not one-hot|is )"):
                case.forward(case.build(), case.inputs | {"t": np.to_device(wrong.astype(kind))})


def test_a_layer_without_parameters_takes_any_float_and_nothing_else():
    layer = Layer()
    layer.expect("x", np.zeros(2, dtype=np.float16), ("N",))
    with pytest.raises(ValueError, match=r"x is int64 of shape .*, wanted a floating dtype of shape"):
        layer.expect("x", np.arange(2), ("N",))


def test_expect_ids():
    layer = Layer(np.zeros(3))
    layer.expect_ids("ids", np.array([0, 6]), (2,), 7)
    for ids in ([0, 7], [-1, 3]):
        with pytest.raises(ValueError, match=f"^Layer: ids go from {ids[0]} to {ids[1]}, wanted 0 to 6$"):
            layer.expect_ids("ids", np.array(ids), (2,), 7)
    with pytest.raises(ValueError, match=r"ids is float64 of shape \(2,\), wanted integers of shape \(2,\)"):
        layer.expect_ids("ids", np.zeros(2), (2,), 7)
    with pytest.raises(ValueError, match=r"wanted integers of shape \(3,\)$"):
        layer.expect_ids("ids", np.array([0, 1]), (3,), 7)
    with pytest.raises(ValueError, match=r"wanted integers of shape \(0, 3\), and no axis may be empty$"):
        layer.expect_ids("ids", np.zeros((0, 3), dtype=np.uint8), (0, 3), 7)


def test_a_known_range_of_ids_is_believed_and_a_wider_one_looked_into():
    layer = Layer(np.zeros(3))
    unseen = np.array([99])  # to look at it, the host would wait for a GPU
    assert layer.expect_ids("ids", Ids(unseen, 0, 6), (1,), 7) is unseen
    for low, high, wrong in ((0, 7, 7), (-1, 6, -1)):
        with pytest.raises(ValueError, match=f"^Layer: ids go from {wrong} to {wrong}, wanted 0 to 6$"):
            layer.expect_ids("ids", Ids(np.array([wrong]), low, high), (1,), 7)


def test_a_layer_of_another_backend_is_refused(device):
    here, other = ("numpy", "cupy") if device == "cpu" else ("cupy", "numpy")
    with in_place_of_cupy() if other == "cupy" else contextlib.nullcontext():
        common.np.use(other)
        layer = Layer(np.zeros(3))
        common.np.use(here)
    message = rf"^Layer: its parameters are arrays of .*\.ndarray, np is {here} now: make layers and models after"
    with pytest.raises(ValueError, match=message):
        layer.expect("x", np.zeros(3), (3,))
    with pytest.raises(ValueError, match=message):
        layer.expect_ids("ids", np.array([0]), (1,), 7)


def test_parameters_must_be_floats_of_one_dtype():
    with pytest.raises(ValueError, match=r"^Layer: a parameter has dtype int64, wanted a floating dtype"):
        Layer(np.arange(3))
    with pytest.raises(ValueError, match=r"^Layer: a parameter is float32 of shape .*, wanted float64"):
        Layer(np.zeros(3), np.zeros(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"^Layer: a parameter is a builtins\.list"):
        Layer([1.0, 2.0])
    with pytest.raises(ValueError, match=r"^Layer: a parameter is a builtins\.list"):
        Layer(np.zeros(2), [1.0, 2.0])


def test_params_are_the_given_arrays_and_grads_start_at_zero():
    W = np.ones((2, 3), dtype=np.float32)
    layer = Layer(W)
    assert layer.params[0] is W
    assert layer.grads[0].dtype == np.float32 and layer.grads[0].shape == (2, 3) and not layer.grads[0].any()


SHOWN = {  # of layers with D=4, H=5, V=7
    "MatMul-plain": "MatMul(D=4, H=5)",
    "Affine-N=1": "Affine(D=4, H=5)",
    "TimeEmbedding-plain": "TimeEmbedding(V=7, D=4)",
    "TimeAffine-transposed W, strided": "TimeAffine(D=4, M=7)",
    "TimeAffineSoftmaxWithLoss-plain": "TimeAffineSoftmaxWithLoss(H=5, V=7)",
    "OutputWithLoss-plain": "OutputWithLoss(TimeAffine(D=5, M=7), TimeSoftmaxWithLoss())",
    "Dropout-training": "Dropout(0.4)",
    "TimeDropout-strided": "TimeDropout(0.5)",
    "TimeAttention-plain": "TimeAttention()",
    "RNN-relu": "RNN(D=4, H=5, relu)",
    "TimeRNN-stateful": "TimeRNN(D=4, H=5, tanh, stateful)",
    "LSTM-plain": "LSTM(D=4, H=5)",
    "TimeLSTM-from zeros": "TimeLSTM(D=4, H=5)",
    "FastTimeLSTM-stateful": "FastTimeLSTM(D=4, H=5, stateful)",
    "GRU-plain, reset before": "GRU(D=4, H=5)",
    "GRU-plain, reset after": "GRU(D=4, H=5, reset_after)",
    "TimeGRU-stateful, reset after": "TimeGRU(D=4, H=5, stateful, reset_after)",
    "TimeBiLSTM-from zeros": "TimeBiLSTM(TimeLSTM(D=4, H=5), TimeLSTM(D=4, H=5))",
    "TimeStack-lstm, 1 layer": "TimeStack(TimeLSTM(D=4, H=5, stateful))",
    "TimeStack-gru, 2 layers, dropout":
        "TimeStack(TimeGRU(D=4, H=5, stateful), TimeGRU(D=5, H=5, stateful), dropout=0.4)",
    "TimeStack-gru, 2 layers, time first":
        "TimeStack(TimeGRU(D=4, H=5, stateful), TimeGRU(D=5, H=5, stateful), time first)",
}


def test_a_layer_shows_its_sizes_and_options():
    shown = {f"{case.layer}-{case.variant}": repr(case.build()) for case in layer_cases()}
    assert {name: shown[name] for name in SHOWN} == SHOWN


def test_every_layer_with_parameters_shows_their_sizes():
    for case in layer_cases():
        layer = case.build()
        shown = repr(layer)
        assert shown.startswith(f"{case.layer}(") and shown.endswith(")")
        sizes = {int(size) for size in re.findall(r"\b[A-Z]=(\d+)", shown)}
        assert bool(sizes) == bool(layer.params), shown
        assert sizes <= {size for param in layer.params for size in param.shape}, shown


RECURRENT = {
    "TimeRNN": (TimeRNN, 1, 1), "TimeLSTM": (TimeLSTM, 4, 1), "TimeGRU": (TimeGRU, 3, 1),
    "FastTimeRNN": (FastTimeRNN, 1, 1), "FastTimeLSTM": (FastTimeLSTM, 4, 1),
    "TimeBiRNN": (TimeBiRNN, 1, 2), "TimeBiLSTM": (TimeBiLSTM, 4, 2), "TimeBiGRU": (TimeBiGRU, 3, 2),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_states_and_lengths_that_were_given_may_change_afterwards(name):
    kind, blocks, readers = RECURRENT[name]
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape) for _ in range(readers)
               for shape in ((4, blocks * 5), (5, blocks * 5), (blocks * 5,))]
    state = rng.standard_normal((2, 5) if readers == 1 else (2, 2, 5))
    xs, dhs = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, readers * 5))

    def results(scribbles):
        layer, h, lengths = kind(*weights, stateful=True), state.copy(), numpy.array([2, 3])
        layer.set_state(h)
        if scribbles:
            h[...] = np.nan
        hs = layer.forward(xs, lengths)
        if scribbles:
            lengths[...] = 1
        return [hs, layer.backward(dhs), *layer.grads]

    for found, expected in zip(results(scribbles=True), results(scribbles=False), strict=True):
        np.testing.assert_array_equal(found, expected)
