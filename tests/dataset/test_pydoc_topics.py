import re
import sys

import pytest

from common.errors import InputError
from common.text.tokenizers import join_tokens, tokenize_lines
from dataset import pydoc_topics

SPLITS = ("train", "valid", "test")


@pytest.fixture
def topics(monkeypatch):
    """Put a dict of invented topics in place of Python's own."""
    def use(topics):
        module = None if topics is None else type(sys)("topics")
        if module is not None:
            module.topics = topics
        monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
        pydoc_topics._splits.cache_clear()

    yield use
    pydoc_topics._splits.cache_clear()


def whole_text():
    return "".join(pydoc_topics.load_text(split) for split in SPLITS)


def tokens_of(split):
    return tokenize_lines(pydoc_topics.load_text(split))


def test_the_shares_are_near_80_10_10():
    sizes = [len(tokens_of(split)) for split in SPLITS]
    shares = [size / sum(sizes) for size in sizes]
    assert sum(sizes) > 30_000
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_no_paragraph_stands_twice():
    paragraphs = [line for line in whole_text().split("\n") if line]
    assert len(paragraphs) == len(set(paragraphs)) > 1000


def test_no_underlines_and_no_grammar():
    text = whole_text()
    assert not re.search(r"^[*=-]{3,}$", text, re.MULTILINE)
    assert "::=" not in text and ">>>" not in text


def test_tokens_are_lower_case_words_that_end_with_eos():
    tokens = tokens_of("valid")
    assert all(token == token.lower() and token.split() == [token] for token in tokens)
    assert tokens[-2:] == ["<eos>", "<eos>"]
    assert "the" in tokens and "," in tokens


def test_tokens_join_to_lines_as_in_the_text():
    text = pydoc_topics.load_text("test")
    assert join_tokens(tokens_of("test"), "words").count("\n") == text.count("\n")


def test_the_text_is_the_same_each_time():
    before = [pydoc_topics.load_text(split) for split in SPLITS]
    pydoc_topics._splits.cache_clear()
    assert [pydoc_topics.load_text(split) for split in SPLITS] == before


def test_paragraphs_become_lines(topics):
    topics({"a": "A Title\n*******\n\nTwo  built-\nin   *lines*\nof **bold text:** more.\n\n   f(*a, **b)\n"})
    assert pydoc_topics.load_text("train") == (
        "A Title\nTwo built-in lines of bold text: more.\nf(*a, **b)\n\n")
    assert tokens_of("train")[:3] == ["a", "title", "<eos>"]
    assert pydoc_topics.load_text("valid") == ""


def test_a_repeated_paragraph_stays_in_the_longer_topic(topics):
    topics({"short": "Shared.\n\nOwn.", "long": "Shared.\n\nMuch more text than the other."})
    text = {split: pydoc_topics.load_text(split) for split in SPLITS}
    assert text["train"] == "Shared.\nMuch more text than the other.\n\n"
    assert sorted([text["valid"], text["test"]]) == ["", "Own.\n\n"]


def test_tables_grammar_and_sessions_are_left_out(topics):
    topics({"a": "+----+\n| 12 |\n+----+\n\n   rule ::= this\n     | that\n\n   >>> f()\n   3\n\nProse."})
    assert pydoc_topics.load_text("train") == "Prose.\n\n"


def test_a_python_without_topics_is_told(topics):
    topics(None)
    with pytest.raises(InputError, match="without its documentation topics"):
        pydoc_topics.load_text("train")


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match=r"no split 'val'.*train, valid, test"):
        pydoc_topics.load_text("val")
