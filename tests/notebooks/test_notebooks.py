"""Every notebook, from a clean kernel: it runs, its stored outputs are those of this run, its checks tell the right
answers, which stand in notebooks/solved, from the wrong ones of `wrong_answers`.
"""
import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
from execute import SOLVED, clean_client, exercises, merge_prints, notebook_paths, solved
from wrong_answers import WRONG

from common.errors import InputError

PROJECT = ("common", "ch_rnn", "ch_lstm", "dataset")
ROOT = Path(__file__).parents[2]
FOLDERS = (*PROJECT, "docs", "notebooks", "tests")
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?|\b(?:nan|inf)\b")
SECONDS = re.compile(r"\bseconds?\b|\bms\b")
SOURCE_LINE = re.compile(r"\.py:\d+")  # a line of the project's source
UNFINISHED = {  # answers that do not answer: the body of each function, and the value of each name
    "that raises": ("raise ValueError('from the answer')", "'no number'"),
    "that returns None": ("return None", "None"),
    "that returns ...": ("return ...", "..."),
}


class Run:
    """A notebook as it is stored, and as it comes out of a clean kernel."""

    def __init__(self, path):
        self.number = path.name[:2]
        self.stored = nbformat.read(path, as_version=4)
        self.client = clean_client(nbformat.read(path, as_version=4))
        self.solved = nbformat.read(SOLVED / path.name, as_version=4)

    def cells(self, tag=None):
        """Return the indices of the code cells, or of those with a tag."""
        return [index for index, cell in enumerate(self.stored.cells) if cell.cell_type == "code"
                and (tag is None or tag in cell.metadata.get("tags", ()))]

    def execute(self, index, source=None):
        """Run a cell, or another source in its place, and return the text that it prints."""
        cell = self.client.nb.cells[index]
        original = cell.source
        cell.source = original if source is None else source
        try:
            self.client.execute_cell(cell, index)
        finally:
            cell.source = original
        return printed(cell)


def printed(cell):
    return "".join(output.text if output.output_type == "stream" else output.data.get("text/plain", "") + "\n"
                   for output in cell.outputs if output.output_type != "error")


@pytest.fixture(scope="module", params=notebook_paths(), ids=lambda path: path.stem)
def run(request):
    """A notebook that has run from its first cell to its last, its kernel still alive."""
    run = Run(request.param)
    with run.client.setup_kernel():
        run.client.execute(reset_kc=False, cleanup_kc=False)
        merge_prints(run.client.nb)
        yield run


def test_stored_outputs_are_those_of_a_fresh_run(run):
    for index in run.cells():
        stored, fresh = run.stored.cells[index], run.client.nb.cells[index]
        where = f"code cell {index} of notebook {run.number}: run `make notebooks`\n{fresh.source}"
        assert kinds(stored) == kinds(fresh), where
        for kept, new in zip(lines(stored), lines(fresh), strict=True):
            assert same_line(kept, new), f"{where}\n\nstored: {kept}\nfresh:  {new}"


def kinds(cell):
    """Return what kinds of output a cell has, in order: what printed it, or in which formats it is shown."""
    return [output.get("name") or sorted(output.data) for output in cell.outputs]


def lines(cell):
    # A picture's text/plain is the name of its class and its size.
    return [line for line in printed(cell).splitlines() if line.strip()]


def same_line(stored, fresh):
    """Whether two lines say the same, their numbers up to the last digits; seconds may be any number.

    The numbers of source lines have to be equal.
    """
    if SOURCE_LINE.findall(stored) != SOURCE_LINE.findall(fresh):
        return False
    if NUMBER.sub("#", stored).split() != NUMBER.sub("#", fresh).split():
        return False
    if SECONDS.search(fresh):
        return True
    return all(map(same_number, NUMBER.findall(stored), NUMBER.findall(fresh)))


def same_number(stored, fresh):
    """Whether two numbers differ by at most 1%, or by one in the last digit; what is below 1e-8 is rounding."""
    a, b = (float(text.replace(",", "")) for text in (stored, fresh))
    return (stored == fresh or abs(a - b) <= 0.01 * max(abs(a), abs(b)) + max(last_digit(stored), last_digit(fresh))
            or max(abs(a), abs(b)) < 1e-8)


def last_digit(text):
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    # Of numbers with fewer digits the last one says too much.
    return 1.01 * 10.0 ** (int(exponent or 0) - decimals) if decimals > 1 or exponent else 0.0


@pytest.mark.parametrize("stored, fresh, same", [
    ("loss 1.234", "loss 1.235", True),
    ("loss 1.234", "loss  1.24", True),
    ("loss 1.234", "loss 1.334", False),
    ("loss 1.234", "cost 1.234", False),
    ("12 cells", "13 cells", False),
    ("error 3.1e-12", "error 8e-13", True),
    ("error 3.1e-12", "error 8e-3", False),
    ("[0.1 0.2]", "[0.1 0.3]", False),
    ("took 3.1 seconds", "took 8.2 seconds", True),
    ("took 3.1 seconds", "lost 3.1 seconds", False),
    ("nan", "1.0", False),
    ("rnn.py:102  a = 1.234", "rnn.py:102 a = 1.235", True),
    ("rnn.py:102  a = 1.234", "rnn.py:103  a = 1.234", False),
])
def test_same_line(stored, fresh, same):
    assert same_line(stored, fresh) == same


