import dataclasses
import inspect
import itertools

import numpy
import pytest
import strict_cupy
from any_device import checks_elements, np
from by_hand import lstm_by_hand
from count_launches import count_training_step

from ch_lstm.awd_lstm import AwdLstm
from common.fast import speed_up
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.gradients.adapters import model_case
from common.gradients.checker import assert_gradients
from common.language_model.evaluate import perplexity
from common.language_model.model import LanguageModel
from common.layers.losses import OutputWithLoss
from common.layers.lstm import TimeLSTM
from common.layers.regularization import TimeEmbeddingDropout, TimeLockedDropout
from common.layers.time import TimeAffine, TimeEmbedding
from common.layers.weight_drop import TimeWeightDropLSTM
from common.optimizer import SGD, Adam
from common.trainer import training_step
from common.training.accumulate import forward_backward_in_parts
from common.training.batches import StripBatches
from common.training.clip import unique_params
from common.watch.states import recorded_states

pytestmark = pytest.mark.usefixtures("device")

N, T, V, D, H = 2, 4, 11, 3, 5
RATIOS = {"embedding_dropout": 0.2, "input_dropout": 0.4, "hidden_dropout": 0.3, "dropout_ratio": 0.25,
          "weight_drop": 0.5}
NO_DROPOUT = dict.fromkeys(RATIOS, 0.0)
both_forms = pytest.mark.parametrize("fast", [False, True])
tied_and_not = pytest.mark.parametrize("tied", [True, False])


def build(fast=False, dtype=np.float64, **options):
    """Return a small model with larger weights, so that every part of it matters."""
    model = AwdLstm(V, D, H, **RATIOS | {"dtype": dtype} | options)
    rng = np.random.default_rng(2)
    for param in unique_params(model.params):
        param[...] = (0.6 * rng.standard_normal(param.shape)).astype(param.dtype)
    return speed_up(model) if fast else model


def ids(seed, rows=N):
    return np.random.default_rng(seed).integers(V, size=(rows, T))


# --- weights

def test_the_defaults_are_those_of_the_paper():
    found = {name: parameter.default for name, parameter in inspect.signature(AwdLstm).parameters.items()}
    assert found == {
        "vocab_size": 10000, "wordvec_size": 400, "hidden_size": 1150, "layers": 3, "tied": True, "dropout_ratio": 0.4,
        "hidden_dropout": 0.25, "input_dropout": 0.4, "embedding_dropout": 0.1, "weight_drop": 0.5, "alpha": 2.0,
        "beta": 1.0, "seed": None, "dtype": np.float32}


@tied_and_not
@pytest.mark.parametrize("layers, sizes", [(1, []), (2, [H]), (3, [H, H])])
def test_weights_are_drawn_evenly_and_the_last_layer_gives_what_the_output_reads(layers, sizes, tied):
    model, rng, last = AwdLstm(V, D, H, layers, tied, seed=3), numpy.random.default_rng(3), D if tied else H
    expected = [rng.uniform(-0.1, 0.1, (V, D))]
    for below, size in itertools.pairwise([D, *sizes, last]):
        expected += [rng.uniform(-size**-0.5, size**-0.5, shape)
                     for shape in ((below, 4 * size), (size, 4 * size), 4 * size)]
    expected += [expected[0].T if tied else rng.uniform(-0.1, 0.1, (H, V)), numpy.zeros(V)]
    assert [param.shape for param in model.params] == [array.shape for array in expected]
    for param, array in zip(model.params, expected):
        np.testing.assert_allclose(param, array, rtol=1e-6)
    assert np.host_rng.random() == rng.random()  # nothing else was drawn
    assert len(unique_params(model.params)) == len(model.params) - tied
    assert {array.dtype for array in (*model.params, *model.grads)} == {np.dtype(np.float32)}


def test_each_layer_has_its_ratio():
    lstm = "TimeWeightDropLSTM(D={}, H={}, stateful, weight_drop=0.5)"
    assert list(map(repr, AwdLstm(V, D, H, **RATIOS).layers)) == [
        "TimeEmbeddingDropout(V=11, D=3, 0.2)", "TimeLockedDropout(0.4)", lstm.format(3, 5), "TimeLockedDropout(0.3)",
        lstm.format(5, 5), "TimeLockedDropout(0.3)", lstm.format(5, 3), "TimeLockedDropout(0.25)",
        "TimeAffine(D=3, M=11)"]


@pytest.mark.parametrize("options, message", [
    ({"layers": 0}, "AwdLstm: layers is 0, wanted at least 1"),
    ({"alpha": -1.0}, "alpha is -1.0, wanted a finite number of at least 0"),
    ({"beta": float("nan")}, "beta is nan, wanted a finite number of at least 0"),
    *[({name: 1.0}, rf"{name} is 1.0, wanted a number in \[0, 1\)") for name in RATIOS],
])
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        AwdLstm(V, D, H, **options)


# --- forward

