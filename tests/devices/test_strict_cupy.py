"""The stand-in for CuPy: what it refuses, what it counts, and that it computes what NumPy computes."""
import copy
import pickle
import sys

import numpy
import pytest
import strict_cupy as cupy
from fusion_samples import REFUSED, TAKEN

from common.layers.dense import MatMul
from common.np import np


def on_device(*shape, dtype=numpy.float32, seed=0):
    numbers = numpy.random.default_rng(seed).standard_normal(shape) * 3
    return cupy.asarray(numbers.astype(dtype))


def counted(function, *args):
    with cupy.counting() as counts:
        function(*args)
    return counts


def launches(function, *args):
    return counted(function, *args).launches


# --- in the place of CuPy

@pytest.mark.parametrize("real", [None, "the real CuPy"])
def test_it_leaves_the_place_of_cupy_as_it_was_and_other_modules_alone(real, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", real)
    if real is None:
        del sys.modules["cupy"]
    monkeypatch.setitem(sys.modules, "colorsys", None)  # to be put back as it is now, imported or not
    del sys.modules["colorsys"]
    with pytest.raises(KeyError), cupy.in_place_of_cupy():
        import colorsys  # a module that nothing else here imports
        np.use("cupy")
        assert sys.modules["cupy"] is cupy
        raise KeyError
    assert sys.modules.get("cupy") is real and sys.modules["colorsys"] is colorsys
    np.use("numpy")


# --- what does not mix

FOREIGN = {
    "array": numpy.ones((2, 3), numpy.float32), "0-d array": numpy.array(2.0), "list": [1.0, 2.0, 3.0],
    "tuple": (1.0, 2.0, 3.0), "None": None, "str": "1",
}
foreign = pytest.mark.parametrize("other", FOREIGN.values(), ids=FOREIGN.keys())
WITH_TWO = {
    "+": lambda a, b: a + b,
    "reflected +": lambda a, b: b + a,
    "-": lambda a, b: a - b,
    "*": lambda a, b: b * a,
    "/": lambda a, b: a / b,
    "**": lambda a, b: b ** a,
    "==": lambda a, b: a == b,
    "<": lambda a, b: b < a,
    "@": lambda a, b: a @ b,
    "reflected @": lambda a, b: b @ a,
    "maximum": cupy.maximum,
    "tanh": lambda a, b: cupy.tanh(b),
    "out": lambda a, b: cupy.tanh(a, out=b if b is not None else ()),
    "sum": lambda a, b: cupy.sum(b),
    "matmul": cupy.matmul,
    "vdot": cupy.vdot,
    "where": lambda a, b: cupy.where(a > 0, a, b if b is not None else ()),
    "condition": lambda a, b: cupy.where(b, a, a),
    "concatenate": lambda a, b: cupy.concatenate((a, b)),
    "stack": lambda a, b: cupy.stack((a, b)),
    "reshape": lambda a, b: cupy.reshape(b, (3, 2)),
    "transpose": lambda a, b: cupy.transpose(b),
    "zeros_like": lambda a, b: cupy.zeros_like(b),
    "take": lambda a, b: cupy.take(a, b),
    "full": lambda a, b: cupy.full((2, 3), b),
    "argsort": lambda a, b: cupy.argsort(b),
    "shape": lambda a, b: cupy.shape(b),
    "copyto": cupy.copyto,
}


@foreign
@pytest.mark.parametrize("function", WITH_TWO.values(), ids=WITH_TWO.keys())
def test_only_device_arrays_and_scalars_are_operands(function, other):
    with pytest.raises(TypeError):
        function(on_device(2, 3), other)


@foreign
def test_only_device_arrays_and_scalars_are_assigned(other):
    a = on_device(2, 3)
    for key in (0, slice(None), ..., (1, 2), cupy.asarray([0, 1]), a > 0):
        with pytest.raises(TypeError):
            a[key] = other
    with pytest.raises(TypeError):
        a += other
    with pytest.raises(TypeError):
        a.fill(other)


@pytest.mark.parametrize("function", [
    numpy.tanh, numpy.asarray, numpy.sum, numpy.shape, numpy.isnan, lambda a: numpy.concatenate([a, a]),
    lambda a: numpy.array([a, a]), lambda a: numpy.add(a, 1), lambda a: numpy.add(numpy.ones(3), a),
    lambda a: numpy.testing.assert_allclose(a, numpy.ones(3)), lambda a: numpy.ones(3)[a > 0],
    lambda a: numpy.maximum(numpy.float32(1), a), lambda a: numpy.ones(3).__setitem__(slice(None), a),
])
def test_numpy_refuses_device_arrays(function):
    with cupy.counting() as counts, pytest.raises(TypeError):
        function(cupy.ones(3))
    assert counts.transfers == 0


def test_a_device_array_is_not_numpys():
    a = cupy.ones(3)
    assert isinstance(a, cupy.ndarray) and not isinstance(a, numpy.ndarray)
    with pytest.raises(TypeError):
        hash(a)
    with pytest.raises(TypeError):
        range(3)[cupy.asarray(1)]
    for name in ("ctypes", "tobytes", "__index__", "__cuda_array_interface__", "at", "itemset"):
        assert not hasattr(a, name)
    assert not hasattr(a.flags, "writeable")


@pytest.mark.parametrize("scalar", [2, 2.5, True, numpy.float32(2), numpy.int64(2), numpy.bool_(True)])
def test_scalars_are_operands(scalar):
    a = on_device(2, 3)
    for got, expected in ((a * scalar, a.get() * scalar), (scalar * a, scalar * a.get()),
                          (cupy.maximum(scalar, a), numpy.maximum(scalar, a.get())), (a < scalar, a.get() < scalar)):
        assert type(got) is cupy.ndarray and got.dtype == expected.dtype
        assert numpy.array_equal(got.get(), expected)


def test_dtypes_follow_numpy_2():
    a, n = on_device(3), cupy.arange(3)
    assert (a * 2.0).dtype == (a * 2).dtype == (a / 2).dtype == cupy.where(a > 0, a, 0.0).dtype == numpy.float32
    assert (a * numpy.float64(2)).dtype == (a * n).dtype == (a * cupy.ones(())).dtype == numpy.float64
    assert (n * 0.5).dtype == numpy.float64 and (n * 2).dtype == numpy.int64
    assert ((a > 0) * a).dtype == numpy.float32 and (a > 0).sum().dtype == numpy.int64


def test_what_cupy_lacks_is_not_there():
    for name in ("errstate", "seterr", "char", "ma", "memmap", "nditer", "object_", "str_"):
        assert not hasattr(cupy, name)
    for name in ("permutation", "shuffle", "choice", "normal", "bit_generator", "spawn"):
        assert not hasattr(cupy.random.default_rng(0), name)
    for name in ("reduce", "accumulate", "outer", "at"):
        assert not hasattr(cupy.multiply, name)


def test_functions_take_no_more_keyword_arguments_than_cupys():
    a = on_device(2, 3)
    mask = a > 0
    for call in (lambda: cupy.exp(a, where=mask), lambda: cupy.add(a, a, casting="unsafe"),
                 lambda: cupy.tanh(a, order="C"), lambda: cupy.sum(a, where=mask), lambda: cupy.sum(a, initial=0),
                 lambda: cupy.max(a, dtype=float), lambda: a.sum(where=mask), lambda: a.max(initial=0),
                 lambda: cupy.zeros(3, like=a), lambda: cupy.argsort(a, stable=True), lambda: a.argsort(kind="stable"),
                 lambda: cupy.take(a, mask, mode="clip"), lambda: cupy.clip(a, min=0, max=1),
                 lambda: cupy.matmul(a, a.T, where=mask), lambda: cupy.array(a, like=a), lambda: a.item(0)):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="stable"):
        cupy.argsort(a, kind="quicksort")


