import datetime
import functools

import numpy
import pytest

from common.errors import InputError
from dataset import sequence

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@functools.lru_cache(maxsize=2)
def task(file_name):
    return sequence.load_data(file_name)


@functools.lru_cache(maxsize=2)
def lines(file_name):
    """Every question and its answer, as text."""
    characters = numpy.array(list(sequence.CHARACTERS[file_name]))
    (x_train, t_train), (x_test, t_test) = task(file_name)
    return [("".join(characters[x]), "".join(characters[t]))
            for x, t in zip(numpy.concatenate([x_train, x_test]), numpy.concatenate([t_train, t_test]))]


@pytest.mark.parametrize("file_name, x_width, t_width", [("addition.txt", 7, 5), ("date.txt", 29, 11)])
def test_shapes(file_name, x_width, t_width):
    (x_train, t_train), (x_test, t_test) = task(file_name)
    assert x_train.shape == (45_000, x_width) and t_train.shape == (45_000, t_width)
    assert x_test.shape == (5_000, x_width) and t_test.shape == (5_000, t_width)
    assert {array.dtype for array in (x_train, t_train, x_test, t_test)} == {numpy.dtype("int32")}


@pytest.mark.parametrize("file_name", ["addition.txt", "date.txt"])
def test_questions_differ_and_every_character_occurs(file_name):
    questions = [question for question, _ in lines(file_name)]
    assert len(set(questions)) == 50_000
    answers = [answer for _, answer in lines(file_name)]
    assert set("".join(questions + answers)) == set(sequence.CHARACTERS[file_name])


def test_sums_are_right():
    for question, answer in lines("addition.txt"):
        a, b = question.rstrip().split("+")
        assert len(a) <= 3 and len(b) <= 3
        assert answer == f"_{int(a) + int(b)}".ljust(5)


def test_numbers_of_each_length_are_common():
    lengths = [len(question.split("+")[0]) for question, _ in lines("addition.txt")]
    assert min(lengths.count(length) for length in (1, 2, 3)) > 3_000


def parse(question):
    """Read a written date, independently of how it was made."""
    words = question.lower().replace(",", "").split()
    if len(words) == 1:
        assert len(words[0].split("/")[2]) == 2
        month, day, year = map(int, words[0].split("/"))
        return datetime.date(year + (1900 if year >= 20 else 2000), month, day)
    *weekday, month, day, year = words
    date = datetime.date(int(year), MONTHS.index(month[:3]) + 1, int(day))
    if weekday:
        assert weekday[0] == date.strftime("%A").lower()
    return date


def test_dates_are_right():
    for question, answer in lines("date.txt"):
        assert answer == f"_{parse(question).isoformat()}"


def test_dates_come_in_several_forms():
    questions = [question.rstrip() for question, _ in lines("date.txt")]
    for share in (
        sum("/" in question for question in questions),
        sum(question.count(",") == 2 for question in questions),
        sum(question.isupper() for question in questions),
        sum(question.islower() for question in questions),
        sum(question.istitle() for question in questions),
    ):
        assert share > 5_000


def test_ids_are_places_in_the_books_order():
    sequence.load_data("addition.txt")
    char_to_id, id_to_char = sequence.get_vocab()
    assert "".join(id_to_char[i] for i in range(13)) == "16+75 _920384"
    assert char_to_id["_"] == 6 and len(char_to_id) == len(id_to_char) == 13
    sequence.load_data("date.txt")
    char_to_id, id_to_char = sequence.get_vocab()
    assert "".join(id_to_char[i] for i in range(59)) == (
        "septmbr 27,194_-0Aug38/TUESDYPMBR5JN6ailOcoGFynCWdILjHvhVfw")
    assert all(id_to_char[i] == char for char, i in char_to_id.items())


def test_the_seed_deals_the_same_questions_differently():
    (x_train, _), (x_test, _) = task("addition.txt")
    (x_again, _), _ = sequence.load_data("addition.txt", seed=1984)
    (x_other, _), (x_other_test, _) = sequence.load_data("addition.txt", seed=1)
    assert numpy.array_equal(x_train, x_again)
    assert not numpy.array_equal(x_train, x_other)

    def rows(*arrays):
        return sorted(map(tuple, numpy.concatenate(arrays).tolist()))

    assert rows(x_train, x_test) == rows(x_other, x_other_test)


def test_the_numbers_are_the_same_on_every_machine():
    assert lines("addition.txt")[:2] == [("40+33  ", "_73  "), ("989+122", "_1111")]
    assert lines("date.txt")[:2] == [
        ("monday, september 15, 1958   ", "_1958-09-15"), ("SATURDAY, JANUARY 4, 1986    ", "_1986-01-04")]


def test_no_vocabulary_before_a_load(monkeypatch):
    monkeypatch.setattr(sequence, "_loaded", None)
    with pytest.raises(InputError, match="call load_data first"):
        sequence.get_vocab()


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match=r"no task 'sum.txt': choose from addition.txt, date.txt"):
        sequence.load_data("sum.txt")
