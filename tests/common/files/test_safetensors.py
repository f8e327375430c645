""".safetensors files of any content: read whole, or refused in one line; and as the package of that name has them."""
import json
import struct

import numpy
import pytest
from any_device import np

from common.errors import InputError
from common.files.safetensors import read_safetensors, read_with_metadata, write_safetensors
from common.files.torch_weights import recurrent_from_torch, torch_state_of_stack
from common.layers.stack import TimeStack

pytestmark = pytest.mark.usefixtures("device")

TEXTS = {"about": "naïve\n\"漢\"", "": ""}
WHOLE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def package():
    return pytest.importorskip("safetensors", reason="needs the package safetensors: pip install -e '.[parity]'")


def arrays():
    rng = numpy.random.default_rng(0)
    made = {name: (100 * rng.standard_normal((2, 3))).astype(name) for name in (
        "f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "bool")}
    return made | {"transposed": np.arange(6.0).reshape(2, 3).T, "every other": np.arange(8)[::2],
                   "number": np.array(3.0), "empty": numpy.zeros((0, 4)), "big end": numpy.arange(3, dtype=">f8")}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        array = np.to_cpu(array)
        assert found[name].shape == array.shape and found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes(), name


def write_parts(path, header, data=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("metadata", [None, TEXTS])
def test_arrays_and_texts_come_back(metadata, tmp_path):
    path = tmp_path / "new folder" / "x.safetensors"
    write_safetensors(path, arrays(), metadata)
    found, texts = read_with_metadata(path)
    same(found, arrays())
    assert texts == (metadata or {}) and [file.name for file in path.parent.iterdir()] == [path.name]
    for array in found.values():
        array[...] = 0  # they can be written
    before = path.read_bytes()
    write_safetensors(path, arrays(), metadata)
    assert path.read_bytes() == before


def test_a_file_is_laid_out_as_the_format_says(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"b": numpy.array([1, 2], dtype=">i2"), "a": numpy.array([0.5])}, {"k": "v"})
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0 and content[8 + length:] == struct.pack("<dhh", 0.5, 1, 2)
    assert json.loads(content[8:8 + length]) == {
        "__metadata__": {"k": "v"}, "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
        "b": {"dtype": "I16", "shape": [2], "data_offsets": [8, 12]}}


def test_the_package_reads_what_is_written_here_and_the_other_way_round(tmp_path, package):
    from safetensors.numpy import load_file, save_file
    path = tmp_path / "x.safetensors"
    write_safetensors(path, arrays(), TEXTS)
    same(load_file(path), arrays())
    with package.safe_open(path, "np") as file:
        assert file.metadata() == TEXTS
    theirs = {name: numpy.array(np.to_cpu(array), order="C") for name, array in arrays().items() if name != "big end"}
    save_file(theirs, path, TEXTS)
    found, texts = read_with_metadata(path)
    same(found, theirs)
    assert texts == TEXTS


def test_weights_of_a_stack_come_back_bit_for_bit(tmp_path):
    stack = TimeStack("gru", 4, 5, 2, True, reset_after=True)
    path = tmp_path / "x.safetensors"
    write_safetensors(path, torch_state_of_stack(stack, "rnn."))
    for param, loaded in zip(stack.params, recurrent_from_torch("gru", read_safetensors(path), "rnn."), strict=True):
        assert np.to_cpu(loaded).tobytes() == np.to_cpu(param).tobytes()


@pytest.mark.parametrize("header, message", [
    (b"no tensors", "its header is damaged: its text is no JSON"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"a": 1, "a": 2}', "a key is there twice"),
    ([], "its header is no object"),
    ({"a": WHOLE, "__metadata__": {"k": 1}}, "__metadata__.k is 1, wanted a text"),
    ({"a": 1}, "a is 1, wanted an object"),
    ({"a": {"dtype": "F32", "shape": [2]}}, "a lacks 'data_offsets'"),
    ({"a": WHOLE | {"x": 1}}, "a has 'x', which does not belong there"),
    ({"a": WHOLE | {"dtype": "BF16"}}, "the dtype BF16 of a is not one of NumPy"),
    ({"a": WHOLE | {"shape": [-2]}}, "a.shape[0] is -2, wanted a whole number"),
    ({"a": WHOLE | {"shape": [2.0]}}, "a.shape[0] is 2.0, wanted a whole number"),
    ({"a": WHOLE | {"shape": [3]}}, "a has another size than it says"),
    ({"a": WHOLE | {"shape": [2**50] * 32}}, "a has another size than it says"),
    ({"a": WHOLE | {"data_offsets": [0, 8, 9]}}, "a.data_offsets is [0, 8, 9], wanted a list of at most 2"),
    ({"a": WHOLE | {"data_offsets": [0]}}, "a does not say where its numbers lie"),
    ({"a": WHOLE | {"data_offsets": [8, 16]}}, "its arrays do not fill it one after the other"),
    ({"a": WHOLE, "b": WHOLE}, "its arrays do not fill it one after the other"),
    ({}, "its arrays do not fill it one after the other"),
    ({"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, "a truth value is neither 0 nor 1"),
])
@pytest.mark.promise("A file from a stranger runs no code, and takes neither all time nor all memory")
def test_damage_is_one_line(header, message, tmp_path):
    """A .safetensors file whose header has one fault."""
    path = tmp_path / "x.safetensors"
    write_parts(path, header, bytes(7) + b"\2")
    with pytest.raises(InputError) as raised:
        read_safetensors(path)
    line = str(raised.value)
    assert line.startswith(f"{path} cannot be read, it is damaged or no .safetensors file (") and message in line
    assert "\n" not in line and len(line) < 400


@pytest.mark.promise("A file from a stranger runs no code, and takes neither all time nor all memory")
def test_a_file_that_is_cut_or_longer_is_refused(tmp_path):
    """A .safetensors file cut at each byte, a byte too long, and with a header of 2^63 bytes."""
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": numpy.ones(9)}, TEXTS)
    whole = path.read_bytes()
    for data in [whole[:size] for size in range(len(whole))] + [whole + b"x", struct.pack("<Q", 2**63) + whole[8:]]:
        path.write_bytes(data)
        with pytest.raises(InputError, match="cannot be read, it is damaged"):
            read_safetensors(path)


def test_what_is_no_file_and_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"^there is no file .*nothing\.safetensors$"):
        read_safetensors(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match=r"cannot be read, it is damaged .*\(it is no file\)$"):
        read_safetensors(tmp_path)
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": numpy.ones(9)})
    before = path.read_bytes()
    for arrays in {"a": numpy.array(["text"])}, {"a": numpy.ones(2, complex)}, {"__metadata__": numpy.ones(2)}:
        with pytest.raises(InputError, match=r"is not written: no \.safetensors file holds an array '"):
            write_safetensors(path, arrays)
    with pytest.raises(InputError, match=r"^cannot write "):
        write_safetensors(path / "in a file" / "x.safetensors", {"a": numpy.ones(9)})
    assert path.read_bytes() == before
