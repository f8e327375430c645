"""Running independent NumPy work on every core.

NumPy releases the interpreter lock inside its loops and its products, so plain threads are enough. The threads that
BLAS has of its own wait for the next product in a busy loop, and take the cores from ours. So while ours work, BLAS has
one thread (`one_blas_thread`), and products are cut into parts (`product`).
"""
import contextlib
import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from common.np import Array, np

LEAST_SHARE = 2_000_000  # multiplications of a thread's part of a product: with fewer, starting the thread takes longer


@functools.cache
def worker_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _pool():
    return ThreadPoolExecutor(worker_count(), thread_name_prefix="numpy-worker")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has the pool of its parent, but none of its threads


def run_parallel(function: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """Call `function(*args)` for each tuple of `arguments` at the same time; if there are several, BLAS has one thread.

    What `numpy.errstate` says in the thread that calls this holds in all of them.

    Parameters
    ----------
    function : callable
    *arguments : tuple

    Returns
    -------
    list
        The results, in the order of `arguments`.
    """
    if len(arguments) == 1:
        return [function(*arguments[0])]
    with one_blas_thread:
        futures = [_pool().submit(contextvars.copy_context().run, function, *args) for args in arguments[1:]]
        try:
            first = function(*arguments[0])
        finally:
            _wait(futures)  # after Ctrl-C too: the others still write into arrays that the next call may use
    return [first, *(future.result() for future in futures)]


def _wait(futures):
    """Wait for all futures; a Ctrl-C meanwhile is raised at the end."""
    interrupted = None
    while True:
        try:
            wait(futures)
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted:
        raise interrupted


def run_each(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> None:
    """Call `function(item)` for each of a sequence of items, in some threads that each have a part of them."""
    def walk(some):
        for item in some:
            function(item)

    run_parallel(walk, *((items[some],) for some in slices(len(items), threads)))


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return the product of two matrices; within `one_blas_thread`, all cores have a part of it.

    Parameters
    ----------
    a : ndarray (n, k)
    b : ndarray (k, m)
    out : ndarray (n, m), optional
        Takes the product.

    Returns
    -------
    ndarray (n, m)
    """
    (n, k), m = a.shape, b.shape[1]
    parts = min(one_blas_thread.spared, n * k * m // LEAST_SHARE)
    if parts < 2:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((n, m), dtype=a.dtype)
    if n >= m:
        run_parallel(_matmul, *((a[part], b, out[part]) for part in slices(n, parts)))
    else:
        run_parallel(_matmul, *((a, b[:, part], out[:, part]) for part in slices(m, parts)))
    return out


def _matmul(a, b, out):
    np.matmul(a, b, out=out)


def slices(n: int, parts: int) -> list[slice]:
    """Cut n rows into slices of about equal length."""
    return [slice(*cut) for cut in itertools.pairwise(n * k // parts for k in range(parts + 1))]


class OneBlasThread(contextlib.ContextDecorator):
    """Within it, as a context or around a function, BLAS has one thread, in the whole process.

    It may be entered again within itself, and by several threads; when the last one leaves, BLAS has as many threads
    as before.

    Attributes
    ----------
    spared : int
        Threads that a product may have instead: those that BLAS had, but no more than there are cores; 1 outside, on a
        GPU, and where nothing can switch the threads of BLAS.
    """

    def __init__(self) -> None:
        self.spared = 1
        self._lock, self._entered = threading.Lock(), 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1 and np.backend == "numpy" and worker_count() > 1:
                self._before = [library.num_threads for library in _blas_libraries()]
                self.spared = min(worker_count(), *self._before) if self._before else 1
                self._set([1] * len(self._before))

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0:
                self._set(self._before)
                self.spared, self._before = 1, []

    def _set(self, counts):
        for library, count in zip(_blas_libraries(), counts):
            library.set_num_threads(count)


one_blas_thread = OneBlasThread()


@functools.cache
def _blas_libraries():
    """Return what switches the threads of each BLAS that this process has loaded, where threadpoolctl finds some."""
    try:
        import threadpoolctl
    except ImportError:
        return []
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
