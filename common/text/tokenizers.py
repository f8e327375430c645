"""Tokenizers: plain functions from a text to its list of tokens.

`TOKENIZERS` finds one by the name that a corpus or a checkpoint keeps.
"""
import re
import warnings
from collections.abc import Iterable

from common.errors import InputError

END_OF_SENTENCE = "<eos>"
UNKNOWN = "<unk>"

_WORD = re.compile(r"""
    <eos> | <unk>               # markers stay whole
    | \d+ (?: [.,] \d+ )+       # 3.14  1,000
    | \w+ (?: [-'’] \w+ )*      # word  don't  well-known
    | \.\.\. | -- | [=!<>]=     # marks of several characters
    | [^\w\s]                   # any other mark stands alone
    """, re.VERBOSE)

_OPENING = frozenset("([{“‘$#")                    # no space after
_CLOSING = frozenset(".,;:!?%)]}”’…") | {"..."}    # no space before
_QUOTES = frozenset("\"'")                         # the first opens, the next closes


def tokenize_words(text: str) -> list[str]:
    """Split prose into lower-case words and punctuation marks.

    Contractions, hyphenated words and decimal numbers stay whole, as do the markers
    ``<eos>`` and ``<unk>``. White space is dropped.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return _WORD.findall(text.lower())


def tokenize_lines(text: str) -> list[str]:
    """Split prose as `tokenize_words` does, with ``<eos>`` for each line end.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return tokenize_words(text.replace("\n", f" {END_OF_SENTENCE} "))


def tokenize_ptb(text: str) -> list[str]:
    """Split text in the format of the Penn Treebank files: white space, ``<eos>`` per line end.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return text.replace("\n", f" {END_OF_SENTENCE} ").split()


def tokenize_characters(text: str) -> list[str]:
    """Split text into its characters, white space and line ends included.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return list(text)


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


TOKENIZERS = {
    "words": tokenize_words,
    "lines": tokenize_lines,
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
        A key of `TOKENIZERS`. "words" and "lines" attach punctuation, "ptb" puts a space between
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
    if tokenizer_name in ("words", "lines"):
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
