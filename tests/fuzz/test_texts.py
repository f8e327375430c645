"""No text breaks what reads it: tokenizers, files in any encoding, parts, vocabularies, corpora, generated tasks."""
import json
import math
import pathlib

import numpy
import pytest
from drawn import Refused, anything, arrays, often, outcome
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.evaluate import eval_perplexity, perplexity
from common.language_model.generate import generate, next_probabilities
from common.text import parts, reading, tokenizers
from common.text.vocabulary import Vocabulary
from dataset import corpus, grammar, memory_tasks, names, ptb, pydoc_topics, reviews, sequence, weather

pytestmark = pytest.mark.promise(
    "Whatever a text, a corpus, a vocabulary or a prompt holds, the result is right or one line says what is wrong")

# Line ends, joiners, marks of direction, quotes, numbers, scripts without spaces, halves of pairs, marks of tokenizers.
PIECES = ["\n", "\r\n", "\r\r\n", "\u2028", "\u200d", "\u202e", "\ufeff", "\xad", "'", '"', "“", "don't", "3.14",
          "1,000", "<eos>", "<unk>", " ", "\t", "\0", "\x1b", "我爱学习", "ไทย", "カタ", "e\u0301",
          "\U0001f469\u200d\U0001f467", "\u0130", "I\u0307", "\ud800", "\U0010ffff", "a", "word", ".",
          "...", "--", "१२", "Ⅷ", "\u0345", "ﬁ", "ß"]
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=15).map("".join))
WORDS = st.one_of(st.sampled_from(["a", "b", "c", "<eos>", "<unk>", "\n", ".", " ", "”", ""]), st.text(max_size=3))
TOKENS = st.lists(WORDS, max_size=12)
ENCODINGS = st.one_of(st.sampled_from([
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "gb18030", "shift_jis", "iso2022_jp",
    "utf-7", "punycode", "idna", "hex", "rot13", "base64", "zlib", "unicode_escape", "raw_unicode_escape", "undefined",
    "mbcs", "none", "", "\0", "x" * 500]), st.text(max_size=6))
COUNTS = st.one_of(st.integers(1, 5), st.integers(-1, 5), st.sampled_from([None, 1.5, "2", 10**20]))


@given(text=TEXTS)
def test_tokenizers(text, count_cases):
    """A text of any characters is split into tokens and joined again."""
    count_cases()
    for name, tokenize in tokenizers.TOKENIZERS.items():
        tokens = outcome(tokenize, text)
        assert all(isinstance(token, str) and token for token in tokens)
        assert isinstance(outcome(tokenizers.join_tokens, tokens, name), str)
    assert "".join(tokenizers.tokenize_characters(text)) == text
    assert isinstance(outcome(tokenizers.languages_without_spaces, text), list)
    assert isinstance(outcome(names.normalize, text), str)


@given(tokens=TOKENS, name=st.one_of(st.sampled_from(list(tokenizers.TOKENIZERS)), WORDS))
def test_joining(tokens, name, count_cases):
    """Tokens that no tokenizer made are joined too, and an unknown tokenizer is one line."""
    count_cases()
    joined = outcome(tokenizers.join_tokens, tokens, name)
    assert isinstance(joined, str) or name not in tokenizers.TOKENIZERS


@given(text=TEXTS, keep_form=st.booleans())
def test_cleaning(text, keep_form, count_cases):
    """A cleaned text has one kind of line end, and cleaning it again changes nothing."""
    count_cases()
    clean = outcome(reading.clean_text, text, keep_form)
    assert not set(clean) & set("\r\v\f\x85\u2028\u2029")
    assert reading.clean_text(clean, keep_form) == clean


@given(content=st.one_of(st.binary(max_size=60), st.tuples(TEXTS, st.sampled_from([
    "utf-8", "utf-16", "utf-16-le", "utf-32-be", "cp1252", "gb18030", "iso2022_jp", "utf-7"])).map(
        lambda pair: pair[0].encode(pair[1], "replace"))), encoding=ENCODINGS, keep=st.booleans(),
    name=st.sampled_from(["file", "file", "file", "missing", ".", "file/below", "a\0b", "x" * 300, "\ud800", ""]))
def test_reading_files(content, encoding, keep, name, tmp_path, count_cases):
    """A file of any bytes in any encoding is a text, or one line says what is wrong with it."""
    count_cases()
    (tmp_path / "file").write_bytes(content)
    text = outcome(reading.read_text_file, tmp_path / name, encoding, keep, keep)
    assert isinstance(text, Refused) or text.strip()
    assert isinstance(outcome(reading.likely_encoding, content), str | None)


