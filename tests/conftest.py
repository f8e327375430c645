import os
import pathlib

import pytest


@pytest.fixture
def ptb_dir():
    """The folder of the real Penn Treebank files; skips where RNN_DATA_DIR does not lead to them."""
    data_dir = pathlib.Path(os.environ.get("RNN_DATA_DIR") or "RNN_DATA_DIR is not set")
    for folder in (data_dir / "ptb", data_dir):
        if (folder / "ptb.train.txt").is_file():
            return folder
    pytest.skip("needs the Penn Treebank: set RNN_DATA_DIR to the folder of ptb.train.txt")
