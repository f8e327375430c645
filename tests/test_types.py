"""Annotations of the public API, for editors and readers; that they are right is seen by mypy, in `make lint`."""
import ast
import configparser
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = "common", "dataset", "ch_rnn", "ch_lstm"
MODELS = ["ch_rnn/mikolov.py", "ch_rnn/simple_rnnlm.py", *(f"ch_lstm/{name}.py" for name in (
    "awd_lstm", "better_rnnlm", "classifier", "encoder_decoder", "memory_model", "rnnlm"))]
PICTURES_AND_PAGES = "plots", "pictures", "step", "notebook"  # that nobody builds on
MODULES = sorted(str(path.relative_to(ROOT)) for package in ("common", "dataset")
                 for path in ROOT.glob(f"{package}/**/*.py")
                 if not {path.stem, path.parent.name} & set(PICTURES_AND_PAGES)) + MODELS
# Formulas, also as methods, run on what cupy.fuse hands them too; all functions under @layer have one type.
WITHOUT = {"elementwise", "layer"}
FORMULAS = "_forward", "_backward"


def public_functions(body, prefix=""):
    """Yield the name and the node of each public function and method."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield prefix + node.name, node


def missing(source):
    """Return what has no annotation: functions, of their result, and their arguments."""
    found = []
    for name, node in public_functions(ast.parse(source).body):
        if WITHOUT & {ast.unparse(decorator) for decorator in node.decorator_list} or name.endswith(FORMULAS):
            continue
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        found += [f"{name}({argument.arg})" for argument in arguments
                  if argument and not argument.annotation and argument.arg not in ("self", "cls")]
        if node.returns is None:
            found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_are_annotated(module):
    assert missing((ROOT / module).read_text(encoding="utf-8")) == []


def test_what_is_missing_is_named():
    source = "class A:\n    def f(self, x: int, *y, z=0) -> int: ...\n    def _g(self, x): ...\ndef h(): ...\n"
    assert missing(source) == ["A.f(z)", "A.f(y)", "h"]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_tells_a_type_checker_that_it_is_annotated(package):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in setup["options.package_data"]["*"].split()


def test_nothing_is_left_unchecked():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for section in setup.sections():
        if section.startswith("mypy"):
            assert not {"ignore_errors", "disable_error_code", "exclude", "follow_imports"} & setup[section].keys()
    assert sorted(setup["mypy"]["files"].split(", ")) == sorted(PACKAGES)
    ignored = [line for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py")
               for line in path.read_text(encoding="utf-8").splitlines() if "type: ignore" in line]
    assert all(line.count("#") == 2 and "type: ignore[" in line for line in ignored) and len(ignored) <= 1
