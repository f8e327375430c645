"""A process that has imported all that a training run needs, and starts runs as children of itself.

Each run then costs little more than its training. Requests and answers are lines of JSON, on stdin and stdout.
"""
import importlib
import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import strict_cupy  # noqa: F401

import ch_lstm.train  # noqa: F401
import ch_rnn.train  # noqa: F401
from common import plots
from common.np import np

LONGEST = 120  # seconds, a safety net: a run that hangs is ended by SIGALRM
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    """Answer requests until stdin ends."""
    with tempfile.TemporaryDirectory() as folder:  # the first picture takes half a second longer than the others
        row = {"epoch": 1, "lr": 1.0, "train_perplexity": 9.0, "valid_perplexity": 9.0}
        plots.save_history(Path(folder, "loss.png"), [row], "first")
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            answer = os.fork() or _become_run(request)
        else:
            _, status = os.waitpid(request["pid"], 0)
            answer = os.waitstatus_to_exitcode(status)
        print(answer, flush=True)


def _become_run(request):
    """Be the run that a request describes, from its first to its last moment."""
    for number in SIGNALS:  # whatever those who started the tests have set
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(LONGEST)
    os.chdir(request["cwd"])
    for path, flags, number in ((os.devnull, os.O_RDONLY, 0), (request["stdout"], os.O_WRONLY | os.O_CREAT, 1),
                                (request["stderr"], os.O_WRONLY | os.O_CREAT, 2)):
        os.dup2(os.open(path, flags), number)
    module, argv, environment = request["module"], request["argv"], request["environment"]
    if request["new_process"]:
        os.execve(sys.executable, [sys.executable, "-m", module, *argv], os.environ | environment)
    np.seed(None)  # or what a run draws without a seed would be the same in each child
    random.seed()
    code = 1
    try:
        code = importlib.import_module(module).main(argv)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
