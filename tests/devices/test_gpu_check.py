"""`make gpu-check` tried without a GPU: its parts on the stand-in, and what it does with parts that go wrong."""
import argparse
import ast
import os
import select
import signal
import subprocess
import sys
import types
from pathlib import Path

import device_facts
import gpu_check
import pytest
import strict_cupy
import train_for
from gpu_check import Part, parts_of

import ch_lstm.train
from common.language_model.run import TrainingRun
from common.np import np

TESTS = Path(__file__).parents[1]
DEFAULTS = argparse.Namespace(stand_in=False, all_tests=False, seconds=60)


@pytest.fixture
def on_stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    yield
    np.use("numpy")


# --- the runner

def python(code, *arguments):
    return ["-S", "-c", code, *map(str, arguments)]


CHILD = "import sys, time; file = open(sys.argv[1], 'w'); file.write('here'); file.flush(); time.sleep(60)"
NEVER_ENDS = f"""
import subprocess, sys, time
print("begun", flush=True)
subprocess.Popen([sys.executable, "-S", "-c", {CHILD!r}, sys.argv[1]])
time.sleep(60)
"""


@pytest.fixture
def pipe(tmp_path):
    """A pipe with a name, into which the child of the part that never ends writes, and that closes when it is gone."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


def read(pipe):
    """Return what comes next from a pipe; nothing where it was closed."""
    assert select.select([pipe], [], [], 30)[0], "nothing comes, and nobody closes it"
    return os.read(pipe, 100)


def when_it_runs(pipe, then, monkeypatch):
    """Let the waiting for a part of limit 7 end as soon as its child runs, on a busy machine too; `then` ends it."""
    class Popen(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout != 7:
                return super().wait(timeout)
            assert read(pipe) == b"here"
            return then(super().wait)

    monkeypatch.setattr(gpu_check.subprocess, "Popen", Popen)


def check(parts, folder, monkeypatch):
    monkeypatch.setattr(gpu_check, "parts_of", lambda args: parts)
    return gpu_check.main(["--out", str(folder)])


def test_a_part_that_fails_or_overruns_does_not_stop_the_next(tmp_path, pipe, monkeypatch, capsys):
    parts = [Part("fails", "It fails", python("print('a | b'); raise SystemExit(3)"), 60),
             Part("overruns", "It overruns", python(NEVER_ENDS, tmp_path / "pipe"), 7),
             Part("crashes", "It crashes", python("import os; os.abort()"), 60),
             Part("passes", "It passes", python("print('== fine ==\\n')"), 60)]
    when_it_runs(pipe, lambda wait: wait(0), monkeypatch)
    assert check(parts, tmp_path / "out", monkeypatch) == 1
    assert read(pipe) == b""  # its child is gone, too
    report = (tmp_path / "out/report.md").read_text()
    rows = [[cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]]
            for line in report.splitlines() if line.startswith("| ")]
    assert [(name, result, last) for name, result, _, last in rows] == [
        ("part", "result", "last line"), ("fails", "failed: exit code 3", "a / b"),
        ("overruns", "failed: over its limit of 7 s", "begun"), ("crashes", "failed: signal 6", ""),
        ("passes", "passed", "fine")]
    assert (tmp_path / "out/overruns.log").read_text() == "begun\n" and "\n    begun\n" in report
    assert capsys.readouterr().out.splitlines()[-2:] == ["passed: passes", "failed: fails, overruns, crashes"]


def test_all_parts_passed(tmp_path, monkeypatch, capsys):
    assert check([Part("a", "", python(""), 60), Part("b", "", python(""), 60)], tmp_path, monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["passed: a, b", "failed: none"]


def test_the_report_is_written_after_every_part(tmp_path, monkeypatch, capsys):
    reads = python("import sys; print(open(sys.argv[1]).read())", tmp_path / "report.md")
    parts = [Part("first", "", python(""), 60), Part("second", "", reads, 60), Part("third", "", reads, 60)]
    check(parts, tmp_path, monkeypatch)
    seen = (tmp_path / "second.log").read_text()
    assert "| first | passed |" in seen and "| second | running |" in seen and "| third | not run |" in seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_what_was_done_and_no_process(number, tmp_path, pipe, monkeypatch, capsys):
    parts = [Part("first", "", python(""), 60), Part("second", "", python(NEVER_ENDS, tmp_path / "pipe"), 7)]

    def stop(wait):
        os.kill(os.getpid(), number)
        return wait(60)

    when_it_runs(pipe, stop, monkeypatch)
    assert check(parts, tmp_path / "out", monkeypatch) == 130
    assert read(pipe) == b""
    report = (tmp_path / "out/report.md").read_text()
    assert "| first | passed |" in report and "| second | stopped |" in report and "\n    begun\n" in report


def test_a_long_output_is_cut_in_the_report_only(tmp_path, monkeypatch, capsys):
    check([Part("long", "", python("for i in range(1000): print('line', i)"), 60)], tmp_path, monkeypatch)
    report = (tmp_path / "report.md").read_text()
    assert "line 999" in report and "line 0\n" not in report and "all of them: long.log" in report
    assert len((tmp_path / "long.log").read_text().splitlines()) == 1000


def test_wrong_use_is_said_in_one_line(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    for flags, words in ((["--parts", "tets"], "no part 'tets': choose from device, tests, cpu-against-gpu, bench"),
                         (["--out", str(tmp_path)], f"{tmp_path} is there already, and holds no earlier report"),
                         (["--out", str(tmp_path / "thesis.txt")], "is there already"),
                         (["--seconds", "0"], "--seconds 0: wanted at least 1")):
        with pytest.raises(SystemExit, match="2"):
            gpu_check.main(flags)
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_chosen_parts_only_and_an_older_report_goes(tmp_path, monkeypatch, capsys):
    parts = [Part(name, "", python(""), 60) for name in ("a", "b", "c")]
    check(parts, tmp_path, monkeypatch)
    assert gpu_check.main(["--out", str(tmp_path), "--parts", "b"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "b.log"}


# --- the parts

def test_it_takes_eight_minutes_of_which_the_selection_of_tests_three():
    limits = {part.name: part.limit for part in parts_of(DEFAULTS)}
    assert sum(limits.values()) <= 8 * 60 and limits["tests"] <= 3 * 60
    for part in parts_of(DEFAULTS):
        if "--within" in part.arguments:  # such a part ends by itself before its limit
            assert float(part.arguments[part.arguments.index("--within") + 1]) < part.limit
    everything = parts_of(argparse.Namespace(stand_in=False, all_tests=True, seconds=500))
    assert "--within" not in everything[1].arguments and everything[-1].limit > 500


def test_the_tests_of_both_devices_lie_where_it_looks_for_them():
    def is_of_both_devices(path):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        return any(isinstance(node, ast.arg) and node.arg == "device"
                   or isinstance(node, ast.Constant) and node.value == "device" for node in tree)

    folders = {path.relative_to(TESTS.parent).parent.as_posix() for path in TESTS.glob("*/test_*.py")
               if path.parent.name != "devices" and is_of_both_devices(path)}
    tests = parts_of(DEFAULTS)[1]
    assert folders == {argument for argument in tests.arguments if argument.startswith("tests/")}


def test_turns_of_tests(request, monkeypatch):
    conftest = request.config.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    options = {"devices": "numpy", "within": 10}
    config = types.SimpleNamespace(getoption=options.get)
    items = [types.SimpleNamespace(nodeid=name, config=config) for name in "a[1] a[2] a[3] b c[1] c[2]".split()]
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["a[1]", "b", "c[1]", "a[2]", "c[2]", "a[3]"]
    monkeypatch.setattr(conftest, "time", types.SimpleNamespace(monotonic=lambda: conftest.STARTED + seconds))
    seconds = 9
    conftest.pytest_runtest_setup(items[0])
    seconds = 11
    with pytest.raises(pytest.skip.Exception, match="its turn had not come after 10 seconds"):
        conftest.pytest_runtest_setup(items[0])


NOT_ON_AN_IMAGE = ["tqdm", "certifi", "jieba", "sklearn", "faker", "safetensors", "threadpoolctl"]
TORCH = """
import types
cuda, version = types.SimpleNamespace(is_available=lambda: False), types.SimpleNamespace(cuda="13.0")
backends = types.SimpleNamespace(cudnn=types.SimpleNamespace(version=lambda: 92400))
"""


def test_the_whole_of_it_on_the_stand_in(tmp_path):
    """With what a CUDA image has, and PyTorch, which takes seconds to import, in its place."""
    image = tmp_path / "image"
    image.mkdir()
    for name in NOT_ON_AN_IMAGE:
        (image / f"{name}.py").write_text(f"raise ImportError('an image has no {name}')")
    (image / "torch.py").write_text(TORCH)
    environment = os.environ | {"PYTHONPATH": str(image), "RNN_DATA_DIR": "", "OUT": ""}
    command = ["make", "--no-print-directory", "gpu-check", f"PYTHON={sys.executable}",
               f"FLAGS=--stand-in --out {tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    report = (tmp_path / "out/report.md").read_text()
    assert done.returncode == 0, report + done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "passed: device, tests, cpu-against-gpu, bench, chapter6, better", "failed: none"]
    for words in ("no GPU, CuPy 13 and 14", "torch: ", "BetterRnnlm", "on the embedded corpus",
                  "rnnlm (", "better (", "epoch 1, lr 20.0, max_grad 0.25, train_perplexity",
                  "whole epochs: 1, the last at"):
        assert words in report
    assert len(list((tmp_path / "out").iterdir())) == 7


def test_without_cupy_the_device_is_said_to_be_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert device_facts.main([]) == 2
    out, error = capsys.readouterr()
    assert "numpy: 2" in out and "PyTorch's CUDA: unknown" in out
    assert error.startswith("device: the GPU needs CuPy, which is not installed") and error.count("\n") == 1


def test_a_missing_package_is_named(on_stand_in, monkeypatch, capsys):
    monkeypatch.setattr(device_facts, "NEEDED", ("numpy", "no_such_package"))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert device_facts.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "missing: no_such_package"


def test_training_stops_after_its_seconds_and_is_shown(on_stand_in, monkeypatch, capsys):
    timers = []

    class Timer:
        """One whose time is up at the end of the first epoch."""

        def __init__(self, seconds, function, arguments):
            timers.append(self)
            self.seconds, self.ring, self.state = seconds, lambda: function(*arguments), "made"

        def start(self):
            self.state = "started"

        def cancel(self):
            self.state = "cancelled"

    def close_epoch_and_ring(self):
        closed = close_epoch(self)
        timers[0].ring()
        return closed

    close_epoch = TrainingRun._close_epoch
    monkeypatch.setattr(TrainingRun, "_close_epoch", close_epoch_and_ring)
    monkeypatch.setattr(train_for.threading, "Timer", Timer)
    monkeypatch.setenv("RNN_DATA_DIR", "")
    assert train_for.main(["12.5", "--smoke", "--max-tokens", "300", "--recipe", "better", "--epochs", "5"]) == 0
    assert [(timer.seconds, timer.state) for timer in timers] == [(12.5, "cancelled")]
    out = capsys.readouterr().out
    assert "better (" in out and "stopped by Ctrl-C in epoch 2" in out and "perplexity" in out.splitlines()[-3]
    assert out.splitlines()[-2].startswith("epoch 1, lr 20.0, max_grad 0.25, train_perplexity ")
    assert out.splitlines()[-1].startswith("whole epochs: 1, the last at ")


def test_training_is_on_the_penn_treebank_where_that_is(monkeypatch, tmp_path, capsys):
    given = []
    monkeypatch.setattr(ch_lstm.train, "main", lambda argv: given.append(argv) or 2)
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    assert train_for.main(["60", "--recipe", "chapter6"]) == 2
    (tmp_path / "ptb.train.txt").write_text("a word\n")
    train_for.main(["60", "--recipe", "chapter6"])
    assert [argv[:-1] for argv in given] == [
        ["--recipe", "chapter6", "--corpus", "pydoc", "--device", "gpu", "--out"],
        ["--recipe", "chapter6", "--device", "gpu", "--out"]]
