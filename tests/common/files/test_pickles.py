import builtins
import os
import pickle
import pickletools
import sys

import numpy as np
import pytest

from common.errors import InputError
from common.files.pickles import read_pickle

RNG = np.random.default_rng(0)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def written(tmp_path):
    """Write bytes, or the pickle of an object, to a file and return its path."""
    path = tmp_path / "weights.pkl"

    def write(content, protocol=None):
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return path

    return write


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.dtype.isnative and found.flags.writeable
        np.testing.assert_array_equal(found, expected, strict=True)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back(written, protocol):
    x = RNG.standard_normal((3, 4, 2))
    arrays = [x.astype(dtype) for dtype in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "bool")]
    arrays += [np.asfortranarray(x[:, :, 0]), x.T, x.transpose(1, 0, 2), x[:, ::2], np.array(3.5), np.zeros((0, 4))]
    assert_same(read_pickle(written(arrays, protocol)), arrays)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lists_tuples_dicts_and_plain_values_come_back(written, protocol):
    content = {"word_vecs": np.ones((2, 3), dtype=np.float16), "word_to_id": {"a": 0, "<eos>": 1},
               "rest": [(np.float32(1.5), np.int64(-2), np.True_), None, True, 2.5, "é", b"bytes", ()]}
    assert_same(read_pickle(written(content, protocol)), content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_names_of_both_numpy_generations_are_known(written, protocol):
    arrays = [np.arange(6, dtype=np.float16).reshape(2, 3), np.arange(8.0)[::2], np.float32(1.5)]
    content = pickle.dumps(arrays, protocol)
    ops = [(op.name, value, place) for op, value, place in pickletools.genops(content)]
    other = b""
    ends = [place for _, _, place in ops[1:]] + [len(content)]
    for (name, value, start), end in zip(ops, ends):
        piece = content[start:end]
        if isinstance(value, str) and "numpy._core" in value:
            changed = value.replace("numpy._core", "numpy.core").encode()
            if name == "GLOBAL":
                piece = b"c" + changed.replace(b" ", b"\n") + b"\n"
            else:
                piece = b"\x8c" + bytes([len(changed)]) + changed
        other += b"" if name == "FRAME" else piece
    assert b"numpy.core" in other and b"numpy._core" not in other
    assert_same(read_pickle(written(other)), arrays)
    assert_same(read_pickle(written(content)), arrays)


@pytest.mark.parametrize("order", "<>")
def test_arrays_of_either_byte_order_come_back_in_the_machine_s(written, order):
    array = np.array([1.5, -2, 3e10], dtype=f"{order}f4")
    for protocol in PROTOCOLS:
        assert_same(read_pickle(written(array, protocol)), array.astype("f4"))


def test_one_array_at_two_places_stays_one(written):
    array = np.ones(3)
    first, (second,) = read_pickle(written([array, (array,)]))
    assert first is second


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def object_array(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def calls_that_write(marker):
    """Pickles of calls that each leave a file or folder, and the names under which they are found."""
    return [
        (Calls(os.system, f'echo ran > "{marker}"'), "(posix|nt).system"),
        (Calls(eval, f"__import__('os').mkdir({str(marker)!r})"), r"(__builtin__|builtins)\.eval"),
        (Calls(exec, f"import os; os.mkdir({str(marker)!r})"), r"(__builtin__|builtins)\.exec"),
        (Calls(os.mkdir, str(marker)), r"(posix|nt)\.mkdir"),
    ]


def test_the_calls_of_the_tests_below_do_run_where_pickle_loads_them(tmp_path):
    for i in range(4):
        marker = tmp_path / f"marker{i}"
        pickle.loads(pickle.dumps(calls_that_write(marker)[i][0]))
        assert marker.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("wrap, refused", [
    (lambda call: call, None),
    (lambda call: [np.ones(2), call], None),
    (lambda call: {"params": (np.ones(2), call)}, None),
    (lambda call: {call: np.ones(2)}, None),
    (lambda call: object_array(np.ones(2), call), "holds elements of type 'O8'"),
    (lambda call: [object_array(object_array(call))], "holds elements of type 'O8'"),
], ids=["alone", "list", "dict", "key", "object array", "nested object array"])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(written, tmp_path, wrap, refused, protocol):
    marker = tmp_path / "marker"
    for call, name in calls_that_write(marker):
        with pytest.raises(InputError, match=f"weights.pkl is refused: it {refused or 'names ' + name}, and only arr"):
            read_pickle(written(wrap(call), protocol))
        assert not marker.exists()


def test_code_among_the_objects_of_an_array_is_refused_though_the_array_claims_numbers(written, tmp_path):
    marker = tmp_path / "marker"

    class Array:
        def __reduce__(self):
            make, arguments, _ = np.ones(1).__reduce__()
            return make, arguments, (1, (1,), np.dtype("f8"), False, [calls_that_write(marker)[3][0]])

    with pytest.raises(InputError, match=r"it names (posix|nt).mkdir"):
        read_pickle(written([Array()]))
    assert not marker.exists()


@pytest.mark.parametrize("opcodes, name", [
    (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
    (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "numpy.dtype.__init__"),
    (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "numpy.load"),
    (b"cnumpy.lib\nnpyio\n.", "numpy.lib.npyio"),
    (b"(cos\nsystem\nS'true'\no.", "os.system"),
    (b"(S'true'\nios\nsystem\n.", "os.system"),
    (b"cnumpy.core.multiarray._reconstruct\n__self__\n.", "numpy.core.multiarray._reconstruct.__self__"),
    (b"c__builtin__\nbytearray\n.", "__builtin__.bytearray"),
    (b"ccommon.files.pickles\nos\n.", "common.files.pickles.os"),
])
def test_every_other_name_is_refused(written, opcodes, name):
    with pytest.raises(InputError, match=f"is refused: it names {name}, and only"):
        read_pickle(written(opcodes))


def test_no_name_in_a_file_is_imported(written, monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)

    def no_import(name, *args):
        assert name != "this", "a name in the file was imported"
        return real_import(name, *args)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", no_import)
    with pytest.raises(InputError, match=r"it names this.d"):
        read_pickle(written(b"cthis\nd\n."))
    assert "this" not in sys.modules


@pytest.mark.parametrize("content, what", [
    (object_array(1, "a"), "holds elements of type 'O8'"),
    (np.array(["a", "bc"]), "holds elements of type 'U2'"),
    (np.zeros(2, dtype=[("a", "f4")]), "holds elements of type 'V4'"),
    (np.zeros(2, dtype=complex), "holds elements of type 'c16'"),
    (np.array(["2020-01-01"], dtype="M8[D]"), "holds elements of type 'M8'"),
    ({1, 2}, "holds a set"),
    ([bytearray(b"a")], "holds a bytearray"),
    (np.dtype("f4"), "holds a _NumberFormat"),
])
def test_what_is_no_array_of_numbers_is_refused(written, content, what):
    with pytest.raises(InputError, match=f"is refused: it {what}, and only arrays of numbers are read"):
        read_pickle(written(content, 5))


def test_a_file_leaves_nothing_behind_on_what_it_names(written):
    encode = b"\x80\x02c_codecs\nencode\n"
    defaults = b"N}X\x0c\x00\x00\x00__defaults__X\x06\x00\x00\x00latin1\x85s\x86b"  # sets an attribute
    call = b"X\x01\x00\x00\x00a\x85R."  # with one argument
    for content in (encode + defaults + call, encode + call):
        with pytest.raises(InputError, match=r"damaged .*missing 1 required positional argument"):
            read_pickle(written(content))


def test_a_cut_file_is_damaged(written):
    whole = pickle.dumps([np.arange(5.0), np.ones((2, 2))])
    for length in range(len(whole)):
        with pytest.raises(InputError, match=r"weights.pkl cannot be read, it is damaged or no pickle of arrays"):
            read_pickle(written(whole[:length]))


def test_a_number_of_an_object_takes_no_memory(written):
    with pytest.raises(InputError, match="it numbers an object 2147483647"):
        read_pickle(written(b"]r\xff\xff\xff\x7f."))


def test_changed_bytes_give_arrays_or_an_input_error(written):
    for protocol in (2, 4, 5):
        whole = pickle.dumps([np.arange(5.0), np.arange(4.0)[::2], np.float32(3)], protocol)
        for place in range(len(whole)):
            for bits in (1, 0x40, 0xFF):
                changed = whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1:]
                try:
                    read_pickle(written(changed))
                except InputError as error:
                    assert "\n" not in str(error)


@pytest.mark.parametrize("content", [
    b"", b"no pickle at all", b"PK\x03\x04", b"]0.", b"]\x94h\x00a.", b"cnumpy.core.multiarray\n_reconstruct\n)R."])
def test_no_pickle_and_a_broken_one(written, content):
    with pytest.raises(InputError, match="cannot be read, it is damaged or no pickle of arrays"):
        read_pickle(written(content))


@pytest.mark.parametrize("shape, content", [((3,), b"12345678"), ((-1,), b"12345678"), ((2**40, 2**40), b"")])
def test_a_shape_must_fit_its_bytes(written, shape, content):
    class Array:
        def __reduce__(self):
            make, arguments, _ = np.ones(1).__reduce__()
            return make, arguments, (1, shape, np.dtype("f8"), False, content)

    with pytest.raises(InputError, match=r"it is damaged or no pickle of arrays .*shape"):
        read_pickle(written([Array()]))


def test_what_stands_in_many_places_is_gone_through_once(written):
    content = []
    for _ in range(10):
        content = [content, content]  # 2^10 paths; a small file may have 2^200
    found = read_pickle(written(content))
    while found:
        assert found[0] is found[1]
        found = found[0]


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none.pkl"):
        read_pickle(tmp_path / "none.pkl")
