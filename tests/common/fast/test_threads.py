import os
import signal
import threading

import numpy
import pytest

from common.fast import threads
from common.fast.threads import run_parallel


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
