import os
import signal
import sys
import threading

import numpy
import pytest
import threadpoolctl

from common.device import threads
from common.device.threads import one_blas_thread, product, run_each, run_parallel, slices


def test_there_are_as_many_workers_as_cores_that_the_process_may_use(monkeypatch):
    count = threads.worker_count.__wrapped__
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", {0: {1, 4, 5}}.get, raising=False)
    assert count() == 3
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS and Windows
    assert count() == 8
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert count() == 1


def test_results_stand_in_the_order_of_the_arguments():
    assert run_parallel(pow, (2, 3), (3, 2), (5, 1)) == [8, 9, 5]


def test_an_error_of_the_first_share_waits_for_the_others():
    """Or the others would go on writing into arrays that the next call may use."""
    may_go_on, ended = threading.Event(), []

    def share(number):
        if number == 0:
            threading.Timer(0.2, may_go_on.set).start()
            raise KeyboardInterrupt
        may_go_on.wait(10)
        ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        run_parallel(share, (0,), (1,))
    assert ended == [1]


def test_a_ctrl_c_while_the_others_are_waited_for_is_raised_once_they_have_ended(monkeypatch):
    may_go_on, ended, waits = threading.Event(), [], []
    wait = threads.wait

    def interrupted(futures):
        waits.append(list(ended))
        if len(waits) < 3:  # Ctrl-C, and once more
            raise KeyboardInterrupt
        may_go_on.set()
        return wait(futures)

    def share(number):
        if number:
            may_go_on.wait(10)
            ended.append(number)

    monkeypatch.setattr(threads, "wait", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parallel(share, (0,), (1,), (2,))
        assert sorted(ended) == [1, 2] and waits == [[], [], []]
    finally:
        may_go_on.set()


def test_the_first_share_is_the_callers_own():
    assert run_parallel(threading.get_ident, ()) == [threading.get_ident()]
    first, second = run_parallel(threading.get_ident, (), ())
    assert first == threading.get_ident() != second


def test_an_error_of_another_share_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_parallel(lambda a: 1 / a, (1,), (0,))


def test_errstate_holds_in_all_threads():
    ones, zeros = numpy.ones(3), numpy.zeros(3)
    with numpy.errstate(divide="raise"), pytest.raises(FloatingPointError):
        run_parallel(numpy.divide, (ones, ones), (ones, zeros))
    with numpy.errstate(divide="ignore"):  # a warning would be an error here
        _, result = run_parallel(numpy.divide, (ones, ones), (ones, zeros))
    assert numpy.isinf(result).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of threads that a child lacks
def test_a_forked_child_has_threads_of_its_own():
    run_parallel(pow, (2, 3), (3, 2))  # the parent has its threads now
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # seconds; ends a child that waits for ever
        os._exit(run_parallel(pow, (2, 3), (3, 2)) != [8, 9])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("n, parts, expected", [
    (7, 1, [slice(0, 7)]), (7, 2, [slice(0, 3), slice(3, 7)]), (4, 4, [slice(k, k + 1) for k in range(4)]),
    (9, 4, [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 9)])])
def test_slices(n, parts, expected):
    assert slices(n, parts) == expected


@pytest.mark.parametrize("items, threads, shares", [(5, 1, [5]), (5, 2, [2, 3]), (2, 2, [1, 1]), (0, 1, [0])])
def test_each_of_some_items_is_taken_once(items, threads, shares, monkeypatch):
    done, calls = [], []
    monkeypatch.setattr("common.device.threads.run_parallel", lambda function, *arguments: (
        calls.extend(len(some) for some, in arguments), run_parallel(function, *arguments)))
    run_each(done.append, range(items), threads)
    assert sorted(done) == list(range(items)) and calls == shares


class Blas:
    """A library that counts its threads."""

    def __init__(self, num_threads):
        self.num_threads = num_threads

    def set_num_threads(self, count):
        self.num_threads = count


@pytest.fixture
def libraries(monkeypatch):
    found = [Blas(4), Blas(3)]
    monkeypatch.setattr(threads, "_blas_libraries", lambda: found)
    monkeypatch.setattr(threads, "worker_count", lambda: 8)
    return found


def counts(libraries):
    return [library.num_threads for library in libraries]


def test_blas_has_one_thread_within_and_as_many_as_before_behind(libraries):
    with one_blas_thread:
        assert (counts(libraries), one_blas_thread.spared) == ([1, 1], 3)
        with one_blas_thread:
            assert (counts(libraries), one_blas_thread.spared) == ([1, 1], 3)
        assert (counts(libraries), one_blas_thread.spared) == ([1, 1], 3)
    assert (counts(libraries), one_blas_thread.spared) == ([4, 3], 1)


