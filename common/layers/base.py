"""The contract that every layer keeps, in code."""
from collections.abc import Callable
from typing import Any

from common.device.ids import Ids, ids_array
from common.layers.sparse import SparseGradient
from common.np import Array, np


class Layer:
    """A function with parameters, its forward pass and its backward pass.

    - `params` and `grads` are lists of arrays in the same order. They are written in place
      and never replaced, so whoever holds one sees every change.
    - `forward` keeps what `backward` needs in `cache`.
    - `backward` takes the gradient of the loss with respect to the output, returns the one
      with respect to the input, and sets (does not add to) `grads`.
    - What `forward` is given has to stay as it is until `backward`. What a layer returned, and
      its states, belong to the caller: a layer never writes to them later, and whatever the
      caller does to them changes no `backward`.

    Parameters
    ----------
    *params : ndarray
        Weights, all of one floating dtype. Every computation of the layer follows it.

    Attributes
    ----------
    sizes : dict of str to int
        Sizes by their letters in the docstrings, which `repr` shows. A subclass with weights sets it.
    sparse : list of SparseGradient
        Those of `grads` of which the last `backward` knows that they are zero in most rows.

    Raises
    ------
    ValueError
        A parameter is not a floating array of the backend in use, or their dtypes differ.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __init__(self, *params: Array) -> None:
        self.params = list(params)
        for param in params:
            self._expect_array("a parameter", param)
            if param.dtype.kind != "f":
                raise ValueError(f"{self._name}: a parameter has dtype {param.dtype}, wanted a floating dtype")
            self.expect("a parameter", param, param.shape)
        self.grads = [np.zeros_like(param) for param in params]
        self.sizes: dict[str, int] = {}
        self.sparse: list[SparseGradient] = []
        self.cache: Any = None

    def __repr__(self) -> str:
        """Show sizes and options, as TimeLSTM(D=100, H=100, stateful)."""
        return f"{self._name}({', '.join([*(f'{letter}={n}' for letter, n in self.sizes.items()), *self._options()])})"

    def _options(self) -> list[str]:
        """Return what `repr` shows behind the sizes, as texts: options that are on, inner layers."""
        return []

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _expect_array(self, name, array):
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{self._name}: {name} is a {_kind(array)}, wanted an array of {np.backend}")
        if self.params and not isinstance(self.params[0], np.ndarray):
            raise ValueError(f"{self._name}: its parameters are arrays of {_kind(self.params[0])}, np is {np.backend} "
                             "now: make layers and models after np.use, or load their parameters into new ones")
        return array

    def expect(self, name: str, array: Array, shape: tuple[Any, ...], dtype: Any = None) -> None:
        """Check one floating input.

        Parameters
        ----------
        name : str
            What the error message calls it.
        array : ndarray
        shape : tuple of int or str
            A number must match; a letter stands for any size but 0, and `...` for any leading axes.
        dtype : dtype, optional
            The dtype it must have: by default that of the parameters, and for a layer without
            parameters any floating one.

        Raises
        ------
        ValueError
            It is no array of the backend in use, its shape or dtype is not the layer's, or it is empty.
        """
        if not isinstance(array, np.ndarray) or self.params and not isinstance(self.params[0], np.ndarray):
            self._expect_array(name, array)
        wanted = array.shape[:max(0, array.ndim + 1 - len(shape))] + shape[1:] if shape[:1] == (...,) else shape
        wrong = [size for size, want in zip(array.shape, wanted) if size != want and not isinstance(want, str)]
        dtype = dtype or (self.params[0].dtype if self.params else array.dtype)
        if wrong or array.ndim != len(wanted) or array.dtype != dtype or dtype.kind != "f" or not array.size:
            sizes = ", ".join("..." if size is ... else str(size) for size in shape)
            kind = dtype if dtype.kind == "f" else "a floating dtype"
            raise ValueError(
                f"{self._name}: {name} is {array.dtype} of shape {array.shape}, wanted {kind} of shape ({sizes})"
                f"{_not_empty(array)}")

    def expect_ids(self, name: str, ids: Array | Ids, shape: tuple[int, ...], size: int) -> Array:
        """Check one array of ids: integers from 0 to size - 1 of a given shape.

        Parameters
        ----------
        name : str
            What the error message calls it.
        ids : ndarray of int or Ids
        shape : tuple of int
        size : int

        Returns
        -------
        ndarray of int

        Raises
        ------
        ValueError
            It is no integer array of the backend in use, of another shape or empty, or an id is out of range.
        """
        array = self.expect_integers(name, ids, shape)
        if not (isinstance(ids, Ids) and ids.lie_in(0, size - 1)):
            self.expect_range(name, array, size)
        return array

    def expect_integers(self, name: str, ids: Array | Ids, shape: tuple[int, ...]) -> Array:
        """Check that ids are integers of a given shape and not none at all, and return their array."""
        array = ids_array(ids)
        self._expect_array(name, array)
        if array.dtype.kind not in "iu" or array.shape != shape or not array.size:
            raise ValueError(
                f"{self._name}: {name} is {array.dtype} of shape {array.shape}, wanted integers of shape {shape}"
                f"{_not_empty(array)}")
        return array

    def expect_range(self, name: str, ids: Array, size: int) -> None:
        """Check that each id of an array is from 0 to size - 1; on a GPU the host waits for that."""
        if ids.size and (ids.min() < 0 or ids.max() >= size):
            raise ValueError(f"{self._name}: {name} go from {ids.min()} to {ids.max()}, wanted 0 to {size - 1}")

    def recall(self, what: str = "backward") -> Any:
        """Return what forward kept, for a method that is called `what`.

        Raises
        ------
        ValueError
            There was no forward yet.
        """
        if self.cache is None:
            raise ValueError(f"{self._name}: {what} needs a forward in training mode before it")
        return self.cache

    def _product(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Return the product of two matrices, in `out` if there is one; a fast form shares it out to all cores."""
        return np.matmul(a, b, out=out)


def _not_empty(array):
    return "" if array.size else ", and no axis may be empty"


def _kind(array):
    return f"{type(array).__module__}.{type(array).__name__}"