def test_each_exercise_has_a_check_and_answers(run):
    tagged, checks = run.cells("exercise"), run.cells("check")
    assert len(tagged) >= 3
    code = run.cells()
    assert [code[code.index(index) + 1] for index in tagged] == checks
    assert len(WRONG[run.number]) == len(tagged)
    assert all(WRONG[run.number])
    by_gradients = [index for index in checks if "check_gradient(" in run.stored.cells[index].source]
    assert len(by_gradients) >= 3, f"notebook {run.number} has exercises of gradients in {by_gradients}"


def answers(run):
    """Yield for each exercise its right answer and its wrong ones."""
    for cell, wrong in zip(exercises(run.solved), WRONG[run.number], strict=True):
        yield cell.source, *(changed(cell.source, pairs) for pairs in wrong)


def changed(right, pairs):
    """Return a right answer in which some parts are replaced, each of which stands there once or twice."""
    for old, new in pairs:
        assert 1 <= right.count(old) <= 2, f"{old!r} stands {right.count(old)} times in\n{right}"
        right = right.replace(old, new)
    return right


def test_a_solved_notebook_is_the_other_with_answers(run):
    path = next(path for path in notebook_paths() if path.name.startswith(run.number))
    made = solved(path)
    assert [cell.source for cell in run.solved.cells] == [cell.source for cell in made.cells], "run `make notebooks`"
    stubs = exercises(run.stored)
    assert not {stub.source for stub in stubs} & {answer.source for answer in exercises(run.solved)}
    for index in run.cells("check"):
        verdicts = printed(run.solved.cells[index]).splitlines()
        assert verdicts and all(verdict.startswith("Right") for verdict in verdicts), verdicts
    for index in set(run.cells()) - {*run.cells("check"), *run.cells("exercise")}:
        stored, other = run.stored.cells[index], run.solved.cells[index]
        assert all(map(same_line, lines(stored), lines(other))) and kinds(stored) == kinds(other), stored.source


def test_an_exercise_without_an_answer_is_named(tmp_path, monkeypatch):
    path = notebook_paths()[0]
    notebook = nbformat.read(SOLVED / path.name, as_version=4)
    notebook.cells.remove(exercises(notebook)[0])
    nbformat.write(notebook, tmp_path / path.name)
    monkeypatch.setattr("execute.SOLVED", tmp_path)
    with pytest.raises(InputError, match=f"^{path.name} has 6 exercises, and solved/{path.name} has 5 answers"):
        solved(path)


def test_checks_tell_right_from_wrong(run):
    for check in run.cells("check"):
        verdicts = printed(run.client.nb.cells[check]).splitlines()
        assert verdicts and all(verdict.startswith("Nothing here yet") for verdict in verdicts), verdicts
    for exercise, check, (right, *wrong) in zip(run.cells("exercise"), run.cells("check"), answers(run), strict=True):
        def verdicts_on(answer, exercise=exercise, check=check):
            run.execute(exercise, answer)
            return run.execute(check).splitlines()  # an error in the cell would be one here

        for which, content in UNFINISHED.items():
            verdicts = verdicts_on(with_content(run.stored.cells[exercise].source, *content))
            starts = ("Not yet",) if which == "that raises" else ("Not yet", "Nothing here yet")
            assert verdicts and all(verdict.startswith(starts) for verdict in verdicts), f"one {which}: {verdicts}"
        refuted = set()
        for answer in wrong:
            verdicts = verdicts_on(answer)
            now = {k for k, verdict in enumerate(verdicts) if verdict.startswith("Not yet")}
            assert now, f"{answer}\n{verdicts}"
            refuted |= now
        verdicts = verdicts_on(right)  # last, so that later exercises can build on it
        assert verdicts and all(verdict.startswith("Right") for verdict in verdicts), f"{right}\n{verdicts}"
        assert refuted == set(range(len(verdicts))), f"wrong answers only for the verdicts {refuted}\n{right}"


def with_content(stub, body, value):
    """Return an exercise's cell with another body in each function, and another value for each name."""
    tree = ast.parse(stub)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.body = ast.parse(body).body
        elif isinstance(node, ast.Assign):
            node.value = ast.parse(value, mode="eval").body
    return ast.unparse(tree)


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_notebooks_import_from_the_project_and_define_nothing_that_it_has(path):
    ours = {node.name for room in PROJECT for file in (ROOT / room).glob("*.py")
            for node in definitions(file.read_text())}
    for source, tags in sources(path):
        allowed = {*PROJECT, "numpy", *sys.stdlib_module_names}
        assert imported(source) <= allowed, f"{imported(source) - allowed} in\n{source}"
        if "exercise" not in tags:
            names = {node.name for node in definitions(source)}
            assert not names & ours, f"the project has {names & ours}\n{source}"


