"""A strict stand-in for CuPy on top of NumPy, for tests on machines without a GPU.

As `sys.modules["cupy"]` it is what `np.use("cupy")` finds (`in_place_of_cupy`). It offers the part of CuPy that this
project needs, and refuses what CuPy accepts to a program's harm: NumPy arrays and lists as
operands, indices or values (a hidden transfer), ids out of range (CuPy wraps them), a fused
function that writes where another argument is read. Memory from `empty` is poisoned, and of several
values assigned to one place any may stay.

In `counts`, and for a block in `with counting() as counts`, it counts

- launches: what the device is given to do, that is kernels, calls of a library, fills and copies
  within the device. A view is none. A sort by radix is a pass for each byte of the key and two more;
- copies: the launches that no line asks for, as that of an operand whose layout in memory a matrix
  product cannot use;
- synchronisations: the host waits for the device, because it needs a value or a length;
- transfers: numbers cross between host and device.

The numbers follow the source of CuPy 13 with CUB, its default accelerator. Where 13 and 14 differ
the stricter one holds: from 13 that `where` copies its condition, that the host waits for a sort,
and that a fused function takes a Python number as float64 or int64; from 14 the dtypes of NumPy 2.
"""
import contextlib
import sys
import types

import device_array as device
import device_fusion
import numpy
from device_array import host, made, matmul, ndarray, result, ufunc, view

counts, counting = device.counts, device.counting
fuse = device_fusion.fuse


@contextlib.contextmanager
def in_place_of_cupy():
    """Let `np.use("cupy")` find the stand-in in a block. What is imported meanwhile stays imported."""
    real = sys.modules.get("cupy")
    sys.modules["cupy"] = sys.modules[__name__]
    try:
        yield
    finally:
        del sys.modules["cupy"]
        if real is not None:
            sys.modules["cupy"] = real


# --- arrays

def array(obj, dtype=None):
    """Bring numbers to the device, or copy an array that is there."""
    if type(obj) is ndarray:
        return obj.astype(obj.dtype if dtype is None else dtype)
    return device.from_host(numpy.asarray(obj, dtype))


def asarray(a, dtype=None):
    if type(a) is ndarray:
        return a.astype(a.dtype if dtype is None else dtype, copy=False)
    return array(a, dtype)


def copy(a):
    if device.trace is not None:
        return device.copy(a)
    host(a)
    return a.copy()


def concatenate(arrays, /, axis=0):
    """Join arrays: a launch for each, but one for more than 8, which reads where they are from tables."""
    parts = [host(array) for array in arrays]
    launches = len(parts)
    if launches > 8 and len({part.dtype for part in parts}) == 1:
        launches = 1
        alike = len({part.shape for part in parts}) == 1 and False not in {part.flags.c_contiguous for part in parts}
        for _ in range(1 if alike else 3):
            device.count_transfer("concatenate")
    return result(numpy.concatenate(parts, axis), "concatenate", launches)


def stack(arrays, /, axis=0):
    return concatenate([view(array, numpy.expand_dims(host(array), axis)) for array in arrays], axis=axis)


def copyto(dst, src, casting="same_kind", where=None):
    where = True if where is None else host(where)
    numpy.copyto(host(dst), device.operand(src), casting=casting, where=where)
    if dst.size:
        device.count("copyto")


# --- choosing and sorting

def where(condition, x=None, y=None):
    """Choose between x and y; without them find the places of what is not zero."""
    if device.trace is not None:
        return device.select(condition, x, y)
    if x is None and y is None:
        return nonzero(condition)
    device.count_copy("where")
    return device.select(device.wrap(host(condition).astype(bool)), x, y)


def nonzero(a):
    """Find the places of what is not zero; the host waits for their number."""
    device.count("nonzero", 2 if host(a).dtype == bool else 3)
    device.count_transfer("nonzero")
    device.count_wait("nonzero")
    return tuple(device.wrap(places) for places in numpy.nonzero(host(a)))


def take(a, indices, axis=None):
    indices = indices if isinstance(indices, (int, numpy.integer)) else host(indices)
    return result(numpy.take(host(a), indices, axis), "take")


def take_along_axis(a, indices, axis):
    key = [made(numpy.arange(n), "arange").reshape([-1 if i == k else 1 for k in range(a.ndim)])
           for i, n in enumerate(a.shape)]
    key[axis] = indices
    return a[tuple(key)]


