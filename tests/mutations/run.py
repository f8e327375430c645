"""Break the formulas one small edit at a time, and see that the checks notice: `make test-mutations`.

Each edit (see `edits`) is made in a copy of the project, in which the tests of the layers and then
the gradient checker run. An edit that neither notices has survived; it must be explained in
`survivors`, because it changes nothing that can be observed, or this fails. It also fails for an
explanation that no survivor needs. A copy without any edit is tried first, and must survive:
otherwise everything would count as caught.
"""
import argparse
import collections
import concurrent.futures
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import numpy  # noqa: F401  (imported here, so that not every child has to)
import pytest

import edits
import survivors

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("common", "ch_rnn", "ch_lstm", "dataset", "tests", "setup.cfg")
CPU_SECONDS = 300  # for one edit; an endless loop counts as caught, a busy machine does not

# file: (classes and functions to edit, tests that hold them besides the gradient checker)
TARGETS = {
    "functions.py": (None, ["test_functions.py"]),
    "ids.py": (None, ["test_ids.py"]),
    "segment_sums.py": (None, ["test_segment_sums.py", "test_layers.py", "../devices/test_training_step.py"]),
    "device_random.py": (None, ["test_device_random.py"]),
    "layers.py": (None, ["test_layers.py", "test_ids.py", "test_layer.py", "../devices/test_training_step.py"]),
    "recurrent.py": ({"RecurrentLayer"}, ["test_rnn.py", "test_lstm.py"]),
    "packing.py": (None, ["test_packing.py"]),
    "rnn.py": (None, ["test_rnn.py", "test_layer.py"]),
    "fast_rnn.py": (None, ["test_fast_rnn.py"]),
    "lstm.py": (None, ["test_lstm.py", "test_layer.py"]),
    "fast_lstm.py": (None, ["test_fast_lstm.py"]),
    "gru.py": (None, ["test_gru.py", "test_layer.py"]),
    "bidirectional.py": (None, ["test_bidirectional.py", "test_layer.py"]),
    "stack.py": (None, ["test_stack.py", "test_layer.py"]),
    "time_layers.py": (None, ["test_time_layers.py", "test_layer.py", "test_packing.py"]),
    "fused_loss.py": (None, ["test_fused_loss.py"]),
}


def verdict(folder, file, tests):
    """Run the checks on a copy of the project, the quick ones first; return "tests", "checker" or "survived"."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for part in ("benchmarks", "devices"):
        sys.path.insert(0, str(folder / "tests" / part))
    paths = [str(folder / "tests" / "common" / name) for name in tests]
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}",
                        f"--confcutdir={folder / 'tests'}", *paths])
    if code != pytest.ExitCode.OK:
        return "tests"
    from common.gradient_cases import layer_cases
    from common.gradient_check import check

    edited = (folder / "common" / file).read_text(encoding="utf-8")
    try:
        cases = sorted(layer_cases(), key=lambda case: f"class {case.layer}" not in edited)
        return "survived" if all(check(case).passed(1e-6) for case in cases) else "checker"
    except Exception:
        return "checker"


VERDICTS = ["tests", "checker", "survived"]


def try_edit(file, edit, tests):
    """Make one edit in a copy of the project and return the verdict of a child process on it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part)
            else:
                shutil.copy(source, folder / part)
        (folder / "common" / file).write_text(edit.source, encoding="utf-8")
        pid = os.fork()
        if pid == 0:
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            try:
                code = VERDICTS.index(verdict(folder, file, tests))
            except BaseException:
                code = len(VERDICTS)
            os._exit(code)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGPROF:
        return "tests"
    if code not in range(len(VERDICTS)):
        raise RuntimeError(f"the checks broke off with exit code {code}: {edit}")
    return VERDICTS[code]


def _no_edit():
    file = "layers.py"
    source = (ROOT / "common" / file).read_text(encoding="utf-8")
    every_test = sorted({name for _, tests in TARGETS.values() for name in tests})
    return file, edits.Edit("", 0, "none", "", "", source), every_test


def main(argv=None):
    """Make the edits, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description="Break the formulas and see that the checks notice.")
    parser.add_argument("--every", type=int, default=1, help="make only every so manieth edit")
    parser.add_argument("--file", choices=TARGETS, help="edit this file only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # installed plugins take longer to load than most tests to run
    made = [(file, edit, tests) for file, (scopes, tests) in TARGETS.items() if args.file in (None, file)
            for edit in edits.edits_of((ROOT / "common" / file).read_text(encoding="utf-8"), scopes)][::args.every]
    counts = collections.Counter()
    unexplained, needed = [], set()
    if try_edit(*_no_edit()) != "survived":
        parser.error("the checks fail without any edit; run make test")
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        for (file, edit, _), result in zip(made, pool.map(try_edit, *zip(*made))):
            explained = result == "survived" and (file, *edit.key) in survivors.EXPLAINED
            counts[file, "explained" if explained else result] += 1
            if explained:
                needed.add((file, *edit.key))
            elif result == "survived":
                unexplained.append((file, edit))
                print(f"survived: {file}:{edit.line} {edit.scope} ({edit.kind}): {edit.before} -> {edit.after}",
                      flush=True)
    columns = ["tests", "checker", "explained", "survived"]
    print(f"{'file':18} {'made':>5} " + " ".join(f"{column:>9}" for column in columns))
    for file in [*TARGETS, "all"]:
        row = [sum(count for (name, kind), count in counts.items() if kind == column and file in (name, "all"))
               for column in columns]
        if sum(row):
            print(f"{file:18} {sum(row):5} " + " ".join(f"{number:9}" for number in row))
    idle = [key for key in survivors.EXPLAINED
            if args.every == 1 and args.file in (None, key[0]) and key not in needed]
    for file, scope, before, after in idle:
        print(f"explained, but did not survive: {file} {scope}: {before} -> {after}")
    print(f"{len(made) - len(unexplained)} passed, {len(unexplained) + len(idle)} failed")
    return 1 if unexplained or idle else 0


if __name__ == "__main__":
    sys.exit(main())
