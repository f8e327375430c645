import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.device.ids import Ids, ids_array, ids_on_host
from common.errors import InputError
from common.np import np as backend
from common.optimizer import SGD
from common.training.batches import RandomStripBatches, StripBatches, WindowBatches, WindowPairs
from common.training.epochs import train_epochs

pytestmark = pytest.mark.usefixtures("device")


def strips_of(n, batch_size, time_size):
    corpus = numpy.arange(n + 1)
    return StripBatches(corpus[:-1], corpus[1:], batch_size, time_size)


def next_lists(batches):
    """The next batch, inputs and targets, as lists."""
    return [ids_on_host(ids).tolist() for ids in batches.next_batch()]


def test_strips_as_in_the_picture():
    batches = strips_of(12, 2, 3)
    assert len(batches) == 2
    assert next_lists(batches) == [[[0, 1, 2], [6, 7, 8]], [[1, 2, 3], [7, 8, 9]]]
    assert next_lists(batches)[0] == [[3, 4, 5], [9, 10, 11]]
    assert next_lists(batches)[0] == [[6, 7, 8], [0, 1, 2]]


def test_strips_go_on_inside_a_batch_where_the_corpus_ends():
    batches = strips_of(7, 2, 3)  # strips start at 0 and 3, one batch an epoch
    assert len(batches) == 1
    got = [next_lists(batches)[0] for _ in range(3)]
    assert got == [[[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [6, 0, 1]], [[6, 0, 1], [2, 3, 4]]]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_strips_follow_the_formula(batch_size, time_size, more):
    n = batch_size * time_size + more
    batches = strips_of(n, batch_size, time_size)
    for step in range(2 * len(batches) + 1):
        xs, ts = (ids_on_host(ids) for ids in batches.next_batch())
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
    assert next_lists(first) == next_lists(second)
    assert 0 <= first.position < 30


def test_strips_keep_the_dtype_and_leave_the_corpus_alone():
    corpus = np.arange(12, dtype=np.int32)
    xs, _ = StripBatches(corpus, corpus, 1, 12).next_batch()
    assert xs.dtype == np.int32 and not np.shares_memory(ids_array(xs), corpus)
    if np.backend == "numpy":
        with pytest.raises(ValueError, match="read-only"):
            xs[0, 0] = 5


def assert_sorted_by_its_order(xs):
    ids, order = ids_on_host(xs).reshape(-1), np.to_cpu(xs.order)
    assert order.tolist() == numpy.argsort(ids, kind="stable").tolist()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 20), st.integers(0, 100))
def test_on_a_gpu_each_batch_comes_with_its_range_and_its_order(batch_size, time_size, more, start):
    corpus = numpy.random.default_rng(0).integers(3, 7, batch_size * time_size + more + 1)
    strips = StripBatches(corpus[:-1], corpus[1:], batch_size, time_size)
    strips.position = start % (len(corpus) - 1)
    windows = WindowBatches(corpus, min(3, len(corpus) - 1), batch_size, shuffle=True, seed=0)
    for batches in (strips, windows):
        for _ in range(2 * len(batches) + 1):
            xs, ts = batches.next_batch()
            if np.backend == "numpy":
                assert isinstance(xs, np.ndarray) and isinstance(ts, np.ndarray)
                continue
            assert isinstance(ts, Ids) and 3 <= xs.low <= xs.high <= 6
            assert_sorted_by_its_order(xs)


def test_equal_ids_of_a_sorted_batch_keep_their_order():
    corpus = Ids(np.to_device(numpy.random.default_rng(0).integers(3, 7, 101)), 3, 6)
    for batches in (StripBatches(corpus[:-1], corpus[1:], 20, 5), WindowBatches(corpus, 5, 20),
                    RandomStripBatches(corpus[:-1], corpus[1:], 20, 5)):
        assert_sorted_by_its_order(batches.next_batch()[0])


def test_on_a_gpu_the_batches_of_an_epoch_are_sorted_at_once(monkeypatch):
    sorted_at_once, sort = [], np.argsort

    def counting(array, **options):
        sorted_at_once.append(array.shape)
        return sort(array, **options)

    monkeypatch.setattr(backend, "argsort", counting)
    strips = strips_of(30, 2, 4)
    windows = WindowBatches(numpy.arange(30), window=5, batch_size=8, shuffle=True, seed=0)
    for batches, shapes in ((strips, [(3, 8)] * 2), (windows, [(3, 40), (1, 5)] * 2)):
        sorted_at_once.clear()
        for _ in range(2 * len(batches)):
            batches.next_batch()
        assert sorted_at_once == ([] if np.backend == "numpy" else shapes)


