"""Break the project one small edit at a time, and see that the tests notice: `make test-mutations`.

Each edit (see `edits`) is made in a copy of the project, in which those of its tests (see `targets`) run that
execute the edited lines, likely and quick ones first. An edit that none notices has survived; it must be explained
in `survivors`, because it changes nothing that can be observed, or this fails. A whole run also fails for an
explanation that no survivor needs. The copy without any edit must pass first: otherwise everything would count as
caught.

What was found is kept in .mutations: a second run makes only the edits whose source or tests have changed. It does
not see that an edit is noticed no more because of a change elsewhere; --again begins anew.
"""
import argparse
import collections
import compileall
import datetime
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import edits
import pytest
from children import BROKEN, in_children, run_tests
from lines import Lines, Recorder, digest
from results import Report, Results
from targets import CHECKER, TARGETS, WHOLE

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".mutations"
SAMPLED_FILES = 6  # since the lines that their tests execute have to be found first
COPIED = ("common", "ch_rnn", "ch_lstm", "dataset", "notebooks", "tests", "setup.cfg")
PACKAGES = ("common", "ch_rnn", "ch_lstm", "dataset")


class Recording:
    """A job: run some tests of the unedited project and keep which lines each executes."""

    def __init__(self, name, file):
        self.name, self.file = name, file

    def prepare(self, project):
        """Forget which test ran before."""
        (project / "running").write_text("", encoding="utf-8")

    def run(self, project):
        """Run the tests, in a child."""
        recorder = Recorder(project)
        code = run_tests(project, [self.name], plugins=[recorder])
        if code == pytest.ExitCode.OK:
            recorder.save(self.file, "tests/" + self.name.partition("::")[0])
        return code


class Trial:
    """A job: make an edit in a copy of the project and run the tests that execute the edited lines.

    Parameters
    ----------
    path : str
        The file to edit, from the repository root.
    edit : Edit
        One without lines runs all tests.
    names : list of str
        Of the tests, as `targets` has them.
    lines : dict of str to Lines
        By name.
    kills : Counter of str
        How many edits of the file each test has noticed so far.
    """

    def __init__(self, path, edit, names, lines, kills):
        self.path, self.edit, self.names, self.lines, self.kills = path, edit, names, lines, kills
        self.key = hashlib.sha256(f"{path}\n{edit.source}".encode()).hexdigest()

    def tests(self):
        """Return the tests that execute the edited lines, those that are quick and have noticed much first."""
        seconds = {}
        for name in self.names:
            lines = self.lines[name]
            chosen = lines.tests_of(self.path, self.edit.lines) if self.edit.lines else lines.seconds
            seconds |= {test: lines.seconds[test] for test in chosen}
        order = sorted(seconds, key=lambda test: ((seconds[test] + 0.01) / (1 + self.kills[test]), test))
        return {test: seconds[test] for test in order}

    def prepare(self, project):
        """Write the edited source."""
        (project / "running").write_text("", encoding="utf-8")
        (project / self.path).write_text(self.edit.source, encoding="utf-8")

    def run(self, project):
        """Run the tests, in a child."""
        sys.dont_write_bytecode = True  # of edited sources
        order = self.tests()
        needed = [name for name in self.names if not order.keys().isdisjoint(self.lines[name].seconds)]
        left_out = {test for name in needed for test in self.lines[name].seconds} - order.keys()
        return run_tests(project, needed, order, left_out) if needed else pytest.ExitCode.OK

    def restore(self, project, unedited):
        """Take the edit back; return the name of the test that ran last, "" before the first."""
        shutil.copy2(unedited / self.path, project / self.path)
        return (project / "running").read_text(encoding="utf-8")


def copy_project(folder):
    """Copy the project as it is now, compiled."""
    for part in COPIED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    compileall.compile_dir(folder, quiet=1)


def find_lines(names, unedited, projects):
    """Return by name which lines the tests execute, and run those tests for which it is not known."""
    lines, jobs = {}, []
    for name in names:
        file = KEPT / "lines" / (hashlib.sha256(name.encode()).hexdigest()[:16] + ".json")
        if file.exists() and Lines(file).fit(unedited):
            lines[name] = Lines(file)
        else:
            jobs.append(Recording(name, file))
    for job, project, code, _ in in_children(projects, jobs):
        if code:
            test = (project / "running").read_text(encoding="utf-8")
            sys.exit(f"without any edit {test or job.name} fails (code {code}); run make test")
        lines[job.name] = Lines(job.file)
    return lines


