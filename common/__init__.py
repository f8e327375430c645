"""What every chapter uses."""
import os

# Read by OpenBLAS once, when NumPy is first imported, so it stands before any import of NumPy.
# Idle BLAS threads spin for 2^19 clock ticks, some 0.2 ms: from one small product of a time step
# to the next. By default they spin for some 30 ms, on the very cores where the threads of
# common.fast.threads work, and a training step takes 5 to 25 percent longer.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "19")
