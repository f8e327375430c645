""".npz files of any content: read whole, or refused in one line before memory is taken for what they claim."""
import hashlib
import io
import json
import struct
import tracemalloc
import zipfile

import numpy
import pytest

from common.errors import InputError
from common.files import arrays as files
from common.files.arrays import open_arrays, read_arrays, write_arrays

pytestmark = pytest.mark.promise("A file from a stranger runs no code, and takes neither all time nor all memory")

ARRAYS = {
    "a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "scalar": numpy.array(2.5), "empty": numpy.zeros((0, 4)),
    "ids": numpy.arange(5), "flags": numpy.array([True, False]), "big end": numpy.arange(3, dtype=">f8"),
    "fortran": numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)), "strided": numpy.arange(10.0)[::3]}


def npy(array, version=(1, 0)):
    file = io.BytesIO()
    numpy.lib.format.write_array(file, array, version)
    return file.getvalue()


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


@pytest.mark.parametrize("header", [None, {"x": [1, "ö"]}])
def test_arrays_come_back(header, tmp_path):
    path = tmp_path / "x.npz"
    write_arrays(path, ARRAYS, header)
    found = read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype.newbyteorder("=")
        numpy.testing.assert_array_equal(found[name], array)
        found[name][...] = 0  # they can be written
    with numpy.load(path) as archive:  # NumPy reads the same
        for name, array in ARRAYS.items():
            numpy.testing.assert_array_equal(archive[name], array)
    before = path.read_bytes()
    write_arrays(path, ARRAYS, header)
    assert path.read_bytes() == before


def test_files_of_numpy_are_read(tmp_path):
    numpy.savez(tmp_path / "x.npz", **ARRAYS)
    for name, array in read_arrays(tmp_path / "x.npz").items():
        numpy.testing.assert_array_equal(array, ARRAYS[name])


def test_the_header_comes_first_and_describes_the_arrays(tmp_path):
    write_arrays(tmp_path / "x.npz", ARRAYS, {"x": 1})
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert archive.namelist()[0] == "header.json"
    with open_arrays(tmp_path / "x.npz") as file:
        assert file.described["a"] == ((2, 3), numpy.dtype("<f4"))
        assert file.header["x"] == 1
        assert file.header["arrays"]["a"] == {
            "shape": [2, 3], "dtype": "<f4", "sha256": hashlib.sha256(ARRAYS["a"].tobytes()).hexdigest()}


