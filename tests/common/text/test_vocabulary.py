import json
import sys
import types
import warnings

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.text.tokenizers import (
    TOKENIZERS,
    join_tokens,
    lower,
    tokenize_characters,
    tokenize_chinese,
    tokenize_lines,
    tokenize_ptb,
    tokenize_words,
)
from common.text.vocabulary import Vocabulary

words = st.text(min_size=1, max_size=8)
corpora = st.lists(words, min_size=1, max_size=30)


# Tokenizers

def test_words_are_lower_case_with_punctuation_apart():
    text = "The cat (Tom) doesn't cost $1,000.50; it's well-known... isn't it?\n"
    assert tokenize_words(text) == [
        "the", "cat", "(", "tom", ")", "doesn't", "cost", "$", "1,000.50", ";", "it's", "well-known", "...",
        "isn't", "it", "?"]


def test_words_keep_markers_accents_and_double_marks():
    assert tokenize_words("<eos>été -- a==b <unk> <b>") == [
        "<eos>", "été", "--", "a", "==", "b", "<unk>", "<", "b", ">"]


def test_lines_of_prose_end_in_eos():
    assert tokenize_lines("A b,\n\nc\n") == ["a", "b", ",", "<eos>", "<eos>", "c", "<eos>"]


def test_ptb_line_ends_become_eos():
    assert tokenize_ptb(" a <unk> N \n b\nc") == ["a", "<unk>", "N", "<eos>", "b", "<eos>", "c"]


def test_ptb_reads_windows_line_ends():
    assert tokenize_ptb("a\r\nb\r\n") == ["a", "<eos>", "b", "<eos>"]


def test_characters_keep_everything():
    assert tokenize_characters("a b\n") == ["a", " ", "b", "\n"]


def test_chinese_uses_jieba(monkeypatch):
    levels = []
    jieba = types.SimpleNamespace(lcut=lambda text: text.split("|"), setLogLevel=levels.append)
    monkeypatch.setitem(sys.modules, "jieba", jieba)
    assert tokenize_chinese("我们|学习") == ["我们", "学习"]
    assert levels == ["WARNING"]


def test_what_jieba_warns_of_as_it_loads_is_not_shown(monkeypatch, tmp_path):
    (tmp_path / "jieba.py").write_text(
        "import warnings\nwarnings.warn('invalid escape', SyntaxWarning)\nlcut, setLogLevel = list, print\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jieba", raising=False)
    assert tokenize_chinese("我们") == ["我", "们"]  # any warning is an error here
    with pytest.raises(UserWarning, match="later"):  # what comes after is shown again
        warnings.warn("later", stacklevel=1)
    del sys.modules["jieba"]  # undone by monkeypatch it would come back for the tests that follow


def test_chinese_without_jieba_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[chinese\]'"):
        tokenize_chinese("我们")


@given(st.text(st.characters(exclude_categories=["Cc", "Cf"])))
def test_words_lose_only_white_space(text):
    # \s and str.split agree on what white space is, so nothing else may be missing.
    assert "".join(tokenize_words(text)) == "".join(lower(text).split())


# Joining

@pytest.mark.parametrize("text", [
    "the cat (tom) doesn't cost $5, it's well-known: isn't it?",
    'he said "go on", and "stop" -- twice.',
    "“so,” she said, “100% of them...”",
    "one line\nanother 'quoted' line\n",
])
def test_prose_joins_as_it_was_written(text):
    assert join_tokens(tokenize_words(text.replace("\n", " <eos> ")), "words") == text


def test_a_quote_does_not_stay_open_over_a_sentence_end():
    assert join_tokens(['a', '"', 'b', '<eos>', '"', 'c', '"'], "words") == 'a "b\n"c"'


@given(st.text())
def test_joined_prose_has_every_token(text):
    tokens = [token for token in tokenize_words(text) if token != "<eos>"]
    assert "".join(join_tokens(tokens, "words").split()) == "".join(tokens)


@given(st.lists(st.sampled_from(["a", "<unk>", "N", "<eos>", "it", "'s"])))
def test_ptb_joins_and_splits_to_the_same(tokens):
    assert tokenize_ptb(join_tokens(tokens, "ptb")) == tokens


def test_ptb_joins_with_spaces_and_lines():
    assert join_tokens(["a", "b", "<eos>", "c", "<eos>"], "ptb") == "a b\nc\n"


@given(st.text())
def test_characters_join_to_the_text(text):
    assert join_tokens(tokenize_characters(text), "characters") == text


def test_chinese_joins_without_spaces():
    assert join_tokens(["我们", "学习"], "chinese") == "我们学习"


