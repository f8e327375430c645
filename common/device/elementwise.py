"""Elementwise functions that write their results where they belong, as NumPy's own do; on a GPU each is one kernel."""
import functools
import re
from collections.abc import Callable
from typing import Any

from common.np import np


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of arrays take `out=`, the arrays that its results are written into.

    Without `out` the function is what it was. With it, a GPU gets a single kernel, compiled by `cupy.fuse` at the
    first use: a loop over time steps spends its time there with starting kernels.

    Parameters
    ----------
    function : callable
        Takes arrays that broadcast, one by one, and returns an array or a tuple of arrays; made of elementwise
        functions only.

    Returns
    -------
    callable
        `function(*arrays, out=None)`; `out` is an array, or a tuple of arrays, which may be among `arrays`.
    """
    @functools.wraps(function)
    def with_out(*arrays, out=None):
        if out is not None and np.backend != "numpy":
            return _fused(function, out, arrays)
        results = function(*arrays)
        if isinstance(out, tuple):
            for place, result in zip(out, results, strict=True):
                place[...] = result
        elif out is not None:
            out[...] = results
        return results if out is None else out

    return with_out


def _fused(function, out, arrays):
    places = out if isinstance(out, tuple) else (out,)
    _kernel(function, len(places), np.fuse)(*places, *arrays)
    return out


@functools.cache
def _kernel(function, count, fuse):
    def write_results(*arrays):
        results = function(*arrays[count:])
        for place, result in zip(arrays[:count], results if isinstance(results, tuple) else (results,), strict=True):
            place[...] = result

    # The function may be called `double` or `<lambda>`, which C++ takes as no name.
    return fuse(kernel_name=re.sub(r"\W", "_", function.__name__, flags=re.ASCII) + "_kernel")(write_results)
