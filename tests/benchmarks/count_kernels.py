"""What a step makes a GPU do, as the GPU's own tools see it: to be compared with the count of the stand-in for CuPy.

CUPTI, CUDA's interface for profilers, sees all that a process does with its GPU, whichever library asked for it.
PyTorch's profiler reads it; without PyTorch the calls are counted that start something.
"""
import ctypes
import importlib.util
import json
import re
import tempfile
from pathlib import Path

from common.np import np

HEAD = "head_of_trace"
HEAD_KERNELS = 100
WORK = ("kernel", "gpu_memset", "gpu_memcpy")  # categories of a trace
STARTS = re.compile(b"cu(da)?(Launch|Memset|Memcpy)")  # functions of the driver and of the runtime library of CUDA
RUNTIME, DRIVER = 2, 1  # CUpti_CallbackDomain: the driver's functions are also called by those of the runtime library


def count_kernels(step):
    """Count what one step makes the GPU do.

    Parameters
    ----------
    step : callable
        Without arguments; it has run before, so that nothing is compiled.

    Returns
    -------
    launches : int
        Kernels, fills and copies within the device.
    transfers : int or None
        Copies between host and device; None where the method cannot tell, and counts them among the launches.

    Raises
    ------
    Exception
        Whatever PyTorch's profiler or CUPTI raise where they do not work.
    """
    torch = torch_on_gpu()
    return (_count_by_calls(step), None) if torch is None else _count_by_profiler(step, torch)


def torch_on_gpu():
    """Return PyTorch, or None where it or its GPU is missing."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def _count_by_profiler(step, torch):
    # Of the first kernels in a trace some are lost (github.com/pytorch/pytorch/issues/192021): let those be no loss.
    head, x = np.fuse(kernel_name=HEAD)(lambda x: x + 1), np.ones(1)
    head(x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(HEAD_KERNELS):
            head(x)
        step()
        np.cuda.runtime.deviceSynchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profile.export_chrome_trace(str(path))
        return count_events(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])


def count_events(events):
    """Count launches and transfers among the events of a trace, those of its head left out.

    Parameters
    ----------
    events : list of dict
        In Chrome's format.

    Returns
    -------
    tuple of int (launches, transfers)
    """
    names = [event["name"] for event in events if event.get("cat") in WORK]
    if not any(HEAD in name for name in names):
        raise RuntimeError("PyTorch's profiler does not see CuPy's kernels, or loses more than the head of its trace")
    transfers = sum("HtoD" in name or "DtoH" in name for name in names)
    return sum(HEAD not in name for name in names) - transfers, transfers


class _Call(ctypes.Structure):
    """How CUpti_CallbackData begins."""

    _fields_ = [("at_exit", ctypes.c_int), ("function", ctypes.c_char_p)]


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.POINTER(_Call))


def _count_by_calls(step):
    from cuda.pathfinder import load_nvidia_dynamic_lib  # which CuPy 14 brings

    return count_calls(step, ctypes.CDLL(load_nvidia_dynamic_lib("cupti").abs_path))


def count_calls(step, cupti):
    """Count the calls of CUDA in a step that start something on the GPU.

    Parameters
    ----------
    step : callable
    cupti : ctypes.CDLL

    Returns
    -------
    int
    """
    starts, inside = 0, False

    def call(userdata, domain, function_id, data):
        nonlocal starts, inside
        if STARTS.match(data.contents.function or b"") and not (inside and domain == DRIVER):
            starts += not data.contents.at_exit
            inside = domain == RUNTIME and not data.contents.at_exit

    def check(status):
        if status:
            raise RuntimeError(f"CUPTI does not count calls: its error {status}")

    callback, subscriber = _Callback(call), ctypes.c_void_p()
    check(cupti.cuptiSubscribe(ctypes.byref(subscriber), callback, None))
    try:
        for domain in (RUNTIME, DRIVER):
            check(cupti.cuptiEnableDomain(1, subscriber, domain))
        step()
    finally:
        cupti.cuptiUnsubscribe(subscriber)
    return starts
