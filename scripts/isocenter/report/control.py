"""A site's scanners over time, and every form of calibration that was tried: parts of the site's page."""

import datetime
from typing import Any

from isocenter.calibration.scanners import list_curves
from isocenter.figures.control import draw_control_chart
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, times
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.wording import format_number, shorten, shown_unit

_LABELS = {
    "bias": "measured − reference, mean of the vials [%]",
    "inversion_efficiency": "inversion efficiency, median of the vials [1]",
    "b1": "B1 over nominal, median of the vials [1]",
    "snr": "signal over residual, median of the vials [1]",
}
_TITLES = {"bias": "Bias", "inversion_efficiency": "Inversion efficiency", "b1": "B1", "snr": "Signal to noise"}


def list_control_figures(trial: Trial, site: str) -> list[Figure]:
    """One chart a scanner, biomarker and quantity of ``control.tsv``."""
    table = trial.rows("control", site=site)
    if not len(table):
        return []
    keys = ["scanner", "biomarker", "quantity"]
    order = list(_LABELS)
    groups = sorted(table.groupby(keys, sort=False), key=lambda g: (g[0][0], g[0][1], order.index(g[0][2])))
    return [_figure(*key, rows) for key, rows in groups if key[2] in _LABELS]


def _figure(scanner: str, biomarker: str, quantity: str, rows: Any) -> Figure:
    dates = [_date(d) for d in rows["date"]]
    known = [d for d in dates if d]
    start = min(known) if known else None
    percent = "%" if quantity == "bias" else ""
    points = []
    for number, ((index, row), date) in enumerate(zip(rows.iterrows(), dates, strict=True)):
        value = times(row["value"], 1)
        text = f"session {row['session']}, {row['date']}: {value:.3f}".rstrip() + percent
        points.append(
            {name: times(row[name], 1) for name in ("value", "center", "lower", "upper", "average")}
            | {
                "day": float((date - start).days) if date and start else float(number),
                "error": 1.96 * times(row["stderr"], 1),
                "segment": row["segment"],
                "state": str(row["state"]),
                "session": str(row["session"]),
                "title": shorten(f"{text}; {row['state']} {row['signal'] or ''}".replace("nan", "").strip(), 120),
                "href": row_link("control", index, ROOT),
            }
        )
    events = _events(rows, points)
    n_out = sum(p["state"] == "out" for p in points)
    too_few = points[-1]["state"] == "too few sessions"
    state = f"{n_out} sessions out of control" if n_out else "too few sessions for limits" if too_few else "in control"
    title = f"{_TITLES[quantity]} of {biomarker} over time, {scanner}"
    alt = f"Control chart of {_TITLES[quantity].lower()} of {biomarker}, {scanner}: {len(points)} sessions, {state}"
    listed = "; ".join(f"{e['number']}: {e['text']}" for e in events)
    return Figure(
        title,
        alt,
        f"One mark per phantom session (n = {len(points)}), bars ±1.96 standard errors of noise and temperature; "
        f"{state}." + (f" Events: {shorten(listed, 300)}." if listed else ""),
        "Center and limits of individuals (dashed) from the first 20 sessions after the last event that sets them "
        "anew, at least 8, spread by the moving range; both widened for the few sessions they rest on. Brown: "
        "exponentially weighted moving average (weight 0.2), which finds drifts.",
        "All marks and the moving average inside the limits.",
        "An error that was there from the first session on, and what moves tissue but not a phantom.",
        svg=draw_control_chart(points, events, _LABELS[quantity], alt),
        sources=[("control.tsv", f"{ROOT}tables/control.html")],
    )


def _events(rows: Any, points: list[dict]) -> list[dict]:
    """The events between the sessions; drawn on their own day, solid where they set the limits anew."""
    found: list[dict] = []
    last = points[0]["segment"]
    dates = [_date(d) for d in rows["date"]]
    for text, point, date in zip(rows["events"], points, dates, strict=True):
        parts = [p for p in str(text).split("; ") if _date(p[:10])]
        for k, part in enumerate(parts):
            back = (date - _date(part[:10])).days if date else 0
            rebase = point["segment"] != last and k == len(parts) - 1
            found.append(
                {"day": point["day"] - back, "text": shorten(part, 90), "number": len(found) + 1, "rebase": rebase}
            )
        last = point["segment"]
    return found


def _date(text: object) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(str(text))
    except ValueError:
        return None


def form_table(trial: Trial, site: str, biomarker: str) -> Table:
    """Every form of calibration that was tried on a site's vials, and why it was taken or not."""
    calibration = trial.calibrations.get((site, biomarker), {})
    unit, factor = shown_unit(calibration.get("unit"))
    scales = (factor, 1.0, 1.0 / factor if factor else 1.0)
    rows = []
    every = [
        (f"{form}, {scanner}" if scanner else form, tried)
        for scanner, curve in list_curves(calibration).items()
        for form, tried in ((curve.get("checks") or {}).get("forms") or {}).items()
    ]
    for form, tried in every:
        coefficients, errors = (list(tried.get(key) or []) for key in ("coefficients", "stderr"))
        cells = [
            Cell(f"{format_number(c * s)} ± {format_number(e * s)}" if e else format_number(c * s))
            for c, e, s in zip(coefficients, errors, scales, strict=False)
        ]
        cells += [Cell("–")] * (3 - len(cells))
        figures = ("loo_rms_percent", "weighted_loo_rms_percent", "reduced_chi_square")
        rows.append(
            [
                form,
                *cells,
                *(number_cell(format_number(tried.get(f), 2), tried.get(f)) for f in figures),
                Cell(shorten(tried.get("verdict", ""), 90), state="pass" if tried.get("verdict") == "chosen" else ""),
            ]
        )
    columns = [
        "Form",
        f"c0 ± SE [{unit}]",
        "c1 ± SE",
        f"c2 ± SE [1/{unit}]",
        "Leave-one-out rms [%]",
        "Weighted leave-one-out rms [%]",
        "Reduced χ²",
        "Verdict",
    ]
    empty = "No form was tried: no vial could be used."
    return table_of(f"forms_{biomarker}", columns, rows, source="calibrations.tsv", empty=empty)
