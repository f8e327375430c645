import re

import numpy
import pytest
from any_device import np

from ch_lstm import memory
from ch_lstm.memory_model import MemoryModel
from common.errors import InputError
from common.gradients.adapters import model_case
from common.gradients.cases import D, Draw, H, N, T, V
from common.gradients.checker import assert_gradients
from common.layers.losses import MeanSquaredError
from common.layers.stack import CELLS
from common.layers.time import TimeSoftmaxWithLoss

pytestmark = pytest.mark.usefixtures("device")

K = 2
LOSSES = {"adding": MeanSquaredError, "copy": TimeSoftmaxWithLoss}

every_cell = pytest.mark.parametrize("cell", CELLS)
every_loss = pytest.mark.parametrize("loss", LOSSES)


def build(cell, loss, memory_bias=1.5, dtype=np.float64):
    return MemoryModel(cell, D, H, V, K, LOSSES[loss](), memory_bias, seed=0, dtype=dtype)


def sequences(loss):
    draw = Draw(1)
    return draw.normal(N, T, D), draw.ids(N, K) if loss == "copy" else draw.normal(N, K, V)


@every_cell
@every_loss
def test_gradients(cell, loss):
    case = model_case("MemoryModel", f"{cell}, {loss}", lambda: build(cell, loss), *sequences(loss))
    case.constants = ("xs", "ts")
    assert_gradients(case, tolerance=1e-8)


@every_cell
def test_only_the_last_steps_are_read(cell):
    model = build(cell, "adding")
    xs, ts = sequences("adding")
    model.forward(xs, ts)
    ys = model.affine.affine.forward(model.hs[:, 1:].reshape(N * K, H)).reshape(N, K, V)
    assert model.forward(xs, ts) == ((ys - ts) ** 2).mean()


@every_cell
def test_float32_stays_float32(cell):
    model = build(cell, "adding", dtype=np.float32)
    xs, ts = (array.astype(np.float32) for array in sequences("adding"))
    loss = model.forward(xs, ts)
    model.backward()
    gradients = model.state_gradients(xs, ts)
    assert {array.dtype for array in (loss, gradients, *model.params, *model.grads)} == {np.dtype("float32")}


def test_the_memory_bias_opens_the_forget_gate_and_closes_the_input_gate():
    b = build("lstm", "adding", memory_bias=8).recurrent.params[2].reshape(4, H)  # blocks f, g, i, o
    assert b.tolist() == [[0, 2, 4, 6, 8], [0] * H, [0, -2, -4, -6, -8], [0] * H]


def test_the_memory_bias_closes_the_update_gate():
    b = build("gru", "adding", memory_bias=8).recurrent.params[2].reshape(3, H)  # blocks z, r, h
    assert b.tolist() == [[0, -2, -4, -6, -8], [0] * H, [0] * H]


def test_an_rnn_has_no_gates():
    assert (build("rnn", "adding", memory_bias=8).recurrent.params[2] == 0).all()


def loss_from(model, xs, ts, t, state):
    """The loss as a function of the state after step t."""
    rest = type(model.recurrent)(*model.recurrent.params, stateful=True)
    rest.set_state(*state)
    hs = np.concatenate((state[0][:, None], rest.forward(xs[:, t:])), axis=1) if t < T else state[0][:, None]
    return model.loss_layer.forward(model.affine.forward(hs[:, -1:]), ts)


@every_cell
def test_state_gradients_are_the_derivatives_of_the_loss(cell):
    model = MemoryModel(cell, D, H, V, 1, MeanSquaredError(), 1.5, seed=0, dtype=np.float64)
    xs, ts = sequences("adding")
    ts = ts[:, :1]
    gradients = model.state_gradients(xs, ts)
    assert gradients.shape == (N, T + 1, H)
    for t in range(T + 1):
        state = [np.zeros((N, H)) for _ in model.recurrent.state]
        if t > 0:
            model.recurrent.forward(xs[:, :t])
            state = model.recurrent.state
        numerical = np.zeros((N, H))
        for place in numpy.ndindex(N, H):
            losses = []
            for step in (1e-5, -1e-5):
                h = state[0].copy()
                h[place] += step
                losses.append(loss_from(model, xs, ts, t, (h, *state[1:])))
            numerical[place] = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(gradients[:, t], numerical, rtol=1e-6, atol=1e-10)


@every_cell
@every_loss
def test_state_gradients_begin_with_what_leaves_the_layer_and_end_with_what_the_answer_sends(cell, loss):
    model = build(cell, loss)
    xs, ts = sequences(loss)
    gradients = model.state_gradients(xs, ts)
    model.forward(xs, ts)
    model.backward()
    np.testing.assert_allclose(gradients[:, 0], model.recurrent.dh, rtol=1e-12)
    last = model.affine.backward(model.loss_layer.backward())[:, -1]
    assert np.array_equal(gradients[:, -1], last)


def settings(**changes):
    return memory.Settings(**{"hidden_size": 16, "steps": 10} | changes)


