import numpy
import pytest

from common.errors import InputError
from common.text.tokenizers import TOKENIZERS, join_tokens
from common.text.vocabulary import Vocabulary
from dataset import ptb, pydoc_topics
from dataset.corpus import SPLITS, Corpus, load_corpus, unknown_share

LINES = [f"The {animal} sat, line {number}.\n" for number, animal in enumerate(
    ["cat", "dog", "cat", "cow", "dog", "cat", "cow", "dog", "zebra", "yak"])]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("".join(LINES).encode())
    return path


@pytest.fixture
def small_ptb(tmp_path, monkeypatch):
    (tmp_path / "ptb.train.txt").write_text(" a dog saw <unk> cats \n the dog ran N miles \n")
    (tmp_path / "ptb.valid.txt").write_text(" the cats saw a dog \n")
    (tmp_path / "ptb.test.txt").write_text(" N dog ran \n")
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))


def decode(corpus, split):
    return corpus.vocabulary.decode(getattr(corpus, split))


def test_a_file_is_split_by_its_lines(text_file):
    corpus = load_corpus(str(text_file), min_freq=1)
    assert corpus.name == str(text_file) and corpus.tokenizer == "lines"
    assert decode(corpus, "train") == TOKENIZERS["lines"]("".join(LINES[:8]))
    assert decode(corpus, "valid") == ["the", "<unk>", "sat", ",", "line", "<unk>", ".", "<eos>"]
    assert decode(corpus, "test") == ["the", "<unk>", "sat", ",", "line", "<unk>", ".", "<eos>"]
    assert all(part.dtype == numpy.int32 for part in (corpus.train, corpus.valid, corpus.test))


def test_the_vocabulary_is_that_of_the_training_part(text_file):
    vocabulary = load_corpus(text_file, min_freq=1).vocabulary
    assert list(vocabulary.word_to_id)[:5] == ["<unk>", "the", "cat", "sat", ","]
    assert "zebra" not in vocabulary and "cow" in vocabulary


def test_words_that_occur_once_become_unknown_so_that_unknown_words_are_met_in_training(text_file):
    corpus = load_corpus(text_file)
    assert decode(corpus, "train")[:8] == ["the", "cat", "sat", ",", "line", "<unk>", ".", "<eos>"]


def test_one_long_line_is_cut_by_characters(tmp_path):
    (tmp_path / "line.txt").write_text("ab " * 100)
    corpus = load_corpus(tmp_path / "line.txt", unit="char")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [240, 30, 30]


def test_a_text_without_a_word_to_learn_is_refused(text_file):
    with pytest.raises(InputError, match="leaves no word to learn: none occurs 1000 times"):
        load_corpus(text_file, min_freq=1000)


def test_a_text_of_one_word_has_something_to_learn(tmp_path):
    (tmp_path / "text.txt").write_text("na " * 20)
    assert list(load_corpus(tmp_path / "text.txt").vocabulary.word_to_id) == ["<unk>", "na"]


def test_the_fingerprint_tells_texts_of_the_same_words_apart(text_file):
    before = load_corpus(text_file).fingerprint
    assert load_corpus(text_file).fingerprint == before
    text_file.write_text("".join(LINES[1:2] + LINES[:1] + LINES[2:]))
    assert load_corpus(text_file).fingerprint != before


def corpus_of(*parts):
    return Corpus("name", "words", None, *(numpy.array(part, dtype=numpy.int32) for part in parts))


def test_the_fingerprint_is_of_every_part_and_of_where_it_ends():
    different = [corpus_of(*parts) for parts in [
        ([1, 2, 3], [4, 5], [6, 7]),
        ([1, 2, 9], [4, 5], [6, 7]), ([1, 2, 3], [4, 9], [6, 7]), ([1, 2, 3], [4, 5], [6, 9]),  # one id
        ([1, 2], [3, 4, 5], [6, 7]), ([1, 2, 3], [4, 5, 6], [7]), ([1, 2, 3, 4], [5], [6, 7]),  # cut elsewhere
        ([4, 5], [1, 2, 3], [6, 7]), ([1, 2, 3], [6, 7], [4, 5]),                               # exchanged
    ]]
    assert len({corpus.fingerprint for corpus in different}) == len(different)
    again = Corpus("other name", "lines", Vocabulary(["a"]), different[0].train, different[0].valid, different[0].test)
    assert again.fingerprint == different[0].fingerprint and len(again.fingerprint) == 64


@pytest.mark.parametrize("lines, sizes", [  # the line ends nearest to 0.8 n and 0.9 n
    (10, [8, 1, 1]), (11, [9, 1, 1]), (19, [15, 2, 2]), (20, [16, 2, 2])])
