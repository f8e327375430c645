"""Comparing arrays of ours with PyTorch's, and the line that sums the comparisons up."""
import sys

import numpy as np
import pytest

LIMITS = {"float64": 1e-10, "float32": 1e-5}


class Parity:
    """Compares arrays, counts the comparisons and keeps the largest difference of each dtype.

    A difference is the largest |ours - theirs| of an array's elements, divided by the largest
    |theirs| where that is above 1.
    """

    def __init__(self):
        self.comparisons = 0
        self.largest = dict.fromkeys(LIMITS, 0.0)

    def compare(self, name, ours, theirs):
        """Fail unless an array of ours has the shape and dtype of a tensor, and its numbers within the limit."""
        theirs = theirs.detach().numpy()
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
        kind = str(theirs.dtype)
        difference = float(np.abs(ours - theirs).max() / max(1, np.abs(theirs).max()))
        assert difference <= LIMITS[kind], f"{name} differs by {difference:.1e}\nours:\n{ours}\nPyTorch's:\n{theirs}"
        self.comparisons += 1
        self.largest[kind] = max(self.largest[kind], difference)


PARITY = pytest.StashKey[Parity]()


@pytest.fixture
def parity(request):
    """The `Parity` of this run."""
    return request.config.stash.setdefault(PARITY, Parity())


@pytest.fixture(autouse=True)
def reproducible():
    """Weights that are the same at each run, on one thread: the arrays are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def pytest_terminal_summary(terminalreporter, config):
    parity = config.stash.get(PARITY, None)
    if parity is not None:
        version = sys.modules["torch"].__version__.split("+")[0]
        terminalreporter.write_line(
            f"parity with PyTorch {version}: {parity.comparisons} comparisons, largest difference "
            f"{parity.largest['float64']:.1e} in float64, {parity.largest['float32']:.1e} in float32")
