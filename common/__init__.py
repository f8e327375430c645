"""What every chapter uses."""
import os

# Read by OpenBLAS once, when NumPy is first imported, so it stands before any import of NumPy:
# idle BLAS threads sleep at once. By default they spin for some 30 ms on the very cores where
# the threads of common.threads work, and a training step takes up to 1.7 times as long.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
