"""Checkpoints, from which a training run goes on exactly where it stopped.

A checkpoint is a .npz file: arrays, and before them a header that says in JSON what they are and how far the run is
(`HEADER_SCHEMA`). All of the header is checked before any array is read, each array is checked against the header, and
nothing in the file is run.
"""
from pathlib import Path
from typing import Any

import numpy

from common.base_model import BaseModel
from common.errors import InputError
from common.files.arrays import TEXT, open_arrays, write_arrays
from common.files.json_text import Items, Keyed, Maybe, Real, Record, Text, Whole, brief, parse_json, plain_value
from common.np import Array, np
from common.optimizer import Optimizer
from common.text.vocabulary import Vocabulary
from common.training.clip import unique_params
from common.training.finite import NotFinite

FORMAT = 2

_WORD = Whole(0, 2**64 - 1)
_SHA256 = Text(64)
_RANDOM_STATE = Record({
    "host": Record({
        "bit_generator": Text(20),
        "state": Record({"state": Whole(0, 2**128 - 1), "inc": Whole(0, 2**128 - 1)}),
        "has_uint32": Whole(0, 1), "uinteger": Whole(0, 2**32 - 1)}),
    "device": Maybe(Items(_WORD, 2))})
_EPOCH = Record({
    "epoch": Whole(1), "lr": Real(0), "train_perplexity": Real(0, float("inf")), "valid_perplexity": Real(0)},
    optional={"max_grad": Maybe(Real(0)), "skipped": Whole(), "sampled": Whole(), "gradient_norm": Maybe(Real(0)),
              "clipped": Maybe(Real(0, 1)), "saturated": Maybe(Real(0, 1)), "update_ratio": Maybe(Real(0))})
_HEALTH = Record({"steps": Whole(), "norms": Whole(), "norm": Real(0), "clipped": Whole(), "gates": Whole(),
                  "saturated": Whole(), "update": Real(0), "weight": Real(0)})
_TIMES = Record({"epoch": Whole(1), "seconds": Real(0), "tokens_per_second": Whole()})
_SINGULAR_VALUES = Items(Record({"epoch": Whole(), "layers": Items(Items(Real(0)), 1000)}))  # in format 1
_START = Record({
    "step": Whole(), "lr": Real(0), "max_grad": Maybe(Real(0)), "machine": Keyed(Text(), 100)})

HEADER_SCHEMA = Record({
    "format": Whole(), "model": Text(), "vocabulary": _SHA256, "corpus": _SHA256,
    "configuration": Keyed(plain_value, 1000), "history": Items(_EPOCH),
    "arrays": Keyed(Record({"shape": Items(Whole(), 32), "dtype": Text(20), "sha256": _SHA256})),
}, optional={
    "lr": Real(0), "steps": Whole(),  # of the optimizer
    "progress": Record({
        "largest_lr": Real(0), "batches_before": Maybe(Whole()), "batch": Whole(), "nats": Real(),
        "skipped": Whole(), "skipped_in_a_row": Whole(),
        "position": Whole(),
        "tokens": Maybe(Whole()),  # older runs did not count tokens, or batches
        "random_state": _RANDOM_STATE,
        "singular_value_epochs": Items(Whole()),  # of the arrays "singular_values_0" (E, H) and so on, one a layer
    }, optional={"sampled": Whole(), "averaging_from": Maybe(Whole()), "health": _HEALTH}),  # older runs lack these
    "times": Record({
        "seconds": Real(0), "spent": Real(0), "evaluation_seconds": Real(0), "timing": Items(_TIMES),
        "starts": Items(_START)}),
})
"""What a header holds. Only "times" differs between a run that was stopped and one that went through."""


