"""Counting what a step makes a GPU do, from a trace and from calls that are written here by hand."""
import ctypes
import json
import sys
import types

import count_kernels
import pytest
import strict_cupy

from common.np import np

TRACE = [  # in the form of PyTorch's profiler
    {"ph": "M", "name": "process_name"},
    {"ph": "X", "cat": "cuda_driver", "name": "cuLaunchKernel"},
    {"ph": "X", "cat": "kernel", "name": "head_of_trace"},
    {"ph": "X", "cat": "kernel", "name": "lstm_gates"},
    {"ph": "X", "cat": "kernel", "name": "void cutlass::Kernel2<sgemm>"},
    {"ph": "X", "cat": "gpu_memset", "name": "Memset (Device)"},
    {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoD (Device -> Device)"},
    {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)"},
    {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pageable)"},
]


def test_launches_and_transfers_of_a_trace():
    assert count_kernels.count_events(TRACE) == (4, 2)


def test_a_trace_without_its_head_is_not_believed():
    with pytest.raises(RuntimeError, match="does not see CuPy's kernels"):
        count_kernels.count_events([event for event in TRACE if event["name"] != "head_of_trace"])


def test_a_step_is_counted_inside_the_profile_and_behind_its_head(monkeypatch):
    """What the stand-in is given while the profiler looks on makes the trace."""
    class Profile:
        def __init__(self, activities):
            assert activities == ["CUDA"]

        def __enter__(self):
            self.counting = strict_cupy.counting()
            self.counts = self.counting.__enter__()
            return self

        def __exit__(self, *error):
            self.counting.__exit__(*error)

        def export_chrome_trace(self, path):
            names = ["head_of_trace" if "head_of_trace" in name else name for name in self.counts.names.elements()]
            with open(path, "w") as file:
                json.dump({"traceEvents": [{"cat": "kernel", "name": name} for name in names]}, file)

    profiler = types.SimpleNamespace(profile=Profile, ProfilerActivity=types.SimpleNamespace(CUDA="CUDA"))
    torch = types.SimpleNamespace(profiler=profiler)
    monkeypatch.setattr(count_kernels, "torch_on_gpu", lambda: torch)
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    np.use("cupy")
    x = np.ones(3)
    launches, transfers = count_kernels.count_kernels(lambda: [x.fill(1), np.tanh(x), np.exp(x)])
    np.use("numpy")
    assert (launches, transfers) == (3 + 1, 0)  # and that the host waits, which the stand-in notes as it notes launches


class Cupti:
    """CUPTI as far as it is used; `call` tells of a call of CUDA, which can make others."""

    def __init__(self, error=0):
        self.domains, self.error = [], error

    def cuptiSubscribe(self, subscriber, callback, userdata):
        self.callback = callback
        return self.error

    def cuptiEnableDomain(self, enable, subscriber, domain):
        self.domains.append(domain)
        return 0

    def cuptiUnsubscribe(self, subscriber):
        self.domains.clear()
        return 0

    def call(self, domain, function, inside=lambda: None):
        for at_exit in (0, 1):
            data = (ctypes.c_void_p * 5)(at_exit, ctypes.cast(ctypes.c_char_p(function), ctypes.c_void_p).value)
            if domain in self.domains:
                self.callback(None, domain, 7, ctypes.cast(data, ctypes.POINTER(count_kernels._Call)))
            if not at_exit:
                inside()


def test_calls_that_start_something_each_once():
    cupti = Cupti()

    def step():
        cupti.call(1, b"cuLaunchKernel")
        cupti.call(2, b"cudaLaunchKernel_v7000", lambda: cupti.call(1, b"cuLaunchKernelEx"))
        cupti.call(1, b"cuMemsetD8Async")
        cupti.call(2, b"cudaMemcpyAsync", lambda: cupti.call(1, b"cuMemcpyDtoDAsync_v2"))
        cupti.call(2, b"cudaStreamSynchronize", lambda: cupti.call(1, b"cuStreamSynchronize"))
        cupti.call(2, b"cudaGetDevice")
        cupti.call(1, b"cuLaunchKernel")

    assert count_kernels.count_calls(step, cupti) == 5
    assert cupti.domains == []


def test_cupti_that_refuses():
    with pytest.raises(RuntimeError, match="its error 39"):
        count_kernels.count_calls(lambda: None, Cupti(error=39))
