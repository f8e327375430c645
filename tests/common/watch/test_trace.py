import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.classifier import SequenceClassifier
from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from ch_lstm.memory_model import MemoryModel
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.hello import HelloRNN, one_hot_task
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.base_model import BaseModel
from common.fast import speed_up
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.layers.base import Layer
from common.layers.bidirectional import TimeBiLSTM
from common.layers.gru import TimeGRU
from common.layers.losses import MeanSquaredError
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.stack import TimeStack
from common.layers.time import TimeLast
from common.watch.trace import trace

N, T, D, H, V = 2, 3, 4, 5, 7

LAYERS = {
    "TimeRNN": (TimeRNN, 1, 1, {}), "relu": (TimeRNN, 1, 1, {"activation": "relu"}),
    "sigmoid": (TimeRNN, 1, 1, {"activation": "sigmoid"}),
    "FastTimeRNN": (FastTimeRNN, 1, 1, {}),
    "TimeLSTM": (TimeLSTM, 4, 4, {}), "FastTimeLSTM": (FastTimeLSTM, 4, 4, {}),
    "TimeGRU": (TimeGRU, 3, 3, {}), "reset after": (TimeGRU, 3, 4, {"reset_after": True}),
}


def made(name, stateful=True):
    kind, blocks, biases, options = LAYERS[name]
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape) for shape in ((D, blocks * H), (H, blocks * H), (biases * H,))]
    return kind(*weights, stateful=stateful, **options)


@pytest.mark.parametrize("lengths", [None, [2, 3], [1, 2]])
@pytest.mark.parametrize("name", LAYERS)
def test_replay_equals_the_layer(device, name, lengths):
    layer = made(name)
    rng = np.random.default_rng(1)
    states = [rng.standard_normal((N, H)) for _ in layer.state]
    layer.set_state(*states)
    dstates = [rng.standard_normal((N, H)) for _ in layer.state]
    with trace(layer) as record:
        hs = layer.forward(rng.standard_normal((N, T, D)), lengths)
        dxs = layer.backward(rng.standard_normal((N, T, H)), *dstates)
    (found,) = record.layers
    np.testing.assert_allclose(found.arrays["h"], hs, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.arrays["dx"], dxs, rtol=1e-11, atol=1e-13)
    for state, gradient in zip(("h", "c"), (layer.dh, getattr(layer, "dc", None))[:len(states)]):
        np.testing.assert_array_equal(found.arrays[f"{state}_prev"][:, 0], states["hc".index(state)])
        np.testing.assert_allclose(found.arrays[f"d{state}_prev"][:, 0], gradient, rtol=1e-11, atol=1e-13)
    for k, weight in enumerate(("dWx", "dWh", "db")):
        np.testing.assert_array_equal(found.grads[weight], layer.grads[k])
        assert found.norms(weight).shape == (T,)


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_of_each_step_adds_up_to_that_of_the_weights(name):
    """One step alone has all of the gradient; of two, the norms bound that of the sum."""
    layer = made(name)
    rng = numpy.random.default_rng(2)
    for steps in (1, 2):
        with trace(layer) as record:
            layer.forward(rng.standard_normal((N, steps, D)))
            layer.backward(rng.standard_normal((N, steps, H)))
        for weight, grad in zip(("dWx", "dWh", "db"), layer.grads):
            norms = record.layers[0].norms(weight)
            total = numpy.linalg.norm(grad)
            if steps == 1:
                assert norms[0] == pytest.approx(total, rel=1e-12)
            else:
                assert abs(norms[0] - norms[1]) <= total * (1 + 1e-12) and total <= norms.sum() * (1 + 1e-12)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_gradient_of_a_state_is_that_of_the_unrolled_layer(cell):
    model = MemoryModel(cell, D, H, 2, 1, MeanSquaredError(), seed=0, dtype=numpy.float64)
    rng = numpy.random.default_rng(3)
    xs, ts = rng.standard_normal((N, T, D)), rng.standard_normal((N, 1, 2))
    with trace(model) as record:
        model.forward(xs, ts)
        model.backward()
    gradients = model.state_gradients(xs, ts)  # (N, T + 1, H)
    numpy.testing.assert_allclose(record["recurrent"].arrays["dh"], gradients[:, 1:], rtol=1e-12, atol=1e-15)


def language(model):
    ids = np.random.default_rng(4).integers(0, V, (N, T + 1))
    return model(seed=0), (ids[:, :-1], ids[:, 1:])


