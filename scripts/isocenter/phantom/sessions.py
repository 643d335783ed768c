"""From the vials of phantom sessions to one calibration: the table of vials, and how sessions are put together.

Sessions of one phantom share its solutions and its thermometer: those uncertainties do not shrink by scanning again.
The measurement's does, and so does what was misread of the temperature on each day. What differs between the sessions
of a scanner beyond all of this counts as its drift and widens the interval.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration, find_outliers, fit_calibration_curve
from isocenter.calibration.scale import RELATIVE, Scale, scale_of
from isocenter.errors import CalibrationError
from isocenter.phantom.library import VialReference
from isocenter.phantom.measure import VialMeasurement

#: Columns of ``vials.tsv``. `temperature_stderr` is the signed share of `reference_stderr` that the uncertainty of the
#: day's temperature gives: one error common to all vials of the session. `thermometer_stderr` is the part of that which
#: is common to all sessions. `common_stderr` is the signed share that another error common to all vials of a phantom
#: gives, such as the relaxivity of its solution; no session tells more of it. `inversion_efficiency`, `b1` and `snr`
#: are the scanner's quality in the vial, where the fit gives it. `scanner` is its id in ``site.yaml``, "" outside of a
#: trial.
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
    "thermometer_stderr",
    "inversion_efficiency",
    "b1",
    "snr",
    "common_stderr",
    "scanner",
)
#: Columns that stay text when the table is read.
VIAL_TEXT = ("session", "date", "phantom", "serial", "biomarker", "flag", "unit", "reason", "scanner")


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
    thermometer_share: float = 1.0,
    scanner: str = "",
) -> pd.DataFrame:
    """The rows of one session, outliers against the others' line marked.

    thermometer_share : of the temperature's standard error, what is the same in every session [1]
    """
    rows, scale = [], scale_of(unit)
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
                "bias_percent": 100 * scale.error(m.measured, r.value),
                "flag": m.flag,
                "unit": unit,
                "n_voxels": m.n_voxels,
                "used": m.used,
                "reason": m.reason,
                "temperature_stderr": r.temperature_stderr,
                "thermometer_stderr": r.temperature_stderr * thermometer_share,
                "common_stderr": r.common_stderr,
                "scanner": scanner,
            }
        )
    table = pd.DataFrame(rows, columns=list(VIAL_COLUMNS))
    used = np.flatnonzero(table["used"].to_numpy(bool))
    columns = (table[c].to_numpy(float)[used] for c in ("measured", "stderr", "reference", "reference_stderr"))
    for i in used[find_outliers(*columns, scale=scale)]:
        table.loc[i, ["flag", "used"]] = ["outlier", False]
        table.loc[i, "reason"] = f"{table.loc[i, 'bias_percent']:+.1f} % off, unlike the other vials"
    return table


def tabulate_failure(
    vials: list[int], reference: list[VialReference] | None, reason: str, flag: str, **same: str
) -> pd.DataFrame:
    """The rows of a session that could not be measured: every vial stands there with the reason.

    same : session, date, phantom, serial, biomarker, unit, scanner
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
            "thermometer_stderr": np.nan,
            "common_stderr": known[vial].common_stderr if vial in known else np.nan,
        }
        for vial in vials
    ]
    return pd.DataFrame(rows, columns=list(VIAL_COLUMNS))


def calibrate_vials(table: pd.DataFrame, biomarker: str, unit: str, forms: tuple[str, ...]) -> Calibration:
    """One calibration from the vials of all sessions of a scanner.

    table : rows of ``vials.tsv``; those of other biomarkers and those not `used` are left out
    """
    rows = select_vials(table, biomarker, forms)
    if len(rows) == 0:
        reasons = sorted({r for r in table.get("reason", pd.Series(dtype=str)).astype(str) if r})
        return Calibration.refuse(
            biomarker, unit, "No vial of a phantom can be used" + (f": {reasons[0]}" if reasons else "")
        )
    if set(rows["unit"]) != {unit}:
        raise CalibrationError(f"Vials in {', '.join(sorted(set(rows['unit'])))} cannot calibrate {unit}")
    scale = scale_of(unit)
    pooled = pool_sessions(rows, scale)
    table = pooled.table
    reference = table["reference"].to_numpy(float)
    fit = fit_calibration_curve(
        table["measured"].to_numpy(float),
        table["stderr"].to_numpy(float),
        reference,
        table["reference_stderr"].to_numpy(float),
        biomarker=biomarker,
        unit=unit,
        forms=tuple(forms),
        shared=np.vstack(
            [
                table["thermometer_stderr"].to_numpy(float),
                pooled.days,
                pooled.drift * scale.size(reference),
                pooled.common,
            ]
        ),
    )
    content = fit.to_dict()
    content["vials"] = [
        {**row, **vial} for row, vial in zip(table.to_dict("records"), fit.vials or [{}] * len(table), strict=True)
    ]
    content["dates"] = sorted(set(rows["date"]))
    content["checks"] = {**fit.checks, "n_sessions": rows["session"].nunique(), "drift_percent": 100 * pooled.drift}
    return Calibration.from_dict(content)


