"""Run folders with damaged and hostile files: a command uses them, or refuses them in one line and changes nothing."""
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import signal
import struct
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
from runs import header_of, members, write_text

import ch_lstm.evaluate
import ch_lstm.generate
import ch_lstm.train
from common import plots

PROMISE = "A damaged or hostile file in a run's folder gets one line, and nothing is changed"
FILES = ("last.npz", "best.npz", "config.json", "vocabulary.json")
FLAGS = ("--max-tokens 80 --hidden-size 3 --wordvec-size 3 --batch-size 2 --time-size 12 --epochs 2 --dropout 0.2 "
         "--cell lstm --layers 2 --optimizer adam --lr 0.01").split()
COMMANDS = {
    "resume": lambda folder: ch_lstm.train.main(["--out", folder, "--resume"]),
    "evaluate best": lambda folder: ch_lstm.evaluate.main([folder]),
    "generate best": lambda folder: ch_lstm.generate.main([folder, "--length", "3", "--seed", "1"]),
    "evaluate last": lambda folder: ch_lstm.evaluate.main([folder, "--checkpoint", "last"]),
}
READ_BY = {"last.npz": ("resume", "evaluate last"), "best.npz": ("evaluate best", "generate best", "resume")}
MOST_MEMORY = 400 * 2**20  # bytes of addresses beyond those that the process has
LONGEST = 60  # seconds, a safety net
VALUES = ("null", "true", "-1", "0", "1e308", '"x"', '"\\ud800\\u0000"', "[]", "{}", "1" + "0" * 4000, "1" + "0" * 5000,
          "-1" + "0" * 400, "NaN", "-Infinity", "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000)


class TookTooLong(BaseException):
    """Raised where a command does not end."""


class Outcome(NamedTuple):
    """What a command did: its exit code, and what it printed on stderr."""

    code: int
    stderr: str


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Draw no picture and wait for no disk: neither is what is tested here."""
    for name in "save_history", "save_health":
        monkeypatch.setattr(plots, name, lambda *_: None)
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def good(tmp_path, quick):
    """The files of a run's folder that was trained to its end, by their names."""
    folder = tmp_path / "good"
    assert act(lambda _: ch_lstm.train.main([*FLAGS, "--corpus", str(write_text(tmp_path / "text.txt", 40)),
                                             "--out", str(folder)]), folder).code == 0
    for command in COMMANDS.values():
        assert act(command, folder) == (0, "")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextlib.contextmanager
def bounded():
    """Let the block have little memory and time."""
    def too_long(number, frame):
        raise TookTooLong

    before = resource.getrlimit(resource.RLIMIT_AS)
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (addresses + MOST_MEMORY, before[1]))
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, old)


def act(command, folder):
    """Run a command on a folder in this process; whatever it raises goes on."""
    with (contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as stderr,
          warnings.catch_warnings()):
        warnings.simplefilter("ignore")
        code = command(str(folder))
    return Outcome(code, stderr.getvalue())


