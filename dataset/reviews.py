"""Short generated reviews whose sentiment hangs on the order of their words alone.

Each speaks of one good and one bad quality, and the words around say which of the two holds. With the
qualities exchanged, the same words say the opposite::

    positive   the plot was brilliant , not dull
    negative   the plot was dull , not brilliant

Both go into the same part of the data. So among the reviews of a part that have the same words, half are
positive: whoever only counts words is right for exactly half of them.
"""
import itertools
import random

from common.errors import InputError

Examples = list[tuple[str, str]]  # reviews and their sentiments
SENTIMENTS = ("negative", "positive")

# A review is one of each.
THINGS = ("film", "book", "plot", "ending", "music", "acting")
GOOD = ("good", "great", "brilliant", "moving", "funny", "clever")
BAD = ("bad", "dull", "boring", "clumsy", "silly", "tedious")

# {true} holds of the thing; {false} is denied, or only seemed so.
VERDICTS = (
    "the {thing} was {true} , not {false}",
    "the {thing} was not {false} but {true}",
    "the {thing} was not {false} , it was {true}",
    "the {thing} was {true} and never {false}",
    "the {thing} was never {false} and always {true}",
    "the {thing} was not only {true} , it was never {false}",
    "the {thing} was anything but {false} , it was {true}",
    "the {thing} was {true} , anything but {false}",
    "the {thing} was more {true} than {false}",
    "the {thing} was less {false} than {true}",
    "the {thing} was {true} rather than {false}",
    "the {thing} seemed {false} at first and turned out {true}",
    "the {thing} turned out {true} , though it seemed {false} at first",
    "i feared a {false} {thing} and got a {true} one",
    "i got a {true} {thing} and not a {false} one",
    "nobody could call the {thing} {false} , so {true} was it",
)
OPENINGS = (
    "",
    "if you ask me ,",
    "we saw it with friends on a rainy sunday and",
)
ENDINGS = (
    "",
    "from beginning to end",
    "and the people around us thought so too",
)


def load_data(seed: int = 0, pairs: int = 1500) -> tuple[Examples, ...]:
    """Generate pairs of reviews with the same words and opposite sentiment, split 80/10/10.

    Parameters
    ----------
    seed : int
        Of the choice among all possible reviews, and of their order.
    pairs : int

    Returns
    -------
    train, valid, test : list of (str, str)
        Reviews, their words with single spaces between, each with one of `SENTIMENTS`. The two of
        a pair stand in the same part, and no review is there twice.

    Raises
    ------
    InputError
        `pairs` is below 10, or more than there are.
    """
    choices = list(itertools.product(OPENINGS, VERDICTS, ENDINGS, THINGS, GOOD, BAD))
    if not 10 <= pairs <= len(choices):
        raise InputError(f"pairs is {pairs}, wanted 10 to {len(choices)}")
    rng = random.Random(seed)
    chosen = rng.sample(choices, pairs)
    train_end, valid_end = pairs * 8 // 10, pairs * 9 // 10
    parts = []
    for part in (chosen[:train_end], chosen[train_end:valid_end], chosen[valid_end:]):
        reviews = [review for choice in part for review in _pair(*choice)]
        rng.shuffle(reviews)
        parts.append(reviews)
    return tuple(parts)


def _pair(opening, verdict, ending, thing, good, bad):
    """Return the two reviews that differ in which quality holds, with their sentiments."""
    text = " ".join(f"{opening} {verdict} {ending}".split())
    return ((text.format(thing=thing, true=good, false=bad), "positive"),
            (text.format(thing=thing, true=bad, false=good), "negative"))