def select_vials(table: pd.DataFrame, biomarker: str, forms: tuple[str, ...]) -> pd.DataFrame:
    """The rows of ``vials.tsv`` that a calibration starts from.

    A session marks outliers against a straight line. Where the curve may bend they are looked at again.
    """
    if not len(table):
        return table
    used = table["used"].astype(bool)
    if "quadratic" in forms:
        used |= table["flag"] == "outlier"
    return table[(table["biomarker"] == biomarker) & used]


@dataclass(frozen=True)
class PooledVials:
    """One row a vial of each phantom, from several sessions.

    table : serial, vial, reference, reference_stderr (the table's own: it does not shrink with sessions),
        thermometer_stderr (signed; nor does that), measured, stderr, n_sessions
    days : (k, n) signed standard errors that the temperatures of the k days leave on the n vials [unit]
    common : (p, n) signed standard errors that the vials of each of p kinds of phantom share [unit]
    drift : relative standard error that the sessions' common shifts leave on their mean [1]; 0 with one session
    """

    table: pd.DataFrame
    days: np.ndarray
    common: np.ndarray
    drift: float


def pool_sessions(rows: pd.DataFrame, scale: Scale = RELATIVE) -> PooledVials:
    """Put the sessions of a scanner together: a weighted mean a vial, and the errors that its vials share.

    rows : of ``vials.tsv``, one biomarker, those used; scale : how its errors count
    """
    if "common_stderr" not in rows:  # a table that was written before this column was
        rows = rows.assign(common_stderr=0.0)
    rows = rows.assign(common_stderr=rows["common_stderr"].fillna(0.0))
    shared = rows["temperature_stderr"] ** 2 + rows["common_stderr"] ** 2
    own = np.sqrt(np.maximum(rows["reference_stderr"] ** 2 - shared, 0.0))
    day = np.sqrt(np.maximum(rows["temperature_stderr"] ** 2 - rows["thermometer_stderr"] ** 2, 0.0))
    rows = rows.assign(
        own=own,
        day=np.sign(rows["temperature_stderr"]) * day,
        ratio=scale.shift(rows["measured"], rows["reference"]),
        relative=scale.share(rows["stderr"], rows["measured"]),
    )
    drift, scatter = _between_sessions(rows, scale)
    # A phantom's temperature is read once a session; two phantoms of one session are read each by itself.
    readings = {key: i for i, key in enumerate(sorted(set(zip(rows["serial"], rows["session"], strict=True))))}
    vials = rows.groupby(["serial", "vial"], sort=True)
    days = np.zeros((len(readings), vials.ngroups))
    # Phantoms of one kind are mixed from one stock and read by one relaxivity: they share its error.
    kinds = sorted(set(rows["phantom"].astype(str)))
    common = np.zeros((len(kinds), vials.ngroups))
    pooled = []
    for column, ((serial, vial), group) in enumerate(vials):
        # Sessions differ by more than noise within one: they weigh the same unless one is far noisier.
        weight = 1.0 / (group["relative"].to_numpy(float) ** 2 + scatter**2)
        weight /= weight.sum()
        reference = float(weight @ group["reference"].to_numpy(float))
        measured = float(scale.move(reference, float(weight @ group["ratio"].to_numpy(float))))
        relative = np.sqrt((weight**2) @ (group["relative"].to_numpy(float) ** 2 + scatter**2))
        for share, session, error in zip(weight, group["session"], group["day"], strict=True):
            days[readings[serial, session], column] += share * error
        kind = kinds.index(str(group["phantom"].iloc[0]))
        common[kind, column] = float(weight @ group["common_stderr"].to_numpy(float))
        pooled.append(
            {
                "serial": serial,
                "vial": int(vial),
                "reference": reference,
                "reference_stderr": float(weight @ group["own"].to_numpy(float)),
                "thermometer_stderr": float(weight @ group["thermometer_stderr"].to_numpy(float)),
                "measured": measured,
                "stderr": float(scale.size(measured) * float(relative)),
                "n_sessions": len(group),
            }
        )
    return PooledVials(pd.DataFrame(pooled), days, common, drift)


def _between_sessions(rows: pd.DataFrame, scale: Scale) -> tuple[float, float]:
    """Relative drift of the sessions' mean, and the scatter of single vials between sessions beyond their noise.

    What the days' temperatures may have moved is no drift.
    """
    keys = rows["serial"].astype(str) + "/" + rows["vial"].astype(str)
    ratio = rows["ratio"] - rows.groupby(keys)["ratio"].transform("mean")
    repeated = keys.map(keys.value_counts()) > 1
    sessions = rows["session"][repeated]
    if sessions.nunique() < 2:
        return 0.0, 0.0
    weight = 1.0 / np.maximum(rows["relative"][repeated], 1e-4) ** 2
    total = weight.groupby(sessions).sum()
    shift = (ratio[repeated] * weight).groupby(sessions).sum() / total
    warmth = (scale.share(rows["day"], rows["reference"])[repeated] * weight).groupby(sessions).sum() / total
    n = len(shift)
    expected = float((1.0 / total + warmth**2).mean())
    drift = max(float(shift.var(ddof=1)) - expected, 0.0) / n
    rest = ratio[repeated] - sessions.map(shift)
    freedom = max(int(repeated.sum()) - keys[repeated].nunique() - (n - 1), 1)
    variance = float((rest**2).sum()) / freedom
    scatter = max(variance - float((rows["relative"][repeated] ** 2).mean()), 0.0)
    return float(np.sqrt(drift)), float(np.sqrt(scatter))
