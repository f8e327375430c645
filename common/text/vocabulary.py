"""The words of a corpus and their ids, which are NumPy arrays on the host, whatever the backend."""
from __future__ import annotations

import collections
import difflib
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from common.errors import InputError
from common.files.atomic import replacing
from common.files.json_text import is_unicode, read_json
from common.np import ArrayLike
from common.text.tokenizers import UNKNOWN


class Vocabulary:
    """The words of a corpus and their ids, 0 to V - 1.

    Make one with `Vocabulary.build(tokens)` or `Vocabulary.load(path)`.

    Parameters
    ----------
    words : list of str
        All different; the place in the list is the id.
    frequencies : dict of str to int, optional
        How often each word occurs in the corpus that it was built from.
    unknown : str or None
        The word, one of `words`, that stands for all others.

    Attributes
    ----------
    word_to_id : dict of str to int
    id_to_word : dict of int to str
    frequencies : dict of str to int
        That of `unknown` counts every token that it stands for.
    unknown : str or None

    Raises
    ------
    InputError
        No words, a word twice, or `unknown` is not among them.
    """

    def __init__(self, words: Sequence[str], frequencies: dict[str, int] | None = None,
                 unknown: str | None = None) -> None:
        self.word_to_id = {word: i for i, word in enumerate(words)}
        self.id_to_word = dict(enumerate(words))
        self.frequencies = dict(frequencies or {})
        self.unknown = unknown
        if not self.id_to_word:
            raise InputError("a vocabulary needs at least one word: none is frequent enough")
        if len(self.word_to_id) != len(self.id_to_word):
            raise InputError("a vocabulary must hold each word once, and a word is there twice")
        if unknown is not None and unknown not in self.word_to_id:
            raise InputError(f"the unknown word {unknown!r} is not one of the words of the vocabulary")

    @classmethod
    def build(cls, tokens: Iterable[str], min_freq: int = 1, unknown: str | None = UNKNOWN,
              max_size: int | None = None) -> Vocabulary:
        """Build the vocabulary of a corpus, ids in the order of first appearance.

        Parameters
        ----------
        tokens : iterable of str
        min_freq : int
            Words that occur less often are left out.
        unknown : str or None
            The word that stands for those left out. Where the corpus already contains it
            (as the PTB contains ``<unk>``) it keeps its place; else it is added as id 0.
            None adds none: the vocabulary then refuses other words.
        max_size : int or None
            Largest number of words, `unknown` counted; the most frequent ones are kept.

        Returns
        -------
        Vocabulary

        Raises
        ------
        InputError
            `min_freq` or `max_size` is below 1, or no word is left.
        """
        if min_freq < 1 or (max_size is not None and max_size < 1):
            raise InputError(f"min_freq and max_size must be at least 1, got {min_freq} and {max_size}")
        # All is counted before the first id is given: whether a word gets one depends on its
        # last occurrence as much as on its first. A Counter keeps the order of first appearance.
        counts = collections.Counter(tokens)
        words = [word for word, count in counts.items() if count >= min_freq or word == unknown]
        if unknown is not None and unknown not in counts:
            words.insert(0, unknown)
        if max_size is not None:
            by_frequency = sorted(words, key=lambda word: (word != unknown, -counts[word]))
            kept = set(by_frequency[:max_size])
            words = [word for word in words if word in kept]
        frequencies = {word: counts[word] for word in words}
        if unknown is not None:
            left_out = sum(counts.values()) - sum(frequencies.values())
            frequencies[unknown] += left_out
        return cls(words, frequencies, unknown)

    def encode(self, tokens: Iterable[str]) -> numpy.ndarray:
        """Return the ids of tokens.

        Parameters
        ----------
        tokens : iterable of str, n of them

        Returns
        -------
        ndarray (n,) of int32
            A word outside the vocabulary has the id of the unknown word.

        Raises
        ------
        InputError
            A word is outside the vocabulary and there is no unknown word.
        """
        if self.unknown is not None:
            unknown_id = self.word_to_id[self.unknown]
            ids = [self.word_to_id.get(token, unknown_id) for token in tokens]
        else:
            try:
                ids = [self.word_to_id[token] for token in tokens]
            except KeyError as error:
                word = error.args[0]
                near = self.near(word)
                hint = f"did you mean {', '.join(map(repr, near))}?" if near else "use one of those"
                raise InputError(f"{word!r} is not one of the {self.size} tokens of the vocabulary: {hint}") from None
        return numpy.array(ids, dtype=numpy.int32)  # (n,)

    def missing(self, tokens: Iterable[str]) -> list[str]:
        """Return the tokens that are outside the vocabulary, each once, in order of first appearance."""
        return [token for token in dict.fromkeys(tokens) if token not in self]

    def encode_known(self, tokens: Iterable[str], origin: str) -> numpy.ndarray:
        """Return the ids of tokens that must all be in the vocabulary.

        Parameters
        ----------
        tokens : list of str, n of them
        origin : str
            Where they come from, for the message.

        Returns
        -------
        ndarray (n,) of int32

        Raises
        ------
        InputError
            The vocabulary lacks one; the message names those that are spelled like it.
        """
        missing = self.missing(tokens)
        if missing:
            near = [", ".join(self.near(token)) for token in missing]
            faults = [repr(token) + (f" (near it: {words})" if words else "") for token, words in zip(missing, near)]
            raise InputError(f"{origin} has {', '.join(faults)}, which the training text never has")
        return self.encode(tokens)

    def decode(self, ids: ArrayLike) -> list[str]:
        """Return the tokens of ids.

        Parameters
        ----------
        ids : list or ndarray (n,) of int

        Returns
        -------
        list of str, n of them

        Raises
        ------
        InputError
            An id is outside the vocabulary, or `ids` is not one-dimensional.
        """
        ids = numpy.asarray(ids)
        if ids.ndim != 1:
            raise InputError(f"decode takes a one-dimensional array of ids, got shape {ids.shape}")
        try:
            return [self.id_to_word[i] for i in ids.tolist()]
        except KeyError as error:
            raise InputError(f"{error.args[0]} is not an id: the ids are 0 to {self.size - 1}") from None

    def near(self, word: str) -> list[str]:
        """Return up to three words of the vocabulary that are spelled like `word`, nearest first."""
        return (difflib.get_close_matches(word, self.word_to_id)
                or difflib.get_close_matches(word.lower(), self.word_to_id))

    @property
    def size(self) -> int:
        """The number of words, V."""
        return len(self.id_to_word)

    def __len__(self) -> int:
        return self.size

    def __contains__(self, word: object) -> bool:
        return word in self.word_to_id

    def __eq__(self, other: object) -> bool:  # and no hash, since its dicts can be changed
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.id_to_word == other.id_to_word and self.unknown == other.unknown

    def __repr__(self) -> str:
        return f"Vocabulary({self.size} words, unknown={self.unknown!r})"

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the words in the order of their ids, and of the one that stands for all others."""
        return _sha256([list(self.word_to_id), self.unknown])

    @property
    def fingerprint_of_words(self) -> str:
        """SHA-256, in hex, of the words in the order of their ids, as older checkpoints have it."""
        return _sha256(list(self.word_to_id))

    def save(self, path: str | pathlib.Path) -> None:
        """Write the vocabulary as JSON; a file that is there is replaced as a whole or not at all.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        InputError
            The file cannot be written.
        """
        with replacing(path) as file:
            json.dump(self.content, file, ensure_ascii=False)

    @property
    def content(self) -> dict[str, Any]:
        """What JSON holds of the vocabulary: "words" in the order of their ids, "frequencies" and "unknown"."""
        words = list(self.word_to_id)
        return {
            "words": words,
            "frequencies": [self.frequencies.get(word, 0) for word in words],
            "unknown": self.unknown,
        }

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Vocabulary:
        """Read a vocabulary that `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        Vocabulary

        Raises
        ------
        InputError
            The file cannot be read or holds no vocabulary.
        """
        try:
            content = read_json(pathlib.Path(path))
        except OSError as error:
            raise InputError(f"cannot read the vocabulary {path}: {error.strerror}") from None
        return cls.of_content(content, path)

    @classmethod
    def of_content(cls, content: Any, source: str | pathlib.Path) -> Vocabulary:
        """Return the vocabulary that `content` describes, which was read from `source`.

        Raises
        ------
        InputError
            It describes none.
        """
        if not _describes_a_vocabulary(content):
            raise InputError(f"{source} holds no vocabulary: give a file that Vocabulary.save wrote")
        frequencies = dict(zip(content["words"], content["frequencies"]))
        return cls(content["words"], frequencies, content["unknown"])


def _sha256(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _describes_a_vocabulary(content):
    if not isinstance(content, dict) or content.keys() != {"words", "frequencies", "unknown"}:
        return False
    words, frequencies, unknown = content["words"], content["frequencies"], content["unknown"]
    return (isinstance(words, list) and all(isinstance(word, str) and is_unicode(word) for word in words)
            and 0 < len(words) == len(set(words))
            and isinstance(frequencies, list) and len(frequencies) == len(words)
            and all(type(count) is int and 0 <= count for count in frequencies)
            and (unknown is None or unknown in words))
