import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.classifier import SequenceClassifier
from ch_lstm.encoder_decoder import Seq2seq
from ch_lstm.rnnlm import Rnnlm
from common.fast import speed_up
from common.fast.lstm import FastTimeLSTM
from common.layers.bidirectional import TimeBiLSTM
from common.layers.lstm import TimeLSTM
from common.layers.stack import TimeStack

V, D, H, N, T = 7, 4, 5, 2, 3

pytestmark = pytest.mark.usefixtures("device")


def ids(seed, steps=T):
    return np.random.default_rng(seed).integers(0, V, (N, steps))


def lstms(owner):
    """Return the LSTMs in an object, each once."""
    found = {}
    for value in vars(owner).values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, TimeLSTM):
                found[id(each)] = each
            elif hasattr(each, "grads"):
                found |= {id(inner): inner for inner in lstms(each)}
    return list(found.values())


MODELS = {
    "Rnnlm": (lambda: Rnnlm(V, D, H, seed=0, dtype=np.float64), lambda: (ids(1), ids(2)), 1),
    "Seq2seq": (lambda: Seq2seq(V, D, H, seed=0, dtype=np.float64), lambda: (ids(1), ids(2, T + 1)), 2),
    "SequenceClassifier": (lambda: SequenceClassifier(V, D, H, 3, "lstm", seed=0, dtype=np.float64),
                           lambda: (ids(1), ids(2)[:, 0] % 3, [2, 3]), 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_was_sped_up_computes_the_same_from_the_same_weights(name, device):
    make, batch, count = MODELS[name]
    plain, fast = make(), make()
    params, grads = list(fast.params), list(fast.grads)
    assert speed_up(fast) is fast
    kind = TimeLSTM if device == "gpu" else FastTimeLSTM
    assert [type(layer) for layer in lstms(fast)] == [kind] * count
    assert all(one is other for one, other in zip(fast.params + fast.grads, params + grads, strict=True))
    losses = []
    for model in (plain, fast):
        np.seed(3)  # the same dropout
        losses.append(float(model.forward(*batch())))
        model.backward()
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    for ours, theirs in zip(plain.grads, fast.grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)


def test_layers_in_layers_are_replaced_too():
    stack = speed_up(TimeStack("lstm", D, H, num_layers=2, bidirectional=True))
    readers = [reader for layer in stack.layers for reader in layer.readers]
    assert {type(reader) for reader in readers} == {FastTimeLSTM if np.backend == "numpy" else TimeLSTM}
    assert all(param is mine for param, mine in zip(
        stack.params, [param for reader in readers for param in reader.params], strict=True))


def test_a_state_is_taken_along():
    model = Rnnlm(V, D, H, seed=0)
    model.forward(ids(1), ids(2))
    expected = Rnnlm(V, D, H, seed=0)
    expected.forward(ids(1), ids(2))
    speed_up(model)
    assert float(model.forward(ids(3), ids(4))) == pytest.approx(float(expected.forward(ids(3), ids(4))), rel=1e-6)


def test_gradients_can_be_taken_with_dropout_off(device):
    for make in (lambda model: model, speed_up):
        one, other = (make(BetterRnnlm(V, H, H, dropout_ratio=ratio, seed=0, dtype=np.float64)) for ratio in (0.5, 0.0))
        for model, options in ((one, {"train_flg": False}), (other, {})):
            model.forward(ids(1), ids(2), **options)
            model.backward()
        for ours, theirs in zip(one.grads, other.grads, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_evaluation_takes_no_gradients():
    for make in (lambda model: model, speed_up):
        model = make(Rnnlm(V, D, H, seed=0))
        model.forward(ids(1), ids(2))
        model.backward()
        before = [np.to_cpu(grad).copy() for grad in model.grads]
        model.forward(ids(3), ids(4), gradients=False)
        with pytest.raises(ValueError, match="backward needs a forward in training mode before it"):
            model.backward()
        assert all(numpy.array_equal(np.to_cpu(grad), old) for grad, old in zip(model.grads, before, strict=True))


def test_a_bidirectional_layer_by_itself_can_be_sped_up():
    layer = TimeBiLSTM(*(np.ones(shape) for shape in 2 * [(D, 4 * H), (H, 4 * H), (4 * H,)]))
    assert {type(reader) for reader in speed_up(layer).readers} == {
        FastTimeLSTM if np.backend == "numpy" else TimeLSTM}


def test_a_head_without_an_upstream_gradient_has_that_of_one_from_either_form(device):
    plain, fast = (Rnnlm(V, D, H, seed=0, dtype=np.float64) for _ in range(2))
    grads = []
    for head in plain.head, speed_up(fast).head:
        for upstream in ((), (1.0,)):
            head.forward(np.ones((N, T, H)), ids(1))
            grads.append([head.backward(*upstream), *(grad.copy() for grad in head.grads)])
    for found in grads[1:]:
        for one, other in zip(grads[0], found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)
