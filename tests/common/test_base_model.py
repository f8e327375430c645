import numpy as np
import pytest

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.base_model import BaseModel
from common.errors import InputError


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.params, b.params, strict=True))


@pytest.mark.parametrize("name", [None, "weights.npz", "weights.pkl"])
def test_saved_parameters_come_back(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    first, second = BetterRnnlm(7, 5, 5, seed=0), BetterRnnlm(7, 5, 5, seed=1)
    first.save_params(name)
    assert (tmp_path / ("BetterRnnlm.npz" if name is None else "weights.npz")).exists()
    assert not same(first, second)
    held = second.params[0]
    second.load_params(None if name is None else "weights.npz")
    assert same(first, second) and second.params[0] is held
    assert np.shares_memory(second.params[0], second.params[-2])


def test_a_model_that_fills_its_lists_itself_can_be_saved(tmp_path):
    class Bare(BaseModel):
        def __init__(self, value):
            self.params, self.grads = [np.full(3, value)], [np.zeros(3)]

    Bare(2.0).save_params(tmp_path / "bare.npz")
    bare = Bare(0.0)
    bare.load_params(tmp_path / "bare.npz")
    np.testing.assert_array_equal(bare.params[0], [2, 2, 2])


def test_wrong_files_are_refused_and_change_nothing(tmp_path):
    model, untouched = Rnnlm(7, 4, 5, seed=0), Rnnlm(7, 4, 5, seed=0)
    with pytest.raises(InputError, match="there is no file"):
        model.load_params(tmp_path / "none.npz")
    Rnnlm(7, 4, 6, seed=1).save_params(tmp_path / "other.npz")
    with pytest.raises(InputError, match="other.npz is not of this Rnnlm: it holds 7x4, 4x24.*wanted 7x4, 4x20"):
        model.load_params(tmp_path / "other.npz")
    Rnnlm(7, 4, 5, seed=1).save_params(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read, it is damaged"):
        model.load_params(tmp_path / "cut.npz")
    assert same(model, untouched)


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    Rnnlm(7, 4, 5, seed=0).save_params(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(InputError, match="cannot write .*: No space left on device"):
        Rnnlm(7, 4, 5, seed=1).save_params(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["weights.npz"]
