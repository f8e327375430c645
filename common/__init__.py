"""The parts that every chapter uses."""
import importlib.util
import os
import signal
import sys

# Read by OpenBLAS once, when NumPy is first imported, so it stands before any import of NumPy.
# Idle BLAS threads spin for 2^19 clock ticks, some 0.2 ms: from one small product of a time step
# to the next. By default they spin for some 30 ms, on the very cores where the threads of
# common.device.threads work, and a training step takes 5 to 25 percent longer.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "19")

# "ch_lstm.train" while `python -m ch_lstm.train` is being found, which imports this first. Everywhere else there is no
# script, and an import changes nothing but the variable above.
_script = ""
if getattr(sys, "argv", None) and sys.argv[0] == "-m":
    _script = sys.orig_argv[-len(sys.argv)].removeprefix("-m")


def stop_at_once(signum: int, frame: object) -> None:
    """Answer Ctrl-C while a script still imports NumPy, say, or has ended; in between `common.cli.run` does."""
    print(f"python -m {_script}: stopped by Ctrl-C", file=sys.stderr, flush=True)
    os._exit(130)


# Not where Ctrl-C is ignored, as behind nohup.
if _script.startswith(("common.", "ch_")) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_at_once)

if importlib.util.find_spec("numpy") is None:
    _hint = "NumPy is missing: in the project's folder, pip install -e ."
    if _script:  # one line in the place of a traceback
        raise SystemExit(_hint)
    raise ModuleNotFoundError(_hint)
