"""Which kernels multiply NumPy's matrices: named beside a measurement, and chosen for the tests.

OpenBLAS chooses its kernels for the processor when NumPy is imported. Some machines set OPENBLAS_CORETYPE, which
chooses others, and OPENBLAS_L2_SIZE, which changes the blocks in which they work. Both change speed and rounding.
"""
import os
import platform
import subprocess
import sys

STEERING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
CORETYPES = {"x86_64": ("SkylakeX", "Haswell", "Zen", "Sandybridge", "Nehalem"),
             "aarch64": ("NeoverseV1", "NeoverseN1", "ARMv8")}
TRIAL = """
import numpy, threadpoolctl
for dtype in ("float32", "float64"):
    a = numpy.ones((200, 200), dtype)
    assert (a @ a == 200).all() and (a @ a[0] == 200).all()
print(*sorted({library.get("architecture", "") for library in threadpoolctl.threadpool_info()} - {""}))
"""


def unsteered():
    """Return the environment of this process without what steers OpenBLAS.

    Returns
    -------
    dict
    """
    return {name: value for name, value in os.environ.items() if name not in STEERING}


def restart_unsteered():
    """Start this script anew, with the same arguments, if OpenBLAS is steered; it returns if OpenBLAS is not."""
    if any(name in os.environ for name in STEERING):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], unsteered())


def in_words():
    """Return NumPy's version and, of each BLAS in this process, version, kernel and number of threads.

    Returns
    -------
    str
        As "NumPy 2.4.6, openblas 0.3.31, kernel Haswell, threads 2".
    """
    import numpy
    import threadpoolctl

    libraries = [f"{library['internal_api']} {library['version']}, kernel {library.get('architecture', 'unknown')}, "
                 f"threads {library['num_threads']}"
                 for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return ", ".join([f"NumPy {numpy.__version__}", *(libraries or ["a BLAS that threadpoolctl does not know"])])


def kernel(coretype=None):
    """Return the kernel that OpenBLAS takes in a process of its own.

    Parameters
    ----------
    coretype : str, optional
        OPENBLAS_CORETYPE there; OpenBLAS chooses by default, and where it does not know the name.

    Returns
    -------
    str or None
        "" where NumPy's BLAS has no kernels to choose from; None where the processor cannot run it.
    """
    steering = {} if coretype is None else {"OPENBLAS_CORETYPE": coretype}
    trial = subprocess.run([sys.executable, "-c", TRIAL], env=unsteered() | steering, capture_output=True, text=True)
    return trial.stdout.strip() if trial.returncode == 0 else None


def kernels():
    """Return the kernels that this processor can run.

    Returns
    -------
    dict of {str: list}
        By kernel, the values of OPENBLAS_CORETYPE that choose it. The default comes first; its list begins with None,
        which stands for none.
    """
    found = {}
    for coretype in (None, *CORETYPES.get(platform.machine(), ())):
        found.setdefault(kernel(coretype), []).append(coretype)
    found.pop(None, None)
    return found
