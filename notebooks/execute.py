"""Run the notebooks from clean kernels and store their outputs: `python notebooks/execute.py [01 ...]`.

`make notebooks` runs them all, and those in solved/ with them. A solved notebook keeps its answers, and takes all other
cells anew from the notebook of the same name. So edit answers in solved/, and everything else in the other notebook.
The tests compare the stored outputs with those of a run of their own.
"""
import copy
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from common import cli
from common.errors import InputError

FOLDER = Path(__file__).parent
SOLVED = FOLDER / "solved"


def notebook_paths():
    """Return the paths of all notebooks, in the order of reading."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def exercises(notebook):
    """Return the cells of a notebook that are to be filled in, in order."""
    return [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", ())]


def with_answers(notebook, answers):
    """Return a copy of a notebook with a source in each exercise, and with "solved" in its title."""
    notebook = copy.deepcopy(notebook)
    title, *text = notebook.cells[0].source.splitlines(keepends=True)
    notebook.cells[0].source = "".join([title.rstrip("\n") + ", solved" + "\n" * title.endswith("\n"), *text])
    for cell, answer in zip(exercises(notebook), answers, strict=True):
        cell.source = answer
    return notebook


def solved(path):
    """Return the notebook of a path with the answers of the solved one of the same name."""
    notebook = nbformat.read(path, as_version=4)
    answers = [cell.source for cell in exercises(nbformat.read(SOLVED / path.name, as_version=4))]
    if len(answers) != len(exercises(notebook)):
        raise InputError(f"{path.name} has {len(exercises(notebook))} exercises, and solved/{path.name} has "
                         f"{len(answers)} answers: give each exercise there a code cell with the tag exercise")
    return with_answers(notebook, answers)


def clean_client(notebook):
    """Take the outputs off a notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    nbclient.NotebookClient
        Its kernel starts with `setup_kernel()` or `execute()`; `.nb` is the notebook.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Times of each cell would be another change at each run. The limits, in seconds for a cell and for the start of the
    # kernel, are against endless loops: beside other work a cell of some seconds takes minutes.
    return NotebookClient(notebook, timeout=3600, startup_timeout=600, kernel_name="python3", record_timing=False,
                          extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no word about how it is reached
                          resources={"metadata": {"path": str(FOLDER)}})


def merge_prints(notebook):
    """Make one output of the prints of a cell that follow each other, however the kernel sent them."""
    for cell in notebook.cells:
        merged = []
        for output in cell.get("outputs", ()):
            last = merged[-1] if merged else {}
            if output.output_type == "stream" and output.name == last.get("name"):
                last.text += output.text
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged


def main(argv=None):
    """Execute notebooks and store their outputs; returns the exit code."""
    return cli.run("python notebooks/execute.py", _execute, argv)


def _execute(argv):
    parser = cli.Parser(prog="python notebooks/execute.py",
                        description="Run notebooks from clean kernels and store their outputs.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="such as 01 (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="store nothing")
    args = parser.parse_args(argv)
    paths = {path.name[:2]: path for path in notebook_paths()}
    for number in args.numbers:
        if number not in paths:
            raise InputError(f"there is no notebook {number}, but {', '.join(paths)}")
    for path in (paths[number] for number in args.numbers or paths):
        runs = {path: nbformat.read(path, as_version=4)}
        if (SOLVED / path.name).exists():  # a copy for students has none
            runs[SOLVED / path.name] = solved(path)
        for target, notebook in runs.items():
            client = clean_client(notebook)
            start = time.perf_counter()
            try:
                client.execute()
            except CellExecutionError as error:
                print(error, file=sys.stderr)
                return 1
            print(f"{target.relative_to(FOLDER)}: {time.perf_counter() - start:.1f} seconds", flush=True)
            if not args.dry_run:
                merge_prints(client.nb)
                client.nb.metadata.language_info.pop("version", None)  # that of the Python it ran on
                nbformat.write(client.nb, target)


if __name__ == "__main__":
    sys.exit(main())