def drawn(shape, ratio):
    return numpy.where(np.to_cpu(np.rng.random(shape, dtype=np.float64)) < ratio, 0, 1 / (1 - ratio))


def by_hand(model, xs, ts, training, alpha=0.7, beta=0.3):
    """Return scores, cross entropy and terms, with masks that are drawn in the order of the layers."""
    mask = drawn if training else lambda shape, ratio: numpy.ones(shape)
    embedding, *lstms, W, b = map(np.to_cpu, model.params)
    xs, ts = np.to_cpu(xs), np.to_cpu(ts)
    hs = (embedding * mask((V, 1), 0.2))[xs] * mask((N, 1, D), 0.4)
    for k, ratio in ((0, 0.3), (3, 0.3), (6, 0.25)):
        Wx, Wh, bias = lstms[k:k + 3]
        raw = lstm_by_hand(hs, Wx, Wh * mask(Wh.shape, 0.5), bias)
        hs = raw * mask((N, 1, raw.shape[2]), ratio)
    scores = hs @ W + b
    probabilities = numpy.exp(scores) / numpy.exp(scores).sum(axis=2, keepdims=True)
    loss = -numpy.log(numpy.take_along_axis(probabilities, ts[:, :, None], axis=2)).mean()
    return scores, loss, alpha * (hs**2).mean() + beta * ((raw[:, 1:] - raw[:, :-1])**2).mean()


@both_forms
@tied_and_not
def test_in_training_every_mask_is_where_it_belongs_and_the_loss_has_no_terms(fast, tied):
    model, xs, ts = build(fast, tied=tied, alpha=0.7, beta=0.3), ids(0), ids(1)
    np.seed(5)
    scores, loss, penalty = by_hand(model, xs, ts, training=True)
    np.seed(5)
    assert float(model.forward(xs, ts)) == pytest.approx(loss, rel=1e-10)
    assert float(model.penalty) == pytest.approx(penalty, rel=1e-10)
    np.seed(5)
    model.reset_state()
    np.testing.assert_allclose(model.predict(xs, train_flg=True), scores, rtol=1e-9)


@both_forms
def test_in_evaluation_there_is_no_mask_of_any_kind_and_no_term(fast):
    model, xs, ts = build(fast), ids(0), ids(1)
    scores, loss, _ = by_hand(model, xs, ts, training=False)
    model.forward(xs, ts)  # in training: its masks must not be left
    model.reset_state()
    np.seed(6)
    before = np.random_state()
    assert float(model.forward(xs, ts, train_flg=False)) == pytest.approx(loss, rel=1e-10)
    assert model.penalty is None
    for function in (model.predict, lambda xs: model.advance(xs)[:, None]):
        model.reset_state()
        found = np.to_cpu(function(xs))
        np.testing.assert_allclose(found, scores[:, -found.shape[1]:], rtol=1e-9)
    assert np.random_state() == before