def classifier():
    ids = np.random.default_rng(4).integers(0, V, (N, T))
    return SequenceClassifier(V, D, H, 3, dropout_ratio=0.3, seed=0), (ids, ids[:, 0] % 3, [2, 3])


def memory():
    xs, ts = (np.random.default_rng(4).standard_normal(shape) for shape in ((N, T, D), (N, 1, 2)))
    return MemoryModel("gru", D, H, 2, 1, MeanSquaredError(), seed=0, dtype=np.float64), (xs, ts)


MODELS = {
    "SimpleRnnlm": lambda: language(lambda seed: SimpleRnnlm(V, D, H, seed=seed)),
    "Rnnlm": lambda: language(lambda seed: Rnnlm(V, D, H, seed=seed)),
    "Rnnlm, fast": lambda: language(lambda seed: speed_up(Rnnlm(V, D, H, seed=seed))),
    "BetterRnnlm": lambda: language(lambda seed: BetterRnnlm(V, H, H, 0.5, seed=seed)),
    "Seq2seq": lambda: language(lambda seed: Seq2seq(V, D, H, seed=seed)),
    "PeekySeq2seq": lambda: language(lambda seed: PeekySeq2seq(V, D, H, seed=seed)),
    "AttentionSeq2seq": lambda: language(lambda seed: AttentionSeq2seq(V, D, H, seed=seed)),
    "SequenceClassifier": classifier,
    "MemoryModel": memory,
    "HelloRNN": lambda: (HelloRNN(seed=0), one_hot_task()),
}


@pytest.mark.parametrize("name", MODELS)
def test_watching_changes_nothing(device, name):
    model, data = MODELS[name]()
    loss = model.forward(*data)
    model.backward()
    watched, data = MODELS[name]()
    with trace(watched) as record:
        watched_loss = watched.forward(*data)
        watched.backward()
    np.testing.assert_array_equal(watched_loss, loss)
    for found, expected in zip(watched.grads, model.grads, strict=True):
        np.testing.assert_array_equal(found, expected)
    for layer in record.layers:
        assert layer.arrays and ("dx" in layer.arrays or layer.layer == "TimeEmbedding")
    assert record.recurrent and all(layer.norms("dh").shape == (layer.T,) for layer in record.recurrent)
    assert str(record.table()).count("\n") > 10
    before = len(record.layers)
    watched.forward(*data)
    assert len(record.layers) == before


def test_walks_into_a_stack_and_both_directions():
    np.seed(0)
    stack = TimeStack("lstm", D, H, num_layers=2, bidirectional=True, dtype=numpy.float64)
    rng = numpy.random.default_rng(5)
    with trace(stack) as record:
        output, *_ = stack.forward(rng.standard_normal((N, T, D)))
        stack.backward(rng.standard_normal((N, T, 2 * H)))
    assert [layer.path for layer in record.recurrent] == [
        f"layers[{k}].readers[{direction}]" for k in range(2) for direction in range(2)]
    numpy.testing.assert_allclose(record["layers[1].readers[1]"].arrays["h"][:, ::-1], output[:, :, H:], rtol=1e-12)
    both = TimeBiLSTM(*stack.params[:6])
    with trace(both) as record:
        both.forward(rng.standard_normal((N, T, D)))
    assert [layer.path for layer in record.layers] == ["readers[0]", "readers[1]"]


def test_table_shows_formula_shape_and_norms():
    layer = made("TimeLSTM")
    rng = numpy.random.default_rng(6)
    with trace(layer) as record:
        layer.forward(rng.standard_normal((N, T, D)))
        layer.backward(rng.standard_normal((N, T, H)))
    found = record["TimeLSTM"]
    row = next(line for line in record.table().splitlines() if line.split()[0] == "f")
    for part in ("sigmoid(af)", "(2, 3, 5)", *(f"{norm:.3g}" for norm in found.norms("f"))):
        assert part in row
    narrow = record.table(steps=2).splitlines()[0]
    assert "t=0" in narrow and "t=2" in narrow and "t=1" not in narrow
    assert found.at(2)["f"].shape == (N, H)
    assert found.norms("f")[1] == pytest.approx(numpy.linalg.norm(found.at(1)["f"]))