def check_unedited(names, lines, unedited, projects, results):
    """See that all tests pass in the way in which they are run on an edit; exit where one does not."""
    files = sorted(file for package in COPIED for file in (unedited / package).rglob("*.py"))
    everything = hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()
    names = sorted(names, key=lambda name: -sum(lines[name].seconds.values()))
    path = next(iter(TARGETS))
    jobs = []
    for i in range(len(projects)):
        source = (unedited / path).read_text(encoding="utf-8")
        trial = Trial(path, edits.Edit("", 0, "none", "", "", source, frozenset()), names[i::len(projects)], lines,
                      collections.Counter())
        trial.key = f"{everything} {' '.join(trial.names)}"
        if trial.names and not results.get(trial):
            jobs.append(trial)
    for trial, project, code, seconds in in_children(projects, jobs):
        test = trial.restore(project, unedited)
        if code:
            sys.exit(f"without any edit {test or 'the import of the tests'} fails (code {code}); run make test")
        results.add(trial, "survived", "", seconds)


def main(argv=None):
    """Make the edits, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description="Break the project one edit at a time and see that the tests notice.")
    parser.add_argument("--file", choices=TARGETS, action="append", help="edit this file only; may be given again")
    parser.add_argument("--sample", type=int, help="number of edits to make, in a few files, others each day")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of --sample (default: today)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="minutes after which no edit begins")
    parser.add_argument("--again", action="store_true", help="forget what was found before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    end = time.monotonic() + 60 * args.minutes
    (KEPT / "lines").mkdir(parents=True, exist_ok=True)
    if args.again:
        (KEPT / "results.jsonl").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        unedited, *projects = [Path(name).resolve() / str(i) for i in range(args.jobs + 1)]
        copy_project(unedited)
        for project in projects:
            shutil.copytree(unedited, project)
        report = Report()
        try:
            _make_all(args, end, unedited, projects, report)
        except KeyboardInterrupt:
            print("stopped by Ctrl-C; what was found is kept", flush=True)
            report.print_table()
            return 130
    report.print_table()
    whole = args.sample is None and len(report.rows) == report.made
    idle = report.idle_explanations(args.file or TARGETS) if whole else []
    for path, scope, before, after in idle:
        print(f"explained, but did not survive: {path} {scope}: {before} -> {after}")
    survived = report.counts["all", "survived"]
    print(f"{len(report.rows)} of {report.made} edits made: {survived} survived without explanation")
    return 1 if survived or idle else 0


def _make_all(args, end, unedited, projects, report):
    made = [(path, edit) for path in args.file or TARGETS
            for edit in edits.edits_of((unedited / path).read_text(encoding="utf-8"), TARGETS[path][0])]
    if args.sample is not None:
        rng = random.Random(args.date)
        files = rng.sample(sorted(WHOLE), min(SAMPLED_FILES, len(WHOLE)))
        made = [(path, edit) for path, edit in made if path in files]
        print(f"{args.sample} of {len(made)} edits, those of --date {args.date}, in {', '.join(files)}")
        print(f"(of {len(WHOLE)} of {len(TARGETS)} files every edit is caught or explained)", flush=True)
        made = rng.sample(made, min(args.sample, len(made)))
    report.made = len(made)
    names = sorted({name for path, _ in made for name in TARGETS[path][1]})
    lines = find_lines(names, unedited, projects)
    results = Results(KEPT / "results.jsonl", unedited)
    if args.sample is None:
        check_unedited(names, lines, unedited, projects, results)
    kills = collections.defaultdict(collections.Counter)
    left = []
    for path, edit in made:
        trial = Trial(path, edit, TARGETS[path][1], lines, kills[path])
        row = results.get(trial)
        if row:
            kills[path][row["by"]] += 1
            report.add(trial, row)
        else:
            left.append(trial)
    print(f"{len(left)} of {len(made)} edits to make", flush=True)
    in_time = (trial for trial in left if time.monotonic() < end)
    for trial, project, code, seconds in in_children(projects, in_time):
        test = trial.restore(project, unedited)
        if code == -signal.SIGKILL or code == BROKEN:
            raise RuntimeError(f"the tests broke off with exit code {code} in {test}: {trial.path} {trial.edit}")
        survived = code == pytest.ExitCode.OK
        by = "" if survived else test
        verdict = "survived" if survived else "checker" if test.startswith(f"tests/{CHECKER}") else "tests"
        kills[trial.path][by] += 1
        report.add(trial, results.add(trial, verdict, by, seconds))


if __name__ == "__main__":
    sys.exit(main())
