"""Which kernels multiply NumPy's matrices: OpenBLAS's own choice in a measurement, and named beside it.

OpenBLAS chooses its kernels for the processor when NumPy is imported. Some machines set OPENBLAS_CORETYPE, which
chooses others, and OPENBLAS_L2_SIZE, which changes the blocks in which they work. Both change speed and rounding.
"""
import os
import sys

STEERING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


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
