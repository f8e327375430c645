"""What was found: kept from run to run, and as a table."""
import collections
import hashlib
import json

import survivors
from lines import digest

SLOWEST = 10  # edits to name
COLUMNS = ("tests", "checker", "explained", "survived")


class Results:
    """What was found so far, a line of JSON for each edit made.

    Parameters
    ----------
    file : Path
    project : Path
        With the tests as they are now.
    """

    def __init__(self, file, project):
        self.file, self.project = file, project
        file.touch()
        with file.open(encoding="utf-8") as rows:
            self.rows = {row["edit"]: row for row in map(json.loads, rows)}

    def get(self, trial):
        """Return what is known of a trial, None where its tests have changed since."""
        row = self.rows.get(trial.key)
        return row if row and row["tests"] == self._digest_of_tests(trial, row["by"]) else None

    def add(self, trial, verdict, by, seconds):
        """Keep and return what was found: the verdict, and the test that noticed."""
        row = {"edit": trial.key, "verdict": verdict, "by": by, "seconds": round(seconds, 2),
               "tests": self._digest_of_tests(trial, by)}
        self.rows[trial.key] = row
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def _digest_of_tests(self, trial, by):
        names = [by.removeprefix("tests/")] if by else trial.names
        digests = [digest(self.project / "tests" / name.partition("::")[0]) for name in names]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


class Report:
    """The table of a run: for each file the edits made, by who noticed, and the seconds that they took."""

    def __init__(self):
        self.made = 0  # edits to make
        self.rows = []  # (trial, what was found)
        self.counts = collections.Counter()
        self.needed = set()  # explanations

    @staticmethod
    def _key(trial):
        return (trial.path, *trial.edit.key)

    def add(self, trial, row):
        """Take up what was found of a trial; say it where it survived."""
        verdict, edit = row["verdict"], trial.edit
        if verdict == "survived" and self._key(trial) in survivors.EXPLAINED:
            verdict = "explained"
            self.needed.add(self._key(trial))
        elif verdict == "survived":
            unseen = "" if trial.tests() else ", which no test executes"
            print(f"survived: {trial.path}:{edit.line} {edit.scope} ({edit.kind}{unseen}): "
                  f"{edit.before} -> {edit.after}", flush=True)
        self.rows.append((trial, row))
        self.counts[trial.path, verdict] += 1
        self.counts["all", verdict] += 1
        if len(self.rows) % 100 == 0:
            print(f"{len(self.rows)} of {self.made}", flush=True)

    def print_table(self):
        """Print the table and the slowest edits."""
        print(f"{'file':32} {'made':>5} " + " ".join(f"{column:>9}" for column in COLUMNS) + f" {'seconds':>8}")
        for path in [*dict.fromkeys(trial.path for trial, _ in self.rows), "all"]:
            numbers = [self.counts[path, column] for column in COLUMNS]
            seconds = sum(row["seconds"] for trial, row in self.rows if path in (trial.path, "all"))
            print(f"{path:32} {sum(numbers):5} " + " ".join(f"{number:9}" for number in numbers) + f" {seconds:8.0f}")
        print("slowest:")
        for trial, row in sorted(self.rows, key=lambda pair: -pair[1]["seconds"])[:SLOWEST]:
            print(f"{row['seconds']:8.1f} s  {trial.path}:{trial.edit.line} {trial.edit.scope} ({trial.edit.kind}), "
                  f"{row['by'] or 'survived'}")

    def idle_explanations(self, paths):
        """Return the explanations for edits of these files that no survivor needs."""
        return [key for key in survivors.EXPLAINED if key[0] in paths and key not in self.needed]
