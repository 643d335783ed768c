"""Where a trial stands, read from its files at any time, also while a run goes on."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from isocenter import layout
from isocenter.entities import Disposition, Kind
from isocenter.plan import Plan, read_rows

#: The stages that the overview shows, in order.
STAGES = ("visits", "received", "intake", "aligned", "fitted", "calibrated", "regions", "onboarding")


@dataclass
class SiteStatus:
    """One site: what is done of what is known to be needed, a (done, total) pair a stage; bytes of its results."""

    site: str
    stages: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    verdict: str = ""
    n_bytes: int = 0


def read_status(plan: Plan, *, with_size: bool = True) -> list[SiteStatus]:
    """The state of every site; a stage that cannot be known before intake is None. Sizes want a look at every file."""
    return [_site_status(plan, site, with_size) for site in plan.sites]


def _site_status(plan: Plan, site: str, with_size: bool) -> SiteStatus:
    n_bytes = count_bytes(layout.fill(layout.SITE, site=site)) if with_size else 0
    status = SiteStatus(site, dict.fromkeys(STAGES), n_bytes=n_bytes)
    if not layout.fill(layout.SCANS, site=site).is_file():
        return status
    scans = plan.scans(site)
    used = [row for row in scans if row["disposition"] == Disposition.USED]
    n_quarantined = sum(row["disposition"] == Disposition.QUARANTINED for row in scans)
    status.stages["visits"] = _count_visits(plan, site, scans)
    status.stages["received"] = (len(scans), len(scans))
    status.stages["intake"] = (len(used), len(used) + n_quarantined)
    targets = {
        "aligned": plan.per_aligned(layout.ALIGNED, site=site),
        "fitted": plan.per_map(layout.MAP, site=site) + plan.per_map(layout.MAP, site=site, phantom=True),
        "calibrated": plan.site_calibrations(site),
        "regions": plan.per_run(layout.ROIS, site=site),
        "onboarding": [str(layout.fill(layout.VERDICT, site=site))],
    }
    for stage, paths in targets.items():
        status.stages[stage] = (sum(Path(path).is_file() for path in paths), len(paths))
    status.verdict = read_verdict(layout.fill(layout.VERDICT, site=site))
    return status


def _count_visits(plan: Plan, site: str, scans: list[dict[str, str]]) -> tuple[int, int]:
    """Runs of people of which anything arrived, and those that the schedule plans (or more, when more arrived)."""
    runs = {
        (row["participant_id"], row["session"], row["run"])
        for row in scans
        if row["kind"] != Kind.PHANTOM and row["run"] not in ("", "n/a")
    }
    return len(runs), max(plan.planned_runs()[site], len(runs))


def list_left_out(plan: Plan) -> list[dict[str, str]]:
    """What is left out so far, with reasons and what to do: the trial's table, or what there is before it is made."""
    found = read_optional_rows(layout.EXCLUSIONS)
    if found:
        return found
    rows = []
    for site in plan.sites:
        if not layout.fill(layout.SCANS, site=site).is_file():
            continue
        rows += [
            {**row, "participant_id": row["participant_id"], "site": site, "biomarker": "", "series": row["series_uid"],
             "stage": "intake"}
            for row in plan.scans(site)
            if row["disposition"] == Disposition.QUARANTINED
        ]  # fmt: skip
        for path in plan.per_run(layout.RUN_EXCLUSIONS, site=site):
            rows += read_optional_rows(path)
    return rows


def count_bytes(folder: Path) -> int:
    """The size of all files in a folder [bytes], as far as they are still there: a run may go on."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def read_verdict(path: Path) -> str:
    """The overall verdict of a site, or "" before there is one."""
    import json

    if not path.is_file():
        return ""
    return str(json.loads(path.read_text(encoding="utf-8")).get("verdict", ""))


def read_optional_rows(path: str) -> list[dict[str, str]]:
    """The rows of a table, or none before it exists."""
    file = Path(path)
    return read_rows(path, file.stat().st_mtime_ns) if file.is_file() else []
