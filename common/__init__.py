"""The parts that every chapter uses."""
import importlib.util
import os
import sys

# Read by OpenBLAS once, when NumPy is first imported, so it stands before any import of NumPy.
# Idle BLAS threads spin for 2^19 clock ticks, some 0.2 ms: from one small product of a time step
# to the next. By default they spin for some 30 ms, on the very cores where the threads of
# common.fast.threads work, and a training step takes 5 to 25 percent longer.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "19")

if importlib.util.find_spec("numpy") is None:
    _hint = "NumPy is missing: in the project's folder, pip install -e ."
    if sys.argv[0] == "-m":  # of python -m ch_lstm.train, say: one line in the place of a traceback
        raise SystemExit(_hint)
    raise ModuleNotFoundError(_hint)
