"""From the vials of phantom sessions to one calibration: the table of vials, and how sessions are put together.

Sessions of one phantom share its solutions: the reference's uncertainty does not shrink by scanning again, only the
measurement's does. What differs between the sessions of a scanner counts as its drift and widens the interval.
"""

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration, find_outliers, fit_calibration_curve
from isocenter.errors import CalibrationError
from isocenter.phantom.library import VialReference
from isocenter.phantom.measure import VialMeasurement

#: Columns of ``vials.tsv``. `temperature_stderr` is the signed share of `reference_stderr` that the uncertainty of the
#: day's temperature gives: one error common to all vials of the session.
VIAL_COLUMNS = (
    "session",
    "date",
    "phantom",
    "serial",
    "vial",
    "biomarker",
    "reference",
    "reference_stderr",
    "measured",
    "stderr",
    "bias_percent",
    "flag",
    "unit",
    "n_voxels",
    "used",
    "reason",
    "temperature_stderr",
)
#: Columns that stay text when the table is read.
VIAL_TEXT = ("session", "date", "phantom", "serial", "biomarker", "flag", "unit", "reason")


def tabulate_vials(
    reference: list[VialReference],
    measurements: list[VialMeasurement],
    *,
    session: str,
    date: str,
    phantom: str,
    serial: str,
    biomarker: str,
    unit: str,
) -> pd.DataFrame:
    """The rows of one session, outliers against the others' line marked."""
    rows = []
    for r, m in zip(reference, measurements, strict=True):
        rows.append(
            {
                "session": session,
                "date": date,
                "phantom": phantom,
                "serial": serial,
                "vial": r.vial,
                "biomarker": biomarker,
                "reference": r.value,
                "reference_stderr": r.stderr,
                "measured": m.measured,
                "stderr": m.stderr,
                "bias_percent": 100 * (m.measured / r.value - 1),
                "flag": m.flag,
                "unit": unit,
                "n_voxels": m.n_voxels,
                "used": m.used,
                "reason": m.reason,
                "temperature_stderr": r.temperature_stderr,
            }
        )
    table = pd.DataFrame(rows, columns=list(VIAL_COLUMNS))
    used = np.flatnonzero(table["used"].to_numpy(bool))
    columns = (table[c].to_numpy(float)[used] for c in ("measured", "stderr", "reference", "reference_stderr"))
    for i in used[find_outliers(*columns)]:
        table.loc[i, ["flag", "used"]] = ["outlier", False]
        table.loc[i, "reason"] = f"{table.loc[i, 'bias_percent']:+.1f} % off, unlike the other vials"
    return table


def tabulate_failure(
    vials: list[int], reference: list[VialReference] | None, reason: str, flag: str, **same: str
) -> pd.DataFrame:
    """The rows of a session that could not be measured: every vial stands there with the reason.

    same : session, date, phantom, serial, biomarker, unit
    """
    known = {r.vial: r for r in reference or []}
    rows = [
        {
            **same,
            "vial": vial,
            "reference": known[vial].value if vial in known else np.nan,
            "reference_stderr": known[vial].stderr if vial in known else np.nan,
            "measured": np.nan,
            "stderr": np.nan,
            "bias_percent": np.nan,
            "flag": flag,
            "n_voxels": 0,
            "used": False,
            "reason": reason,
            "temperature_stderr": known[vial].temperature_stderr if vial in known else np.nan,
        }
        for vial in vials
    ]
    return pd.DataFrame(rows, columns=list(VIAL_COLUMNS))


