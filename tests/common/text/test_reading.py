"""How text is read: one rule for line ends, one Unicode form, and no other encoding taken for UTF-8."""
import unicodedata

import pytest

from common.errors import InputError
from common.text.reading import clean_text, codec_name, likely_encoding, read_text_file

LINE_ENDS = {"LF": "\n", "CR LF": "\r\n", "CR": "\r", "CR CR LF": "\r\r\n", "vertical tab": "\v", "form feed": "\f",
             "NEL": "\x85", "line separator": "\u2028", "paragraph separator": "\u2029"}
SENTENCES = {
    "latin": "Déjà vu, the café.\n", "cyrillic": "Привет, мир.\n", "chinese": "你好，世界。\n第二行\n",
    "japanese": "こんにちは、世界。\n", "korean": "안녕하세요 세계.\n", "emoji": "fine 👍🏽\n", "short": "abc"}


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_each_line_end_is_one(end, tmp_path):
    assert clean_text(f"a{end}b{end}{end}c") == "a\nb\n\nc"
    path = tmp_path / "text.txt"
    path.write_bytes(f"a{end}b{end}{end}c{end}".encode())
    assert read_text_file(path) == "a\nb\n\nc\n"


def test_what_ends_no_line_stays():
    text = "a\tb\x1cc\x1dd\x1ee\u00a0f\u3000g"  # str.splitlines cuts at some of these
    assert clean_text(text) == text


@pytest.mark.parametrize("composed", ["é", "ế", "한국어", "ä", "क़"[:1] + "\u093c", "Å"])
def test_characters_are_composed_unless_they_are_to_stay(composed, tmp_path):
    decomposed = unicodedata.normalize("NFD", composed)
    assert clean_text(decomposed) == unicodedata.normalize("NFC", composed)
    assert clean_text(decomposed, keep_form=True) == decomposed
    path = tmp_path / "text.txt"
    path.write_text(decomposed, encoding="utf-8")
    assert read_text_file(path) == clean_text(decomposed) and read_text_file(path, keep_form=True) == decomposed


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("a\u00e9\n".encode("utf-8-sig"))
    for encoding in ("utf-8", "utf-8-sig", "UTF8"):
        assert read_text_file(path, encoding) == "aé\n"


OTHERS = [
    ("latin", "utf-16", "utf-16"), ("chinese", "utf-16", "utf-16"), ("latin", "utf-32", "utf-32"),  # with a mark
    ("latin", "utf-16-le", "utf-16-le"), ("latin", "utf-16-be", "utf-16-be"),
    ("short", "utf-16-le", "utf-16-le"), ("short", "utf-16-be", "utf-16-be"), ("short", "utf-32-be", "utf-32-be"),
    ("cyrillic", "utf-16-le", "utf-16-le"), ("chinese", "utf-16-be", "utf-16-be"),
    ("latin", "utf-32-le", "utf-32-le"), ("chinese", "utf-32-be", "utf-32-be"), ("emoji", "utf-32-le", "utf-32-le"),
    ("japanese", "iso2022_jp", "iso2022_jp"), ("korean", "iso2022_kr", "iso2022_kr")]


@pytest.mark.parametrize("sentence, encoding, named", OTHERS)
def test_an_encoding_that_the_bytes_tell_is_named_and_reads_the_text(sentence, encoding, named, tmp_path):
    path, text = tmp_path / "text.txt", SENTENCES[sentence]
    path.write_bytes((text * 3).encode(encoding))
    with pytest.raises(InputError, match=f"^{path} looks like {named}, not UTF-8: give --encoding {named}, or save it"):
        read_text_file(path)
    assert read_text_file(path, named) == text * 3


@pytest.mark.parametrize("sentence, encoding", [
    ("latin", "cp1252"), ("cyrillic", "koi8-r"), ("chinese", "gb18030"), ("japanese", "shift_jis"),
    ("korean", "euc-kr")])
def test_other_encodings_are_read_by_their_name_only(sentence, encoding, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(SENTENCES[sentence].encode(encoding))
    with pytest.raises(InputError, match=r"is not UTF-8 at byte \d+: save it as UTF-8, or give its --encoding"):
        read_text_file(path)
    assert read_text_file(path, encoding) == SENTENCES[sentence]


def test_what_python_cannot_read_is_to_be_saved_anew(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\x1b$)A\x0e<:;\x0f\n")
    with pytest.raises(InputError, match=r"looks like iso2022_cn, which Python cannot read: save it as UTF-8$"):
        read_text_file(path)


@pytest.mark.parametrize("content, place", [(b"text\0text", 4), (b"\0\0abc", 0), (bytes(range(0, 128)), 0)])
def test_a_zero_byte_is_refused_where_it_tells_no_encoding(content, place, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"has the byte 0 at character {place}, as no text has"):
        read_text_file(path)


def test_a_text_with_colours_of_a_terminal_is_utf8(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\x1b[31mred\x1b[0m\n")
    assert read_text_file(path) == "\x1b[31mred\x1b[0m\n" and likely_encoding(path.read_bytes()) is None


@pytest.mark.parametrize("encoding", ["utf-9", "", "rot13", "hex", "a\0b"])
def test_an_encoding_that_is_none(encoding, tmp_path):
    with pytest.raises(InputError, match=r"^no encoding .*: give one that Python knows, such as utf-8"):
        codec_name(encoding)


def test_a_text_that_its_encoding_does_not_fit(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("é".encode("cp1252"))
    with pytest.raises(InputError, match="is not ascii at byte 0: give another --encoding"):
        read_text_file(path, "ascii")


@pytest.mark.parametrize("content", [b"abc\0def " * 100, b"name\0value\0other\0\n" * 9, "é\0 ab\n".encode() * 9])
def test_a_text_with_a_zero_byte_now_and_then_is_not_taken_for_utf16(content, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="has the byte 0 at character"):
        read_text_file(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_utf8_is_not_read_as_another_encoding(encoding, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"words of a text\n" * 9)
    with pytest.raises(InputError, match=f"looks like UTF-8, not {encoding}: leave out --encoding"):
        read_text_file(path, encoding)


def test_blank_lines_at_the_end_go_unless_they_are_to_stay(tmp_path):
    path = tmp_path / "text.txt"
    for text, read in (("a\n\n \n", "a\n"), ("a", "a"), ("a  ", "a  "), ("\n\n a\n", "\n\n a\n"),
                       ("a\n" + "\n" * 10**6 + "b", "a\n" + "\n" * 10**6 + "b")):  # in no time
        path.write_text(text)
        assert read_text_file(path) == read and read_text_file(path, keep_end=True) == text
