"""Pickles of arrays are read, and those of anything else, damaged or made to do harm, are refused in one line."""
import builtins
import copyreg
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import common
from common.errors import InputError
from common.files.pickles import read_pickle

pytestmark = pytest.mark.promise("A file from a stranger runs no code, and takes neither all time nor all memory")
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
    arrays += [np.zeros(9999)]
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


def test_a_function_that_has_a_number_in_all_pickles_is_refused_too(written, tmp_path):
    call = b"\x82\xf0" + b"X" + struct.pack("<I", len(str(tmp_path)) + 7) + f"{tmp_path}/marker".encode() + b"\x85R."
    copyreg.add_extension("os", "mkdir", 240)
    try:
        assert pickle.loads(b"\x82\xf0.") is os.mkdir
        with pytest.raises(InputError, match="is refused: it names the extension 240, and only"):
            read_pickle(written(call))
        assert not (tmp_path / "marker").exists()
    finally:
        copyreg.remove_extension("os", "mkdir", 240)


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
    with pytest.raises(InputError, match="is refused: it sets the state of a function"):
        read_pickle(written(encode + defaults + call))
    with pytest.raises(InputError, match=r"damaged .*missing 1 required positional argument"):
        read_pickle(written(encode + call))


def test_a_cut_file_is_damaged(written):
    whole = pickle.dumps([np.arange(5.0), np.ones((2, 2))])
    for length in range(len(whole)):
        with pytest.raises(InputError, match=r"weights.pkl cannot be read, it is damaged or no pickle of arrays"):
            read_pickle(written(whole[:length]))


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


# A reader that fails one of the tests below would not end, or take all memory: so it runs in a process of its own,
# which may have two gigabytes.
READER = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
except ImportError:
    pass
from common.errors import InputError
from common.files.pickles import read_pickle
for path in sys.argv[1:]:
    try:
        read_pickle(path)
        print("read", flush=True)
    except InputError as error:
        print(ascii(str(error).removeprefix(path)), flush=True)
