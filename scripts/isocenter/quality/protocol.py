"""Acquisition parameters against the trial's protocol."""

from dataclasses import dataclass, field
from typing import Any

from isocenter.quality.check import Check, make_check
from isocenter.quality.values import as_number, describe_values, find_distinct, format_value, is_same, join_unit

#: Scanners are named by a round field strength ("3 T" is 2.89 T on one vendor's machines), never off by more.
FIELD_TOLERANCE_PERCENT = 10.0

#: Text of a header is rounded somewhere on the way to the sidecar: equal to nine digits is equal.
RELATIVE_SLACK = 1e-9


@dataclass(frozen=True)
class Acquisition:
    """One usable acquisition: who, when, which series, and the sidecars of its BIDS files."""

    participant_id: str
    kind: str
    session: str
    run: str
    suffix: str
    sidecars: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scope(self) -> str:
        """How the certificate names it."""
        return f"sub-{self.participant_id} ses-{self.session} run-{self.run} {self.suffix}"

    def values(self, key: str) -> list[Any]:
        """Every value of a sidecar key over the acquisition, lists flattened, in the order of the files."""
        found: list[Any] = []
        for sidecar in self.sidecars:
            value = sidecar.get(key)
            found += value if isinstance(value, list) else [] if value is None else [value]
        return found


def check_parameters(acquisitions: list[Acquisition], protocol: dict[str, Any]) -> list[Check]:
    """Every parameter check of the protocol on every acquisition of its stratum."""
    return [
        check_parameter(acquisition, rule)
        for acquisition in acquisitions
        for rule in protocol["series"].get(acquisition.suffix, {}).get("checks", [])
        if is_in_stratum(acquisition, rule.get("stratum", {}))
    ]


def is_in_stratum(acquisition: Acquisition, stratum: dict[str, Any]) -> bool:
    """Whether a check that is narrowed to a manufacturer or field strength holds for an acquisition."""
    makers = acquisition.values("Manufacturer")
    if "manufacturer" in stratum and not any(
        str(maker).casefold().startswith(stratum["manufacturer"].casefold()) for maker in makers
    ):
        return False
    fields = [as_number(value) for value in acquisition.values("MagneticFieldStrength")]
    nominal = stratum.get("field_strength")
    return nominal is None or any(abs(value - nominal) <= nominal * FIELD_TOLERANCE_PERCENT / 100 for value in fields)


def check_parameter(acquisition: Acquisition, rule: dict[str, Any]) -> Check:
    """One check of one acquisition parameter; every value of the acquisition must hold."""
    values = acquisition.values(rule["parameter"])
    unit = rule.get("unit", "")
    complaints, expectations = [not values], []
    if "target" in rule:
        complaints.append(not _meets_target(values, rule))
        expectations.append(_target_text(rule))
    if "minimum" in rule:
        complaints.append(not all(as_number(v) >= rule["minimum"] - _slack(rule["minimum"]) for v in values))
        expectations.append(f"at least {format_value(rule['minimum'], unit)}")
    if "maximum" in rule:
        complaints.append(not all(as_number(v) <= rule["maximum"] + _slack(rule["maximum"]) for v in values))
        expectations.append(f"at most {format_value(rule['maximum'], unit)}")
    if "minimum_count" in rule:
        complaints.append(len(find_distinct(values)) < rule["minimum_count"])
        expectations.append(f"at least {rule['minimum_count']} different values")
    if "allowed" in rule:
        complaints.append(not all(any(is_same(v, good) for good in rule["allowed"]) for v in values))
        expectations.append("one of " + ", ".join(map(str, rule["allowed"])))
    return make_check(
        not any(complaints),
        severity=rule["severity"],
        id=rule["id"],
        group="protocol",
        scope=acquisition.scope,
        parameter=rule.get("console", rule["parameter"]),
        expected=" and ".join(expectations),
        found=describe_values(values, unit),
        remedy=rule["remedy"],
        tolerance=_tolerance(rule),
        unit=unit,
    )


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


def _target_text(rule: dict[str, Any]) -> str:
    target, unit = rule["target"], rule.get("unit", "")
    if isinstance(target, str):
        return target
    text = ", ".join(f"{t:g}" for t in target) if isinstance(target, list) else f"{target:g}"
    if rule.get("tolerance_percent"):
        return f"{text}{' ' + unit if unit else ''} ± {rule['tolerance_percent']:g} %"
    return join_unit(f"{text} ± {rule['tolerance']:g}" if rule.get("tolerance") else text, unit)
