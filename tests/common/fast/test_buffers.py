import numpy

from common.fast.buffers import Buffers


def test_a_name_keeps_its_memory_as_long_as_it_is_large_enough():
    buffers = Buffers()
    first = buffers.take("scores", (3, 4), "float32")
    assert first.shape == (3, 4) and first.dtype == numpy.float32 and first.flags.c_contiguous
    for shape in [(3, 4), (12,), (2, 2), (0, 5), ()]:
        again = buffers.take("scores", shape, "float32")
        assert again.shape == shape and again.flags.c_contiguous
        assert again.ctypes.data == first.ctypes.data
    larger = buffers.take("scores", (13,), "float32")
    assert not numpy.shares_memory(larger, first)
    assert numpy.shares_memory(buffers.take("scores", (3, 4), "float32"), larger)


def test_every_name_and_every_object_has_its_own_memory():
    buffers, others = Buffers(), Buffers()
    arrays = [buffers.take("a", (4,), "float64"), buffers.take("b", (4,), "float64"), others.take("a", (4,), "float64")]
    for value, array in enumerate(arrays):
        array[...] = value
    assert [array.tolist() for array in arrays] == [[0] * 4, [1] * 4, [2] * 4]
