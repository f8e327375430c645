"""Mikolov's network on characters: the model, its fast training, the script."""
import math
import os
import pathlib
import re

import numpy
import pytest
from any_device import np

from ch_rnn import char_rnnlm, online_sgd
from ch_rnn.char_rnnlm import mean_loss, split, train
from ch_rnn.mikolov import MikolovRnnlm
from ch_rnn.online_sgd import train_online
from common.device.ids import ids_on_host
from common.errors import InputError
from common.gradients.adapters import model_case
from common.gradients.cases import Draw
from common.gradients.checker import assert_gradients
from common.optimizer import SGD
from common.trainer import training_step

on_each_device = pytest.mark.usefixtures("device")

V, H = 7, 5
TEXT = "rhyme." * 60  # each character decides the next


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def drawn_model(scale=1.0, dtype=np.float64, V=V, H=H):
    """Return a model that has read something, with weights of the given size."""
    model = MikolovRnnlm(V, H, seed=0, dtype=dtype)
    for param in model.params:
        param *= scale
    model.draw_state()
    return model


def drawn_ids(n, V=V):
    ids = np.random.default_rng(1).integers(V, size=n + 1)
    return ids[:-1], ids[1:]


def state_of(model):
    ((h,),) = model.get_state()
    return h


def by_formula(model, xs, ts, lr):
    """Train in float64 by the formulas of the paper, one matrix for the one-hot token joined with the state.

    Returns losses, parameters in the order of the model's, and the last state, all on the host.
    """
    Wx, Wh, b, W, c, s = (np.to_cpu(array).astype(float) for array in (*model.params, state_of(model)[0]))
    U, losses = numpy.concatenate((Wx, Wh)), []
    for x, target in zip(xs.tolist(), ts.tolist()):
        joined = numpy.concatenate((numpy.eye(len(Wx))[x], s))
        s = 1 / (1 + numpy.exp(-(joined @ U + b)))
        scores = s @ W + c
        y = numpy.exp(scores) / numpy.exp(scores).sum()
        losses.append(-math.log(y[target]))
        error = y - numpy.eye(len(y))[target]
        hidden_error = (W @ error) * s * (1 - s)
        W, c = W - lr * numpy.outer(s, error), c - lr * error
        U, b = U - lr * numpy.outer(joined, hidden_error), b - lr * hidden_error
    return numpy.array(losses), [U[:len(Wx)], U[len(Wx):], b, W, c], s


def by_layers(model, xs, ts, lr):
    """Train through the layers, one character after the other; return the losses."""
    return numpy.array([float(training_step(model, SGD(lr), xs[None, i:i + 1], ts[None, i:i + 1]))
                        for i in range(len(xs))])


def assert_equal_training(model, other, losses, other_losses, tolerance):
    """Hold losses, parameters and last states of two trainings against each other."""
    np.testing.assert_allclose(losses, other_losses, rtol=tolerance, atol=tolerance)
    for param, expected in zip([*model.params, state_of(model)], [*other.params, state_of(other)]):
        assert param.dtype == expected.dtype
        np.testing.assert_allclose(param, expected, rtol=tolerance, atol=tolerance)


# The model.


@on_each_device
@pytest.mark.parametrize("N, T", [(2, 3), (1, 1), (1, 4)])
def test_the_gradients_are_right(N, T):
    draw = Draw(N + T)
    case = model_case("MikolovRnnlm", f"N={N}, T={T}", lambda: MikolovRnnlm(V, H, seed=0, dtype=np.float64),
                      draw.ids(N, T), draw.ids(N, T), states=[(draw.normal(N, H),)])
    assert_gradients(case, tolerance=1e-8)


@on_each_device
def test_the_layers_train_by_the_formulas_of_the_paper():
    model, (xs, ts) = drawn_model(), drawn_ids(40)
    expected_losses, expected_params, expected_state = by_formula(model, xs, ts, 0.5)
    np.testing.assert_allclose(by_layers(model, xs, ts, 0.5), expected_losses, rtol=1e-12)
    np.testing.assert_allclose(state_of(model)[0], expected_state, rtol=1e-12)
    for param, expected in zip(model.params, expected_params, strict=True):
        np.testing.assert_allclose(param, expected, rtol=1e-11, atol=1e-14)


