"""A small English whose entropy is known exactly, and with it the perplexity of a perfect model.

Each verb agrees in number with a subject 1 to 10 words before it. Nouns of the other number may
stand in between: attractors, as Linzen, Dupoux and Goldberg (2016) call them::

    my farmers near the doctor that Anna knows often sing <eos>

The language is a finite automaton. In each state several lists of words may follow, each with a
probability and the state that it leads to. No word is in two lists of one state, so the words read
so far determine the state, and every sentence has a single derivation.
"""
import itertools
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from common.errors import InputError
from common.text.tokenizers import END_OF_SENTENCE
from common.text.vocabulary import Vocabulary

NUMBERS = ("singular", "plural")


def _by_number(words, with_s):
    """Return the forms of nouns or verbs for each number; `with_s` names the number whose form ends in s."""
    return {number: [word + "s" if number == with_s else word for word in words.split()] for number in NUMBERS}


NOUNS = _by_number("""
    farmer teacher doctor sailor painter singer baker driver writer dancer lawyer builder hunter miller weaver tailor
    gardener plumber soldier pilot king queen prince duke knight monk pirate wizard giant dragon horse tiger lion
    rabbit squirrel eagle spider turtle camel donkey kitten cousin sister brother uncle neighbour student lodger
    tourist poet""", with_s="plural")
INTRANSITIVE_VERBS = _by_number("""
    sing sleep laugh smile swim work run arrive wait listen travel whisper dream snore complain yawn shiver stumble
    disappear wander""", with_s="singular")
TRANSITIVE_VERBS = _by_number("""
    admire help follow know trust remember visit greet praise fear thank invite forgive annoy amuse avoid tease forget
    respect need""", with_s="singular")
NAMES = "Anna Ben Clara David Emma Felix Grace Henry Irene Jack Laura Simon".split()
DETERMINERS = "the my your our their his her".split()
PREPOSITIONS = "near behind beside with opposite without below above around beyond".split()
ADVERBS = "often never always sometimes rarely usually seldom quietly happily suddenly".split()

VERBS = {number: INTRANSITIVE_VERBS[number] + TRANSITIVE_VERBS[number] for number in NUMBERS}
NUMBER_OF_NOUN = dict.fromkeys(NAMES, "singular") | {noun: number for number in NUMBERS for noun in NOUNS[number]}
NUMBER_OF_VERB = {verb: number for number in NUMBERS for verb in VERBS[number]}
OTHER_FORM = dict(zip(VERBS["singular"] + VERBS["plural"], VERBS["plural"] + VERBS["singular"]))


def agreement_rules() -> dict[str, Any]:
    """Return the rules of the language.

    A sentence is a subject, up to two modifiers, perhaps an adverb, and a verb with or without an
    object. A modifier is a preposition and a noun phrase, or a relative clause, whose verb agrees
    with a subject of its own.

    Returns
    -------
    dict of str to list of (float, list of str, str)
        See `Grammar`.
    """
    rules = {}

    def add_noun_phrase(state, after):
        """Let a noun phrase begin in `state`; `after` has the next state for its number."""
        rules[state] = [(0.2, NAMES, after["singular"]),
                        (0.2, NOUNS["plural"], after["plural"]),
                        (0.6, DETERMINERS, f"{state}, determiner")]
        rules[f"{state}, determiner"] = [(0.5, NOUNS[number], after[number]) for number in NUMBERS]

    def verb(number, probability):
        return [(probability / 2, INTRANSITIVE_VERBS[number], "end"),
                (probability / 2, TRANSITIVE_VERBS[number], "object")]

    add_noun_phrase("subject", {number: f"{number} subject, 0 modifiers" for number in NUMBERS})
    for number in NUMBERS:
        states = [f"{number} subject, {count} modifiers" for count in (0, 1, 2)]
        after_adverb = f"{number} subject, adverb"
        for state, modified in itertools.pairwise(states):
            rules[state] = [(0.25, PREPOSITIONS, f"{state}, preposition"),
                            (0.3, ["that"], f"{state}, that"),
                            (0.15, ADVERBS, after_adverb),
                            *verb(number, 0.3)]
            add_noun_phrase(f"{state}, preposition", dict.fromkeys(NUMBERS, modified))
            add_noun_phrase(f"{state}, that", {inner: f"{state}, that {inner}" for inner in NUMBERS})
            for inner in NUMBERS:
                rules[f"{state}, that {inner}"] = [(1.0, TRANSITIVE_VERBS[inner], modified)]
        rules[states[-1]] = [(0.4, ADVERBS, after_adverb), *verb(number, 0.6)]
        rules[after_adverb] = verb(number, 1.0)
    add_noun_phrase("object", dict.fromkeys(NUMBERS, "end"))
    rules["end"] = [(1.0, [END_OF_SENTENCE], "subject")]
    return rules


