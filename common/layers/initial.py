"""Initial weights, drawn on the CPU by `np.host_rng` so that a seed gives the same ones on every device."""
from common.np import Array, DTypeLike, np


def normal(shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Array:
    """Draw weights from a normal distribution.

    Parameters
    ----------
    shape : tuple of int
    std : float
        Standard deviation.
    dtype : dtype

    Returns
    -------
    ndarray of the given shape and dtype, on the device in use
    """
    return np.to_device((np.host_rng.standard_normal(shape) * std).astype(dtype))


def uniform(shape: tuple[int, ...], bound: float, dtype: DTypeLike) -> Array:
    """Draw weights evenly from [-bound, bound); parameters as in `normal`."""
    return np.to_device(np.host_rng.uniform(-bound, bound, shape).astype(dtype))


def embedding_weight(vocab_size: int, wordvec_size: int, dtype: DTypeLike) -> Array:
    """Return W (V, D) of an embedding, standard deviation 0.01 as in the book."""
    return normal((vocab_size, wordvec_size), 0.01, dtype)


def affine_weights(input_size: int, output_size: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Return W (D, M), standard deviation 1 / sqrt(D), and b (M,), zeros: Xavier's scale as the book has it."""
    return normal((input_size, output_size), input_size**-0.5, dtype), np.zeros(output_size, dtype=dtype)


def recurrent_weights(input_size: int, hidden_size: int, gates: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
    """Return Wx (D, gates H), Wh (H, gates H), b (gates H,) of a recurrent layer.

    Standard deviations 1 / sqrt(D) and 1 / sqrt(H), zeros in b, as in the book.

    Parameters
    ----------
    input_size, hidden_size : int
    gates : int
        Blocks side by side: 1 for an RNN, 4 for an LSTM, 3 for a GRU.
    dtype : dtype
    """
    size = gates * hidden_size
    return (
        normal((input_size, size), input_size**-0.5, dtype),
        normal((hidden_size, size), hidden_size**-0.5, dtype),
        np.zeros(size, dtype=dtype),
    )
