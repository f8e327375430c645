"""`np` for tests that run on every device: `common.np`, and what tests need besides.

    from any_device import np

- `np.random.default_rng(seed)` draws the same numbers on every device: by NumPy, then uploaded;
- `np.testing` compares on the host;
- every other name is that of the backend in use. What a test computes by itself, to compare with,
  it may compute on the host: there `numpy` is written out.
"""
import math
import sys
import tracemalloc
import types

import numpy

from common.np import np as backend


class _Generator:
    """A generator of NumPy whose arrays are brought to the device."""

    def __init__(self, seed=None):
        self._rng = numpy.random.default_rng(seed)

    def __getattr__(self, name):
        draw = getattr(self._rng, name)

        def drawn(*args, **options):
            numbers = draw(*args, **options)
            return backend.to_device(numbers) if isinstance(numbers, numpy.ndarray) else numbers

        return drawn


def _on_host(compare):
    return lambda found, expected, **options: compare(backend.to_cpu(found), backend.to_cpu(expected), **options)


class _Names:
    random = types.SimpleNamespace(default_rng=_Generator)
    testing = types.SimpleNamespace(
        assert_allclose=_on_host(numpy.testing.assert_allclose),
        assert_array_equal=_on_host(numpy.testing.assert_array_equal))

    def __getattr__(self, name):
        return getattr(backend, name)


np = _Names()


def library():
    """Return the module whose arrays are those of the device in use."""
    return numpy if backend.backend == "numpy" else sys.modules["cupy"]


def peak_memory(step):
    """Return the most bytes that a step takes beside what there is; on a GPU those that CuPy asks for."""
    if library().__name__ != "cupy":
        tracemalloc.start()
        try:
            step()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    pool = library().get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    step()
    return pool.total_bytes() - before


def checks_elements(case):
    """Whether a gradient check goes element by element: on a device, where it is slow, for small cases only.

    The others are checked along a random direction. On the stand-in an RNN is small, on a GPU a GRU too. What a device
    computes is also compared with NumPy (test_cpu_against_device.py).
    """
    most = {"numpy": math.inf, "cupy": 200}.get(library().__name__, 120)  # numbers
    return sum(x.size for x in (*case.build().params, *case.inputs.values())) <= most
