"""Elementwise functions that write their results where they belong; on a GPU as one kernel."""
import functools

from common.np import np


def write(function, outs, *ins):
    """Compute an elementwise function and write its results into arrays.

    The function is plain Python on arrays. On a GPU it is compiled by `cupy.fuse` at its first
    use and started as a single kernel, since a loop over time steps spends its time there with
    starting kernels.

    Parameters
    ----------
    function : callable
        Takes arrays that broadcast, returns a tuple of arrays; made of elementwise functions only.
    outs : tuple of ndarray
        Where the results go. They may be among `ins`.
    *ins : ndarray
    """
    if np.backend == "numpy":
        for out, result in zip(outs, function(*ins), strict=True):
            out[...] = result
    else:
        _kernel(function, len(outs), np.fuse)(*outs, *ins)


@functools.cache
def _kernel(function, count, fuse):
    def write_results(*arrays):
        for out, result in zip(arrays[:count], function(*arrays[count:]), strict=True):
            out[...] = result

    return fuse(kernel_name=function.__name__)(write_results)
