import numpy
import pytest
from any_device import np

from common.layers.bidirectional import TimeBidirectional
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.weight_drop import TimeWeightDropGRU, TimeWeightDropLSTM, TimeWeightDropRNN
from common.optimizer import SGD
from common.watch.trace import trace

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H, DROP = 3, 4, 2, 8, 0.4
LENGTHS = [2, 4, 1]
KINDS = {  # with weight drop, plain, gates, biases, options
    "rnn": (TimeWeightDropRNN, TimeRNN, 1, 1, {}),
    "rnn, relu": (TimeWeightDropRNN, TimeRNN, 1, 1, {"activation": "relu"}),
    "lstm": (TimeWeightDropLSTM, TimeLSTM, 4, 4, {}),
    "gru": (TimeWeightDropGRU, TimeGRU, 3, 3, {}),
    "gru, reset after": (TimeWeightDropGRU, TimeGRU, 3, 4, {"reset_after": True}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [0.5 * rng.standard_normal(shape) for shape in shapes]


def weights_of(kind):
    _, _, gates, biases, _ = KINDS[kind]
    return normal((D, gates * H), (H, gates * H), (biases * H,))


def dropping(kind, weights, drop=DROP, **more):
    layer, _, _, _, options = KINDS[kind]
    return layer(*weights, weight_drop=drop, **options, **more)


def plain(kind, weights, **more):
    _, layer, _, _, options = KINDS[kind]
    return layer(*weights, **options, **more)


def drawn_mask(kind, seed, drop=DROP):
    """Draw the mask that a forward draws after the same seed, in a way of its own."""
    np.seed(seed)
    drawn = np.to_cpu(np.rng.random((H, KINDS[kind][2] * H), dtype=np.float64))
    return np.to_device(numpy.where(drawn < drop, 0, 1 / (1 - drop)))


def run(layer, steps=T, lengths=None, seed=None):
    """Return by name what a forward and a backward give, from a given state and with gradients at the final one."""
    states = layer.state_names
    xs, dhs, *more = normal((N, steps, D), (N, steps, H), *[(N, H)] * (2 * len(states)), seed=1)
    layer.set_state(*more[:len(states)])
    if seed is not None:
        np.seed(seed)
    found = {"hs": layer.forward(xs, lengths)} | {f"final {name}": getattr(layer, name) for name in states}
    found["dxs"] = layer.backward(dhs, *more[len(states):])
    found |= {f"initial d{name}": getattr(layer, f"d{name}") for name in states}
    return found | {f"d{name}": grad.copy() for name, grad in zip(layer.weight_names, layer.grads)}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@every_kind
def test_it_is_the_plain_layer_over_the_masked_matrix(kind, lengths):
    Wx, Wh, b = weights_of(kind)
    mask = drawn_mask(kind, seed=5)
    expected = run(plain(kind, (Wx, Wh * mask, b), stateful=True), lengths=lengths)
    expected["dWh"] = expected["dWh"] * mask
    assert_equal(run(dropping(kind, (Wx, Wh, b), stateful=True), lengths=lengths, seed=5), expected)


@every_kind
def test_dropping_changes_every_step_that_has_one_before_it(kind):
    weights, (xs,) = weights_of(kind), normal((N, T, D))
    hs, undropped = dropping(kind, weights).forward(xs), plain(kind, weights).forward(xs)
    np.testing.assert_allclose(hs[:, 0], undropped[:, 0], rtol=1e-12)  # from zeros: Wh has nothing to multiply
    assert all(not np.allclose(hs[:, t], undropped[:, t], rtol=1e-3) for t in range(1, T))


@every_kind
def test_the_gradient_is_exactly_zero_where_the_mask_is_and_nowhere_else(kind):
    layer = dropping(kind, weights_of(kind), stateful=True)
    mask = np.to_cpu(drawn_mask(kind, seed=6))
    for lengths in (None, LENGTHS):
        dWh = np.to_cpu(run(layer, lengths=lengths, seed=6)["dWh"])
        if "relu" in kind:  # a unit that is off has no gradient either
            assert not dWh[mask == 0].any() and dWh[mask != 0].any()
        else:
            assert numpy.array_equal(dWh == 0, mask == 0)


@pytest.mark.parametrize("steps", [1, T])
@every_kind
def test_a_forward_draws_one_mask_however_many_steps_it_has(kind, steps):
    layer, (xs,) = dropping(kind, weights_of(kind)), normal((N, steps, D))
    drawn_mask(kind, seed=7)
    after_one_mask = np.random_state()
    np.seed(7)
    layer.forward(xs)
    assert np.random_state() == after_one_mask


@every_kind
def test_each_forward_draws_a_new_mask(kind):
    layer, (xs,) = dropping(kind, weights_of(kind)), normal((N, T, D))
    np.seed(8)
    first, first_mask = layer.forward(xs), layer.mask
    other = layer.forward(xs)
    assert not np.allclose(first, other, rtol=1e-3) and not np.array_equal(first_mask, layer.mask)
    np.seed(8)
    np.testing.assert_array_equal(layer.forward(xs), first)


@every_kind
def test_without_training_it_is_the_plain_layer_and_draws_nothing(kind):
    weights = weights_of(kind)
    layer = dropping(kind, weights, stateful=True)
    run(layer)  # in training: its mask must not be left
    layer.train_flg = False
    np.seed(9)
    before = np.random_state()
    found = run(layer)
    assert np.random_state() == before and layer.mask is None
    for name, array in run(plain(kind, weights, stateful=True)).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@every_kind
def test_backward_belongs_to_the_last_forward_whatever_the_switch_says_since(kind):
    weights, mask = weights_of(kind), drawn_mask(kind, seed=10)
    layer = dropping(kind, weights)
    xs, dhs = normal((N, T, D), (N, T, H))
    np.seed(10)
    layer.forward(xs)
    layer.train_flg = False
    dxs = layer.backward(dhs)
    same = plain(kind, (weights[0], weights[1] * mask, weights[2]))
    same.forward(xs)
    np.testing.assert_allclose(dxs, same.backward(dhs), rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(layer.grads[1] == 0, (same.grads[1] == 0) | (mask == 0))


@every_kind
def test_the_parameter_stays_whole_and_an_update_of_it_reaches_the_next_forward(kind):
    weights, mask = weights_of(kind), drawn_mask(kind, seed=11)
    layer, before = dropping(kind, weights, stateful=True), weights[1].copy()
    run(layer, seed=11)
    assert layer.params[1] is weights[1] and np.array_equal(weights[1], before)
    SGD(0.5).update(layer.params, layer.grads)
    changed = np.to_cpu(weights[1] != before)
    assert changed.any() and not changed[np.to_cpu(mask) == 0].any()
    Wx, Wh, b = (weight.copy() for weight in weights)
    expected = run(plain(kind, (Wx, Wh * mask, b), stateful=True))
    expected["dWh"] = expected["dWh"] * mask
    assert_equal(run(layer, seed=11), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("drop", [0.1, 0.5, 0.8])
def test_as_many_weights_are_dropped_as_the_ratio_says_and_the_mean_is_kept(drop, dtype):
    np.seed(12)
    size = 60
    layer = TimeWeightDropLSTM(*(np.ones(shape, dtype=dtype) for shape in ((D, 4 * size), (size, 4 * size), 4 * size)),
                               weight_drop=drop)
    layer.forward(np.ones((1, 1, D), dtype=dtype))
    mask = np.to_cpu(layer.mask)
    assert mask.dtype == dtype and mask.shape == (size, 4 * size)
    assert len(numpy.unique(mask)) == 2 and mask.min() == 0
    assert (mask == 0).mean() == pytest.approx(drop, abs=0.03)
    assert mask.max() == pytest.approx(1 / (1 - drop), rel=1e-6)
    assert (mask != mask[:1]).any() and (mask != mask[:, :1]).any()  # neither whole rows nor whole columns


def test_the_two_readers_of_a_bidirectional_layer_have_masks_of_their_own():
    readers = [dropping("lstm", weights_of("lstm")) for _ in range(2)]
    TimeBidirectional(*readers).forward(*normal((N, T, D)))
    assert not np.array_equal(readers[0].mask, readers[1].mask)


@pytest.mark.parametrize("train_flg", [True, False])
@every_kind
def test_a_trace_walks_the_steps_that_were_taken(kind, train_flg):
    layer, (xs, dhs) = dropping(kind, weights_of(kind)), normal((N, T, D), (N, T, H))
    layer.forward(xs)
    layer.train_flg = train_flg
    with trace(layer) as record:
        hs = layer.forward(xs)
        layer.backward(dhs)
    np.testing.assert_allclose(record[type(layer).__name__].arrays["h"], hs, rtol=1e-11)


def test_a_step_after_training_is_of_the_whole_matrix():
    layer = dropping("lstm", weights_of("lstm"))
    layer.forward(*normal((N, T, D)))
    np.testing.assert_array_equal(layer.step.params[1], layer.params[1] * layer.mask)
    layer.train_flg = False
    assert layer.step.params[1] is layer.params[1]


def test_wrong_use_is_refused_before_anything_is_drawn():
    weights = weights_of("lstm")
    for drop in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=rf"^weight_drop is {drop}, wanted a number in \[0, 1\)$"):
            TimeWeightDropLSTM(*weights, weight_drop=drop)
    layer = TimeWeightDropLSTM(*weights)
    before = np.random_state()
    with pytest.raises(ValueError, match=r"^TimeWeightDropLSTM: xs is float64 of shape \(3, 4, 3\), wanted .*, T, 2\)"):
        layer.forward(np.ones((N, T, D + 1)))
    assert np.random_state() == before


@pytest.mark.parametrize("kind, shown", [
    ("lstm", "TimeWeightDropLSTM(D=2, H=8, stateful, weight_drop=0.4)"),
    ("rnn", "TimeWeightDropRNN(D=2, H=8, tanh, stateful, weight_drop=0.4)"),
    ("gru, reset after", "TimeWeightDropGRU(D=2, H=8, stateful, reset_after, weight_drop=0.4)")])
def test_it_shows_its_options(kind, shown):
    assert repr(dropping(kind, weights_of(kind), stateful=True)) == shown
