import collections
import os
import pathlib
import signal
import sys
import time

import hypothesis
import pytest
import strict_cupy

from common.errors import InputError
from common.np import np

# The fixture `device` is the same for all examples of a test. No deadline: beside other work an example takes any time.
hypothesis.settings.register_profile(
    "devices", deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
hypothesis.settings.load_profile("devices")


# A shell ignores Ctrl-C for what it runs in the background, and nohup ignores SIGHUP; the tests send themselves both.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (getattr(signal, "SIGHUP", None), signal.SIG_DFL)):
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

pytest_plugins = ["promised"]  # of tests/promises
STARTED = time.monotonic()
TESTS = pathlib.Path(__file__).parent
# Each takes a minute or more: make test-notebooks, make test-browser, make test-fuzz, make test-promises,
# make test-small-model.
ON_REQUEST = [TESTS / name for name in ("notebooks", "browser", "fuzz", "promises", "small_model")]


def pytest_ignore_collect(collection_path, config):
    """Leave out what runs on request, unless pytest is given that folder or something in it."""
    given = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
    if collection_path in ON_REQUEST:
        return not any(collection_path in (path, *path.parents) for path in given) or None
    return None


def pytest_addoption(parser):
    parser.addoption("--devices", default="numpy,stand-in", help=(
        "where the tests of layers, models and training run: numpy, stand-in (a strict CuPy without a GPU), cupy"))
    parser.addoption("--within", type=float, metavar="SECONDS", help=(
        "begin with one test of each function, and skip those whose turn did not come within this number of seconds"))


def pytest_sessionstart(session):
    if "cupy" in session.config.getoption("devices").split(","):
        try:
            np.use("cupy")
        except InputError as error:
            pytest.exit(str(error), returncode=2)
        np.use("numpy")


def pytest_collection_modifyitems(config, items):
    if config.getoption("devices") == "cupy":
        items[:] = [item for item in items if {"device", "cpu_and_device"} & set(item.fixturenames)]
    if config.getoption("within") is not None:
        turns = collections.Counter()

        def turn(item):
            function = item.nodeid.partition("[")[0]
            turns[function] += 1
            return turns[function]

        items.sort(key=turn)


def pytest_runtest_setup(item):
    within = item.config.getoption("within")
    if within is not None and time.monotonic() > STARTED + within:
        pytest.skip(f"its turn had not come after {within:g} seconds")


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", metafunc.config.getoption("devices").split(","), indirect=True)


@pytest.fixture
def device(request, monkeypatch):
    """Run the test on each device; the value is what the flag --device of a script takes."""
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    np.use("numpy" if request.param == "numpy" else "cupy")
    yield "cpu" if request.param == "numpy" else "gpu"
    np.use("numpy")


@pytest.fixture
def ptb_dir():
    """The folder of the real Penn Treebank files; skips where RNN_DATA_DIR does not lead to them."""
    data_dir = pathlib.Path(os.environ.get("RNN_DATA_DIR") or "RNN_DATA_DIR is not set")
    for folder in (data_dir / "ptb", data_dir):
        if (folder / "ptb.train.txt").is_file():
            return folder
    pytest.skip("needs the Penn Treebank: set RNN_DATA_DIR to the folder of ptb.train.txt")
