import collections
import functools
import math

import numpy
import pytest

from common.errors import InputError
from dataset.grammar import (
    ADVERBS,
    DETERMINERS,
    NAMES,
    NOUNS,
    NUMBER_OF_NOUN,
    NUMBER_OF_VERB,
    OTHER_FORM,
    PREPOSITIONS,
    VERBS,
    Grammar,
    agreement_rules,
    agreements,
)

ENGLISH = Grammar(agreement_rules())
# Nine sentences of one to four words and <eos>.
SMALL = {
    "start": [(0.3, ["a"], "end"), (0.7, ["b", "c"], "middle")],
    "middle": [(0.4, ["a", "b", "d"], "last"), (0.6, ["c"], "end")],
    "last": [(1.0, ["e"], "end")],
    "end": [(1.0, ["<eos>"], "start")],
}


def harmonic(n):
    return sum(1 / k for k in range(1, n + 1))


@functools.cache
def text(seed=1):
    return ENGLISH.generate(150_000, seed)


@functools.cache
def words():
    return ENGLISH.vocabulary.decode(text())


def ids_of(sentence):
    return ENGLISH.vocabulary.encode(["<eos>", *sentence.split()])


def sentences(rules, state, probability=1.0, length=0):
    """Yield the probability and the length of every sentence of a finite language."""
    for share, list_of_words, next_state in rules[state]:
        for k, word in enumerate(list_of_words, start=1):
            p = probability * share / (k * harmonic(len(list_of_words)))
            if word == "<eos>":
                yield p, length + 1
            else:
                yield from sentences(rules, next_state, p, length + 1)


def test_the_probabilities_of_each_state_sum_to_one():
    numpy.testing.assert_allclose(ENGLISH.probabilities.sum(axis=1), 1, rtol=1e-12)
    assert numpy.array_equal(ENGLISH.probabilities > 0, ENGLISH.next_states >= 0)


def test_the_entropy_equals_the_enumeration_of_all_sentences():
    probabilities, lengths = map(numpy.array, zip(*sentences(SMALL, "start")))
    assert len(lengths) == 9 and probabilities.sum() == pytest.approx(1)
    nats, length = -(probabilities * numpy.log(probabilities)).sum(), (probabilities * lengths).sum()
    assert Grammar(SMALL).visits.sum() == pytest.approx(length, rel=1e-12)
    assert Grammar(SMALL).entropy == pytest.approx(nats / length, rel=1e-12)


def test_the_entropy_of_sentences_of_any_length():
    coin = Grammar({"coin": [(0.5, ["again"], "coin"), (0.5, ["<eos>"], "coin")]})
    assert coin.visits.sum() == pytest.approx(2) and coin.entropy == pytest.approx(math.log(2))


def test_the_entropy_lies_within_the_error_of_a_long_text():
    ends = numpy.flatnonzero(text() == ENGLISH.end)
    ids = text()[:ends[-1] + 1]  # whole sentences
    nats = -numpy.log(ENGLISH.probabilities[ENGLISH.read(ids)[:-1], ids[1:]])
    assert ENGLISH.cross_entropy(ids) == pytest.approx(nats.mean(), rel=1e-12)
    nats_of_sentences, lengths = numpy.add.reduceat(nats, ends[:-1]), numpy.diff(ends)
    for difference in (nats_of_sentences - ENGLISH.entropy * lengths, lengths - ENGLISH.visits.sum()):
        assert abs(difference.mean()) < 3 * difference.std() / math.sqrt(len(lengths))


def test_the_probability_of_a_sentence():
    verb = "Anna sings <eos>"
    by_hand = [0.2 / harmonic(12), 0.15 / harmonic(20), 1.0]
    ids = ids_of(verb)
    stepwise = [ENGLISH.next_probabilities(ids[:i])[ids[i]] for i in range(1, len(ids))]
    assert stepwise == pytest.approx(by_hand, rel=1e-12)
    assert ENGLISH.cross_entropy(ids) == pytest.approx(-sum(map(math.log, by_hand)) / 3, rel=1e-12)


def test_only_verbs_that_agree_can_follow():
    def next_words(sentence):
        probabilities = ENGLISH.next_probabilities(ids_of(sentence))
        return {ENGLISH.vocabulary.id_to_word[i] for i in numpy.flatnonzero(probabilities)}

    assert next_words("the farmers near Anna often") == set(VERBS["plural"])
    assert next_words("the farmer near doctors behind") == set(DETERMINERS + NAMES + NOUNS["plural"])
    assert next_words("the farmer near doctors that kings know") == set(VERBS["singular"] + ADVERBS)
    assert next_words("Anna that kings") < set(VERBS["plural"])
    assert next_words("Anna") == set(VERBS["singular"] + ADVERBS + PREPOSITIONS + ["that"])


