from unittest import mock

import pytest
from any_device import np
from hypothesis import given, settings
from hypothesis import strategies as st

from ch_lstm.better_rnnlm import BetterRnnlm
from common.device import threads
from common.fast import lstm as fast_lstm
from common.fast import speed_up
from common.fast.lstm import FastTimeLSTM
from common.layers.lstm import TimeLSTM
from common.layers.packing import Packing

pytestmark = pytest.mark.usefixtures("device")


def weights(D, H, dtype):
    rng = np.random.default_rng(0)
    return [0.5 * rng.standard_normal(shape).astype(dtype) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]


def run(layer, xs, states, dhs, dstates, lengths):
    layer.set_state(*states)
    hs = layer.forward(xs, lengths)
    final = list(layer.state)
    return [hs, *final, layer.backward(dhs, *dstates), layer.dh, layer.dc, *(grad.copy() for grad in layer.grads)]


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_it_equals_the_plain_layer_to_rounding(data, dtype):
    D, H = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    params = weights(D, H, dtype)
    plain, fast = TimeLSTM(*params, stateful=True), FastTimeLSTM(*params, stateful=True)
    for seed in range(2):  # the second time in buffers that are there already
        N, T = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
        lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=N, max_size=N))
        rng = np.random.default_rng(seed)
        xs, dhs = (rng.standard_normal((N, T, size)).astype(dtype) for size in (D, H))
        h, c, dh, dc = (rng.standard_normal((N, H)).astype(dtype) for _ in range(4))
        found, expected = (run(layer, xs, (h, c), dhs, (dh, dc), lengths) for layer in (fast, plain))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            tolerance = 1e-12 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def let_threads_share(monkeypatch, count):
    """Let layers far too small for it be walked by one or two threads, with Wh in several blocks."""
    monkeypatch.setattr(fast_lstm, "worker_count", lambda: count)
    for name, value in (("SHARED_PRODUCT", 0), ("LEAST_SEQUENCES", 1), ("BLOCK_STEPS", 1), ("LEAST_COLUMNS", 1),
                        ("UNPACKED", 40)):
        monkeypatch.setattr(fast_lstm, name, value)


@pytest.mark.parametrize("N", [2, 3, 5])
@pytest.mark.parametrize("lengths", [None, "equal", "falling", "one long"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_blocks_change_nothing(N, lengths, threads, monkeypatch):
    T, D, H = 6, 3, 4
    lengths = {"equal": [T] * N, "falling": list(range(1, N + 1)), "one long": [1] * (N - 1) + [T]}.get(lengths)
    rng = np.random.default_rng(1)
    xs, dhs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))
    states, dstates = rng.standard_normal((2, N, H)), rng.standard_normal((2, N, H))
    layers = [FastTimeLSTM(*weights(D, H, np.float64), stateful=True) for _ in range(2)]
    expected = run(layers[0], xs, states, dhs, dstates, lengths)
    let_threads_share(monkeypatch, threads)
    for one, other in zip(run(layers[1], xs, states, dhs, dstates, lengths), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cores, N, T, rows, columns, shares, width", [
    (2, 20, 500, 256, 1024, [slice(0, 10), slice(10, 20)], 256),
    (2, 21, 8, 256, 1024, [slice(0, 10), slice(10, 21)], 256),
    (2, 31, 8, 256, 1024, [slice(0, 15), slice(15, 31)], 128),  # the larger half has 16
    (2, 20, 35, 650, 2600, [slice(0, 10), slice(10, 20)], 130),
    (2, 20, 500, 1024, 256, [slice(0, 10), slice(10, 20)], 64),
    (2, 20, 35, 2600, 650, [slice(0, 10), slice(10, 20)], 650),  # blocks would be too narrow
    (2, 20, 35, 300, 1021, [slice(0, 10), slice(10, 20)], 1021),  # no width divides a prime number
    (2, 20, 7, 256, 1024, [slice(0, 20)], 1024),  # too few steps
    (2, 20, 35, 125, 500, [slice(0, 20)], 250),  # too small to be shared
    (2, 20, 35, 100, 500, [slice(0, 20)], 500),  # and not cut, since all of it is just small enough
    (2, 16, 8, 250, 1000, [slice(0, 8), slice(8, 16)], 500),  # just large enough
    (2, 7, 8, 1024, 4096, [slice(0, 7)], 128),  # a thread would have too few sequences
    (2, 8, 8, 1024, 4096, [slice(0, 4), slice(4, 8)], 128),
    (2, 1, 500, 1100, 4400, [slice(0, 1)], 4400),  # one row is multiplied without packing anyway
    (2, 2, 500, 1100, 4400, [slice(0, 2)], 440),
    (1, 20, 35, 256, 1024, [slice(0, 20)], 128),
    (8, 20, 35, 256, 1024, [slice(k, k + 4) for k in (0, 4, 8, 12, 16)], 512),
    (3, 20, 35, 256, 1024, [slice(0, 6), slice(6, 13), slice(13, 20)], 512),
])
def test_how_threads_share_a_layer(cores, N, T, rows, columns, shares, width, monkeypatch):
    layer, W = FastTimeLSTM(*weights(3, 4, np.float64)), np.empty((rows, columns))
    if np.backend != "numpy":  # threads and blocks are for a CPU
        shares, width = [slice(0, N)], columns
    monkeypatch.setattr(fast_lstm, "worker_count", lambda: cores)
    assert layer._share(Packing(N, T), W) == (shares, width)


