"""The shim of every session: what the field map shows, and whether it is within the protocol's limits."""

import math
from typing import Any

from isocenter.quality.check import Check, make_check
from isocenter.quality.consoles import Console, choose_remedy
from isocenter.quality.values import as_number, as_text, format_value

Row = dict[str, Any]

#: By the name of a statistic: its words on the certificate.
WORDS = {"sd": "standard deviation", "range": "5-95 % range", "fwhm": "width of the histogram at half maximum"}
_SHORT = {"sd": "SD", "range": "5-95 % range", "fwhm": "FWHM"}
ACQUIRE = (
    "Acquire the field map (dual-echo gradient echo, magnitude and phase) again, and send magnitude and phase of both "
    "echoes"
)


def check_shim(shims: list[Row], rules: list[dict[str, Any]], console: Console | None = None) -> list[Check]:
    """One check a field map that its figures could be taken, and one a limit of the protocol.

    shims : what the step `measure_shim` wrote, one mapping a map; console : of the site's scanners
    """
    console = console or Console()
    checks = []
    for row in shims:
        scope = f"sub-{as_text(row['participant_id'])} ses-{as_text(row['session'])} run-{as_text(row['run'])}"
        reason = as_text(row.get("reason"))
        figures = ", ".join(f"{word} {as_number(row.get(name)):.1f}" for name, word in _SHORT.items()) + " Hz"
        checks.append(
            make_check(
                not reason,
                severity="warn",
                id="shim",
                group="shim",
                scope=f"{scope} {as_text(row['biomarker'])}",
                parameter="shim, as the field map shows it",
                expected="a field map whose spread can be measured",
                found=reason or figures,
                remedy=ACQUIRE,
                unit="Hz",
            )
        )
        if reason:
            continue
        for rule in rules:
            if row["kind"] not in rule["kinds"] or row["biomarker"] not in rule.get("biomarkers", [row["biomarker"]]):
                continue
            value = as_number(row.get(rule["statistic"]))
            checks.append(
                make_check(
                    math.isfinite(value) and value <= rule["maximum"],
                    severity=rule["severity"],
                    id=rule["id"],
                    group="shim",
                    scope=f"{scope} {as_text(row['biomarker'])}",
                    parameter=f"shim, {WORDS[rule['statistic']]}",
                    expected=f"at most {format_value(rule['maximum'], 'Hz')}",
                    found=format_value(value, "Hz"),
                    remedy=console.word(choose_remedy(rule, console)),
                    unit="Hz",
                )
            )
    return checks
