import numpy
import pytest
from any_device import np

from common.device.ids import Ids, ids_array, ids_on_host, known_ids
from common.layers.dense import Embedding
from common.layers.losses import SoftmaxWithLoss

pytestmark = pytest.mark.usefixtures("device")

IDS = [[3, 1, 4], [1, 5, 2]]


@pytest.mark.parametrize("there", [True, False])
def test_ids_go_to_the_device_with_their_range(there):
    ids = known_ids(np.array(IDS) if there else numpy.array(IDS))
    assert isinstance(ids_array(ids), np.ndarray) and ids_on_host(ids).tolist() == IDS
    if np.backend == "numpy":
        assert isinstance(ids, np.ndarray)
    else:
        assert (ids.low, ids.high) == (1, 5)
        assert known_ids(ids) is ids


def test_parts_keep_the_range():
    ids = Ids(np.array(IDS), 1, 5)
    index = np.array([1, 0])
    parts = [ids[0], ids[:, 1:], ids[None], ids[index], ids.reshape(-1), ids.sorted_by(index), *ids]
    expected = [IDS[0], [[1, 4], [5, 2]], [IDS], IDS[::-1], IDS[0] + IDS[1], IDS, *IDS]
    assert [part.array.tolist() for part in parts] == expected
    assert {(part.low, part.high) for part in parts} == {(1, 5)}
    assert (ids.shape, ids.ndim, ids.dtype, len(ids)) == ((2, 3), 2, np.array(IDS).dtype, 2)
    assert ids[:, 1:].order is None and ids.sorted_by(index).order is index


@pytest.mark.parametrize("low, high, inside", [(1, 5, True), (0, 6, True), (2, 5, False), (1, 4, False)])
def test_the_range_answers_without_a_look(low, high, inside):
    assert Ids(np.array(IDS), 1, 5).lie_in(low, high) is inside


def test_no_ids_have_no_range():
    ids = known_ids(numpy.zeros((0, 3), dtype=int))
    assert isinstance(ids, np.ndarray)  # not `Ids`, which have a smallest and a largest one
    with pytest.raises(ValueError, match=r"^Embedding: ids is int64 of shape \(0, 3\), .* no axis may be empty$"):
        Embedding(np.ones((7, 4))).forward(ids)


def test_layers_take_them_as_they_take_arrays():
    rng = np.random.default_rng(0)
    W, x, dout = (rng.standard_normal(shape) for shape in ((7, 4), (6, 7), (2, 3, 4)))
    array = np.array(IDS)
    known, order = Ids(array, 1, 5), np.argsort(array.reshape(-1), kind="stable")
    found = []
    for ids in (array, known, known.sorted_by(order)):
        embedding, loss = Embedding(W), SoftmaxWithLoss()
        found.append([embedding.forward(ids), embedding.backward(dout), *embedding.grads,
                      loss.forward(x, ids.reshape(-1)), loss.backward()])
    for others in found[1:]:
        assert all(one is other is None or bool((one == other).all()) for one, other in zip(found[0], others))


def test_a_known_range_that_is_too_large_is_looked_into():
    wide, wrong = Ids(np.array([2, 3]), 0, 99), Ids(np.array([2, 99]), 2, 99)
    embedding, loss, x = Embedding(np.ones((7, 4))), SoftmaxWithLoss(), np.ones((2, 7))
    assert embedding.forward(wide).shape == (2, 4)
    assert float(loss.forward(x, wide)) == pytest.approx(numpy.log(7))
    with pytest.raises(ValueError, match=r"^Embedding: ids go from 2 to 99, wanted 0 to 6$"):
        embedding.forward(wrong)
    with pytest.raises(ValueError, match=r"^SoftmaxWithLoss: targets go from 2 to 99, wanted 0 to 6$"):
        loss.forward(x, wrong)


@pytest.mark.parametrize("ignore_label, low", [(-1, -1), (0, 0), (6, 2)])
def test_the_target_that_does_not_count_may_be_in_the_range(ignore_label, low):
    loss, x = SoftmaxWithLoss(), np.random.default_rng(0).standard_normal((3, 7))
    loss.ignore_label = ignore_label
    ts = np.array([2, ignore_label, 6])
    assert float(loss.forward(x, Ids(ts, low, 6))) == float(loss.forward(x, ts))
