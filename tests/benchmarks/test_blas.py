"""Measurements of speed run with OpenBLAS's own choice of kernel and name it; the tests can be run with the others."""
import pathlib
import re
import runpy
import subprocess
import sys

import blas
import blas_kernels
import growth
import numpy
import pytest
import speed

BENCHMARKS = pathlib.Path(__file__).parent


def output_of(code, **environment):
    """Return what a Python process prints, OpenBLAS's own words about its kernel included."""
    environment = {"PYTHONPATH": str(BENCHMARKS), "OPENBLAS_VERBOSE": "2"} | environment
    child = subprocess.run([sys.executable, "-c", code], env=blas.unsteered() | environment, check=True, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return child.stdout


def test_a_script_starts_anew_without_what_steers_openblas(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys, blas\nblas.restart_unsteered()\n"
                      "print(sys.argv[1:], {'OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE', 'PYTHONPATH'} & {*os.environ})\n")
    environment = {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_L2_SIZE": "1000", "PYTHONPATH": str(BENCHMARKS)}
    printed = subprocess.check_output([sys.executable, script, "--rounds", "2"], env=environment, text=True)
    assert printed == "['--rounds', '2'] {'PYTHONPATH'}\n"


@pytest.mark.parametrize("script", ["speed.py", "growth.py"])
def test_a_benchmark_does_so_before_it_measures(script, monkeypatch):
    class Restarted(Exception):
        """In the place of a new process."""

    def restart():
        raise Restarted

    monkeypatch.setattr(blas, "restart_unsteered", restart)
    monkeypatch.setattr(sys, "argv", [script, "--nonsense"])
    with pytest.raises(Restarted):
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")


@pytest.mark.parametrize("steering", [{}, {"OPENBLAS_CORETYPE": "Nehalem"}])
def test_a_measurement_names_the_versions_the_kernel_and_the_threads(steering):
    printed = output_of("import blas; print(blas.in_words())", OPENBLAS_NUM_THREADS="1", **steering)
    core = re.search(r"^Core: (\w+)$", printed, re.MULTILINE)  # OpenBLAS says so itself
    if core is None:
        pytest.skip("needs an OpenBLAS that chooses its kernel when it is loaded")
    assert re.search(rf"^NumPy {re.escape(numpy.__version__)}, openblas [\d.]+\w*, kernel {core[1]}, threads 1$",
                     printed, re.MULTILINE)
    assert blas.kernel(steering.get("OPENBLAS_CORETYPE")) == core[1]


class FakeContestant:
    def __init__(self, name):
        self.name, self.tokens, self.seconds, self.memory, self.blas = name, 1, [1.0], 1, f"the BLAS of {name}"


def test_the_table_of_speeds_names_it_once(capsys, monkeypatch):
    monkeypatch.setattr(speed, "run", lambda letter, names, rounds: [FakeContestant(name) for name in names])
    speed.main([])
    printed = capsys.readouterr().out
    assert printed.count("BLAS") == 1 and printed.index("the BLAS of fast\n") < printed.index("workload")


def test_the_table_of_growth_names_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(blas, "in_words", lambda: "the BLAS of ours")
    monkeypatch.setattr(growth, "SIZES", {"N": 2, "T": 3, "H": 4, "V": 9})
    monkeypatch.setattr(growth, "SWEEPS", {"T": [2, 3]})
    monkeypatch.setattr(growth.plt.Figure, "savefig", lambda *args, **options: None)
    growth.main(["--rounds", "1", "--out", str(tmp_path / "growth.png")])
    assert capsys.readouterr().out.startswith("the BLAS of ours\nsize")


def test_kernels_are_those_that_the_processor_can_run_the_default_first(monkeypatch):
    taken = {None: "B", "new": None, "b": "B", "c": "C", "like c": "C"}
    monkeypatch.setattr(blas, "kernel", taken.get)
    monkeypatch.setattr(blas, "CORETYPES", {blas.platform.machine(): ("new", "b", "c", "like c")})
    assert [*blas.kernels().items()] == [("B", [None, "b"]), ("C", ["c", "like c"])]


def test_a_kernel_of_instructions_that_the_processor_has_not(monkeypatch):
    monkeypatch.setattr(blas, "TRIAL", "import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    assert blas.kernel() is None


def runs(monkeypatch, capsys, found, failing=(), flags=()):
    """Return the exit code, the words printed, and what pytest was started with: (threads, kernel, arguments)."""
    started = []

    def pretend(command, cwd, env):
        assert "OPENBLAS_L2_SIZE" not in env and env["RNN_DATA_DIR"] == "anywhere"
        started.append((env["OPENBLAS_NUM_THREADS"], env.get("OPENBLAS_CORETYPE"), command[4:]))
        return subprocess.CompletedProcess(command, int(started[-1][:2] in failing))

    for name, value in {"OPENBLAS_L2_SIZE": "1000", "OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "7",
                        "RNN_DATA_DIR": "anywhere"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(blas_kernels, "kernels", lambda: found)
    monkeypatch.setattr(subprocess, "run", pretend)
    return blas_kernels.main(flags), capsys.readouterr().out, started


TWO = {"B": [None, "b"], "C": ["c", "like c"]}
ALL = [str(BENCHMARKS.parent)]
ALL_CORES = blas_kernels.ALL_CORES
NOTEBOOKS = [str(BENCHMARKS.parent / "notebooks")]


def test_all_tests_run_with_each_kernel_on_one_thread_and_on_two(monkeypatch, capsys):
    code, printed, started = runs(monkeypatch, capsys, TWO, failing=[("2", "c")])
    assert started == [(threads, kernel, tests) for kernel in (None, "c") for threads in "12"
                       for tests in (ALL_CORES + ALL, NOTEBOOKS)]
    assert [line.split() for line in printed.splitlines()[-4:]] == [
        ["B", "(default)", "1", "passed", "passed"], ["B", "(default)", "2", "passed", "passed"],
        ["C,", "c,", "like", "c", "1", "passed", "passed"], ["C,", "c,", "like", "c", "2", "FAILED", "FAILED"]]
    assert code == 1


def test_what_depends_on_training_runs_with_one_kernel_that_is_not_the_default(monkeypatch, capsys):
    code, printed, started = runs(monkeypatch, capsys, TWO | {"D": ["d"]}, flags=["--only", "training"])
    assert started == [("2", "c", ["-m", "training", "--devices", "numpy", *ALL]), ("2", "c", NOTEBOOKS)]
    assert code == 0 and printed.splitlines()[-1].split()[-3:] == ["2", "passed", "passed"]


def test_where_there_is_no_other_kernel_it_says_so(monkeypatch, capsys):
    code, printed, started = runs(monkeypatch, capsys, {"B": [None]}, flags=["--only", "training"])
    assert (code, started) == (0, []) and printed == "this processor runs no kernel of NumPy's BLAS but B\n"