def claim(shape, dtype="<f8", content=b""):
    """A .npy file that claims another shape than its content has."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HOSTILE = {
    "a terabyte of numbers": ([("a.npy", claim((2**37,)))], "another size than it says"),
    "an overflow": ([("a.npy", claim((2**62, 4, 2**62)))], "another size than it says"),
    "a negative size": ([("a.npy", claim((-1, -8), content=bytes(64)))], "another size than it says"),
    "no whole number": ([("a.npy", claim((2.0,), content=bytes(16)))], None),
    "too many numbers": ([("a.npy", claim((1,), content=bytes(16)))], "another size than it says"),
    "objects": ([("a.npy", claim((1,), "|O", bytes(8)))], "no array of numbers"),
    "records": ([("a.npy", claim((1,), [("x", "<f8")], bytes(8)))], "no array of numbers"),
    "arrays of arrays": ([("a.npy", claim((1,), ("<f8", (2,)), bytes(16)))], "no array of numbers"),
    "text": ([("a.npy", npy(numpy.array(["text"])))], "no array of numbers"),
    "times": ([("a.npy", npy(numpy.array([1], "M8[s]")))], "no array of numbers"),
    "a long header": ([("a.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 20_000)], None),
    "nested brackets": ([("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000)], None),
    "code for a header": ([("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 40) + b"__import__('os')".ljust(40))],
                          None),
    "another format": ([("a.npy", b"\x93NUMPY\x09\x00" + bytes(100))], None),
    "no .npy file": ([("a.npy", b"text")], None),
    "another member": ([("../../etc/x", b"text")], "no array"),
    "a header behind": ([("a.npy", npy(numpy.zeros(3))), ("header.json", b"{}")], "no array"),
    "a damaged header": ([("header.json", b"{"), ("a.npy", npy(numpy.zeros(3)))], "no JSON"),
    "a nested header": ([("header.json", b"[" * 10**6)], "nested too deep"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_before_memory_is_taken(name, tmp_path):
    members, reason = HOSTILE[name]
    write_zip(tmp_path / "x.npz", members)
    refuse_within(10 * 2**20, tmp_path / "x.npz", reason)


def refuse_within(memory, path, reason):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=reason) as refused:
            read_arrays(path)
        assert tracemalloc.get_traced_memory()[1] < memory
        assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    finally:
        tracemalloc.stop()


def test_arrays_of_the_second_format_are_read(tmp_path):
    write_zip(tmp_path / "x.npz", [("a.npy", npy(ARRAYS["a"], (2, 0))), ("b.npy", npy(ARRAYS["fortran"], (2, 0)))])
    found = read_arrays(tmp_path / "x.npz")
    numpy.testing.assert_array_equal(found["a"], ARRAYS["a"])
    numpy.testing.assert_array_equal(found["b"], ARRAYS["fortran"])


def test_text_is_read_where_older_checkpoints_have_it_and_nowhere_else(tmp_path):
    write_zip(tmp_path / "x.npz", [("facts.npy", npy(numpy.array("text")))])
    assert str(read_arrays(tmp_path / "x.npz")["facts"]) == "text"
    write_zip(tmp_path / "x.npz", [("facts.npy", npy(numpy.zeros(3)))])
    refuse_within(2**20, tmp_path / "x.npz", "no array of numbers")


def test_objects_are_not_written(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        write_arrays(tmp_path / "x.npz", {"a": numpy.array([{}])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [
    lambda described: described.update(b=described["a"]), lambda described: described["a"].update(sha256="0" * 64),
    lambda described: described["a"].update(shape=[3, 2]), lambda described: described["a"].update(dtype="<i4")],
    ids=["missing", "other numbers", "other shape", "other dtype"])
def test_an_array_must_be_the_one_that_the_header_describes(change, tmp_path):
    write_arrays(tmp_path / "x.npz", {"a": ARRAYS["a"]}, {})
    with open_arrays(tmp_path / "x.npz") as file:
        header = file.header
    write_zip(tmp_path / "x.npz", [("header.json", json.dumps(header)), ("a.npy", npy(ARRAYS["a"]))])
    numpy.testing.assert_array_equal(read_arrays(tmp_path / "x.npz")["a"], ARRAYS["a"])
    change(header["arrays"])
    write_zip(tmp_path / "x.npz", [("header.json", json.dumps(header)), ("a.npy", npy(ARRAYS["a"]))])
    refuse_within(2**20, tmp_path / "x.npz", "(a|b) is not what was written")


@pytest.mark.parametrize("place, value, reason", [
    (8, b"\x01", "compressed or encrypted"), (20, b"\x09", "has another size than it says")], ids=["flag", "size"])
def test_a_table_that_does_not_fit_is_refused(place, value, reason, tmp_path):
    write_zip(tmp_path / "x.npz", [("a.npy", npy(numpy.zeros(3)))])
    content = bytearray((tmp_path / "x.npz").read_bytes())
    start = content.index(b"PK\x01\x02") + place
    content[start:start + 1] = value
    (tmp_path / "x.npz").write_bytes(content)
    refuse_within(2**20, tmp_path / "x.npz", reason)


def test_more_members_than_a_model_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_MEMBERS", 3)
    write_zip(tmp_path / "x.npz", [(f"{i}.npy", npy(numpy.zeros(3))) for i in range(3)])
    assert len(read_arrays(tmp_path / "x.npz")) == 3
    write_zip(tmp_path / "x.npz", [(f"{i}.npy", npy(numpy.zeros(3))) for i in range(4)])
    refuse_within(2**20, tmp_path / "x.npz", "it has more than 3 members")


def test_a_long_table_of_members_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_zip(tmp_path / "x.npz", [(f"{i}.npy", npy(numpy.zeros(3))) for i in range(50)])
    assert len(read_arrays(tmp_path / "x.npz")) == 50
    monkeypatch.setattr(files, "LONGEST_TABLE", 1000)
    monkeypatch.setattr(files.zipfile, "ZipFile", lambda file: pytest.fail("its table was read"))
    refuse_within(2**20, tmp_path / "x.npz", "its table of members is longer than that of any model")


def test_a_header_that_python_2_wrote_is_refused_without_a_warning(tmp_path):
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3L,)}".ljust(117) + b"\n"
    write_zip(tmp_path / "x.npz", [("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(24))])
    refuse_within(2**20, tmp_path / "x.npz", None)


def test_a_header_that_nobody_could_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_HEADER", 1000)
    with pytest.raises(InputError, match=r"x.npz is not written: its header would have more than 1,000 bytes$"):
        write_arrays(tmp_path / "x.npz", {}, {"x": "x" * 1000})
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    numpy.savez_compressed(tmp_path / "x.npz", a=numpy.zeros(10**7))
    refuse_within(2**20, tmp_path / "x.npz", r"it is compressed or encrypted: write it by numpy.savez")


def test_a_long_header_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_HEADER", 1000)
    write_zip(tmp_path / "x.npz", [("header.json", json.dumps("x" * 998)), ("a.npy", npy(numpy.zeros(3000)))])
    assert list(read_arrays(tmp_path / "x.npz")) == ["a"]
    write_zip(tmp_path / "x.npz", [("header.json", json.dumps("x" * 999)), ("a.npy", npy(numpy.zeros(3)))])
    refuse_within(2**20, tmp_path / "x.npz", "its header has more than 1000 bytes")


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip(tmp_path / "x.npz", [("a.npy", npy(numpy.zeros(3)))] * 2)
    refuse_within(2**20, tmp_path / "x.npz", "it has a member twice")


def test_members_that_share_bytes_are_refused(tmp_path):
    """An archive of a thousand members that are all the same bytes of the file."""
    path = tmp_path / "x.npz"
    content = npy(numpy.zeros(10_000))
    write_zip(path, [("a.npy", content)])
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    entry = whole[start:whole.index(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"a.npy", f"{i:05}".encode()) for i in range(1000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), start, 0)
    path.write_bytes(whole[:start] + entries + end)
    refuse_within(10 * 2**20, path, "it claims more than the file holds")


@pytest.mark.parametrize("size", [0, 1, 10, 100, -1, -30])
def test_a_file_that_is_cut_is_refused(size, tmp_path):
    write_arrays(tmp_path / "x.npz", ARRAYS, {})
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:size])
    refuse_within(10 * 2**20, tmp_path / "x.npz", "x.npz cannot be read, it is damaged or no .npz file")


def test_a_changed_byte_is_noticed(tmp_path):
    write_arrays(tmp_path / "x.npz", {"a": numpy.arange(100.0)}, {})
    content = bytearray((tmp_path / "x.npz").read_bytes())
    place = content.index(numpy.arange(100.0).tobytes()) + 333
    content[place] ^= 16
    (tmp_path / "x.npz").write_bytes(content)
    refuse_within(10 * 2**20, tmp_path / "x.npz", "CRC-32")


def test_a_file_that_is_missing_or_none_is_said(tmp_path):
    with pytest.raises(InputError, match=r"^there is no file .*nowhere.npz$"):
        read_arrays(tmp_path / "nowhere.npz")
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match=r"cannot be read, it is damaged or no .npz file \(it is no file\)$"):
            read_arrays(path)
