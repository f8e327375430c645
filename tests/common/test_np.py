import json
import pathlib
import subprocess
import sys
import types

import numpy
import pytest

from common.device_random import DeviceGenerator
from common.errors import InputError
from common.np import np

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def numpy_again():
    yield
    np.use("numpy")


class FakeCudaError(RuntimeError):
    pass


class FakeArray(tuple):
    """As much of an array as the shim's trial of a device needs."""

    def __matmul__(self, other):
        return self


def fake_cupy(fault=None, driver=12040):
    """A module that looks like CuPy as far as the shim can tell; `fault` is what the driver says."""
    def count():
        if fault is not None:
            raise FakeCudaError(fault)
        return 1

    cupy = types.ModuleType("cupy")
    cupy.cublas = types.SimpleNamespace()
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        getDeviceCount=count, CUDARuntimeError=FakeCudaError, driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 13000))
    cupy.ones = FakeArray
    cupy.tanh = lambda x: ("tanh on the device", x)
    cupy.fuse = lambda function: function
    cupy.asarray = lambda x: ("on the device", x)
    cupy.ndarray, cupy.float64 = tuple, numpy.float64
    return cupy


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_a_star_import_brings_exactly_one_name():
    names = {}
    exec("from common.np import *", names)
    assert set(names) - {"__builtins__"} == {"np"}
    assert names["np"] is np is sys.modules["common.np"]


def test_numpy_names_are_numpys_own():
    assert np.backend == "numpy"
    for name in ("tanh", "ndarray", "float32", "linalg", "random", "newaxis", "pi"):
        assert getattr(np, name) is getattr(numpy, name)


def test_the_backend_switches_and_stale_names_go(cupy):
    np.use("cupy")
    assert np.backend == "cupy"
    assert np.tanh is cupy.tanh and np.fuse is cupy.fuse
    assert not hasattr(np, "einsum")  # the fake has none, and NumPy's must not remain
    np.use("numpy")
    assert np.backend == "numpy"
    assert np.tanh is numpy.tanh and np.einsum is numpy.einsum
    assert not hasattr(np, "fuse") and not hasattr(np, "cuda")
    assert callable(np.use) and callable(np.seed)


def test_weights_are_drawn_on_the_host_on_both_backends(cupy):
    np.seed(3)
    on_cpu = np.host_rng.random(4)
    np.use("cupy")
    np.seed(3)
    assert numpy.array_equal(np.host_rng.random(4), on_cpu)
    assert np.rng.state == DeviceGenerator(numpy, 3).state


def test_doors_between_the_devices(cupy):
    array = numpy.arange(3)
    assert np.to_cpu(array) is array and np.to_device(array) is array
    assert np.to_gpu(array) == ("on the device", array)
    on_device = types.SimpleNamespace(get=lambda: array)
    assert np.to_cpu(on_device) is array
    np.use("cupy")
    assert np.to_device(array) == ("on the device", array)


def assert_one_line_error(call, *words):
    with pytest.raises(InputError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert np.backend == "numpy" and np.tanh is numpy.tanh  # nothing was switched


@pytest.mark.parametrize("call", [lambda: np.use("cupy"), lambda: np.to_gpu(numpy.zeros(2))])
def test_missing_cupy_names_the_extra_to_install(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "cupy", None)  # an import then raises ModuleNotFoundError
    assert_one_line_error(call, "not installed", "pip install -e '.[cuda12]'", "'.[cuda13]'")


def test_a_cupy_that_does_not_load_says_why(monkeypatch):
    def fail(name):
        raise ImportError("\nlibcublas.so.12: cannot open shared object file\nmore lines")

    monkeypatch.setattr("common.np.importlib", types.SimpleNamespace(import_module=fail))
    assert_one_line_error(lambda: np.use("cupy"), "does not load (libcublas.so.12: cannot open", "[cuda12]")


INSUFFICIENT = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"


@pytest.mark.parametrize("fault, driver, words", [
    (INSUFFICIENT, 0, ["there is no NVIDIA driver", "525 or newer", "[cuda12]", "580 or newer", "[cuda13]"]),
    (INSUFFICIENT, 12040, ["too old", "up to CUDA 12.4", "needs CUDA 13.0", "update the driver", "[cuda12]"]),
    ("cudaErrorNoDevice: no CUDA-capable device is detected", 12040,
     ["finds no GPU (no CUDA-capable device is detected)", "NVIDIA card", "CUDA_VISIBLE_DEVICES"]),
])
def test_no_gpu_is_an_error(monkeypatch, fault, driver, words):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(fault, driver))
    assert_one_line_error(lambda: np.use("cupy"), *words)


