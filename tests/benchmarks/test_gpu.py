"""The benchmark on a GPU runs; on the stand-in, at tiny sizes. Its figures mean nothing there."""
import sys
import types

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


TINY = "--steps 1 --evaluate 20 --batch-size 2 --time-size 3 --vocab-size 12 --size 4".split()


def test_it_prints_a_row_for_each_model(capsys, monkeypatch):
    # Not by mock.patch.dict, which would forget PyTorch afterwards, and that cannot be imported twice.
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    assert gpu.main(TINY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no GPU, CuPy 13 and 14, 2 x 3 tokens a step")
    assert [line.split()[0] for line in lines[2:]] == ["SimpleRnnlm", "Rnnlm", "BetterRnnlm"]


def test_a_profiler_counts_the_very_step_that_the_stand_in_counts(capsys, monkeypatch):
    def count_kernels(step):
        with strict_cupy.counting() as counts:
            step()
        return counts.launches, counts.transfers

    card = types.ModuleType("cupy")  # any module but the stand-in is taken for the real CuPy
    vars(card).update({name: getattr(strict_cupy, name) for name in [*dir(strict_cupy), "__version__"]})
    monkeypatch.setattr(gpu, "count_kernels", count_kernels)
    monkeypatch.setitem(sys.modules, "cupy", card)
    assert gpu.main(TINY) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 3
    for row in rows:
        operations, launched, transfers = map(int, row[4:7])
        assert operations == launched > 50 and transfers == 0


def test_a_figure_that_fails_leaves_the_others(capsys, monkeypatch):
    def fail(*args):
        raise RuntimeError("cuDNN is not what it was")

    monkeypatch.setattr(gpu, "torch_tokens_per_second", fail)
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    assert gpu.main(TINY) == 1
    *rows, problem = capsys.readouterr().out.splitlines()[2:]
    assert problem == "RuntimeError: cuDNN is not what it was"
    assert [row.split()[0] for row in rows] == ["SimpleRnnlm", "Rnnlm", "BetterRnnlm"]
    assert all(row.split()[-1] == "-" and float(row.split()[1]) > 0 for row in rows)


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
