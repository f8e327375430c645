"""Any corpus, ready for a language model: the pydoc topics, the Penn Treebank or a text file."""
import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import numpy

from common.errors import InputError
from common.text.parts import cut_into_parts, is_blank, shares_of
from common.text.reading import clean_text, codec_name, read_text_file
from common.text.tokenizers import TOKENIZERS, languages_without_spaces
from common.text.vocabulary import Vocabulary
from dataset import ptb, pydoc_topics

SPLITS = ("train", "valid", "test")
UNITS = {"word": "lines", "char": "characters", "tokens": "ptb", "chinese": "chinese"}  # unit -> its tokenizer
BUILT_IN = ("pydoc", "ptb")  # with parts of their own
SPLIT = "80/10/10"


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
    types : dict of str to int
        Number of different tokens in each part, those included that became ``<unk>``.
    languages_without_spaces : sequence of str
        Languages of a text that was cut into words at its spaces, though they write none between words.
    """

    name: str
    tokenizer: str
    vocabulary: Vocabulary
    train: numpy.ndarray
    valid: numpy.ndarray
    test: numpy.ndarray
    types: dict[str, int] = dataclasses.field(default_factory=dict)
    languages_without_spaces: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all ids, in hexadecimal: two equal texts have the same."""
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(getattr(self, split).tobytes() + b"|")
        return digest.hexdigest()

    def unknown_share(self, split: str) -> float:
        """Return the share of ``<unk>`` among the tokens of a part, as a fraction of 1."""
        return unknown_share(getattr(self, split), self.vocabulary)


def unknown_share(ids: numpy.ndarray, vocabulary: Vocabulary) -> float:
    """Return the share of the unknown word among ids (n,), as a fraction of 1."""
    if vocabulary.unknown is None or not len(ids):
        return 0.0
    return float((ids == vocabulary.word_to_id[vocabulary.unknown]).mean())


def load_corpus(name: str | pathlib.Path, unit: str = "word", min_freq: int | None = None,
                max_tokens: int | None = None, *, valid: str | pathlib.Path | None = None,
                test: str | pathlib.Path | None = None, split: str = SPLIT, encoding: str = "utf-8",
                keep_case: bool = False, keep_form: bool = False) -> Corpus:
    """Load a corpus by its name.

    Parameters
    ----------
    name : str or path-like
        "pydoc", "ptb", or the path of a text file. Blank lines at the end of a file are left out, except by tokens.
    unit : {"word", "char", "tokens", "chinese"}
        What a token is: a word or mark of prose, a character, what white space parts, a word of Chinese.
    min_freq : int, optional
        Smallest number of times that a word must occur in the training part; a rarer one becomes ``<unk>``. By
        default 2 for words, so that training meets ``<unk>`` too, and 1 for the other units and for
        "ptb", which has its own.
    max_tokens : int, optional
        Number of training tokens to keep, from the beginning, and the largest number to keep of each other part.
        The vocabulary is then that of the training tokens kept.
    valid, test : str or path-like, optional
        Text files of these parts. By default they are cut from the end of the file.
    split : str
        Shares of the tokens to train, validate and test on, cut as `common.text.parts.cut_into_parts` does. The share
        of a part that has a file of its own goes to the others.
    encoding : str
        Of the files.
    keep_case : bool
        Whether words keep their capitals; the other units always do.
    keep_form : bool
        Whether characters keep their Unicode form (`common.text.reading.clean_text`).

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
    tokenizer = tokenizer_of(name, unit, keep_case)
    tokenize = TOKENIZERS[tokenizer]
    if name in BUILT_IN:
        if valid is not None or test is not None or split != SPLIT or codec_name(encoding) != "utf-8":
            raise InputError(f"{name} has parts of its own: leave out --valid, --test, --split and --encoding")
        load = pydoc_topics.load_text if name == "pydoc" else ptb.read_text
        texts = [clean_text(load(part), keep_form) for part in SPLITS]
        parts = [tokenize(text) for text in texts]
    else:
        expect_corpus(name)
        paths = {"train": name, "valid": valid, "test": test}
        keep_end = unit == "tokens"  # where each line end is a token that somebody counts
        texts = [read_text_file(path, encoding, keep_form, keep_end) for path in paths.values() if path is not None]
        parts = _cut(*map(tokenize, texts), paths=paths, split=split)
    parts = [tokens[:max_tokens] for tokens in parts]
    given = {"train": name, "valid": valid, "test": test}
    for part, tokens in zip(SPLITS, parts):
        source = name if given[part] is None else given[part]
        elsewhere = f", another --split, or a file for --{part}" if given[part] is None and name not in BUILT_IN else ""
        if len(tokens) < 2:
            raise InputError(f"{source} is too short: its {part} part has {len(tokens)} tokens, and a language model "
                             f"needs at least 2; give a longer text{elsewhere}")
        if is_blank(tokens):
            raise InputError(f"the {part} part of {source} has nothing but white space: give another text{elsewhere}")
    if min_freq is None:
        min_freq = 2 if tokenizer in ("lines", "cased lines") else 1
    vocabulary = Vocabulary.build(parts[0], min_freq=min_freq)
    if len(vocabulary) < 2:
        raise InputError(f"{name} leaves no word to learn: none occurs {min_freq} times in its training part")
    train, valid_ids, test_ids = map(vocabulary.encode, parts)  # (n,) each
    return Corpus(str(name), tokenizer, vocabulary, train, valid_ids, test_ids,
                  types={part: len(set(tokens)) for part, tokens in zip(SPLITS, parts)},
                  languages_without_spaces=languages_without_spaces(texts[0]) if unit == "word" else ())


def expect_corpus(name: str | pathlib.Path) -> None:
    """Raise an InputError where a corpus is neither built in nor a file."""
    if name not in BUILT_IN and not pathlib.Path(name).exists():
        raise InputError(f"no corpus {str(name)!r}: give {', '.join(BUILT_IN)} or the path of a text file")


def tokenizer_of(name: str | pathlib.Path, unit: str, keep_case: bool = False) -> str:
    """Return the key of `common.text.tokenizers.TOKENIZERS` by which a corpus of this name and unit is split."""
    if keep_case and unit != "word":
        raise InputError(f"--keep-case goes with --unit word: --unit {unit} keeps capitals anyway")
    if name == "ptb" and unit == "word":
        return "ptb"
    return "cased lines" if keep_case else UNITS[unit]


def _cut(tokens, *others, paths, split):
    """Return the three parts: those that have files of their own as they are, the others cut from the first file."""
    given = dict(zip([part for part in SPLITS[1:] if paths[part] is not None], others))
    shares = dict(zip(SPLITS, shares_of(split)))
    cut = [part for part in SPLITS if part not in given]
    total = sum(shares[part] for part in cut)
    parts = given | dict(zip(cut, cut_into_parts(tokens, [shares[part] / total for part in cut])))
    return [parts[part] for part in SPLITS]
