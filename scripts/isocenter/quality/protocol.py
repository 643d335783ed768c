"""Acquisition parameters against the trial's protocol, in the words of the scanner's console."""

from collections.abc import Callable, Sequence
from typing import Any

from isocenter.quality.acquisition import Acquisition, is_in_stratum
from isocenter.quality.check import Check, make_check
from isocenter.quality.consoles import Console, choose_remedy, find_console
from isocenter.quality.values import as_number, describe_values, find_distinct, format_value, is_same, join_unit

#: Text of a header is rounded somewhere on the way to the sidecar: equal to nine digits is equal.
RELATIVE_SLACK = 1e-9
#: Found, where a header does not tell what a check would like to know and the check asks for no more.
NOT_TOLD = "not told by the header"

#: A value with its unit, as text.
Show = Callable[[Any], str]


def check_parameters(
    acquisitions: list[Acquisition], protocol: dict[str, Any], consoles: Sequence[dict[str, Any]] = ()
) -> list[Check]:
    """Every parameter check of the protocol on every acquisition of its stratum.

    consoles : the entries of ``config/consoles.yaml``; without any, parameters go by their sidecar keys
    """
    return [
        check_parameter(acquisition, rule, console_of(acquisition, consoles))
        for acquisition in acquisitions
        for rule in protocol["series"].get(acquisition.suffix, {}).get("checks", [])
        if is_in_stratum(acquisition, rule.get("stratum", {}))
    ]


def console_of(acquisition: Acquisition, consoles: Sequence[dict[str, Any]]) -> Console:
    """The console of the scanner that made an acquisition."""
    return find_console(consoles, acquisition.text("Manufacturer"), acquisition.text("SoftwareVersions"))


def check_parameter(acquisition: Acquisition, rule: dict[str, Any], console: Console | None = None) -> Check:
    """One check of one acquisition parameter; every value of the acquisition must hold."""
    console = console or Console()
    values, unit, key = acquisition.values(rule["parameter"]), rule.get("unit", ""), rule["parameter"]
    complaints = [] if rule.get("if_missing") == "passes" else [not values]
    if "target" in rule:
        complaints.append(not _meets_target(values, rule))
    if "minimum" in rule:
        complaints.append(not all(as_number(v) >= rule["minimum"] - _slack(rule["minimum"]) for v in values))
    if "maximum" in rule:
        complaints.append(not all(as_number(v) <= rule["maximum"] + _slack(rule["maximum"]) for v in values))
    if "minimum_count" in rule:
        complaints.append(len(find_distinct(values)) < rule["minimum_count"])
    if "smallest_at_most" in rule:
        limit = rule["smallest_at_most"]
        complaints.append(not any(as_number(v) <= limit + _slack(limit) for v in values))
    if "largest_at_least" in rule:
        limit = rule["largest_at_least"]
        complaints.append(not any(as_number(v) >= limit - _slack(limit) for v in values))
    if "allowed" in rule:
        complaints.append(not all(any(is_same(v, good) for good in rule["allowed"]) for v in values))
    is_silent = not values and rule.get("if_missing") == "passes"
    common = {
        "id": rule["id"],
        "group": "protocol",
        "scope": acquisition.scope,
        "parameter": rule.get("console") or console.name(rule.get("shown_as", key)),
        "expected": " and ".join(_list_expectations(rule)),
        "found": NOT_TOLD if is_silent else describe_values(values, unit),
        "remedy": console.word(choose_remedy(rule, console), acquisition.first),
        "tolerance": _tolerance(rule),
        "unit": unit,
    }

    def show(value: Any) -> str:
        return console.show(key, value, unit, acquisition.first)

    at_console = {
        "console_expected": " and ".join(_list_expectations(rule, show)),
        "console_found": NOT_TOLD if is_silent else describe_shown(values, show),
    }
    return make_check(is_silent or not any(complaints), severity=rule["severity"], **common, **at_console)


def describe_shown(values: list[Any], show: Show) -> str:
    """What was found as :func:`describe_values` says it, each value as `show` writes it."""
    distinct = find_distinct(values)
    if len(distinct) < 2 or any(as_number(value) != as_number(value) for value in distinct):
        return show(distinct[0]) if len(distinct) == 1 else describe_values(values, "")
    low, high = (show(limit(distinct, key=as_number)) for limit in (min, max))
    return f"{low} to {high} ({len(distinct)} values)"


def _list_expectations(rule: dict[str, Any], show: Show | None = None) -> list[str]:
    """What is asked for: in the check's unit, or as `show` writes values."""
    unit, expectations = rule.get("unit", ""), []

    def plain(value: Any) -> str:
        return format_value(value, unit)

    if "target" in rule:
        expectations.append(_target_text(rule, show))
    if "minimum" in rule:
        expectations.append(f"at least {(show or plain)(rule['minimum'])}")
    if "maximum" in rule:
        expectations.append(f"at most {(show or plain)(rule['maximum'])}")
    if "minimum_count" in rule:
        expectations.append(f"at least {rule['minimum_count']} different values")
    if "smallest_at_most" in rule:
        expectations.append(f"the smallest at most {(show or plain)(rule['smallest_at_most'])}")
    if "largest_at_least" in rule:
        expectations.append(f"the largest at least {(show or plain)(rule['largest_at_least'])}")
    if "allowed" in rule:
        expectations.append("one of " + ", ".join(map(str, rule["allowed"])))
    return expectations


def _meets_target(values: list[Any], rule: dict[str, Any]) -> bool:
    target = rule["target"]
    if isinstance(target, str):
        return all(is_same(value, target) for value in values)
    if isinstance(target, list):
        found = sorted(find_distinct(values), key=as_number)
        return len(found) == len(target) and all(
            abs(as_number(v) - t) <= _allowance(rule, t) for v, t in zip(found, sorted(target), strict=True)
        )
    return all(abs(as_number(value) - target) <= _allowance(rule, target) for value in values)


def _allowance(rule: dict[str, Any], target: float) -> float:
    percent = rule.get("tolerance_percent", 0.0) * abs(target) / 100
    return max(rule.get("tolerance", 0.0), percent) + _slack(target)


def _slack(value: float) -> float:
    return RELATIVE_SLACK * abs(value)


def _tolerance(rule: dict[str, Any]) -> float | None:
    if "target" not in rule or isinstance(rule["target"], str):
        return None
    targets = rule["target"] if isinstance(rule["target"], list) else [rule["target"]]
    return max(_allowance(rule, t) - _slack(t) for t in targets)


def _target_text(rule: dict[str, Any], show: Show | None) -> str:
    """The target with its tolerance, in the check's unit or as `show` writes values."""
    target, unit = rule["target"], rule.get("unit", "")
    if isinstance(target, str):
        return target
    targets = target if isinstance(target, list) else [target]
    percent, tolerance = rule.get("tolerance_percent"), rule.get("tolerance")
    if show is not None:
        # A console's unit need not grow with the value: a tolerance is told by its two ends.
        texts = [f"{show(t - tolerance)} to {show(t + tolerance)}" if tolerance else show(t) for t in targets]
        return ", ".join(texts) + (f" ± {percent:g} %" if percent else "")
    text = ", ".join(f"{t:g}" for t in targets)
    if percent:
        return f"{text}{' ' + unit if unit else ''} ± {percent:g} %"
    return join_unit(f"{text} ± {tolerance:g}" if tolerance else text, unit)
