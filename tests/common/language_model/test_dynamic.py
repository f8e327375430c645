"""Dynamic evaluation, held against its formulas in a loop over the segments."""
import math

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.device.ids import known_ids
from common.fast import speed_up
from common.language_model import dynamic
from common.language_model.dynamic import RmsWithDecay, dynamic_perplexity, mean_squared_gradients
from common.language_model.evaluate import perplexity
from common.optimizer import SGD
from common.training.clip import unique_params

pytestmark = pytest.mark.usefixtures("device")

V, H = 7, 5
TEXT = numpy.random.default_rng(0).integers(V, size=53)
TRAINING_TEXT = numpy.random.default_rng(1).integers(V, size=200)
MAKE = {
    "tied": lambda dtype="float64": BetterRnnlm(V, H, H, seed=0, dtype=dtype),
    "untied": lambda dtype="float64": SimpleRnnlm(V, H, H, seed=0, dtype=dtype)}
every_model = pytest.mark.parametrize("make, fast", [(make, fast) for make in MAKE.values() for fast in (False, True)],
                                      ids=[f"{name}{fast}" for name in MAKE for fast in (", plain", ", fast")])


def randomized(model):
    """Give a model larger weights, and biases, so that every part of it matters."""
    rng = np.random.default_rng(2)
    for param in unique_params(model.params):
        param[...] = 0.5 * rng.standard_normal(param.shape)
    return model


def merged_gradients(model):
    """The gradients of each memory of a model: those of the tied output layer added to those of the embedding."""
    grads = [np.to_cpu(grad) for grad in model.grads]
    if isinstance(model, BetterRnnlm):
        *grads, dW, db = grads
        return [grads[0] + dW.T, *grads[1:], db]
    return grads


def by_hand(model, text, time_size, change):
    """Predict each segment of a text, then add change(w, g, i) to the parameters w with gradients g."""
    nats, params = 0.0, unique_params(model.params)
    model.reset_state()
    for start in range(0, len(text) - 1, time_size):
        xs, ts = text[:-1][start:start + time_size], text[1:][start:start + time_size]
        nats += len(xs) * float(model.forward(np.array([xs]), np.array([ts]), train_flg=False))
        model.backward()
        for i, (param, grad) in enumerate(zip(params, merged_gradients(model), strict=True)):
            param += np.to_device(change(np.to_cpu(param), grad, i))
    return math.exp(nats / (len(text) - 1))


@every_model
@pytest.mark.parametrize("time_size", [1, 5, 52, 1000])
def test_sgd_is_the_loop_over_the_segments(make, fast, time_size):
    model = randomized(make())
    expected = by_hand(randomized(make()), TEXT, time_size, lambda w, g, i: -0.5 * g)
    found = dynamic_perplexity(speed_up(model) if fast else model, TEXT, SGD(0.5), time_size)
    assert type(found) is float and found == pytest.approx(expected, rel=1e-10)
    static = perplexity(model, TEXT)
    assert (abs(found / static - 1) > 1e-3) == (time_size < 52)  # with one segment, nothing is learnt in time


@every_model
@pytest.mark.parametrize("decay, eps", [(0, 1e-3), (0.1, 1e-3), (0.1, 0.5), (0.9, 0.01), (100, 0.01)])
def test_rms_is_the_loop_over_the_segments(make, fast, decay, eps):
    model = randomized(make())
    model = speed_up(model) if fast else model
    trained = [np.to_cpu(param).copy() for param in unique_params(model.params)]
    sizes = [1e-5 + numpy.random.default_rng(i).random(param.shape)**4 for i, param in enumerate(trained)]
    mean = numpy.concatenate([size.ravel() for size in sizes]).mean()
    rates = [numpy.where(size / mean < 1 / max(decay, 1e-300), decay * size / mean, 1) for size in sizes]
    assert any((rate == 1).any() for rate in rates) == (decay >= 0.9) and any((rate < 1).any() for rate in rates)

    def change(w, g, i):
        return -0.03 * g / (sizes[i] + eps) + rates[i] * (trained[i] - w)

    optimizer = RmsWithDecay(model.params, [np.to_device(size**2) for size in sizes], 0.03, decay, eps)
    found = dynamic_perplexity(model, TEXT, optimizer, 5)
    assert found == pytest.approx(by_hand(randomized(make()), TEXT, 5, change), rel=1e-9)
    assert abs(found / perplexity(model, TEXT) - 1) > 1e-3


