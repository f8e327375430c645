"""What the last digits of a training depend on, besides its settings: versions, processor, kernels and threads."""
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy

from common.device.threads import worker_count
from common.np import np


def machine_facts() -> dict[str, str]:
    """Return what two machines, or two starts on one, must have in common to compute the same bits.

    Returns
    -------
    dict of str to str
        "python", "numpy", "rnn-from-scratch" and, on a GPU, "cupy": their versions. "processor". "device": cpu, or the
        name of the GPU, then with "CUDA" and "driver". "cores": those that this process may use, over which the fast
        forms share their work. "BLAS": its kernels and the number of its threads, as "openblas 0.3.30 Haswell,
        threads: 2", or "unknown" without the package threadpoolctl.
    """
    facts = {"python": platform.python_version(), "numpy": numpy.__version__, "rnn-from-scratch": _own_version(),
             "processor": _processor(), "cores": str(worker_count()), "device": "cpu", "BLAS": _blas()}
    if np.backend != "numpy":
        runtime = sys.modules["cupy"].cuda.runtime
        facts |= {"cupy": sys.modules["cupy"].__version__, "device": _gpu_name(),
                  "CUDA": str(runtime.runtimeGetVersion()), "driver": str(runtime.driverGetVersion())}
    return facts


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what has changed from one result of `machine_facts` to another, in words, "numpy: 2.3.0, now 2.4.1"."""
    return [f"{name}: {before.get(name, 'none')}, now {now.get(name, 'none')}"
            for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]


def _own_version():
    try:
        return metadata.version("rnn-from-scratch")
    except metadata.PackageNotFoundError:  # a folder that is used as it is, without having been installed
        return "unknown"


def _processor():
    """Return the name of the processor, since NumPy chooses the code of its functions by what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _blas():
    try:
        import threadpoolctl
    except ImportError:
        return "unknown"
    found = {f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
             + f", threads: {library['num_threads']}"
             for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}
    return "; ".join(sorted(found)) or "unknown"


def _gpu_name():
    runtime = sys.modules["cupy"].cuda.runtime
    return runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
