"""Running tests of a copy of the project in children of this process."""
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # installed plugins take longer to load than most tests to run
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("RNN_DATA_DIR", None)  # what only the Penn Treebank notices would survive on most machines

import contextlib
import resource
import signal
import sys

import hypothesis
import matplotlib.pyplot  # noqa: F401  (these three imported here, so that not every child has to)
import numpy  # noqa: F401
import pytest
import tqdm  # noqa: F401

CPU_SECONDS = 10  # for one test, and ten times its own; an endless loop counts as caught, a busy machine does not
IDLE_SECONDS = 120  # without any work in one child, which then waits for ever
MEMORY = 8 << 30  # bytes, for one child
HANGS, BROKEN = 100, 101  # exit codes of a child that waits for ever, and of one with a fault of this folder


class Chosen:
    """A plugin of pytest that runs some tests in a given order, each within its time.

    Parameters
    ----------
    names : list of str
        Beginnings of the names of tests to run.
    order : dict of str to float
        Tests to run first, with their seconds.
    left_out : set of str
        Tests that need not run.
    running : Path
        File for the name of the test that runs.
    """

    def __init__(self, names, order, left_out, running):
        self.names = tuple(f"tests/{name}" for name in names)
        self.order, self.left_out, self.running = order, left_out, running

    def pytest_configure(self):
        # The same examples each time, none from before, and none made smaller once the edit is caught.
        hypothesis.settings.register_profile(
            "mutations", hypothesis.settings.get_profile("devices"), derandomize=True, database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])
        hypothesis.settings.load_profile("mutations")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        rank = {test: i for i, test in enumerate(self.order)}
        chosen = [item for item in items if item.nodeid.startswith(self.names) and item.nodeid not in self.left_out]
        items[:] = sorted(chosen, key=lambda item: rank.get(item.nodeid, len(rank)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.running.write_text(item.nodeid, encoding="utf-8")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + 10 * self.order.get(item.nodeid, CPU_SECONDS))
        return (yield)


def run_tests(project, names, order=None, left_out=(), plugins=()):
    """Run tests of a copy of the project and return the exit code of pytest."""
    files = dict.fromkeys(str(project / "tests" / name.partition("::")[0]) for name in names)
    chosen = Chosen(names, order or {}, left_out, project / "running")
    return pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={project}",
                        f"--confcutdir={project / 'tests'}", *files], plugins=[chosen, *plugins])


def in_children(projects, jobs):
    """Run jobs in children, one at a time in each copy of the project.

    Yields
    ------
    job, project, code, seconds
        As a job ends: its exit code, minus the signal where one ended it, and its CPU time.
    """
    free, running, jobs = list(projects), {}, iter(jobs)
    try:
        while True:
            while free and (job := next(jobs, None)) is not None:
                project = free.pop()
                job.prepare(project)
                pid = os.fork()
                if pid == 0:
                    _run_child(job, project)
                running[pid] = job, project
            if not running:
                return
            pid, status, usage = os.wait4(-1, 0)
            _end(pid)  # what it started
            job, project = running.pop(pid)
            yield job, project, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
            free.append(project)
    finally:
        for pid in running:
            _end(pid)
            os.waitpid(pid, 0)


def _end(pid):
    with contextlib.suppress(PermissionError, ProcessLookupError):  # where nothing of it is left
        os.killpg(pid, signal.SIGKILL)


def _run_child(job, project):
    code = BROKEN
    try:
        os.setsid()  # Ctrl-C is for the parent
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        _exit_when_idle()
        os.chdir(project)
        sys.path.insert(0, str(project))
        code = job.run(project)
    finally:
        os._exit(code)


def _exit_when_idle():
    worked = -1.0

    def look(signum, frame):
        nonlocal worked
        if sum(os.times()[:4]) - worked < 0.1:
            os._exit(HANGS)
        worked = sum(os.times()[:4])

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS, IDLE_SECONDS)