@every_model
@pytest.mark.parametrize("batches", [None, 1, 3])
def test_mean_squares_are_those_of_the_gradients_over_the_text(make, fast, batches):
    model, plain = randomized(make()), randomized(make())
    model = speed_up(model) if fast else model
    found = mean_squared_gradients(model, TRAINING_TEXT, 4, 6, batches)
    N, T, strip = 6, 4, 199 // 6
    squares = [numpy.zeros(param.shape) for param in unique_params(plain.params)]
    count = batches or 199 // (N * T)
    for k in range(count):
        rows = [TRAINING_TEXT[i * strip + k * T:i * strip + (k + 1) * T + 1] for i in range(N)]
        plain.forward(np.array([row[:-1] for row in rows]), np.array([row[1:] for row in rows]), train_flg=False)
        plain.backward()
        for square, grad in zip(squares, merged_gradients(plain), strict=True):
            square += grad**2 / count
    for mean, square in zip(found, squares, strict=True):
        assert square.any()
        np.testing.assert_allclose(mean, square, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("length, shape", [(2, (1, 1)), (4, (1, 3)), (6, (1, 5)), (11, (2, 5)), (30, (5, 5))])
def test_a_short_text_has_fewer_and_shorter_strips(length, shape, monkeypatch):
    model, seen = MAKE["untied"](), []
    monkeypatch.setattr(model, "forward", lambda xs, ts, **options: seen.append(xs.shape) or SimpleRnnlm.forward(
        model, xs, ts, **options))
    means = mean_squared_gradients(model, TEXT[:length])
    assert seen == [shape] and all(bool(mean.any()) for mean in means[-2:])


@every_model
def test_a_learning_rate_of_0_gives_the_static_perplexity(make, fast):
    model = speed_up(make()) if fast else make()
    static = perplexity(model, TEXT)
    assert dynamic_perplexity(model, TEXT, SGD(0)) == pytest.approx(static, rel=1e-12)
    squares = mean_squared_gradients(model, TRAINING_TEXT)
    assert dynamic_perplexity(model, TEXT, RmsWithDecay(model.params, squares, 0, 0.5)) == pytest.approx(
        static, rel=1e-12)


def test_a_model_that_learns_predicts_a_repetitive_text_better():
    text = numpy.tile(TEXT[:9], 30)
    for make in MAKE.values():
        model = randomized(make("float32"))
        assert dynamic_perplexity(model, text, SGD(0.5)) < 0.8 * perplexity(model, text)
        rms = RmsWithDecay(model.params, mean_squared_gradients(model, TRAINING_TEXT), 0.003, 0.01)
        assert dynamic_perplexity(model, text, rms) < 0.8 * perplexity(model, text)


# What is left as it was


def bits(arrays):
    return [np.to_cpu(array).tobytes() for array in arrays]


def everything(model):
    return bits([*model.params, *(array for state in model.get_state() for array in state)])


@pytest.fixture(params=MAKE)
def model(request):
    """A model amid its training."""
    model = MAKE[request.param]("float32")
    model.forward(np.array([TEXT[:5], TEXT[5:10]]), np.array([TEXT[1:6], TEXT[6:11]]))
    model.backward()
    return model


OPTIMIZERS = {
    "sgd": lambda model: SGD(0.7),
    "rms": lambda model: RmsWithDecay(model.params, mean_squared_gradients(model, TRAINING_TEXT), 0.01)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_parameters_and_state_are_put_back_and_dropout_is_off(model, optimizer):
    before, arrays = everything(model), list(model.params)
    random_state = np.random_state()
    found = [dynamic_perplexity(model, text, optimizer(model)) for text in (TEXT, known_ids(TEXT))]
    assert found[0] == found[1] != perplexity(model, TEXT)
    assert everything(model) == before and np.random_state() == random_state
    assert all(one is other for one, other in zip(model.params, arrays, strict=True))
    with pytest.raises(ValueError, match="backward needs a forward"):
        model.backward()


class Interrupted(SGD):
    def update(self, params, grads):
        super().update(params, grads)
        self.params = bits(params)
        if self.steps == 3:
            raise KeyboardInterrupt


def test_they_are_put_back_after_an_exception_too(model):
    before, optimizer = everything(model), Interrupted(0.7)
    with pytest.raises(KeyboardInterrupt):
        dynamic_perplexity(model, TEXT, optimizer)
    assert optimizer.steps == 3 and optimizer.params != bits(unique_params(model.params))
    assert everything(model) == before
    with pytest.raises(ValueError, match="targets go from 2 to 99, wanted 0 to 6"):
        dynamic_perplexity(model, numpy.array([1, 2, 3, 4, 5, 6, 2, 99]), SGD(0.7))
    assert everything(model) == before


def test_collecting_mean_squares_changes_no_parameter_and_no_state(model):
    before, random_state = everything(model), np.random_state()
    mean_squared_gradients(model, TRAINING_TEXT)
    assert everything(model) == before and np.random_state() == random_state


def test_updates_that_are_too_large_give_no_warning_and_no_number(model):
    before = everything(model)
    assert not math.isfinite(dynamic_perplexity(model, TEXT, SGD(1e38)))
    assert everything(model) == before


def test_an_evaluation_is_the_same_again_and_the_memories_stay(model):
    optimizer = OPTIMIZERS["rms"](model)
    memories = [bits(of_one) for of_one in optimizer.state]
    assert dynamic_perplexity(model, TEXT, optimizer) == dynamic_perplexity(model, TEXT, optimizer)
    assert [bits(of_one) for of_one in optimizer.state] == memories


def test_without_any_gradient_in_training_nothing_decays():
    model = MAKE["untied"]()
    optimizer = RmsWithDecay(model.params, [np.zeros_like(param) for param in model.params], 0.1)
    assert not any(bool(rate.any()) for _, rate, _ in optimizer.state)


# Wrong use


@pytest.mark.parametrize("corpus", [[], [1], [[1, 2], [2, 3]]])
@pytest.mark.parametrize("name", ["dynamic_perplexity", "mean_squared_gradients"])
def test_a_text_without_a_prediction_is_refused(name, corpus):
    more = [SGD(0.1)] if name == "dynamic_perplexity" else []
    with pytest.raises(ValueError, match=rf"^{name}: the corpus has shape \(.*\), wanted \(n,\)"):
        getattr(dynamic, name)(MAKE["untied"](), numpy.array(corpus, dtype=int), *more)


@pytest.mark.parametrize("time_size", [0, -3])
def test_a_segment_has_a_step(time_size):
    with pytest.raises(ValueError, match=f"^dynamic_perplexity: time_size is {time_size}, wanted at least 1"):
        dynamic_perplexity(MAKE["untied"](), TEXT, SGD(0.1), time_size)


@pytest.mark.parametrize("numbers", [(-1, 0.1, 0.1), (0.1, -1, 0.1), (0.1, 0.1, -1), (math.nan, 0.1, 0.1),
                                     (0.1, math.nan, 0.1), (0.1, 0.1, math.inf)])
def test_numbers_out_of_range_are_refused(numbers):
    model = MAKE["untied"]()
    with pytest.raises(ValueError, match=r"^RmsWithDecay: .*, wanted "):
        RmsWithDecay(model.params, model.params, *numbers)
