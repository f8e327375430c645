import io

import matplotlib.image
import numpy
import pytest

from common.plots import save_curves, save_matrix


def pixels(path):
    return matplotlib.image.imread(io.BytesIO(path.read_bytes()))[..., :3]  # (rows, columns, 3)


@pytest.mark.parametrize("yscale", ["linear", "log"])
def test_curves_are_readable_in_black_and_white(tmp_path, yscale):
    path = tmp_path / "curves.png"
    curves = {f"run {i}": (range(1, 6), [10.0 * i + x for x in range(1, 6)]) for i in range(8)}
    save_curves(path, curves, "epoch", "loss in $", "five _epochs_ é", yscale)
    picture = pixels(path)
    assert picture.std(axis=2).max() < 1e-6  # no colour
    assert picture.min() == 0 and picture.max() == 1


def test_a_matrix_is_dark_where_it_is_large(tmp_path):
    path = tmp_path / "matrix.png"
    save_matrix(path, numpy.eye(12) * 3, "abcdefghijkl", ["$"] * 12, "guessed", "true", "confusion", numbers=True)
    picture = pixels(path)
    rows, columns = picture.shape[:2]
    assert picture.std(axis=2).max() < 1e-6
    corner = picture[rows // 4: rows // 2, columns // 2:].mean()  # above the diagonal
    assert corner > 0.8
