import hashlib
import sys

import numpy
import pytest

from common.errors import InputError
from dataset import download, ptb

# Invented text in the format of the files.
TRAIN = " a dog saw <unk> cats \n the dog ran N miles \n"
VALID = " the cats saw a dog \n"
TEST = " N dog ran \n"
TEXTS = {"train": TRAIN, "valid": VALID, "test": TEST}


def write_files(folder, splits=("train", "valid", "test")):
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        (folder / f"ptb.{split}.txt").write_bytes(TEXTS[split].encode())


@pytest.fixture(params=["ptb", "."])
def own_folder(tmp_path, monkeypatch, request):
    folder = tmp_path / request.param
    write_files(folder)
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path))
    return folder


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """An empty cache folder, no RNN_DATA_DIR, and no network."""
    folder = tmp_path / "cache"
    monkeypatch.delenv("RNN_DATA_DIR", raising=False)
    monkeypatch.setattr(ptb, "cache_folder", lambda: folder)

    def no_network(*args):
        raise InputError("there is no network")

    monkeypatch.setattr(download, "fetch", no_network)
    return folder


def test_ids_follow_first_appearance_in_the_training_text(own_folder):
    corpus, word_to_id, id_to_word = ptb.load_data("train")
    words = ["a", "dog", "saw", "<unk>", "cats", "<eos>", "the", "ran", "N", "miles"]
    assert word_to_id == {word: i for i, word in enumerate(words)}
    assert id_to_word == dict(enumerate(words))
    assert corpus.dtype == numpy.int32
    assert corpus.tolist() == [0, 1, 2, 3, 4, 5, 6, 1, 7, 8, 9, 5]


@pytest.mark.parametrize("split, ids", [
    ("valid", [6, 4, 2, 0, 1, 5]), ("val", [6, 4, 2, 0, 1, 5]), ("test", [8, 1, 7, 5])])
def test_other_splits_have_the_ids_of_the_training_text(own_folder, split, ids):
    corpus, word_to_id, id_to_word = ptb.load_data(split)
    assert corpus.tolist() == ids
    assert (word_to_id, id_to_word) == ptb.load_vocab()


def test_the_vocabulary_handed_out_is_the_callers_own(own_folder):
    word_to_id, id_to_word = ptb.load_vocab()
    word_to_id.clear()
    id_to_word.clear()
    assert len(ptb.load_vocab()[0]) == len(ptb.load_vocab()[1]) == 10


def test_own_files_are_read_in_place_and_left_alone(own_folder, empty_cache, monkeypatch):
    monkeypatch.setenv("RNN_DATA_DIR", str(own_folder))
    before = {file: file.read_bytes() for file in own_folder.glob("*.txt")}
    assert ptb.find_file("test") == own_folder / "ptb.test.txt"
    ptb.load_data("test")
    assert {file: file.read_bytes() for file in own_folder.glob("*.txt")} == before
    assert not empty_cache.exists()


def test_a_word_outside_the_training_text_is_refused(own_folder):
    (own_folder / "ptb.test.txt").write_text(" a zebra \n")
    with pytest.raises(InputError, match=r"ptb.test.txt has the word 'zebra'"):
        ptb.load_data("test")


def test_an_incomplete_folder_is_refused(own_folder):
    (own_folder / "ptb.valid.txt").unlink()
    with pytest.raises(InputError, match=r"ptb.valid.txt is missing"):
        ptb.load_data("valid")
    assert len(ptb.load_data("test")[0]) == 4


def test_a_file_that_is_not_utf8_is_refused(own_folder):
    (own_folder / "ptb.test.txt").write_bytes(b" a \xff \n")
    with pytest.raises(InputError, match="not UTF-8 at byte 3"):
        ptb.load_data("test")


def test_an_unknown_split_is_refused(own_folder):
    with pytest.raises(InputError, match="no split 'dev'"):
        ptb.load_data("dev")


def test_cached_files_need_no_download(empty_cache, monkeypatch):
    for split, text in TEXTS.items():
        monkeypatch.setitem(ptb.SHA256, split, hashlib.sha256(text.encode()).hexdigest())
    write_files(empty_cache)
    assert ptb.load_data("test")[0].tolist() == [8, 1, 7, 5]


def test_a_missing_file_is_downloaded_into_the_cache(empty_cache, monkeypatch, capsys):
    asked = []

    def fetch(url, path, size, sha256):
        asked.append((url, path, size, sha256))
        write_files(empty_cache, [path.name.split(".")[1]])

    monkeypatch.setattr(download, "fetch", fetch)
    assert ptb.load_data("valid")[0].tolist() == [6, 4, 2, 0, 1, 5]
    assert asked == [(f"{ptb.URL}ptb.{split}.txt", empty_cache / f"ptb.{split}.txt", ptb.SIZES[split],
                      ptb.SHA256[split]) for split in ("train", "valid")]
    assert capsys.readouterr() == ("", "")


def test_a_failed_download_says_what_to_do_by_hand(empty_cache):
    with pytest.raises(InputError) as caught:
        ptb.load_data("train")
    message = str(caught.value)
    assert message.startswith("there is no network: put ptb.train.txt")
    assert str(empty_cache) in message and "set RNN_DATA_DIR" in message and "\n" not in message
    assert "which has no ptb.train.txt" not in message


def test_a_data_dir_without_the_files_falls_through_and_is_mentioned(empty_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"elsewhere, which has no ptb.train.txt"):
        ptb.load_data("train")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other customs")
def test_the_cache_is_where_linux_has_it(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ptb.cache_folder() == tmp_path / ".cache/rnn-from-scratch"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert ptb.cache_folder() == tmp_path / "elsewhere/rnn-from-scratch"


@pytest.mark.parametrize("split, tokens", [("train", 929_589), ("valid", 73_760), ("test", 82_430)])
def test_the_real_text_has_its_published_sizes(ptb_dir, split, tokens):
    corpus, word_to_id, id_to_word = ptb.load_data(split)
    assert corpus.shape == (tokens,)
    assert len(word_to_id) == len(id_to_word) == 10_000
    assert corpus.min() >= 0 and corpus.max() < 10_000
    assert all(word_to_id[id_to_word[i]] == i for i in range(10_000))


def test_the_real_text_begins_with_its_first_words(ptb_dir):
    corpus, word_to_id, _ = ptb.load_data("train")
    assert corpus[:24].tolist() == list(range(24))  # the first 24 words are all different
    assert len(numpy.unique(corpus[:1000])) == 418
    assert corpus[:1000].max() == 417
    assert word_to_id["<eos>"] == 24 and word_to_id["<unk>"] == 26