@pytest.mark.training
def test_an_lstm_learns_to_add():
    config = settings(steps=150, lr=0.02)
    model, training, held_out = memory.build("adding", "lstm", 6, config)
    before = memory.mean_error(model, held_out, batches=5)
    memory.train(model, training, held_out, config)
    assert memory.mean_error(model, held_out, batches=5) < 0.5 * held_out.error_ignoring_input < before


def test_training_stops_after_two_solved_evaluations_in_a_row(monkeypatch):
    errors = iter([0.1, 0.001, 0.1, 0.001, 0.001, 0.001])
    monkeypatch.setattr(memory, "EVALUATION_INTERVAL", 2)
    monkeypatch.setattr(memory, "mean_error", lambda *args, **options: next(errors))
    config = settings(steps=100)
    assert memory.train(*memory.build("adding", "gru", 4, config), config) == 10


def test_training_stops_after_its_steps():
    config = settings(steps=3)
    assert memory.train(*memory.build("adding", "rnn", 4, config), config) == 3


def test_every_cell_sees_the_same_sequences_and_held_out_ones_are_others():
    parts = [memory.build("copy", cell, 5, settings())[1:] for cell in CELLS]
    (training, *others), (held_out, *_) = ([part.batch(20)[1] for part in side] for side in zip(*parts))
    assert all(numpy.array_equal(training, other) for other in others)
    assert not numpy.array_equal(training, held_out)


@pytest.mark.parametrize("max_grad", [0.01, 1000.0])
def test_the_factor_is_that_of_clipping(max_grad):
    config = settings(max_grad=max_grad)
    model, _, held_out = memory.build("adding", "rnn", 6, config)
    norms, norm, factor = memory.state_gradient_norms(model, held_out, config)
    assert norms.shape == (7,) and norms[0] < norms[-1]
    assert norm > 0.01
    assert factor == pytest.approx(min(1, max_grad / norm), rel=1e-4)


def test_norms_of_gradients_whose_squares_underflow():
    config = settings(hidden_size=8)
    model, _, held_out = memory.build("adding", "rnn", 40, config)
    model.recurrent.params[1][...] *= 0.2
    norms, _, _ = memory.state_gradient_norms(model, held_out, config)
    assert 0 < norms[0] < 1e-24


def rows_of(text):
    return [line.split() for line in text.splitlines() if line.startswith(("adding", "copy"))]


def test_smoke(device, capsys, tmp_path):
    out = tmp_path / "new" / "folder"
    assert memory.main(["--smoke", "--seed", "3", "--out", str(out), "--device", device]) == 0
    first = capsys.readouterr().out
    errors, norms = [row for row in rows_of(first) if len(row) == 7], [row for row in rows_of(first) if len(row) == 10]
    assert [row[:3] for row in errors] == [
        [task, length, cell] for task in ("adding", "copy") for length in ("4", "8") for cell in CELLS]
    assert {(row[0], row[4], row[5]) for row in errors} == {("adding", "0.1667", "2"), ("copy", "2.0794", "2")}
    assert [row[:3] for row in norms] == [
        [task, cell, weights] for task in ("adding", "copy") for cell in CELLS for weights in ("initial", "trained")]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{task}_{picture}.png" for task in ("adding", "copy")
        for picture in ("error", "gradient_initial", "gradient_trained"))
    assert memory.main(["--smoke", "--seed", "3", "--device", device]) == 0
    assert [row[:6] for row in rows_of(capsys.readouterr().out)] == [row[:6] for row in rows_of(first)]


def test_given_flags_go_before_those_of_smoke(device, capsys):
    flags = ["--task", "copy", "--cell", "gru", "--lengths", "5", "1", "5", "--steps", "1", "--device", device]
    assert memory.main(["--smoke", *flags]) == 0
    assert [row[:3] for row in rows_of(capsys.readouterr().out)] == [
        ["copy", "1", "gru"], ["copy", "5", "gru"], ["copy", "gru", "initial"], ["copy", "gru", "trained"]]


@pytest.mark.parametrize("flags, message", [
    (["--lengths", "10", "1"], "the adding problem needs --lengths of at least 2"),
    (["--lengths", "0"], "'0' is not a whole number from 1"),
    (["--cell", "elman"], "invalid choice: 'elman'"),
    (["--smoke", "--lr", "1e38"], "the loss of epoch 1 is not finite: try a lower learning rate (--lr)"),
])
def test_wrong_use_is_one_line(device, capsys, flags, message):
    assert memory.main([*flags, "--device", device]) == 2
    line = capsys.readouterr().err
    assert message in line and re.fullmatch(r"python -m ch_lstm\.memory: .*\n", line)


def test_a_folder_that_is_there_is_left_alone(device, capsys, tmp_path):
    (tmp_path / "adding_error.png").write_text("kept")
    assert memory.main(["--smoke", "--out", str(tmp_path), "--device", device]) == 2
    assert "choose a new one for --out" in capsys.readouterr().err
    assert (tmp_path / "adding_error.png").read_text() == "kept"


def test_a_loss_that_is_not_finite_is_an_error():
    model, _, held_out = memory.build("adding", "rnn", 4, settings())
    model.params[0][0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        memory.mean_error(model, held_out, batches=1)