class Grammar:
    """A language of independent sentences, made by a finite automaton.

    Parameters
    ----------
    rules : dict of str to list of (float, list of str, str)
        For each state what may follow: the probability of a list of words, the words, the next
        state. Within a list the probability of the k-th word goes as 1 / k (Zipf's law). A
        sentence begins in the first state, and ``<eos>`` leads back there.

    Attributes
    ----------
    states : list of str
        The first is that in which a sentence begins.
    vocabulary : Vocabulary
    probabilities : numpy.ndarray (S, V)
        Of each next word in each state.
    next_states : numpy.ndarray of int (S, V)
        Where each word leads; -1 for a word that cannot follow.

    Raises
    ------
    ValueError
        The probabilities of a state do not sum to 1, a word is in two of its lists, or ``<eos>`` is
        nowhere or leads elsewhere than to the first state.
    """

    def __init__(self, rules: dict[str, Any]) -> None:
        self.states = list(rules)
        self.vocabulary = Vocabulary(list(dict.fromkeys(
            word for choices in rules.values() for _, words, _ in choices for word in words)))
        S, V = len(self.states), self.vocabulary.size
        if END_OF_SENTENCE not in self.vocabulary:
            raise ValueError(f"no state has {END_OF_SENTENCE}: no sentence would end")
        self.end = self.vocabulary.word_to_id[END_OF_SENTENCE]
        self.probabilities = numpy.zeros((S, V))    # (S, V)
        self.next_states = numpy.full((S, V), -1)   # (S, V)
        for i, (state, choices) in enumerate(rules.items()):
            for probability, words, next_state in choices:
                ids = self.vocabulary.encode(words)
                if (self.next_states[i, ids] >= 0).any() or len(set(words)) < len(words):
                    raise ValueError(f"a word is twice in the state {state!r}: its next state would be ambiguous")
                shares = 1 / numpy.arange(1, len(words) + 1)  # (len(words),)
                self.probabilities[i, ids] = probability * shares / shares.sum()
                self.next_states[i, ids] = self.states.index(next_state)
            if not numpy.isclose(self.probabilities[i].sum(), 1):
                raise ValueError(f"the probabilities of the state {state!r} do not sum to 1")
        if not set(self.next_states[:, self.end]) <= {-1, 0}:
            raise ValueError(f"{END_OF_SENTENCE} must lead to the first state, {self.states[0]!r}")

    @property
    def visits(self) -> numpy.ndarray:
        """How often a sentence is expected to pass through each state, (S,).

        With Q (S, S) the probabilities of going from state to state within a sentence, the visits
        are v = e_0 + Q^T v. Their sum is the expected length of a sentence, ``<eos>`` counted.
        """
        S = len(self.states)
        within = self.probabilities.copy()  # (S, V)
        within[:, self.end] = 0
        Q = numpy.stack([numpy.bincount(next_states[next_states >= 0], row[next_states >= 0], minlength=S)
                         for row, next_states in zip(within, self.next_states)])  # (S, S)
        return numpy.linalg.solve(numpy.eye(S) - Q.T, numpy.eye(S)[0])  # (S,)

    @property
    def entropy(self) -> float:
        """Entropy in nats per word, ``<eos>`` counted; its exp is the perplexity of a perfect model.

        The entropy of the next word in each state, weighted by how often the state is visited
        (Shannon 1948, section 7). The state being known from the words, no model can do better.
        """
        p = self.probabilities  # (S, V)
        of_state = -(p * numpy.log(p, where=p > 0, out=numpy.zeros_like(p))).sum(axis=1)  # (S,)
        return float(self.visits @ of_state / self.visits.sum())

    def generate(self, length: int, seed: int | str = 0) -> numpy.ndarray:
        """Draw a text.

        Parameters
        ----------
        length : int
            At least 1.
        seed : int or str

        Returns
        -------
        numpy.ndarray (length,) of int32
            Ids: ``<eos>``, then sentences that each end in one, the last perhaps cut off.

        Raises
        ------
        InputError
            `length` is below 1.
        """
        if length < 1:
            raise InputError(f"length must be at least 1, got {length}")
        rng = random.Random(seed)  # its numbers stay the same over versions
        choices = [(numpy.flatnonzero(row).tolist(), row[row > 0].cumsum().tolist()) for row in self.probabilities]
        next_states = self.next_states.tolist()
        ids, state = [self.end], 0
        for _ in range(length - 1):
            words, cumulative = choices[state]
            [word] = rng.choices(words, cum_weights=cumulative)
            ids.append(word)
            state = next_states[state][word]
        return numpy.array(ids, dtype=numpy.int32)  # (length,)

    def read(self, ids: numpy.ndarray) -> numpy.ndarray:
        """Return the state after each word of a text.

        Parameters
        ----------
        ids : array of int (n,)
            The first is that of ``<eos>``.

        Returns
        -------
        numpy.ndarray of int (n,)

        Raises
        ------
        InputError
            The text does not begin with ``<eos>``, or is not of this language.
        """
        ids = numpy.asarray(ids).tolist()
        if ids[:1] != [self.end]:
            raise InputError(f"a text of this language must begin with {END_OF_SENTENCE}")
        states = [0]
        for word in ids[1:]:
            if not 0 <= word < self.vocabulary.size:
                raise InputError(f"{word} is not an id: the ids are 0 to {self.vocabulary.size - 1}")
            states.append(int(self.next_states[states[-1], word]))
            if states[-1] < 0:
                raise InputError(f"{self.vocabulary.id_to_word[word]!r} cannot be word {len(states)} of this text")
        return numpy.array(states)  # (n,)

    def next_probabilities(self, ids: numpy.ndarray) -> numpy.ndarray:
        """Return the true distribution (V,) of the word that follows a text; parameters as in `read`."""
        return self.probabilities[self.read(ids)[-1]]  # (V,)

    def cross_entropy(self, ids: numpy.ndarray) -> float:
        """Return what a perfect model reaches on a text: nats per word, for all words but the first.

        Parameters and errors as in `read`, n >= 2. It comes near `entropy` as the text gets longer.
        """
        states = self.read(ids)  # (n,)
        if len(states) < 2:
            raise InputError(f"a text of {END_OF_SENTENCE} alone has no word to predict")
        return float(-numpy.log(self.probabilities[states[:-1], ids[1:]]).mean())


