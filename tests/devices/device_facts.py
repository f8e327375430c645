"""What a GPU check ran on: versions, the card, the driver; and whether everything that it needs is there."""
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys

import blas

from common import cli
from common.np import np

NEEDED = ("numpy", "matplotlib", "pytest", "hypothesis", "torch")  # and CuPy, which np.use looks for
STEERING = ("CUDA_", "CUPY_", "NVIDIA_", "OMP_", "OPENBLAS_", "TORCH_")  # beginnings of what steers libraries


def main(argv=None):
    """Print the facts; returns the exit code, 1 where a package is missing, 2 where there is no GPU."""
    return cli.run("device", script, argv)


def script(argv):
    """Print the facts, those first that need no GPU."""
    print("commit:", output_of("git", "log", "-1", "--format=%h of %cs"))
    print("Python:", platform.python_version(), "on", platform.platform())
    for package in NEEDED:
        print(f"{package}:", version_of(package))
    print("BLAS:", blas_in_words())
    print("environment:", *sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(STEERING)))
    print("driver:", output_of("nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"))
    print("PyTorch's CUDA:", torch_cuda_in_words())
    np.use("cupy")
    runtime = np.cuda.runtime
    card = runtime.getDeviceProperties(0)
    supported, used = (np._version(number) for number in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    print(f"CUDA: {used}; the driver goes up to {supported}")
    for name in ("totalGlobalMem", "multiProcessorCount", "l2CacheSize", "major", "minor"):
        print(f"{name}: {card.get(name, 'unknown')}")
    missing = [package for package in NEEDED if not importlib.util.find_spec(package)]
    if missing:
        print(f"missing: {', '.join(missing)}")
        return 1
    print(f"{card['name'].decode()}, CuPy {sys.modules['cupy'].__version__}")
    return 0


def version_of(package):
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def blas_in_words():
    """Return what multiplies matrices on the CPU; "unknown" without threadpoolctl, which a CUDA image need not have."""
    try:
        return blas.in_words()
    except ImportError:
        return "unknown"


def torch_cuda_in_words():
    """Return which CUDA and cuDNN PyTorch brings; "unknown" where it is missing."""
    try:
        import torch
    except ImportError:
        return "unknown"
    return f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


def output_of(program, *arguments):
    """Return what a program prints, in one line; "unknown" where it is missing or fails."""
    if shutil.which(program) is None:
        return "unknown"
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    return " ".join(done.stdout.split()) if done.returncode == 0 else "unknown"


if __name__ == "__main__":
    sys.exit(main())