def calibrate_vials(table: pd.DataFrame, biomarker: str, unit: str, forms: tuple[str, ...]) -> Calibration:
    """One calibration from the vials of all sessions of a scanner.

    table : rows of ``vials.tsv``; those of other biomarkers and those not `used` are left out
    """
    rows = table[(table["biomarker"] == biomarker) & table["used"].astype(bool)] if len(table) else table
    if len(rows) == 0:
        reasons = sorted({r for r in table.get("reason", pd.Series(dtype=str)).astype(str) if r})
        return Calibration.refuse(
            biomarker, unit, "No vial of a phantom can be used" + (f": {reasons[0]}" if reasons else "")
        )
    if set(rows["unit"]) != {unit}:
        raise CalibrationError(f"Vials in {', '.join(sorted(set(rows['unit'])))} cannot calibrate {unit}")
    pooled, drift = pool_sessions(rows)
    reference = pooled["reference"].to_numpy(float)
    temperature = pooled["temperature_stderr"].to_numpy(float)
    fit = fit_calibration_curve(
        pooled["measured"].to_numpy(float),
        pooled["stderr"].to_numpy(float),
        reference,
        pooled["reference_stderr"].to_numpy(float),
        biomarker=biomarker,
        unit=unit,
        forms=tuple(forms),
        shared=np.stack([temperature, drift * reference]),
    )
    content = fit.to_dict()
    content["vials"] = [
        {**row, **vial} for row, vial in zip(pooled.to_dict("records"), fit.vials or [{}] * len(pooled), strict=True)
    ]
    content["dates"] = sorted(set(rows["date"]))
    content["checks"] = {**fit.checks, "n_sessions": rows["session"].nunique(), "drift_percent": 100 * drift}
    return Calibration.from_dict(content)


def pool_sessions(rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """One row a vial of each phantom, from rows of several sessions, and the scanner's drift between them.

    Returns
    -------
    table : DataFrame
        serial, vial, reference, reference_stderr (the table's own: it does not shrink with sessions),
        temperature_stderr (taken as common to the sessions: one thermometer), measured, stderr, n_sessions.
    drift : float
        Relative standard error that the sessions' common shifts leave on their mean [1]; 0 with one session.
    """
    rows = rows.assign(
        own=np.sqrt(np.maximum(rows["reference_stderr"] ** 2 - rows["temperature_stderr"] ** 2, 0.0)),
        ratio=np.log(rows["measured"] / rows["reference"]),
        relative=rows["stderr"] / rows["measured"],
    )
    drift, scatter = _between_sessions(rows)
    pooled = []
    for (serial, vial), group in rows.groupby(["serial", "vial"], sort=True):
        # Sessions differ by more than noise within one: they weigh the same unless one is far noisier.
        weight = 1.0 / (group["relative"].to_numpy(float) ** 2 + scatter**2)
        weight /= weight.sum()
        reference = float(weight @ group["reference"].to_numpy(float))
        measured = reference * float(np.exp(weight @ group["ratio"].to_numpy(float)))
        relative = np.sqrt((weight**2) @ (group["relative"].to_numpy(float) ** 2 + scatter**2))
        pooled.append(
            {
                "serial": serial,
                "vial": int(vial),
                "reference": reference,
                "reference_stderr": float(weight @ group["own"].to_numpy(float)),
                "temperature_stderr": float(weight @ group["temperature_stderr"].to_numpy(float)),
                "measured": measured,
                "stderr": measured * float(relative),
                "n_sessions": len(group),
            }
        )
    return pd.DataFrame(pooled), drift


def _between_sessions(rows: pd.DataFrame) -> tuple[float, float]:
    """Relative drift of the sessions' mean, and the scatter of single vials between sessions beyond their noise."""
    keys = rows["serial"].astype(str) + "/" + rows["vial"].astype(str)
    ratio = rows["ratio"] - rows.groupby(keys)["ratio"].transform("mean")
    repeated = keys.map(keys.value_counts()) > 1
    sessions = rows["session"][repeated]
    if sessions.nunique() < 2:
        return 0.0, 0.0
    weight = 1.0 / np.maximum(rows["relative"][repeated], 1e-4) ** 2
    shift = (ratio[repeated] * weight).groupby(sessions).sum() / weight.groupby(sessions).sum()
    n = len(shift)
    noise = float((1.0 / weight.groupby(sessions).sum()).mean())
    drift = max(float(shift.var(ddof=1)) - noise, 0.0) / n
    rest = ratio[repeated] - sessions.map(shift)
    freedom = max(int(repeated.sum()) - keys[repeated].nunique() - (n - 1), 1)
    variance = float((rest**2).sum()) / freedom
    scatter = max(variance - float((rows["relative"][repeated] ** 2).mean()), 0.0)
    return float(np.sqrt(drift)), float(np.sqrt(scatter))
