import contextlib
import functools
import inspect
import itertools
import math

import numpy
import pytest
from any_device import np

from common import optimizer
from common.optimizer import (
    ASGD,
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    RMSprop,
    non_monotone_trigger,
)

pytestmark = pytest.mark.usefixtures("device")

LR = 0.1
STEPS = 5


# Each formula in a few lines, its defaults written out. They are Saito's (2018, common/optimizer.py), except Adam's
# eps, 1e-8 as in Kingma and Ba, and AdamW's, which are PyTorch's. The others are PyTorch's too but for these: SGD has
# lr 1e-3 and momentum 0, Adagrad eps 1e-10, RMSprop eps 1e-8.


def sgd(w, gradients, lr=0.01, weight_decay=0.0):
    for g in gradients:
        w = w - lr * (g + weight_decay * w)
    return w


def asgd(w, gradients, lr=0.01, weight_decay=0.0, start=0):
    """The parameter, which averaging does not touch; its average has a test of its own."""
    return sgd(w, gradients, lr, weight_decay)


def momentum(w, gradients, lr=0.01, momentum=0.9):
    v = np.zeros_like(w)
    for g in gradients:
        v = momentum * v - lr * g
        w = w + v
    return w


def nesterov(w, gradients, lr=0.01, momentum=0.9):
    """Sutskever's form, gradient at the point ahead; what the layer holds is that point, w + momentum v."""
    v, ahead = np.zeros_like(w), w
    for g in gradients:
        w = ahead - momentum * v
        v = momentum * v - lr * g
        w = w + v
        ahead = w + momentum * v
    return ahead


def adagrad(w, gradients, lr=0.01, eps=1e-7):
    s = np.zeros_like(w)
    for g in gradients:
        s = s + g**2
        w = w - lr * g / (np.sqrt(s) + eps)
    return w


def rmsprop(w, gradients, lr=0.01, decay_rate=0.99, eps=1e-7):
    s = np.zeros_like(w)
    for g in gradients:
        s = decay_rate * s + (1 - decay_rate) * g**2
        w = w - lr * g / (np.sqrt(s) + eps)
    return w


def adam(w, gradients, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for k, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**k)) / (np.sqrt(v / (1 - beta2**k)) + eps)
    return w