def test_wrong_use_is_named():
    layer = made("TimeRNN")
    with trace(layer) as record:
        layer.forward(numpy.ones((N, T, D)))
        with pytest.raises(ValueError, match="this TimeRNN is being traced already"), trace(layer):
            pass
    with pytest.raises(ValueError, match="TimeRNN has the time steps 0 to 2, got 3"):
        record.layers[0].at(3)
    with pytest.raises(ValueError, match="TimeRNN has no 'f' with time steps, but x, h_prev, a, h"):
        record.layers[0].norms("f")
    with pytest.raises(KeyError, match="'layers' was not recorded, but TimeRNN"):
        record["layers"]
    with pytest.raises(ValueError, match="int has no layers to watch"), trace(3):
        pass
    with pytest.raises(RuntimeError, match="broken"), trace(layer):
        raise RuntimeError("broken")
    assert "forward" not in vars(layer)


def test_each_step_has_its_own_norm_of_the_weights_gradient():
    layer = made("TimeLSTM")
    rng = numpy.random.default_rng(7)
    xs, dhs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))
    dhs[:, 0] *= 100
    with trace(layer) as record:
        layer.forward(xs)
        layer.backward(dhs)
    found = record.layers[0]
    da, x = found.arrays["da"], found.arrays["x"]
    expected = [numpy.linalg.norm(x[:, t].T @ da[:, t]) for t in range(T)]
    numpy.testing.assert_allclose(found.norms("dWx"), expected, rtol=1e-12)
    columns = next(line for line in record.table().splitlines() if line.split()[0] == "dWx").split()[-T:]
    assert columns == [f"{norm:.3g}" for norm in expected]


def test_a_layer_without_state_begins_each_forward_with_zeros():
    layer = made("TimeRNN", stateful=False)
    xs = numpy.random.default_rng(8).standard_normal((N, T, D))
    with trace(layer) as record:
        first = layer.forward(xs)
        layer.forward(xs)
    for found in record.layers:
        numpy.testing.assert_allclose(found.arrays["h"], first, rtol=1e-12)


def test_a_record_is_a_copy():
    layer = made("TimeRNN")
    xs = numpy.ones((N, T, D))
    with trace(layer) as record:
        layer.forward(xs)
        layer.backward(numpy.ones((N, T, H)))
    before = record.layers[0].arrays["x"].copy(), record.layers[0].grads["dWx"].copy()
    xs[...] = 0
    layer.grads[0][...] = 0
    numpy.testing.assert_array_equal(record.layers[0].arrays["x"], before[0])
    numpy.testing.assert_array_equal(record.layers[0].grads["dWx"], before[1])


def test_a_step_cell_is_recorded_by_the_names_of_its_parameters(device):
    cell = made("TimeLSTM").step
    rng = np.random.default_rng(9)
    x, h_prev, c_prev, dh, dc = (rng.standard_normal((N, size)) for size in (D, H, H, H, H))
    with trace(cell) as record:
        h, c = cell.forward(x, h_prev, c_prev)
        cell.backward(dh, dc)
    arrays = record.layers[0].arrays
    assert list(arrays) == ["x", "h_prev", "c_prev", "y", "y 1", "dy", "dy 1", "dx", "dx 1", "dx 2"]
    np.testing.assert_array_equal(arrays["y 1"], c)
    assert record.layers[0].T is None


def test_a_second_axis_that_happens_to_be_as_long_is_no_time_axis():
    layer = TimeLast()
    with trace(layer) as record:
        layer.forward(numpy.ones((N, T, T)))
    assert record.layers[0].in_time == {"xs"}


class NoBackward(Layer):
    def forward(self, x):
        return x


def test_a_layer_that_cannot_be_watched_leaves_the_others_as_they_were():
    model = BaseModel()
    model.layers = [made("TimeRNN"), NoBackward()]
    with pytest.raises(AttributeError), trace(model):
        pass
    assert "forward" not in vars(model.layers[0])
    model.layers = {"first": made("TimeRNN")}
    with trace(model) as record:
        model.layers["first"].forward(numpy.ones((N, T, D)))
    assert record.layers[0].path == "layers['first']"


def test_the_scores_of_a_step_whose_target_does_not_count_are_traced_as_they_are():
    model = SimpleRnnlm(7, 4, 5, seed=0, dtype=numpy.float64)
    ids = numpy.array([[1, 2, 3, 4]])
    scores = model.predict(ids)
    model.reset_state()
    with trace(model) as record:
        model.forward(ids, numpy.array([[-1, -1, 5, -1]]))
    numpy.testing.assert_allclose(record["layers[2]"].arrays["y"], scores, rtol=1e-12)
