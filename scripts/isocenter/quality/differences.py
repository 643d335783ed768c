"""A site's differences from the protocol: what its scans would need to be allowed, and what a person has allowed.

A difference is proposed from the values that were found, never accepted by itself: a person says so, with a reason.
"""

import copy
from collections.abc import Sequence
from typing import Any

from isocenter.quality.acquisition import Acquisition, is_in_stratum
from isocenter.quality.protocol import check_parameter, console_of
from isocenter.quality.values import as_number, find_distinct

#: What a check may ask of a value.
BOUNDS = (
    "target", "tolerance", "tolerance_percent", "minimum", "maximum", "minimum_count", "smallest_at_most",
    "largest_at_least", "allowed",
)  # fmt: skip


def propose_differences(
    acquisitions: list[Acquisition], protocol: dict[str, Any], consoles: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """One proposal a series and check that some acquisition does not meet: what was found, and bounds that hold it.

    Bounds cover all acquisitions of the series, those that meet the check too. A value that no header tells cannot be
    allowed: its proposal has no bounds.
    """
    proposals = []
    for suffix, block in protocol["series"].items():
        own = [one for one in acquisitions if one.suffix == suffix]
        for rule in block["checks"]:
            held = [one for one in own if is_in_stratum(one, rule.get("stratum", {}))]
            checks = [check_parameter(one, rule, console_of(one, consoles)) for one in held]
            wrong = [check for check in checks if check.verdict != "pass"]
            if not wrong:
                continue
            first = wrong[0]
            proposals.append(
                {
                    "series": suffix,
                    "check": rule["id"],
                    "parameter": first.parameter,
                    "expected": first.console_expected or first.expected,
                    "found": "; ".join(dict.fromkeys(check.console_found or check.found for check in wrong)),
                    "n": len(wrong),
                    "of": len(held),
                    "severity": rule["severity"],
                    "remedy": first.remedy,
                    "bounds": widen_bounds(rule, held),
                }
            )
    return proposals


def widen_bounds(rule: dict[str, Any], acquisitions: list[Acquisition]) -> dict[str, Any]:
    """The bounds of a check as wide as the values that were found; empty where a value is absent or no number."""
    values = [one.values(rule["parameter"]) for one in acquisitions]
    flat = find_distinct([value for found in values for value in found])
    if not flat or any(not found for found in values):
        return {}
    if "allowed" in rule:
        return {"allowed": find_distinct([*rule["allowed"], *(v for v in flat if isinstance(v, (str, int, float)))])}
    numbers = sorted(as_number(value) for value in flat)
    if isinstance(rule.get("target"), str) or any(number != number for number in numbers):
        return {}
    bounds: dict[str, Any] = {}
    if "target" in rule and isinstance(rule["target"], list):
        lists = {tuple(sorted(as_number(v) for v in find_distinct(found))) for found in values}
        return {"target": list(lists.pop())} if len(lists) == 1 else {}
    if "target" in rule:  # one value becomes a range that reaches from the target to what was found
        bounds = {"minimum": min(rule["target"], numbers[0]), "maximum": max(rule["target"], numbers[-1])}
    if "minimum" in rule:
        bounds["minimum"] = min(rule["minimum"], numbers[0])
    if "maximum" in rule:
        bounds["maximum"] = max(rule["maximum"], numbers[-1])
    if "minimum_count" in rule:
        bounds["minimum_count"] = min(rule["minimum_count"], *(len(find_distinct(found)) for found in values))
    ends = [sorted(map(as_number, found)) for found in values]
    if "smallest_at_most" in rule:
        bounds["smallest_at_most"] = max(rule["smallest_at_most"], *(end[0] for end in ends))
    if "largest_at_least" in rule:
        bounds["largest_at_least"] = min(rule["largest_at_least"], *(end[-1] for end in ends))
    return bounds


def accept_differences(protocol: dict[str, Any], differences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The protocol as it holds for one site: the bounds of each accepted difference stand in place of the check's.

    differences : the entries of ``sites/<site>/differences.yaml``; those that nobody accepted change nothing
    """
    accepted = {(one["series"], one["check"]): one for one in differences if one["accepted"]}
    if not accepted:
        return protocol
    own = copy.deepcopy(protocol)
    for suffix, block in own["series"].items():
        for rule in block["checks"]:
            difference = accepted.get((suffix, rule["id"]))
            if difference is not None:
                for bound in BOUNDS:
                    rule.pop(bound, None)
                rule.update(difference["bounds"])
    return own


def list_accepted(differences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was accepted and why, for the verdict."""
    keys = ("series", "check", "bounds", "reason")
    return [{key: one[key] for key in keys} for one in differences if one["accepted"]]


def find_unknown(protocol: dict[str, Any], differences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The differences whose check the protocol does not hold."""
    known = {(suffix, rule["id"]) for suffix, block in protocol["series"].items() for rule in block["checks"]}
    return [one for one in differences if (one["series"], one["check"]) not in known]
