"""The fuser of `strict_cupy`: what CuPy's first fuser takes, as one launch.

CuPy tries its second fuser where the first gives up. That one takes reductions and some slicing,
but makes several kernels of one function, so it is not offered.
"""
import functools
import re

import device_array as device
import numpy


class FusionScalar:
    """A number inside a fused function."""

    __slots__ = ("value",)
    __hash__ = None

    def __init__(self, value):
        self.value = value

    @property
    def dtype(self):
        return self.value.dtype

    def __bool__(self):
        raise TypeError("a fused function is compiled once for all values, so none can be asked for")

    def __setitem__(self, key, value):
        if key is not Ellipsis and key != slice(None):
            raise ValueError("The fusion supports `[...]` or `[:]`.")
        device.copy(value, self)

    def copy(self):
        return device.copy(self)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return device.ufunc(f"astype {dtype}", lambda value: numpy.array(value, dtype), 1)(self)


class FusionArray(FusionScalar):
    """An array inside a fused function. It has no shape: each element is computed for itself."""

    __slots__ = ()


device.give_operators(FusionScalar, reflected=device.BINARY, in_place={})
device.give_operators(FusionArray, reflected=device.BINARY, in_place=device.BINARY)
del FusionScalar.__rpow__, FusionArray.__rpow__


class Trace:
    """What a fused function does when it is called.

    Parameters
    ----------
    arguments : list of numpy.ndarray
        The memory that it is given.

    Attributes
    ----------
    operations : list of (str, list)
        The names of the functions it called, and their constants, which are compiled in.
    """

    def __init__(self, arguments):
        self.arguments, self.operations = arguments, []

    def call(self, function, args, out, dtype):
        """Take an elementwise function's call in its place."""
        if dtype is not None:
            raise TypeError(f"{function.__name__} in a fused function takes no dtype")
        values, constants, is_array = [], [], False
        for arg in args:
            kind = type(arg)
            if kind is FusionArray or kind is FusionScalar:
                is_array = is_array or kind is FusionArray
                values.append(arg.value)
                constants.append(None)
            elif isinstance(arg, device.SCALARS):
                values.append(arg)
                constants.append(arg)
            else:
                raise TypeError(f"Unsupported type {kind} in a fused function")
        self.operations.append((function.__name__, constants))
        if not is_array:
            values = [value if constant is None else _typed(value) for value, constant in zip(values, constants)]
        computed = function.on_host(*values)
        if out is not None:
            self._write(out, computed)
            return out
        return FusionArray(numpy.asarray(computed)) if is_array else FusionScalar(computed)

    def _write(self, variable, computed):
        if type(variable) is not FusionArray:
            raise TypeError(f"a fused function writes to arrays, not to {type(variable)}")
        target = variable.value
        if not target.flags.writeable:
            raise ValueError("a fused function writes to an argument that is broadcast")
        for other in self.arguments:
            # What is quick to tell comes first: this is asked for each argument and each result of every time step.
            if other is not target and numpy.may_share_memory(other, target) \
                    and numpy.shares_memory(other, target) and not device.same_place(other, target):
                raise ValueError("a fused function writes where another argument reads")
        numpy.copyto(target, computed, casting="same_kind")


CPP_KEYWORDS = set("""
    alignas alignof and asm auto bool break case catch char class const constexpr continue decltype default delete do
    double else enum explicit export extern false float for friend goto if inline int long mutable namespace new
    noexcept not nullptr operator or private protected public register return short signed sizeof static struct switch
    template this throw true try typedef typeid typename union unsigned using virtual void volatile while xor
    """.split())


class Fusion:
    """A function whose operations are one launch."""

    def __init__(self, function, kernel_name):
        self._function, self._name, self._operations = function, kernel_name or function.__name__, {}
        if kernel_name and (not re.fullmatch("[A-Za-z_][A-Za-z_0-9]*", kernel_name) or kernel_name in CPP_KEYWORDS):
            raise ValueError(f"C++ takes {kernel_name} as no name of a function, so the kernel would not compile")
        functools.update_wrapper(self, function)

    def __call__(self, *args):
        if device.ndarray not in [type(arg) for arg in args]:  # as when another fused function calls this one
            return self._function(*args)
        for arg in args:
            if not (arg is None or type(arg) is device.ndarray or isinstance(arg, device.SCALARS)):
                raise TypeError(f"Invalid argument type for {self._name}: {type(arg)}")
        memory = [device.host(arg) for arg in args if type(arg) is device.ndarray]
        shapes = {array.shape for array in memory}
        shape = shapes.pop() if len(shapes) == 1 else numpy.broadcast_shapes(*shapes)
        device.trace = trace = Trace(memory)
        try:
            returned = self._function(*(_variable(arg, shape) for arg in args))
        finally:
            device.trace = None
        kinds = tuple((arg.dtype, arg.ndim) if type(arg) is device.ndarray else type(arg) for arg in args)
        if self._operations.setdefault(kinds, trace.operations) != trace.operations:
            raise RuntimeError(f"{self._name} is not what it was at its first call: CuPy would still do that")
        if 0 not in shape:
            device.count(f"fused {self._name}")
        if isinstance(returned, tuple):
            return tuple(_output(variable, shape) for variable in returned)
        return None if returned is None else _output(returned, shape)


def _typed(number):
    """Return a number with the dtype it has where no array decides: a float as float64, an int as int64."""
    return numpy.dtype(type(number)).type(number)


def _variable(arg, shape):
    if type(arg) is device.ndarray:
        memory = device.host(arg)
        return FusionArray(memory if memory.shape == shape else numpy.broadcast_to(memory, shape))
    return None if arg is None else FusionScalar(_typed(arg))


def _output(variable, shape):
    if not isinstance(variable, FusionScalar):
        raise TypeError(f"Fusion function can't return {type(variable)}")
    return device.wrap(numpy.array(numpy.broadcast_to(variable.value, shape), order="C"))


def fuse(function=None, /, *, kernel_name=None):
    """Make one kernel of a function that takes and returns flat arrays and computes elementwise."""
    if function is None:
        return lambda function: Fusion(function, kernel_name)
    return Fusion(function, kernel_name)
