import pickle

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.base_model import BaseModel
from common.errors import InputError
from common.layers.dense import Affine

pytestmark = pytest.mark.usefixtures("device")


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


def test_a_model_collects_what_its_layers_have_layer_by_layer():
    model = BaseModel()
    assert model.params == model.grads == model.layers == []
    model.layers = [Affine(np.ones((2, 3)), np.ones(3)), Affine(np.ones((3, 1)), np.ones(1))]
    model.collect_params()
    for found, expected in ((model.params, [array for layer in model.layers for array in layer.params]),
                            (model.grads, [array for layer in model.layers for array in layer.grads])):
        assert len(found) == 4 and all(one is other for one, other in zip(found, expected, strict=True))


def test_a_model_that_fills_its_lists_itself_can_be_saved(tmp_path):
    class Bare(BaseModel):
        def __init__(self, value):
            self.params, self.grads = [np.full(3, value)], [np.zeros(3)]

    Bare(2.0).save_params(tmp_path / "bare.npz")
    bare = Bare(0.0)
    bare.load_params(tmp_path / "bare.npz")
    np.testing.assert_array_equal(bare.params[0], [2, 2, 2])


class WithHead(BaseModel):
    """A model with a layer, a model and an array of its own."""

    def __init__(self):
        self.layers = [Affine(np.ones((2, 3)), np.ones(3)), Rnnlm(1000, 4, 5), Affine(np.ones((5, 3)), np.ones(3))]
        self.collect_params()
        self.params.append(np.ones((5, 3)))


class Tied(BaseModel):
    def __init__(self):
        W = np.ones((7, 4))
        self.params, self.grads = [W, W.T, np.ones(3)], []


def test_a_model_shows_its_layers_and_their_numbers_of_parameters():
    assert repr(BetterRnnlm(1000, 4, 4, dropout_ratio=0.25)).splitlines() == [
        "BetterRnnlm                              parameters",
        "TimeEmbedding(V=1000, D=4)                    4,000",
        "TimeDropout(0.25)                                 0",
        "TimeLSTM(D=4, H=4, stateful)                    144",
        "TimeDropout(0.25)                                 0",
        "TimeLSTM(D=4, H=4, stateful)                    144",
        "TimeDropout(0.25)                                 0",
        "TimeAffine(D=4, M=1000), weights shared       1,000",
        "total                                         5,288"]
    assert repr(WithHead()).splitlines() == [
        "WithHead                        parameters",
        "Affine(D=2, H=3)                         9",
        "Rnnlm",
        "  TimeEmbedding(V=1000, D=4)         4,000",
        "  TimeLSTM(D=4, H=5, stateful)         200",
        "  TimeAffine(D=5, M=1000)            6,000",
        "Affine(D=5, H=3)                        18",
        "weights 5x3                             15",
        "total                               10,242"]


def test_a_model_shows_parameters_that_stand_in_no_layer():
    assert repr(Tied()).splitlines() == [
        "Tied         parameters",
        "weights 7x4          28",
        "weights 3             3",
        "total                31"]
    assert repr(Tied.__new__(Tied)).splitlines() == ["Tied   parameters", "total           0"]


def test_shared_parameters_count_once():
    assert Tied().count_params() == 31 and BetterRnnlm(1000, 4, 4).count_params() == 5288


def test_wrong_files_are_refused_and_change_nothing(tmp_path):
    model, untouched = Rnnlm(7, 4, 5, seed=0), Rnnlm(7, 4, 5, seed=0)
    with pytest.raises(InputError, match="there is no file"):
        model.load_params(tmp_path / "none.npz")
    Rnnlm(7, 4, 6, seed=1).save_params(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"other.npz is not of this Rnnlm: it holds 7x4, 4x24.*wanted 7x4, 4x20"):
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

    def fail(file, array, **options):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numpy.lib.format, "write_array", fail)
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        Rnnlm(7, 4, 5, seed=1).save_params(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_parameters_that_are_not_finite_are_not_saved(tmp_path, value):
    path = tmp_path / "weights.npz"
    model = Rnnlm(7, 4, 5, seed=0)
    model.save_params(path)
    before = path.read_bytes()
    model.params[2][1, 3] = value
    with pytest.raises(InputError, match=r"weights.npz is not written: Rnnlm holds parameters that are NaN"):
        model.save_params(path)
    assert path.read_bytes() == before


def book_file(path, model, dtype=np.float16, protocol=None):
    """Write a .pkl as the book does: a list with an array for each entry of `params`."""
    path.write_bytes(pickle.dumps([np.to_cpu(param).astype(dtype) for param in model.params], protocol))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("model", [Rnnlm, BetterRnnlm])
def test_the_books_pickles_are_read(tmp_path, model, dtype, protocol):
    first, second = model(7, 5, 5, seed=0), model(7, 5, 5, seed=1)
    book_file(tmp_path / "weights.pkl", first, dtype, protocol)
    held = list(second.params)
    second.load_params(tmp_path / "weights.pkl")
    for param, before, expected in zip(second.params, held, first.params):
        assert param is before and param.dtype == np.float32
        assert np.array_equal(param, expected.astype(dtype).astype(np.float32))


def test_without_a_name_npz_comes_before_pkl(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_npz, of_pkl, model = (Rnnlm(7, 4, 5, seed=seed) for seed in range(3))
    with pytest.raises(InputError, match=r"there is no file Rnnlm.npz or Rnnlm.pkl$"):
        model.load_params()
    book_file(tmp_path / "Rnnlm.pkl", of_pkl, np.float32)
    model.load_params()
    assert same(model, of_pkl)
    of_npz.save_params()
    model.load_params()
    assert same(model, of_npz)
    model.load_params("Rnnlm.pkl")
    assert same(model, of_pkl)


@pytest.mark.parametrize("name", ["weights.pkl", "weights", "weights.npz"])
def test_the_name_given_to_save_params_loads(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    first, second = Rnnlm(7, 4, 5, seed=0), Rnnlm(7, 4, 5, seed=1)
    first.save_params(name)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.npz"]
    second.load_params(name)
    assert same(first, second)
    with pytest.raises(InputError, match=r"there is no file none.pkl or none.npz$"):
        second.load_params("none.pkl")


def test_weights_that_are_shared_as_they_are_stand_twice_in_a_pickle(tmp_path):
    class Twice(BaseModel):
        def __init__(self):
            b, W = np.zeros(3), np.zeros((2, 3))
            self.params, self.grads = [b, W, W], [np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3))]

    model, b, W = Twice(), numpy.arange(3.0), numpy.arange(6.0).reshape(2, 3)
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps([b, W, W]))
    model.load_params(tmp_path / "weights.pkl")
    np.testing.assert_array_equal(model.params[0], b)
    np.testing.assert_array_equal(model.params[2], W)
    W[0, 0] = numpy.nan  # equal to itself, so that this is said of the file, and not that its two copies differ
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps([b, W, W]))
    with pytest.raises(InputError, match=r"weights.pkl holds parameters that are NaN or infinite$"):
        model.load_params(tmp_path / "weights.pkl")
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps([b, W, W + 1]))
    with pytest.raises(InputError, match="whose entries 1 and 2 of params are one: there they differ"):
        model.load_params(tmp_path / "weights.pkl")