# --- results are arrays

@pytest.mark.parametrize("function", [
    cupy.sum, cupy.mean, cupy.max, cupy.min, cupy.prod, cupy.all, cupy.any, cupy.argmax, cupy.argmin, cupy.std,
    cupy.var,
    lambda a: cupy.vdot(a, a), lambda a: a[0].dot(a[1]), lambda a: a[0] @ a[1], lambda a: a[1, 2], lambda a: a[0][0],
    lambda a: a[cupy.asarray(1), cupy.asarray(2)], lambda a: cupy.sqrt(a.sum()), lambda a: a.sum() * 2,
    lambda a: cupy.take(a, 1), lambda a: cupy.array_equal(a, a), lambda a: cupy.allclose(a, a),
    lambda a: cupy.array_equal(a, a[0]), lambda a: cupy.random.default_rng(0).random(),
])
def test_single_numbers_are_arrays_without_dimensions(function):
    number = function(on_device(2, 3))
    assert type(number) is cupy.ndarray and number.shape == ()


def test_results_lie_in_c_order():
    a = on_device(4, 3).T
    for result in (a + 1, cupy.tanh(a), a[cupy.asarray([0, 2])], a[:, cupy.asarray([0, 2])], cupy.where(a > 0, a, 0)):
        assert result.flags.c_contiguous


# --- what is counted

def grid(rows=4, columns=6):
    return cupy.asarray(numpy.arange(rows * columns, dtype=numpy.float32).reshape(rows, columns))


def assigned(a, key, value):
    a[key] = value


def in_place(a, key):
    a[key] += 1


