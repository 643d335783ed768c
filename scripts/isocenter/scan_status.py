"""Where each visit of a site stands: planned or arrived, and for each biomarker how far it has come."""

from dataclasses import dataclass

from isocenter import layout
from isocenter.entities import Disposition
from isocenter.overview import list_left_out
from isocenter.plan import Plan


@dataclass(frozen=True)
class ScanStatus:
    """One visit, planned or arrived: whose, and for each biomarker how far it has come, or why no further."""

    participant: str
    kind: str
    session: str
    run: str
    biomarkers: dict[str, str]
    notes: tuple[str, ...] = ()


#: How far a biomarker of a visit has come, by the file that is there.
_REACHED = (
    (layout.ROIS, "measured"),
    (layout.CALIBRATED, "calibrated"),
    (layout.MAP, "fitted"),
    (layout.ALIGNED, "aligned"),
)


def list_visits(plan: Plan, site: str) -> list[ScanStatus]:
    """Every visit of a site, planned or arrived, and where it stands."""
    arrived: dict[tuple[str, str, str], set[str]] = {}
    kinds = {row["participant_id"]: row["kind"] for row in plan.settings.participants(site)}
    if layout.fill(layout.SCANS, site=site).is_file():
        for row in plan.scans(site):
            if row["run"] not in ("", "n/a"):
                key = (row["participant_id"], row["session"], row["run"])
                arrived.setdefault(key, set())
                if row["disposition"] == Disposition.USED:
                    arrived[key].add(row["suffix"])
    planned = {
        (person, session, str(run))
        for person, kind in kinds.items()
        for session, entry in plan.settings.config.get("schedule", {}).get(kind, {}).get("sessions", {}).items()
        for run in range(1, entry["runs"] + 1)
    }
    lost: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in list_left_out(plan):
        if row["site"] == site:
            lost.setdefault((row["participant_id"], row["session"], row["run"]), []).append(row)
    visits = []
    for key in sorted({*arrived, *planned}):
        values = dict(zip(("participant", "session", "run"), key, strict=True), site=site)
        mine = lost.get(key, [])
        states = {name: _how_far(values, name, plan, arrived.get(key), mine) for name in plan.biomarkers}
        notes = tuple(dict.fromkeys(f"{row['stage']}: {row['reason']}" for row in mine))
        visits.append(ScanStatus(key[0], kinds.get(key[0], ""), key[1], key[2], states, notes))
    return visits


def _how_far(
    values: dict[str, str], name: str, plan: Plan, suffixes: set[str] | None, lost: list[dict[str, str]]
) -> str:
    block = plan.biomarkers[name]
    if suffixes is None:
        return "not arrived"
    if block["suffix"] not in suffixes:
        return "not usable" if any(row["stage"] == "intake" for row in lost) else "not there"
    names = {"map": block["map"], "suffix": block["suffix"]}
    reached = next((word for pattern, word in _REACHED if layout.fill(pattern, **values, **names).is_file()), "arrived")
    # A region that is too small costs a region, not the scan.
    failed = next((row["stage"] for row in lost if row["biomarker"] == name and row["stage"] != "regions"), "")
    return f"left out at {failed}" if failed else reached