@given(tokens=TOKENS, split=st.one_of(st.sampled_from(["80/10/10", "1/1/1", "1e308/1e308/1e308", "1e-320/1/1"]),
                                      st.text("0123456789/.e-+naif _\u0663", max_size=12)))
def test_parts(tokens, split, count_cases):
    """A text is cut into parts that are the whole text again, or one line says what is wrong."""
    count_cases()
    shares = outcome(parts.shares_of, split)
    if not isinstance(shares, Refused):
        assert math.isclose(sum(shares), 1)
        assert sum(outcome(parts.cut_into_parts, tokens, shares), []) == tokens


@given(tokens=TOKENS, others=TOKENS, min_freq=COUNTS, max_size=COUNTS,
       unknown=st.one_of(st.just("<unk>"), st.none(), WORDS), ids=often(st.lists(st.integers(-1, 5), max_size=4)))
def test_vocabularies(tokens, others, min_freq, max_size, unknown, ids, tmp_path, count_cases):
    """A vocabulary of any words encodes and decodes them, or one line says what is wrong."""
    count_cases()
    built = outcome(Vocabulary.build, tokens, min_freq, unknown, max_size)
    outcome(Vocabulary, others, None, unknown)
    if isinstance(built, Refused):
        return
    encoded = outcome(built.encode, others)
    if not isinstance(encoded, Refused):
        assert len(built.decode(encoded)) == len(others)
    outcome(built.encode_known, others, "the text")
    outcome(built.decode, ids)
    assert built.missing(tokens) == [] or built.unknown is not None or min_freq != 1 or max_size is not None
    path = tmp_path / "vocabulary.json"
    if not isinstance(outcome(built.save, path), Refused):
        assert Vocabulary.load(path) == built


@given(content=st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["words", "frequencies", "unknown", "x"]), inner, max_size=4), max_leaves=8))
def test_vocabulary_files(content, tmp_path, count_cases):
    """A vocabulary is read from a file of any content, or one line says what is wrong with it."""
    count_cases()
    (tmp_path / "vocabulary.json").write_text(json.dumps(content))
    outcome(Vocabulary.load, tmp_path / "vocabulary.json")


@given(text=st.one_of(TEXTS, st.lists(TEXTS, max_size=20).map("\n".join)),
       unit=st.sampled_from([*corpus.UNITS, "none", ""]),
       counts=st.tuples(COUNTS, COUNTS).map(lambda pair: [n if isinstance(n, int) else None for n in pair]),
       split=st.sampled_from(["80/10/10", "1/1/1", "98/1/1", "0/1/1"]), keep=st.booleans(), own=st.booleans())
def test_corpora(text, unit, counts, split, keep, own, tmp_path, count_cases):
    """A corpus of any text and any options is three parts that can be learnt from, or one line."""
    count_cases()
    (tmp_path / "text").write_text(text, errors="replace", newline="")
    (tmp_path / "other").write_text("a b\nc d\n")
    loaded = outcome(corpus.load_corpus, tmp_path / "text", unit, *counts, split=split, keep_case=keep, keep_form=keep,
                     valid=tmp_path / "other" if own else None)
    if not isinstance(loaded, Refused):
        assert all(len(getattr(loaded, part)) >= 2 for part in corpus.SPLITS)
        assert all(0 <= loaded.unknown_share(part) <= 1 for part in corpus.SPLITS)


@given(name=often(st.sampled_from(["addition.txt", "date.txt", "train", "valid", "test"]), WORDS),
       days=st.one_of(st.integers(-1, 30), st.sampled_from([None, 1.5, "3"])), seed=st.integers(-1, 2**70),
       noise=st.one_of(st.floats(0, 1), st.floats(), st.none()), seen=st.integers(-1, 5), pairs=st.integers(-1, 40),
       length=st.one_of(st.integers(-1, 9), st.just(1.5)), size=st.one_of(st.integers(-1, 4), st.just(1.5)))
