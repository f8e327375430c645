"""JSON of any content is read within bounds and holds what a schema says, or one line says what is wrong."""
import json
import math
import os

import pytest

from common.errors import InputError
from common.files.json_text import (
    Items,
    Keyed,
    Maybe,
    Real,
    Record,
    Text,
    Whole,
    brief,
    brief_text,
    parse_json,
    plain_value,
    read_json,
)


def test_a_document_is_read(tmp_path):
    content = {"a": [1, 2.5, None, True, "ö"], "b": {}, "c": 2**128}
    (tmp_path / "x.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_json(tmp_path / "x.json") == parse_json(json.dumps(content).encode(), "x") == content


@pytest.mark.parametrize("content, reason", [
    (b"{", r"its text is no JSON \(Expecting property name"), (b"", "its text is no JSON"), (b"\xff", "can't decode"),
    (b"[" * 100_000, "it is nested too deep"), (b'{"a": ' * 100_000, "it is nested too deep"),
    (b"1" * 5000, "its text is no JSON"), (b'{"a": 1, "b": {"c": 1, "c": 2}}', "a key is there twice"),
    (b'"' + b"x" * 10**6, "its text is no JSON")], ids=lambda value: str(value)[:20])
def test_what_is_no_document_is_one_short_line(content, reason):
    with pytest.raises(InputError, match=f"^x.json is damaged: .*{reason}") as refused:
        parse_json(content, "x.json")
    assert len(str(refused.value)) < 250 and "\n" not in str(refused.value)


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name} cannot be read: it is no file$"):
            read_json(tmp_path / name)
    with open(tmp_path / "hole.json", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(InputError, match=r"hole.json cannot be read: it has more than 268,435,456 bytes$"):
        read_json(tmp_path / "hole.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^/dev/zero cannot be read: it is no file$"):
        read_json(type(tmp_path)("/dev/zero"))


NAMED = Record({"a": Whole(1, 5)}, optional={"b": Text(3)})


@pytest.mark.parametrize("schema, good, bad", [
    (Whole(), [0, 7, 2**53], [-1, 1.0, True, None, "1", 2**53 + 1, 10**400]),
    (Whole(-2, 3), [-2, 0, 3], [-3, 4]),
    (Real(), [0, -1.5, 1e308, -1e308, 2**53],
     [2**53 + 1, 10**300, math.nan, math.inf, -math.inf, True, None, "1", 10**400]),
    (Real(0), [0, 0.0, 5e-324], [-5e-324, -1, math.nan, math.inf]),
    (Real(0, math.inf), [0, math.inf], [-1, math.nan]),
    (Text(3), ["", "abc", "\U0001f600"], ["abcd", 3, None, ["a"], "a\ud800"]),
    (Maybe(Whole()), [None, 3], [-1, "x"]),
    (Items(Whole(), 2), [[], [1], [1, 2]], [[1, 2, 3], [1, -1], None, {}, "ab", (1,)]),
    (Keyed(Whole(), 2), [{}, {"x": 1, "y": 2}], [{"x": 1, "y": 2, "z": 3}, {"x": -1}, {"\ud800": 1}, [], None]),
    (NAMED, [{"a": 1}, {"a": 5, "b": "x"}], [{}, {"b": "x"}, {"a": 0}, {"a": 1, "b": 3}, {"a": 1, "c": 1}, [], None]),
    (plain_value, [None, True, 3, 10**400, 2.5, "x", "caf\udce9.txt", ["x", "y"]],
     [{}, [1], math.nan, math.inf, "x" * 10_001, [[]]]),
], ids=["whole", "whole from -2", "real", "real from 0", "real or infinity", "text", "maybe", "items", "keyed",
        "record", "plain value"])
def test_a_schema_takes_what_it_says_and_no_more(schema, good, bad):
    for value in good:
        schema(value, "here")
    for value in bad:
        with pytest.raises(InputError, match=r"^here") as refused:
            schema(value, "here")
        assert len(str(refused.value)) < 300


def test_a_message_names_the_place():
    schema = Record({"rows": Items(NAMED)})
    with pytest.raises(InputError, match=r"^x\.rows\[1\]\.a is 9, wanted a whole number from 1 to 5$"):
        schema({"rows": [{"a": 1}, {"a": 9}]}, "x")
    with pytest.raises(InputError, match=r"^x\.rows\[0\] lacks 'a'$"):
        schema({"rows": [{}]}, "x")
    with pytest.raises(InputError, match=r"^x has 'more', which does not belong there$"):
        schema({"rows": [], "more": 1}, "x")


@pytest.mark.parametrize("schema, wanted", [
    (Real(), "a finite number"), (Real(0), "a finite number of at least 0"),
    (Real(0.5), "a finite number of at least 0.5"),
    (Real(0, math.inf), "a number of at least 0"), (Real(-math.inf, math.inf), "a number"),
    (Whole(2, 3), "a whole number from 2 to 3"), (Text(7), "a text of at most 7 characters"),
    (Items(Whole(), 8), "a list of at most 8"), (Keyed(Whole(), 9), "an object of at most 9 keys"),
    (NAMED, "an object")], ids=str)
def test_a_message_says_what_would_be_right(schema, wanted):
    with pytest.raises(InputError) as refused:
        schema(None, "here")
    assert str(refused.value) == f"here is None, wanted {wanted}"


def test_a_list_of_texts_is_a_plain_value_up_to_a_thousand():
    plain_value(["x"] * 1000, "here")
    with pytest.raises(InputError):
        plain_value(["x"] * 1001, "here")


def test_what_is_quoted_from_a_file_is_short():
    deep: list = []
    for _ in range(900):
        deep = [deep]
    for value in ("x" * 10**6, 10**4000, -10**4000, deep, list(range(10**5)), {i: i for i in range(10**5)}):
        assert len(brief(value)) < 200
    assert brief("a text") == "'a text'" and brief(12) == "12"
    assert brief_text("two\nlines") == "two lines" and brief_text("x" * 120) == "x" * 120
    assert brief_text("\x1b[2Jx\x07") == "?[2Jx?"
    assert brief_text("x " * 1000) == "x " * 58 + "x..."
