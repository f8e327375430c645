"""Running independent NumPy work on every core.

NumPy releases the interpreter lock inside its loops, so plain threads are enough. Meant for
elementwise work: BLAS has threads of its own.
"""
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any


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
    """Call `function(*args)` for each tuple of `arguments` at the same time.

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