def test_join_wants_a_known_tokenizer():
    with pytest.raises(InputError, match="words, lines, cased lines, ptb, characters, chinese"):
        join_tokens(["a"], "letters")
    assert set(TOKENIZERS) == {"words", "lines", "cased lines", "ptb", "characters", "chinese"}


# Vocabulary

def test_ids_follow_first_appearance_after_the_added_unknown():
    vocabulary = Vocabulary.build("to be or not to be".split())
    assert vocabulary.word_to_id == {"<unk>": 0, "to": 1, "be": 2, "or": 3, "not": 4}
    assert vocabulary.id_to_word == {0: "<unk>", 1: "to", 2: "be", 3: "or", 4: "not"}
    assert vocabulary.frequencies == {"<unk>": 0, "to": 2, "be": 2, "or": 1, "not": 1}
    assert len(vocabulary) == vocabulary.size == 5


def test_frequencies_are_counted_before_ids_are_given():
    # "b" reaches two only at the end, after "c" was met: its id still comes first.
    vocabulary = Vocabulary.build("a b c c b".split(), min_freq=2)
    assert vocabulary.word_to_id == {"<unk>": 0, "b": 1, "c": 2}
    assert vocabulary.frequencies == {"<unk>": 1, "b": 2, "c": 2}


def test_an_unknown_of_the_corpus_keeps_its_place():
    vocabulary = Vocabulary.build("a <unk> b b a".split(), min_freq=2)
    assert vocabulary.word_to_id == {"a": 0, "<unk>": 1, "b": 2}
    assert vocabulary.encode(["zebra", "<unk>", "b"]).tolist() == [1, 1, 2]


def test_without_unknown_no_word_is_added():
    assert Vocabulary.build("a b".split(), unknown=None).word_to_id == {"a": 0, "b": 1}


def test_an_unknown_of_the_corpus_counts_itself_and_what_it_stands_for():
    assert Vocabulary.build("a <unk> <unk> b c a".split(), min_freq=2).frequencies == {"a": 2, "<unk>": 4}


def test_a_word_that_occurs_as_often_as_asked_for_stays():
    assert list(Vocabulary.build("a b b c c c".split(), min_freq=2).word_to_id) == ["<unk>", "b", "c"]


def test_a_size_of_one_leaves_the_unknown_word():
    assert list(Vocabulary.build("a a b".split(), max_size=1).word_to_id) == ["<unk>"]
    assert list(Vocabulary.build("b a a".split(), unknown=None, max_size=1).word_to_id) == ["a"]


def test_words_without_a_known_frequency_are_saved_with_none(tmp_path):
    Vocabulary(["a", "b"], {"b": 3}).save(tmp_path / "vocabulary.json")
    content = json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))
    assert content == {"words": ["a", "b"], "frequencies": [0, 3], "unknown": None}


def test_words_stand_in_the_file_as_they_are_written(tmp_path):
    Vocabulary(["été", "我们"]).save(tmp_path / "vocabulary.json")
    assert '"words": ["été", "我们"]' in (tmp_path / "vocabulary.json").read_text(encoding="utf-8")


def test_max_size_keeps_the_most_frequent_in_order_of_appearance():
    vocabulary = Vocabulary.build("a b c c b d d d".split(), max_size=3)
    assert list(vocabulary.word_to_id) == ["<unk>", "b", "d"]  # b and c tie: b was first
    assert vocabulary.frequencies == {"<unk>": 3, "b": 2, "d": 3}


def test_encode_gives_int32_and_the_unknown_id():
    ids = Vocabulary.build(["a", "b"]).encode(["b", "x", "a"])
    assert ids.dtype == numpy.int32 and ids.tolist() == [2, 0, 1]


def test_encode_of_nothing_is_empty():
    ids = Vocabulary.build(["a"]).encode([])
    assert ids.dtype == numpy.int32 and ids.shape == (0,)


def test_encode_without_unknown_names_the_word_and_near_spellings():
    vocabulary = Vocabulary.build(["apple", "table"], unknown=None)
    with pytest.raises(InputError, match="'appel' is not one of the 2 tokens of the vocabulary: did you mean 'apple'"):
        vocabulary.encode(["table", "appel"])
    with pytest.raises(InputError, match="'zzz' is not one of the 2 tokens of the vocabulary: use one of those"):
        vocabulary.encode(["zzz"])


def test_near_ignores_case_where_nothing_is_near():
    vocabulary = Vocabulary.build(["ok", "table"])
    assert vocabulary.near("tabel") == ["table"]
    assert vocabulary.near("OK") == ["ok"]


