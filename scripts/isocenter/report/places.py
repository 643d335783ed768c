"""Where things stand in the report: the page of a session, the place of a value on it."""

import re
from typing import Any

from isocenter.report.tabulate import row_link
from isocenter.report.wording import is_missing

VISITS = "visits"


def visit_page(site: Any, participant: Any, session: Any) -> str:
    """The page of one session of a participant at a site, relative to the report."""
    return f"{VISITS}/{_safe(site)}_sub-{_safe(participant)}_ses-{_safe(session)}.html"


def value_anchor(run: Any, biomarker: Any) -> str:
    """The place on a session's page that tells where the values of a run and biomarker come from."""
    return f"run-{_safe(run)}-{_safe(biomarker)}"


def value_link(row: Any, root: str = "") -> str:
    """Where a row of ``measurements.tsv`` leads: the way back to its scans; of a phantom, its row."""
    keys = [row.get(name) for name in ("site", "participant_id", "session", "run", "biomarker")]
    if row.get("kind") == "phantom" or any(is_missing(key) for key in keys):
        return row_link("measurements", row.name, root)
    return f"{root}{visit_page(*keys[:3])}#{value_anchor(*keys[3:])}"


def _safe(text: Any) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", str(text))