@on_each_device
def test_weights_and_biases_are_even_within_one_over_the_root_of_what_a_unit_reads():
    model = MikolovRnnlm(60, 40, seed=0)
    for param, fan_in in zip(model.params, [100, 100, 100, 40, 40], strict=True):
        assert param.dtype == np.float32
        assert 0.85 * fan_in**-0.5 < abs(param).max() <= fan_in**-0.5
        assert float(abs(param).mean()) == pytest.approx(0.5 * fan_in**-0.5, rel=0.25)
    again, other = MikolovRnnlm(60, 40, seed=0), MikolovRnnlm(60, 40, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(model.params, again.params))
    assert not any(np.array_equal(a, b) for a, b in zip(model.params, other.params))


@on_each_device
def test_a_drawn_state_is_small_and_new_each_time():
    model = MikolovRnnlm(V, 2000, seed=0)
    model.draw_state()
    first = state_of(model)
    model.draw_state()
    assert first.shape == (1, 2000) and first.dtype == np.float32
    assert float(first.std()) == pytest.approx(0.1, rel=0.05) and abs(first.mean()) < 0.01
    assert not np.array_equal(first, state_of(model))


# The fast training equals that through the layers.


@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 100])
def test_online_training_equals_that_through_the_layers(n, block, monkeypatch):
    monkeypatch.setattr(online_sgd, "BLOCK", block)
    fast, plain, (xs, ts) = drawn_model(), drawn_model(), drawn_ids(n)
    assert_equal_training(fast, plain, train_online(fast, xs, ts, 0.7), by_layers(plain, xs, ts, 0.7), 1e-12)


@pytest.mark.training
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-4)])
def test_online_training_equals_the_layers_over_many_characters(dtype, tolerance):
    fast, plain = (drawn_model(dtype=dtype, V=30, H=40) for _ in range(2))
    xs, ts = drawn_ids(500, V=30)
    assert_equal_training(fast, plain, train_online(fast, xs, ts, 0.1), by_layers(plain, xs, ts, 0.1), tolerance)


@pytest.mark.parametrize("scale", [0.0, 300.0, 1e4])
def test_online_training_equals_the_layers_for_scores_that_exp_cannot_hold(scale):
    fast, plain = (drawn_model(scale, np.float32) for _ in range(2))
    xs, ts = drawn_ids(20)
    assert_equal_training(fast, plain, train_online(fast, xs, ts, 0.1), by_layers(plain, xs, ts, 0.1), 1e-3)
    assert np.isfinite(fast.params[0]).all()


def test_online_training_goes_on_where_it_stopped():
    whole, parts, (xs, ts) = drawn_model(), drawn_model(), drawn_ids(50)
    losses = [*train_online(parts, xs[:21], ts[:21], 0.5), *train_online(parts, xs[21:], ts[21:], 0.5)]
    assert_equal_training(parts, whole, losses, train_online(whole, xs, ts, 0.5), 1e-12)


def test_online_training_starts_from_zeros_without_a_state():
    fast, plain, (xs, ts) = drawn_model(), drawn_model(), drawn_ids(20)
    fast.reset_state()
    plain.set_state([(np.zeros((1, H)),)])
    assert_equal_training(fast, plain, train_online(fast, xs, ts, 0.5), by_layers(plain, xs, ts, 0.5), 1e-12)


@pytest.mark.parametrize("xs, ts", [([0, V], [0, 0]), ([0, 0], [-1, 0]), ([0, 1], [0]), ([0.0, 1.0], [0, 1])])
def test_online_training_refuses_ids_outside_the_vocabulary(xs, ts):
    model = drawn_model()
    before = [param.copy() for param in model.params]
    with pytest.raises(ValueError, match=r"TimeOneHot: [xt]s "):
        train_online(model, np.array(xs), np.array(ts), 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.params))


# An epoch.


@on_each_device
def test_one_step_at_a_time_is_the_same_through_the_layers_and_without():
    fast, plain, ids = drawn_model(), drawn_model(), drawn_ids(60)[0]
    losses = []
    for model, options in (fast, {}), (plain, {"time_size": 1, "plain": True}):
        np.seed(3)
        losses += train(model, ids, 0.5, 1, **options)
    assert_equal_training(fast, plain, *losses, 1e-12)