def test_wrong_pickles_are_refused_and_change_nothing(tmp_path):
    model, untouched = BetterRnnlm(7, 5, 5, seed=0), BetterRnnlm(7, 5, 5, seed=0)
    good = [np.to_cpu(param) + 1 for param in model.params]
    untied = [*good[:-2], good[-2] + 1, good[-1]]
    for content, message in [
        (good[:-1], "is not of this BetterRnnlm: it holds .*, wanted 7x5, .*, 5x7, 7$"),
        (good + good[:1], "is not of this BetterRnnlm"),
        ([], "is not of this BetterRnnlm: it holds no arrays, wanted 7x5"),
        ([array.T for array in good], "is not of this BetterRnnlm: it holds 5x7, .*, wanted 7x5"),
        ([*good[:-1], good[-1].astype(np.int64)], "it holds an array of int64, wanted floats"),
        (untied, "whose entries 0 and 7 of params are one: there they differ"),
        ({"params": good}, "holds no list of arrays"),
        ([*good[:-1], 1.0], "holds no list of arrays"),
        (None, "holds no list of arrays"),
        ([*good[:-1], print], "is refused: it names builtins.print"),
        ([*good[:-1], numpy.array([None])], "is refused: it holds elements of type 'O8'"),
    ]:
        (tmp_path / "weights.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=f"weights.pkl .*{message}"):
            model.load_params(tmp_path / "weights.pkl")
        assert same(model, untouched)
    book_file(tmp_path / "weights.pkl", untouched)
    (tmp_path / "weights.pkl").write_bytes((tmp_path / "weights.pkl").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"weights.pkl cannot be read, it is damaged"):
        model.load_params(tmp_path / "weights.pkl")
    assert same(model, untouched)


def test_an_npz_of_something_else_is_refused(tmp_path):
    model, untouched = Rnnlm(7, 4, 5, seed=0), Rnnlm(7, 4, 5, seed=0)
    good = {f"param_{i}": np.to_cpu(param) + 1 for i, param in enumerate(model.params)}
    for arrays, message in [
        ({"others": numpy.zeros(2)}, "holds no parameters as save_params writes them"),
        (good | {"others": numpy.zeros(2)}, "holds no parameters as save_params writes them"),
        (good | {"param_5": numpy.full(20, "text")}, "param_5.npy is no array of numbers"),
        (good | {"param_3": numpy.zeros(20, dtype=complex)}, "param_3.npy is no array of numbers"),
        (good | {"param_3": numpy.zeros((4, 20))}, "is not of this Rnnlm"),
        (good | {"param_3": numpy.full(20, numpy.inf)}, "holds parameters that are NaN or infinite"),
        (good | {"param_3": numpy.full(20, 1e300)}, "holds parameters that are NaN or infinite"),
    ]:
        numpy.savez(tmp_path / "other.npz", **arrays)
        with pytest.raises(InputError, match=f"other.npz .*{message}"):
            model.load_params(tmp_path / "other.npz")
        assert same(model, untouched)


def test_arrays_that_are_no_floats_are_refused_before_anything_is_written():
    class Bare(BaseModel):
        def __init__(self):
            self.params, self.grads = [np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(3)]

    model = Bare()
    for wrong in (numpy.zeros(3, dtype=complex), numpy.array(["a", "b", "c"]), numpy.arange(3)):
        with pytest.raises(InputError, match=f"file is not of this Bare: it holds an array of {wrong.dtype}, wanted"):
            model.assign_params([numpy.ones(2), wrong], "file")
        assert not model.params[0].any()
