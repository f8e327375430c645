import pytest
from any_device import np

from common import optimizer
from common.optimizer import OPTIMIZERS, SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop

pytestmark = pytest.mark.usefixtures("device")

LR = 0.1
STEPS = 5


def sgd(w, gradients):
    for g in gradients:
        w = w - LR * g
    return w


def momentum(w, gradients):
    v = np.zeros_like(w)
    for g in gradients:
        v = 0.8 * v - LR * g
        w = w + v
    return w


def nesterov(w, gradients):
    """Sutskever's form, gradient at the point ahead; what the layer holds is that point, w + momentum v."""
    v, ahead = np.zeros_like(w), w
    for g in gradients:
        w = ahead - 0.8 * v
        v = 0.8 * v - LR * g
        w = w + v
        ahead = w + 0.8 * v
    return ahead


def adagrad(w, gradients):
    s = np.zeros_like(w)
    for g in gradients:
        s = s + g**2
        w = w - LR * g / (np.sqrt(s) + 1e-7)
    return w


def rmsprop(w, gradients):
    s = np.zeros_like(w)
    for g in gradients:
        s = 0.9 * s + 0.1 * g**2
        w = w - LR * g / (np.sqrt(s) + 1e-7)
    return w


def adam(w, gradients):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for k, g in enumerate(gradients, start=1):
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        w = w - LR * (m / (1 - 0.8**k)) / (np.sqrt(v / (1 - 0.95**k)) + 1e-8)
    return w


FORMULAS = [
    (lambda: SGD(LR), sgd),
    (lambda: Momentum(LR, momentum=0.8), momentum),
    (lambda: Nesterov(LR, momentum=0.8), nesterov),
    (lambda: AdaGrad(LR), adagrad),
    (lambda: RMSprop(LR, decay_rate=0.9), rmsprop),
    (lambda: Adam(LR, beta1=0.8, beta2=0.95), adam),
]
every_optimizer = pytest.mark.parametrize("make, formula", FORMULAS, ids=[f.__name__ for _, f in FORMULAS])


def problem(dtype=np.float64):
    """Two parameters and, for each step, their gradients."""
    rng = np.random.default_rng(0)
    params = [rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (4,))]
    return params, [[rng.standard_normal(param.shape).astype(dtype) for param in params] for _ in range(STEPS)]


@every_optimizer
def test_several_steps_follow_the_formula_in_place(make, formula):
    params, steps = problem()
    expected = [formula(param, [grads[i] for grads in steps]) for i, param in enumerate(params)]
    ids, optimizer = [id(param) for param in params], make()
    for grads in steps:
        copies = [grad.copy() for grad in grads]
        optimizer.update(params, grads)
        assert all(np.array_equal(grad, copy) for grad, copy in zip(grads, copies))  # only read
    assert [id(param) for param in params] == ids
    assert optimizer.steps == STEPS
    for param, want in zip(params, expected):
        np.testing.assert_allclose(param, want, rtol=1e-12)


@every_optimizer
def test_float32_stays_float32(make, formula):
    params, steps = problem(np.float32)
    optimizer = make()
    for grads in steps:
        optimizer.update(params, grads)
    assert all(array.dtype == np.float32 for memories in optimizer.state for array in memories)
    exact, exact_steps = problem()
    for i, param in enumerate(params):
        assert param.dtype == np.float32
        np.testing.assert_allclose(param, formula(exact[i], [grads[i] for grads in exact_steps]), rtol=1e-3, atol=1e-5)


@every_optimizer
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(make, formula):
    params, steps = problem()
    optimizer = make()
    for grads in steps[:2]:
        optimizer.update(params, grads)
    resumed, copies = make(), [param.copy() for param in params]
    resumed.load_state([[memory.copy() for memory in memories] for memories in optimizer.state], optimizer.steps)
    for grads in steps[2:]:
        optimizer.update(params, grads)
        resumed.update(copies, grads)
    assert resumed.steps == optimizer.steps == STEPS
    assert all(np.array_equal(param, copy) for param, copy in zip(params, copies))
    assert all(len(memories) == optimizer.memories for memories in optimizer.state)


@every_optimizer
def test_the_learning_rate_may_change(make, formula):
    params, steps = problem()
    optimizer, before = make(), [param.copy() for param in params]
    assert optimizer.lr == LR
    optimizer.lr = 0
    optimizer.update(params, steps[0])
    assert all(np.array_equal(param, old) for param, old in zip(params, before))


def test_a_transposed_parameter():
    W = np.ones((3, 4))
    Adam(LR).update([W.T], [np.ones((4, 3))])
    np.testing.assert_allclose(W, 1 - LR, rtol=1e-6)


def test_lists_of_another_length_are_refused():
    optimizer = SGD()
    optimizer.update([np.zeros(2)], [np.zeros(2)])
    with pytest.raises(ValueError):
        optimizer.update([np.zeros(2)] * 2, [np.zeros(2)] * 2)


def test_every_optimizer_can_be_chosen_by_name():
    assert OPTIMIZERS == {
        "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSprop, "adam": Adam}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updating_in_blocks_of_rows_changes_nothing(name, monkeypatch):
    def drawn():
        rng = np.random.default_rng(3)
        arrays = [rng.standard_normal(shape) for shape in [(7, 3), (5,), (2, 3, 4), (1, 9), ()]]
        return [*arrays, rng.standard_normal((4, 6)).T]

    arrays, results = drawn(), []
    for block in (1, 7, 10**6):
        monkeypatch.setattr(optimizer, "BLOCK", block)
        params, chosen = drawn(), OPTIMIZERS[name](lr=LR)
        for step in range(3):
            chosen.update(params, [np.asarray(np.sin(array + step)) for array in arrays])
        results.append(params)
    for params in results[:2]:
        for one, other, before in zip(params, results[2], arrays):
            assert np.array_equal(one, other) and not np.array_equal(one, before)