def test_blas_has_one_thread_while_several_calls_run(libraries):
    assert run_parallel(lambda: counts(libraries), (), ()) == [[1, 1], [1, 1]]
    assert run_parallel(lambda: counts(libraries), ()) == [[4, 3]]
    assert counts(libraries) == [4, 3]


def test_after_an_error_it_has_its_threads_too(libraries):
    @one_blas_thread
    def failing():
        assert counts(libraries) == [1, 1]
        raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert (counts(libraries), one_blas_thread.spared) == ([4, 3], 1)


def test_the_last_of_several_threads_gives_them_back(libraries):
    entered, may_leave = threading.Event(), threading.Event()

    def stay():
        with one_blas_thread:
            entered.set()
            assert may_leave.wait(10)

    other = threading.Thread(target=stay)
    other.start()
    assert entered.wait(10)
    with one_blas_thread:
        pass
    assert counts(libraries) == [1, 1]
    may_leave.set()
    other.join()
    assert counts(libraries) == [4, 3]


def test_products_have_no_more_threads_than_there_are_cores(libraries, monkeypatch):
    monkeypatch.setattr(threads, "worker_count", lambda: 2)
    with one_blas_thread:
        assert one_blas_thread.spared == 2


@pytest.mark.parametrize("where", ["one core", "another device"])
def test_where_nothing_is_shared_blas_keeps_its_threads(where, libraries, monkeypatch):
    if where == "one core":
        monkeypatch.setattr(threads, "worker_count", lambda: 1)
    else:
        monkeypatch.setattr(threads.np, "backend", "cupy")
    with one_blas_thread:
        assert (counts(libraries), one_blas_thread.spared) == ([4, 3], 1)
    assert counts(libraries) == [4, 3]


def test_a_blas_whose_threads_nothing_switches_has_all_of_a_product(monkeypatch):
    """As Apple's Accelerate, or any where threadpoolctl is missing."""
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert threads._blas_libraries.__wrapped__() == []
    monkeypatch.setattr(threads, "_blas_libraries", list)
    monkeypatch.setattr(threads, "worker_count", lambda: 8)
    with one_blas_thread:
        assert one_blas_thread.spared == 1


def test_the_blas_of_numpy_is_among_the_libraries():
    """Where it is one whose threads can be set: Apple's Accelerate is none."""
    loaded = {module["filepath"] for module in threadpoolctl.threadpool_info() if module["user_api"] == "blas"}
    assert {library.filepath for library in threads._blas_libraries.__wrapped__()} == loaded


@pytest.mark.parametrize("n, k, m, parts", [
    (6, 4, 3, [(2, 3)] * 3), (7, 4, 3, [(2, 3), (2, 3), (3, 3)]), (2, 4, 6, [(2, 2)] * 3),
    (5, 4, 5, [(1, 5), (2, 5), (2, 5)]), (2, 4, 1, [(1, 1)] * 2), (1, 4, 3, [(1, 1)] * 3),
    (1, 1, 1, [(1, 1)]), (0, 4, 3, [(0, 3)])])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_cut_along_its_longer_side(n, k, m, parts, given, transposed, libraries, monkeypatch):
    monkeypatch.setattr(threads, "LEAST_SHARE", 4)
    taken, matmul = [], numpy.matmul
    monkeypatch.setattr(threads.np, "matmul", lambda a, b, out: (
        taken.append((len(a), b.shape[1])), matmul(a, b, out=out))[1])
    rng = numpy.random.default_rng(0)
    a, b = rng.standard_normal((n, k), dtype="f"), rng.standard_normal((k, m), dtype="f")
    if transposed:
        a, b = numpy.asfortranarray(a), numpy.asfortranarray(b)
    out = numpy.full((n, m), numpy.nan) if given else None
    with one_blas_thread:
        result = product(a, b, out)
    assert result is out or not given
    assert result.dtype == (out if given else a).dtype
    numpy.testing.assert_allclose(result, a @ b, rtol=1e-5, atol=1e-6)
    assert sorted(taken) == parts
    taken.clear()
    numpy.testing.assert_array_equal(product(a, b), matmul(a, b))  # outside, BLAS has threads of its own
    assert taken == [(n, m)]


def test_outside_nothing_is_spared():
    assert threads.OneBlasThread().spared == 1
