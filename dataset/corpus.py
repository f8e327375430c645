"""Any corpus, ready for a language model: the pydoc topics, the Penn Treebank or a text file."""
import dataclasses
import hashlib
import pathlib

import numpy

from common.errors import InputError
from common.text.tokenizers import TOKENIZERS
from common.text.vocabulary import Vocabulary
from dataset import ptb, pydoc_topics

SPLITS = ("train", "valid", "test")
UNITS = {"word": "lines", "char": "characters", "chinese": "chinese"}  # unit of prose -> its tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids, in three parts.

    Attributes
    ----------
    name : str
        Name given to `load_corpus`.
    tokenizer : str
        Key of `common.text.tokenizers.TOKENIZERS`: how the text was split and how to join tokens again.
    vocabulary : Vocabulary
        The words of the training part.
    train, valid, test : ndarray (n,) of int32
        Ids of each part.
    """

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all ids, in hexadecimal: two equal texts have the same."""
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(getattr(self, split).tobytes() + b"|")
        return digest.hexdigest()

    name: str
    tokenizer: str
    vocabulary: Vocabulary
    train: numpy.ndarray
    valid: numpy.ndarray
    test: numpy.ndarray


def load_corpus(name: str | pathlib.Path, unit: str = "word", min_freq: int | None = None,
                max_tokens: int | None = None) -> Corpus:
    """Load a corpus by its name.

    Parameters
    ----------
    name : str or path-like
        "pydoc", "ptb", or the path of a text file in UTF-8: its first 80 percent of lines (of
        characters, where there are fewer than ten lines) are for training, the next 10 for
        validation, the last 10 for testing.
    unit : {"word", "char", "chinese"}
        What a token is; "chinese" is a word of Chinese text.
    min_freq : int, optional
        Smallest number of times that a word must occur in the training part; a rarer one becomes ``<unk>``. By
        default 2 for words, so that training meets ``<unk>`` too, and 1 for characters and for
        "ptb", which has its own.
    max_tokens : int, optional
        Number of training tokens to keep, from the beginning, and the largest number to keep of each other part.
        The vocabulary is then that of the training tokens kept.

    Returns
    -------
    Corpus
        Ids in the order of first appearance in the training part. Words of the other parts that
        it does not contain become ``<unk>``, id 0 (if the training text itself contains ``<unk>``, as the
        PTB does, the id of that word).

    Raises
    ------
    InputError
        The corpus cannot be read, is too short to split, or an argument is none of the above.
    """
    if unit not in UNITS:
        raise InputError(f"no unit {unit!r}: choose from {', '.join(UNITS)}")
    if max_tokens is not None and max_tokens < 1:
        raise InputError(f"max_tokens must be at least 1, got {max_tokens}")
    tokenizer = tokenizer_of(name, unit)
    train, valid, test = parts = [TOKENIZERS[tokenizer](text)[:max_tokens] for text in _read_parts(name)]
    for split, tokens in zip(SPLITS, parts):
        if len(tokens) < 2:
            raise InputError(f"{name} is too short: its {split} part has {len(tokens)} tokens, "
                             "and a language model needs at least 2; give a longer text")
    if min_freq is None:
        min_freq = 2 if tokenizer == "lines" else 1
    vocabulary = Vocabulary.build(train, min_freq=min_freq)
    if len(vocabulary) < 2:
        raise InputError(f"{name} leaves no word to learn: none occurs {min_freq} times in its training part")
    return Corpus(str(name), tokenizer, vocabulary, *map(vocabulary.encode, (train, valid, test)))


def tokenizer_of(name: str | pathlib.Path, unit: str) -> str:
    """Return the key of `common.text.tokenizers.TOKENIZERS` by which a corpus of this name and unit is split."""
    return "ptb" if name == "ptb" and unit == "word" else UNITS[unit]


def _read_parts(name):
    """The texts of the three parts."""
    if name == "pydoc":
        return [pydoc_topics.load_text(split) for split in SPLITS]
    if name == "ptb":
        return [ptb.read_text(split) for split in SPLITS]
    text = read_text_file(name)
    lines = text.splitlines(keepends=True)
    pieces = lines if len(lines) >= 10 else text  # few long lines are cut by character
    first, second = len(pieces) * 8 // 10, len(pieces) * 9 // 10
    return ["".join(part) for part in (pieces[:first], pieces[first:second], pieces[second:])]


def read_text_file(path: str | pathlib.Path) -> str:
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
