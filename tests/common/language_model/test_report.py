import math

import numpy
import pytest

from common.language_model.report import PerplexityInWords, advice, perplexity_in_words, table_of_parts, unit_name
from common.text.vocabulary import Vocabulary
from dataset.corpus import Corpus


def corpus_of(tokenizer="lines", **options):
    parts = (numpy.array(part, dtype=numpy.int32) for part in ([1, 2, 0, 1], [0, 0, 1, 1], [1, 2] * 600))
    return Corpus("text", tokenizer, Vocabulary(["<unk>", "a", "b"], unknown="<unk>"), *parts,
                  types={"train": 3, "valid": 2, "test": 1234}, **options)


@pytest.mark.parametrize("tokenizer, share, words", [
    ("lines", 0.0, "8.00"), ("lines", 0.01, "8.00"), ("lines", 0.0101, "8.00 (1.0% <unk>)"),
    ("ptb", 0.25, "8.00 (25.0% <unk>)"), ("characters", 0.0, "8.00 (3.00 bits per character)"),
    ("characters", 0.02, "8.00 (3.00 bits per character, 2.0% <unk>)"), ("chinese", 0.0, "8.00")])
def test_a_perplexity_stands_beside_what_belongs_to_it(tokenizer, share, words):
    say = PerplexityInWords(tokenizer, share)
    assert say(8.0) == words
    assert say(8.0, "in the end") == (words[:-1] + ", in the end)" if ")" in words else words + " (in the end)")


def test_an_infinite_perplexity_has_no_bits():
    assert PerplexityInWords("characters")(math.inf) == "inf"


def test_it_is_that_of_the_part():
    assert [perplexity_in_words(corpus_of(), part)(2.0) for part in ("train", "valid", "test")] == [
        "2.00 (25.0% <unk>)", "2.00 (50.0% <unk>)", "2.00"]


def test_the_table_of_the_parts():
    assert table_of_parts(corpus_of()) == (
        "part   tokens  types  <unk>\n"
        "train       4      3  25.0%\n"
        "valid       4      2  50.0%\n"
        "test    1,200  1,234   0.0%")


def test_what_tokens_are_called():
    assert [unit_name(name) for name in ("words", "lines", "cased lines", "ptb", "characters", "chinese")] == [
        "words", "words", "words", "words", "characters", "words"]


def test_advice_on_languages_without_spaces():
    assert advice(corpus_of()) == []
    thai, chinese = advice(corpus_of(languages_without_spaces=["Thai", "Chinese"]))
    assert thai == ("note: Thai writes no spaces between words, so that a word here is a whole phrase: "
                    "--unit char reads its characters")
    assert chinese.endswith(": --unit chinese finds its words, --unit char reads its characters")
