"""One check of a site, and the verdict of all of them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from isocenter.entities import Verdict

#: How `found` begins of a series that arrived and that intake could not use.
QUARANTINED = "quarantined: "


@dataclass(frozen=True)
class Check:
    """One question put to a site's data, and its answer.

    group : intake, sequences, protocol, geometry, completeness, headers, phantom or shim
    scope : what was looked at · parameter : as the scanner's console names it
    severity : what it counts when it does not hold · tolerance, unit : of `expected`, where it is a number
    console_expected, console_found : the same in the unit that the scanner's console shows, "" where it has none
    """

    id: str
    group: str
    scope: str
    parameter: str
    severity: str
    expected: str
    found: str
    verdict: str
    remedy: str
    tolerance: float | None = None
    unit: str = ""
    console_expected: str = ""
    console_found: str = ""


def make_check(holds: bool, *, severity: str, **fields: Any) -> Check:
    """A check whose verdict is ``pass`` when it holds and its severity when it does not."""
    return Check(verdict=Verdict.PASS if holds else Verdict(severity), severity=severity, **fields)


def judge(checks: Iterable[Check]) -> Verdict:
    """The worst verdict of all checks; with no check at all nothing is known, which is a fail."""
    order = (Verdict.PASS, Verdict.WARN, Verdict.FAIL)
    return max((Verdict(check.verdict) for check in checks), key=order.index, default=Verdict.FAIL)


def summarize(checks: list[Check]) -> list[dict[str, Any]]:
    """What the site must change: one entry per check and finding that does not hold, worst first.

    The same finding in many series is one thing to change: ``scopes`` lists where, ``n`` counts. A series that is
    required and quarantined is told once, by the check that requires it.
    """
    changes: dict[tuple[str, ...], dict[str, Any]] = {}
    quarantined = {(c.scope, c.found): c.verdict for c in checks if c.found.startswith(QUARANTINED)}
    for check in checks:
        verdict = quarantined.get((check.scope, f"{QUARANTINED}{check.found}"), "")
        if check.verdict == Verdict.PASS or check.verdict == verdict or verdict == Verdict.FAIL:
            continue
        entry = {k: v for k, v in asdict(check).items() if k not in ("scope", "severity")}
        key = (check.group, check.id, check.parameter, check.expected, check.found, check.remedy)
        known = changes.setdefault(key, {**entry, "n": 0, "scopes": []})
        known["n"] += 1
        known["scopes"].append(check.scope)
    return sorted(changes.values(), key=lambda change: change["verdict"] != Verdict.FAIL)


def build_verdict(
    site: dict[str, Any],
    protocol: dict[str, Any],
    checks: list[Check],
    tried: dict[str, Any] | None = None,
    accepted: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What ``verdict.json`` holds: the overall verdict, counts, what to change, what was tried, every check.

    tried : what the verdict rests on, by name (how many series, participants, sessions …)
    accepted : differences from the protocol that the trial accepts of this site
    """
    return {
        "site": site["site"],
        "title": site.get("title", ""),
        "protocol": protocol["protocol"],
        "scanners": site.get("scanners", []),
        "verdict": judge(checks),
        "counts": {word: sum(check.verdict == word for check in checks) for word in Verdict},
        "changes": summarize(checks),
        "tried": tried or {},
        "accepted": accepted or [],
        "checks": [asdict(check) for check in checks],
    }