@pytest.mark.parametrize("unknown", [None, "<unk>"])
def test_what_a_text_has_and_the_vocabulary_lacks_is_named_once(unknown):
    vocabulary = Vocabulary(["<unk>", "a", "table"], unknown=unknown)
    assert vocabulary.missing(["a", "tabel", "é", "table", "é"]) == ["tabel", "é"]
    assert vocabulary.encode_known(["table", "a", "table"], "the prompt").tolist() == [2, 1, 2]
    with pytest.raises(InputError, match=r"^--ban has 'tabel' \(near it: table\), 'é', which the training text never"):
        vocabulary.encode_known(["tabel", "a", "é", "tabel"], "--ban")


def test_decode_refuses_what_is_no_id():
    vocabulary = Vocabulary.build(["a", "b"])
    with pytest.raises(InputError, match="3 is not an id: the ids are 0 to 2"):
        vocabulary.decode([0, 3])
    with pytest.raises(InputError, match="-1 is not an id"):
        vocabulary.decode(numpy.array([-1]))
    with pytest.raises(InputError, match=r"shape \(1, 2\)"):
        vocabulary.decode([[0, 1]])


def test_contains():
    vocabulary = Vocabulary.build(["a"])
    assert "a" in vocabulary and "b" not in vocabulary


@pytest.mark.parametrize("options", [{"min_freq": 0}, {"max_size": 0}])
def test_sizes_below_one_are_refused(options):
    with pytest.raises(InputError, match="at least 1"):
        Vocabulary.build(["a"], **options)


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(InputError, match="at least one word"):
        Vocabulary.build(["a", "b"], min_freq=2, unknown=None)


@pytest.mark.parametrize("arguments", [(["a", "a"],), (["a"], None, "<unk>")])
def test_words_that_cannot_be_a_vocabulary_are_refused(arguments):
    with pytest.raises(InputError):
        Vocabulary(*arguments)


@given(corpora)
def test_decode_undoes_encode(tokens):
    vocabulary = Vocabulary.build(tokens)
    assert vocabulary.decode(vocabulary.encode(tokens)) == tokens


@given(corpora, st.integers(1, 4))
def test_frequencies_add_up_to_the_corpus(tokens, min_freq):
    vocabulary = Vocabulary.build(tokens, min_freq=min_freq)
    assert sum(vocabulary.frequencies.values()) == len(tokens)


@given(corpora, st.sampled_from([None, "<unk>"]))
def test_save_and_load_give_the_same_vocabulary(tmp_path_factory, tokens, unknown):
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary = Vocabulary.build(tokens, unknown=unknown)
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert loaded == vocabulary and loaded.fingerprint == vocabulary.fingerprint
    assert loaded.frequencies == vocabulary.frequencies
    assert [file.name for file in path.parent.glob("vocabulary.json*")] == ["vocabulary.json"]


def test_equality_and_fingerprint_follow_the_id_order():
    ab, ba = Vocabulary.build(["a", "b"]), Vocabulary.build(["b", "a"])
    assert ab == Vocabulary.build(["a", "b", "b"])
    assert ab != ba and ab.fingerprint != ba.fingerprint
    assert Vocabulary(["a"]) != Vocabulary(["a"], unknown="a")
    assert Vocabulary(["ab", "c"]).fingerprint != Vocabulary(["a", "bc"]).fingerprint
    assert len(ab.fingerprint) == 64
    assert ab != "ab"


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"\xff", b'{"words": ["a"]}',
    json.dumps({"words": ["a", "a"], "frequencies": [1, 1], "unknown": None}).encode(),
    json.dumps({"words": ["a", 3], "frequencies": [1, 1], "unknown": None}).encode(),
    json.dumps({"words": ["a"], "frequencies": [1, 1], "unknown": None}).encode(),
    json.dumps({"words": ["a"], "frequencies": ["1"], "unknown": None}).encode(),
    json.dumps({"words": ["a", "b"], "frequencies": [1, "1"], "unknown": None}).encode(),
    json.dumps({"words": ["a"], "frequencies": [1], "unknown": "b"}).encode(),
    json.dumps({"words": [], "frequencies": [], "unknown": None}).encode(),
])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"holds no vocabulary|is damaged: its text is no JSON"):
        Vocabulary.load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        Vocabulary.load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Vocabulary.build(["a"]).save(tmp_path / "file" / "vocabulary.json")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    Vocabulary.build(["a"]).save(path)

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(InputError, match="No space left"):
        Vocabulary.build(["b"]).save(path)
    assert Vocabulary.load(path) == Vocabulary.build(["a"])
    assert list(tmp_path.iterdir()) == [path]
