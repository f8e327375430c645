"""Training runs that are started, stopped, killed and resumed, and what they leave compared bit for bit."""
import io
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy

ROOT = Path(__file__).parents[2]
SAVE_OFTEN = ("--save-every", "0.05")  # seconds: a checkpoint every few steps
SMALL = ("--hidden-size", "12", "--wordvec-size", "12", "--batch-size", "4", "--time-size", "6", "--epochs", "4")
FILES = ("history.csv", "best.npz", "loss.png", "health.png", "config.json", "vocabulary.json")  # equal byte for byte
MAY_DIFFER = ("times",)  # and facts of machines, in the header of last.npz


class Kind(NamedTuple):
    """A kind of run: the module that trains it, its flags, and its device."""

    module: str
    flags: tuple[str, ...]
    device: str = "cpu"


KINDS = {
    "rnn": Kind("ch_rnn.train", ("--lr-decay", "4", "--lr", "1")),
    "dropout": Kind("ch_lstm.train", ("--model", "better", "--dropout", "0.5")),
    "adam": Kind("ch_lstm.train", ("--optimizer", "adam", "--lr", "0.01")),
    "adamw": Kind("ch_lstm.train", ("--optimizer", "adamw", "--lr", "0.01", "--schedule", "cosine", "--warmup", "9")),
    "windows": Kind("ch_rnn.train", ("--windows", "--shuffle", "--batch-size", "24", "--lr", "1")),
    "gru": Kind("ch_lstm.train", ("--cell", "gru", "--layers", "2", "--tied", "--lr", "1")),
    "accumulate": Kind("ch_lstm.train", ("--accumulate", "3", "--lr", "1")),
    "gpu": Kind("ch_lstm.train", ("--lr", "1", "--max-tokens", "1200"), "gpu"),  # a stand-in for one
}


def write_text(path, lines=250, seed=0):
    """Write an invented text in which words do not come equally often."""
    draw = random.Random(seed)
    words = "the a one this bird fox river stone sees hears finds leaves red old quick far".split()
    path.write_text("".join(" ".join(draw.choices(words, range(len(words), 0, -1), k=draw.randint(3, 9))) + " .\n"
                            for _ in range(lines)), encoding="utf-8")
    return path


