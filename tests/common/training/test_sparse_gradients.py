"""Gradients of a few rows: what is done with them is what is done with the whole array."""
import numpy
import pytest
from any_device import np

from common.fast import speed_up
from common.language_model.cell_rnnlm import CellRnnlm
from common.layers.dense import Embedding
from common.layers.sampled_softmax import UnigramSampler
from common.layers.sparse import SparseGradient, dense
from common.optimizer import ASGD, OPTIMIZERS, SGD
from common.training.clip import clip_grads, global_norm, gradients_of, remove_duplicate
from common.training.epochs import training_step

pytestmark = pytest.mark.usefixtures("device")

V, D = 12, 3
MAKERS = OPTIMIZERS | {"sgd with decay": lambda lr: SGD(lr, 0.3), "asgd": ASGD}
every_optimizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def sparse(*used, seed=0, transposed=False):
    """Return the gradient of a table (V, D), or of (D, V), that uses some of the rows, or columns."""
    rows = np.array(used)
    array = np.zeros((V, D))
    array[rows] = np.random.default_rng(seed).standard_normal((len(used), D))
    return SparseGradient(array.T, rows, 1) if transposed else SparseGradient(array, rows)


@pytest.mark.parametrize("first, second", [
    (sparse, sparse), (sparse, lambda *used, **options: dense(sparse(*used, **options))),
    (lambda *used, **options: dense(sparse(*used, **options)), sparse)], ids=["both", "the first", "the second"])
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_the_gradients_of_shared_weights_are_added_up(first, second, transposed):
    W = np.zeros((V, D))
    a, b = first(1, 7, 4, transposed=transposed[0]), second(4, 0, seed=1, transposed=transposed[1])
    expected = (dense(a).T if transposed[0] else dense(a)) + (dense(b).T if transposed[1] else dense(b))
    params, (total,) = remove_duplicate([W.T if t else W for t in transposed], [a, b])
    assert params[0].shape == total.shape and dense(total) is dense(a)
    np.testing.assert_array_equal(dense(total).T if transposed[0] else dense(total), expected)
    if isinstance(total, SparseGradient):
        assert sorted(np.to_cpu(total.used).tolist()) == [0, 1, 4, 7]


def test_rows_and_columns_of_one_matrix_make_a_whole_gradient():
    W, rows = np.zeros((4, 4)), np.array([1])
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[1], b[:, 1] = 2, 3
    _, (total,) = remove_duplicate([W, W], [SparseGradient(a, rows), SparseGradient(b, rows, 1)])
    np.testing.assert_array_equal(total, [[0, 3, 0, 0], [2, 5, 2, 2], [0, 3, 0, 0], [0, 3, 0, 0]])


@pytest.mark.parametrize("largest", [0.1, 100.0])
@pytest.mark.parametrize("transposed", [False, True])
def test_clipping_is_that_of_the_whole_array(largest, transposed):
    grads = [sparse(1, 7, 4, transposed=transposed), np.full(5, 0.3)]
    whole = [dense(grad).copy() for grad in grads]
    assert float(global_norm(grads)) == pytest.approx(float(global_norm(whole)), rel=1e-12)
    assert float(clip_grads(grads, largest)) == pytest.approx(float(clip_grads(whole, largest)), rel=1e-12)
    for grad, expected in zip(grads, whole):
        np.testing.assert_allclose(dense(grad), expected, rtol=1e-12)


@every_optimizer
@pytest.mark.parametrize("transposed", [False, True])
def test_an_optimizer_takes_the_steps_that_the_whole_gradient_makes(make, transposed):
    W = np.random.default_rng(9).standard_normal((V, D))
    ours, theirs = ([(W.T if transposed else W).copy()] for _ in range(2))
    fast, slow = make(lr=0.1), make(lr=0.1)
    for seed, used in enumerate([(1, 7, 4), (4, 0), (11, 1, 2), (5,)]):
        grad = sparse(*used, seed=seed, transposed=transposed)
        fast.update(ours, [grad])
        slow.update(theirs, [grad.array])
    np.testing.assert_array_equal(ours[0], theirs[0])
    for mine, memory in zip(fast.state[0], slow.state[0], strict=True):
        np.testing.assert_array_equal(mine, memory)


