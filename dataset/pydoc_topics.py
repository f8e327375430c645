"""The corpus that every Python carries: the documentation topics behind ``help()``.

About 65,000 words and marks on the Python language, there without a download and free to use. Its exact
words depend on the version of Python.
"""
import functools
import re

from common.errors import InputError

_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}

# A title's underline; what is drawn or typed rather than written: tables, grammar rules, sessions.
_UNDERLINE = re.compile(r"^[*=\-~^]{3,}$", re.MULTILINE)
_NOT_PROSE = re.compile(r"^\s*[+|]|::=|>>>", re.MULTILINE)

_HYPHENATION = re.compile(r"(?<=\w-)\n\s*(?=\w)")  # built-<line end>in
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(\w(?:[^*]*[\w:.)])?)\1(?!\w)")  # *object*, **PEP 8**; not *args


def load_text(split: str = "train") -> str:
    """Return a part of the topics as text, one paragraph a line and an empty line after each topic.

    Parameters
    ----------
    split : {"train", "valid", "test"}
        80, 10 and 10 percent of the text, split between topics.

    Returns
    -------
    str

    Raises
    ------
    InputError
        No such split, or this Python comes without its documentation topics.
    """
    if split not in _SHARES:
        raise InputError(f"the pydoc corpus has no split {split!r}: choose from {', '.join(_SHARES)}")
    return _splits()[split]


@functools.lru_cache(maxsize=1)
def _splits():
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError("this Python comes without its documentation topics (pydoc_data): "
                         "install them, or give the path of a text file as the corpus") from None
    texts = _distinct_texts(topics)
    # Largest first, each to the part that is furthest from full: the small ones even out the shares.
    total = sum(map(len, texts.values()))
    names: dict[str, list[str]] = {split: [] for split in _SHARES}
    missing = {split: share * total for split, share in _SHARES.items()}
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        split = max(missing, key=missing.__getitem__)
        names[split].append(name)
        missing[split] -= len(texts[name])
    return {split: "".join(texts[name] + "\n" for name in sorted(names[split])) for split in _SHARES}


def _distinct_texts(topics):
    """The text of each topic, without what a longer topic has already said.

    Many topics are excerpts: "if" is also a section of "compound". A paragraph that stood in two
    topics could be trained on in one and tested on in the other, so it stays in the longest only.
    """
    seen = set()
    texts = {}
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        lines = []
        for paragraph in re.split(r"\n\s*\n", _UNDERLINE.sub("", topics[name])):
            line = _EMPHASIS.sub(r"\2", " ".join(_HYPHENATION.sub("", paragraph).split()))
            if line and line not in seen and not _NOT_PROSE.search(paragraph):
                seen.add(line)
                lines.append(line + "\n")
        if lines:
            texts[name] = "".join(lines)
    return texts