class Launcher:
    """Starts runs by launcher.py.

    Parameters
    ----------
    folder : Path
        For the text, the runs that are never interrupted, and what the runs print.
    """

    def __init__(self, folder):
        self.folder, self.started, self.uninterrupted = folder, 0, {}
        self.text = write_text(folder / "text.txt")
        paths = [ROOT, ROOT / "tests" / "devices", ROOT / "tests" / "devices" / "stand_in"]
        steered = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONHASHSEED")
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("launcher.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={name: value for name, value in os.environ.items() if name not in steered}
            | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OPENBLAS_NUM_THREADS": "1"})

    def ask(self, **request):
        """Send a request; returns the answer, a whole number."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        """End the process that starts runs."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def start(self, module, argv, cwd=None, ignored=(), new_process=False, environment=None):
        """Start a run.

        Parameters
        ----------
        module : str
        argv : list of str
        cwd : Path, optional
        ignored : sequence of int
            Signals that it ignores from the start, as nohup does.
        new_process : bool
            Whether it is `python -m` and not a child that has imported everything.
        environment : dict, optional
            For a new process, variables to add.

        Returns
        -------
        Child
        """
        self.started += 1
        out, err = (self.folder / f"{self.started}.{name}" for name in ("stdout", "stderr"))
        for path in (out, err):
            path.touch()
        return Child(self, self.ask(
            do="start", module=module, argv=list(map(str, argv)), cwd=str(cwd or self.folder), stdout=str(out),
            stderr=str(err), ignored=list(map(int, ignored)), new_process=new_process,
            environment=environment or {}), out, err)

    def train(self, kind, out, resume=False, flags=(), **options):
        """Start the training of a kind of run in the folder `out`, or resume it; with more flags, as `start` does."""
        argv = ["--out", out, "--device", kind.device, *SAVE_OFTEN]
        argv += ["--resume"] if resume else ["--corpus", self.text, *SMALL, *kind.flags]
        return self.start(kind.module, [*argv, *flags], **options)

    def wanted(self, kind):
        """Return the folder of a run of this kind that was never interrupted, and the seconds that it took."""
        if kind not in self.uninterrupted:
            out = self.folder / f"wanted-{len(self.uninterrupted)}"
            begun = time.monotonic()
            child = self.train(kind, out)
            assert child.wait() == 0, child.output
            self.uninterrupted[kind] = out, time.monotonic() - begun
        return self.uninterrupted[kind]

    def finish(self, kind, out):
        """Resume a run to its end; where the folder has nothing to resume yet, start it anew there."""
        for resume in (True, False):
            child = self.train(kind, out, resume)
            if child.wait() == 0:
                return
            child.expect_nothing_to_resume(out)
        raise AssertionError(f"{out} can neither be resumed nor be used anew: {child.output}")


class Child:
    """A run that was started: its process id, and the files of what it prints."""

    def __init__(self, launcher, pid, out, err):
        self.launcher, self.pid, self.out, self.err = launcher, pid, out, err

    def send(self, number):
        """Send a signal; one that has ended gets none."""
        os.kill(self.pid, number)  # not reaped before `wait`, so the id is no other process's

    def wait(self):
        """Wait for its end; returns the exit code, or minus the number of the signal that ended it."""
        return self.launcher.ask(do="wait", pid=self.pid)

    @property
    def ended(self):
        """Whether it has ended, though nobody has waited for it yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    @property
    def output(self):
        """What it printed, on stdout and then on stderr."""
        return "".join(path.read_text(encoding="utf-8") for path in (self.out, self.err))

    @property
    def last_lines(self):
        """The last lines of stdout and of stderr."""
        return [line for path in (self.out, self.err) for line in path.read_text(encoding="utf-8").splitlines()[-1:]]

    def expect_nothing_to_resume(self, out):
        """Raise unless it ended since the folder has no checkpoint, with one line."""
        lines = self.err.read_text(encoding="utf-8").splitlines()
        assert len(lines) == 1 and not (out / "last.npz").exists(), f"not resumed: {self.output}"


def header_of(path):
    """Return the name of the member of a checkpoint that is its header, and the header."""
    with zipfile.ZipFile(path) as archive:
        if "header.json" in archive.namelist():
            return "header.json", json.loads(archive.read("header.json"))
    with numpy.load(path) as arrays:
        return "facts.npy", json.loads(str(arrays["facts"]))


def members(path):
    """Return the names and bytes of all members of a .npz file in their order."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def without_times(value):
    """Return a value of JSON without what differs between two equal runs, in its dicts of dicts."""
    if not isinstance(value, dict):
        return value
    return {key: without_times(inner) for key, inner in value.items() if key not in MAY_DIFFER}


def assert_same_run(folder, wanted, but=()):
    """Raise unless two folders hold the same run, bit for bit, and nothing else.

    Parameters
    ----------
    folder, wanted : Path
    but : sequence of str
        Names of files that may differ.
    """
    names = [{path.name for path in each.iterdir()} - {".lock"} for each in (folder, wanted)]
    assert names[0] == names[1], f"the folder has {sorted(names[0])}, wanted {sorted(names[1])}"
    differing = [name for name in FILES
                 if name not in but and (folder / name).read_bytes() != (wanted / name).read_bytes()]
    assert differing == [], f"not the same bits as in the run that was never interrupted: {differing}"
    (header_name, header), (_, wanted_header) = (header_of(each / "last.npz") for each in (folder, wanted))
    assert without_times(header) == without_times(wanted_header)
    arrays, wanted_arrays = (dict(members(each / "last.npz")) for each in (folder, wanted))
    differing = [name for name in arrays.keys() | wanted_arrays.keys()
                 if name != header_name and arrays.get(name) != wanted_arrays.get(name)]
    assert differing == [], f"not the same bits in last.npz: {differing}"
