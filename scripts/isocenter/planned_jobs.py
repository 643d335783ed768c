"""What a dry run says it would do, read from Snakemake's own table: jobs by rule, and why."""

import re

#: With these options of Snakemake a run tells what it would do, and does nothing.
DRY_OPTIONS = frozenset({"-n", "--dry-run", "--dryrun"})

_ROW = re.compile(r"^(\w+) +(\d+)$")
_REASON = re.compile(r"^    (\w.*):$")
_RULES = re.compile(r"^        (\w.*)$")


class PlannedJobs:
    """Gathers the jobs by rule, in their order, and the reasons of each rule, from the lines of a log.

    counts : jobs by rule
    reasons : by rule, in Snakemake's words
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.reasons: dict[str, list[str]] = {}
        self._block, self._reason = "", ""

    def __len__(self) -> int:
        return sum(self.counts.values())

    def read_line(self, line: str) -> None:
        """Take a line of the log into account."""
        if line in ("Job stats:", "Reasons:"):
            self._block = line
            if line == "Job stats:":  # told twice, before the jobs and after them
                self.counts = {}
        elif self._block == "Job stats:":
            if row := _ROW.match(line):
                if row[1] == "total":
                    self._block = ""
                elif row[1] != "all":  # does nothing but name what is wanted
                    self.counts[row[1]] = int(row[2])
        elif self._block == "Reasons:":
            if reason := _REASON.match(line):
                self._reason = reason[1]
            elif rules := _RULES.match(line):
                for rule in rules[1].split(", "):
                    self.reasons.setdefault(rule, []).append(self._reason)
            elif not line.startswith("    "):
                self._block = ""