def test_lines_that_fit_into_a_part_stay_whole(tmp_path, lines, sizes):
    (tmp_path / "text.txt").write_text("".join(f"{chr(97 + i)} b\n" for i in range(lines)))
    corpus = load_corpus(tmp_path / "text.txt", min_freq=1)
    assert [len(part) / 3 for part in (corpus.train, corpus.valid, corpus.test)] == sizes
    assert decode(corpus, "train")[::3] == [chr(97 + i) for i in range(sizes[0])]


def test_lines_longer_than_a_part_are_cut_between_characters(tmp_path):
    text = "".join(f"line {i} of it\n" for i in range(9))  # 9 x 13 characters
    (tmp_path / "text.txt").write_text(text)
    corpus = load_corpus(tmp_path / "text.txt", unit="char")
    parts = ["".join(part) for part in (text[:94], text[94:105], text[105:])]
    assert decode(corpus, "train") == list(parts[0])
    assert [len(corpus.valid), len(corpus.test)] == [len(parts[1]), len(parts[2])]


@pytest.mark.parametrize("name, unit, tokenizer, kept", [
    ("pydoc", "word", "lines", False), ("pydoc", "char", "characters", True), ("pydoc", "chinese", "chinese", True),
    ("ptb", "word", "ptb", True), ("ptb", "char", "characters", True), ("ptb", "chinese", "chinese", True)])
def test_only_words_of_prose_must_occur_twice_by_default(monkeypatch, name, unit, tokenizer, kept):
    monkeypatch.setitem(TOKENIZERS, "chinese", str.split)
    monkeypatch.setattr(pydoc_topics, "load_text", lambda split: "a a a b b Z z9\n\n")
    monkeypatch.setattr(ptb, "read_text", lambda split: "a a a b b Z z9\n\n")
    corpus = load_corpus(name, unit)
    assert corpus.tokenizer == tokenizer
    once = {"lines": "z", "characters": "9"}.get(tokenizer, "Z")
    assert "b" in corpus.vocabulary and (once in corpus.vocabulary) == kept


@pytest.mark.parametrize("name", ["pydoc", "ptb"])
def test_each_part_is_read_from_the_text_of_its_own_name(monkeypatch, name):
    texts = {"train": "one two three one two three\n", "valid": "two two\n", "test": "three three\n"}
    own, other = (pydoc_topics, "load_text"), (ptb, "read_text")
    own, other = (own, other) if name == "pydoc" else (other, own)
    monkeypatch.setattr(*own, texts.__getitem__)
    monkeypatch.setattr(*other, lambda split: 1 / 0)
    corpus = load_corpus(name, min_freq=1)
    for split, text in texts.items():
        assert decode(corpus, split) == [*text.split(), "<eos>"]


