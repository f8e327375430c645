"""NumPy on a CPU, CuPy on a GPU, under one name.

Code reads as NumPy::

    from common.np import np
    h = np.tanh(a)

and `np.use("cupy")` moves it to the GPU. This module holds the backend's public names as
its own, so `np.tanh` is a plain attribute lookup and a debugger never steps into dispatch
code. Besides those names it has its own few: `use`, `backend`, `seed`, `rng`, `host_rng`,
`random_state`, `set_random_state`, `to_cpu`, `to_gpu`, `to_device`.

Random numbers: `np.rng` is the one generator (a `numpy.random.Generator`, on a GPU a
`common.device_random.DeviceGenerator`), `np.seed(number)` restarts it. Initial weights are drawn by
`np.host_rng`, which lives on the CPU on both backends, so that a seed gives the same
weights on both.

In annotations `Array` is an array of the backend in use; `ArrayLike` and `DTypeLike` are what NumPy
takes as an array and as a dtype. Editors and type checkers take them, and all of `np`, for NumPy's.
"""
import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import ArrayLike as ArrayLike
from numpy.typing import DTypeLike as DTypeLike

from common import config, device_random
from common.errors import InputError

__all__ = ["np"]

if TYPE_CHECKING:  # an editor completes NumPy's names, those of this module, and two of CuPy
    from numpy import *  # noqa: F403

    from common import np

    cublas: Any
    fuse: Any
else:
    np = sys.modules[__name__]

Array = numpy.ndarray
backend: str
rng: numpy.random.Generator | device_random.DeviceGenerator
host_rng: numpy.random.Generator
_library: Any

_CUPY_INSTALL = "pip install -e '.[cuda12]' or, for a CUDA 13 driver, '.[cuda13]'"
_CARD_NEEDED = "this needs an NVIDIA card, and CUDA_VISIBLE_DEVICES must not hide it"
_NOT_FOR_ARRAYS = {"f2py", "test", "testing"}  # build and test tools, slow to import
_copied: set[str] = set()


def use(name: str) -> None:
    """Make `name` the backend of every layer.

    Arrays, layers and models made before stay on the device where they were made. The
    random generator starts anew, unseeded.

    Parameters
    ----------
    name : {"numpy", "cupy"}

    Raises
    ------
    InputError
        No such backend, CuPy is not installed, or there is no GPU that it can use.
    """
    global backend, _library
    if name not in ("numpy", "cupy"):
        raise InputError(f"np.use takes 'numpy' or 'cupy', got {name!r}")
    library = numpy if name == "numpy" else _import_cupy()
    for old in _copied:
        delattr(np, old)
    _copied.clear()
    for public in dir(library):
        if not public.startswith("_") and public not in _OWN and public not in _NOT_FOR_ARRAYS:
            setattr(np, public, getattr(library, public))
            _copied.add(public)
    backend, _library = name, library
    seed(None)


def _import_cupy():
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise
        raise InputError(f"the GPU needs CuPy, which is not installed: {_CUPY_INSTALL}") from None
    except ImportError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"CuPy is installed but does not load ({reason}): {_CUPY_INSTALL}") from None
    runtime = cupy.cuda.runtime
    try:
        if runtime.getDeviceCount() == 0:
            raise InputError(f"CuPy finds no GPU: {_CARD_NEEDED}")
    except runtime.CUDARuntimeError as error:
        raise InputError(_no_gpu(runtime, str(error))) from None
    try:
        from cupy import cublas  # noqa: F401  (cupy.cublas is there only when it was asked for)

        cupy.ones((1, 1)) @ cupy.ones((1, 1))  # needs the compiler and the matrix products of CUDA
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"CuPy finds the GPU but not all parts of CUDA ({reason}): {_CUPY_INSTALL}") from None
    return cupy


def _no_gpu(runtime, reason):
    """Say why CuPy finds no GPU, and what to do."""
    driver = runtime.driverGetVersion()
    if driver == 0:
        return ("there is no NVIDIA driver: install it, version 525 or newer for '.[cuda12]', 580 or "
                "newer for '.[cuda13]'")
    if "InsufficientDriver" in reason:
        needed = runtime.runtimeGetVersion()
        return (f"the NVIDIA driver is too old: it goes up to CUDA {_version(driver)}, the installed CuPy needs CUDA "
                f"{_version(needed)}: update the driver, or pip install -e '.[cuda12]'")
    return f"CuPy finds no GPU ({reason.split(':')[-1].strip()}): {_CARD_NEEDED}"


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def seed(number: int | None) -> None:
    """Restart the random generators.

    Parameters
    ----------
    number : int or None
        None takes fresh entropy from the operating system.
    """
    global rng, host_rng
    host_rng = numpy.random.default_rng(number)
    rng = host_rng if backend == "numpy" else device_random.DeviceGenerator(_library, number)


def random_state() -> dict[str, Any]:
    """Describe where the generators stand, as a dict that JSON can hold."""
    device = list(rng.state) if isinstance(rng, device_random.DeviceGenerator) else None
    return {"host": host_rng.bit_generator.state, "device": device}


def set_random_state(state: dict[str, Any]) -> None:
    """Set the generators to a state that `random_state` returned.

    On a GPU, a state that was found on a CPU gives the device a generator of its own.
    """
    global rng
    host_rng.bit_generator.state = state["host"]
    if not isinstance(rng, device_random.DeviceGenerator):
        return
    if state.get("device") is None:
        rng = device_random.DeviceGenerator(_library, int(host_rng.integers(2**63)))
    else:
        key, drawn = map(int, state["device"])
        rng.state = key, drawn


def to_cpu(array: Any) -> numpy.ndarray:
    """Return `array` as a NumPy array; one that already is comes back as it is."""
    return array.get() if hasattr(array, "get") else numpy.asarray(array)


def to_gpu(array: Any) -> Array:
    """Return `array` as a CuPy array.

    Raises
    ------
    InputError
        CuPy is missing or finds no GPU.
    """
    return np.asarray(array) if backend == "cupy" else _import_cupy().asarray(array)


def to_device(array: Any) -> Array:
    """Return `array` on the device in use: `to_cpu` or `to_gpu`, as the backend asks."""
    return to_cpu(array) if backend == "numpy" else to_gpu(array)


_OWN = frozenset({*vars(), "backend", "rng", "host_rng"})  # the last three get their values in `use`
use("cupy" if config.GPU else "numpy")