def sort(a, axis=-1):
    ordered = copy(a)
    ordered.sort(axis)
    return ordered


def argsort(a, axis=-1, kind=None):
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    host(a)
    return a.argsort(axis)


def searchsorted(a, v, side="left"):
    return result(numpy.searchsorted(host(a), host(v), side), "searchsorted")


def unique(ar):
    """Return the values in order, each once; the host waits for their number."""
    values = ar.flatten()
    values.sort()
    is_first = made(numpy.ones(values.shape, bool), "ones")
    device.UFUNCS["not_equal"](values[1:], values[:-1], out=is_first[1:])
    return values[is_first]


# --- sums and products

def var(a, axis=None, *, ddof=0, keepdims=False):
    device.REDUCTIONS["mean"](a, axis, keepdims=True)
    return result(numpy.var(host(a), axis=axis, ddof=ddof, keepdims=keepdims), "var")


def std(a, axis=None, *, ddof=0, keepdims=False):
    return device.UFUNCS["sqrt"](var(a, axis, ddof=ddof, keepdims=keepdims))


def dot(a, b, *, out=None):
    if not (1 <= a.ndim <= 2 and 1 <= b.ndim <= 2):
        raise NotImplementedError(f"dot of {a.ndim} and {b.ndim} dimensions")
    if out is not None and not (out.flags.c_contiguous and out.dtype == numpy.result_type(a.dtype, b.dtype)):
        raise ValueError("out of dot must be C-contiguous and have the dtype of the product")
    return matmul(a, b, out=out)


def vdot(a, b):
    return matmul(device.ravel(a), device.ravel(b))


def einsum(subscripts, a, /):
    """Sum over axes, which is what CuPy makes of one operand."""
    if "," in subscripts or "->" not in subscripts:
        raise NotImplementedError("einsum takes one operand, and subscripts with ->")
    return result(numpy.einsum(subscripts, host(a)), "einsum")


def _add_at(a, indices, b):
    """Add b to a at index arrays, places that come repeatedly too, in a random order."""
    if host(a).dtype.char not in "iILQefd":
        raise TypeError(f"add.at of {a.dtype}")

    def put(target, positions, values):
        flat = target.reshape(-1)
        numpy.add.at(flat, positions, values)
        target[...] = flat.reshape(target.shape)

    device.scatter(a, indices, b, put)


def _add_reduceat(array, indices, axis=0):
    """Sum segments as CuPy does: by differences of running sums, with their rounding errors."""
    if axis != 0:
        raise NotImplementedError("add.reduceat along another axis than the first")
    ends = concatenate((indices[1:], asarray([len(array)])))
    nothing = made(numpy.zeros((1, *array.shape[1:]), array.dtype), "zeros")
    sums = concatenate((nothing, array.cumsum(axis=0)))
    is_segment = (indices < ends).reshape(-1, *(1 for _ in array.shape[1:]))
    return device.select(
        is_segment, take(sums, ends, axis=0) - take(sums, indices, axis=0), take(array, indices, axis=0))


# --- comparisons of whole arrays

def array_equal(a1, a2, equal_nan=False):
    if host(a1).shape != host(a2).shape:
        return array(False)
    if equal_nan:
        is_nan1, is_nan2 = a1 != a1, a2 != a2
        if not array_equal(is_nan1, is_nan2):
            return array(False)
        a1, a2 = a1[~is_nan1], a2[~is_nan2]
    return (a1 == a2).all()


def isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    return result(numpy.isclose(host(a), host(b), rtol, atol, equal_nan), "isclose")


def shares_memory(a, b):
    """Compare the addresses of all elements, which are sorted and searched on the device."""
    device.count("shares_memory", 2 + (8 + 2) + 4)
    device.count_transfer("shares_memory")
    device.count_wait("shares_memory")
    return numpy.shares_memory(host(a), host(b))


# --- functions that need a line each

