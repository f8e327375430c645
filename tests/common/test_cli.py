import pytest

from common import cli
from common.errors import InputError


def test_a_new_folder_is_made_with_those_above_it(tmp_path):
    cli.new_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="choose a new one for --out"):
            cli.new_folder(path)
    assert (tmp_path / "file").read_text() == "kept"