@pytest.mark.parametrize("n, batch_size, time_size, hint", [
    (10, 2, 6, "a time size of at most 5 \\(--time-size\\)"),
    (3, 4, 2, "a batch size of at most 3 \\(--batch-size\\)"),
    (4, 4, 2, "a time size of at most 1 "),
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
    with pytest.raises(InputError, match=r"\(4, 1\) and \(4, 1\)"):
        StripBatches(numpy.zeros((4, 1), int), numpy.zeros((4, 1), int), 1, 1)


# --- strips of random lengths

def random_strips(n, batch_size, time_size, seed=0):
    corpus = numpy.arange(n + 1)
    return RandomStripBatches(corpus[:-1], corpus[1:], batch_size, time_size, seed)


def steps_of(batches):
    return batches.next_batch()[0].shape[1]


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 60), st.integers(0, 5))
def test_an_epoch_of_random_strips_deals_each_id_of_every_strip_once_in_order(batch_size, time_size, more, seed):
    n = batch_size * time_size + more
    batches, strip, read = random_strips(n, batch_size, time_size, seed), n // batch_size, 0
    for epoch in range(3):
        count, dealt = len(batches), []
        for xs, ts in batches:
            xs, ts = ids_on_host(xs), ids_on_host(ts)
            assert xs.shape == ts.shape and (ts == xs + 1).all()
            dealt.append(xs)
        assert len(dealt) == count and [xs.shape[1] for xs in dealt] == batches.lengths(epoch).tolist()
        whole = numpy.concatenate(dealt, axis=1)  # (N, strip)
        expected = (numpy.arange(batch_size)[:, None] * strip + numpy.arange(strip) + read) % n
        assert numpy.array_equal(whole, expected)
        read += strip
        assert batches.position == read


def test_what_stands_behind_the_last_strip_is_dealt_in_the_next_epoch():
    batches = random_strips(203, 4, 20)  # strips of 50, 3 ids behind the last
    first, second = ({*numpy.concatenate([ids_on_host(xs).ravel() for xs, _ in batches]).tolist()} for _ in range(2))
    assert first == {*range(200)} and second >= {200, 201, 202}


