import numpy as np
import pytest

from common.training.metrics import accuracy, confusion_matrix, macro_f1, singular_values

TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 0])
MATRIX = np.array([[2, 1, 0], [0, 1, 1], [1, 0, 0]])


def test_rows_are_true_and_columns_predicted_classes():
    assert np.array_equal(confusion_matrix(TRUE, PREDICTED, 3), MATRIX)


def test_classes_that_do_not_occur_have_a_row_and_a_column():
    assert np.array_equal(confusion_matrix(TRUE[:2], PREDICTED[:2], 3), np.diag([2, 0, 0]))


def test_a_small_dtype_holds_few_classes_and_still_counts_many():
    ts = np.array([16, 16], dtype=np.uint8)  # 16 * 17 is more than a uint8 holds
    assert confusion_matrix(ts, ts, 17)[16, 16] == 2


@pytest.mark.parametrize("ts, ys", [
    ([0, 2], [0, 0]), ([0, 0], [0, 2]), ([-1, 0], [0, 0]), ([0, 1], [-1, 0]), ([0.0, 1.0], [0, 1]),
    ([[0, 1]], [[0, 1]])])
def test_what_is_no_class_is_refused(ts, ys):
    with pytest.raises(ValueError, match=r"^confusion_matrix: classes must be a row of whole numbers from 0 to 1$"):
        confusion_matrix(np.array(ts), np.array(ys), 2)
    with pytest.raises(ValueError, match=r"^confusion_matrix: true classes have shape \(2,\), predicted ones \(3,\)$"):
        confusion_matrix(np.array([0, 1]), np.array([0, 1, 1]), 2)


def test_accuracy():
    assert accuracy(MATRIX) == 3 / 6
    with pytest.raises(ValueError, match=r"^accuracy: the confusion matrix of shape \(2, 2\) counts no prediction$"):
        accuracy(np.zeros((2, 2), dtype=int))


def test_macro_f1_is_the_mean_of_the_classes():
    # precision and recall: 2/3 and 2/3, 1/2 and 1/2, 0 and 0
    assert macro_f1(MATRIX) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1(np.diag([3, 1, 2])) == 1


def test_a_class_without_any_prediction_or_occurrence_counts_as_0():
    assert macro_f1(np.diag([2, 0])) == 0.5


def test_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    rng = np.random.default_rng(0)
    ts, ys = rng.integers(5, size=(2, 200))
    matrix = confusion_matrix(ts, ys, 5)
    assert np.array_equal(matrix, metrics.confusion_matrix(ts, ys))
    assert accuracy(matrix) == pytest.approx(metrics.accuracy_score(ts, ys))
    assert macro_f1(matrix) == pytest.approx(metrics.f1_score(ts, ys, average="macro"))


def test_singular_values_of_a_known_matrix():
    Wh = np.diag([2.0, -3, 1]) @ np.eye(3, 12)
    np.testing.assert_allclose(singular_values(Wh), [3, 2, 1])
