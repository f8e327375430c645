"""Follows docs/add-a-layer.md for real, in a copy of the project."""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-a-layer.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:(New file|Among the imports of|At the end of) `(\S+)`:\n\n)?```(python|sh)\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    for part in ("common", "ch_rnn", "ch_lstm", "dataset", "tests", "setup.cfg"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    return tmp_path


def run(copy, command):
    """Run a command line of the page in the copy."""
    python, *words = command.split()
    assert python == "python"
    return subprocess.run([sys.executable, *words], cwd=copy, capture_output=True, text=True, timeout=3600)


def put(copy, how, file, text):
    path = copy / file
    if how == "New file":
        assert not path.exists()
        path.write_text(text, encoding="utf-8")
    elif how == "Among the imports of":
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        after = next(k for k, line in enumerate(lines) if line.startswith("from common.") and line > text)
        path.write_text("".join([*lines[:after], text, *lines[after:]]), encoding="utf-8")
    else:
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_six_steps_lead_to_a_layer(copy):
    assert re.findall(r"^## (\d)", PAGE, re.MULTILINE) == list("123456")
    outputs = {}
    for how, file, language, text in BLOCK.findall(PAGE):
        if language == "sh":
            (command,) = text.splitlines()
            done = run(copy, command)
            assert done.returncode == 0, done.stdout + done.stderr
            outputs[command] = done.stdout
        else:
            put(copy, how, file, text)
    check, tests, use = outputs.values()
    assert len(re.findall(r"^LayerNorm .* ok$", check, re.MULTILINE)) == 3
    assert "4 passed" in tests
    assert float(re.search(r"loss (\S+)", use).group(1)) < 0.2
    assert "layers[2] LayerNorm" in use

    layer = copy / "common" / "layers" / "layer_norm.py"
    right = layer.read_text(encoding="utf-8")
    wrong = right.replace("dn - mean_dn", "dn + mean_dn")
    assert wrong != right
    layer.write_text(wrong, encoding="utf-8")
    broken = run(copy, "python -m common.gradient_check LayerNorm")
    assert broken.returncode == 1 and "x: relative error" in broken.stdout
    files = {file for _, file, _, _ in BLOCK.findall(PAGE) if file}
    lint = run(copy, f"python -m ruff check --config {ROOT / 'ruff.toml'} {' '.join(files)}")
    assert lint.returncode == 0, lint.stdout
