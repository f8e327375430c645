import numpy
import pytest
from hypothesis import given, strategies as st

from common.batches import StripBatches, WindowBatches, WindowPairs
from common.errors import InputError


def strips_of(n, batch_size, time_size):
    corpus = numpy.arange(n + 1)
    return StripBatches(corpus[:-1], corpus[1:], batch_size, time_size)


def test_strips_as_in_the_picture():
    batches = strips_of(12, 2, 3)
    assert len(batches) == 2
    xs, ts = batches.next_batch()
    assert xs.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert ts.tolist() == [[1, 2, 3], [7, 8, 9]]
    xs, ts = batches.next_batch()
    assert xs.tolist() == [[3, 4, 5], [9, 10, 11]]
    xs, ts = batches.next_batch()
    assert xs.tolist() == [[6, 7, 8], [0, 1, 2]]


def test_strips_go_on_inside_a_batch_where_the_corpus_ends():
    batches = strips_of(7, 2, 3)  # strips start at 0 and 3, one batch an epoch
    assert len(batches) == 1
    got = [batches.next_batch()[0].tolist() for _ in range(3)]
    assert got == [[[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [6, 0, 1]], [[6, 0, 1], [2, 3, 4]]]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_strips_follow_the_formula(batch_size, time_size, more):
    n = batch_size * time_size + more
    batches = strips_of(n, batch_size, time_size)
    for step in range(2 * len(batches) + 1):
        xs, ts = batches.next_batch()
        assert xs.shape == ts.shape == (batch_size, time_size)
        for strip in range(batch_size):
            for t in range(time_size):
                assert xs[strip, t] == (strip * (n // batch_size) + step * time_size + t) % n
        assert (ts == xs + 1).all()


def test_setting_the_position_resumes():
    first, second = strips_of(30, 2, 4), strips_of(30, 2, 4)
    for _ in range(9):
        first.next_batch()
    second.position = first.position
    assert numpy.array_equal(first.next_batch(), second.next_batch())
    assert 0 <= first.position < 30


def test_batches_keep_the_dtype_and_are_not_views():
    xs = numpy.arange(12, dtype=numpy.int32)
    got, _ = StripBatches(xs, xs, 1, 12).next_batch()
    assert got.dtype == numpy.int32 and not numpy.shares_memory(got, xs)


@pytest.mark.parametrize("n, batch_size, time_size, hint", [
    (10, 2, 6, "time_size at most 5"),
    (3, 4, 2, "batch_size at most 3"),
    (0, 1, 1, "longer text"),
])
def test_a_short_corpus_is_refused_with_what_would_fit(n, batch_size, time_size, hint):
    message = f"{n} ids do not fill one batch of {batch_size} x {time_size}.*{hint}"
    with pytest.raises(InputError, match=message):
        strips_of(n, batch_size, time_size)


def test_a_corpus_of_just_one_batch_is_enough():
    assert len(strips_of(12, 2, 6)) == 1


@pytest.mark.parametrize("batch_size, time_size", [(0, 1), (1, 0)])
def test_strip_sizes_below_one_are_refused(batch_size, time_size):
    with pytest.raises(InputError, match="at least 1"):
        strips_of(10, batch_size, time_size)


def test_inputs_and_targets_must_belong_together():
    with pytest.raises(InputError, match=r"\(4,\) and \(3,\)"):
        StripBatches(numpy.arange(4), numpy.arange(3), 1, 1)


IDS = numpy.array([0, 1, 3, 4, 0, 1, 5, 2])


def test_eight_ids_have_five_windows_of_three():
    pairs = [(x.tolist(), t.tolist()) for x, t in WindowPairs(IDS, 3)]
    assert pairs == [
        ([0, 1, 3], [1, 3, 4]), ([1, 3, 4], [3, 4, 0]), ([3, 4, 0], [4, 0, 1]), ([4, 0, 1], [0, 1, 5]),
        ([0, 1, 5], [1, 5, 2])]
    assert len(WindowPairs(IDS, 3)) == 5


def test_a_pair_beyond_the_last_is_an_index_error():
    with pytest.raises(IndexError):
        WindowPairs(IDS, 3)[5]


def test_windows_in_order_keep_the_short_last_batch():
    batches = WindowBatches(IDS, window=3, batch_size=2)
    got = list(batches)
    assert len(got) == len(batches) == 3
    assert [x.shape for x, _ in got] == [(2, 3), (2, 3), (1, 3)]
    assert numpy.array_equal(numpy.concatenate([x for x, _ in got]), WindowPairs(IDS, 3).xs)
    assert numpy.array_equal(numpy.concatenate([t for _, t in got]), WindowPairs(IDS, 3).ts)
    assert len(WindowBatches(IDS, window=3, batch_size=5)) == 1


def epoch_of(batches):
    return [(tuple(x), tuple(t)) for xs, ts in batches for x, t in zip(xs.tolist(), ts.tolist())]


def test_shuffled_windows_are_the_same_pairs_in_another_order():
    corpus = numpy.arange(50)
    batches = WindowBatches(corpus, window=4, batch_size=7, shuffle=True, seed=3)
    in_order = epoch_of(WindowBatches(corpus, window=4, batch_size=7))
    first, second = epoch_of(batches), epoch_of(batches)
    assert first != in_order and first != second
    assert sorted(first) == sorted(second) == in_order


def test_the_seed_gives_the_order_of_every_epoch():
    def epochs(seed):
        batches = WindowBatches(numpy.arange(50), shuffle=True, seed=seed)
        return [epoch_of(batches) for _ in range(2)]

    assert epochs(3) == epochs(3) != epochs(4)
    assert epochs(None) != epochs(None)


def test_an_epoch_can_be_dealt_again():
    batches = WindowBatches(numpy.arange(50), shuffle=True, seed=3)
    _, second = epoch_of(batches), epoch_of(batches)
    batches.position = len(batches)
    assert epoch_of(batches) == second


def test_setting_the_position_resumes_in_the_middle_of_an_epoch():
    first, second = (WindowBatches(numpy.arange(50), batch_size=8, shuffle=True, seed=3) for _ in range(2))
    for _ in range(len(first) + 2):
        first.next_batch()
    second.position = first.position
    assert epoch_of(first) == epoch_of(second)
    assert first.position == 2 * len(first)


def test_batches_of_windows_are_copies():
    corpus = numpy.arange(10)
    for x, t in WindowBatches(corpus, window=3):
        x[:] = t[:] = 0
    assert corpus.tolist() == list(range(10))


def test_windows_need_one_id_more_than_their_size():
    assert len(WindowPairs(numpy.arange(4), 3)) == 1
    with pytest.raises(InputError, match="at least 4 ids"):
        WindowPairs(numpy.arange(3), 3)


@pytest.mark.parametrize("options", [{"window": 0}, {"batch_size": 0}])
def test_window_sizes_below_one_are_refused(options):
    with pytest.raises(InputError, match="at least 1"):
        WindowBatches(IDS, **options)
