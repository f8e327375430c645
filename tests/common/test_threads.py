import os
import signal
import threading

import numpy
import pytest

from common.threads import run_parallel


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
        signal.alarm(5)  # ends a child that waits for ever
        os._exit(run_parallel(pow, (2, 3), (3, 2)) != [8, 9])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
