"""Arrays on a device that is not there: memory, elementwise functions, indices, reductions, products.

What `strict_cupy` is made of. The memory is NumPy's, and each operation is counted.
"""
import collections
import contextlib
import dataclasses
import operator

import numpy


@dataclasses.dataclass(eq=False)
class Counts:
    """What a program made the device do; see `strict_cupy`.

    `names` has the same numbers by name of the operation.
    """

    launches: int = 0
    copies: int = 0
    synchronisations: int = 0
    transfers: int = 0
    names: collections.Counter = dataclasses.field(default_factory=collections.Counter)


counts = Counts()
_open = [counts]


@contextlib.contextmanager
def counting():
    """Yield the `Counts` of a block."""
    block = Counts()
    _open.append(block)
    try:
        yield block
    finally:
        _open.remove(block)


def count(name, launches=1):
    for each in _open:
        each.launches += launches
        each.names[name] += launches


def count_copy(name):
    count(f"{name}: copy")
    for each in _open:
        each.copies += 1


def count_transfer(name):
    for each in _open:
        each.transfers += 1
        each.names[f"{name}: transfer"] += 1


def count_wait(name):
    for each in _open:
        each.synchronisations += 1
        each.names[f"{name}: synchronisation"] += 1


# --- from device arrays to the memory behind them, and back

SCALARS = (bool, int, float, complex, numpy.number, numpy.bool_)


def host(array):
    """Return the memory of a device array."""
    if type(array) is not ndarray:
        raise TypeError(f"Unsupported type {type(array)}: wanted a cupy.ndarray")
    return array._array


def operand(value):
    """Return the memory of a device array, or a scalar as it is."""
    if type(value) is ndarray:
        return value._array
    return value if isinstance(value, SCALARS) else host(value)


def wrap(memory, base=None):
    array = object.__new__(ndarray)
    array._array, array.base = memory, base
    return array


def view(array, memory):
    return wrap(memory, array if array.base is None else array.base)


def made(memory, name, launches=1):
    """Wrap new memory, and count the launches that filled it."""
    if memory.size:
        count(name, launches)
    return wrap(memory)


def result(computed, name, launches=1):
    """Wrap what NumPy computed in CuPy's form: an array, never a scalar, and in C order."""
    return made(numpy.asarray(computed, order="C"), name, launches)


def poisoned(memory):
    kind = memory.dtype.kind
    memory.fill(numpy.iinfo(memory.dtype).max if kind in "iu" else True if kind == "b" else numpy.nan)
    return wrap(memory)


def from_host(numbers):
    """Bring a NumPy array to the device."""
    if numbers.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {numbers.dtype}")
    count_transfer("array")
    return wrap(numpy.array(numbers, order="C"))


# --- elementwise functions

trace = None  # the trace of the fused function that is being called


class ufunc:
    """An elementwise function. Of NumPy's keyword arguments it takes `out` and `dtype`."""

    def __init__(self, name, on_host, nin):
        self.__name__, self.on_host, self.nin = name, on_host, nin

    def __call__(self, *args, out=None, dtype=None):
        if len(args) == self.nin + 1 and out is None:
            *args, out = args
        if len(args) != self.nin:
            raise TypeError(f"{self.__name__} takes {self.nin} operands, got {len(args)}")
        if trace is not None:
            return trace.call(self, args, out, dtype)
        operands = [operand(arg) for arg in args]
        keywords = {} if dtype is None else {"dtype": dtype}
        if out is None:
            return result(self.on_host(*operands, **keywords), self.__name__)
        target = host(out)
        for arg in args:
            if arg is not out and type(arg) is ndarray and numpy.may_share_memory(arg._array, target):
                count_copy(self.__name__)
        self.on_host(*operands, out=target, **keywords)
        if target.size:
            count(self.__name__)
        return out


UFUNCS = {name: ufunc(name, getattr(numpy, name), getattr(numpy, name).nin) for name in """
    abs absolute add arctan bitwise_and bitwise_or bitwise_xor ceil cos cosh divide equal exp exp2 expm1 fabs floor
    floor_divide fmax fmin greater greater_equal hypot invert isfinite isinf isnan left_shift less less_equal log
    log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative
    not_equal positive power reciprocal remainder right_shift rint sign sin sinh sqrt square subtract tan tanh
    true_divide trunc
    """.split()}
select = ufunc("where", numpy.where, 3)
clip = ufunc("clip", numpy.clip, 3)
copy = ufunc("copy", numpy.array, 1)

BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift",
}
_UNARY = {"neg": "negative", "invert": "invert"}
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal", "gt": "greater", "ge": "greater_equal",
}