_functions = {
    # new arrays
    "empty": lambda shape, dtype=float: ndarray(shape, dtype),
    "zeros": lambda shape, dtype=float: made(numpy.zeros(shape, dtype), "zeros"),
    "ones": lambda shape, dtype=float: made(numpy.ones(shape, dtype), "ones"),
    "full": lambda shape, fill_value, dtype=None: made(numpy.full(shape, device.operand(fill_value), dtype), "full"),
    "empty_like": lambda a, /, dtype=None: device.poisoned(numpy.empty_like(host(a), dtype)),
    "zeros_like": lambda a, dtype=None: made(numpy.zeros_like(host(a), dtype), "zeros"),
    "ones_like": lambda a, dtype=None: made(numpy.ones_like(host(a), dtype), "ones"),
    "full_like": lambda a, fill_value, dtype=None: made(
        numpy.full_like(host(a), device.operand(fill_value), dtype), "full"),
    "eye": lambda N, M=None, k=0, dtype=float: made(numpy.eye(N, M, k, dtype), "eye", 2),  # zeros, and the diagonal
    "arange": lambda start, stop=None, step=1, dtype=None: made(
        numpy.arange(*((start,) if stop is None else (start, stop, step)), dtype=dtype), "arange"),
    # views
    "broadcast_to": lambda array, shape: view(array, numpy.broadcast_to(host(array), shape)),
    "expand_dims": lambda a, axis: view(a, numpy.expand_dims(host(a), axis)),
    "flip": lambda a, axis=None: view(a, numpy.flip(host(a), axis)),
    "moveaxis": lambda a, source, destination: view(a, numpy.moveaxis(host(a), source, destination)),
    "squeeze": lambda a, axis=None: view(a, numpy.squeeze(host(a), axis)),
    "swapaxes": lambda a, axis1, axis2: view(a, numpy.swapaxes(host(a), axis1, axis2)),
    "transpose": lambda a, axes=None: view(a, numpy.transpose(host(a), axes)),
    # views where that is possible
    "reshape": lambda a, shape, /: device.reshape(a, shape),
    "ravel": lambda a: device.ravel(a),
    "ascontiguousarray": lambda a: a if host(a).flags.c_contiguous else a.copy(),
    # computed
    "clip": lambda a, a_min, a_max, *, out=None: device.clip(a, a_min, a_max, out=out),
    "cumsum": lambda a, axis=None, dtype=None: result(numpy.cumsum(host(a), axis, dtype), "cumsum", 2),  # a copy first
    "repeat": lambda a, repeats, axis=None: result(  # along an axis: a launch for each place on it
        numpy.repeat(host(a), repeats, axis), "repeat", 1 if axis is None else a.shape[axis]),
    "tile": lambda A, reps: result(numpy.tile(host(A), reps), "tile"),
    "tril": lambda m, k=0: where(made(numpy.tri(*m.shape[-2:], k, bool), "tri"), m, m.dtype.type(0)),
    "triu": lambda m, k=0: where(made(numpy.tri(*m.shape[-2:], k - 1, bool), "tri"), m.dtype.type(0), m),
    "flatnonzero": lambda a: nonzero(device.ravel(a))[0],
    "allclose": lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: isclose(a, b, rtol, atol, equal_nan).all(),
    # what the host knows
    "asnumpy": lambda a: a.get() if type(a) is ndarray else numpy.asarray(a),
    "shape": lambda a: host(a).shape,
    "may_share_memory": lambda a, b: numpy.may_share_memory(host(a), host(b)),
    "result_type": lambda *arrays_and_dtypes: numpy.result_type(
        *(host(arg) if type(arg) is ndarray else arg for arg in arrays_and_dtypes)),
}


# --- random numbers

class _Generator:
    """Random numbers drawn on the device. They are not NumPy's, and the generator's state cannot be had."""

    def __init__(self, seed=None):
        self._rng = numpy.random.Generator(numpy.random.Philox(seed))
        device.count("default_rng")

    def _drawn(self, name, numbers, out):
        if out is None:
            return result(numbers, name)
        if host(out).dtype != numbers.dtype or out.shape != numpy.shape(numbers):
            raise ValueError(f"out of {name} is {out.dtype} of shape {out.shape}, wanted {numbers.dtype} of the size")
        host(out)[...] = numbers
        device.count(name)
        return out

    def random(self, size=None, dtype=numpy.float64, out=None):
        if out is not None:
            device.count_copy("random")
        return self._drawn("random", self._rng.random(_shape(size, out), dtype), out)

    def standard_normal(self, size=None, dtype=numpy.float64, out=None):
        return self._drawn("normal", self._rng.standard_normal(_shape(size, out), dtype), out)

    def uniform(self, low=0.0, high=1.0, size=None, dtype=numpy.float64):
        low, high = asarray(low), asarray(high)
        return (low + (high - low) * self.random(size, dtype)).astype(dtype, copy=False)

    def integers(self, low, high=None, size=None, dtype=numpy.int64, endpoint=False):
        return result(self._rng.integers(low, high, _shape(size), dtype, endpoint), "integers", 2)

    def exponential(self, scale=1.0, size=None):
        return result(self._rng.standard_exponential(_shape(size)), "exponential") * scale


