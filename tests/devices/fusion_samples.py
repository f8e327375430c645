"""Functions of two float arrays that CuPy's fuser takes, and functions that it refuses.

Each takes the array module first: `test_strict_cupy.py` gives them to the stand-in, and
`check_cupy.py` to the stand-in and to CuPy.
"""
import numpy


def _lstm_cell(np, a, c_prev):
    f = np.exp(np.minimum(a, 0)) / (1 + np.exp(-np.abs(a)))
    g = np.tanh(a)
    c = f * c_prev + (1 - f) * g
    return f * np.tanh(c), c, f, g


def _in_place(np, x, y):
    x *= 0.9
    x += y ** 2
    y[...] = -x
    y[:] = np.where(y > 0, y, 0.5)
    np.exp(x, out=x)
    np.add(x, y, y)


def _nested(np, x, y):
    double = np.fuse(lambda x: 2 * x)
    return double(x) - double(y)


TAKEN = {
    "an LSTM cell": _lstm_cell,
    "in place": _in_place,
    "a call of a fused function": _nested,
    "comparisons": lambda np, x, y: ((x > y) * x, np.isnan(x), np.logical_and(x > 0, ~(y >= 0))),
    "clip": lambda np, x, y: np.clip(x, 0, 1),
    "copies": lambda np, x, y: (x.copy(), np.copy(y), x.astype(np.float32), (x > 0).astype(x.dtype)),
    "an argument": lambda np, x, y: x,
    "typed constants": lambda np, x, y: (x * numpy.float64(2), numpy.float32(2) * y),
    "constants alone": lambda np, x, y: (x * 2.5 + 1, 3 / x, x ** 2, np.where(x > 0, 1, y)),
}

REFUSED = {
    "slicing": lambda np, x, y: x[:, :1] + y,
    "an index": lambda np, x, y: x[0],
    "a new axis": lambda np, x, y: x[None],
    "assigning to a slice": lambda np, x, y: x.__setitem__(slice(1), y),
    "assigning to a number": lambda np, x, y: np.exp(x, out=2.0),
    "a matrix product": lambda np, x, y: x @ y,
    "matmul": lambda np, x, y: np.matmul(x, y),
    "a sum": lambda np, x, y: x - x.sum(),
    "a maximum": lambda np, x, y: x - x.max(axis=-1, keepdims=True),
    "shape": lambda np, x, y: x.shape,
    "T": lambda np, x, y: x.T,
    "reshape": lambda np, x, y: np.reshape(x, (3, 2)),
    "concatenate": lambda np, x, y: np.concatenate((x, y)),
    "zeros_like": lambda np, x, y: np.zeros_like(x) + y,
    "len": lambda np, x, y: x * len(y),
    "iteration": lambda np, x, y: [row for row in x],
    "if": lambda np, x, y: x if x > y else y,
    "and": lambda np, x, y: x and y,
    "float": lambda np, x, y: x * float(y),
    "int": lambda np, x, y: x * int(y),
    "item": lambda np, x, y: x.item(),
    "get": lambda np, x, y: x.get(),
    "fill": lambda np, x, y: x.fill(0),
    "a set": lambda np, x, y: {x, y},
    "abs": lambda np, x, y: abs(x),
    "plus": lambda np, x, y: +x,
    "a power of a number": lambda np, x, y: 2 ** x,
    "divmod": lambda np, x, y: divmod(x, y),
    "dtype=": lambda np, x, y: np.exp(x, dtype="f"),
    "where=": lambda np, x, y: np.exp(x, where=y),
    "NumPy": lambda np, x, y: numpy.exp(x),
    "a NumPy array": lambda np, x, y: np.add(x, numpy.ones((2, 3))),
    "a list": lambda np, x, y: np.add(x, [1.0]),
    "random numbers": lambda np, x, y: x * np.random.default_rng(0).random(),
    "returning a nested tuple": lambda np, x, y: (x, (x, y)),
    "returning a list": lambda np, x, y: [x, y],
    "returning a number": lambda np, x, y: (x + y, 1.0),
}