@pytest.mark.parametrize("N, entered", [(1, 0), (4, 2)])
def test_blas_keeps_its_threads_unless_ours_share_the_sequences(N, entered, monkeypatch):
    let_threads_share(monkeypatch, 2)
    entered = entered if np.backend == "numpy" else 0  # threads are for a CPU
    one_blas_thread = mock.MagicMock()
    monkeypatch.setattr(fast_lstm, "one_blas_thread", one_blas_thread)
    layer = FastTimeLSTM(*weights(3, 4, np.float64))
    layer.backward(layer.forward(np.ones((N, 5, 3))))
    assert one_blas_thread.__enter__.call_count == one_blas_thread.__exit__.call_count == entered


def test_the_products_over_all_steps_are_shared_too(monkeypatch):
    let_threads_share(monkeypatch, 2)
    monkeypatch.setattr(threads, "worker_count", lambda: 2)
    monkeypatch.setattr(threads, "_blas_libraries", lambda: [mock.Mock(num_threads=2)])
    monkeypatch.setattr(threads, "LEAST_SHARE", 1)
    parts, run_parallel = [], threads.run_parallel

    def noted(function, *arguments):
        if function is threads._matmul:
            parts.append(len(arguments))
        return run_parallel(function, *arguments)

    monkeypatch.setattr(threads, "run_parallel", noted)
    layer = FastTimeLSTM(*weights(3, 4, np.float64))
    layer.backward(layer.forward(np.ones((4, 5, 3))))
    forward, backward = 1, 3  # x Wx; dx, dWx and dWh
    assert parts == ([2] * (forward + backward) if np.backend == "numpy" else [])  # threads are for a CPU


@pytest.mark.parametrize("N, T", [(2, 5), (1, 5), (2, 1), (1, 1)])
def test_what_was_returned_is_never_written_to(N, T):
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    rng = np.random.default_rng(1)
    xs, dhs, h, c = (rng.standard_normal(shape) for shape in ((N, T, 3), (N, T, 4), (N, 4), (N, 4)))
    kept = run(layer, xs, (h, c), dhs, (None, None), None)
    before = [array.copy() for array in kept]
    run(layer, -xs, (c, h), 2 * dhs, (h, c), None)
    assert all(bool((array == copy).all()) for array, copy in zip(kept, before))


def test_what_forward_keeps_lies_in_memory_for_the_next_call():
    layer = FastTimeLSTM(*weights(3, 4, np.float64))
    layer.forward(np.ones((2, 5, 3)))
    _, _, *arrays = layer.cache  # without the packing and the input
    assert all(any(np.shares_memory(array, memory) for memory in layer.buffers.memory.values()) for array in arrays)


@pytest.mark.parametrize("tile", [1, 40, 10**6])
def test_tiles_change_nothing(tile, monkeypatch):
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    rng = np.random.default_rng(1)
    xs, dhs = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 4))
    expected = run(layer, xs, (None, None), dhs, (None, None), [2, 5])
    monkeypatch.setattr(fast_lstm, "TILE", tile)
    for one, other in zip(run(layer, xs, (None, None), dhs, (None, None), [2, 5]), expected):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_second_backward_raises_and_a_refused_one_uses_up_nothing():
    layer = FastTimeLSTM(*weights(3, 4, np.float64))
    layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: dhs is"):
        layer.backward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: dc is"):
        layer.backward(np.ones((2, 5, 4)), dc=np.ones((2, 3)))
    layer.backward(np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: backward needs a forward"):
        layer.backward(np.ones((2, 5, 4)))


def test_a_refused_forward_leaves_nothing_that_backward_could_take_for_its_own():
    layer = FastTimeLSTM(*weights(3, 4, np.float64), stateful=True)
    layer.forward(np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: the carried state h is for a batch of 2, the input has 1"):
        layer.forward(np.ones((1, 5, 3)))
    with pytest.raises(ValueError, match=r"^FastTimeLSTM: backward needs a forward"):
        layer.backward(np.ones((2, 5, 4)))


def test_extreme_inputs_give_finite_numbers():
    layer = FastTimeLSTM(*weights(3, 4, np.float32))
    xs = np.full((2, 5, 3), 1000, dtype=np.float32)
    xs[0] = -1000
    assert np.isfinite(layer.forward(xs)).all()
    assert np.isfinite(layer.backward(np.ones((2, 5, 4), dtype=np.float32))).all()
    assert all(bool(np.isfinite(grad).all()) for grad in layer.grads)


def test_a_fast_model_takes_it_over_the_same_weights():
    plain, fast = BetterRnnlm(9, 4, 4, seed=0), speed_up(BetterRnnlm(9, 4, 4, seed=0))
    kind = FastTimeLSTM if np.backend == "numpy" else TimeLSTM
    assert [type(layer) for layer in fast.layers].count(kind) == 2
    for one, other in zip(plain.params, fast.params, strict=True):
        np.testing.assert_array_equal(one, other)
    assert fast.layers[2].params[0] is fast.params[1] and fast.layers[2].grads[0] is fast.grads[1]
    assert fast.layers[2].stateful