def save_checkpoint(path: str | Path, model: Any, header: dict[str, Any], optimizer: Optimizer | None = None,
                    more: dict[str, numpy.ndarray] | None = None) -> None:
    """Write a model, and what else is given, to a .npz file.

    Parameters
    ----------
    path : str or Path
    model : LanguageModel
        Its parameters are saved, each shared one once.
    header : dict
        What `HEADER_SCHEMA` wants beside the format and the arrays.
    optimizer : Optimizer, optional
        With it the file is one to go on from: learning rate, step count and memories of the
        optimizer are saved, and the states that the model carries.
    more : dict of str to numpy.ndarray, optional
        Other arrays to save.

    Raises
    ------
    NotFinite
        A parameter, a memory or a state holds NaN or infinity; the file at `path` stays as it was.
    InputError
        The file cannot be written.
    """
    arrays = param_arrays(model)
    if optimizer is not None:
        header = header | {"lr": float(optimizer.lr), "steps": optimizer.steps}
        arrays |= {f"memory_{i}_{j}": memory for i, memories in enumerate(optimizer.state)
                   for j, memory in enumerate(memories)}
        arrays |= {f"state_{i}_{j}": state for i, states in enumerate(model.get_state())
                   for j, state in enumerate(states) if state is not None}
    on_host = {name: np.to_cpu(array) for name, array in arrays.items()} | (more or {})
    expect_finite_arrays(on_host)
    header = {"format": FORMAT} | header
    HEADER_SCHEMA(header | {"arrays": {}}, f"{path} is not written: its header")  # or nobody could read it
    write_arrays(path, on_host, header)


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the header of a checkpoint, checked, without reading its arrays.

    Raises
    ------
    InputError
        The file is missing, damaged or no checkpoint.
    """
    with open_arrays(path) as file:
        return _header(file, path)[0]


def expect_finite_arrays(arrays: dict[str, numpy.ndarray]) -> None:
    """Raise NotFinite where arrays hold NaN or infinity, and say which."""
    for name, array in arrays.items():
        if not numpy.isfinite(array).all():
            kind = {"param": "a parameter", "memory": "a memory of the optimizer", "state": "a carried state"}
            raise NotFinite(f"{kind.get(name.partition('_')[0], 'an array')} ({name})")


def param_arrays(model: BaseModel) -> dict[str, Array]:
    """Return the parameters of a model by the names that they have in a checkpoint."""
    return {f"param_{i}": param for i, param in enumerate(unique_params(model.params))}


def read_checkpoint(path: str | Path, model_name: str,
                    vocabulary: Vocabulary) -> tuple[dict[str, numpy.ndarray], dict[str, Any]]:
    """Read a checkpoint, and see that it is whole, and of the model and the vocabulary at hand.

    Parameters
    ----------
    path : str or Path
    model_name : str
    vocabulary : Vocabulary

    Returns
    -------
    arrays : dict of str to numpy.ndarray
    header : dict
        As `HEADER_SCHEMA` says.

    Raises
    ------
    InputError
        The file is missing, damaged, no checkpoint, of another model or another vocabulary, or it holds NaN or
        infinity.
    """
    with open_arrays(path) as file:
        header, more = _header(file, path)
        if header["model"] != model_name:
            raise InputError(f"{path} is of the model {header['model']!r}, wanted {model_name!r}")
        words = vocabulary.fingerprint if header["format"] == FORMAT else vocabulary.fingerprint_of_words
        if header["vocabulary"] != words:
            raise InputError(f"{path} was trained with another vocabulary than this one of {len(vocabulary)} words")
        described = {name: (list(shape), dtype.str) for name, (shape, dtype) in file.described.items()}
        if described != {name: (of["shape"], of["dtype"]) for name, of in header["arrays"].items()}:
            raise InputError(f"{path} is damaged: its arrays are not those that were saved")
        arrays = file.read_all() | more
    _expect_singular_values(arrays, header, path)
    try:
        expect_finite_arrays(arrays)
    except NotFinite as error:
        raise InputError(f"{path} is damaged: {error.what} is not finite") from None
    return arrays, header


def _expect_singular_values(arrays, header, path):
    """Check that the singular values in a checkpoint are those of each epoch that it says."""
    epochs = header["progress"]["singular_value_epochs"] if "progress" in header else []
    noted = [array for name, array in arrays.items() if name.startswith("singular_values_")]
    if bool(epochs) != bool(noted) or any(array.ndim != 2 or len(array) != len(epochs) or not array.size
                                          for array in noted):
        raise InputError(f"{path} is damaged: the singular values that it records are impossible")


def _header(file, path):
    """Return the header of a checkpoint, checked and in its present form, and the arrays that an older one held."""
    header, more = _from_format_1(file, path) if TEXT in file.described else (file.header, {})
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise InputError(f"{path} is no checkpoint of a training run")
    if header["format"] > FORMAT:
        raise InputError(f"{path} has checkpoint format {brief(header['format'])}, wanted {FORMAT}: it is of a newer "
                         "version")
    HEADER_SCHEMA(header, f"{path} is damaged: its header")
    return header, more


def _from_format_1(file, path):
    """Return the header of a file from before version 0.4, an array of text, and the arrays that it held."""
    facts = parse_json(str(file.read(TEXT)).encode(), path)
    del file.described[TEXT]
    if not isinstance(facts, dict) or facts.get("format") != 1:
        return None, {}
    if facts.get("arrays") != sorted(file.described):
        raise InputError(f"{path} is damaged: its arrays are not those that were saved")
    header = {name: facts[name] for name in ("format", "model", "vocabulary", "lr", "steps") if name in facts}
    header |= {"corpus": facts.get("corpus", ""), "configuration": {}, "history": facts.get("history", [])}
    header["arrays"] = {name: {"shape": list(shape), "dtype": dtype.str, "sha256": ""}
                        for name, (shape, dtype) in file.described.items()}
    if "position" not in facts:
        return header, {}
    noted = facts.get("singular_values", [])
    _SINGULAR_VALUES(noted, f"{path} is damaged: its singular_values")
    wanted = ("batch", "nats", "tokens", "position", "random_state")
    header["progress"] = {name: facts.get(name) for name in wanted} | {
        "largest_lr": facts.get("largest_lr", facts.get("lr")), "skipped": 0, "skipped_in_a_row": 0,
        "batches_before": None, "singular_value_epochs": [entry["epoch"] for entry in noted]}
    header["times"] = {"seconds": facts.get("seconds"), "spent": 0.0, "evaluation_seconds": 0.0,
                       "timing": facts.get("timing"), "starts": []}
    of_layers = list(zip(*(entry["layers"] for entry in noted)))
    if len({len(entry["layers"]) for entry in noted}) > 1 or any(len({*map(len, each)}) > 1 for each in of_layers):
        raise InputError(f"{path} is damaged: the singular values that it records are impossible")
    return header, {f"singular_values_{i}": numpy.array(values, dtype=float) for i, values in enumerate(of_layers)}


def restore_params(path: str | Path, arrays: dict[str, numpy.ndarray], model: BaseModel) -> None:
    """Put the parameters of a checkpoint into a model.

    Raises
    ------
    InputError
        Their number or shapes are not this model's; it then stays as it was.
    """
    names = [f"param_{i}" for i in range(sum(name.startswith("param_") for name in arrays))]
    for name in names:
        if name not in arrays:
            raise InputError(f"{path} is damaged: it lacks {name}")
    model.assign_params([arrays[name] for name in names], path)


def restore(path: str | Path, arrays: dict[str, numpy.ndarray], header: dict[str, Any], model: Any,
            optimizer: Optimizer, batch_size: int | None) -> None:
    """Put everything of a checkpoint back: parameters, carried states and the optimizer.

    Parameters
    ----------
    path : str or Path
        For the error message.
    arrays, header : dict
        What `read_checkpoint` returned.
    model : LanguageModel
    optimizer : Optimizer
    batch_size : int or None
        Rows of the carried states; None where none are carried.

    Raises
    ------
    InputError
        Something does not fit this model, optimizer and batch size; nothing was changed.
    """
    params = param_arrays(model)
    memories = {f"memory_{i}_{j}": param for i, param in enumerate(params.values()) for j in range(optimizer.memories)}
    states: dict[str, Array] = {}
    carrying = [] if batch_size is None else model.recurrent_layers
    for i, layer in enumerate(carrying):
        shape: tuple[Any, ...] = (batch_size, layer.hidden_size)
        states |= {f"state_{i}_{j}": np.zeros(shape, dtype=layer.params[0].dtype) for j in range(len(layer.state))}
    at_start = header.get("steps") == 0  # before the first step there are neither memories nor states
    expect_arrays(path, arrays, params if at_start else params | memories | states)
    if not header.keys() >= {"lr", "steps"}:
        raise InputError(f"{path} is damaged: it lacks the learning rate or the number of steps")

    restore_params(path, arrays, model)
    optimizer.lr = header["lr"]
    if not at_start:
        optimizer.load_state([[np.to_device(arrays[f"memory_{i}_{j}"]) for j in range(optimizer.memories)]
                              for i in range(len(params))], header["steps"])
        for i, layer in enumerate(carrying):
            layer.set_state(*(np.to_device(arrays[f"state_{i}_{j}"]) for j in range(len(layer.state))))


def expect_arrays(path: str | Path, arrays: dict[str, numpy.ndarray], wanted: dict[str, Array]) -> None:
    """Raise an InputError unless `arrays` has the names, shapes and dtypes of `wanted`."""
    for name in sorted(wanted.keys() | arrays.keys()):
        have, want = (f"{array.dtype} of shape {array.shape}" if array is not None else "nothing"
                      for array in (arrays.get(name), wanted.get(name)))
        if have != want:
            raise InputError(f"{path} does not fit this run: it has {have} for {name}, wanted {want}")