def test_random_lengths_are_those_of_the_paper():
    batches = random_strips(400_000, 1, 70)
    lengths = batches.lengths(0)[:-1]  # the last one takes what is left
    halves = lengths < 52
    assert lengths.min() >= 5
    assert float(halves.mean()) == pytest.approx(0.05, abs=0.01)
    for part, usual in ((lengths[~halves], 70), (lengths[halves], 35)):
        assert float(part.mean()) == pytest.approx(usual - 0.5, abs=1)  # whole numbers, cut down
        assert float(part.std()) == pytest.approx(5, abs=0.5)
    assert abs(numpy.corrcoef(lengths[1:], lengths[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize("time_size", [1, 2, 5, 8])
def test_random_lengths_are_at_least_five_where_there_are_as_many_steps(time_size):
    lengths = random_strips(1000, 1, time_size).lengths(0)
    assert lengths[:-1].min() == 5 and 1 <= lengths[-1] and lengths.sum() == 1000
    assert random_strips(3, 1, 1).lengths(0).tolist() == [3]


def test_lengths_depend_on_the_seed_and_the_epoch_only():
    one, other = random_strips(500, 2, 20), random_strips(500, 2, 20)
    for _ in range(7):
        one.next_batch()
    assert numpy.array_equal(one.lengths(3), other.lengths(3))
    assert one.lengths(0).tolist() != one.lengths(1).tolist()
    assert one.lengths(0).tolist() != random_strips(500, 2, 20, seed=1).lengths(0).tolist()
    assert random_strips(500, 2, 20, None).lengths(0).tolist() != random_strips(500, 2, 20, None).lengths(0).tolist()
    with pytest.raises(ValueError, match="read-only"):
        one.lengths(0)[0] = 1


def test_random_strips_resume_at_their_position():
    whole = random_strips(300, 3, 20)
    for _ in range(25):
        resumed, again = random_strips(300, 3, 20), random_strips(300, 3, 20)
        resumed.position = again.position = whole.position
        assert len(resumed) == len(whole)
        rest = [ids_on_host(xs).tolist() for xs, _ in again]  # of the epoch
        expected = [next_lists(whole)[0] for _ in range(len(rest))]
        assert rest == expected == [next_lists(resumed)[0] for _ in range(len(rest))]
        assert whole.position % 100 == 0
        assert next_lists(resumed) == next_lists(whole)


def test_a_position_within_a_batch_goes_on_to_its_end():
    batches = random_strips(300, 3, 20)
    first, second = batches.lengths(0)[:2].tolist()
    batches.position = first + 2
    assert steps_of(batches) == second - 2
    batches.position = 1  # back, in the same epoch
    assert [steps_of(batches), steps_of(batches)] == [first - 1, second]


def test_the_learning_rate_follows_the_length_of_each_batch():
    class Recorder:
        params, grads, seen = [], [], []

        def forward(self, xs, ts):
            self.shape = xs.shape
            return np.zeros(())

        def backward(self):
            pass

    model, optimizer, batches = Recorder(), SGD(30.0), random_strips(400, 2, 20)
    assert batches.lr_factor == 1

    def before_update(loss, targets):
        optimizer.lr = 30.0 * batches.lr_factor
        model.seen.append((model.shape[1], optimizer.lr))

    assert list(train_epochs(model, optimizer, batches, 2, before_update=before_update)) == [0, 0]
    assert [steps for steps, _ in model.seen] == [*batches.lengths(0), *batches.lengths(1)]
    assert [lr for _, lr in model.seen] == pytest.approx([30 * steps / 20 for steps, _ in model.seen])


def test_random_strips_are_sorted_an_epoch_at_once_on_a_gpu(monkeypatch):
    sorted_at_once, sort = [], np.argsort
    corpus = numpy.random.default_rng(0).integers(3, 7, 301)
    batches = RandomStripBatches(corpus[:-1], corpus[1:], 3, 20, seed=0)

    def counting(array, **options):
        sorted_at_once.append(len(array))
        return sort(array, **options)

    monkeypatch.setattr(backend, "argsort", counting)
    for epoch in range(2):
        sorted_at_once.clear()
        for xs, ts in batches:
            if np.backend == "numpy":
                assert isinstance(xs, np.ndarray) and not sorted_at_once
                continue
            assert sorted_at_once == [3 * steps for steps in batches.lengths(epoch)]
            assert isinstance(ts, Ids) and 3 <= xs.low <= xs.high <= 6
            assert np.to_cpu(xs.order).tolist() == numpy.argsort(ids_on_host(xs).reshape(-1), kind="stable").tolist()


def test_a_corpus_too_short_for_random_strips_is_refused_as_for_others():
    with pytest.raises(InputError, match="10 ids do not fill one batch of 2 x 6"):
        random_strips(10, 2, 6)


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


def test_by_default_a_window_has_5_ids_and_a_batch_128_windows():
    assert WindowPairs(numpy.arange(200)).xs.shape == (195, 5)
    assert WindowBatches(numpy.arange(200)).next_batch()[0].shape == (128, 5)


def test_windows_in_order_keep_the_short_last_batch():
    batches = WindowBatches(IDS, window=3, batch_size=2)
    got = list(batches)
    assert len(got) == len(batches) == 3
    assert [x.shape for x, _ in got] == [(2, 3), (2, 3), (1, 3)]
    for i, expected in enumerate((WindowPairs(IDS, 3).xs, WindowPairs(IDS, 3).ts)):
        assert numpy.array_equal(numpy.concatenate([ids_on_host(pair[i]) for pair in got]), expected)
    assert len(WindowBatches(IDS, window=3, batch_size=5)) == 1


def epoch_of(batches):
    return [(tuple(x), tuple(t)) for batch in batches for x, t in zip(*(ids_on_host(ids).tolist() for ids in batch))]


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
    corpus = np.arange(10)
    for xs, ts in WindowBatches(corpus, window=3):
        ids_array(xs)[:] = ids_array(ts)[:] = 0
    assert corpus.tolist() == list(range(10))


def test_windows_need_one_id_more_than_their_size():
    assert len(WindowPairs(numpy.arange(4), 3)) == 1
    with pytest.raises(InputError, match="at least 4 ids"):
        WindowPairs(numpy.arange(3), 3)


@pytest.mark.parametrize("options", [{"window": 0}, {"batch_size": 0}])
def test_window_sizes_below_one_are_refused(options):
    with pytest.raises(InputError, match="at least 1"):
        WindowBatches(IDS, **options)


def test_a_pass_over_strips_is_an_epoch_and_the_next_goes_on_where_it_ended():
    ids = np.arange(13)
    batches, one_by_one = StripBatches(ids, ids + 20, 2, 3), StripBatches(ids, ids + 20, 2, 3)
    for _ in range(3):
        dealt = list(batches)
        assert len(dealt) == len(batches) == 2
        for pair in dealt:
            for got, wanted in zip(pair, one_by_one.next_batch(), strict=True):
                np.testing.assert_array_equal(ids_array(got), ids_array(wanted))
    assert batches.position == one_by_one.position == 3 * 2 * 3 % 13


# --- what a training run asks


def windows_of(n, batch_size, window):
    return WindowBatches(numpy.arange(n + window), window, batch_size)


@pytest.mark.parametrize("make", [strips_of, random_strips, windows_of])
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 30))
def test_batches_say_beforehand_what_walking_them_shows(make, batch_size, time_size, more):
    batches = make(batch_size * time_size + more, batch_size, time_size)
    dealt, targets, epochs = 0, [0], 3
    for epoch in range(epochs):
        assert batches.of_epochs(epoch) == dealt
        done, of_epoch = 0, len(batches)
        while batches.left(done):
            assert batches.left(done) == of_epoch - done
            _, ts = batches.next_batch()
            assert batches.least_targets <= numpy.prod(ts.shape) <= batches.most_targets
            targets.append(targets[-1] + int(numpy.prod(ts.shape)))
            done, dealt = done + 1, dealt + 1
            assert batches.position_after(dealt) == batches.position
        assert done == of_epoch
    assert batches.of_epochs(epochs) == dealt
    for first in range(dealt + 1):
        for stop in range(first, dealt + 1):
            assert batches.targets_between(first, stop) == targets[stop] - targets[first]