class Agreement(NamedTuple):
    """A verb and its subject.

    Attributes
    ----------
    verb, subject : int
        Their places in the text.
    attractor : bool
        Whether a noun of the other number is in between.
    """

    verb: int
    subject: int
    attractor: bool

    @property
    def distance(self) -> int:
        """How many words back the subject is, from 1 to 10."""
        return self.verb - self.subject


def agreements(words: Sequence[str]) -> list[Agreement]:
    """Find the verbs of a text in the language of `agreement_rules`, and their subjects.

    Parameters
    ----------
    words : list of str

    Returns
    -------
    list of Agreement

    Raises
    ------
    InputError
        A verb has no noun before it.
    """
    found = []
    nouns: list[int] = []
    in_relative_clause = False
    for i, word in enumerate(words):
        if word == END_OF_SENTENCE:
            nouns = []
        elif word == "that":
            in_relative_clause = True
        elif word in NUMBER_OF_NOUN:
            nouns.append(i)
        elif word in NUMBER_OF_VERB:
            if not nouns:
                raise InputError(f"word {i} of the text, {word!r}, is a verb without a subject")
            subject = nouns[-1 if in_relative_clause else 0]
            attractor = any(NUMBER_OF_NOUN[words[noun]] != NUMBER_OF_NOUN[words[subject]]
                            for noun in nouns if noun > subject)
            found.append(Agreement(i, subject, attractor))
            in_relative_clause = False
    return found
