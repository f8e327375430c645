"""The benchmark on a GPU runs; on the stand-in, at tiny sizes. Its figures mean nothing there."""
import sys
from unittest import mock

import gpu
import pytest
import strict_cupy
from products import operations, products_of

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.np import np


@pytest.fixture(autouse=True)
def numpy_again():
    yield
    np.use("numpy")


def test_it_prints_a_row_for_each_model(capsys):
    tiny = "--steps 1 --evaluate 20 --batch-size 2 --time-size 3 --vocab-size 12 --size 4".split()
    with mock.patch.dict(sys.modules, cupy=strict_cupy):
        assert gpu.main(tiny) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no GPU, CuPy 13 and 14, 2 x 3 tokens a step")
    assert [line.split()[0] for line in lines[2:]] == ["SimpleRnnlm", "Rnnlm", "BetterRnnlm"]


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err.startswith("make bench-gpu: the GPU needs CuPy, which is not installed: pip install")


@pytest.mark.parametrize("model, expected", [
    (Rnnlm(10_000, 100, 100), 3 * 2 * 700 * (100 * 400 + 100 * 400 + 100 * 10_000)),
    (BetterRnnlm(), 3 * 2 * 700 * (4 * 650 * 2600 + 650 * 10_000)),
], ids=["Rnnlm", "BetterRnnlm"])
def test_the_operations_of_the_products(model, expected):
    """Each matrix is met three times for each row: forwards, for the rows' gradients, for its own."""
    assert operations(products_of(model, 20, 35)) == expected
