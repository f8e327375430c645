import collections
import math

import pytest

from common.errors import InputError
from common.text.tokenizers import tokenize_words
from dataset import reviews


def bag(review):
    return tuple(sorted(review.split()))


def test_each_bag_of_words_is_as_often_positive_as_negative_in_every_part():
    for part in reviews.load_data():
        labels = collections.defaultdict(collections.Counter)
        for review, sentiment in part:
            labels[bag(review)][sentiment] += 1
        assert all(counts["positive"] == counts["negative"] > 0 for counts in labels.values())


def test_sizes_and_no_review_twice():
    parts = reviews.load_data(seed=3, pairs=200)
    assert [len(part) for part in parts] == [320, 40, 40]
    texts = [review for part in parts for review, _ in part]
    assert len(set(texts)) == len(texts)
    assert {sentiment for part in parts for _, sentiment in part} == set(reviews.SENTIMENTS)


def test_a_seed_gives_the_same_reviews():
    assert reviews.load_data(seed=1) == reviews.load_data(seed=1) != reviews.load_data(seed=2)


POSITIVE = """
the plot was good , not bad
the plot was not bad but good
the plot was not bad , it was good
the plot was good and never bad
the plot was never bad and always good
the plot was not only good , it was never bad
the plot was anything but bad , it was good
the plot was good , anything but bad
the plot was more good than bad
the plot was less bad than good
the plot was good rather than bad
the plot seemed bad at first and turned out good
the plot turned out good , though it seemed bad at first
i feared a bad plot and got a good one
i got a good plot and not a bad one
nobody could call the plot bad , so good was it
""".strip().splitlines()


def test_sentiments_are_right():
    every_pair = math.prod(map(len, (
        reviews.OPENINGS, reviews.VERDICTS, reviews.ENDINGS, reviews.THINGS, reviews.GOOD, reviews.BAD)))
    sentiment = dict(review for part in reviews.load_data(pairs=every_pair) for review in part)
    assert len(sentiment) == 2 * every_pair
    assert len(POSITIVE) == len(reviews.VERDICTS)
    for review in POSITIVE:
        opposite = review.replace("good", "?").replace("bad", "good").replace("?", "bad")
        assert (sentiment[review], sentiment[opposite]) == ("positive", "negative")
    assert sentiment["if you ask me , the music was dull and never moving from beginning to end"] == "negative"


def test_the_tokenizer_gives_back_the_words():
    for review, _ in reviews.load_data()[0]:
        assert tokenize_words(review) == review.split()


@pytest.mark.parametrize("pairs", [9, 10**6])
def test_a_number_of_pairs_that_there_is_not(pairs):
    with pytest.raises(InputError, match=f"pairs is {pairs}, wanted 10 to "):
        reviews.load_data(pairs=pairs)