class Trial:
    """Tries commands on a folder with one file changed, and notes what went wrong.

    Parameters
    ----------
    folder : Path
        Is made.
    good : dict of str to bytes
        The files.
    count_cases : callable
    """

    def __init__(self, folder, good, count_cases):
        self.folder, self.good, self.count_cases = folder, good, count_cases
        self.faults, self.tried = [], 0
        folder.mkdir()

    def of(self, name, content, label, memory_may_lack=False):
        """Try one of the commands that read the file `name` with this content, each in its turn."""
        readers = READ_BY.get(name, tuple(COMMANDS))
        command = readers[self.tried % len(readers)]
        self.tried += 1
        self.count_cases(1)
        files = self.good | {name: content}
        for file, held in files.items():
            (self.folder / file).write_bytes(held)
        try:
            with bounded():
                code, said = act(COMMANDS[command], self.folder)
        except (Exception, SystemExit, TookTooLong) as error:
            fault = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            fault = self.fault_of(code, said, files, memory_may_lack)
        if fault:
            self.faults.append(f"{command} with {label} in {name}: {fault}")
        for path in self.folder.iterdir():
            path.unlink()

    def fault_of(self, code, said, files, memory_may_lack):
        """Return what is wrong with how a command ended, or None."""
        if code == 0:
            return None
        if code != 2 or said.count("\n") != 1 or len(said) > 2000:
            return f"exit code {code}, {said.count(chr(10))} lines and {len(said)} characters: {said[:200]}"
        if "not enough memory" in said and not memory_may_lack:
            return said
        left = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name != ".lock"}
        changed = [name for name in left.keys() | files.keys() if name != ".lock" and left.get(name) != files.get(name)]
        return f"refused, but changed {changed}" if changed else None

    def expect_no_fault(self):
        """Raise unless all went well."""
        shown = self.faults[::max(1, len(self.faults) // 8)]
        assert self.tried and not shown, "\n".join([f"{len(self.faults)} of {self.tried} went wrong, as:", *shown])


@pytest.fixture
def trial(tmp_path, good, count_cases):
    """The trial of a run's folder; raises at its end if anything went wrong."""
    return Trial(tmp_path / "run", good, count_cases)


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("name", FILES)
def test_bytes_are_changed(name, trial, full):
    """Bits are flipped, bytes inserted, overwritten or taken out, at random places of each file."""
    content, draw = trial.good[name], random.Random(f"bytes of {name}")
    for number in range(900 if full else 40):
        changed = bytearray(content)
        for _ in range(draw.choice([1, 1, 1, 3, 20])):
            place, some = draw.randrange(len(changed)), draw.randbytes(draw.choice([1, 2, 50]))
            kind = draw.randrange(4)
            if kind == 0:
                changed[place] ^= 1 << draw.randrange(8)
            else:
                changed[place:place + (0 if kind == 1 else len(some))] = b"" if kind == 3 else some
        trial.of(name, bytes(changed), f"change {number}")
    trial.expect_no_fault()


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_cut(name, trial, full):
    """Each file ends too early, at any length, or goes on with other bytes."""
    content = trial.good[name]
    lengths = range(0, len(content), max(1, len(content) // (900 if full else 25)))
    for length in lengths:
        trial.of(name, content[:length], f"only {length} bytes")
    for more in (b"\0", b"x" * 100_000, content):
        trial.of(name, content + more, f"{len(more)} more bytes")
        trial.of(name, more + content, f"{len(more)} bytes before it")
    trial.expect_no_fault()


def places(value, path=()):
    """Yield the paths to all values in a document of JSON: keys and numbers."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def changed_texts(document, full, draw):
    """Yield documents of JSON as texts, each with one value replaced, left out or added, and what was done."""
    changes = [(path, value) for path in places(document) for value in (*VALUES, "left out", "added")]
    for path, value in changes if full else draw.sample(changes, 60):
        copy = json.loads(json.dumps({"": document}))
        holder, key = copy, ""
        for step in path:
            holder, key = holder[key], step
        if value == "left out":
            del holder[key]
        elif value == "added":
            if not isinstance(holder[key], dict):
                continue
            holder[key]["more"] = 1
        else:
            holder[key] = "\0here"
        text = json.dumps(copy.get("")).replace('"\\u0000here"', value)
        yield text, f"{'/'.join(map(str, path))} {value[:12]}"


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("name", FILES)
def test_values_of_json(name, trial, full, tmp_path):
    """Each value of each document of JSON becomes null, a number without end, a text, a list, NaN, a list in a list in
    a list a hundred thousand times, or is left out; so does each value of the header of a checkpoint."""
    content, draw = trial.good[name], random.Random(f"JSON of {name}")
    if name.endswith(".json"):
        for text, label in changed_texts(json.loads(content), full, draw):
            trial.of(name, text.encode("utf-8", "surrogatepass"), label, memory_may_lack=True)
    else:
        (tmp_path / name).write_bytes(content)
        member, header = header_of(tmp_path / name)
        others = members(tmp_path / name)
        for text, label in changed_texts(header, full, draw):
            new = text.encode("utf-8", "surrogatepass")
            if member.endswith(".npy"):
                new = npy(numpy.array(text.encode("utf-8", "replace").decode()))
            trial.of(name, zipped([(each, new if each == member else held) for each, held in others]), label)
    trial.expect_no_fault()


def npy(array):
    """Return an array as the bytes of a .npy file."""
    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_that_claims(shape, dtype="<f4", data=b"\0" * 16, version=(1, 0)):
    """Return the bytes of a .npy file whose header says what is not so."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + data


def zipped(named, kind=zipfile.ZIP_STORED):
    """Return a zip archive of members (name, bytes), as bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", kind) as archive:
        warnings.simplefilter("ignore")  # a name may be there twice
        for name, content in named:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=kind)
    return file.getvalue()


def bomb(named, index):
    """Return a small archive in which one member is said to be, and is, larger than the memory allowed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i, (name, content) in enumerate(named):
            with archive.open(name, "w") as member:
                member.write(content)
                for _ in range(MOST_MEMORY // 2**20 + 100 if i == index else 0):
                    member.write(bytes(2**20))
    return file.getvalue()


def hostile_archives(content, named):
    """Yield archives with members that are missing, twice, unexpected, packed, or claim to be what they are not."""
    yield bomb(named, 0), "a bomb for a first member"
    yield bomb(named, len(named) - 1), "a bomb for a last member"
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield zipped(named, kind), f"packed members ({kind})"
    yield zipped(named[::-1]), "members the other way round"
    yield zipped([]), "no member"
    for extra in ("evil.npy", "../evil.npy", "/evil.npy", "evil", "a/b.npy", "param_99.npy", "", "\n\x1b[31m.npy",
                  "x" * 60_000 + ".npy"):
        yield zipped([*named, (extra, npy(numpy.zeros(3)))]), f"a member {extra[:20]!r}"
    yield zipped([*named, *((f"many_{i}.npy", npy(numpy.zeros(1))) for i in range(3000))]), "3,000 members more"
    claims = {
        "terabytes": npy_that_claims((10**12,)), "more than all": npy_that_claims((2**62, 2**62)),
        "a negative size": npy_that_claims((-1,)), "a size that is no number": npy_that_claims((None,)),
        "no tuple": npy_that_claims("[3"), "objects": npy(numpy.array([{}, print], dtype=object)),
        "a structured dtype": npy(numpy.zeros(3, [("a", "f4")])), "dates": npy(numpy.zeros(3, "M8[s]")),
        "a dtype without end": npy_that_claims((2,), "V999999999999"), "no items": npy_that_claims((10**15, 0)),
        "a code": npy_that_claims("__import__('os')"), "a header without end": b"\x93NUMPY\x02\0" + b"\xff" * 4,
        "version 9": npy_that_claims((4,), version=(9, 0)), "nothing": b"", "nesting": npy_that_claims("(" * 5000),
        "65 dimensions": npy_that_claims((1,) * 65), "complex numbers": npy(numpy.zeros((3, 12), complex)),
    }
    for i, (name, _) in enumerate(named):
        yield zipped(named[:i] + named[i + 1:]), f"no {name}"
        yield zipped([*named, named[i]]), f"two of {name}"
        for label, claim in claims.items():
            yield zipped([*named[:i], (name, claim), *named[i + 1:]]), f"{name} that claims {label}"
    starts = [at for at in range(len(content)) if content[at:at + 4] == b"PK\1\2"]
    fields = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"), "packed size": (20, "<I"),
              "size": (24, "<I"), "name length": (28, "<H"), "extra length": (30, "<H"), "offset": (42, "<I")}
    for start in starts:
        for label, (offset, code) in fields.items():
            for value in (0, 1, 9, 2**31 - 1, 2**32 - 1):
                changed = bytearray(content)
                struct.pack_into(code, changed, start + offset, value & (0xffff if code == "<H" else 2**32 - 1))
                yield bytes(changed), f"{label} {value} in the directory"


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("name", ["last.npz", "best.npz"])
def test_members_of_a_checkpoint(name, trial, full, tmp_path):
    """Members of a checkpoint are missing, twice, unexpected or compressed, claim terabytes or hold what is no array;
    the directory of the archive says what is not so."""
    (tmp_path / name).write_bytes(trial.good[name])
    archives = hostile_archives(trial.good[name], members(tmp_path / name))
    for number, (content, label) in enumerate(archives):
        if full or number < 8 or number % 17 == 0:
            trial.of(name, content, label)
    trial.expect_no_fault()


def with_array(named, name, array):
    """Return an archive in which an array is another, and the header, if it describes arrays, describes that one."""
    new = []
    for member, held in named:
        if member == name:
            held = npy(array)
        elif member == "header.json":
            header = json.loads(held)
            if isinstance(header.get("arrays"), dict):
                header["arrays"][name.removesuffix(".npy")] = {
                    "shape": list(array.shape), "dtype": array.dtype.str,
                    "sha256": hashlib.sha256(numpy.asarray(array, order="C").data).hexdigest()}
            held = json.dumps(header).encode()
        new.append((member, held))
    return zipped(new)


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("name", ["last.npz", "best.npz"])
def test_numbers_of_a_checkpoint(name, trial, full, tmp_path):
    """Each array of a checkpoint holds NaN, infinity or the largest numbers, or has another dtype or shape, and the
    header describes it as it is."""
    (tmp_path / name).write_bytes(trial.good[name])
    named = members(tmp_path / name)
    header, _ = header_of(tmp_path / name)
    with numpy.load(io.BytesIO(trial.good[name])) as archive:
        arrays = {member: archive[member.removesuffix(".npy")] for member, _ in named if member != header}
    changes = {
        "NaN": lambda x: x * numpy.nan, "infinity": lambda x: numpy.where(x == x.flat[0], numpy.inf, x).astype(x.dtype),
        "the largest": lambda x: numpy.full_like(x, numpy.finfo(x.dtype).max), "zeros": numpy.zeros_like,
        "negative numbers": lambda x: -abs(x) - 1, "subnormal numbers": lambda x: x * 0 + x.dtype.type(1e-45),
        "another dtype": lambda x: x.astype("f2"), "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
        "whole numbers": lambda x: x.astype("i8"), "texts": lambda x: x.astype("U8"), "no numbers": lambda x: x[:0],
        "another order": numpy.asfortranarray, "one more axis": lambda x: x[None], "more": lambda x: x.repeat(2),
    }
    for i, (member, array) in enumerate(arrays.items()):
        for j, (label, change) in enumerate(changes.items()):
            if full or (i + j) % 6 == 0:
                for _ in READ_BY[name] if full else "1":
                    with numpy.errstate(all="ignore"):
                        trial.of(name, with_array(named, member, change(array)), f"{label} for {member}")
    trial.expect_no_fault()


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe", "a link to itself"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file(name, kind, good, tmp_path, count_cases):
    """In the place of a file there is nothing, a folder, a pipe that nobody writes to, or a link to itself."""
    for label in READ_BY.get(name, COMMANDS):
        folder = tmp_path / label
        folder.mkdir()
        for file, held in good.items():
            if file != name:
                (folder / file).write_bytes(held)
        if kind == "a folder":
            (folder / name).mkdir()
        elif kind == "a pipe":
            os.mkfifo(folder / name)
        elif kind == "a link to itself":
            (folder / name).symlink_to(name)
        before = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
        with bounded():
            code, said = act(COMMANDS[label], folder)
        assert code in (0, 2) and said.count("\n") == (code == 2), said
        assert code == 0 or before == sorted(path.name for path in folder.iterdir() if path.name != ".lock")
        count_cases(1)