@both_forms
def test_a_backward_without_training_is_that_of_the_plain_layers(fast):
    model, xs, ts = build(fast), ids(0), ids(1)
    embedding, *lstms, W, b = [param.copy() for param in model.params]
    plain = LanguageModel(V)
    plain.compose([TimeEmbedding(embedding), *(TimeLSTM(*lstms[k:k + 3], stateful=True) for k in (0, 3, 6)),
                   TimeAffine(W, b)])
    losses = [model.forward(xs, ts, train_flg=False), plain.forward(xs, ts)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-12)
    model.backward()
    plain.backward()
    for found, expected in zip(model.grads, plain.grads, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_two_forwards_in_training_differ_and_the_seed_repeats_them():
    model, losses = build(), []
    for seed in (7, None, 7):
        if seed is not None:
            np.seed(seed)
        model.reset_state()
        losses.append(float(model.forward(ids(0), ids(1))))
    assert losses[0] == losses[2] != losses[1]


# --- backward

@both_forms
@pytest.mark.parametrize("options", [
    {}, {"tied": False}, {"layers": 1}, {"alpha": 0.0}, {"beta": 0.0}, NO_DROPOUT],
    ids=["tied", "untied", "one layer", "alpha 0", "beta 0", "no dropout"])
def test_backward_is_the_gradient_of_the_loss_and_the_terms(options, fast):
    xs, ts = ids(3), ids(4)
    xs[0, 0], xs[1, 1], ts[1, 0] = 2, 2, -1

    def forward(model, inputs):
        model.reset_state()
        return {"loss": model.forward(inputs["xs"], inputs["ts"]) + model.penalty}

    case = model_case("AwdLstm", "", lambda: build(fast, **options), xs, ts,
                      single_backward=fast and np.backend == "numpy")
    case = dataclasses.replace(case, forward=forward)
    assert_gradients(case, tolerance=1e-8, elements=not options and checks_elements(case))


@both_forms
def test_the_terms_are_in_the_gradient_and_the_upstream_gradient_scales_all(fast):
    def gradients(dout, **options):
        model = build(fast, **options)
        np.seed(8)
        model.forward(ids(0), ids(1))
        model.backward(dout)
        return model.grads

    for k, (once, twice, without) in enumerate(zip(gradients(1), gradients(-2.0), gradients(1, alpha=0.0, beta=0.0))):
        np.testing.assert_allclose(twice, -2 * once, rtol=1e-9, atol=1e-14)
        assert k >= 10 or not np.allclose(once, without, rtol=1e-3)  # the output layer is behind the terms
        assert k < 10 or np.allclose(once, without, rtol=1e-12)


def test_parts_of_a_batch_have_the_gradients_of_the_whole():
    whole, parts = build(**NO_DROPOUT), build(**NO_DROPOUT)
    xs, ts = ids(0, 4), ids(1, 4)
    loss = whole.forward(xs, ts)
    whole.backward()
    assert float(forward_backward_in_parts(parts, xs, ts, 2)) == pytest.approx(float(loss), rel=1e-12)
    for found, expected in zip(parts.grads, whole.grads):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_backward_without_a_forward_for_it_is_refused():
    model = build()
    for last in (lambda: model.predict(ids(0)), lambda: model.forward(ids(0), ids(1), gradients=False)):
        model.forward(ids(0), ids(1))
        last()
        with pytest.raises(ValueError, match="backward needs a forward"):
            model.backward()


# --- states, forms, devices

def test_the_state_is_carried_and_can_be_taken_and_put_back():
    model, text = build(), np.concatenate((ids(0), ids(1)), axis=1)
    whole = model.predict(text)
    model.reset_state()
    model.predict(text[:, :T])
    states = model.get_state()
    assert [tuple(array.shape for array in state) for state in states] == [((N, H),) * 2, ((N, H),) * 2, ((N, D),) * 2]
    with model.fresh_state():
        np.testing.assert_allclose(model.predict(text[:, :T]), whole[:, :T], rtol=1e-12)
    np.testing.assert_allclose(model.predict(text[:, T:]), whole[:, T:], rtol=1e-12)
    model.set_state(states)
    np.testing.assert_allclose(model.predict(text[:, T:]), whole[:, T:], rtol=1e-12)


def test_the_fast_form_has_the_fast_loss_and_the_same_gradients(device):
    plain, fast, found = build(), build(fast=True), []
    assert type(fast.head) is (OutputWithLoss if device == "gpu" else TimeAffineSoftmaxWithLoss)
    for model in (plain, fast):
        np.seed(9)
        found.append([np.asarray(model.forward(ids(0), ids(1))), np.asarray(model.penalty)])
        model.backward()
        found[-1] += model.grads
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


@both_forms
def test_float32_stays_float32(fast):
    model = build(fast, dtype=np.float32)
    loss = training_step(model, SGD(0.1, 1e-6), ids(0), ids(1), max_grad=0.25)
    arrays = *model.params, *model.grads, model.penalty, loss, *itertools.chain(*model.get_state())
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_recorded_states_are_those_of_evaluation():
    model, text = build(), np.to_cpu(ids(0))[0]
    model.forward(ids(0), ids(1))
    hs, expected = np.to_device(text)[None], []
    for layer in model.layers[:-1]:
        layer.train_flg = False
        if layer in model.recurrent_layers:
            layer.reset_state()
        hs = layer.forward(hs)
        if layer in model.recurrent_layers:
            expected.append(hs[0])
    model.reset_state()
    model.forward(ids(0), ids(1))  # in training: its masks must not be left
    for states, wanted in zip(recorded_states(model, text), expected, strict=True):
        np.testing.assert_allclose(states["h"], wanted, rtol=1e-10)


def test_every_switch_is_set_by_the_model():
    model = build()
    switched = [layer for layer in model.layers if hasattr(layer, "train_flg")]
    assert {type(layer) for layer in switched} == {TimeEmbeddingDropout, TimeLockedDropout, TimeWeightDropLSTM}
    for train_flg in (True, False, True):
        model.forward(ids(0), ids(1), train_flg=train_flg)
        assert [layer.train_flg for layer in switched] == [train_flg] * 8


def test_it_learns_what_follows():
    text = numpy.arange(400) % V
    model, optimizer = AwdLstm(V, 8, 16, layers=2, seed=0), Adam(0.02)
    batches = StripBatches(text[:-1], text[1:], 8, 10)
    before = perplexity(model, text[:50])
    for _ in range(60):
        training_step(model, optimizer, *batches.next_batch(), max_grad=0.5)
    assert perplexity(model, text[:50]) < 0.8 * before


def test_on_a_gpu_a_training_step_waits_for_nothing_and_moves_nothing():
    text = numpy.random.default_rng(0).integers(V, size=5 * N * T + 1)
    with strict_cupy.in_place_of_cupy():
        np.use("cupy")
        model = AwdLstm(V, D, H, seed=0)
        counts = count_training_step(model, StripBatches(text[:-1], text[1:], N, T), SGD(0.1, 1e-6))
        np.use("numpy")
    assert (counts.synchronisations, counts.transfers) == (0, 0), counts.names
