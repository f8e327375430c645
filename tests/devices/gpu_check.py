"""All that has to be tried on a GPU, in one command of eight minutes: `make gpu-check`.

Needs CuPy, pytest, hypothesis, matplotlib and PyTorch beside Python, and Linux; no network, and nothing is installed.
With pytest-xdist the tests run on all cores, so that more of them fit into their time.
Each part has a process of its own and a limit of time: one that fails or takes too long does not stop the next. What
it printed is kept, in one folder with a report of all parts, which is written anew after each.
"""
import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPORT = "report.md"
WORKERS = 12  # processes that share the card; each takes half a gigabyte of it
LINES = 80  # of a part's output that the report shows; the last ones


@dataclasses.dataclass
class Part:
    """One thing to try.

    Attributes
    ----------
    name : str
        Also of the file with its output, <name>.log.
    title : str
    arguments : list of str
        Of Python.
    limit : float
        Seconds, after which its process is killed with all that it started.
    result : str
        "passed", or what became of it instead.
    seconds : float
        That it took.
    """

    name: str
    title: str
    arguments: list
    limit: float
    result: str = "not run"
    seconds: float = 0.0


def parts_of(args):
    """List the parts. With the seconds that they have by default, the limits add up to eight minutes.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    list of Part
    """
    # Warnings are shown, not errors: which versions an image has is not ours to choose.
    pytest = ["-m", "pytest", "-q", "--tb=short", "-W", "default", "-p", "no:cacheprovider", "--devices", "cupy"]
    if importlib.util.find_spec("xdist"):
        pytest += ["-p", "xdist.plugin", "-n", "auto", "--maxprocesses", str(WORKERS)]
    folders = ["tests/common", "tests/ch_lstm", "tests/ch_rnn"]  # layers, trainers and files before scripts
    tests = [*pytest, *folders] if args.all_tests else [*pytest, "--within", "160", *folders]
    against = [*pytest, "--within", "50", "tests/devices/test_cpu_against_device.py"]
    bench, recipe = ["tests/benchmarks/gpu.py"], ["--recipe"]
    if args.stand_in:
        tests[-len(folders):] = ["tests/common/layers/test_squared_error.py"]
        against += ["-k", "MatMul"]
        bench += "--steps 1 --evaluate 20 --batch-size 2 --time-size 3 --vocab-size 12 --size 4".split()
        recipe = ["--smoke", "--max-tokens", "300", "--recipe"]
    return [
        Part("device", "The device, and versions", ["tests/devices/device_facts.py"], 30),
        Part("tests", "The tests of both devices" + (", all of them" if args.all_tests else ", a selection"),
             tests, 3600 if args.all_tests else 180),
        Part("cpu-against-gpu", "Layers, trainings and files, CPU against GPU", against, 60),
        Part("bench", "Speed beside PyTorch with cuDNN, and launches", bench, 70),
        Part("chapter6", "Chapter 6's recipe", ["tests/devices/train_for.py", "40", *recipe, "chapter6"], 60),
        Part("better", f"The recipe better, as many epochs as {args.seconds} seconds allow",
             ["tests/devices/train_for.py", str(args.seconds), *recipe, "better"], args.seconds + 20),
    ]


def environment(stand_in):
    """Return the environment of the parts: what they import of this checkout, and no plugins but pytest's own."""
    folders = [ROOT, ROOT / "tests/devices", ROOT / "tests/benchmarks", *os.environ.get("PYTHONPATH", "").split(":")]
    if stand_in:
        folders.insert(0, ROOT / "tests/devices/stand_in")
    return os.environ | {"PYTHONPATH": ":".join(map(str, filter(None, folders))), "PYTHONUNBUFFERED": "1",
                         "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run_part(part, log, environment):
    """Run a part in a process of its own, its output into a file, and note in the part what became of it."""
    own_group = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
    start = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, *part.arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, **own_group)
        try:
            code = process.wait(part.limit)
            part.result = "passed" if code == 0 else f"failed: {f'exit code {code}' if code > 0 else f'signal {-code}'}"
        except subprocess.TimeoutExpired:
            part.result = f"failed: over its limit of {part.limit:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
            process.wait()
    part.seconds = time.monotonic() - start


def output_of(part, folder):
    """Return the lines that a part printed."""
    log = folder / f"{part.name}.log"
    return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []


def last_line(part, folder):
    """Return the last line of a part's output that says something, without pytest's frame and the gaps of a table."""
    lines = [" ".join(line.strip("=! ").split()) for line in output_of(part, folder)]
    return next((line for line in reversed(lines) if line), "")


def write_report(parts, folder):
    """Write what became of the parts so far."""
    lines = [
        "# GPU check", "", f"{datetime.datetime.now().isoformat(' ', 'minutes')}, `{shlex.join(sys.argv)}`", "",
        "| part | result | seconds | last line |", "|---|---|---|---|"]
    for part in parts:
        last = last_line(part, folder)[:150].replace("|", "\\|")
        lines.append(f"| {part.name} | {part.result} | {part.seconds:.0f} | {last} |")
    for part in parts:
        output = output_of(part, folder)
        left_out = f" (its last {LINES} lines; all of them: {part.name}.log)" if len(output) > LINES else ""
        lines += ["", f"## {part.title}: {part.result}", "",
                  f"`python {shlex.join(part.arguments)}`, at most {part.limit:g} s{left_out}", "",
                  *(f"    {line}" for line in output[-LINES:])]
    (folder / REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv=None):
    """Run the parts; returns the exit code, 0 if all passed."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__, usage=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the report (default: gpu-check)")
    parser.add_argument("--all-tests", action="store_true", help="all tests of both devices, however long they take")
    parser.add_argument("--seconds", type=int, default=60, help="to train the recipe better (default: 60)")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="only these (default: all)")
    parser.add_argument("--stand-in", action="store_true", help="try this command itself, without a GPU")
    args = parser.parse_args(argv)
    if args.seconds < 1:
        parser.error(f"--seconds {args.seconds}: wanted at least 1")
    parts = parts_of(args)
    names = [part.name for part in parts]
    for name in args.parts or []:
        if name not in names:
            parser.error(f"no part {name!r}: choose from {', '.join(names)}")
    parts = [part for part in parts if part.name in (args.parts or names)]
    folder = args.out.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / REPORT).exists()):
        parser.error(f"{args.out} is there already, and holds no earlier report: choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log"):
        old.unlink()

    # The handler raises KeyboardInterrupt; who is started in the background would ignore SIGINT without it.
    old_handlers = {number: signal.signal(number, signal.default_int_handler)
                    for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for part in parts:
            part.result = "running"
            write_report(parts, folder)
            print(f"{part.name}: at most {part.limit:g} s ...", flush=True)
            run_part(part, folder / f"{part.name}.log", environment(args.stand_in))
            write_report(parts, folder)
            print(f"    {part.result}, {part.seconds:.0f} s: {last_line(part, folder)}", flush=True)
    except KeyboardInterrupt:
        part.result = "stopped"
        write_report(parts, folder)
        return 130
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        print("report:", folder / REPORT)
    failed = [part.name for part in parts if part.result != "passed"]
    print("passed:", ", ".join(part.name for part in parts if part.result == "passed") or "none")
    print("failed:", ", ".join(failed) or "none")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
