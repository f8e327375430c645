"""Random numbers on a GPU, from a generator whose state can be read and set."""
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import DTypeLike

BITS = {"float32": 24, "float64": 53}  # of a number in [0, 1) that has no gaps


class DeviceGenerator:
    """Numbers from 0 to 1, computed from their places in a sequence.

    CuPy's generators keep their state on the GPU and cannot export it, so that a run which
    stopped in the middle of an epoch could not go on with the same dropout masks. Here number i is
    a hash of key + i, the mixing function of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators"), and the state is two whole numbers on the host.

    Parameters
    ----------
    library : module
        CuPy or NumPy; both return the same numbers.
    seed : int or None
        None takes fresh entropy from the operating system.

    Attributes
    ----------
    state : tuple of int (key, drawn)
        Key made from the seed, and count of the numbers drawn so far. Set it to continue from there.
    """

    def __init__(self, library: Any, seed: int | None = None) -> None:
        self.library = library
        self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[0]), 0

    def random(self, size: tuple[int, ...], dtype: DTypeLike = numpy.float64) -> Any:
        """Draw numbers that are spread evenly over [0, 1).

        Parameters
        ----------
        size : tuple of int
        dtype : dtype
            float32 or float64.

        Returns
        -------
        ndarray of shape `size`
        """
        library, (key, drawn) = self.library, self.state
        n = math.prod(size)
        self.state = key, drawn + n
        numbers = library.empty(n, dtype=dtype)  # (n,)
        start = numpy.uint64((key + drawn) % 2**64)
        uniform(BITS[numpy.dtype(dtype).name], library)(numbers, library.arange(n, dtype=numpy.uint64), start)
        return numbers.reshape(size)


@functools.cache
def uniform(bits: int, library: Any) -> Callable[..., Any]:
    """Return the function that writes numbers of a given size in bits, from their places and the start of the sequence.

    On a GPU it is one kernel, made without `common.device.elementwise`: that imports `common.np`, which imports this.
    """
    def uniform_number(number, place, start):
        z = (place + start) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
        number[...] = (z >> numpy.uint64(64 - bits)) * 2.0**-bits

    if library is numpy:
        return uniform_number
    return library.fuse(uniform_number)