def test_a_sparse_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="gradients have shapes"):
        SGD(0.1).update([np.zeros((V, D))], [sparse(1, transposed=True)])


def test_an_embedding_knows_its_rows(device):
    layer = Embedding(np.ones((V, D)))
    layer.forward(np.array([[3, 3], [8, 0]]))
    layer.backward(np.ones((2, 2, D)))
    if device == "cpu":
        (known,) = layer.sparse
        assert known.array is layer.grads[0] and sorted(known.used.tolist()) == [0, 3, 8]
    else:
        assert layer.sparse == []  # how many there are would have to be waited for


def batch(seed):
    rng = numpy.random.default_rng(seed)
    return (np.to_device(rng.integers(V, size=(2, 3))) for _ in range(2))


def model(tied, fast, sampled):
    made = CellRnnlm("lstm", V, 5, 5, 2, tied, seed=0, dtype=np.float64)
    if sampled:
        made.sample_softmax(UnigramSampler(range(V), 3))
    return speed_up(made) if fast else made


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
@every_optimizer
def test_training_steps_are_those_of_whole_gradients(tied, fast, sampled, make):
    ours, theirs, optimizer, plain = model(tied, fast, sampled), model(tied, False, sampled), make(lr=0.1), make(lr=0.1)
    for seed in range(4):
        xs, ts = batch(seed)
        np.seed(seed)
        loss = training_step(ours, optimizer, xs, ts, max_grad=0.2)
        np.seed(seed)
        assert float(loss) == pytest.approx(float(theirs.forward(xs, ts)), rel=1e-10)
        theirs.backward()
        params, grads = remove_duplicate(theirs.params, theirs.grads)
        clip_grads(grads, 0.2)
        plain.update(params, grads)
    for param, expected in zip(ours.params, theirs.params):
        np.testing.assert_allclose(param, expected, rtol=1e-8, atol=1e-12)


def test_words_that_are_no_candidates_stay_as_they_are_bit_for_bit():
    trained, xs = model(True, False, True), np.array([[1, 2]])
    before = trained.params[0].copy()
    np.seed(0)
    candidates = {1, 2, *np.to_cpu(trained.sampled_head.sampler.draw()).tolist()}
    np.seed(0)
    training_step(trained, SGD(0.1), xs, xs)
    moved = np.to_cpu((trained.params[0] != before).any(axis=1))
    assert set(numpy.flatnonzero(moved).tolist()) == candidates


def test_after_sampling_the_whole_softmax_moves_every_word():
    trained = model(True, False, True)
    xs, ts = batch(0)
    training_step(trained, SGD(0.1), xs, ts)
    trained.sample_softmax(None)
    before = trained.params[0].copy()
    training_step(trained, SGD(0.1), xs, ts)
    assert (trained.params[0] != before).any(axis=1).all()


def test_no_gradient_of_an_earlier_head_is_taken_for_that_of_the_last():
    trained = model(False, False, True)
    xs, ts = batch(0)
    training_step(trained, SGD(0.1), xs, ts)
    trained.forward(xs, ts, train_flg=False)
    trained.backward()
    output = trained.layers[-1]
    assert not any(isinstance(grad, SparseGradient) for grad in gradients_of(trained)[-2:])
    assert all(grad is own for grad, own in zip(gradients_of(trained)[-2:], output.grads))


class ByHand:
    """An optimizer of a reader, who knows arrays only."""

    def update(self, params, grads):
        for param, grad in zip(params, grads):
            param -= 0.1 * grad


class Overridden(SGD):
    def update(self, params, grads):
        ByHand().update(params, grads)


@pytest.mark.parametrize("make", [ByHand, lambda: Overridden(0.1)])
def test_an_optimizer_with_an_update_of_its_own_gets_whole_arrays(make):
    ours, theirs = model(True, False, True), model(True, False, True)
    for trained, optimizer in (ours, make()), (theirs, SGD(0.1)):
        xs, ts = batch(0)
        np.seed(0)
        training_step(trained, optimizer, xs, ts, max_grad=0.2)
    for param, expected in zip(ours.params, theirs.params):
        np.testing.assert_allclose(param, expected, rtol=1e-12)