def test_max_tokens_is_for_each_part_by_itself(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d e f g h\n" * 20)
    for max_tokens, sizes in ((30, [30, 18, 18]), (18, [18] * 3), (17, [17] * 3), (2, [2] * 3), (None, [144, 18, 18])):
        corpus = load_corpus(tmp_path / "text.txt", max_tokens=max_tokens, min_freq=1)
        assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == sizes


def test_ids_follow_first_appearance_in_the_training_part_alone(tmp_path):
    (tmp_path / "text.txt").write_text("c a\n" * 4 + "b a\n" * 4 + "new b\n" + "new c\n")
    corpus = load_corpus(tmp_path / "text.txt")
    assert corpus.vocabulary.word_to_id == {"<unk>": 0, "c": 1, "a": 2, "<eos>": 3, "b": 4}
    assert corpus.valid.tolist() == [0, 4, 3] and corpus.test.tolist() == [0, 1, 3]


def test_a_file_by_characters(text_file):
    text_file.write_text("".join(LINES[:8] * 2 + LINES[8:] * 2))
    corpus = load_corpus(text_file, unit="char")
    assert corpus.tokenizer == "characters"
    assert join_tokens(decode(corpus, "train"), corpus.tokenizer) == "".join(LINES[:8] * 2)
    assert "z" not in corpus.vocabulary


def test_min_freq_makes_rare_words_unknown(text_file):
    corpus = load_corpus(text_file, min_freq=3)
    assert set(corpus.vocabulary.word_to_id) == {"<unk>", "the", "cat", "dog", "sat", ",", "line", ".", "<eos>"}
    assert decode(corpus, "train")[:7] == ["the", "cat", "sat", ",", "line", "<unk>", "."]


def test_max_tokens_cuts_each_part_and_rebuilds_the_vocabulary(text_file):
    corpus = load_corpus(text_file, max_tokens=4, min_freq=1)
    assert decode(corpus, "train") == ["the", "cat", "sat", ","]
    assert list(corpus.vocabulary.word_to_id) == ["<unk>", "the", "cat", "sat", ","]
    assert decode(corpus, "test") == ["the", "<unk>", "sat", ","]


def test_pydoc_by_words_drops_what_occurs_once():
    corpus = load_corpus("pydoc")
    counts = dict(corpus.vocabulary.frequencies)
    assert counts.pop("<unk>") > 0 and min(counts.values()) == 2
    assert corpus.vocabulary.word_to_id["<unk>"] == 0
    assert len(load_corpus("pydoc", min_freq=1).vocabulary) > len(corpus.vocabulary) > 1000
    assert "<eos>" in corpus.vocabulary


def test_pydoc_by_characters_keeps_all():
    corpus = load_corpus("pydoc", unit="char")
    assert corpus.tokenizer == "characters"
    assert (corpus.train == 0).sum() == 0
    assert corpus.vocabulary.size < 200


def test_ptb_has_the_ids_of_load_data(small_ptb):
    corpus = load_corpus("ptb")
    assert corpus.tokenizer == "ptb"
    for split in ("train", "valid", "test"):
        ids, word_to_id, id_to_word = ptb.load_data(split)
        assert numpy.array_equal(getattr(corpus, split), ids)
    assert corpus.vocabulary.word_to_id == word_to_id
    assert corpus.vocabulary.unknown == "<unk>"


def test_ptb_by_characters(small_ptb):
    corpus = load_corpus("ptb", unit="char")
    assert join_tokens(decode(corpus, "test"), corpus.tokenizer) == " N dog ran \n"


def test_ptb_cut_before_its_unknown_word_gets_one(small_ptb):
    corpus = load_corpus("ptb", max_tokens=3)
    assert list(corpus.vocabulary.word_to_id) == ["<unk>", "a", "dog", "saw"]
    assert decode(corpus, "test") == ["<unk>", "dog", "<unk>"]


def test_the_first_1000_words_of_the_real_ptb_are_418(ptb_dir):
    corpus = load_corpus("ptb", max_tokens=1000)
    ids, word_to_id, _ = ptb.load_data("train")
    assert corpus.vocabulary.size == 418
    assert numpy.array_equal(corpus.train, ids[:1000])
    assert corpus.vocabulary.word_to_id["<unk>"] == word_to_id["<unk>"]
    assert len(corpus.valid) == 1000 and corpus.valid.max() < 418


def test_parts_can_be_files_of_their_own(tmp_path):
    for name, text in (("text", "a b c d\n" * 20), ("valid", "a b\n" * 3), ("test", "c d x\n\n\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    text, valid, test = (tmp_path / f"{name}.txt" for name in ("text", "valid", "test"))
    corpus = load_corpus(text, valid=valid, test=test)
    assert [len(getattr(corpus, part)) for part in SPLITS] == [100, 9, 4]
    assert decode(corpus, "valid") == ["a", "b", "<eos>"] * 3 and decode(corpus, "test") == ["c", "d", "<unk>", "<eos>"]
    corpus = load_corpus(text, valid=valid)  # what is left is cut 80 to 10
    assert [len(getattr(corpus, part)) for part in SPLITS] == [90, 9, 10]
    assert decode(corpus, "valid") == ["a", "b", "<eos>"] * 3
    corpus = load_corpus(text, test=test)
    assert [len(getattr(corpus, part)) for part in SPLITS] == [90, 10, 4]


def test_the_shares_of_the_parts_can_be_chosen(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d\n" * 20)
    corpus = load_corpus(tmp_path / "text.txt", split="50/25/25")
    assert [len(getattr(corpus, part)) for part in SPLITS] == [50, 25, 25]
    with pytest.raises(InputError, match="--split 50/50: wanted three numbers"):
        load_corpus(tmp_path / "text.txt", split="50/50")


@pytest.mark.parametrize("name", ["pydoc", "ptb"])
@pytest.mark.parametrize("options", [{"valid": "v"}, {"test": "t"}, {"split": "50/25/25"}, {"encoding": "cp1252"}])
def test_what_has_parts_of_its_own_takes_no_others(name, options):
    with pytest.raises(InputError, match=f"^{name} has parts of its own: leave out --valid, --test, --split and --enc"):
        load_corpus(name, **options)


def test_blank_lines_at_the_end_are_no_part(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d\n" * 20 + "\n \n\t\n" * 20)
    corpus = load_corpus(tmp_path / "text.txt", unit="char")
    assert [len(getattr(corpus, part)) for part in SPLITS] == [128, 16, 16]


def test_types_and_shares_of_unknown_tokens_are_of_the_text(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d\n" * 8 + "a b x y\n" + "a z z z\n")
    corpus = load_corpus(tmp_path / "text.txt")
    assert corpus.types == {"train": 5, "valid": 5, "test": 3}
    assert [corpus.unknown_share(part) for part in SPLITS] == [0, 0.4, 0.6]
    assert unknown_share(corpus.test, Vocabulary(list(corpus.vocabulary.word_to_id))) == 0  # which has no unknown word
    assert unknown_share(corpus.test[:0], corpus.vocabulary) == 0


def test_capitals_and_forms_can_stay(tmp_path):
    (tmp_path / "text.txt").write_text("Cafe\u0301 The the\n" * 20, encoding="utf-8")
    for options, words in (({}, ["café", "the", "the"]), ({"keep_case": True}, ["Café", "The", "the"]),
                           ({"keep_form": True}, ["cafe\u0301", "the", "the"])):
        assert decode(load_corpus(tmp_path / "text.txt", **options), "train")[:3] == words
    with pytest.raises(InputError, match="--keep-case goes with --unit word: --unit char keeps capitals anyway"):
        load_corpus(tmp_path / "text.txt", unit="char", keep_case=True)


def test_texts_in_other_encodings(tmp_path):
    (tmp_path / "text.txt").write_text("été là\n" * 20, encoding="cp1252")
    assert decode(load_corpus(tmp_path / "text.txt", encoding="cp1252"), "train")[:3] == ["été", "là", "<eos>"]
    (tmp_path / "valid.txt").write_text("là\n" * 20, encoding="utf-8")
    with pytest.raises(InputError, match=f"{tmp_path / 'text.txt'} is not UTF-8"):
        load_corpus(tmp_path / "text.txt", valid=tmp_path / "valid.txt")


def test_tokens_are_what_white_space_parts(tmp_path):
    wikitext = " \n = The Title = \n \n The <unk> cost 1 @,@ 000 , he said . \n"
    (tmp_path / "text.txt").write_text(wikitext * 20)
    corpus = load_corpus(tmp_path / "text.txt", unit="tokens")
    tokens = ["<eos>", "=", "The", "Title", "=", "<eos>", "<eos>", "The", "<unk>", "cost", "1", "@,@", "000", ",", "he",
              "said", ".", "<eos>"]
    assert sum((decode(corpus, part) for part in SPLITS), []) == tokens * 20
    assert corpus.types == dict.fromkeys(SPLITS, 13)
    assert corpus.tokenizer == "ptb" and corpus.unknown_share("train") == pytest.approx(1 / 18, abs=1e-3)


def test_a_part_of_white_space_alone_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("a b c d\n" * 20 + "\n" * 30)
    with pytest.raises(InputError, match=r"^the valid part of .*text\.txt has nothing but white space: .* --valid$"):
        load_corpus(tmp_path / "text.txt", unit="tokens")


def test_the_test_text_of_the_real_ptb_has_82430_tokens(ptb_dir):
    corpus = load_corpus(ptb_dir / "ptb.test.txt", unit="tokens")
    assert sum(len(getattr(corpus, part)) for part in SPLITS) == 82_430


def test_languages_without_spaces_are_named_for_words_alone(tmp_path):
    (tmp_path / "text.txt").write_text("ภาษาไทยไม่มีช่องว่าง\n" * 20, encoding="utf-8")
    assert load_corpus(tmp_path / "text.txt").languages_without_spaces == ["Thai"]
    assert load_corpus(tmp_path / "text.txt", unit="char").languages_without_spaces == ()


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"),
    (b" \n\n", "is empty"),
    (b"abc\xffdef", "not UTF-8 at byte 3"),
    (b"one line", "too short: its valid part has 0 tokens, .* another --split, or a file for --valid"),
    (b"line of text\n" * 4 + b"\n" * 20, "valid part has 1 tokens"),
])
def test_a_file_that_cannot_be_used_is_refused(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_corpus(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no corpus .*give pydoc, ptb or the path"):
        load_corpus(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="is a folder"):
        load_corpus(str(tmp_path))
    with pytest.raises(InputError, match=r"no corpus .*give pydoc, ptb or the path"):
        load_corpus("a\0b")
    with pytest.raises(InputError, match=r"there is no text file .*nowhere\.txt': give the path of one"):
        load_corpus(__file__, valid=tmp_path / "nowhere.txt")


def test_an_unreadable_file_is_refused(text_file, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(InputError, match="Permission denied"):
        load_corpus(text_file)


def test_wrong_arguments_are_refused(text_file):
    with pytest.raises(InputError, match="no unit 'letter': choose from word, char"):
        load_corpus(text_file, unit="letter")
    with pytest.raises(InputError, match="max_tokens must be at least 1"):
        load_corpus(text_file, max_tokens=0)
    with pytest.raises(InputError, match="its train part has 1 tokens, and a language model needs at least 2"):
        load_corpus(text_file, max_tokens=1)
    with pytest.raises(InputError, match="min_freq"):
        load_corpus(text_file, min_freq=0)
