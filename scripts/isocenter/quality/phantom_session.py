"""What one phantom session says of its scanner: checks a way to measure, and all of it in a sentence."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration
from isocenter.calibration.scale import scale_of
from isocenter.phantom.library import NO_REFERENCE
from isocenter.phantom.measure import OFF_SLICE
from isocenter.phantom.other_batch import BetterBatch
from isocenter.phantom.vial_fits import Method
from isocenter.quality.check import Check, make_check

#: Bias of a vial, and error of a calibration, that a scanner may have [%]; the same band as on a site's page.
TOLERANCE = 5.0
#: Of shares, in points: of the 5.6 % of fat from which a liver counts as fatty (Szczepaniak 2005, doi
#: 10.1152/ajpendo.00064.2004) a scanner should not take up half.
TOLERANCE_IN_POINTS = 2.5


def tolerance_of(unit: str) -> float:
    """The tolerance for values in `unit` [%, of shares in points]."""
    return TOLERANCE if scale_of(unit).is_relative else TOLERANCE_IN_POINTS


def check_session(
    wanted: Iterable[str],
    methods: Iterable[Method],
    table: pd.DataFrame,
    calibrations: Mapping[str, Calibration],
    problems: Iterable[tuple[str, str]],
    batches: Mapping[str, BetterBatch | None] | None = None,
) -> list[Check]:
    """Per way to measure that calibrates: whether vials were found, how far off they are, what calibration leaves.

    wanted : the quantities that the session's series measure; methods : of what was measured; table : its rows, with
    `method`, `used` and `bias_percent`; calibrations : by the key of a method; problems : what could not be done
    batches : by the key of a method, the batch that its vials follow better than their own, None where there is none
    """
    checks = []
    primary = {method.key: method for method in methods if method.is_primary}
    for quantity in sorted(set(wanted) - {m.quantity for m in primary.values()}):
        why = "; ".join(text for _, text in problems) or "no reason known"
        checks.append(
            make_check(
                False, severity="fail", id=f"measured_{quantity}", group="phantom", scope=quantity,
                parameter="vials found and measured", expected="every vial", found=why,
                remedy="look at the series; check the phantom, its serial number and which plate the slices cut",
            )
        )  # fmt: skip
    for key, method in methods_without_reference(methods, calibrations).items():
        n_valued, n_vials = _count_values(table, key)
        checks.append(
            make_check(
                # Beside what can be judged it is for information; alone it leaves the session without an answer.
                bool(primary), severity="warn", id=f"reference_{key}", group="phantom", scope=method.title,
                parameter="reference", expected="a table of the phantom for this quantity",
                found=f"none; {n_valued} of {n_vials} vials have a value",
                remedy="compare the values with earlier sessions of the same phantom",
            )
        )  # fmt: skip
    for key, method in primary.items():
        tolerance, word = tolerance_of(method.unit), shown_points(method.unit)
        rows = table[table["method"] == key]
        used = rows[rows["used"].astype(bool)]
        calibration = calibrations[key]
        words = {"group": "phantom", "scope": method.title}
        checks.append(
            make_check(
                not calibration.refused, severity="fail", id=f"calibration_{key}", parameter="calibration",
                expected="possible", found=calibration.reason if calibration.refused else calibration.form,
                remedy="scan the phantom with more inversion or echo times, or as the protocol says", **words,
            )
        )  # fmt: skip
        n_cut = int((rows["flag"] == OFF_SLICE).sum())
        if n_cut:
            checks.append(
                make_check(
                    False, severity="warn", id=f"slice_{key}", parameter="where the slice cuts the vials",
                    expected="through the middle of every vial", found=f"{n_cut} of {len(rows)} vials are not",
                    remedy="plan the slice parallel to the plate and through its middle", **words,
                )
            )  # fmt: skip
        bias = float(used["bias_percent"].abs().max()) if len(used) else float("nan")
        checks.append(
            make_check(
                bias <= tolerance, severity="warn", id=f"accuracy_{key}", parameter="largest bias of a vial used",
                expected=f"at most {tolerance:g} {word}", found=f"{bias:.1f} {word} ({len(used)} of {len(rows)} used)",
                remedy="calibrate with the vials of this session; check the temperature of the phantom",
                tolerance=tolerance, unit="percent", **words,
            )
        )  # fmt: skip
        better = (batches or {}).get(key)
        if better is not None:
            checks.append(
                make_check(
                    False, severity="warn", id=f"batch_{key}", parameter="whose batch the vials follow",
                    expected=f"batch {better.own}, as the serial number says",
                    found=f"batch {better.other}: about one gain they scatter by {100 * better.other_scatter:.1f} %, "
                          f"by batch {better.own} {100 * better.scatter:.1f} %",
                    remedy="read the serial number on the phantom again", **words,
                )
            )  # fmt: skip
        left = float(calibration.checks.get("loo_rms_percent", float("nan")))
        checks.append(
            make_check(
                left <= tolerance, severity="fail", id=f"prediction_{key}",
                parameter="error that calibration leaves, each vial predicted from the others",
                expected=f"at most {tolerance:g} {word} rms", found=f"{left:.1f} {word}",
                remedy="find the vials that do not follow the line; check serial number and temperature",
                tolerance=tolerance, unit="percent", **words,
            )
        )  # fmt: skip
    return checks


def methods_without_reference(methods: Iterable[Method], calibrations: Mapping[str, Calibration]) -> dict[str, Method]:
    """By their keys the ways to measure what the phantom has no reference for."""
    return {method.key: method for method in methods if method.key not in calibrations}


def _count_values(table: pd.DataFrame, key: str) -> tuple[int, int]:
    """How many vials of a way to measure have a value that the acquisition can see, and how many there are."""
    rows = table[table["method"] == key]
    return int((rows["measured"].notna() & (rows["flag"] == NO_REFERENCE)).sum()), len(rows)


def shown_points(unit: str) -> str:
    """The word behind an error of values in `unit`."""
    return "%" if scale_of(unit).is_relative else "points"


def describe_session(methods: Iterable[Method], table: pd.DataFrame, checks: Iterable[Check]) -> str:
    """One sentence a way to measure that calibrates, and what failed."""
    parts = []
    for method in {method.key: method for method in methods}.values():
        rows = table[table["method"] == method.key]
        used = rows[rows["used"].astype(bool)]
        if (rows["flag"] == NO_REFERENCE).any():
            n_valued, n_vials = _count_values(table, method.key)
            parts.append(f"{method.title}: {n_valued} of {n_vials} vials have a value, without a reference.")
        elif method.is_primary and len(used):
            rms = float(np.sqrt((used["bias_percent"] ** 2).mean()))
            word = shown_points(method.unit)
            parts.append(
                f"{method.title}: {len(used)} of {len(rows)} vials used, {rms:.1f} {word} rms from the reference."
            )
    failed = [f"{c.scope}: {c.parameter}" for c in checks if c.verdict == "fail"]
    return " ".join(parts + ([f"Failed: {'; '.join(failed)}."] if failed else [])) or "Nothing could be measured."
