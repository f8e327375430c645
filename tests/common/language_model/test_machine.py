"""What a training depends on besides its settings."""
import os
import pathlib
import platform
import sys
from importlib import metadata

import numpy
import pytest
import threadpoolctl

from common.language_model import machine
from common.language_model.machine import differences, machine_facts


def test_versions_processor_and_kernels_are_named(device):
    facts = machine_facts()
    assert facts["python"] == platform.python_version() and facts["numpy"] == numpy.__version__
    assert facts["rnn-from-scratch"] == metadata.version("rnn-from-scratch")
    assert facts["cores"] == str(len(os.sched_getaffinity(0)))
    assert facts["processor"] and "\n" not in facts["processor"]
    if device == "cpu":
        assert facts["device"] == "cpu" and "cupy" not in facts
    else:
        assert facts["device"] != "cpu" and facts["cupy"] == sys.modules["cupy"].__version__
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize("content, name", [
    (b"processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t: x\n\nmodel name\t: Another\n", "Some CPU @ 2.00GHz"),
    (b"model name\t: \xff CPU\n", "\ufffd CPU"), (b"Features\t: x\n", "by platform"), (None, "by platform")])
def test_the_processor_has_the_name_that_its_system_gives(content, name, monkeypatch, tmp_path):
    if content is not None:
        (tmp_path / "cpuinfo").write_bytes(content)
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / pathlib.Path(path).name)
    monkeypatch.setattr(platform, "processor", lambda: "by platform")
    assert machine_facts()["processor"] == name
    if name == "by platform":
        monkeypatch.setattr(platform, "processor", lambda: "")
        assert machine_facts()["processor"] == platform.machine()


def test_several_libraries_are_named_in_order_and_others_are_not(monkeypatch):
    def library(api, kind="blas"):
        return {"internal_api": api, "version": "1", "architecture": "X", "num_threads": 2, "user_api": kind}

    found = [library("openblas"), library("mkl"), library("libgomp", "openmp"), library("openblas")]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: found)
    assert machine_facts()["BLAS"] == "mkl 1 X, threads: 2; openblas 1 X, threads: 2"


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
