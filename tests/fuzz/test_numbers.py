"""No function over numbers breaks: products, activations, optimizers, clipping, metrics, schedules, batches."""
import math

import numpy
import pytest
from drawn import Refused, anything, arrays, often, outcome
from hypothesis import given
from hypothesis import strategies as st

from common import functions, optimizer
from common.gradients import checker
from common.text import word_vectors
from common.training import batches, clip, metrics, schedules

pytestmark = pytest.mark.promise(
    "A function over numbers gives a result, or says in one line what is wrong with its arguments")

numbers = st.one_of(st.floats(), st.integers(-3, 10), st.sampled_from([10**9, 10**400, None, "1", True]))
settings_of = st.one_of(st.floats(0, 1), st.just(0.1), numbers)
sizes = st.one_of(st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, -1, 1.5, None, "2", 10**20, True]))


@pytest.fixture
def quiet():
    """NaN, infinity and the largest numbers are given on purpose: what NumPy says of them is no fault."""
    with numpy.errstate(all="ignore"):
        yield


@given(x=arrays(wild=True), t=arrays(wild=True))
def test_functions_of_arrays(x, t, count_cases, quiet):
    """An activation, softmax or cross entropy of any array is a result or one line."""
    count_cases()
    for function in functions.sigmoid, functions.relu, functions.softmax:
        y = outcome(function, x)
        if not isinstance(y, Refused):
            assert numpy.shape(y) == x.shape
    outcome(functions.cross_entropy_error, x, t)
    outcome(functions.ids_of_one_hot, t, "targets")


@given(x=st.integers(1, 3).flatmap(lambda n: arrays((n, 3), "float64", wild=True)))
def test_softmax_of_finite_scores(x, count_cases):
    """Finite scores of any size have probabilities that sum to 1, and no warning."""
    count_cases()
    x = numpy.where(numpy.isfinite(x), x, 1.0) / 4  # the difference of two must be finite as well
    assert numpy.allclose(functions.softmax(x).sum(axis=1), 1)


@pytest.mark.parametrize("name", optimizer.OPTIMIZERS)
@given(data=st.data())
def test_an_optimizer_updates_or_says_what_is_wrong(name, data, count_cases, quiet):
    """An optimizer takes sensible settings and gradients of the parameters' shapes, or says what is wrong and writes
    nothing."""
    count_cases()
    kind = optimizer.OPTIMIZERS[name]
    given_settings = data.draw(st.lists(settings_of, max_size=3))
    made = outcome(kind, *given_settings)
    if isinstance(made, Refused):
        return
    shapes = data.draw(st.lists(st.sampled_from([(2,), (2, 3), (0,), ()]), max_size=3))
    params = [data.draw(arrays(shape, "float32", wild=True)).copy() for shape in shapes]
    grads = data.draw(often(st.just([data.draw(arrays(shape, "float32", wild=True)) for shape in shapes]),
                            st.lists(arrays(wild=True), max_size=3)))
    for _ in range(2):
        before = [param.copy() for param in params]
        try:
            made.update(params, grads)
        except (TypeError, ValueError) as error:
            assert len(str(error).splitlines()) == 1
            assert all(numpy.array_equal(a, b, equal_nan=True) for a, b in zip(params, before))


@given(grads=st.lists(arrays(wild=True), max_size=3), max_norm=st.one_of(st.floats(), st.sampled_from([1, None, "1"])),
       same=st.booleans())
def test_clipping(grads, max_norm, same, count_cases, quiet):
    """Gradients are clipped to any norm above 0, or one line says what is wrong."""
    count_cases()
    grads = [grad.copy() for grad in grads]
    if same and grads:
        grads = [grads[0], grads[0].T]
    outcome(clip.unique_params, grads)
    for a in grads:
        for b in grads:
            outcome(clip.how_shared, a, b)
    floats = [grad for grad in grads if grad.dtype.kind == "f"]
    norm = outcome(clip.global_norm, floats)
    assert isinstance(norm, Refused) or numpy.ndim(norm) == 0
    try:
        clip.clip_grads(floats, max_norm)
    except (TypeError, ValueError) as error:
        assert len(str(error).splitlines()) == 1


