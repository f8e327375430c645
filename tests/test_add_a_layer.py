"""Follows docs/add-a-layer.md for real, in a copy of the project."""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-a-layer.md").read_text(encoding="utf-8")
LAYER, RECURRENT = re.split(r"^(?=# A second example)", PAGE, flags=re.MULTILINE)
BLOCK = re.compile(
    r"(?:(New file|Among the imports of|At the end of) `(\S+)`:\n\n)?```(python|sh)\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    for part in ("common", "ch_rnn", "ch_lstm", "dataset", "notebooks", "tests", "setup.cfg"):
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


def follow(copy, part, instead=()):
    """Follow a part of the page; return what its commands print. `instead` has other words for some of its blocks."""
    assert re.findall(r"^## (\d)", part, re.MULTILINE) == list("123456")
    outputs = []
    for how, file, language, text in BLOCK.findall(part):
        if language == "sh":
            (command,) = text.splitlines()
            done = run(copy, command)
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
        else:
            for old, new in instead:
                text = text.replace(old, new)
            put(copy, how, file, text)
    return outputs


def break_once(path, old, new):
    """Put a mistake into a file."""
    right = path.read_text(encoding="utf-8")
    wrong = right.replace(old, new)
    assert wrong != right
    path.write_text(wrong, encoding="utf-8")


def assert_lint(copy, part):
    files = dict.fromkeys(file for _, file, _, _ in BLOCK.findall(part) if file)
    lint = run(copy, f"python -m ruff check --config {ROOT / 'ruff.toml'} {' '.join(files)}")
    assert lint.returncode == 0, lint.stdout
    annotated = run(copy, "python -m pytest tests/test_types.py")
    assert annotated.returncode == 0, annotated.stdout


def test_six_steps_lead_to_a_layer(copy):
    check, tests, use = follow(copy, LAYER)
    assert len(re.findall(r"^LayerNorm .* ok$", check, re.MULTILINE)) == 3
    assert "4 passed" in tests
    assert float(re.search(r"loss (\S+)", use).group(1)) < 0.2
    assert "layers[2] LayerNorm" in use

    break_once(copy / "common" / "layers" / "layer_norm.py", "dn - mean_dn", "dn + mean_dn")
    broken = run(copy, "python -m common.gradient_check LayerNorm")
    assert broken.returncode == 1 and "x: relative error" in broken.stdout
    assert_lint(copy, LAYER)


def test_formulas_and_a_declaration_lead_to_a_recurrent_layer(copy):
    # All edits of the module take a minute; those of its shortest formulas show as well that they are made and noticed.
    few = ('"common/layers/peephole.py"] = None,', '"common/layers/peephole.py"] = {"peephole_forward"},')
    check, tests, mutations, use = follow(copy, RECURRENT, [few])
    module = copy / "common" / "layers" / "peephole.py"
    source = module.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 100
    assert len(re.findall(r"^PeepholeLSTM .* ok$", check, re.MULTILINE)) == 1
    assert len(re.findall(r"^TimePeepholeLSTM .* ok$", check, re.MULTILINE)) == 7
    assert "13 passed" in tests
    made, of, survived = re.search(r"(\d+) of (\d+) edits made: (\d+) survived", mutations).groups()
    assert int(made) == int(of) >= 20 and survived == "0"

    assert float(re.search(r"loss (\S+)", use).group(1)) < 0.2
    for name, formula in {"f": "sigmoid(af + pf * c_prev)", "o": "sigmoid(ao + po * c)", "dc": "dc + dao * po"}.items():
        assert re.search(rf" {name} +{re.escape(formula)} +\(1, 20, 16\) ", use)
    for name in ("dpf", "dpi", "dpo"):
        assert re.search(rf" {name} +\(16\) +\S+ +\S+ +\S+ +\S+\n", use)  # its norm, and that of three time steps
    number, line, equation = re.search(r"^layers/peephole.py:(\d+): (dao = .*)  (\(\d\))$", use, re.MULTILINE).groups()
    assert source.splitlines()[int(number) - 1].split("  #") == [f"    {line}", f" {equation}"] and equation == "(4)"

    every_class = "tests/common/gradients/test_checker.py::test_every_layer_class_has_a_case"
    done = run(copy, f"python -m pytest {every_class}")
    assert done.returncode == 0, done.stdout
    assert_lint(copy, RECURRENT)
    one_by_one = "lambda function: lambda *arrays, out: [np.copyto(*pair) for pair in zip(out, function(*arrays))]"
    break_once(module, "@elementwise\ndef peephole_backward", f"@{one_by_one}\ndef peephole_backward")
    broken = run(copy, "python -m pytest tests/common/layers/test_peephole.py -k one_kernel")
    assert broken.returncode == 1 and "{'fused peephole_backward_kernel': 3}" in broken.stdout
