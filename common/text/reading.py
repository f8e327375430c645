"""Text as it is read, from a file or a command line: its encoding, its line ends and its Unicode form.

One rule for line ends holds everywhere. Each of these becomes one ``\\n``: LF, CR LF, CR, CR CR LF, vertical tab, form
feed, NEL (U+0085), line separator (U+2028) and paragraph separator (U+2029).
"""
import codecs
import pathlib
import re
import unicodedata

from common.errors import InputError

_LINE_END = re.compile("\r\r\n|\r\n|[\r\n\v\f\x85\u2028\u2029]")

# Where bytes begin with one of these, or have one of the escape sequences, they are of another encoding than UTF-8.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before UTF-16, whose mark begins likewise
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ESCAPES = {b"\x1b$)C": "iso2022_kr", b"\x1b$@": "iso2022_jp", b"\x1b$B": "iso2022_jp", b"\x1b(J": "iso2022_jp",
            b"\x1b(I": "iso2022_jp_ext", b"\x1b$(D": "iso2022_jp_1", b"\x1b$)A": "iso2022_cn"}
_PYTHON_LACKS = {"iso2022_cn"}


def clean_text(text: str, keep_form: bool = False) -> str:
    """Return a text with ``\\n`` at its line ends, in the composed form of Unicode.

    Parameters
    ----------
    text : str
    keep_form : bool
        Whether characters stay as they are. Otherwise they are brought to NFC (Unicode Standard Annex 15), in which
        "é" is one code point however it was typed, so that two words that look alike are one word.

    Returns
    -------
    str
    """
    text = _LINE_END.sub("\n", text)
    return text if keep_form else unicodedata.normalize("NFC", text)


def read_text_file(path: str | pathlib.Path, encoding: str = "utf-8", keep_form: bool = False,
                   keep_end: bool = False) -> str:
    """Return the text of a file, as `clean_text` does and without a byte order mark.

    Parameters
    ----------
    path : str or path-like
    encoding : str
        Any that Python knows.
    keep_form : bool
        As for `clean_text`.
    keep_end : bool
        Whether blank lines at the end of the file stay.

    Returns
    -------
    str

    Raises
    ------
    InputError
        There is no such file, it cannot be read, is empty, or is of another encoding; the message names the encoding
        where the bytes tell it.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no text file {str(path)!r}: give the path of one") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give the path of a text file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    text = clean_text(_decoded(content, path, encoding).removeprefix("\ufeff"), keep_form)
    if not text.strip():
        raise InputError(f"{path} is empty: give a file with text in it")
    body = text.rstrip()
    return body + "\n" if "\n" in text[len(body):] and not keep_end else text


def _decoded(content, path, encoding):
    is_utf8 = codec_name(encoding) == "utf-8"
    likely = likely_encoding(content) if is_utf8 else None
    if likely in _PYTHON_LACKS:
        raise InputError(f"{path} looks like {likely}, which Python cannot read: save it as UTF-8")
    if likely is not None:
        raise InputError(f"{path} looks like {likely}, not UTF-8: give --encoding {likely}, or save it as UTF-8")
    if codec_name(encoding).startswith(("utf-16", "utf-32")) and b"\0" not in content and _is_utf8(content):
        raise InputError(f"{path} looks like UTF-8, not {encoding}: leave out --encoding")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if is_utf8:
            raise InputError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8, or give its --encoding, "
                             "such as cp1252 or gb18030") from None
        raise InputError(f"{path} is not {encoding} at byte {error.start}: give another --encoding") from None
    if "\0" in text:
        raise InputError(f"{path} has the byte 0 at character {text.index(chr(0))}, as no text has: "
                         "give a file of text, or its --encoding")
    return text


def codec_name(encoding: str) -> str:
    """Return the name by which Python knows an encoding of text.

    Raises
    ------
    InputError
        There is none of this name.
    """
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise InputError(f"no encoding {encoding!r}: give one that Python knows, such as utf-8, utf-16 or cp1252")
    return "utf-8" if info.name == "utf-8-sig" else info.name


def likely_encoding(content: bytes) -> str | None:
    """Return the encoding of a text that is surely not UTF-8, or None.

    Looked for are byte order marks, the escape sequences of ISO 2022, and zero bytes, which UTF-16 and UTF-32 have
    where they write Latin letters, spaces or line ends.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    str or None
    """
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return name
    for escape, name in _ESCAPES.items():
        if escape in content:
            return name
    if b"\0" not in content:
        return None
    even, odd = content[::2].count(0), content[1::2].count(0)
    ends = ("be", "le") if even > odd else ("le", "be")  # the high byte is the zero
    # A text in UTF-8 with a zero byte here and there is none of these: in UTF-16 most bytes of one half would be zero.
    half = 0.75 * len(content) / 2 if _is_utf8(content.replace(b"\0", b"")) else 0
    for name in (f"utf-{bits}-{end}" for bits in (32, 16) for end in ends):
        try:
            if max(even, odd) > half and _is_text(content.decode(name)):
                return name
        except UnicodeDecodeError:
            pass
    return None


def _is_utf8(content):
    """Whether bytes are a text in UTF-8."""
    try:
        return _is_text(content.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _is_text(text):
    """Whether each character of a text is white space or a printable or invisible one of Unicode, and no control."""
    return not any(unicodedata.category(char) in ("Cc", "Cn", "Co") and not char.isspace() for char in set(text))
