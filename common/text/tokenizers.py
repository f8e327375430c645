"""Tokenizers: plain functions from a text to its list of tokens.

`TOKENIZERS` finds one by the name that a corpus or a checkpoint keeps.
"""
import re
import unicodedata
import warnings
from collections.abc import Iterable

import regex

from common.errors import InputError

END_OF_SENTENCE = "<eos>"
UNKNOWN = "<unk>"

# A word is of letters, digits and connectors. What stays with them: combining marks, joiners (U+200C, U+200D, U+2060,
# U+FEFF), soft hyphens (U+00AD); and between two letters, the marks that belong to a word in some script.
_PIECE = r"(?: [\p{L}\p{N}\p{Pc}] [\p{M}\u200c\u200d\u2060\ufeff\u00ad]* )+"
_WORD = regex.compile(rf"""
    <eos> | <unk>                                         # markers stay whole
    | \d+ (?: [.,\u066b\u066c] \d+ )+                    # 3.14  1,000
    | {_PIECE} (?: (?: [-'’\u2010\u2011·״׳] | (?<=\p{{Hebrew}})"(?=\p{{Hebrew}}) ) {_PIECE} )*   # don't  well-known
    | \.\.\. | -- | [=!<>]=                               # marks of several characters
    | (?! [\s\p{{Cc}}\p{{Cf}}] ) \X                         # any other mark stands alone, an emoji whole
    """, regex.VERBOSE)

_OPENING = frozenset("([{“‘$#¿¡（「『【《")                        # no space after
_CLOSING = frozenset(".,;:!?%)]}”’…।॥،؛؟۔。，、！？：；）」』】》") | {"..."}    # no space before
_QUOTES = frozenset("\"'")                         # the first opens, the next closes

# Scripts whose words no space parts, and the unit that fits each.
_WITHOUT_SPACES = {"Han": "Chinese", "Hiragana": "Japanese", "Katakana": "Japanese", "Thai": "Thai", "Lao": "Lao",
                   "Khmer": "Khmer", "Myanmar": "Burmese"}
_SCRIPTS = {script: regex.compile(rf"\p{{{script}}}") for script in _WITHOUT_SPACES}
SHARE_WITHOUT_SPACES = 0.1  # of the letters of a text, from which it is said


def lower(text: str) -> str:
    """Return a text in lower case.

    "İ" is "i": str.lower would leave a dot above the i as a character of its own. A text in Unicode's composed form
    stays in it: there are small letters with a mark whose capitals are two code points.
    """
    lowered = text.replace("\u0130", "i").replace("I\u0307", "i").lower()
    return unicodedata.normalize("NFC", lowered) if unicodedata.is_normalized("NFC", text) else lowered


def tokenize_words(text: str) -> list[str]:
    """Split prose into lower-case words and punctuation marks.

    Contractions, hyphenated words and decimal numbers stay whole, as do the markers ``<eos>`` and ``<unk>``. Combining
    marks, joiners and soft hyphens stay with their letter, and an emoji of several code points is one token. White
    space is dropped, and so are the characters that print nothing: controls, and marks of direction.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return _WORD.findall(lower(text))


def tokenize_lines(text: str) -> list[str]:
    """Split prose as `tokenize_words` does, with ``<eos>`` for each line end.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return tokenize_words(_with_ends(text))


def tokenize_cased_lines(text: str) -> list[str]:
    """Split prose as `tokenize_lines` does, its capitals kept.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return _WORD.findall(_with_ends(text))


def _with_ends(text):
    return text.replace("\n", f" {END_OF_SENTENCE} ")


def tokenize_ptb(text: str) -> list[str]:
    """Split text that is tokenized already, as the Penn Treebank is: at white space, ``<eos>`` for each line end.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return _with_ends(text).split()


def tokenize_characters(text: str) -> list[str]:
    """Split text into its characters, white space and line ends included.

    A character is what a reader takes for one (a grapheme cluster, Unicode Standard Annex 29): a letter with its marks,
    an emoji with all its parts.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return list(text) if text.isascii() and "\r\n" not in text else regex.findall(r"\X", text)


def tokenize_chinese(text: str) -> list[str]:
    """Split Chinese text into words with jieba; marks, spaces and line ends are tokens too.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        jieba is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba's source has escapes that newer Pythons warn about
            import jieba
    except ImportError:
        raise InputError("Chinese text needs jieba: pip install -e '.[chinese]'") from None
    jieba.setLogLevel("WARNING")  # it reports the loading of its dictionary otherwise
    return jieba.lcut(text)


def languages_without_spaces(text: str) -> list[str]:
    """Return the languages in a text whose words no space parts, those with at least a tenth of its letters.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Of "Chinese", "Japanese", "Thai", "Lao", "Khmer" and "Burmese". Chinese characters beside kana are Japanese.
    """
    if text.isascii():
        return []
    letters = len(regex.findall(r"\p{L}", text))
    counts = {script: len(pattern.findall(text)) for script, pattern in _SCRIPTS.items()}
    if counts["Hiragana"] + counts["Katakana"] > SHARE_WITHOUT_SPACES * letters:
        counts["Hiragana"] += counts.pop("Han")
    found = [_WITHOUT_SPACES[script] for script, count in counts.items() if count > SHARE_WITHOUT_SPACES * letters]
    return list(dict.fromkeys(found))


TOKENIZERS = {
    "words": tokenize_words,
    "lines": tokenize_lines,
    "cased lines": tokenize_cased_lines,
    "ptb": tokenize_ptb,
    "characters": tokenize_characters,
    "chinese": tokenize_chinese,
}


def join_tokens(tokens: Iterable[str], tokenizer_name: str) -> str:
    """Put tokens together to readable text, the way back from a tokenizer.

    Parameters
    ----------
    tokens : iterable of str
    tokenizer_name : str
        A key of `TOKENIZERS`. "words", "lines" and "cased lines" attach punctuation, "ptb" puts a space between
        all words, and they write ``<eos>`` as a line end; "characters" and "chinese" add nothing.

    Returns
    -------
    str

    Raises
    ------
    InputError
        There is no such tokenizer.
    """
    if tokenizer_name not in TOKENIZERS:
        raise InputError(f"no tokenizer {tokenizer_name!r}: choose from {', '.join(TOKENIZERS)}")
    if tokenizer_name in ("words", "lines", "cased lines"):
        return _join_prose(tokens)
    if tokenizer_name == "ptb":
        text = " ".join("\n" if token == END_OF_SENTENCE else token for token in tokens)
        return re.sub(" ?\n ?", "\n", text)
    return "".join(tokens)


def _join_prose(tokens):
    pieces = []
    attach = True      # whether the next token follows without a space
    quoted: set[str] = set()  # straight quotes that wait for their partner
    for token in tokens:
        if token == END_OF_SENTENCE:
            pieces.append("\n")
            attach, quoted = True, set()
            continue
        closes = token in _CLOSING or token in quoted
        opens = token in _OPENING or (token in _QUOTES and token not in quoted)
        if not (attach or closes):
            pieces.append(" ")
        pieces.append(token)
        attach = opens
        if token in _QUOTES:
            quoted ^= {token}
    return "".join(pieces)