@pytest.mark.parametrize("error", [
    RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object file\nmore"),
    ImportError("libcublas.so.12: cannot open shared object file"),
])
def test_a_gpu_without_all_of_cuda_is_an_error(monkeypatch, error):
    def fail(shape):
        raise error

    cupy = fake_cupy()
    cupy.ones = fail
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert_one_line_error(lambda: np.use("cupy"), "not all parts of CUDA", "cannot open shared", "[cuda12]")


def test_an_unknown_backend_is_refused():
    assert_one_line_error(lambda: np.use("torch"), "np.use takes 'numpy' or 'cupy', got 'torch'")


def test_the_seed_repeats_and_none_does_not():
    def draws(seed):
        np.seed(seed)
        return np.rng.random(3).tolist(), np.host_rng.random(3).tolist()

    assert draws(5) == draws(5) != draws(6)
    assert draws(None) != draws(None)


def test_the_random_state_goes_through_json_and_back():
    np.seed(5)
    np.rng.random(7)
    state = json.loads(json.dumps(np.random_state()))
    expected = np.rng.random(3).tolist(), np.host_rng.random(3).tolist()
    np.seed(6)
    np.set_random_state(state)
    assert (np.rng.random(3).tolist(), np.host_rng.random(3).tolist()) == expected


def test_on_a_gpu_the_random_state_has_both_generators(cupy):
    np.use("cupy")
    np.seed(5)
    np.rng.state = np.rng.state[0], 7
    state = json.loads(json.dumps(np.random_state()))
    device_state, drawn = np.rng.state, np.host_rng.random(3).tolist()
    np.seed(6)
    np.set_random_state(state)
    assert np.rng.state == device_state and np.host_rng.random(3).tolist() == drawn


def test_a_state_of_a_cpu_gives_the_gpu_a_generator(cupy):
    np.seed(5)
    state = np.random_state()
    np.use("cupy")
    states = set()
    for _ in range(2):
        np.set_random_state(state)
        states.add(np.rng.state)
    assert len(states) == 1 and states != {DeviceGenerator(numpy, 5).state}
    on_gpu = np.random_state()
    np.use("numpy")
    np.set_random_state(on_gpu)
    assert np.random_state() == on_gpu | {"device": None}


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)


def test_the_books_switch_is_honoured():
    fake = """
import sys, types, numpy
cupy = types.ModuleType("cupy")
cupy.cublas = None
cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=OSError))
cupy.ones = lambda shape: numpy.ones(shape)
cupy.float64 = numpy.float64
sys.modules["cupy"] = cupy
from common import config
config.GPU = {gpu}
from common.np import np
print(np.backend)
"""
    assert run_python(fake.format(gpu=True)).stdout.strip() == "cupy"
    assert run_python(fake.format(gpu=False)).stdout.strip() == "numpy"


TYPED = """
from common.np import np
reveal_type(np.tanh)
reveal_type(np.backend)
reveal_type(np.zeros((2, 3), dtype=np.float32))
np.use(3)
np.tahn(0)
np.cublas.gemm
"""


def test_a_type_checker_knows_numpys_names_and_the_shims_own(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    (tmp_path / "typed.py").write_text(TYPED, encoding="utf-8")
    shown, _, _ = mypy.run([str(tmp_path / "typed.py"), "--hide-error-context"])
    tanh, backend, zeros, use, unknown, total = shown.splitlines()
    assert "_UFunc_Nin1_Nout1[Literal['tanh']" in tanh and backend.endswith('is "str"')
    assert "ndarray[" in zeros and "_32Bit" in zeros
    assert 'Argument 1 to "use" has incompatible type "int"' in use and 'no attribute "tahn"' in unknown
    assert total.startswith("Found 2 errors in 1 file")


def test_the_names_that_use_sets_are_the_shims_own():
    """A library that has one of them, or a check of the names used, must not take it for the library's."""
    assert {"backend", "rng", "host_rng", "use", "to_cpu", "to_gpu", "to_device", "seed"} <= np._OWN
