import threading

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
