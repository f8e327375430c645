"""Two generated tasks for sequence-to-sequence models: adding numbers, and writing dates as ISO.

Each has 50,000 different questions with their answers, as characters::

    addition.txt   "16+75  "                          "_91  "
    date.txt       "september 27, 1994           "    "_1994-09-27"

Answers begin with ``_``, which tells a decoder to start. The file names are those of Saito,
Deep Learning from Scratch 2, chapters 7 and 8; no file is read, the questions are generated
here and are the same on every machine.
"""
import datetime
import functools
import random

import numpy

from common.errors import InputError

Pair = tuple[numpy.ndarray, numpy.ndarray]
QUESTIONS = 50_000
TRAIN_SHARE = 0.9

# A character's id is its place here: the book's order, so that its published weights fit.
CHARACTERS = {
    "addition.txt": "16+75 _920384",
    "date.txt": "septmbr 27,194_-0Aug38/TUESDYPMBR5JN6ailOcoGFynCWdILjHvhVfw",
}

# Written out, since strftime answers in the language of the machine.
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# A hundred years, so that a year of two digits means one year only: 94 is 1994, 07 is 2007.
_FIRST_DAY = datetime.date(1920, 1, 1).toordinal()
_LAST_DAY = datetime.date(2019, 12, 31).toordinal()

_loaded = None


def load_data(file_name: str = "addition.txt", seed: int = 1984) -> tuple[Pair, Pair]:
    """Generate a task, shuffle it and split it 90/10.

    Parameters
    ----------
    file_name : {"addition.txt", "date.txt"}
    seed : int
        Of the shuffle; the 50,000 questions are always the same.

    Returns
    -------
    (x_train, t_train) : ndarray (45000, 7 or 29), ndarray (45000, 5 or 11), of int32
        Character ids of questions and answers: the first widths are those of additions, the
        second those of dates.
    (x_test, t_test) : ndarray (5000, 7 or 29), ndarray (5000, 5 or 11), of int32

    Raises
    ------
    InputError
        No such task.
    """
    global _loaded
    if file_name not in CHARACTERS:
        raise InputError(f"no task {file_name!r}: choose from {', '.join(CHARACTERS)}")
    pairs = list(_distinct_pairs(_addition if file_name == "addition.txt" else _date))
    random.Random(seed).shuffle(pairs)
    _loaded = file_name
    questions, answers = zip(*pairs)
    x = _encode(questions, CHARACTERS[file_name])  # (50000, 7 or 29)
    t = _encode(answers, CHARACTERS[file_name])    # (50000, 5 or 11)
    split = int(QUESTIONS * TRAIN_SHARE)
    return (x[:split], t[:split]), (x[split:], t[split:])


def get_vocab() -> tuple[dict[str, int], dict[int, str]]:
    """Return the characters of the task that was loaded last, and their ids.

    Returns
    -------
    char_to_id : dict of str to int
    id_to_char : dict of int to str

    Raises
    ------
    InputError
        Nothing was loaded yet.
    """
    if _loaded is None:
        raise InputError("get_vocab gives the characters of the task loaded last: call load_data first")
    characters = CHARACTERS[_loaded]
    return {char: i for i, char in enumerate(characters)}, dict(enumerate(characters))


@functools.lru_cache
def _distinct_pairs(make_pair):
    # Python's generator rather than NumPy's: its numbers stay the same over versions.
    rng = random.Random(1984)
    pairs: dict[str, str] = {}  # question -> answer
    while len(pairs) < QUESTIONS:
        question, answer = make_pair(rng)
        pairs[question] = answer
    return tuple(pairs.items())


def _addition(rng):
    # The number of digits is drawn first: else nine numbers in ten would have three.
    a, b = (rng.randrange(10 ** rng.randint(1, 3)) for _ in range(2))
    return f"{a}+{b}".ljust(7), f"_{a + b}".ljust(5)


def _date(rng):
    day = datetime.date.fromordinal(rng.randint(_FIRST_DAY, _LAST_DAY))
    month, weekday = _MONTHS[day.month - 1], _WEEKDAYS[day.weekday()]
    question = rng.choice((
        f"{day.month}/{day.day}/{day.year % 100:02}",             # 9/27/94
        f"{month} {day.day}, {day.year}",                         # september 27, 1994
        f"{month[:3]} {day.day}, {day.year}",                     # sep 27, 1994
        f"{weekday}, {month} {day.day}, {day.year}",              # tuesday, september 27, 1994
    ))
    spell = rng.choice((str.lower, str.title, str.upper))
    return spell(question).ljust(29), f"_{day.isoformat()}"


def _encode(lines, characters):
    table = numpy.zeros(128, dtype=numpy.int32)
    table[[ord(char) for char in characters]] = numpy.arange(len(characters))
    codes = numpy.frombuffer("".join(lines).encode("ascii"), dtype=numpy.uint8)  # (n * width,)
    return table[codes].reshape(len(lines), -1)  # (n, width)
