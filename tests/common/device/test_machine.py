"""What a training depends on besides its settings."""
import platform
import sys
from importlib import metadata

import numpy
import threadpoolctl

from common.device import machine
from common.device.machine import differences, machine_facts


def test_versions_processor_and_kernels_are_named(device):
    facts = machine_facts()
    assert facts["python"] == platform.python_version() and facts["numpy"] == numpy.__version__
    assert facts["rnn-from-scratch"] == metadata.version("rnn-from-scratch")
    assert facts["processor"] and "\n" not in facts["processor"]
    if device == "cpu":
        assert facts["device"] == "cpu" and "cupy" not in facts
    else:
        assert facts["device"] != "cpu" and facts["cupy"] == sys.modules["cupy"].__version__
    assert all(isinstance(value, str) for value in facts.values())


def test_another_number_of_threads_is_another_fact():
    blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    before = machine_facts()["BLAS"]
    assert all(library["internal_api"] in before and library["version"] in before for library in blas)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        one = machine_facts()["BLAS"]
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        two = machine_facts()["BLAS"]
    assert one.endswith("threads: 1") and two == one.replace("threads: 1", "threads: 2")


def test_without_the_package_that_knows_it_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert machine_facts()["BLAS"] == "unknown"


def test_a_folder_that_was_not_installed_has_no_version(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "version", version)
    assert machine_facts()["rnn-from-scratch"] == "unknown"


def test_differences_are_said_in_words():
    assert differences({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == []
    changed = differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert changed == ["a: 1, now none", "b: 2, now 3", "c: none, now 4"]