def adamw(w, gradients, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    """Decay and Adam's step both leave from the old parameter: the order of the two is the only question."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for k, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (m / (1 - beta1**k) / (np.sqrt(v / (1 - beta2**k)) + eps) + weight_decay * w)
    return w


FORMULAS = [
    (SGD, sgd, {}),
    (SGD, sgd, {"weight_decay": 0.4}),
    (ASGD, asgd, {"weight_decay": 0.4}),
    (Momentum, momentum, {"momentum": 0.8}),
    (Nesterov, nesterov, {"momentum": 0.8}),
    (AdaGrad, adagrad, {"eps": 0.03}),
    (RMSprop, rmsprop, {"decay_rate": 0.9, "eps": 0.03}),
    (Adam, adam, {"beta1": 0.8, "beta2": 0.95, "eps": 0.03}),
    (AdamW, adamw, {"beta1": 0.8, "beta2": 0.95, "eps": 0.03, "weight_decay": 0.4}),
]
every_optimizer = pytest.mark.parametrize(
    "make, formula", [(functools.partial(kind, LR, **options), functools.partial(formula, lr=LR, **options))
                      for kind, formula, options in FORMULAS],
    ids=[f"{kind.__name__}{' '.join(options)}" for kind, _, options in FORMULAS])


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


@pytest.mark.parametrize("size", [1.0, 1e-7])  # the second as small as eps
@pytest.mark.parametrize("kind, formula", [case[:2] for case in FORMULAS])
def test_the_defaults(kind, formula, size):
    gradients = [size * grads[0] for grads in problem()[1]]
    start = problem()[0][0]  # not zeros, which nothing could decay
    param, optimizer = start.copy(), kind()
    for grad in gradients:
        optimizer.update([param], [grad])
    np.testing.assert_allclose(param, formula(start, gradients), rtol=1e-12)
    ours, by_hand = inspect.signature(kind).parameters, inspect.signature(formula).parameters
    assert [(name, parameter.default) for name, parameter in ours.items()] == (
        [(name, parameter.default) for name, parameter in by_hand.items()][2:])


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


@pytest.mark.parametrize("number", [numpy.float64, numpy.float32, lambda value: numpy.array(numpy.float64(value))],
                         ids=["float64", "float32", "0-d array"])
@pytest.mark.parametrize("kind, formula, options", FORMULAS)
def test_numbers_of_numpy_give_the_bits_of_python_floats(kind, formula, options, number):
    settings = {"lr": LR} | options
    if number is numpy.float32:  # which has other digits
        settings = {name: float(numpy.float32(value)) for name, value in settings.items()}
    plain, other = kind(**settings), kind(**{name: number(value) for name, value in settings.items()})
    later = kind(*[0.5] * len(settings))
    for name, value in settings.items():
        setattr(later, name, number(value))
    found = []
    for chosen in (plain, other, later):
        params, steps = problem(np.float32)
        for grads in steps:
            chosen.update(params, grads)
        chosen.load_state(chosen.state, np.int64(chosen.steps))  # as read from a file
        chosen.update(params, steps[0])
        assert {array.dtype for array in (*params, *itertools.chain(*chosen.state))} == {np.dtype(np.float32)}
        found.append(params)
    for params in found[1:]:
        assert all(np.array_equal(one, expected) for one, expected in zip(params, found[0], strict=True))


@pytest.mark.parametrize("value", [-0.1, -1e-300, math.nan, math.inf, -math.inf,
                                   pytest.param(10**400, id="10^400")])
@pytest.mark.parametrize("name", ["lr", "momentum", "beta1", "beta2", "eps", "decay_rate", "weight_decay"])
def test_a_setting_that_is_negative_or_not_finite_is_refused(name, value):
    for kind, *_ in FORMULAS:
        if name in inspect.signature(kind).parameters:
            shown = math.inf if value == 10**400 else value
            message = f"^{kind.__name__}: {name} is {shown}, wanted a number from 0 to below "
            with pytest.raises(ValueError, match=message):
                kind(**{name: value})
            made = kind()
            before = getattr(made, name)
            with pytest.raises(ValueError, match=message):
                setattr(made, name, value)
            assert getattr(made, name) == before


@pytest.mark.parametrize("kind, name", [
    (Momentum, "momentum"), (Nesterov, "momentum"), (RMSprop, "decay_rate"), (Adam, "beta1"), (Adam, "beta2"),
    (AdamW, "beta2")])
def test_what_remembers_everything_is_refused(kind, name):
    """A beta of 1 divides 0 by 0, a momentum of 1 never slows down, a decay_rate of 1 learns nothing."""
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {name} is 1.0, wanted a number from 0 to below 1$"):
        kind(**{name: 1})


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 3), (1, 3, 4), (3, 4, 1)])
@every_optimizer
def test_a_gradient_of_another_shape_is_refused_before_anything_is_written(make, formula, shape):
    params, ((*grads,), *_) = problem()
    before, chosen = [param.copy() for param in params], make()
    with pytest.raises(ValueError, match=r": gradients have shapes .*, wanted those of the parameters, \[\(3, 4\), "):
        chosen.update(params, [np.ones(shape), grads[1]])
    with pytest.raises(ValueError, match=r": there are 2 parameters, 1 gradients and memories of 2 parameters, wanted"):
        chosen.update(params, grads[:1])
    assert chosen.steps == 0
    assert all(np.array_equal(param, old) for param, old in zip(params, before))


def test_weight_decay_acts_without_a_gradient_and_is_not_scaled_by_it():
    param, chosen = np.array([2.0, -4.0]), AdamW(0.1, weight_decay=0.5)
    chosen.update([param], [np.zeros(2)])
    np.testing.assert_allclose(param, [1.9, -3.8], rtol=1e-14)


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
    for params, grads in ((2, 2), (1, 2), (2, 1), (0, 0)):
        with pytest.raises(ValueError):
            optimizer.update([np.zeros(2)] * params, [np.zeros(2)] * grads)


def test_every_optimizer_can_be_chosen_by_name():
    assert OPTIMIZERS == {
        "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSprop, "adam": Adam,
        "adamw": AdamW}


@pytest.mark.parametrize("kind", [*OPTIMIZERS.values(), ASGD])
def test_updating_in_blocks_of_rows_by_several_threads_changes_nothing(kind, monkeypatch):
    def drawn():
        rng = np.random.default_rng(3)
        arrays = [rng.standard_normal(shape) for shape in [(7, 3), (5,), (2, 3, 4), (1, 9), ()]]
        return [*arrays, rng.standard_normal((4, 6)).T]

    arrays, results = drawn(), []
    monkeypatch.setattr(optimizer, "BLOCKS_OF_THREAD", 1)
    for block, cores in ((1, 1), (7, 1), (1, 3), (7, 2), (10**6, 1)):
        monkeypatch.setattr(optimizer, "BLOCK", block)
        monkeypatch.setattr(optimizer, "worker_count", lambda cores=cores: cores)
        params, chosen = drawn(), kind(lr=LR)
        for step in range(4):
            chosen.update(params, [np.asarray(np.sin(array + step)) for array in arrays])
        results.append((params, list(itertools.chain(*chosen.state))))
    for params, memories in results[:-1]:
        for one, other, before in zip(params, results[-1][0], arrays):
            assert np.array_equal(one, other) and not np.array_equal(one, before)
        assert all(np.array_equal(one, other) for one, other in zip(memories, results[-1][1], strict=True))


@pytest.mark.parametrize("shape, rows", [
    ((6, 4), [2, 2, 2]), ((7, 4), [2, 2, 2, 1]), ((3, 5), [1, 1, 1]), ((2, 9), [1, 1]), ((9,), [8, 1]),
    ((4, 2), [4]), ((8,), [8]), ((5, 2, 2), [2, 2, 1]), ((0, 4), [0]), ((4, 0), [4])])
def test_a_block_holds_as_many_whole_rows_as_fit(shape, rows, device, monkeypatch):
    class Recorder(optimizer.Optimizer):
        seen = []

        def update_one(self, param, grad):
            self.seen.append((param.shape[0], grad.shape[0]))

    monkeypatch.setattr(optimizer, "BLOCK", 8)
    recorder = Recorder(LR)
    recorder.update([np.zeros(shape)], [np.zeros(shape)])
    on_gpu = [shape[0]]  # there a block more is a launch more
    assert recorder.seen == [(count, count) for count in (rows if device == "cpu" else on_gpu)]


# --- averages

def walked(optimizer, steps=8, before_step=lambda optimizer, step: None):
    """Return the values of a parameter after each of some updates, and its average after each."""
    rng = np.random.default_rng(1)
    param, values, averages = rng.standard_normal((3, 4)), [], []
    for step in range(steps):
        before_step(optimizer, step)
        optimizer.update([param], [rng.standard_normal((3, 4))])
        values.append(np.to_cpu(param).copy())
        averages.append(np.to_cpu(optimizer.state[0][0]).copy())
    return values, averages


@pytest.mark.parametrize("start", [0, 3, 6, 100])
def test_the_average_is_the_mean_of_the_values_since_the_second_after_its_start(start):
    values, averages = walked(ASGD(LR, start=start))
    for k, average in enumerate(averages, start=1):
        expected = numpy.mean(values[start + 1:k], axis=0) if k > start + 1 else values[k - 1]
        numpy.testing.assert_allclose(average, expected, rtol=1e-12 if k > start + 2 else 0)


def test_averaging_that_starts_later_is_averaging_from_that_update_on():
    def begin(optimizer, step):
        if step == 3:
            assert optimizer.start is None
            optimizer.start_averaging()
            assert optimizer.start == 3

    later, given = ASGD(LR, start=None), ASGD(LR, start=3)
    for found, expected in zip(walked(later, before_step=begin), walked(given)):
        assert numpy.array_equal(found, expected)
    values, averages = walked(ASGD(LR, start=None))
    assert numpy.array_equal(values, averages)


@pytest.mark.parametrize("fails", [False, True])
def test_within_the_block_parameters_are_their_averages_in_place_and_then_what_they_were(fails):
    W, b = np.ones((3, 4)), np.zeros(4)
    tied, optimizer = W.T, ASGD(LR)
    for step in range(1, 5):
        optimizer.update([W, b], [step * np.ones((3, 4)), np.ones(4)])
    before, averages = [W.copy(), b.copy()], [memory.copy() for memory, in optimizer.state]
    with contextlib.suppress(KeyboardInterrupt), optimizer.averaged([W, b]):
        assert np.array_equal(W, averages[0]) and np.array_equal(b, averages[1])
        assert np.array_equal(tied, averages[0].T) and not np.array_equal(W, before[0])
        if fails:
            raise KeyboardInterrupt
    assert np.array_equal(W, before[0]) and np.array_equal(b, before[1]) and np.array_equal(tied, before[0].T)
    assert all(np.array_equal(memory, average) for (memory,), average in zip(optimizer.state, averages))


def test_before_the_first_update_a_parameter_is_its_own_average():
    W = np.ones((2, 3))
    with ASGD().averaged([W]):
        assert (W == 1).all()
    assert (W == 1).all()


def test_averages_of_other_parameters_are_refused():
    optimizer = ASGD()
    optimizer.update([np.ones((2, 3))], [np.ones((2, 3))])
    for params in ([np.ones(3)], [np.ones((2, 3))] * 2, []):
        message = r"^ASGD: parameters have shapes .*, wanted those of the averages, \[\(2, 3\)\]$"
        with pytest.raises(ValueError, match=message), optimizer.averaged(params):
            pass
        assert all((param == 1).all() for param in params)


def test_a_start_before_all_updates_is_refused():
    with pytest.raises(ValueError, match=r"^ASGD: start is -1, wanted a number of updates, or None$"):
        ASGD(start=-1)


@pytest.mark.parametrize("losses, loss, n, triggered", [
    ([], 9, 5, False),
    ([5, 4, 3, 2, 1], 9, 5, False),  # no earlier than after n evaluations
    ([5, 4, 3, 2, 1, 1], 5.1, 5, True), ([5, 4, 3, 2, 1, 1], 5, 5, False),  # the last n do not count
    ([5, 3, 4, 4, 4, 4, 4], 3.5, 5, True), ([5, 3, 4, 4, 4, 4, 4], 2.9, 5, False),
    ([3, 5, 4, 4, 4, 4, 4], 3.5, 5, True),  # the smallest, not the last of those that count
    ([2], 3, 1, False), ([2, 1], 1.5, 1, False), ([2, 1], 2.5, 1, True),
    ([2], 3, 0, True), ([2], 1, 0, False), ([], 3, 0, False),
])
def test_averaging_is_triggered_by_a_loss_above_the_best_of_all_but_the_last_n(losses, loss, n, triggered):
    assert non_monotone_trigger(losses, loss, n) is triggered
    if n == 5:
        assert non_monotone_trigger(tuple(losses), loss) is triggered


def test_a_trigger_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match=r"^non_monotone_trigger: n is -1, wanted at least 0$"):
        non_monotone_trigger([1.0], 1.0, -1)


def test_weight_decay_of_sgd_acts_without_a_gradient_and_leaves_the_gradient_alone():
    param, grad = np.array([2.0, -4.0]), np.zeros(2)
    SGD(0.1, weight_decay=0.5).update([param], [grad])
    np.testing.assert_allclose(param, [1.9, -3.8], rtol=1e-14)
    assert not grad.any()