def test_every_verb_agrees_with_its_subject():
    found = agreements(words())
    assert {found.verb for found in found} == {i for i, word in enumerate(words()) if word in NUMBER_OF_VERB}
    for verb, subject, _ in found:
        assert NUMBER_OF_VERB[words()[verb]] == NUMBER_OF_NOUN[words()[subject]]


def test_all_distances_and_attractors_occur():
    groups = collections.Counter((verb.distance, verb.attractor) for verb in agreements(words()))
    assert groups.keys() == ({(distance, False) for distance in range(1, 11)}
                             | {(distance, True) for distance in range(3, 11)})
    assert min(groups.values()) > 40


def test_agreements_of_a_sentence():
    sentence = "the farmers near Anna that my doctor knows often admire the king <eos> Anna sings"
    knows, admire, sings = agreements(sentence.split())
    assert knows == (7, 6, False) and knows.distance == 1
    assert admire == (9, 1, True) and admire.distance == 8
    assert sings == (14, 13, False)
    assert agreements("the farmers near kings sing".split()) == [(4, 1, False)]


def test_there_are_200_words_and_all_occur():
    assert ENGLISH.vocabulary.size == 221
    assert set(words()) == set(ENGLISH.vocabulary.word_to_id)
    lists = [NAMES, DETERMINERS, PREPOSITIONS, ADVERBS, *NOUNS.values(), *VERBS.values(), ["that", "<eos>"]]
    assert sum(map(len, lists)) == len(set().union(*lists)) == 221


def test_the_other_form_of_a_verb():
    assert OTHER_FORM["sing"] == "sings" and OTHER_FORM["sings"] == "sing"
    assert all(NUMBER_OF_VERB[verb] != NUMBER_OF_VERB[other] for verb, other in OTHER_FORM.items())
    assert OTHER_FORM.keys() == NUMBER_OF_VERB.keys()


def test_the_seed_decides_the_text():
    assert numpy.array_equal(ENGLISH.generate(1000, "3 test"), ENGLISH.generate(1000, "3 test"))
    assert not numpy.array_equal(ENGLISH.generate(1000, "3 test"), ENGLISH.generate(1000, "4 test"))
    assert numpy.array_equal(text()[:1000], ENGLISH.generate(1000, 1))
    assert text().shape == (150_000,) and text().dtype == numpy.int32
    assert " ".join(words()[:20]) == (
        "<eos> Emma disappears <eos> teachers that the teacher fears behind Anna laugh <eos> "
        "your farmers that my sailors tease sleep")


@pytest.mark.parametrize("state, choices, message", [
    ("start", [(0.5, ["a"], "end"), (0.5, ["b", "a"], "end")], "a word is twice in the state 'start'"),
    ("start", [(1.0, ["a", "b", "a"], "end")], "a word is twice in the state 'start'"),
    ("start", [(0.5, ["a"], "end"), (0.4, ["b"], "end")], "the probabilities of the state 'start' do not sum to 1"),
    ("end", [(1.0, ["<eos>"], "end")], "<eos> must lead to the first state, 'start'"),
])
def test_rules_that_are_no_grammar(state, choices, message):
    rules = {"start": [(1.0, ["a"], "end")], "end": [(1.0, ["<eos>"], "start")]} | {state: choices}
    with pytest.raises(ValueError, match=message):
        Grammar(rules)


def test_a_text_of_another_language_is_refused():
    with pytest.raises(InputError, match="'sings' cannot be word 5 of this text"):
        ENGLISH.read(ids_of("the farmers often sings <eos>"))
    for ids in (ids_of("Anna sings")[1:], []):
        with pytest.raises(InputError, match="must begin with <eos>"):
            ENGLISH.read(ids)
    V = ENGLISH.vocabulary.size
    for wrong in -1, V:
        with pytest.raises(InputError, match=rf"^{wrong} is not an id: the ids are 0 to {V - 1}$"):
            ENGLISH.read([*ids_of("Anna"), wrong])


def test_rules_without_an_end_texts_without_a_word_and_verbs_without_a_subject_are_refused():
    with pytest.raises(ValueError, match=r"^no state has <eos>: no sentence would end$"):
        Grammar({"start": [(1.0, ["a"], "start")]})
    with pytest.raises(InputError, match=r"^a text of <eos> alone has no word to predict$"):
        ENGLISH.cross_entropy(ids_of(""))
    with pytest.raises(InputError, match=r"^length must be at least 1, got 0$"):
        ENGLISH.generate(0)
    with pytest.raises(InputError, match=r"^word 2 of the text, 'sings', is a verb without a subject$"):
        agreements("<eos> often sings".split())
