"""Where a text is cut into parts to train, validate and test on."""
import bisect
from collections.abc import Sequence

from common.errors import InputError
from common.text.tokenizers import END_OF_SENTENCE

LINE_ENDS = frozenset({END_OF_SENTENCE, "\n"})
_STOPS = frozenset({".", "!", "?", "...", "…", "؟", "۔"})
_STOPS_WITHOUT_SPACE = frozenset("।॥。！？")  # what follows need not be white space
_CLOSERS = frozenset("\"'”’»)]」』")


def shares_of(text: str) -> tuple[float, float, float]:
    """Return the shares of the parts that a text like "80/10/10" gives, as fractions of 1.

    Raises
    ------
    InputError
        It is not three numbers above 0.
    """
    try:
        shares = [float(share) for share in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) != 3 or not all(share > 0 for share in shares) or not sum(shares) < float("inf"):
        raise InputError(f"--split {text}: wanted three numbers above 0, as in 80/10/10; a part of another file comes "
                         "by --valid or --test")
    total = sum(shares)
    return shares[0] / total, shares[1] / total, shares[2] / total


def cut_into_parts(tokens: Sequence[str], shares: Sequence[float]) -> list[Sequence[str]]:
    """Cut a text into parts of about these shares of its tokens.

    A cut lies at the nearest end of a paragraph. Where the paragraph there is longer than the smallest part it lies at
    the nearest line end; where that line is too, at the nearest end of a sentence; and where that sentence is too,
    between two tokens.

    Parameters
    ----------
    tokens : sequence of str (n,)
    shares : sequence of float
        Of each part; their sum is 1.

    Returns
    -------
    list of sequence of str
        As many as shares.
    """
    levels: list[list[int]] | None = None
    cuts = []
    smallest = min(shares) * len(tokens)
    for i in range(1, len(shares)):
        levels = levels or [_paragraph_ends(tokens), _line_ends(tokens), _sentence_ends(tokens)]
        cuts.append(_nearest_end(levels, round(sum(shares[:i]) * len(tokens)), smallest, len(tokens)))
    return [tokens[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(tokens)])]


def _nearest_end(levels, target, smallest, n):
    """Return the place nearest to the target at which a piece ends that is no longer than the smallest part."""
    for ends in levels:
        place = bisect.bisect_left(ends, target)
        before, after = (ends[place - 1] if place else 0), (ends[place] if place < len(ends) else n)
        if after - before <= smallest:
            return before if target - before < after - target else after
    return target


def _line_ends(tokens):
    return [i for i, token in enumerate(tokens, start=1) if token in LINE_ENDS]


def _paragraph_ends(tokens):
    """Return the places behind blank lines, where a line with text begins; white space leaves a line blank."""
    ends, last_was_blank = [], False
    line_ends = _line_ends(tokens)
    for start, end in zip([0, *line_ends], [*line_ends, len(tokens)]):
        blank = is_blank(tokens[start:end])
        if last_was_blank and not blank:
            ends.append(start)
        last_was_blank = blank
    return ends


def is_blank(tokens: Sequence[str]) -> bool:
    """Whether tokens are white space and line ends alone."""
    return all(token.isspace() or token in LINE_ENDS for token in tokens)


def _sentence_ends(tokens):
    by_character = " " in tokens  # then a stop ends a sentence only before white space, and not in 3.14
    ends = []
    for i, token in enumerate(tokens, start=1):
        if token in _STOPS or token in _STOPS_WITHOUT_SPACE:
            while i < len(tokens) and tokens[i] in _CLOSERS:
                i += 1
            if not by_character or token in _STOPS_WITHOUT_SPACE or tokens[i:i + 1] == [] or tokens[i].isspace():
                ends.append(i)
    return ends