@on_each_device
@pytest.mark.parametrize("n, time_size", [(13, 4), (12, 5), (9, 20)])
def test_truncated_bptt_adds_up_the_gradients_of_its_steps(n, time_size):
    model, expected, ids = drawn_model(), drawn_model(), drawn_ids(n)[0]
    np.seed(3)
    loss, = train(model, ids, 0.5, 1, time_size)
    np.seed(3)
    expected.draw_state()
    nats = 0.0
    for start in range(0, n - 1, time_size):
        xs = ids[None, start:min(start + time_size, n - 1)]
        ts = ids[None, start + 1:start + time_size + 1]
        nats += float(expected.forward(xs, ts)) * xs.size
        expected.backward(dout=xs.size)
        for param, grad in zip(expected.params, expected.grads):
            param -= 0.5 * grad
    assert_equal_training(model, expected, loss, nats / (n - 1), 1e-12)


@on_each_device
@pytest.mark.parametrize("time_size", [1, 4])
def test_an_epoch_starts_from_a_drawn_state_and_predicts_all_but_the_first(time_size):
    ids = drawn_ids(18)[0]
    fresh, used = drawn_model(), drawn_model()
    used.set_state([(np.ones((1, H)),)])
    losses = []
    for model in fresh, used:
        np.seed(3)
        losses += train(model, ids, 1e-12, 1, time_size)
    assert losses[0] == losses[1]
    np.seed(3)
    still = drawn_model()
    np.seed(3)
    still.draw_state()
    assert losses[0] == pytest.approx(float(still.forward(ids[None, :-1], ids[None, 1:])), rel=1e-9)


@on_each_device
def test_the_mean_loss_learns_nothing_and_keeps_the_state():
    model, ids = drawn_model(), drawn_ids(30)[0]
    before = [param.copy() for param in (*model.params, state_of(model))]
    from_zeros = drawn_model()
    from_zeros.set_state([(np.zeros((1, H)),)])
    losses, *_ = by_formula(from_zeros, ids[:-1], ids[1:], lr=0)
    assert mean_loss(model, ids) == pytest.approx(losses.mean(), rel=1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(before, (*model.params, state_of(model))))


def test_ninety_percent_are_to_train_on():
    for n, cut in (50_000, 45_000), (11, 9), (29, 26):
        training, held_out = split(np.arange(n))
        assert training.tolist() == list(range(cut)) and held_out.tolist() == list(range(cut, n))
    with pytest.raises(InputError, match="the text has 10 characters: at least 11 are needed"):
        split(np.arange(10))


# The script.


def run(capsys, device, *flags, text=TEXT, error=None):
    """Run the script on a text; return what it prints, or for an error what it says."""
    pathlib.Path("text.txt").write_text(text, encoding="utf-8")
    flags = ["--corpus", "text.txt", "--hidden-size", "12", "--epochs", "2", "--device", device, *map(str, flags)]
    assert char_rnnlm.main(flags) == (0 if error is None else 2)
    out, err = capsys.readouterr()
    if error is None:
        assert err == ""
        return out
    assert err.startswith("python -m ch_rnn.char_rnnlm: ") and err.count("\n") == 1
    assert error in err
    return out


def losses_of(out):
    return [float(line.split()[1]) for line in out.splitlines() if re.match(r" +\d+ ", line)]


def sample_of(out):
    return out.split("\n\n", 1)[1].removesuffix("\n")


@pytest.mark.training
@pytest.mark.parametrize("flags", [[], ["--time-size", 3]])
def test_the_losses_fall(capsys, flags):
    out = run(capsys, "cpu", "--epochs", 8, *flags)
    losses = losses_of(out)
    assert len(losses) == 8 and losses[0] > 1 and losses[-1] < 0.1
    fixed, held_out = map(float, re.findall(r"\d\.\d{4}(?= on the)", out))
    assert fixed < 0.1 and held_out < 0.2


@pytest.mark.training
def test_the_plain_path_and_a_gpu_print_the_same_losses(device, capsys):
    one, two = (losses_of(run(capsys, device, "--time-size", time_size)) for time_size in (1, 2))
    assert one == pytest.approx(losses_of(run(capsys, "cpu", "--plain")), abs=2e-4)
    assert two == pytest.approx(losses_of(run(capsys, "cpu", "--time-size", 2)), abs=2e-4)
    assert one != two


