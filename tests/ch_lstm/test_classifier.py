import numpy
import pytest
from any_device import checks_elements, np

from ch_lstm.classifier import SequenceClassifier
from common.gradients.cases import Draw
from common.gradients.checker import Case, assert_gradients
from common.optimizer import Adam
from common.trainer import training_step

pytestmark = pytest.mark.usefixtures("device")

V, D, H, K, T = 7, 4, 5, 3, 4
LENGTHS = [2, 1, 4, 2]


def randomized(cell, dropout_ratio=0.0):
    model = SequenceClassifier(V, D, H, K, cell, dropout_ratio, dtype=np.float64)
    draw = Draw(1)
    for param in model.params:
        param[...] = draw.normal(*param.shape, std=0.7)
    return model


def ids():
    xs = np.random.default_rng(2).integers(V, size=(len(LENGTHS), T))  # (N, T)
    xs[0, 0] = xs[2, 1] = xs[3, 1]
    return xs


@pytest.mark.parametrize("lengths", [LENGTHS, None])
@pytest.mark.parametrize("dropout_ratio", [0.0, 0.4])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients(cell, dropout_ratio, lengths):
    def backward(model, upstream):
        model.backward(float(upstream["loss"]))
        return {}

    case = Case(
        "SequenceClassifier", f"{cell}, lengths {lengths}, dropout {dropout_ratio}",
        lambda: randomized(cell, dropout_ratio), {"xs": ids(), "ts": np.array([2, 0, 1, 1])},
        lambda model, inputs: {"loss": model.forward(inputs["xs"], inputs["ts"], lengths)}, backward)
    assert_gradients(case, tolerance=1e-8, elements=checks_elements(case))


def test_scores_and_loss_by_hand():
    model, xs, ts = randomized("rnn"), ids(), [2, 0, 1, 1]
    W, Wx, Wh, b, affine_W, affine_b = map(np.to_cpu, model.params)
    scores = []
    for row, length in zip(np.to_cpu(xs), LENGTHS):
        h = numpy.zeros(H)
        for i in row[:length]:
            h = numpy.tanh(W[i] @ Wx + h @ Wh + b)
        scores.append(h @ affine_W + affine_b)
    np.testing.assert_allclose(model.predict(xs, LENGTHS), numpy.array(scores), rtol=1e-12)
    nats = [numpy.log(numpy.exp(row).sum()) - row[t] for row, t in zip(scores, ts)]
    assert float(model.forward(xs, np.array(ts), LENGTHS)) == pytest.approx(numpy.mean(nats), rel=1e-12)


def test_the_gradient_of_the_last_bias_by_hand():
    model, ts = randomized("gru"), [2, 0, 1, 1]
    weights = numpy.exp(np.to_cpu(model.predict(ids(), LENGTHS)))  # (N, K)
    model.forward(ids(), np.array(ts), LENGTHS)
    model.backward()
    expected = (weights / weights.sum(axis=1, keepdims=True) - numpy.eye(K)[ts]).mean(axis=0)
    np.testing.assert_allclose(model.grads[-1], expected, rtol=1e-9)


def test_dropout_stands_before_the_recurrent_layer_and_before_the_affine_one():
    model = SequenceClassifier(V, 30, 40, K, dropout_ratio=0.25, seed=0, dtype=np.float64)
    xs, passed = np.ones((50, 2), dtype=int), []
    for layer in (model.input_dropout, model.output_dropout):
        def noted(vectors, forward=layer.forward):
            passed.append((vectors, forward(vectors)))
            return passed[-1][1]

        layer.forward = noted
    model.predict(xs, train_flg=True)
    ((vectors, dropped), (h, h_dropped)) = passed
    np.testing.assert_allclose(vectors, model.embedding.forward(xs))
    hs = model.recurrent.forward(dropped)  # (N, T, H)
    np.testing.assert_allclose(h, hs[:, -1])
    for before, after, shape in ((vectors, dropped, (50, 2, 30)), (h, h_dropped, (50, 40))):
        kept = after != 0
        assert before.shape == shape
        np.testing.assert_allclose(after[kept], before[kept] / 0.75, rtol=1e-12)
        assert abs(float(kept.mean()) - 0.75) < 0.05  # over four standard deviations
    passed.clear()
    model.predict(xs)
    assert all(np.array_equal(before, after) for before, after in passed)


def test_without_a_ratio_there_is_no_dropout():
    model = SequenceClassifier(V, D, H, K, seed=0)
    assert model.input_dropout.dropout_ratio == model.output_dropout.dropout_ratio == 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_scores_of_a_sequence_do_not_depend_on_its_padding_or_its_batch(cell):
    model, xs = randomized(cell), ids()
    together = model.predict(xs, LENGTHS)  # (N, K)
    for row, length, scores in zip(xs, LENGTHS, together):
        np.testing.assert_allclose(model.predict(row[None, :length]), scores[None], rtol=1e-12)
    padded = np.where(np.arange(T) < np.array(LENGTHS)[:, None], xs, 3)  # (N, T)
    assert np.array_equal(model.predict(padded, LENGTHS), together)


def test_dropout_is_on_in_training_only():
    model, xs = randomized("lstm", dropout_ratio=0.5), ids()
    assert np.array_equal(model.predict(xs, LENGTHS), model.predict(xs, LENGTHS))
    assert not np.array_equal(model.predict(xs, LENGTHS, train_flg=True), model.predict(xs, LENGTHS, train_flg=True))
    ts = np.zeros(len(xs), dtype=int)
    assert model.forward(xs, ts, LENGTHS) != model.forward(xs, ts, LENGTHS)
    assert model.forward(xs, ts, LENGTHS, train_flg=False) == model.forward(xs, ts, LENGTHS, train_flg=False)


def test_a_seed_gives_the_same_weights_and_float32_is_the_default():
    one, two, other = (SequenceClassifier(V, D, H, K, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.params, two.params))
    assert not np.array_equal(one.params[0], other.params[0])
    assert {param.dtype for param in one.params} == {np.dtype(np.float32)}
    np.seed(1)
    assert all(np.array_equal(a, b) for a, b in zip(one.params, SequenceClassifier(V, D, H, K).params))
    assert not np.array_equal(one.params[0], SequenceClassifier(V, D, H, K).params[0])  # drawn on, not from anew


@pytest.mark.training
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_it_learns_which_of_two_ids_came_first(cell):
    xs = np.array([[1, 2, 3, 3], [2, 1, 3, 3], [1, 3, 2, 0], [2, 3, 1, 0], [1, 2, 0, 0], [2, 1, 0, 0]])
    ts, lengths = np.array([0, 1] * 3), [4, 4, 3, 3, 2, 2]
    model, optimizer = SequenceClassifier(V, D, H, 2, cell, seed=0), Adam(0.03)
    for _ in range(60):
        loss = training_step(model, optimizer, xs, ts, 5.0, lengths=lengths)
    assert loss < 0.1
    assert model.predict(xs, lengths).argmax(axis=1).tolist() == ts.tolist()


def test_a_cell_that_there_is_not():
    with pytest.raises(ValueError, match="SequenceClassifier: cell is 'transformer', wanted one of rnn, lstm, gru"):
        SequenceClassifier(V, D, H, K, "transformer")
