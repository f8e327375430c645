"""Trained models in one `.safetensors` file, with all that is needed to use them and to make them again.

Its texts are JSON: what `TEXTS` says. A file is checked as strictly as a checkpoint: its texts against their schema,
its arrays against their shapes, dtypes and SHA-256, and every number is finite.
"""
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from common.errors import InputError
from common.files.arrays import description
from common.files.json_text import Items, Keyed, Maybe, Real, Record, Schema, Text, Whole, parse_json, plain_value
from common.files.safetensors import read_with_metadata, write_safetensors
from common.np import np
from common.text.vocabulary import Vocabulary
from common.training.checkpoint import expect_finite_arrays, param_arrays
from common.training.finite import NotFinite

FORMAT = 1

TEXTS: dict[str, Schema] = {
    "format": Whole(0),
    "about": Text(),
    "licence": Text(),
    "command": Text(),  # that makes the file
    "python": Text(20),
    "corpus": Text(64),  # its fingerprint
    "vocabulary": Record({"words": Items(Text()), "frequencies": Items(Whole()), "unknown": Maybe(Text())}),
    "models": Keyed(Record({
        "command": Text(),  # that trains the model
        "configuration": Keyed(plain_value, 1000),
        "valid_perplexity": Real(1), "test_perplexity": Real(1),
        "test_bits": Real(0),  # of a token
        "first_steps": Record({"steps": Whole(1), "norms": Items(Real(0), 1000)}),  # norms of the parameters after them
    }), 100),
    "arrays": Keyed(Record({"shape": Items(Whole(), 32), "dtype": Text(20), "sha256": Text(64)})),
}
"""What each text of a file holds."""


class ModelFile(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    path : str or Path
    texts : dict of str to object
        As `TEXTS` says.
    vocabulary : Vocabulary
    arrays : dict of str to dict of str to numpy.ndarray
        Of each model, its parameters by the names that they have in a checkpoint.
    """

    path: str | Path
    texts: dict[str, Any]
    vocabulary: Vocabulary
    arrays: dict[str, dict[str, numpy.ndarray]]


def write_model_file(path: str | Path, models: dict[str, Any], vocabulary: Vocabulary, texts: dict[str, Any]) -> None:
    """Write trained models to a file.

    Parameters
    ----------
    path : str or Path
    models : dict of str to LanguageModel
        The first is the one that is taken where none is named.
    vocabulary : Vocabulary
    texts : dict of str to object
        What `TEXTS` wants, beside the format, the vocabulary and the arrays.

    Raises
    ------
    InputError
        A number is not finite, or the file cannot be written. An old file then stays.
    """
    arrays = {f"{name}.{param}": numpy.asarray(np.to_cpu(array), order="C")
              for name, model in models.items() for param, array in param_arrays(model).items()}
    expect_finite_arrays(arrays)
    whole = {"format": FORMAT} | texts | {
        "vocabulary": vocabulary.content,
        "arrays": {name: description(array) for name, array in arrays.items()}}
    _expect_texts(whole, f"{path} is not written: its text")
    write_safetensors(path, arrays, {name: json.dumps(text, ensure_ascii=False) for name, text in whole.items()})


def read_model_file(path: str | Path) -> ModelFile:
    """Read a file that `write_model_file` wrote, and see that it is whole.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        It is missing, damaged, of a newer version, or no file of models.
    """
    arrays, metadata = read_with_metadata(path)
    if "format" not in metadata:
        raise InputError(f"{path} is no file of trained models: it does not say what its arrays are")
    texts = {name: parse_json(text.encode(), f"{path}, its text {name!r},") for name, text in metadata.items()}
    if type(texts["format"]) is int and texts["format"] > FORMAT:
        raise InputError(f"{path} has format {texts['format']}, wanted {FORMAT}: it is of a newer version")
    _expect_texts(texts, f"{path} is damaged: its text")
    if {name: description(array) for name, array in arrays.items()} != texts["arrays"]:
        raise InputError(f"{path} is damaged: its arrays are not those that were saved")
    try:
        expect_finite_arrays(arrays)
    except NotFinite as error:
        raise InputError(f"{path} is damaged: {error.what} is not finite") from None
    vocabulary = Vocabulary.of_content(texts["vocabulary"], path)
    return ModelFile(path, texts, vocabulary, _by_model(arrays, texts["models"], path))


def _expect_texts(texts, place):
    Record(TEXTS)(texts, place)
    if not texts["models"]:
        raise InputError(f"{place}.models names no model")


def _by_model(arrays, models: Iterable[str], path):
    """Return the arrays of each model, by the names that they have in a checkpoint."""
    found: dict[str, dict[str, numpy.ndarray]] = {name: {} for name in models}
    for name, array in arrays.items():
        model, _, param = name.rpartition(".")
        if model not in found:
            raise InputError(f"{path} is damaged: it has {name}, which is of none of its models")
        found[model][param] = array
    return found
