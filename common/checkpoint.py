"""What a training run needs to go on exactly where it stopped."""
import json

import numpy

from common.clip import unique_params
from common.errors import InputError
from common.files import read_arrays, write_arrays
from common.np import np

FORMAT = 1


def save_checkpoint(path, model, facts, optimizer=None):
    """Write a model, and what else is given, to a .npz file.

    Parameters
    ----------
    path : str or Path
    model : LanguageModel
        Its parameters (each shared one once) and carried states are saved.
    facts : dict
        Anything that JSON can hold; must have "model" (its name) and "vocabulary" (a fingerprint).
    optimizer : Optimizer, optional
        Its learning rate, step count and memories are saved.
    """
    arrays = {f"param_{i}": np.to_cpu(param) for i, param in enumerate(unique_params(model.params))}
    for i, states in enumerate(model.get_state()):
        for j, state in enumerate(states):
            if state is not None:
                arrays[f"state_{i}_{j}"] = np.to_cpu(state)
    if optimizer is not None:
        facts = facts | {"lr": optimizer.lr, "steps": optimizer.steps, "memories": len(optimizer.state)}
        for i, memories in enumerate(optimizer.state):
            for j, memory in enumerate(memories):
                arrays[f"memory_{i}_{j}"] = np.to_cpu(memory)
    facts = facts | {"format": FORMAT, "params": len(unique_params(model.params))}
    arrays["facts"] = numpy.array(json.dumps(facts))
    write_arrays(path, arrays)


def read_checkpoint(path, model_name, vocabulary):
    """Read a checkpoint, and see that it fits.

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
        found = facts["format"], facts["model"], facts["vocabulary"]
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path} is no checkpoint of a training run") from None
    if found[0] != FORMAT:
        raise InputError(f"{path} has checkpoint format {found[0]}, wanted {FORMAT}")
    if found[1] != model_name:
        raise InputError(f"{path} is of the model {found[1]!r}, wanted {model_name!r}")
    if found[2] != vocabulary.fingerprint:
        raise InputError(f"{path} was trained with another vocabulary than this one of {len(vocabulary)} words")
    return arrays, facts


def restore(path, arrays, facts, model, optimizer=None):
    """Put what `read_checkpoint` returned into a model, its states and an optimizer.

    Raises
    ------
    InputError
        Sizes differ, or arrays are missing; the model then stays as it was.
    """
    try:
        params = [arrays[f"param_{i}"] for i in range(facts["params"])]
        memories = [
            [np.to_device(arrays[f"memory_{i}_{j}"]) for j in range(optimizer.memories)]
            for i in range(facts["memories"])] if optimizer is not None else []
    except KeyError as missing:
        raise InputError(f"{path} is damaged: {missing} is not in it") from None
    model.assign_params(params, path)
    states = []
    for i, layer in enumerate(model.recurrent_layers):
        found = [arrays.get(f"state_{i}_{j}") for j in range(len(layer.state))]
        states.append(tuple(None if state is None else np.to_device(state) for state in found))
    model.set_state(states)
    if optimizer is not None:
        optimizer.lr = facts["lr"]
        optimizer.load_state(memories, facts["steps"])
