"""What every model shares: its parameters, and keeping them in a file."""
from pathlib import Path

from common.clip import unique_params
from common.errors import InputError
from common.files import read_arrays, write_arrays
from common.np import np


class BaseModel:
    """A model with two lists, `params` and `grads`, in the same order.

    A subclass fills the lists itself, or calls `collect_params` once its layers are made.
    """

    def __init__(self):
        self.params = []
        self.grads = []
        self.layers = []

    def collect_params(self):
        """Put the parameters and gradients of all `layers` into `params` and `grads`."""
        self.params = [param for layer in self.layers for param in layer.params]
        self.grads = [grad for layer in self.layers for grad in layer.grads]

    def save_params(self, file_name=None):
        """Write the parameters to a .npz file, each shared one once.

        Parameters
        ----------
        file_name : str or Path, optional
            By default `<ClassName>.npz`; another ending becomes .npz.
        """
        path = Path(file_name or f"{type(self).__name__}.npz").with_suffix(".npz")
        arrays = {f"param_{i}": np.to_cpu(param) for i, param in enumerate(unique_params(self.params))}
        write_arrays(path, arrays)

    def load_params(self, file_name=None):
        """Read the parameters that `save_params` wrote, in place.

        Parameters
        ----------
        file_name : str or Path, optional
            By default `<ClassName>.npz`.

        Raises
        ------
        InputError
            The file is missing or broken, or holds another model's parameters. The model
            then stays as it was.
        """
        path = Path(file_name or f"{type(self).__name__}.npz")
        arrays = read_arrays(path)
        self.assign_params([arrays[f"param_{i}"] for i in range(len(arrays))], path)

    def assign_params(self, arrays, source):
        """Write arrays into the parameters.

        Parameters
        ----------
        arrays : list of ndarray
            One for each memory in `params`.
        source : str or Path
            Where they come from, for the error message.

        Raises
        ------
        InputError
            Their number or shapes are not this model's; nothing was written.
        """
        params = unique_params(self.params)
        wanted = [param.shape for param in params]
        got = [array.shape for array in arrays]
        if wanted != got:
            raise InputError(
                f"{source} is not of this {type(self).__name__}: "
                f"it holds {shapes_text(got)}, wanted {shapes_text(wanted)}")
        for param, array in zip(params, arrays):
            param[...] = np.to_device(array)


def shapes_text(shapes):
    """Return shapes as one short text."""
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "no arrays"
