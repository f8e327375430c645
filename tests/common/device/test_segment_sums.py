import numpy
import pytest
from any_device import np
from hypothesis import given
from hypothesis import strategies as st

from common.device.segment_sums import segment_totals, sum_rows_by_id

pytestmark = pytest.mark.usefixtures("device")


def random_rows(n, D=3, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n, D)).astype(dtype)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_each_row_of_the_sums_is_that_of_its_id(ids):
    ids, sums = np.array(ids, dtype=int), np.full((7, 3), np.nan)
    rows = random_rows(len(ids))
    sum_rows_by_id(ids, rows, np.argsort(ids, kind="stable"), sums)
    expected = numpy.zeros((7, 3))
    numpy.add.at(expected, np.to_cpu(ids), np.to_cpu(rows))
    np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-14)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_each_row_of_a_segment_ends_with_the_total_of_its_segment(sizes):
    ids = np.array(numpy.repeat(numpy.arange(len(sizes)), sizes))
    rows = random_rows(len(ids))
    starts = numpy.cumsum([0, *sizes[:-1]])
    expected = numpy.repeat(numpy.add.reduceat(np.to_cpu(rows), starts, axis=0), sizes, axis=0)
    np.testing.assert_allclose(segment_totals(ids, rows), expected, rtol=1e-12, atol=1e-14)


def test_totals_of_single_precision_are_as_exact_as_it_is():
    n = 5000
    rows = random_rows(n, dtype=np.float32)
    found = segment_totals(np.zeros(n, dtype=int), rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], np.to_cpu(rows).astype(float).sum(axis=0), atol=2e-5)


def test_a_number_that_overflowed_stays_in_its_segment():
    rows = np.array([[1.0], [np.inf], [2.0], [3.0]])
    assert segment_totals(np.array([0, 0, 1, 1]), rows)[2:].tolist() == [[5.0], [5.0]]
