import numpy
import pytest

from common.errors import InputError
from common.text import TOKENIZERS, join_tokens
from dataset import ptb
from dataset.corpus import load_corpus, read_text_file

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


def test_the_fingerprint_tells_texts_of_the_same_words_apart(text_file):
    before = load_corpus(text_file).fingerprint
    assert load_corpus(text_file).fingerprint == before
    text_file.write_text("".join(LINES[1:2] + LINES[:1] + LINES[2:]))
    assert load_corpus(text_file).fingerprint != before


def test_a_file_by_characters(text_file):
    corpus = load_corpus(text_file, unit="char")
    assert corpus.tokenizer == "characters"
    assert join_tokens(decode(corpus, "train"), corpus.tokenizer) == "".join(LINES[:8])
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


def test_a_byte_order_mark_and_windows_line_ends_are_dropped(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffa\r\nb\r\n".encode())
    assert read_text_file(path) == "a\nb\n"


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"),
    (b" \n\n", "is empty"),
    (b"abc\xffdef", "not UTF-8 at byte 3"),
    (b"one line", "too short: its valid part has 1 tokens"),
    (b"line of text\n" * 8 + b"\n\n", "valid part has 1 tokens"),
])
def test_a_file_that_cannot_be_used_is_refused(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_corpus(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no corpus .*give pydoc, ptb or the path"):
        load_corpus(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="is a folder"):
        load_corpus(str(tmp_path))
    with pytest.raises(InputError, match="cannot read"):
        load_corpus("a\0b")


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
    with pytest.raises(InputError, match="min_freq"):
        load_corpus(text_file, min_freq=0)
