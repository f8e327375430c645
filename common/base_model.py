"""The base of every model: its parameters, and how they are saved to a file and read back."""
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from common.cli.tables import format_table
from common.errors import InputError
from common.files.arrays import open_arrays, write_arrays
from common.files.pickles import read_pickle
from common.layers.base import Layer
from common.np import Array, np
from common.training.clip import how_shared, unique_params


class BaseModel:
    """A model with two lists, `params` and `grads`, in the same order.

    A subclass fills the lists itself, or calls `collect_params` once its layers are made. When it sends other input
    through its layers than `forward` does, it must call `forget`.

    Parameters
    ----------
    seed : int, optional
        Restarts the random generators, from which a subclass then draws its weights.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    loss_layer: Layer

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None:
            np.seed(seed)
        self.params: list[Array] = []
        self.grads: list[Array] = []
        self.layers: list[Any] = []

    def collect_params(self) -> None:
        """Put the parameters and gradients of all `layers` into `params` and `grads`."""
        self.params = [param for layer in self.layers for param in layer.params]
        self.grads = [grad for layer in self.layers for grad in layer.grads]

    def count_params(self) -> int:
        """Return the number of parameters, each shared one counted once."""
        return sum(param.size for param in unique_params(self.params))

    def __repr__(self) -> str:
        """Show the layers and their numbers of parameters as a table; what is shared counts where it comes first."""
        counted: list[Array] = []
        rows = [(type(self).__name__, "parameters"), *self._rows(counted)]
        return format_table([*rows, ("total", f"{sum(param.size for param in counted):,}")])

    def _rows(self, counted: list[Array], indent: str = "") -> Iterator[tuple[str, str]]:
        """Yield a row for each layer, inner models indented, and each parameter outside them; note all in `counted`.

        A subclass that skips `__init__` may lack a list.
        """
        for layer in getattr(self, "layers", []):
            if isinstance(layer, BaseModel):
                yield f"{indent}{type(layer).__name__}", ""
                yield from layer._rows(counted, f"{indent}  ")
            else:
                new = _count(layer.params, counted)
                shared = ", weights shared" if len(new) < len(layer.params) else ""
                yield f"{indent}{layer}{shared}", f"{sum(param.size for param in new):,}"
        for param in _count(getattr(self, "params", []), counted):
            yield f"{indent}weights {shapes_text([param.shape])}", f"{param.size:,}"

    def forget(self) -> None:
        """Let `backward` raise until the next `forward`, as the layers now keep another input than the loss."""
        self.loss_layer.cache = None

    def save_params(self, file_name: str | Path | None = None) -> None:
        """Write the parameters to a .npz file, each shared one once.

        Parameters
        ----------
        file_name : str or Path, optional
            File name, by default `<ClassName>.npz`. An ending .pkl is replaced by .npz, and
            .npz is appended to a name with neither ending.

        Raises
        ------
        InputError
            A parameter is not finite, or the file cannot be written; a file that is there stays as it was.
        """
        path = npz_path(file_name or type(self).__name__)
        arrays = {f"param_{i}": np.to_cpu(param) for i, param in enumerate(unique_params(self.params))}
        _expect_finite(arrays.values(), f"{path} is not written: {type(self).__name__}")
        write_arrays(path, arrays)

    def load_params(self, file_name: str | Path | None = None) -> None:
        """Read parameters, in place, that `save_params` wrote or that the book publishes.

        Parameters
        ----------
        file_name : str or Path, optional
            File name, by default `<ClassName>.npz`, or if that does not exist `<ClassName>.pkl`. If there is
            no file of the given name, it means the .npz file that `save_params` writes for that name.
            A .pkl file is a list with one array for each entry of `params`, shared ones as often
            as they are there; it is read by `common.files.pickles`, which runs nothing.

        Raises
        ------
        InputError
            The file is missing or broken, or holds another model's parameters. The model
            then stays as it was.
        """
        path = self._params_file(file_name)
        if path.suffix == ".pkl":
            self.assign_params(self._once_each(read_pickle(path), path), path)
            return
        with open_arrays(path) as file:
            names = [f"param_{i}" for i in range(len(file.described))]
            if set(names) != set(file.described):
                raise InputError(f"{path} holds no parameters as save_params writes them")
            self._expect_shapes(unique_params(self.params), [file.described[name] for name in names], path)
            arrays = file.read_all()
        self.assign_params([arrays[name] for name in names], path)

    def _params_file(self, file_name):
        if file_name:
            candidates = [Path(file_name), npz_path(file_name)]
        else:
            candidates = [Path(f"{type(self).__name__}{ending}") for ending in (".npz", ".pkl")]
        for path in candidates:
            if path.is_file():
                return path
        raise InputError(f"there is no file {' or '.join(map(str, dict.fromkeys(candidates)))}")

    def _once_each(self, arrays, source):
        """Return one array for each memory in `params`, from a list with one for each entry."""
        if not isinstance(arrays, (list, tuple)) or not all(isinstance(array, numpy.ndarray) for array in arrays):
            raise InputError(f"{source} holds no list of arrays")
        self._expect_shapes(self.params, arrays, source)
        firsts: list[int] = []  # places in params where a memory comes up first
        for i, param in enumerate(self.params):
            for first in firsts:
                sharing = how_shared(self.params[first], param)
                if sharing is None:
                    continue
                copy = arrays[i].T if sharing == "transposed" else arrays[i]
                if not numpy.array_equal(arrays[first], copy, equal_nan=True):
                    raise InputError(f"{source} is not of this {type(self).__name__}, whose entries {first} and {i} "
                                     "of params are one: there they differ")
                break
            else:
                firsts.append(i)
        return [arrays[i] for i in firsts]

    def assign_params(self, arrays: list[numpy.ndarray], source: str | Path) -> None:
        """Write arrays into the parameters, in the parameters' dtype.

        Parameters
        ----------
        arrays : list of numpy.ndarray
            One for each memory in `params`, of any floating dtype.
        source : str or Path
            Where they come from, for the error message.

        Raises
        ------
        InputError
            Their number or shapes are not this model's, or they are no floats or not finite; nothing was written.
        """
        params = unique_params(self.params)
        self._expect_shapes(params, arrays, source)
        for array in arrays:
            if array.dtype.kind != "f":
                raise InputError(f"{source} is not of this {type(self).__name__}: it holds an array of {array.dtype}, "
                                 "wanted floats")
        with numpy.errstate(over="ignore"):  # what its dtype cannot hold is said
            arrays = [array.astype(param.dtype, copy=False) for param, array in zip(params, arrays)]
        _expect_finite(arrays, source)
        for param, array in zip(params, arrays):
            param[...] = np.to_device(array)

    def _expect_shapes(self, params, arrays, source):
        wanted = [param.shape for param in params]
        got = [array.shape for array in arrays]
        if wanted != got:
            raise InputError(
                f"{source} is not of this {type(self).__name__}: "
                f"it holds {shapes_text(got)}, wanted {shapes_text(wanted)}")


def _expect_finite(arrays, holder):
    if not all(numpy.isfinite(array).all() for array in arrays):
        raise InputError(f"{holder} holds parameters that are NaN or infinite")


def _count(params: list[Array], counted: list[Array]) -> list[Array]:
    """Return the parameters that share no memory with those counted, and add them there."""
    new = unique_params([*counted, *params])[len(counted):]
    counted += new
    return new


def npz_path(file_name: str | Path) -> Path:
    """Return the path of the .npz file for a given name of a parameter file."""
    name = str(file_name)
    return Path(name if name.endswith(".npz") else name.removesuffix(".pkl") + ".npz")


def shapes_text(shapes: Iterable[tuple[int, ...]]) -> str:
    """Return shapes as one short text."""
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "no arrays"
