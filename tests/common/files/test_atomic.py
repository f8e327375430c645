"""Files that are written whole or not at all, and folders that one process has at a time."""
import fcntl
import os
import socket
import subprocess
import sys
import threading
import types

import pytest

from common import cli
from common.errors import InputError
from common.files import atomic
from common.files.atomic import expect_replaceable, replacing, temporaries
from common.files.lock import FolderLock

pytestmark = pytest.mark.promise("A file is written whole or not at all, and never in the place of what is no file")


def write(path, content="new"):
    with replacing(path) as file:
        file.write(content)


def test_a_file_takes_the_place_of_another_when_it_is_complete(tmp_path):
    path = tmp_path / "some" / "folder" / "file.txt"
    write(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write("half")
        file.flush()
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("file.txt", "old")]
    write(path, "änother\r\n")
    assert path.read_bytes() == "änother\r\n".encode()
    with replacing(path, "wb") as binary:
        binary.write(b"\xff\n")
    assert path.read_bytes() == b"\xff\n"


def test_file_and_folder_are_flushed_to_the_disk_in_the_right_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        done.append(("fsync", os.path.realpath(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noted_replace(source, target):
        done.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write(tmp_path / "file.txt")
    (first, temporary), *others = done
    assert first == "fsync" and os.path.basename(temporary).startswith(".file.txt.")
    assert others == [("replace", str(tmp_path / "file.txt")), ("fsync", str(tmp_path))]


def test_a_symbolic_link_is_followed_and_stays(tmp_path):
    (tmp_path / "there").mkdir()
    for name, target in ("link", "there/file.txt"), ("dangling", "there/new.txt"):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "there" / "file.txt").write_text("old")
    write(tmp_path / "link")
    write(tmp_path / "dangling")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert {path.name: path.read_text() for path in (tmp_path / "there").iterdir()} == {
        "file.txt": "new", "new.txt": "new"}


def test_what_is_no_file_is_refused_and_left_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    for name, words in ("pipe", "a device or a pipe"), ("link", "a device or a pipe"), ("folder", "a folder"), (
            "socket", "a device or a pipe"):
        before = os.lstat(tmp_path / name)
        for refuse in (expect_replaceable, write):
            with pytest.raises(InputError, match=f"^cannot write .*{name}: it is {words}, give the name of a file$"):
                refuse(tmp_path / name)
        assert os.lstat(tmp_path / name).st_ino == before.st_ino
    listener.close()
    with pytest.raises(InputError, match=r"^cannot write /dev/null: it is a device or a pipe"):
        expect_replaceable("/dev/null")
    with pytest.raises(InputError, match="cannot be the name of a file"):
        write("a\0b")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("step", ["open", "fsync", "replace", "flush_folder"])
def test_a_disk_that_fails_is_said_and_leaves_no_temporary_file(step, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    write(tmp_path / "file.txt", "old")
    owner = {"open": atomic, "flush_folder": atomic}.get(step, os)
    monkeypatch.setattr(owner, step, fail, raising=step != "open")
    with pytest.raises(InputError, match=r"^cannot write .*file.txt: No space left on device$"):
        write(tmp_path / "file.txt")
    content = "new" if step == "flush_folder" else "old"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.txt", content)]


def test_a_file_system_that_cannot_flush_a_folder_is_no_reason_to_stop(tmp_path, monkeypatch):
    fsync = os.fsync

    def fail_for_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(95, "Operation not supported")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    write(tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_text() == "new"


def test_temporary_files_are_named_anew_each_time_and_are_found(tmp_path):
    names = set()
    for name in ("last.npz", "last.npz", "best.npz"):
        with replacing(tmp_path / name):
            (found,) = temporaries(tmp_path, ["last.npz", "best.npz"])
            names.add(found.name)
    assert len(names) == 3 and temporaries(tmp_path, ["last.npz", "best.npz"]) == []
    (tmp_path / ".last.npz.folder.tmp").mkdir()
    for name in (".mine.tmp", ".last.npz", "last.npz.tmp", ".other.npz.12.tmp"):
        (tmp_path / name).touch()
    assert temporaries(tmp_path, ["last.npz"]) == []


# Locks


def test_a_folder_is_locked_until_it_is_released(tmp_path):
    usual = os.umask(0)
    try:
        lock = FolderLock(tmp_path)
    finally:
        os.umask(usual)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o666
    with pytest.raises(InputError, match=r"^another run is at work in .*: wait until it has ended"):
        FolderLock(tmp_path)
    lock.release()
    lock.release()  # once more does nothing
    FolderLock(tmp_path).release()


@pytest.mark.promise("Only one run at a time writes into a folder, and runs that start at once get one each")
def test_a_lock_dies_with_its_process(tmp_path):
    """A process that is killed leaves no lock."""
    script = ("import pathlib, sys, time; from common.files.lock import FolderLock; "
              "lock = FolderLock(pathlib.Path(sys.argv[1])); print('locked', flush=True); time.sleep(600)")
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(InputError, match="another run is at work"):
        FolderLock(tmp_path)
    child.kill()
    child.wait()
    child.stdout.close()
    FolderLock(tmp_path).release()


def test_a_lock_that_is_refused_leaves_nothing_open(tmp_path):
    lock = FolderLock(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InputError):
        FolderLock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()


def test_a_file_system_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    FolderLock(tmp_path).release()


def test_on_windows_a_lock_is_asked_for_in_its_own_way(tmp_path, monkeypatch):
    asked = []

    def locking(handle, mode, size):
        asked.append((mode, size))
        if len(asked) == 2:
            raise OSError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    FolderLock(tmp_path).release()
    with pytest.raises(InputError, match="another run is at work"):
        FolderLock(tmp_path)
    assert asked == [(2, 1), (2, 1)]


def test_a_folder_that_cannot_be_locked_is_said(tmp_path):
    with pytest.raises(InputError, match=r"cannot use the folder .*nowhere: No such file"):
        FolderLock(tmp_path / "nowhere")
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"cannot use the folder .*: Is a directory"):
        FolderLock(tmp_path)


@pytest.mark.promise("Only one run at a time writes into a folder, and runs that start at once get one each")
def test_runs_that_are_started_at_once_get_a_folder_each(tmp_path, monkeypatch):
    """Sixteen threads ask for a new folder at the same moment."""
    monkeypatch.chdir(tmp_path)
    found, barrier = [], threading.Barrier(16)

    def ask():
        barrier.wait()
        found.append(cli.free_folder("run"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in found) == sorted(f"run-{i}" for i in range(1, 17))
    assert all(path.is_dir() for path in found)


def test_a_folder_for_runs_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match=r"^cannot make the folder runs/x-1 .*: choose one with --out$"):
        cli.free_folder("x")