def test_data_sets(name, days, seed, noise, seen, pairs, length, size, count_cases):
    """Data sets take their options, or say in one line what is wrong with them."""
    count_cases()
    for load in pydoc_topics.load_text, ptb.find_file:
        outcome(load, name)
    if name not in sequence.CHARACTERS:
        outcome(sequence.load_data, name)
    drawn = outcome(weather.generate, days, noise, seed)
    assert isinstance(drawn, Refused) or len(drawn) == days
    outcome(weather.best_accuracy, seen, noise)
    outcome(reviews.load_data, seed, pairs)
    for kind in memory_tasks.AddingProblem, memory_tasks.CopyTask:
        task = outcome(kind, length, seed)
        if not isinstance(task, Refused):
            outcome(task.batch, size)


RULES = st.dictionaries(st.sampled_from("abc"), st.lists(st.tuples(
    st.sampled_from([0.5, 1.0, 0.0, -1.0, math.nan]), st.lists(st.sampled_from(["x", "y", "<eos>"]), max_size=2),
    st.sampled_from("abcd")), max_size=2), max_size=3)
WORKING_RULES = {"a": [(0.5, ["x"], "b"), (0.5, ["<eos>"], "a")], "b": [(1.0, ["<eos>"], "a")]}


@given(rules=st.one_of(RULES, st.just(WORKING_RULES)), length=st.integers(-1, 6),
       ids=often(st.lists(st.integers(-1, 4), max_size=5), arrays(dtype="int64")),
       words=st.lists(st.sampled_from("that farmer farmers sing sings <eos> the x".split()), max_size=6))
def test_grammars(rules, ids, length, words, count_cases):
    """A grammar is made of any rules and reads any text, or one line says what is wrong."""
    count_cases()
    outcome(grammar.agreements, words)
    made = outcome(grammar.Grammar, rules)
    if isinstance(made, Refused):
        return
    text = outcome(made.generate, length)
    if not isinstance(text, Refused):
        assert len(made.read(text)) == len(text) == length
    for method in made.read, made.next_probabilities, made.cross_entropy:
        outcome(method, ids)


@pytest.fixture(scope="module")
def model():
    return CellRnnlm("lstm", 5, 2, 2, seed=0)


@given(prompt=often(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.one_of(
            anything(), st.lists(st.sampled_from([-1, 5, 1.5, None, "a", math.nan, 10**20]), max_size=2))),
       length=st.integers(-1, 4), samples=st.integers(-1, 2), greedy=st.booleans(),
       options=st.fixed_dictionaries({}, optional={
           "temperature": st.one_of(st.floats(), st.sampled_from([1, 1e-320, 1e300, None])),
           "top_k": st.one_of(st.integers(-1, 10), st.sampled_from([None, 1.5, 10**30])),
           "top_p": st.one_of(st.floats(), st.none()), "banned": often(st.lists(st.integers(-1, 5), max_size=5))}))
def test_generation(prompt, length, samples, greedy, options, model, count_cases):
    """A model generates from any prompt with any options, or one line says what is wrong."""
    count_cases()
    drawn = outcome(generate, model, prompt, length, samples=samples, greedy=greedy, **options)
    if not isinstance(drawn, Refused):
        assert drawn.shape == (samples, length)
        assert not drawn.size or 0 <= drawn.min() <= drawn.max() < 5


@given(scores=often(arrays((2, 5), "float32", wild=True), arrays(wild=True)), temperature=st.floats(),
       top_k=st.one_of(st.none(), st.integers(-1, 7)), top_p=st.one_of(st.none(), st.floats()),
       banned=st.lists(st.integers(-7, 7), max_size=4))
def test_probabilities(scores, temperature, top_k, top_p, banned, count_cases):
    """Scores of any size make probabilities that sum to 1, or one line says what is wrong."""
    count_cases()
    result = outcome(next_probabilities, scores, temperature, top_k, top_p, banned)
    if not isinstance(result, Refused):
        assert numpy.allclose(result.sum(axis=1), 1) and (result >= 0).all()


@given(ids=often(st.lists(st.integers(0, 4), max_size=9).map(numpy.array), arrays(wild=True)), batch=st.integers(-1, 3),
       steps=st.integers(-1, 3))
def test_perplexities(ids, batch, steps, model, count_cases):
    """A model reads any ids, or one line says what is wrong with them."""
    count_cases()
    for result in (outcome(perplexity, model, ids), outcome(eval_perplexity, model, ids, batch, steps)):
        assert isinstance(result, Refused) or result >= 1
    model.reset_state()


def test_a_refusal_is_recognized():
    def refuse(path):
        raise InputError("no")

    assert str(outcome(refuse, pathlib.Path("x"))) == "no"
