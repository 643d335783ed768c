"""What the trial's protocol allows a phantom: the limits that pages draw."""

from typing import Any


def find_limit(rules: list[dict[str, Any]], statistic: str, biomarker: str) -> float:
    """The tightest maximum that the ``phantom`` rules of a protocol set for a statistic; NaN where none does.

    statistic : ``max_abs_percent_bias``, ``drift_percent``, …; a rule without ``biomarkers`` is about all of them
    """
    limits = [
        rule["maximum"]
        for rule in rules
        if rule["statistic"] == statistic and "maximum" in rule and biomarker in rule.get("biomarkers", [biomarker])
    ]
    return float(min(limits, default=float("nan")))