def give_operators(cls, reflected, in_place):
    """Define the operators of a class by the elementwise functions."""
    def unary(function):
        return lambda self: function(self)

    def binary(function):
        return lambda self, other: function(self, other)

    def binary_reflected(function):
        return lambda self, other: function(other, self)

    def binary_in_place(function):
        return lambda self, other: function(self, other, self)

    for prefix, names, operator_of in (
            ("", _UNARY, unary), ("", BINARY, binary), ("", _COMPARISONS, binary),
            ("r", reflected, binary_reflected), ("i", in_place, binary_in_place)):
        for name, function in names.items():
            setattr(cls, f"__{prefix}{name}__", operator_of(UFUNCS[function]))


# --- the array

_Flags = collections.namedtuple("_Flags", "c_contiguous f_contiguous owndata")
_Pointer = collections.namedtuple("_Pointer", "ptr")


class ndarray:
    """An array in the memory of the device."""

    __slots__ = ("_array", "base")
    __hash__ = None
    __array_ufunc__ = None  # NumPy's operators and elementwise functions refuse it

    def __new__(cls, shape, dtype=float):
        return poisoned(numpy.empty(shape, dtype))

    shape, dtype, ndim, size, itemsize, nbytes, strides = (
        property(operator.attrgetter(f"_array.{name}"))
        for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides"))

    @property
    def T(self):
        return view(self, self._array.T)

    @property
    def flags(self):
        flags = self._array.flags
        return _Flags(flags.c_contiguous, flags.f_contiguous, self.base is None)

    @property
    def data(self):
        return _Pointer(self._array.ctypes.data)

    def _read(self, name):
        if not self._array.flags.c_contiguous:
            count_copy(name)
        count_transfer(name)
        count_wait(name)
        return self._array.copy()

    def get(self):
        return self._read("get")

    def item(self):
        return self._read("item").item()

    def tolist(self):
        return self._read("tolist").tolist()

    def __format__(self, spec):
        return format(self._read("format"), spec)

    def __reduce__(self):
        return from_host, (self._read("pickle"),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_function__(self, *_):
        return NotImplemented

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        parts, indices = checked_key(key)
        chosen = self._array[parts]
        if not indices:
            return view(self, chosen)
        _count_index(self, indices)
        return result(chosen, "index")

    def __setitem__(self, key, value):
        parts, indices = checked_key(key)
        if indices:
            scatter(self, key, value, numpy.put)
        elif type(value) is ndarray:
            _assign(self._array[parts], value._array)
        else:
            wrap(self._array[parts]).fill(value)

    def __matmul__(self, other):
        return matmul(self, other)

    def __rmatmul__(self, other):
        return matmul(other, self)

    def __abs__(self):
        return UFUNCS["absolute"](self)

    def __pos__(self):
        return UFUNCS["positive"](self)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return made(self._array.astype(dtype), "astype")

    def copy(self):
        return made(self._array.copy(), "copy")

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def fill(self, value):
        self._array.fill(operand(value))
        if self.size:
            count("fill")

    def reshape(self, *shape):
        return self._view_or_copy(self._array.reshape(*shape), "reshape")

    def ravel(self):
        return self._view_or_copy(self._array.ravel(), "ravel")

    def _view_or_copy(self, memory, name):
        if not memory.size or numpy.may_share_memory(memory, self._array):
            return view(self, memory)
        count_copy(name)
        return wrap(memory)

    def flatten(self):
        return made(self._array.flatten(), "flatten")

    def transpose(self, *axes):
        return view(self, self._array.transpose(*axes))

    def argsort(self, axis=-1):
        count("argsort", 1 + 1 + self.itemsize + 2)  # the keys copied, the indices counted up, both sorted
        count_wait("argsort")
        return wrap(self._array.argsort(axis=axis, kind="stable"))

    def sort(self, axis=-1):
        if not self._array.flags.c_contiguous:
            raise NotImplementedError("Sorting non-contiguous array is not supported.")
        count("sort", self.itemsize + 2)
        count_wait("sort")
        self._array.sort(axis=axis)


def _reader(convert):
    return lambda self: convert(self._read(convert.__name__))


for _convert in (bool, int, float, complex, repr, str):
    setattr(ndarray, f"__{_convert.__name__}__", _reader(_convert))
give_operators(ndarray, reflected=BINARY, in_place=BINARY)


def reshape(a, shape):
    host(a)
    return a.reshape(shape)


def ravel(a):
    host(a)
    return a.ravel()


# --- indices

_rng = numpy.random.default_rng(0)  # decides what a GPU leaves open


def checked_key(key):
    """Return an index with memory in place of device arrays, and a list of these.

    Without arrays the index ends in an ellipsis, so that NumPy gives a view even of one element.
    """
    parts, indices = [], []
    for part in key if type(key) is tuple else (key,):
        if type(part) is ndarray:
            if part.dtype.kind not in "iub":
                raise IndexError(f"arrays used as indices must be of integer or boolean type, not {part.dtype}")
            part = part._array
            indices.append(part)
        elif not (type(part) in (int, slice) or part is None or part is Ellipsis or isinstance(part, numpy.integer)):
            raise TypeError(f"an index of type {type(part)} would have to go to the device first")
        parts.append(part)
    if not indices and Ellipsis not in parts:
        parts.append(Ellipsis)
    return tuple(parts), indices


def _count_index(array, indices):
    """Count what index arrays need before they can be used."""
    masks = [index for index in indices if index.dtype == bool]
    if masks and len(indices) > 1:
        raise NotImplementedError("a mask beside other index arrays")
    if masks:
        count("mask: running count", 1 if masks[0].ndim == array.ndim else 2)
        count_transfer("mask")
        count_wait("mask")
    elif len(indices) > 1:
        count("index: one of several", 1 + len(indices))  # a fill, and each of them added


def _without_leading_ones(memory):
    ones = next((i for i, n in enumerate(memory.shape) if n != 1), memory.ndim)
    return memory[(0,) * ones + (Ellipsis,)]


def same_place(a, b):
    return (a.shape == b.shape and a.strides == b.strides
            and a.__array_interface__["data"] == b.__array_interface__["data"])


def _assign(target, source):
    source = _without_leading_ones(source)
    if numpy.may_share_memory(target, source):
        if same_place(target, source):
            return
        if target.shape == source.shape and target.strides == source.strides and target.flags.c_contiguous:
            raise RuntimeError("CuPy copies between overlapping memory with undefined results")
        count_copy("assign")
    numpy.copyto(target, source, casting="unsafe")
    if target.size:
        count("assign")


def scatter(array, key, value, put):
    """Write `value` at index arrays, element by element in a random order."""
    parts, indices = checked_key(key)
    target, source = array._array, operand(value)
    positions = numpy.arange(target.size).reshape(target.shape)[parts]
    if type(value) is not ndarray:
        count_transfer("assign at index")
    elif source.dtype != target.dtype:
        count_copy("assign at index")
    source = _without_leading_ones(numpy.asarray(source, dtype=target.dtype))
    source = numpy.broadcast_to(source, positions.shape).reshape(-1)
    order = _rng.permutation(source.size)
    _count_index(array, indices)
    if source.size:
        count("assign at index")
    put(target, positions.reshape(-1)[order], source[order])


# --- reductions and products

def _takes_cub(memory, axis):
    """Whether CUB does a reduction: the axes must lie innermost in memory."""
    if axis is None:
        return memory.flags.c_contiguous or memory.flags.f_contiguous
    axes = {a % memory.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    if memory.flags.c_contiguous:
        return axes == set(range(memory.ndim - len(axes), memory.ndim))
    return memory.flags.f_contiguous and axes == set(range(len(axes)))


def _reduction(name):
    on_host = getattr(numpy, name)

    def reduce(a, axis=None, *, out=None, keepdims=False, **dtype):
        memory, launches = host(a), 1
        if _takes_cub(memory, axis) and not (name in ("argmax", "argmin") and axis is not None):
            launches += (name in ("mean", "argmax", "argmin")) + (out is not None)
        if out is None:
            return result(on_host(memory, axis=axis, keepdims=keepdims, **dtype), name, launches)
        on_host(memory, axis=axis, keepdims=keepdims, out=host(out), **dtype)
        if out.size:
            count(name, launches)
        return out

    def reduce_untyped(a, axis=None, *, out=None, keepdims=False):
        return reduce(a, axis, out=out, keepdims=keepdims)

    def reduce_typed(a, axis=None, *, dtype=None, out=None, keepdims=False):
        return reduce(a, axis, out=out, keepdims=keepdims, dtype=dtype)

    return reduce_typed if name in ("sum", "prod", "mean") else reduce_untyped


REDUCTIONS = {name: _reduction(name) for name in "sum prod mean max min all any argmax argmin".split()}


def matmul(x1, x2, /, *, out=None):
    """Matrix product; what cuBLAS cannot use as it lies in memory is copied, `out` too."""
    operands = [host(x1), host(x2)]
    dtype = numpy.result_type(*operands)
    product = numpy.matmul(*operands)
    launches, batched = 1, x1.ndim > 2 or x2.ndim > 2
    if batched and x1.shape[:-2] != x2.shape[:-2]:
        launches = 4  # also the addresses of the matrices in both operands and in the result
    elif not batched and product.size == 1:
        launches = 3  # multiply, sum, copy
    for memory in operands:
        if memory.dtype != dtype or not (memory.flags.c_contiguous or (memory.flags.f_contiguous and not batched)):
            count_copy("matmul")
    if out is None:
        return result(product, "matmul", launches)
    target = host(out)
    if target.shape != product.shape:
        raise ValueError(f"out has shape {target.shape}, wanted {product.shape}")
    overlaps = True in [numpy.may_share_memory(target, memory) for memory in operands]
    if overlaps or target.dtype != dtype or not target.flags.c_contiguous:
        count_copy("matmul")
    numpy.copyto(target, product, casting="same_kind")
    if target.size:
        count("matmul", launches)
    return out