def test_no_two_notebooks_define_the_same():
    where = {}
    for path in notebook_paths():
        for source, tags in sources(path):
            if "exercise" in tags:
                continue
            for node in definitions(source):
                # The forward in a check may have the name of another, but not its formula.
                for key in [without_name(node)] if "check" in tags else [node.name, without_name(node)]:
                    first = where.setdefault(key, path.name)
                    assert first == path.name, (
                        f"{node.name} of {path.name} is in {first} too: into common/notebook/cells.py")


def sources(path):
    """Return source and tags of each code cell, without the orders to IPython."""
    return [(re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE), cell.metadata.get("tags", ()))
            for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def definitions(source):
    """Return the functions and classes that a source defines, as nodes."""
    return [node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


def without_name(node):
    """Return what a definition does, as a text without its name and its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return ast.dump(ast.Module([*([node.args] if isinstance(node, ast.FunctionDef) else node.bases), *body], []))


def imported(source):
    """Return the packages that a source imports from."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_no_penn_treebank_text_is_stored(ptb_dir, part):
    runs = {}
    for path in (*notebook_paths(), *SOLVED.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for text in (cell.source, *texts_shown(cell)):
                runs |= dict.fromkeys(runs_of_words(text), path.name)
    found = {run: runs[run] for run in runs_of_words((ptb_dir / f"ptb.{part}.txt").read_text()) if run in runs}
    assert not found


def texts_shown(cell):
    """Return the texts in the outputs of a cell, in every format that is one."""
    for output in cell.get("outputs", ()):
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def test_texts_shown_are_those_of_all_formats():
    shown = {"text/plain": "Figure", "text/markdown": "a table", "image/png": "iVBORw0"}
    outputs = [nbformat.v4.new_output("stream", text="printed"), nbformat.v4.new_output("execute_result", data=shown)]
    assert {*texts_shown(nbformat.v4.new_code_cell(outputs=outputs))} - {""} == {"printed", "Figure", "a table"}
    assert not [*texts_shown(nbformat.v4.new_markdown_cell("of a reader"))]


def runs_of_words(text, length=8):
    words = re.findall("[a-z]+", text.lower())
    return (" ".join(words[k:k + length]) for k in range(len(words) - length + 1))


TEACHING = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
KINDS = {"check_values": "values", "check_gradient": "gradients", "check_number": "number"}


def test_the_page_for_teachers_lists_every_exercise_and_its_check():
    rows = re.findall(r"^\| (\d\d) \| (\d+: .+?) \| .+? \| (.+?) \| \d+ \|$", TEACHING, re.MULTILINE)
    assert len(rows) == 44 and "44 exercises" in TEACHING
    assert rows == [(path.name[:2], *each) for path in notebook_paths() for each in titles_and_checks(path)]


def test_each_exercise_is_in_class_or_homework():
    for path in notebook_paths():
        (in_class, homework), = re.findall(rf"^\|.+\({re.escape(f'../notebooks/{path.name}')}\) \| (.+?) \| (.+?) \|",
                                           TEACHING, re.MULTILINE)
        planned = sorted(map(int, f"{in_class}, {homework}".split(", ")))
        assert planned == list(range(1, len(exercises(nbformat.read(path, as_version=4))) + 1)), path.name


def test_every_file_and_module_that_a_text_names_exists():
    texts = {"docs/teaching.md": TEACHING}
    for path in (*notebook_paths(), *SOLVED.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts[path.relative_to(ROOT).as_posix()] = "\n".join(cell.source for cell in cells)
    for name, text in texts.items():
        named = set(re.findall(rf"(?<![\w./])(?:{'|'.join(FOLDERS)})/[\w./]*\w", text))
        named |= {module.replace(".", "/") for module in re.findall(rf"\b(?:{'|'.join(PROJECT)})(?:\.\w+)+", text)}
        assert not [each for each in sorted(named) if not exists(each)], name


def exists(name):
    """Whether there is such a file, folder or module, or a module that defines its last part."""
    path = ROOT / name
    module = path.parent.with_suffix(".py")
    return (path.exists() or path.with_suffix(".py").exists()
            or module.exists() and re.search(rf"^(?:def|class) {path.name}\b", module.read_text(), re.MULTILINE))


def titles_and_checks(path):
    """Yield the title of each exercise of a notebook, and how its checks compare."""
    title = None
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            (title,) = re.findall(r"^### Exercise (\d+: .+)$", cell.source, re.MULTILINE) or [title]
        if "check" in cell.metadata.get("tags", ()):
            kinds = dict.fromkeys(re.findall(f"^({'|'.join(KINDS)})", cell.source, re.MULTILINE))
            yield title, ", ".join(KINDS[kind] for kind in kinds)


def test_notebooks_are_small():
    assert all(path.stat().st_size < 10**6 for path in (*notebook_paths(), *SOLVED.glob("*.ipynb")))