def _shape(size, out=None):
    return size if size is not None else () if out is None else out.shape


_random_state = numpy.random.RandomState()
random = types.SimpleNamespace(
    Generator=_Generator, default_rng=_Generator, seed=_random_state.seed,
    randn=lambda *size: result(_random_state.standard_normal(size), "randn"))


def _gemm(transa, transb, a, b, out=None, alpha=1.0, beta=0.0):
    """Set `out` to alpha a b + beta out; what cuBLAS cannot use is copied, `out` forth and back."""
    if (transa, transb) != ("N", "N") or out is None:
        raise NotImplementedError("the stand-in's gemm takes a and b as they are, and needs out")
    operands, target = [host(a), host(b)], host(out)
    if not a.dtype == b.dtype == out.dtype or a.ndim != 2 or b.ndim != 2 or out.shape != (len(a), b.shape[1]):
        raise AssertionError("gemm takes matrices of one dtype that fit each other")
    if True in [numpy.may_share_memory(target, memory) for memory in operands]:
        raise ValueError("gemm writes where it reads")
    for memory, copies in [*((memory, 1) for memory in operands), (target, 2)]:
        for _ in range(0 if memory.flags.c_contiguous or memory.flags.f_contiguous else copies):
            device.count_copy("gemm")
    numpy.copyto(target, alpha * (operands[0] @ operands[1]) + (beta * target if beta else 0), casting="same_kind")
    if target.size:
        device.count("gemm")
    return out


def _nrm2(x, out=None):
    """Return the norm of a vector, which cuBLAS scales so that no square overflows or underflows."""
    if x.ndim != 1:
        raise ValueError(f"x must be a 1D array (actual: {x.ndim})")
    if x.dtype.char not in "fd":
        raise TypeError("invalid dtype")
    if not host(x).flags.c_contiguous:
        raise AssertionError("nrm2 reads the memory from the first number on, whatever the strides are")
    if out is not None:
        raise NotImplementedError("the stand-in's nrm2 takes no out")
    largest = numpy.abs(host(x)).max(initial=0)
    scaled = host(x) / largest if 0 < largest < numpy.inf else host(x)
    norm = numpy.linalg.norm(scaled) * (largest if scaled is not host(x) else 1)
    return result(norm.astype(x.dtype), "nrm2", 2)  # sums of blocks, and their sum


cublas = types.SimpleNamespace(gemm=_gemm, nrm2=_nrm2)


# --- the driver

class _CUDARuntimeError(RuntimeError):
    """What the driver reports."""


cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
    CUDARuntimeError=_CUDARuntimeError,
    getDeviceCount=lambda: 1,
    driverGetVersion=lambda: 12000,
    runtimeGetVersion=lambda: 12000,
    getDevice=lambda: 0,
    getDeviceProperties=lambda device: {"name": b"no GPU"},
    deviceSynchronize=lambda: device.count_wait("deviceSynchronize"),
))


__version__ = "13 and 14"


# --- all names

_same = {name: getattr(numpy, name) for name in """
    bool_ dtype e finfo float16 float32 float64 floating iinfo inf int8 int16 int32 int64 integer issubdtype nan newaxis
    pi uint8 uint16 uint32 uint64
    """.split()}
_functions |= {function.__name__: function for function in (
    array, array_equal, argsort, asarray, concatenate, copy, copyto, dot, einsum, fuse, isclose, matmul, ndarray,
    nonzero, searchsorted, shares_memory, sort, stack, std, take, take_along_axis, ufunc, unique, var, vdot, where)}
for _name in ("cumsum", "dot", "nonzero", "repeat", "squeeze", "std", "swapaxes", "take", "var"):
    setattr(ndarray, _name, _functions[_name])
for _name, _function in device.REDUCTIONS.items():
    setattr(ndarray, _name, _function)
ndarray.view = lambda a, dtype: view(a, host(a).view(dtype))
device.UFUNCS["add"].at, device.UFUNCS["add"].reduceat = _add_at, _add_reduceat
_names = {"cublas": cublas, "cuda": cuda, "random": random} | _functions | device.UFUNCS | device.REDUCTIONS | _same
globals().update(_names)


def __dir__():
    return sorted(_names)
