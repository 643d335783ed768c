"""What people left out of the analysis: rows of a table a site, and whom each of them is about.

A row names a participant (a phantom, too) and, if less than everything is meant, a session, a run, a biomarker; ""
stands for all. ``isocenter exclude`` and ``include`` write the table (:mod:`isocenter.decisions`).
"""

from collections.abc import Iterable

#: A row of the table, as :func:`isocenter.settings.read_left_out` reads it.
Decision = dict[str, str]

COLUMNS = ("participant_id", "session", "run", "biomarker", "is_withdrawn", "reason")
#: What of a decision says whom it is about.
SCOPE = ("participant_id", "session", "run", "biomarker")


def covers(decision: Decision, participant: str, session: str, run: str, biomarker: str = "") -> bool:
    """Whether a decision leaves out a biomarker of a run; without a biomarker, whether it leaves out the whole run."""
    found = dict(zip(SCOPE, (participant, session, run, biomarker), strict=True))
    return all(decision[key] in ("", value) for key, value in found.items())


def find_decision(decisions: Iterable[Decision], *run: str) -> Decision | None:
    """The first decision that covers a run (participant, session, run) or one biomarker of it."""
    return next((decision for decision in decisions if covers(decision, *run)), None)


def has_withdrawn(decisions: Iterable[Decision], participant: str) -> bool:
    """Whether a participant withdrew from the trial."""
    return any(d["participant_id"] == participant and d["is_withdrawn"] == "true" for d in decisions)
