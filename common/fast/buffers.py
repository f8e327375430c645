"""Memory that a fast layer keeps from call to call."""
import math

from common.np import Array, DTypeLike, np


class Buffers:
    """Arrays by name, whose memory is used again by the next call that asks for that name.

    The operating system hands out memory page by page when it is first written to, about a quarter of a
    millisecond for each megabyte: as long as the arithmetic on it takes. What a layer returns must not come from here.
    """

    def __init__(self) -> None:
        self.memory: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an array, not initialised, in the memory kept under a name; it grows as needed.

        Parameters
        ----------
        name : str
        shape : tuple of int
        dtype : dtype
            The same in every call for this name.

        Returns
        -------
        ndarray
        """
        size = math.prod(shape)
        if name not in self.memory or self.memory[name].size < size:
            self.memory[name] = np.empty(size, dtype=dtype)
        return self.memory[name][:size].reshape(shape)