def test_a_gpu_trains_through_the_layers_and_a_cpu_without_them(device, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(char_rnnlm, "train_online", lambda *args: calls.append(args) or train_online(*args))
    run(capsys, device, "--max-tokens", 30, "--length", 1)
    assert len(calls) == (2 if device == "cpu" else 0)
    run(capsys, device, "--max-tokens", 30, "--length", 1, "--plain")
    assert len(calls) == (2 if device == "cpu" else 0)


def test_the_two_losses_at_the_end_are_of_the_training_and_of_the_held_out_part(device, capsys, monkeypatch):
    text = "".join(numpy.random.default_rng(0).choice(list("zyxàb."), 137))
    measured = []

    def recorded(model, ids):
        measured.append((ids_on_host(ids).tolist(), mean_loss(model, ids)))
        return measured[-1][1]

    monkeypatch.setattr(char_rnnlm, "mean_loss", recorded)
    out = run(capsys, device, "--max-tokens", 130, text=text)
    ids = [".bxyzà".index(character) for character in text[:130]]
    assert [part for part, _ in measured] == [ids[:117], ids[117:]]
    (_, fixed), (_, held_out) = measured
    assert f": {fixed:.4f} on the training part " in out and f", {held_out:.4f} on the held-out part\n\n" in out
    assert "130 characters, 6 different, 117 to train on, 13 held out" in out


def test_the_sample_has_the_asked_length_and_a_seed_repeats_it(device, capsys):
    flags = ["--prompt", "yme", "--length", 33, "--max-tokens", 60]
    out = run(capsys, device, *flags)
    sample = sample_of(out)
    assert len(sample) == 3 + 33 and sample.startswith("yme") and set(sample) <= set(TEXT)
    assert sample_of(run(capsys, device, *flags)) == sample
    assert sample_of(run(capsys, device, *flags, "--seed", 1)) != sample
    default = sample_of(run(capsys, device, "--max-tokens", 60))
    assert len(default) == 1 + 250 and default[0] == "."


@pytest.mark.training
def test_a_low_temperature_plays_safe(capsys):
    out = run(capsys, "cpu", "--epochs", 8, "--prompt", "rhy", "--length", 40, "--temperature", 0.01)
    assert sample_of(out) == TEXT[:43]


def test_without_a_corpus_it_trains_on_the_topics_of_pydoc(capsys):
    assert char_rnnlm.main(["--smoke", "--length", "20"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pydoc: 2,000 characters") and len(losses_of(out)) == 2 and len(sample_of(out)) == 21


def test_ptb_is_read_as_characters(capsys, ptb_dir):
    assert char_rnnlm.main(["--smoke", "--corpus", "ptb", "--prompt", "the"]) == 0
    assert capsys.readouterr().out.startswith("ptb: 2,000 characters")


@pytest.mark.parametrize("flags, error", [
    (["--corpus", "nowhere.txt"], "no corpus 'nowhere.txt': give pydoc, ptb or the path of a text file"),
    (["--max-tokens", "10"], "the text has 10 characters: at least 11 are needed"),
    (["--prompt", "rhymes é"], "the prompt has 's', ' ', 'é', which the training text never has"),
    (["--prompt", ""], "the prompt is empty"),
    (["--lr", "0"], "--lr: '0' is not a number above 0"),
    (["--time-size", "0"], "--time-size: '0' is not a whole number"),
    (["--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
])
def test_wrong_use_is_said_before_any_training(device, capsys, flags, error):
    assert run(capsys, device, *flags, error=error) == ""


def test_a_text_without_a_full_stop_is_gone_on_from_as_it_begins(device, capsys):
    out = run(capsys, device, text="e\u0301 here\n" * 9)  # read as é, one character
    assert "63 characters, 6 different" in out and "\n\né" in out


@pytest.mark.parametrize("flags", [[], ["--plain"], ["--time-size", 3]])
def test_a_loss_that_is_not_finite_is_said(device, capsys, flags):
    run(capsys, device, "--lr", "1e38", *flags,
        error="of epoch 1 is not finite: try a lower learning rate (--lr)")


# The text of the tutorial.


@pytest.mark.training
def test_on_moliere_float32_stays_with_the_formulas_in_float64():
    path = pathlib.Path(os.environ.get("RNN_DATA_DIR") or "", "moliere.txt")
    if not path.is_file():
        pytest.skip("needs the plays of Molière: set RNN_DATA_DIR to the folder of moliere.txt")
    text = path.read_text(encoding="utf-8")[:50_000]
    chars = sorted(set(text))
    assert len(chars) == 73
    ids = np.array([chars.index(character) for character in text[:2001]])
    model = drawn_model(dtype=np.float32, V=73, H=128)
    expected, *_ = by_formula(model, ids[:-1], ids[1:], 0.1)
    losses = train_online(model, ids[:-1], ids[1:], 0.1)
    assert losses.mean() == pytest.approx(expected.mean(), rel=1e-5)
    np.testing.assert_allclose(losses, expected, atol=2e-3)