IDS, RNG = cupy.asarray([2, 0, 1]), cupy.random.default_rng(0)
#                                                        launches, copies, synchronisations, transfers
COUNTS = {
    "ufunc": (lambda a: cupy.tanh(a), (1, 0, 0, 0)),
    "operator": (lambda a: a + a, (1, 0, 0, 0)),
    "no elements": (lambda a: a[:0] + 1, (0, 0, 0, 0)),
    "in place": (lambda a: a.__iadd__(a), (1, 0, 0, 0)),
    "out elsewhere": (lambda a: cupy.exp(a[:2], out=a[2:]), (1, 0, 0, 0)),
    "out overlaps an operand": (lambda a: cupy.exp(a[:2], out=a[1:3]), (2, 1, 0, 0)),
    "sum": (lambda a: a.sum(), (1, 0, 0, 0)),
    "sum, out, by CUB": (lambda a: cupy.sum(a, axis=1, out=cupy.empty(4, "f")), (2, 0, 0, 0)),
    "sum, out": (lambda a: cupy.sum(a, axis=0, out=cupy.empty(6, "f")), (1, 0, 0, 0)),
    "sum, out, of a transpose": (lambda a: cupy.sum(a.T, axis=0, out=cupy.empty(4, "f")), (2, 0, 0, 0)),
    "sum, out, of a slice": (lambda a: cupy.sum(a[:, 1:], out=cupy.empty((), "f")), (1, 0, 0, 0)),
    "mean": (lambda a: a.mean(), (2, 0, 0, 0)),
    "mean over rows": (lambda a: a.mean(axis=0), (1, 0, 0, 0)),
    "argmax": (lambda a: a.argmax(), (2, 0, 0, 0)),
    "argmax of rows": (lambda a: a.argmax(axis=1), (1, 0, 0, 0)),
    "cumsum": (lambda a: a.cumsum(axis=0), (2, 0, 0, 0)),
    "std": (lambda a: a.std(), (4, 0, 0, 0)),
    "matmul": (lambda a: a @ a.T, (1, 0, 0, 0)),
    "matmul of transposes": (lambda a: a[1:].T @ a[1:], (1, 0, 0, 0)),
    "matmul of columns": (lambda a: a[:, 1:] @ a[:, 1:].T, (3, 2, 0, 0)),
    "matmul of every second": (lambda a: a[0, ::2] @ a[:3], (2, 1, 0, 0)),
    "matmul of two dtypes": (lambda a: a @ IDS.astype("d").repeat(2), (4, 1, 0, 0)),
    "matmul to one number": (lambda a: a[0] @ a[1], (3, 0, 0, 0)),
    "matmul, out": (lambda a: cupy.matmul(a, a.T, out=cupy.empty((4, 4), "f")), (1, 0, 0, 0)),
    "matmul, out not contiguous": (lambda a: cupy.matmul(a, a.T, out=cupy.empty((4, 5), "f")[:, 1:]), (2, 1, 0, 0)),
    "matmul, out transposed": (lambda a: cupy.matmul(a, a.T, out=cupy.empty((4, 4), "f").T), (2, 1, 0, 0)),
    "matmul, out of another dtype": (lambda a: cupy.matmul(a, a.T, out=cupy.empty((4, 4))), (2, 1, 0, 0)),
    "matmul, out overlaps": (lambda a: cupy.matmul(a, a.T, out=a.reshape(6, 4)[2:]), (2, 1, 0, 0)),
    "batched matmul": (lambda a: a.reshape(2, 2, 6) @ a.reshape(2, 6, 2), (1, 0, 0, 0)),
    "batched matmul of transposes": (lambda a: a.reshape(2, 6, 2).swapaxes(1, 2) @ a.reshape(2, 6, 2), (2, 1, 0, 0)),
    "batched matmul of reversed axes": (lambda a: a.reshape(2, 2, 6).T @ a.reshape(2, 2, 6).T, (3, 2, 0, 0)),
    "batched matmul with one": (lambda a: a.reshape(2, 2, 6) @ a.reshape(6, 4), (4, 0, 0, 0)),
    "vdot": (lambda a: cupy.vdot(a, a), (3, 0, 0, 0)),
    "vdot of a slice": (lambda a: cupy.vdot(a[:, 1:], a[:, 1:]), (5, 2, 0, 0)),
    "einsum": (lambda a: cupy.einsum("ij->i", a), (1, 0, 0, 0)),
    "slice": (lambda a: a[1:3, ::2], (0, 0, 0, 0)),
    "element": (lambda a: a[1, 2], (0, 0, 0, 0)),
    "None": (lambda a: a[:, None], (0, 0, 0, 0)),
    "views": (lambda a: (a.T, a.swapaxes(0, 1), a.transpose(1, 0), cupy.broadcast_to(a, (2, 4, 6)), cupy.flip(a),
                         cupy.expand_dims(a, 0), cupy.moveaxis(a, 0, 1), a[:1].squeeze()), (0, 0, 0, 0)),
    "reshape": (lambda a: a.reshape(6, -1).reshape((24,)), (0, 0, 0, 0)),
    "reshape of a transpose": (lambda a: a.T.reshape(-1), (1, 1, 0, 0)),
    "ravel": (lambda a: a.ravel(), (0, 0, 0, 0)),
    "ravel of a slice": (lambda a: cupy.ravel(a[:, 1:]), (1, 1, 0, 0)),
    "flatten": (lambda a: a.flatten(), (1, 0, 0, 0)),
    "copy": (lambda a: cupy.copy(a), (1, 0, 0, 0)),
    "deepcopy": (copy.deepcopy, (1, 0, 0, 0)),
    "astype": (lambda a: a.astype("f"), (1, 0, 0, 0)),
    "astype, no copy": (lambda a: a.astype("f", copy=False), (0, 0, 0, 0)),
    "ascontiguousarray": (lambda a: cupy.ascontiguousarray(a), (0, 0, 0, 0)),
    "ascontiguousarray of a transpose": (lambda a: cupy.ascontiguousarray(a.T), (1, 0, 0, 0)),
    "empty": (lambda a: (cupy.empty(3), cupy.empty_like(a), cupy.ndarray((2, 3))), (0, 0, 0, 0)),
    "new": (lambda a: (cupy.zeros(3), cupy.ones(3), cupy.full(3, 2), cupy.arange(3), cupy.zeros_like(a)), (5, 0, 0, 0)),
    "eye": (lambda a: cupy.eye(3), (2, 0, 0, 0)),
    "asarray of NumPy": (lambda a: cupy.asarray(numpy.ones(3)), (0, 0, 0, 1)),
    "array of numbers": (lambda a: cupy.array([1, 2]), (0, 0, 0, 1)),
    "asarray": (lambda a: cupy.asarray(a), (0, 0, 0, 0)),
    "array": (lambda a: cupy.array(a), (1, 0, 0, 0)),
    "fill": (lambda a: a.fill(0), (1, 0, 0, 0)),
    "assign a number": (lambda a: assigned(a, 1, 2.5), (1, 0, 0, 0)),
    "assign an array": (lambda a: assigned(a, slice(1, 3), a[0]), (1, 0, 0, 0)),
    "assign to itself": (lambda a: assigned(a, slice(1, 3), a[1:3]), (0, 0, 0, 0)),
    "assign overlapping": (lambda a: assigned(a, (slice(None), slice(1, None)), a[:, :-1]), (2, 1, 0, 0)),
    "in place, slice": (lambda a: in_place(a, slice(1, 3)), (1, 0, 0, 0)),
    "in place, slice of one row": (lambda a: in_place(a, slice(1, 2)), (3, 1, 0, 0)),
    "index": (lambda a: a[IDS], (1, 0, 0, 0)),
    "two indices": (lambda a: a[IDS, IDS], (4, 0, 0, 0)),
    "take": (lambda a: a.take(IDS, axis=0), (1, 0, 0, 0)),
    "assign at an index": (lambda a: assigned(a, IDS, a[:3]), (1, 0, 0, 0)),
    "assign at two indices": (lambda a: assigned(a, (IDS, IDS), a[0, :3]), (4, 0, 0, 0)),
    "assign a number at an index": (lambda a: assigned(a, IDS, 0), (1, 0, 0, 1)),
    "assign another dtype at an index": (lambda a: assigned(a, (0, IDS), IDS), (2, 1, 0, 0)),
    "in place, index": (lambda a: in_place(a, IDS), (3, 0, 0, 0)),
    "add.at": (lambda a: cupy.add.at(a, IDS, a[:3]), (1, 0, 0, 0)),
    "add.reduceat": (lambda a: cupy.add.reduceat(a, cupy.arange(0, 4, 2)), (14, 0, 0, 1)),
    "where": (lambda a: cupy.where(a, a, 0.0), (2, 1, 0, 0)),
    "clip": (lambda a: cupy.clip(a, 0, 1), (1, 0, 0, 0)),
    "copyto": (lambda a: cupy.copyto(a, 0, where=a > 0), (2, 0, 0, 0)),
    "concatenate": (lambda a: cupy.concatenate((a, a, a)), (3, 0, 0, 0)),
    "concatenate of many": (lambda a: cupy.concatenate([a] * 9), (1, 0, 0, 1)),
    "concatenate of many sizes": (lambda a: cupy.concatenate([a] * 9 + [a[:1]]), (1, 0, 0, 3)),
    "stack": (lambda a: cupy.stack((a, a)), (2, 0, 0, 0)),
    "repeat": (lambda a: a.repeat(2), (1, 0, 0, 0)),
    "repeat along an axis": (lambda a: a.repeat(2, axis=0), (4, 0, 0, 0)),
    "tile": (lambda a: cupy.tile(a, 2), (1, 0, 0, 0)),
    "tril": (lambda a: cupy.tril(a), (3, 1, 0, 0)),
    "isclose": (lambda a: cupy.isclose(a, a), (1, 0, 0, 0)),
    "allclose": (lambda a: cupy.allclose(a, a), (2, 0, 0, 0)),
    "array_equal": (lambda a: cupy.array_equal(a, a), (2, 0, 0, 0)),
    "random": (lambda a: cupy.random.default_rng(1).random(3), (2, 0, 0, 0)),
    "random, out": (lambda a: RNG.random(out=cupy.empty(3)), (2, 1, 0, 0)),
    "sort": (lambda a: cupy.sort(a), (7, 0, 1, 0)),
    "argsort": (lambda a: IDS.argsort(), (12, 0, 1, 0)),
    # the host waits
    "float": (lambda a: float(a[0, 0]), (0, 0, 1, 1)),
    "int": (lambda a: int(a[0, 0]), (0, 0, 1, 1)),
    "bool": (lambda a: bool(a[0, 0]), (0, 0, 1, 1)),
    "complex": (lambda a: complex(a[0, 0]), (0, 0, 1, 1)),
    "if": (lambda a: 1 if a[0, 0] > 0 else 2, (1, 0, 1, 1)),
    "item": (lambda a: a[0, 0].item(), (0, 0, 1, 1)),
    "tolist": (lambda a: a.tolist(), (0, 0, 1, 1)),
    "get": (lambda a: a.get(), (0, 0, 1, 1)),
    "get of a transpose": (lambda a: a.T.get(), (1, 1, 1, 1)),
    "asnumpy": (lambda a: cupy.asnumpy(a), (0, 0, 1, 1)),
    "repr": (repr, (0, 0, 1, 1)),
    "str": (str, (0, 0, 1, 1)),
    "format": (lambda a: f"{a[0, 0]:.2f}", (0, 0, 1, 1)),
    "pickle": (pickle.dumps, (0, 0, 1, 1)),
    "in": (lambda a: 2 in a[0], (3, 0, 3, 3)),
    "mask": (lambda a: a[a > 0], (3, 0, 1, 1)),
    "mask of rows": (lambda a: a[cupy.ones(4, bool)], (4, 0, 1, 1)),
    "assign a number at a mask": (lambda a: assigned(a, a > 0, 0), (3, 0, 1, 2)),
    "nonzero": (lambda a: a.nonzero(), (3, 0, 1, 1)),
    "flatnonzero": (lambda a: cupy.flatnonzero(a > 0), (3, 0, 1, 1)),
    "where without choices": (lambda a: cupy.where(a), (3, 0, 1, 1)),
    "unique": (lambda a: cupy.unique(a), (1 + 6 + 1 + 1 + 2, 0, 2, 1)),
    "shares_memory": (lambda a: cupy.shares_memory(a, a), (16, 0, 1, 1)),
    "deviceSynchronize": (lambda a: cupy.cuda.runtime.deviceSynchronize(), (0, 0, 1, 0)),
    "may_share_memory": (lambda a: cupy.may_share_memory(a, a), (0, 0, 0, 0)),
    "iteration": (lambda a: [row for row in a], (0, 0, 0, 0)),
    "shape": (lambda a: (a.shape, a.ndim, a.size, len(a), a.dtype, a.strides, a.nbytes, a.data.ptr), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("function, expected", COUNTS.values(), ids=COUNTS.keys())
def test_counts(function, expected):
    counts = counted(function, grid())
    assert (counts.launches, counts.copies, counts.synchronisations, counts.transfers) == expected, counts


def test_blocks_count_what_is_in_them_and_say_what_it_was():
    a = grid()
    total = cupy.counts.launches
    with cupy.counting() as outer:
        cupy.tanh(a)
        with cupy.counting() as inner:
            cupy.exp(a + 1)
            float(a.sum())
        cupy.tanh(a)
    cupy.tanh(a)
    assert inner.launches == 3 and outer.launches == 5 and cupy.counts.launches == total + 6
    assert inner.names == {"exp": 1, "add": 1, "sum": 1, "float: transfer": 1, "float: synchronisation": 1}


# --- memory

@pytest.mark.parametrize("dtype", ["f", "d", "i", "q", "?"])
def test_uninitialised_memory_is_poisoned(dtype):
    zeros = cupy.zeros((2, 3), dtype)
    for a in (cupy.empty((2, 3), dtype), cupy.empty_like(zeros), cupy.ndarray((2, 3), dtype)):
        assert a.dtype == zeros.dtype
        poison = a.get()
        assert numpy.isnan(poison).all() if dtype in "fd" else poison.all() and (dtype == "?" or poison.min() > 2**30)


def test_views_share_memory():
    a = grid()
    b = a[1:3]
    b += 1
    a.T[0][...] = -1
    a[0, 1:3].reshape(2, 1)[0] = 50
    expected = numpy.arange(24, dtype=numpy.float32).reshape(4, 6)
    expected[1:3] += 1
    expected[:, 0] = -1
    expected[0, 1] = 50
    assert numpy.array_equal(a.get(), expected)
    assert b.base is a and b.T.base is a and a.base is None and (a + 1).base is None and not b.flags.owndata
    assert b.data.ptr == a.data.ptr + 24 and b.T.strides == (4, 24) and b.nbytes == 48
    assert a.flags.c_contiguous and not a.flags.f_contiguous and a.T.flags.f_contiguous and a.flags.owndata
    assert cupy.shares_memory(a, b) and not cupy.shares_memory(a[:1], b) and cupy.may_share_memory(a[:, 0], a[:, 1])
    with pytest.raises(ValueError):
        cupy.broadcast_to(a[0], (4, 6))[...] = 0


def test_a_copy_within_overlapping_memory_is_refused():
    a = cupy.arange(5.0)
    with pytest.raises(RuntimeError, match="overlapping"):
        a[1:] = a[:-1]
    assert a.tolist() == [0, 1, 2, 3, 4]


def test_pickles_and_copies():
    a = grid()
    assert numpy.array_equal(pickle.loads(pickle.dumps(a)).get(), a.get())
    b = copy.deepcopy(a)
    b[...] = 0
    assert a.get().sum() > 0


# --- indices

@pytest.mark.parametrize("key", [
    [0, 1], ([0, 1], 2), numpy.array([0, 1]), numpy.array(1), (slice(None), numpy.array([1])), True,
    numpy.bool_(True), 1.0, (0, (1, 2)), "x", slice(cupy.asarray(1), None),
], ids=repr)
def test_an_index_that_is_not_on_the_device_is_refused(key):
    a = grid()
    with pytest.raises(TypeError):
        a[key]
    with pytest.raises(TypeError):
        a[key] = 0


def test_index_arrays_are_integers_or_one_mask():
    a = grid()
    with pytest.raises(IndexError, match="integer or boolean"):
        a[cupy.asarray([0.0, 1.0])]
    with pytest.raises(NotImplementedError):
        a[cupy.ones(4, bool), cupy.zeros(4, int)]


@pytest.mark.parametrize("ids", [[0, 4], [-5, 0], [2**62]])
def test_ids_out_of_range_raise(ids):
    a, ids = grid(), cupy.asarray(ids)
    for call in (lambda: a[ids], lambda: a[ids, ids], lambda: cupy.take(a, ids, axis=0), lambda: assigned(a, ids, 0.0),
                 lambda: cupy.add.at(a, ids, 1.0), lambda: a[cupy.empty(2, int)], lambda: a[4]):
        with pytest.raises(IndexError):
            call()


KEYS = {
    "ints": lambda ids: (1, -1),
    "slices": lambda ids: (slice(None, None, -1), slice(1, 5, 2)),
    "ellipsis": lambda ids: ...,
    "None": lambda ids: (None, 1),
    "ids": lambda ids: ids,
    "ids of columns": lambda ids: (slice(1, None), ids),
    "two": lambda ids: (ids, ids),
    "table": lambda ids: (ids[:, None], ids),
    "separated": lambda ids: (ids, None, ids),
    "one id": lambda ids: ids[0],
    "numpy integer": lambda ids: numpy.int64(2),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_indices_read_and_write_where_numpys_do(key):
    ids = numpy.array([3, -2, 1])
    a, memory = grid(), grid().get()
    device_key, host_key = key(cupy.asarray(ids)), key(ids)
    read = a[device_key]
    assert numpy.array_equal(read.get(), memory[host_key]) and read.shape == memory[host_key].shape
    values = numpy.arange(memory[host_key].size, dtype=numpy.float32).reshape(memory[host_key].shape) + 100
    a[device_key] = cupy.asarray(values)
    memory[host_key] = values
    assert numpy.array_equal(a.get(), memory)
    if read.size and isinstance(device_key, cupy.ndarray):
        assert not cupy.shares_memory(read, a)


def test_a_mask_reads_and_writes():
    a = grid()
    assert a[a > 20].tolist() == [21, 22, 23]
    a[a > 20] = cupy.asarray([1.0, 2.0, 3.0])
    assert a[3].tolist() == [18, 19, 20, 1, 2, 3]
    a.T[a.T > 18] = 0
    assert a[3].tolist() == [18, 0, 0, 1, 2, 3]


def test_any_of_the_values_for_one_place_may_stay():
    ids, values = cupy.asarray([1] * 8 + [0]), cupy.arange(9.0)
    kept = set()
    for _ in range(60):
        a = cupy.zeros((2, 2))
        a[ids] = cupy.broadcast_to(values[:, None], (9, 2))
        assert a[0].tolist() == [8, 8]
        kept.add(tuple(a[1].tolist()))
    assert len(kept) > 20 and {x for pair in kept for x in pair} == set(range(8))  # each element for itself
    a[ids] = 5.0
    assert a.tolist() == [[5, 5], [5, 5]]


def test_updates_of_one_place_get_lost_but_not_by_add_at():
    ids = cupy.asarray([1, 1, 1, 0])
    a = cupy.zeros(3)
    a[ids] += 1
    assert a.tolist() == [1, 1, 0]
    cupy.add.at(a, ids, cupy.asarray([1.0, 10.0, 100.0, 1000.0]))
    assert a.tolist() == [1001, 112, 0]
    table = cupy.zeros((3, 2), "f").T
    cupy.add.at(table, (slice(None), ids), cupy.ones((2, 4), "f"))
    assert table.tolist() == [[1, 3, 0], [1, 3, 0]]


def test_add_at_adds_in_a_random_order():
    ids, values = cupy.zeros(100, int), on_device(100)

    def total():
        a = cupy.zeros(1, "f")
        cupy.add.at(a, ids, values)
        return a.item()

    assert len({total() for _ in range(20)}) > 1


def test_add_at_takes_the_dtypes_that_atomic_additions_have():
    with pytest.raises(TypeError, match="int64"):
        cupy.add.at(cupy.zeros(3, int), cupy.asarray([0]), cupy.asarray([1]))


def test_add_reduceat_has_the_rounding_errors_of_running_sums():
    starts = numpy.array([0, 2, 2, 3])
    exact = cupy.add.reduceat(grid(), cupy.asarray(starts))
    assert numpy.array_equal(exact.get(), numpy.add.reduceat(grid().get(), starts, axis=0))
    a = cupy.asarray(numpy.array([1e8, 1, 1], numpy.float32))
    assert cupy.add.reduceat(a, cupy.asarray([0, 1])).tolist() == [1e8, 0]


# --- numbers are NumPy's

A, B = numpy.random.default_rng(1).uniform(0.1, 3, (2, 3, 4))
SMALL = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"}


@pytest.mark.parametrize("name", [name for name in dir(cupy) if type(getattr(cupy, name)) is cupy.ufunc])
def test_elementwise_functions(name):
    on_host, on_gpu = getattr(numpy, name), getattr(cupy, name)
    operands = [x.astype(int) if name in SMALL else x for x in (A, B)[:on_host.nin]]
    arrays = [cupy.asarray(x) for x in operands]
    expected = on_host(*operands)
    assert numpy.array_equal(on_gpu(*arrays).get(), expected)
    out = cupy.empty(expected.shape, expected.dtype)
    assert on_gpu(*arrays, out=out) is out and numpy.array_equal(out.get(), expected)
    assert on_gpu(*arrays, out) is out


def test_ufuncs_take_out_and_dtype():
    a = cupy.asarray(A)
    assert cupy.exp(a, dtype="f").dtype == numpy.float32
    with pytest.raises(ValueError):
        cupy.exp(a, out=cupy.empty(3))
    with pytest.raises(TypeError):
        cupy.exp(a, out=cupy.empty((3, 4), int))
    with pytest.raises(TypeError, match="2 operands"):
        cupy.add(a)
    b = a.copy()
    cupy.multiply(b[:2], 2.0, out=b[1:])
    assert numpy.array_equal(b.get()[1:], 2 * A[:2])


FUNCTIONS = {
    "sum": lambda m, a: m.sum(a, axis=0, keepdims=True),
    "sum, dtype": lambda m, a: m.sum(a, dtype="f"),
    "mean": lambda m, a: m.mean(a, axis=(0, 1)),
    "max": lambda m, a: a.max(axis=1),
    "min": lambda m, a: m.min(a),
    "prod": lambda m, a: m.prod(a, axis=-1),
    "argmax": lambda m, a: a.argmax(axis=1),
    "argmin": lambda m, a: m.argmin(a),
    "all": lambda m, a: (a > 0).all(),
    "any": lambda m, a: m.any(a > 2.5, axis=0),
    "std": lambda m, a: a.std(axis=0),
    "var": lambda m, a: m.var(a, axis=1, ddof=1),
    "cumsum": lambda m, a: a.cumsum(axis=1),
    "matmul": lambda m, a: a @ a.T,
    "vector": lambda m, a: a @ a[0],
    "dot": lambda m, a: m.dot(a[0], a.T),
    "vdot": lambda m, a: m.vdot(a, a),
    "einsum": lambda m, a: m.einsum("ij->j", a),
    "full": lambda m, a: m.full((2, 3), 4),
    "full_like": lambda m, a: m.full_like(a, 4),
    "eye": lambda m, a: m.eye(3, k=1),
    "ones_like": lambda m, a: m.ones_like(a, dtype=int),
    "arange": lambda m, a: m.arange(1, 8, 3),
    "ones": lambda m, a: m.ones(3),
    "broadcast_to": lambda m, a: m.broadcast_to(a, (2, 3, 4)),
    "expand_dims": lambda m, a: m.expand_dims(a, 1),
    "flip": lambda m, a: m.flip(a, axis=1),
    "moveaxis": lambda m, a: m.moveaxis(a, 0, 1),
    "squeeze": lambda m, a: m.squeeze(a[:1]),
    "swapaxes": lambda m, a: a.swapaxes(0, 1),
    "transpose": lambda m, a: m.transpose(a, axes=(1, 0)),
    "reshape": lambda m, a: m.reshape(a.T, (2, 6)),
    "ravel": lambda m, a: a.T.ravel(),
    "flatten": lambda m, a: a.T.flatten(),
    "ascontiguousarray": lambda m, a: m.ascontiguousarray(a.T),
    "clip": lambda m, a: m.clip(a, 1, 2),
    "where": lambda m, a: m.where(a > 1, a, -a),
    "repeat": lambda m, a: a.repeat(2, axis=1),
    "tile": lambda m, a: m.tile(a, (2, 1)),
    "tril": lambda m, a: m.tril(a),
    "triu": lambda m, a: m.triu(a, k=1),
    "flatnonzero": lambda m, a: m.flatnonzero(a > 1),
    "concatenate": lambda m, a: m.concatenate((a, a), axis=1),
    "stack": lambda m, a: m.stack((a, a), axis=1),
    "many": lambda m, a: m.concatenate([a] * 10),
    "take": lambda m, a: m.take(a, m.asarray([2, 0]), axis=1),
    "take_along_axis": lambda m, a: m.take_along_axis(a, m.argsort(a, axis=1), axis=1),
    "sort": lambda m, a: m.sort(a),
    "argsort": lambda m, a: m.argsort(a, axis=0, kind="stable"),
    "unique": lambda m, a: m.unique(m.round(a) if m is numpy else m.rint(a)),
    "nonzero": lambda m, a: m.stack(m.nonzero(a > 1)),
    "isclose": lambda m, a: m.isclose(a, a + 1e-9),
    "allclose": lambda m, a: m.asarray(m.allclose(a, a + 1)),
    "array_equal": lambda m, a: m.asarray(m.array_equal(a, a)),
    "power": lambda m, a: 2 ** a - a ** 2,
    "operators": lambda m, a: -abs(-a) // 2 % 3 + ~(a < 1),
    "copy": lambda m, a: m.copy(a),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_functions(function):
    expected, got = function(numpy, A), function(cupy, cupy.asarray(A))
    assert got.dtype == expected.dtype and got.shape == expected.shape
    assert numpy.allclose(got.get(), expected, rtol=1e-12)


def test_a_product_has_the_shape_of_out():
    a = grid()
    for shape in ((4, 5), (2, 4, 4), (4,)):
        with pytest.raises(ValueError, match=r"wanted \(4, 4\)"):
            cupy.matmul(a, a.T, out=cupy.empty(shape, "f"))


def test_comparing_arrays():
    a = cupy.asarray([1.0, numpy.nan])
    assert not cupy.array_equal(a, a) and cupy.array_equal(a, a, equal_nan=True)
    assert not cupy.array_equal(a, cupy.asarray([numpy.nan, 1.0]), equal_nan=True) and not cupy.array_equal(a, a[:1])


def test_copyto_takes_a_mask():
    a = cupy.arange(4.0)
    cupy.copyto(a, cupy.zeros(4), where=a > 1)
    assert a.tolist() == [0, 1, 0, 0]
    with pytest.raises(TypeError):
        cupy.copyto(cupy.arange(4), a)


def test_only_numbers_go_to_the_device():
    for thing in ("abc", [None], numpy.array(["a"]), numpy.array([{}])):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cupy.array(thing)


def test_the_device_has_its_own_memory():
    numbers = numpy.arange(3.0)
    a = cupy.asarray(numbers)
    numbers[0], back = 5, a.get()
    back[1] = 5
    assert a.tolist() == [0, 1, 2]


def test_argsort_is_stable():
    keys = numpy.random.default_rng(0).integers(3, size=1000)
    assert numpy.array_equal(cupy.asarray(keys).argsort().get(), keys.argsort(kind="stable"))


def test_sorting_in_place_needs_contiguous_memory():
    with pytest.raises(NotImplementedError):
        grid().T.sort()


# --- random numbers

def test_the_generator_repeats_and_is_not_numpys():
    first, second = cupy.random.default_rng(3), cupy.random.default_rng(3)
    draws = first.random(1000, dtype=numpy.float32)
    assert draws.dtype == numpy.float32 and 0 <= float(draws.min()) and float(draws.max()) < 1
    assert cupy.array_equal(draws, second.random(1000, dtype=numpy.float32))
    numpys = numpy.random.default_rng(3).random(5)
    assert not cupy.allclose(cupy.random.default_rng(3).random(5), cupy.asarray(numpys))
    out = cupy.empty((2, 3))
    assert first.random(out=out) is out and not bool(cupy.isnan(out).any())
    with pytest.raises(ValueError):
        first.random(out=cupy.empty(3, "f"))
    normal = first.standard_normal((1000,), dtype=numpy.float32)
    assert normal.dtype == numpy.float32 and abs(float(normal.mean())) < 0.2
    assert counted(first.uniform, -1, 1, 3).transfers == 2
    assert set(first.integers(2, 5, size=100).tolist()) == {2, 3, 4}
    assert float(first.exponential(2.0, size=100).min()) > 0
    assert launches(first.random, 3) == launches(first.standard_normal, 3) == 1


# --- fused functions

def cell(a, b, c_prev):
    """An LSTM cell in little."""
    f, g = 1 / (1 + cupy.exp(-a)), cupy.tanh(b)
    c = f * c_prev + (1 - f) * g
    return cupy.where(c > 0, c, cupy.minimum(c, 0) * 0.5), c


def test_a_fused_function_is_one_launch():
    a, b, c = on_device(2, 3), on_device(2, 3, seed=1), on_device(2, 3, seed=2)
    expected = cell(a, b, c)
    fused = cupy.fuse(cell)
    counts = counted(fused, a, b, c)
    assert (counts.launches, counts.transfers, counts.names) == (1, 0, {"fused cell": 1})
    for got, want in zip(fused(a, b, c), expected):
        assert got.dtype == numpy.float32 and numpy.array_equal(got.get(), want.get())
    assert fused.__name__ == "cell" and launches(fused, *(x[:0] for x in (a, b, c))) == 0
    assert counted(cupy.fuse(kernel_name="gates")(cell), a, b, c).names == {"fused gates": 1}
    assert counted(cupy.fuse()(cell), a, b, c).names == {"fused cell": 1}


@pytest.mark.parametrize("name", ["double", "<lambda>", "2nd", "größe"])
def test_a_kernel_whose_name_is_none_in_cpp(name):
    with pytest.raises(ValueError, match=rf"^C\+\+ takes {name} as no name of a function"):
        cupy.fuse(kernel_name=name)(lambda x: 2 * x)


def test_a_fused_function_broadcasts_to_one_shape():
    a, b = on_device(2, 3), on_device(3)
    double, total = cupy.fuse(lambda x, y: (y * 2, x + y))(a, b)
    assert double.shape == total.shape == (2, 3) and double.flags.c_contiguous
    assert numpy.array_equal(double.get()[1], b.get() * 2)
    assert cupy.fuse(lambda x, y: x * y)(a, b.sum()).shape == (2, 3)
    norm = cupy.fuse(lambda x: cupy.minimum(1 / (cupy.sqrt(x) + 1e-6), 1))(a.sum() ** 2)
    assert norm.shape == () and norm.dtype == numpy.float32
    with pytest.raises(ValueError):
        cupy.fuse(lambda x, y: x + y)(a, on_device(4))


def test_a_fused_function_writes_into_its_arguments():
    state, gradient = on_device(4, 6), on_device(4, 3)

    @cupy.fuse()
    def update(param, grad, memory):
        memory *= 0.9
        memory += grad
        param[...] = param - memory
        grad[:] = 0

    before = state.get()
    assert update(state[:, :3], gradient, state[:, 3:]) is None
    memory = before[:, 3:] * numpy.float32(0.9) + on_device(4, 3).get()
    assert numpy.allclose(state.get()[:, 3:], memory) and not gradient.get().any()
    assert numpy.allclose(state.get()[:, :3], before[:, :3] - memory)


def test_what_a_fused_function_returns_is_new():
    a = on_device(3)
    same, again = cupy.fuse(lambda x: (x, x))(a)
    assert not cupy.shares_memory(same, a) and not cupy.shares_memory(same, again)


def test_fused_functions_nest_as_calls():
    inner = cupy.fuse(lambda x: cupy.exp(x) * 2)
    a = on_device(3)
    outer = cupy.fuse(lambda x: inner(x) + 1)
    assert launches(outer, a) == 1 and numpy.array_equal(outer(a).get(), numpy.exp(a.get()) * 2 + 1)


def test_without_arrays_a_fused_function_is_the_function():
    assert cupy.fuse(lambda x: x * 2)(3) == 6


def test_a_number_given_to_a_fused_function_has_its_own_dtype():
    a = on_device(3)
    assert cupy.fuse(lambda x, lr: x * lr)(a, 0.5).dtype == cupy.fuse(lambda x, n: x * n)(a, 2).dtype == numpy.float64
    assert cupy.fuse(lambda x, lr: x * lr)(a, numpy.float32(0.5)).dtype == numpy.float32
    assert cupy.fuse(lambda x: x * 0.5 + 1)(a).dtype == numpy.float32
    assert cupy.fuse(lambda x, lr: x * (lr * 2.0))(a, numpy.float32(0.5)).dtype == numpy.float64

    @cupy.fuse()
    def step(x, lr):
        x -= lr * x

    step(a, 0.5)
    assert a.dtype == numpy.float32 and numpy.array_equal(a.get(), on_device(3).get() / 2)


@pytest.mark.parametrize("function", TAKEN.values(), ids=TAKEN.keys())
def test_what_the_fuser_takes(function):
    x, y, fused_x, fused_y = (on_device(2, 3, seed=seed) for seed in (0, 1, 0, 1))
    expected, got = function(cupy, x, y), cupy.fuse(lambda x, y: function(cupy, x, y))(fused_x, fused_y)
    for want, have in zip((expected if isinstance(expected, tuple) else (expected,)) + (x, y),
                          (got if isinstance(got, tuple) else (got,)) + (fused_x, fused_y), strict=True):
        assert want is have is None or want.dtype == have.dtype and numpy.allclose(want.get(), have.get(), rtol=1e-6)


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_fuser_refuses(function):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        cupy.fuse(lambda x, y: function(cupy, x, y))(on_device(2, 3), on_device(2, 3))
    assert launches(cupy.tanh, on_device(3)) == 1  # fusing is over


@pytest.mark.parametrize("function", [
    cupy.sum, lambda x: x + IDS, lambda x: (x, None), lambda x: cupy.copyto(x, 0), lambda x: x.ndim,
])
def test_what_the_stand_in_refuses_to_fuse_although_cupy_may(function):
    with pytest.raises((TypeError, AttributeError)):
        cupy.fuse(function)(on_device(3))


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("returning")])
def test_a_fused_function_returns_flat_arrays(name):
    with pytest.raises(TypeError, match="can't return"):
        cupy.fuse(lambda x, y: REFUSED[name](cupy, x, y))(on_device(2, 3), on_device(2, 3))


def test_arguments_of_a_fused_function_are_flat_arrays_and_numbers():
    a, add = on_device(2, 3), cupy.fuse(lambda x, y: x + y)
    for other in ((a, a), [1.0], numpy.ones((2, 3)), "x"):
        with pytest.raises(TypeError):
            add(a, other)
    with pytest.raises(TypeError):
        add(a, y=a)
    assert cupy.fuse(lambda x, y: x * 2 if y is None else x)(a, None).shape == (2, 3)


def test_a_fused_function_may_not_write_where_others_read():
    a = cupy.arange(6.0).reshape(2, 3)

    @cupy.fuse()
    def double(x, y):
        x[...] = y * 2

    with pytest.raises(ValueError, match="another argument reads"):
        double(a[:, :2], a[:, 1:])
    with pytest.raises(ValueError, match="broadcast"):
        double(a[0], a)
    with pytest.raises(TypeError, match="writes to arrays"):
        double(2.0, a)
    double(a, a)
    double(a[:, :1], a[:, 1:2])
    assert a.tolist() == [[4, 2, 4], [16, 8, 10]]
    with pytest.raises(TypeError):
        double(cupy.arange(3), cupy.arange(3.0))


def test_a_fused_function_must_not_change_after_its_first_call():
    rate = 0.5
    scaled = cupy.fuse(lambda x: x * rate)
    a = on_device(3)
    scaled(a)
    scaled(a + 1)
    rate = 0.25
    scaled(a.astype("d"))  # is compiled for itself
    with pytest.raises(RuntimeError, match="first call"):
        scaled(a)


# --- under the shim

@pytest.fixture
def shim(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    np.use("cupy")
    yield
    np.use("numpy")


def test_the_shim_takes_it_for_cupy(shim):
    assert np.backend == "cupy" and np.tanh is cupy.tanh and np.ndarray is cupy.ndarray
    assert not hasattr(np, "counts") and not hasattr(np, "counting") and not hasattr(np, "device")
    np.seed(3)
    state = np.random_state()
    draws = np.rng.random((2, 3), dtype=np.float32)
    np.set_random_state(state)
    assert np.array_equal(np.rng.random((2, 3), dtype=np.float32), draws)
    numbers = numpy.arange(3.0)
    assert np.to_cpu(np.to_device(numbers)).tolist() == numbers.tolist()


def test_a_layer_runs_on_it(shim):
    W, x, dout = (np.to_device(numbers) for numbers in (A.T, A, A[:, :3]))
    layer = MatMul(W)
    with cupy.counting() as counts:
        y, dx = layer.forward(x), layer.backward(dout)
    assert numpy.array_equal(y.get(), A @ A.T) and numpy.array_equal(dx.get(), A[:, :3] @ A)
    assert numpy.array_equal(layer.grads[0].get(), A.T @ A[:, :3])
    assert (counts.launches, counts.copies, counts.synchronisations, counts.transfers) == (3, 0, 0, 0)
    with pytest.raises(ValueError, match=r"numpy.ndarray, wanted an array of cupy"):
        layer.forward(A)


@pytest.mark.parametrize("devices", [0, None])
def test_its_driver_can_be_absent(monkeypatch, devices):
    def count():
        if devices is None:
            raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return devices

    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", count)
    with pytest.raises(Exception, match="finds no GPU"):
        np.use("cupy")