"""
REFUSED = "is refused: it "
DAMAGED = r"cannot be read, it is damaged or no pickle of arrays \("

DOUBLED = b")" + b"2\x86" * 60  # t = (t, t), sixty times: 2^60 parts
GIANT = b"\x8b" + struct.pack("<i", 10**6) + b"\x01" * 10**6  # a whole number of 2.4 million digits
MEGABYTE = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
F4 = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(NNNtR"
FROM_BUFFER = b"cnumpy.core.numeric\n_frombuffer\n"


def whole(number):
    """Return the opcode that puts a whole number on the stack."""
    return b"\x8a\x09" + number.to_bytes(9, "little", signed=True)


def array_of(shape, content=b"C\x08" + bytes(8)):
    return EMPTY_ARRAY + b"(N" + shape + F4 + b"\x89" + content + b"tb"


def claims(opcode, size, form="<Q"):
    """Return an opcode that claims `size` bytes to follow where two do."""
    return opcode + struct.pack(form, size) + b"ab."


HOSTILE = {  # what the file has -> its opcodes, the answer
    "parts without number": (DOUBLED + b".", "read$"),
    "key": (b"}" + DOUBLED + b"Ns.", REFUSED + "has a key that is a tuple"),
    "keys": (b"}(" + DOUBLED + b"Nu.", REFUSED + "has a key that is a tuple"),
    "key of a dict made at once": (b"(" + DOUBLED + b"Nd.", REFUSED + "has a key that is a tuple"),
    "member of a set": (b"\x8f(" + DOUBLED + b"\x90.", REFUSED + "holds a set"),
    "member of something else": (b"}(" + DOUBLED + b"\x90.", REFUSED + "holds a set"),
    "member of a frozen set": (b"(" + DOUBLED + b"\x91.", REFUSED + "holds a set"),
    "key without a value": (b"}(NNNu.", DAMAGED),
    "place in a list": (b"]" + DOUBLED + b"Ns.", REFUSED + "sets items of a list"),
    "type code": (b"cnumpy\ndtype\n" + DOUBLED + b"\x85R.", REFUSED + "holds elements of type a tuple"),
    "state of a type": (F4 + DOUBLED + b"b.", DAMAGED + "an order of bytes is none"),
    "byte order": (F4 + b"N" + DOUBLED + b"\x86b.", DAMAGED + "an order of bytes is none"),
    "text": (b"c_codecs\nencode\n" + DOUBLED + b"X\x06\x00\x00\x00latin1\x86R.", REFUSED + "has bytes that are no"),
    "encoding": (b"c_codecs\nencode\nX\x01\x00\x00\x00a" + DOUBLED + b"\x86R.", REFUSED + "has bytes that are no"),
    "shape": (array_of(DOUBLED) + b".", DAMAGED + "a shape is not of whole"),
    "size": (array_of(DOUBLED + b"\x85") + b".", DAMAGED + "a shape is not of whole"),
    "content": (array_of(b"K\x02\x85", DOUBLED) + b".", DAMAGED),
    "state of an array": (EMPTY_ARRAY + DOUBLED + b"b.", DAMAGED),
    "type of elements": (FROM_BUFFER + b"(C\x00" + DOUBLED + b"))tR.", DAMAGED + "an array has no type of elements"),
    "order": (FROM_BUFFER + b"(C\x00" + F4 + b"K\x00\x85" + DOUBLED + b"tR.", DAMAGED),
    "order of axes": (
        FROM_BUFFER + b"(C\x00" + F4 + b"K\x00\x85X\x01\x00\x00\x00K" + DOUBLED + b"tR.", DAMAGED),
    "name": (DOUBLED + MEGABYTE + b"\x93.", DAMAGED + "STACK_GLOBAL requires str"),
    "state of a list": (b"]" + DOUBLED + b"b.", REFUSED + "sets the state of a list"),
    "object elsewhere": (DOUBLED + b"Q.", DAMAGED),
    "function": (DOUBLED + b")R.", DAMAGED),
    "class": (DOUBLED + b")\x81.", DAMAGED),
    "argument of a class": (b"]" + DOUBLED + b"\x81.", DAMAGED),
    "argument of an old class": (b"(]" + DOUBLED + b"o.", DAMAGED),

    "giant number": (GIANT + b".", "read$"),
    "giant key": (b"}" + GIANT + b"Ns.", REFUSED + "has a key that is too large, a int"),
    "giant negative key": (b"}" + GIANT[:-1] + b"\xff" + b"Ns.", REFUSED + "has a key that is too large, a int"),
    "giant size": (array_of(GIANT + b"\x85") + b".", DAMAGED),
    "giant type code": (b"cnumpy\ndtype\n" + GIANT + b"\x85R.", REFUSED + "holds elements of type a int"),
    "giant argument": (EMPTY_ARRAY[:-6] + GIANT + b"\x85R.", DAMAGED),
    "giant number in digits": (b"L" + b"9" * 10**6 + b"L\n.", DAMAGED),
    "giant number of an object": (b"Np" + b"9" * 10**6 + b"\n.", DAMAGED),
    "giant reference": (b"g" + b"9" * 4000 + b"\n.", DAMAGED + "Memo value not found at index 999"),
    "high number of an object": (b"]r\xff\xff\xff\x7f.", "read$"),

    "long key": (b"}" + MEGABYTE + b"Ns.", REFUSED + "has a key that is too large, a str"),
    "long name": (MEGABYTE + MEGABYTE + b"\x93.", REFUSED + "names aaa"),
    "long name in a line": (b"c" + b"a" * 10**6 + b"\na\n.", REFUSED + "names aaa"),
    "long type code": (b"cnumpy\ndtype\n" + MEGABYTE + b"\x85R.", REFUSED + "holds elements of type 'aaa"),
    "long number": (b"F" + b"a" * 10**6 + b"\n.", DAMAGED + "could not convert string to float"),
    "long order": (FROM_BUFFER + b"(C\x00" + F4 + b"K\x00\x85" + MEGABYTE + b"tR.", DAMAGED),
    "signs that steer a terminal": (
        b"X\x06\x00\x00\x00\x1b[31m\nX\x03\x00\x00\x00\xed\xa0\x80\x93.", REFUSED + r"names \?\[31m\?\.\?, "),

    "claimed bytes": (claims(b"\x8e", 2**40), DAMAGED + "EOFError"),
    "claimed bytes, more than an address": (claims(b"\x8e", 2**64 - 1), DAMAGED),
    "claimed text": (claims(b"\x8d", 2**40), DAMAGED + "EOFError"),
    "claimed bytearray": (claims(b"\x96", 2**40), DAMAGED + "EOFError"),
    "claimed bytearray, more than there can be": (claims(b"\x96", 2**64 - 1), DAMAGED),
    "claimed frame": (claims(b"\x80\x04\x95", 2**40), DAMAGED),
    "claimed frame in a frame": (b"\x80\x04\x95" + struct.pack("<Q", 11) + claims(b"\x95", 2**60), DAMAGED),
    "claimed number": (claims(b"\x8b", 2**31 - 1, "<i"), DAMAGED + "EOFError"),
    "claimed number below 0": (claims(b"\x8b", -1, "<i"), DAMAGED),
    "claimed old text": (claims(b"T", 2**31 - 1, "<i"), DAMAGED + "EOFError"),

    "a million lists in each other": (b"]" * 10**6 + b"a" * (10**6 - 1) + b".", DAMAGED + "maximum recursion depth"),
    "a million tuples in each other": (b")" + b"\x85" * 10**6 + b".", DAMAGED + "maximum recursion depth"),
    "a million marks": (b"(" * 10**6 + b".", DAMAGED),
    "list in itself": (b"]2a.", DAMAGED + "maximum recursion depth"),

    "shape of more than an address": (
        array_of(whole(2**40) + whole(2**40) + b"\x86") + b".", DAMAGED + "cannot reshape"),
    "sizes that multiply to 0": (array_of(whole(2**32) + whole(2**32) + b"\x86", b"C\x00") + b".", DAMAGED),
    "size above 2^63": (array_of(whole(2**63) + b"\x85") + b".", DAMAGED),
    "size below 0": (array_of(whole(-2) + b"\x85") + b".", DAMAGED + "a shape is not of whole"),
    "empty and wide": (array_of(b"K\x00" + whole(10**18) + b"\x86", b"C\x00") + b".", "read$"),
    "empty and too wide": (array_of(b"K\x00" + whole(2**62) + b"2\x87", b"C\x00") + b".", DAMAGED),
    "a million axes": (array_of(b"(" + b"K\x01" * 10**6 + b"t", b"C\x04" + bytes(4)) + b".", DAMAGED),
    "no content": (EMPTY_ARRAY + b".", DAMAGED + "an array has no content"),
    "content without a type": (FROM_BUFFER + b"(C\x00N))tR.", DAMAGED + "an array has no type of elements"),

    "one array in 10,000 places": (
        b"]" + array_of(whole(10**6) + b"\x85", b"B" + struct.pack("<I", 4 * 10**6) + bytes(4 * 10**6))
        + b"\x940(" + b"h\x00" * 10**4 + b"l.", "read$"),
    "10,000 arrays of the same bytes": (
        b"B" + struct.pack("<I", 4 * 10**6) + bytes(4 * 10**6) + b"\x940" + F4 + b"\x940("
        + (EMPTY_ARRAY + b"(N" + whole(10**6) + b"\x85h\x01\x89h\x00tb") * 10**4 + b"l.",
        REFUSED + "makes more bytes than it has"),
    "10,000 states of one array": (
        b"B" + struct.pack("<I", 4 * 10**6) + bytes(4 * 10**6) + b"\x940" + F4 + b"\x940" + EMPTY_ARRAY
        + (b"(N" + whole(10**6) + b"\x85h\x01\x89h\x00tb") * 10**4 + b".", REFUSED + "makes more bytes than it has"),
    "10,000 arrays over the same bytes": (
        b"B" + struct.pack("<I", 4 * 10**6) + bytes(4 * 10**6) + b"\x940" + F4 + b"\x940(" + (
            FROM_BUFFER + b"(h\x00h\x01" + whole(10**6) + b"\x85X\x01\x00\x00\x00CtR") * 10**4 + b"l.",
        REFUSED + "makes more bytes than it has"),
    "10,000 times the bytes of one text": (
        MEGABYTE + b"\x940(" + (b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R") * 10**4 + b"l.",
        REFUSED + "makes more bytes than it has"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for i, (content, _) in enumerate(HOSTILE.values()):
        paths.append(folder / f"{i}.pkl")
        paths[-1].write_bytes(content)
    try:
        done = subprocess.run([sys.executable, "-c", READER, *paths], capture_output=True, text=True, timeout=120,
                              cwd=Path(common.__file__).parents[1], env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
    except subprocess.TimeoutExpired as expired:
        lines = (expired.stdout or b"").decode().splitlines()
    return dict(zip(HOSTILE, lines))


@pytest.mark.parametrize("what", HOSTILE)
def test_what_would_take_all_time_or_all_memory_has_a_short_answer(answers, what):
    assert what in answers, f"no answer; the last ones were {list(answers.items())[-2:]}"
    assert re.match(rf"""(['"] )?{HOSTILE[what][1]}""", answers[what])
    assert len(answers[what]) < 300
