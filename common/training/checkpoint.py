"""Checkpoints, from which a training run goes on exactly where it stopped."""
import json
from pathlib import Path
from typing import Any

import numpy

from common.base_model import BaseModel
from common.errors import InputError
from common.files.arrays import read_arrays, write_arrays
from common.np import Array, np
from common.optimizer import Optimizer
from common.text.vocabulary import Vocabulary
from common.training.clip import unique_params

FORMAT = 1


def save_checkpoint(path: str | Path, model: Any, facts: dict[str, Any], optimizer: Optimizer | None = None) -> None:
    """Write a model, and what else is given, to a .npz file.

    Parameters
    ----------
    path : str or Path
    model : LanguageModel
        Its parameters are saved, each shared one once.
    facts : dict
        Anything that JSON can hold; must have "model" (its name) and "vocabulary" (a fingerprint).
    optimizer : Optimizer, optional
        With it the file is one to go on from: learning rate, step count and memories of the
        optimizer are saved, and the states that the model carries.
    """
    arrays = param_arrays(model)
    if optimizer is not None:
        facts = facts | {"lr": float(optimizer.lr), "steps": optimizer.steps}
        arrays |= {f"memory_{i}_{j}": memory for i, memories in enumerate(optimizer.state)
                   for j, memory in enumerate(memories)}
        arrays |= {f"state_{i}_{j}": state for i, states in enumerate(model.get_state())
                   for j, state in enumerate(states) if state is not None}
    facts = facts | {"format": FORMAT, "arrays": sorted(arrays)}
    arrays = {name: np.to_cpu(array) for name, array in arrays.items()}
    write_arrays(path, arrays | {"facts": numpy.array(json.dumps(facts))})


def param_arrays(model: BaseModel) -> dict[str, Array]:
    """Return the parameters of a model by the names that they have in a checkpoint."""
    return {f"param_{i}": param for i, param in enumerate(unique_params(model.params))}


def read_checkpoint(path: str | Path, model_name: str,
                    vocabulary: Vocabulary) -> tuple[dict[str, numpy.ndarray], dict[str, Any]]:
    """Read a checkpoint, and see that it is of the model and the vocabulary at hand.

    Parameters
    ----------
    path : str or Path
    model_name : str
    vocabulary : Vocabulary

    Returns
    -------
    arrays : dict of str to numpy.ndarray
    facts : dict

    Raises
    ------
    InputError
        The file is missing, damaged, no checkpoint, of another model or another vocabulary.
    """
    arrays = read_arrays(path)
    try:
        facts = json.loads(str(arrays.pop("facts")))
        version, model, words, names = (facts[key] for key in ("format", "model", "vocabulary", "arrays"))
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path} is no checkpoint of a training run") from None
    if version != FORMAT:
        raise InputError(f"{path} has checkpoint format {version}, wanted {FORMAT}")
    if model != model_name:
        raise InputError(f"{path} is of the model {model!r}, wanted {model_name!r}")
    if words != vocabulary.fingerprint:
        raise InputError(f"{path} was trained with another vocabulary than this one of {len(vocabulary)} words")
    if names != sorted(arrays):
        raise InputError(f"{path} is damaged: its arrays are not those that were saved")
    return arrays, facts


def restore_params(path: str | Path, arrays: dict[str, numpy.ndarray], model: BaseModel) -> None:
    """Put the parameters of a checkpoint into a model.

    Raises
    ------
    InputError
        Their number or shapes are not this model's; it then stays as it was.
    """
    count = sum(name.startswith("param_") for name in arrays)
    model.assign_params([arrays[f"param_{i}"] for i in range(count)], path)


def restore(path: str | Path, arrays: dict[str, numpy.ndarray], facts: dict[str, Any], model: Any,
            optimizer: Optimizer, batch_size: int | None) -> None:
    """Put everything of a checkpoint back: parameters, carried states and the optimizer.

    Parameters
    ----------
    path : str or Path
        For the error message.
    arrays, facts : dict
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
    at_start = facts.get("steps") == 0  # before the first step there are neither memories nor states
    expect_arrays(path, arrays, params if at_start else params | memories | states)
    if not isinstance(facts.get("lr"), float) or not isinstance(facts.get("steps"), int):
        raise InputError(f"{path} is damaged: it lacks the learning rate or the number of steps")

    restore_params(path, arrays, model)
    optimizer.lr = facts["lr"]
    if not at_start:
        optimizer.load_state([[np.to_device(arrays[f"memory_{i}_{j}"]) for j in range(optimizer.memories)]
                              for i in range(len(params))], facts["steps"])
        for i, layer in enumerate(carrying):
            layer.set_state(*(np.to_device(arrays[f"state_{i}_{j}"]) for j in range(len(layer.state))))


def expect_arrays(path: str | Path, arrays: dict[str, numpy.ndarray], wanted: dict[str, Array]) -> None:
    """Raise an InputError unless `arrays` has the names, shapes and dtypes of `wanted`."""
    for name in sorted(wanted.keys() | arrays.keys()):
        have, want = (f"{array.dtype} of shape {array.shape}" if array is not None else "nothing"
                      for array in (arrays.get(name), wanted.get(name)))
        if have != want:
            raise InputError(f"{path} does not fit this run: it has {have} for {name}, wanted {want}")
