"""Any corpus, ready for a language model: the pydoc topics, the Penn Treebank or a text file."""
import dataclasses
import pathlib

import numpy

from common.errors import InputError
from common.text import TOKENIZERS, Vocabulary
from dataset import ptb, pydoc_topics

SPLITS = ("train", "valid", "test")
UNITS = {"word": "words", "char": "characters", "chinese": "chinese"}  # unit of prose -> its tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids, in three parts.

    Attributes
    ----------
    name : str
        As given to `load_corpus`.
    tokenizer : str
        Key of `common.text.TOKENIZERS`: how the text was split and how to join tokens again.
    vocabulary : Vocabulary
        The words of the training part.
    train, valid, test : ndarray (n,) of int32
        Ids of each part.
    """

    name: str
    tokenizer: str
    vocabulary: Vocabulary
    train: numpy.ndarray
    valid: numpy.ndarray
    test: numpy.ndarray


def load_corpus(name, unit="word", min_freq=None, max_tokens=None):
    """Load a corpus by its name.

    Parameters
    ----------
    name : str or path-like
        "pydoc", "ptb", or the path of a text file in UTF-8: its first 80 percent of lines are
        for training, the next 10 for validation, the last 10 for testing.
    unit : {"word", "char", "chinese"}
        What a token is; "chinese" is a word of Chinese text.
    min_freq : int, optional
        Words that the training part has less often become ``<unk>``. By default 2 for the
        words of "pydoc", else 1.
    max_tokens : int, optional
        Keep only the first so many training tokens, and at most as many of each other part.
        The vocabulary is then that of the training tokens kept.

    Returns
    -------
    Corpus
        Ids in the order of first appearance in the training part. Words of the other parts that
        it has not are ``<unk>``, id 0 (where the training text has its own ``<unk>``, as the
        PTB, that one).

    Raises
    ------
    InputError
        The corpus cannot be read, is too short to split, or an argument is none of the above.
    """
    if unit not in UNITS:
        raise InputError(f"no unit {unit!r}: choose from {', '.join(UNITS)}")
    if max_tokens is not None and max_tokens < 1:
        raise InputError(f"max_tokens must be at least 1, got {max_tokens}")
    tokenizer = UNITS[unit]
    if name == "pydoc" and unit == "word":
        parts = [pydoc_topics.load_tokens(split) for split in SPLITS]
    elif name == "ptb" and unit == "word":
        tokenizer = "ptb"
        parts = [TOKENIZERS["ptb"](ptb.read_text(split)) for split in SPLITS]
    else:
        parts = [TOKENIZERS[tokenizer](text) for text in _read_parts(name)]
    for split, tokens in zip(SPLITS, parts):
        if len(tokens) < 2:
            raise InputError(f"{name} is too short: its {split} part has {len(tokens)} tokens, "
                             "and a language model needs at least 2; give a longer text")
    train, valid, test = (tokens[:max_tokens] for tokens in parts)
    if min_freq is None:
        min_freq = 2 if name == "pydoc" and unit == "word" else 1
    vocabulary = Vocabulary.build(train, min_freq=min_freq)
    return Corpus(str(name), tokenizer, vocabulary, *map(vocabulary.encode, (train, valid, test)))


def _read_parts(name):
    """The texts of the three parts."""
    if name == "pydoc":
        return [pydoc_topics.load_text(split) for split in SPLITS]
    if name == "ptb":
        return [ptb.read_text(split) for split in SPLITS]
    lines = read_text_file(name).splitlines(keepends=True)
    if len(lines) < 10:
        raise InputError(f"{name} is too short to split 80/10/10: "
                         f"it has {len(lines)} lines and needs at least 10")
    first, second = len(lines) * 8 // 10, len(lines) * 9 // 10
    return ["".join(part) for part in (lines[:first], lines[first:second], lines[second:])]


def read_text_file(path):
    """Return the text of a UTF-8 file, its line ends as ``\\n`` and without a byte order mark.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    str

    Raises
    ------
    InputError
        There is no such file, it cannot be read, is empty, or is not UTF-8.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no corpus {str(path)!r}: give pydoc, ptb or the path of a text file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give the path of a text file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8 text") from None
    if not text.strip():
        raise InputError(f"{path} is empty: give a file with text in it")
    return text.replace("\r\n", "\n")