@given(number=st.floats(), decimals=st.integers(0, 5), ts=often(arrays((3,), "int8"), arrays(wild=True)),
       ys=often(arrays((3,), "uint8"), arrays(wild=True)), classes=st.integers(-1, 4),
       matrix=st.integers(1, 3).flatmap(lambda K: arrays((K, K), "uint8")), Wh=arrays(wild=True))
def test_metrics(number, decimals, ts, ys, classes, matrix, Wh, count_cases, quiet):
    """A metric of any numbers is a number, or one line says what is wrong."""
    count_cases()
    outcome(metrics.safe_exp, number)
    outcome(metrics.format_perplexity, number, decimals)
    counts = outcome(metrics.confusion_matrix, ts, ys, classes)
    assert isinstance(counts, Refused) or counts.sum() == len(ts)
    outcome(metrics.accuracy, matrix)
    outcome(metrics.macro_f1, matrix)
    outcome(metrics.singular_values, Wh)


@given(lr=st.floats(0, 10), schedule=st.sampled_from([*schedules.SCHEDULES, "other", None]), step=st.integers(0, 20),
       steps=st.integers(0, 20), warmup=st.integers(0, 20))
def test_schedules(lr, schedule, step, steps, warmup, count_cases):
    """A learning rate of any schedule is a number between 0 and the largest, or one line."""
    count_cases()
    rate = outcome(schedules.learning_rate, lr, schedule, step, steps, warmup)
    assert isinstance(rate, Refused) or 0 <= rate <= lr or math.isclose(rate, lr)


@given(data=st.data())
def test_batches(data, count_cases):
    """A text of any length in batches of any size is dealt out, or one line says what is wrong."""
    count_cases()
    n = data.draw(st.integers(0, 12))
    ids = data.draw(often(st.just(numpy.arange(n)), arrays(wild=True)))
    targets = data.draw(often(st.just(ids), arrays(wild=True)))
    seed = data.draw(st.one_of(st.integers(0, 9), st.none(), st.sampled_from([-1, "x", 1.5])))
    made = [outcome(batches.StripBatches, ids, targets, data.draw(sizes), data.draw(sizes)),
            outcome(batches.WindowBatches, ids, data.draw(sizes), data.draw(sizes), data.draw(st.booleans()), seed),
            outcome(batches.ExampleBatches, ids, targets, data.draw(sizes), data.draw(st.booleans())),
            outcome(batches.WindowPairs, ids, data.draw(sizes))]
    for one in made:
        if not isinstance(one, Refused):
            dealt = outcome(list, one)
            assert isinstance(dealt, Refused) or len(dealt) == len(one)


@given(x=arrays(dtype="float16", wild=True), y=arrays(dtype="int8"), size=sizes, text=st.text(max_size=20))
def test_word_vectors(x, y, size, text, count_cases, quiet):
    """Vectors of any numbers have similarities, or one line says what is wrong."""
    count_cases()
    outcome(word_vectors.cos_similarity, x, y)
    outcome(word_vectors.normalize, x)
    outcome(word_vectors.convert_one_hot, x, size)
    corpus, word_to_id, id_to_word = word_vectors.preprocess(text)
    assert [id_to_word[int(i)] for i in corpus] == text.lower().replace(".", " .").split()


@given(array=arrays(wild=True), other=arrays(wild=True), step=st.sampled_from([1e-3, 1.0, 0.5]))
def test_numerical_gradients(array, other, step, count_cases, quiet):
    """A numerical gradient of any array is computed, or one line says what is wrong."""
    count_cases()
    array = array.copy()
    gradient = outcome(checker.numerical_gradient, lambda: (array * array).sum(), array, 1.0, step)
    assert isinstance(gradient, Refused) or gradient.shape == array.shape
    outcome(checker.overlaps_itself, array)
    if array.shape == other.shape and array.dtype.kind == other.dtype.kind == "f":
        outcome(checker.relative_error, array, other)


@given(x=anything(), W=anything())
def test_gradient_checks(x, W, count_cases, quiet):
    """A gradient check of a layer over any arrays gives a result, or one line says what is wrong."""
    count_cases()
    from common.layers.dense import MatMul

    case = checker.Case("MatMul", "drawn", lambda: MatMul(W), {"x": x}, lambda layer, inputs: {
        "y": layer.forward(inputs["x"])}, lambda layer, upstream: {"x": layer.backward(upstream["y"])})
    outcome(checker.check, case)
