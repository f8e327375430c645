"""Gradients of shared weights, and clipping by the global norm."""
import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy

from common.layers.sparse import SparseGradient, add_in_place
from common.np import Array, np

LEAST_NORM = 1e-15  # of float32 gradients whose squares have lost none of their digits

Gradient: TypeAlias = "Array | SparseGradient"


def remove_duplicate(params: Sequence[Array], grads: Sequence[Gradient]) -> tuple[list[Array], list[Any]]:
    """Merge parameters that are the same memory, and add up their gradients.

    "The same memory" means the same start address and dtype, and shape and strides equal, or
    equal in reverse (a transposed view). Values are never compared.

    Parameters
    ----------
    params : list of ndarray
    grads : list of ndarray or SparseGradient
        In the same order. A merged gradient is added up in place, in the array of its first
        owner; the lists themselves stay as they are.

    Returns
    -------
    params : list of ndarray
    grads : list of ndarray or SparseGradient
        Each memory once, in order of first appearance.

    Raises
    ------
    ValueError
        Two parameters overlap in any other way.
    """
    kept_params: list[Array] = []
    kept_grads: list[Gradient] = []
    for param, grad in zip(params, grads, strict=True):
        for i, kept_param in enumerate(kept_params):
            if sharing := how_shared(kept_param, param):
                kept_grads[i] = add_in_place(kept_grads[i], grad if sharing == "same" else grad.T)
                break
        else:
            kept_params.append(param)
            kept_grads.append(grad)
    return kept_params, kept_grads


def gradients_of(model: Any) -> list[Gradient]:
    """Return the gradients of a model's last backward, those that are known to be zero in most rows as such.

    Parameters
    ----------
    model : BaseModel
        Its layers, or the layers of models in it, say which of their gradients are sparse.
    """
    known = {id(grad.array): grad for grad in _sparse_in(model)}
    return [known.get(id(grad), grad) for grad in model.grads]


def _sparse_in(owner):
    yield from getattr(owner, "sparse", ())
    for layer in getattr(owner, "layers", ()):
        yield from _sparse_in(layer)


def unique_params(params: list[Array]) -> list[Array]:
    """Return each memory of `params` once, in order of first appearance."""
    kept: list[Array] = []
    for param in params:
        if all(how_shared(other, param) is None for other in kept):
            kept.append(param)
    return kept


def how_shared(a: Array, b: Array) -> str | None:
    """Say how two arrays share memory.

    Returns
    -------
    "same", "transposed" or None

    Raises
    ------
    ValueError
        They overlap in another way, which no sum of gradients could describe.
    """
    start_a, end_a = memory_bounds(a)
    start_b, end_b = memory_bounds(b)
    if end_a <= start_b or end_b <= start_a:
        return None
    if start_a == start_b and a.dtype == b.dtype:
        if a.shape == b.shape and a.strides == b.strides:
            return "same"
        if a.shape == b.shape[::-1] and a.strides == b.strides[::-1]:
            return "transposed"
    if np.shares_memory(a, b):
        raise ValueError(
            f"two parameters of shapes {a.shape} and {b.shape} overlap in memory; "
            "weights can be shared whole or as a transposed view")
    return None


def memory_bounds(array: Array) -> tuple[int, int]:
    """Return the first address of an array's elements and the one after its last."""
    start = array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data
    if array.size == 0:
        return start, start
    reach = [(n - 1) * stride for n, stride in zip(array.shape, array.strides)]
    low = start + sum(step for step in reach if step < 0)
    high = start + sum(step for step in reach if step > 0) + array.itemsize
    return low, high


def global_norm(grads: Sequence[Gradient]) -> Array:
    """Return the Euclidean norm of all gradients taken as one vector.

    A norm that the dtype of the gradients can hold comes out right even where its square is too large, or too small,
    for that dtype.

    Returns
    -------
    0-d array or NumPy scalar
    """
    arrays = [grad.values if isinstance(grad, SparseGradient) else grad for grad in grads]
    if np.backend != "numpy":  # to look at a norm would wait for it
        return functools.reduce(np.hypot, [_nrm2(array) for array in arrays] or [np.zeros(())])
    with numpy.errstate(over="ignore"):
        norm = np.sqrt(sum(np.vdot(array, array) for array in arrays))
        return norm if norm > LEAST_NORM and norm < np.inf else _scaled_norm(arrays)


def _nrm2(grad):
    """Return the norm of one gradient by cuBLAS, which scales by itself and knows no float16."""
    return np.cublas.nrm2(np.ravel(grad.astype(np.result_type(grad.dtype, np.float32), copy=False)))


def _scaled_norm(grads):
    """Return the norm of gradients whose squares overflow or underflow, from their quotients by the largest number."""
    largest = max((np.abs(grad).max() for grad in grads if grad.size), default=0.0)
    if not 0 < largest < np.inf:  # all are 0, or one is infinite or NaN
        return np.sqrt(sum(np.vdot(grad, grad) for grad in grads))
    scaled = np.sqrt(sum(np.vdot(grad / largest, grad / largest) for grad in grads))
    norm = largest * scaled
    return norm if norm < np.inf else float(largest) * float(scaled)  # which float64 holds and the dtype does not


def clip_grads(grads: Sequence[Gradient], max_norm: float) -> Array:
    """Scale all gradients in place so that their global norm is at most `max_norm`. Pascanu et al. 2013.

    Parameters
    ----------
    grads : list of ndarray or SparseGradient
        Each memory once: merge shared weights first (`remove_duplicate`).
    max_norm : float
        Above 0; infinity clips nothing.

    Returns
    -------
    0-d array or NumPy scalar
        The norm before clipping.

    Raises
    ------
    ValueError
        `max_norm` is 0, negative or NaN.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grads: max_norm is {max_norm}, wanted a number above 0")
    norm = global_norm(grads)
    max_norm = float(max_norm)  # with a float64 of NumPy's, float32 gradients would be scaled by a float64
    rate = np.minimum(max_norm / (norm + 1e-6), 1)
    if np.backend == "numpy" and rate == 1:  # reading the rate on a GPU would wait for it
        return norm
    for grad in grads:
        grad *= rate
    return norm
