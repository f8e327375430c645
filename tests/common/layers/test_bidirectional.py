import pytest
from any_device import np

from common.layers.bidirectional import TimeBidirectional, TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN

pytestmark = pytest.mark.usefixtures("device")

N, T, D, H = 2, 3, 4, 5

# Layer, its readers, blocks in the matrices and in b, options.
KINDS = {
    "RNN": (TimeBiRNN, TimeRNN, 1, 1, {}),
    "RNN relu": (TimeBiRNN, TimeRNN, 1, 1, {"activation": "relu"}),
    "LSTM": (TimeBiLSTM, TimeLSTM, 4, 4, {}),
    "GRU": (TimeBiGRU, TimeGRU, 3, 3, {}),
    "GRU reset_after": (TimeBiGRU, TimeGRU, 3, 4, {"reset_after": True}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def weights(kind, seed, D=D, H=H):
    rng = np.random.default_rng(seed)
    _, _, blocks, biases, _ = KINDS[kind]
    return [rng.standard_normal(shape) * 0.5 for shape in ((D, blocks * H), (H, blocks * H), (biases * H,))]


def build(kind, stateful=True):
    layer, _, _, _, options = KINDS[kind]
    return layer(*weights(kind, 0), *weights(kind, 1), stateful=stateful, **options)


def build_readers(kind):
    _, reader, _, _, options = KINDS[kind]
    return [reader(*weights(kind, seed), stateful=True, **options) for seed in range(2)]


def arrays(*shapes):
    rng = np.random.default_rng(2)
    return [rng.standard_normal(shape) for shape in shapes]


def names(layer):
    return ("h", "c")[:len(layer.state)]


@every_kind
def test_it_equals_two_readers_by_hand(kind):
    layer, (front, back) = build(kind), build_readers(kind)
    xs, dhs = arrays((N, T, D), (N, T, 2 * H))
    initial, upstream = (arrays(*[(2, N, H)] * 4)[k:k + len(layer.state)] for k in (0, 2))
    layer.set_state(*initial)
    front.set_state(*(state[0] for state in initial))
    back.set_state(*(state[1] for state in initial))

    hs, hs_front, hs_back = layer.forward(xs), front.forward(xs), back.forward(xs[:, ::-1])
    assert hs.shape == (N, T, 2 * H)
    assert np.array_equal(hs[:, :, :H], hs_front)
    assert np.array_equal(hs[:, ::-1, H:], hs_back)
    for name in names(layer):
        assert np.array_equal(getattr(layer, name), np.stack((getattr(front, name), getattr(back, name))))
    assert np.array_equal(layer.h[0], hs[:, -1, :H]) and np.array_equal(layer.h[1], hs[:, 0, H:])

    dxs = layer.backward(dhs, *upstream)
    dxs_front = front.backward(dhs[:, :, :H], *(state[0] for state in upstream))
    dxs_back = back.backward(dhs[:, ::-1, H:], *(state[1] for state in upstream))
    np.testing.assert_allclose(dxs, dxs_front + dxs_back[:, ::-1], rtol=1e-12)
    for name in ("d" + name for name in names(layer)):
        assert np.array_equal(getattr(layer, name), np.stack((getattr(front, name), getattr(back, name))))
    assert len(layer.grads) == 6
    for grad, expected in zip(layer.grads, front.grads + back.grads):
        assert np.array_equal(grad, expected)


@every_kind
def test_its_lists_are_the_readers_own_arrays(kind):
    first, second = weights(kind, 0), weights(kind, 1)
    layer, _, _, _, options = KINDS[kind]
    layer = layer(*first, *second, **options)
    assert all(param is array for param, array in zip(layer.params, first + second, strict=True))
    for reader, grads in zip(layer.readers, (layer.grads[:3], layer.grads[3:])):
        assert all(one is other for one, other in zip(reader.grads, grads, strict=True))


@every_kind
def test_states_have_the_shape_2_N_H(kind):
    layer = build(kind)
    assert layer.h is None and layer.dh is None and layer.state == (None,) * len(layer.state)
    layer.forward(np.zeros((N, T, D)))
    layer.backward(np.ones((N, T, 2 * H)))
    for array in (*layer.state, layer.h, layer.dh):
        assert array.shape == (2, N, H)
    assert hasattr(layer, "c") == hasattr(layer, "dc") == (kind == "LSTM")
    layer.reset_state()
    assert layer.h is None
    (xs,) = arrays((N + 1, T, D))
    assert layer.forward(xs).shape == (N + 1, T, 2 * H)


@every_kind
def test_set_state_puts_back_what_state_gave(kind):
    (xs,) = arrays((N, T, D))
    layer, other = build(kind), build(kind)
    layer.forward(xs)
    other.set_state(*layer.state)
    assert np.array_equal(other.forward(xs), layer.forward(xs))
    other.set_state(*[None] * len(layer.state))
    assert np.array_equal(other.forward(xs), build(kind).forward(xs))


def test_a_state_without_c_starts_from_a_zero_cell():
    xs, h = arrays((N, T, D), (2, N, H))
    layer = build("LSTM")
    layer.set_state(h)
    found = layer.forward(xs)
    layer.set_state(h, np.zeros((2, N, H)))
    assert np.array_equal(layer.forward(xs), found)


@every_kind
def test_without_stateful_each_forward_starts_from_zeros(kind):
    (xs,) = arrays((N, T, D))
    layer, stateful = build(kind, stateful=False), build(kind)
    first = layer.forward(xs)
    assert np.array_equal(layer.forward(xs), first)
    assert np.array_equal(stateful.forward(xs), first) and not np.array_equal(stateful.forward(xs), first)
    with pytest.raises(ValueError, match="set_state needs a layer made with stateful=True"):
        layer.set_state(np.zeros((2, N, H)))


@every_kind
def test_wrong_shapes_are_refused_in_its_own_name(kind):
    layer = build(kind)
    name = type(layer).__name__
    for state in (np.zeros((N, H)), np.zeros((1, N, H)), np.zeros((2, N, H + 1))):
        with pytest.raises(ValueError, match=rf"^{name}: h is .*, wanted float64 of shape \(2, N, 5\)"):
            layer.set_state(state)
    with pytest.raises(ValueError, match=rf"^{name}: xs is .*, wanted float64 of shape \(N, T, 4\)"):
        layer.forward(np.zeros((N, T, D + 1)))
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match=rf"^{name}: dhs is .*, wanted float64 of shape \(2, 3, 10\)"):
        layer.backward(np.zeros((N, T, H)))
    with pytest.raises(ValueError, match=rf"^{name}: dh is .*, wanted float64 of shape \(2, 2, 5\)"):
        layer.backward(np.zeros((N, T, 2 * H)), np.zeros((N, H)))


def test_a_wrong_c_changes_nothing():
    layer, h = build("LSTM"), np.ones((2, N, H))
    layer.set_state(h, h)
    with pytest.raises(ValueError, match=r"^TimeBiLSTM: c is .*, wanted float64 of shape \(2, N, 5\)"):
        layer.set_state(2 * h, np.zeros((2, N, H + 1)))
    assert np.array_equal(layer.h, h)


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_a_gradient_for_a_cell_that_is_not_there_is_refused(kind):
    layer = build(kind)
    layer.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match="dc is given, but only an LSTM has cells"):
        layer.backward(np.zeros((N, T, 2 * H)), dc=np.zeros((2, N, H)))


def test_there_is_no_state_before_both_readers_have_one():
    front, back = build_readers("LSTM")
    front.forward(np.zeros((N, T, D)))
    assert TimeBidirectional(front, back).state == TimeBidirectional(back, front).state == (None, None)


def test_two_readers_of_different_sizes_are_refused():
    front = TimeRNN(*weights("RNN", 0))
    for wrong, name in ((weights("RNN", 1, D=D + 1), "Wx"), (weights("RNN", 1, H=H + 1), "Wx")):
        with pytest.raises(ValueError, match=f"^TimeBidirectional: {name} of the backward reader is"):
            TimeBidirectional(front, TimeRNN(*wrong))
