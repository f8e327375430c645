import pytest
from any_device import np

from common.layers.attention import Attention, AttentionWeight, TimeAttention, WeightSum

pytestmark = pytest.mark.usefixtures("device")

N, T, U, H = 2, 3, 4, 5
STEPS = [(AttentionWeight, (N, H)), (Attention, (N, H)), (TimeAttention, (N, U, H)), (WeightSum, (N, T))]
every_layer = pytest.mark.parametrize("layer, shape", STEPS, ids=[layer.__name__ for layer, _ in STEPS])


def arrays(*shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape) for shape in shapes]


def test_the_weighted_sum_by_hand():
    hs = np.array([[[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]])  # (1, 3, 2)
    layer = WeightSum()
    assert layer.forward(hs, np.array([[2.0, 1.0, 0.5]])).tolist() == [[10.0, 18.0]]
    dhs, da = layer.backward(np.array([[1.0, 10.0]]))
    assert dhs.tolist() == [[[2.0, 20.0], [1.0, 10.0], [0.5, 5.0]]]
    assert da.tolist() == [[21.0, 43.0, 210.0]]


def test_the_weights_by_hand():
    hs = np.log(np.array([[[1.0, 1.0], [2.0, 1.0], [1.0, 5.0]]]))  # (1, 3, 2)
    a = AttentionWeight().forward(hs, np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(a, [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-12)


def test_weights_are_kept_and_sum_to_1():
    hs_enc, hs_dec = arrays((N, T, H), (N, U, H))
    step, layer = Attention(), TimeAttention()
    assert step.attention_weight is None and layer.attention_weights is None
    step.forward(hs_enc, hs_dec[:, 0])
    layer.forward(hs_enc, hs_dec)
    assert step.attention_weight.shape == (N, T) and layer.attention_weights.shape == (N, U, T)
    for weights in (step.attention_weight, layer.attention_weights):
        assert (weights > 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)


def test_a_state_attends_to_the_state_that_it_resembles():
    chosen = np.array([2, 0])
    hs_enc = 20 * np.eye(H)[None, :T]  # (1, T, H)
    hs_dec = np.eye(H)[None, chosen]  # (1, 2, H)
    layer = TimeAttention()
    np.testing.assert_allclose(layer.forward(hs_enc, hs_dec), hs_enc[:, chosen], atol=1e-6)
    np.testing.assert_allclose(layer.attention_weights, np.eye(T)[None, chosen], atol=1e-7)


def test_all_steps_at_once_equal_a_loop_of_steps():
    hs_enc, hs_dec, dcs = arrays((N, T, H), (N, U, H), (N, U, H))
    layer, steps = TimeAttention(), [Attention() for _ in range(U)]
    cs = layer.forward(hs_enc, hs_dec)
    np.testing.assert_allclose(cs, np.stack([step.forward(hs_enc, hs_dec[:, u]) for u, step in enumerate(steps)], 1))
    np.testing.assert_allclose(layer.attention_weights, np.stack([step.attention_weight for step in steps], axis=1))
    dhs_enc, dhs_dec = layer.backward(dcs)
    gradients = [step.backward(dcs[:, u]) for u, step in enumerate(steps)]
    np.testing.assert_allclose(dhs_enc, sum(dhs for dhs, _ in gradients), rtol=1e-10)
    np.testing.assert_allclose(dhs_dec, np.stack([dh for _, dh in gradients], axis=1), rtol=1e-10)


@every_layer
def test_a_wrong_shape_names_the_layer(layer, shape):
    hs, other, dout = arrays((N, T, H), shape, (*shape[:-1], H))
    with pytest.raises(ValueError, match=rf"^{layer.__name__}: hs(_enc)? is float64 of shape \(3, 5\), wanted"):
        layer().forward(hs[0], other)
    for wrong in (other[:1], other[..., :-1], other[0], other.astype(np.float32)):
        with pytest.raises(ValueError, match=f"^{layer.__name__}: (h|a|hs_dec) is .*, wanted float64 of shape"):
            layer().forward(hs, wrong)
    made = layer()
    made.forward(hs, other)
    with pytest.raises(ValueError, match=f"^{layer.__name__}: d(a|c|cs) is .*, wanted float64 of shape"):
        made.backward(dout[:1])


def test_the_weights_that_are_kept_to_be_looked_at_may_be_changed():
    hs_enc, hs_dec, dc = arrays((N, T, H), (N, U, H), (N, U, H))
    for layer, attribute, state, upstream in (
            (Attention, "attention_weight", hs_dec[:, 0], dc[:, 0]), (TimeAttention, "attention_weights", hs_dec, dc)):
        results = []
        for scribbles in (False, True):
            one = layer()
            one.forward(hs_enc, state)
            if scribbles:
                getattr(one, attribute)[...] = np.nan
            results.append(one.backward(upstream))
        for expected, found in zip(*results):
            np.testing.assert_array_equal(found, expected)
