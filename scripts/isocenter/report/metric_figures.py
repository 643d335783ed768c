"""The figures of a metric's page, each with the caption that a reader is owed."""

from typing import Any

import pandas as pd

from isocenter.figures.agreement import draw_bland_altman, draw_within_spread
from isocenter.figures.components import COMPONENTS, draw_components
from isocenter.figures.forest import draw_forest
from isocenter.figures.palette import site_styles
from isocenter.figures.phantom import draw_linearity
from isocenter.report.derive import (
    COLUMNS,
    deviate_sites,
    explain_spread,
    knows_noise,
    pair_repeats,
    spread_repeats,
)
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, Metric, declared, root_of, sd_unit, times
from isocenter.report.places import value_link
from isocenter.report.tabulate import row_link
from isocenter.report.wording import format_interval, format_number, format_plus_minus, is_missing, plural, shown_unit

#: no figure marks more points than this; a page with more would not open quickly
MAX_POINTS = 2000


def metric_figures(trial: Trial, metric: Metric) -> dict[str, Figure]:
    """Every figure of the metric by name."""
    return {
        "bland_altman": _bland_altman(trial, metric),
        "spread": _spread(trial, metric),
        "components": _components(trial, metric),
        "sites": _sites(trial, metric),
        "site_precision": _site_precision(trial, metric),
        "linearity": linearity_figure(trial, metric.biomarker),
    }


def legend_of(sites: list[str]) -> list[tuple[str, str, str]]:
    """(site, color, shape) for a figure that marks sites."""
    return [(site, style.color, style.shape) for site, style in site_styles(sites).items()]


def persons(trial: Trial, metric: Metric) -> pd.DataFrame:
    """The rows of measurements of a metric, phantoms apart."""
    rows = metric.rows(trial, "measurements")
    return rows[rows["kind"] != "phantom"] if "kind" in rows else rows


def _unit(trial: Trial, metric: Metric) -> tuple[str, float]:
    rows = metric.rows(trial, "measurements")
    return shown_unit(rows.iloc[0]["unit"]) if len(rows) else ("", 1.0)


def pick(rows: pd.DataFrame, **equal: str) -> Any:
    """The first row with the given values, or None; a column that is absent does not narrow."""
    for column, value in equal.items():
        if column in rows:
            rows = rows[rows[column] == value]
    return rows.iloc[0] if len(rows) else None


def _bland_altman(trial: Trial, metric: Metric) -> Figure:
    unit, factor = _unit(trial, metric)
    people = persons(trial, metric)
    pairs = pair_repeats(people, COLUMNS["calibrated"])[:MAX_POINTS]
    points = [
        {
            "mean": p["mean"] * factor,
            "difference": p["difference"] * factor,
            "site": p["site"],
            "title": f"{p['site']}, sub-{p['participant']}, session {p['session']}: "
            + "; ".join(f"run {run} {format_plus_minus(v * factor, e * factor)} {unit}" for run, v, e in p["runs"])
            + f"; difference {format_number(p['difference'] * factor)} {unit}",
            "href": value_link(people.loc[p["row"]], ROOT),
        }
        for p in pairs
    ]
    row = pick(repeat_contrasts(metric.rows(trial, "bland_altman")), stage="calibrated")
    lines = {}
    if row is not None:
        names = [f"{n}{end}" for n in ("bias", "loa_lower", "loa_upper") for end in ("", "_low", "_high")]
        lines = {n: times(row.get(n), factor) for n in names}
    if is_missing(lines.get("bias")):
        said = "not estimable from so few participants"
    else:
        bias = format_interval(*(lines[f"bias{end}"] for end in ("", "_low", "_high")))
        limits = f"{format_number(lines['loa_lower'])} to {format_number(lines['loa_upper'])}"
        said = f"bias {bias} {unit}, limits {limits} {unit}"
    alt = f"Bland–Altman plot of {metric.title}, {plural(len(points), 'pair')}: {said}"
    return Figure(
        f"Repeats in one session: {metric.title}",
        alt,
        f"Each mark is one participant in one session (n = {len(points)}): second run minus first run against their "
        f"mean, calibrated values in {unit}. Lines: bias and 95 % limits of agreement ({said}); bands: their 95 % "
        "intervals. A mark names its scan and leads to where it comes from.",
        "Values are the region's statistic in measurements.tsv; lines and bands are the row of bland_altman.tsv, in "
        "which the participant is the unit" + (f" (n = {int(row['n'])})." if row is not None else "."),
        "Marks scatter evenly around zero, without a trend, and the limits are narrow against the change that matters.",
        "Whether sites agree with each other: the repeats of a pair share scanner, session and phantom, so "
        "differences between sites cancel.",
        svg=draw_bland_altman(points, lines, unit, site_styles(trial.sites), alt) if points else "",
        sources=[
            ("measurements.tsv", f"{ROOT}tables/measurements.html"),
            ("bland_altman.tsv", f"{ROOT}tables/bland_altman.html"),
        ],
        empty="" if points else "No participant has two usable runs in one session.",
        legend=legend_of(trial.sites),
    )


def repeat_contrasts(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``bland_altman.tsv`` that compare repeats (runs), over all sites."""
    if not len(rows) or "contrast" not in rows:
        return rows
    words = rows["contrast"].astype(str)
    return rows[words.str.startswith("run ")]


def _spread(trial: Trial, metric: Metric) -> Figure:
    unit, factor = _unit(trial, metric)
    people = persons(trial, metric)
    spreads = spread_repeats(people, COLUMNS["calibrated"])[:MAX_POINTS]
    points = [
        {
            "mean": s["mean"] * factor,
            "sd": s["sd"] * factor,
            "site": s["site"],
            "title": f"{s['site']}, sub-{s['participant']}, session {s['session']}: SD "
            f"{format_number(s['sd'] * factor)} {unit} of {plural(s['n'], 'run')}, mean "
            f"{format_plus_minus(s['mean'] * factor, s['error'] * factor)} {unit} (± SE of one run)",
            "href": value_link(people.loc[s["row"]], ROOT),
        }
        for s in spreads
    ]
    row = pick(metric.rows(trial, "repeatability"), site="pooled", stage="calibrated")
    wsd = times(row.get("wsd"), factor) if row is not None else float("nan")
    said = _explained(people, factor, unit)
    alt = f"Within-subject SD against mean of {metric.title}, pooled SD {format_number(wsd)} {unit}"
    return Figure(
        f"Does the spread grow with the mean? {metric.title}",
        alt,
        f"SD sᵢ of the repeats of one participant in one session against their mean mᵢ (n = {len(points)}), "
        f"calibrated, in {unit}; the dashed line is the pooled within-subject SD, {format_number(wsd)} {unit}.",
        "sᵢ from measurements.tsv; the pooled SD from repeatability.tsv." + said,
        "A flat cloud around the line: an absolute scale fits. A cloud that rises in proportion asks for the "
        "log scale.",
        "With two repeats a single sᵢ is known to a factor of three only; no participant can be judged by it.",
        svg=draw_within_spread(points, wsd, unit, site_styles(trial.sites), alt) if points else "",
        sources=[
            ("measurements.tsv", f"{ROOT}tables/measurements.html"),
            ("repeatability.tsv", f"{ROOT}tables/repeatability.html"),
        ],
        empty="" if points else "No participant has two usable runs in one session.",
        legend=legend_of(trial.sites),
    )


def _explained(people: pd.DataFrame, factor: float, unit: str) -> str:
    """How much of the scatter of repeats their standard errors explain, before calibration, which repeats share."""
    within, errors, df = explain_spread(people, COLUMNS["raw"])
    if not df or is_missing(errors) or is_missing(within) or within <= 0:
        return ""
    whose = "The noise of the fits" if knows_noise(people) else "The runs' own standard errors"
    return (
        f" {whose} (root mean square {format_number(errors**0.5 * factor)} {unit}, before calibration) would make "
        f"{format_number(100 * errors / within, 0)} % of the within-session variance "
        f"({plural(df, 'degree')} of freedom)"
        + (", more than there is: they are not too small." if errors > within else "; the rest is not theirs.")
    )


def _components(trial: Trial, metric: Metric) -> Figure:
    rows, unit = [], ""
    found = declared(trial, metric, "variance_components")
    for _, r in found.iterrows():
        unit, factor = sd_unit(r)
        sd = times(r.get("sd"), factor)
        low, high = (root_of(r.get(c)) * factor for c in ("variance_low", "variance_high"))
        name = COMPONENTS.get(str(r["component"]), str(r["component"]))
        rows.append(
            {
                "component": str(r["component"]),
                "stage": str(r.get("stage", "")),
                "sd": sd,
                "low": low,
                "high": high,
                "title": f"{name}, {r.get('stage', '')}: SD {format_interval(sd, low, high)} {unit}",
            }
        )
    said = "; ".join(
        f"{COMPONENTS.get(r['component'], r['component'])} {r['stage']} {format_number(r['sd'])} {unit}" for r in rows
    )
    share = " On the log scale an SD reads as percent of the mean." if unit == "%" else ""
    return Figure(
        f"Where the variance comes from: {metric.title}",
        f"Standard deviations of the variance components before and after calibration: {said}",
        f"SD of each variance component, raw and calibrated, with 95 % intervals [{unit}] (n = {_sizes(found)})."
        f"{share} An arrow marks an interval that goes on.",
        "y = mean + subject + site + subject × site + session + residual, by REML, from variance_components.tsv.",
        "After calibration the site bar shrinks toward the residual while the subject bar stays: machines move "
        "together, people stay different.",
        "With few sites the interval of the site component is very wide; its bar alone proves nothing.",
        svg=draw_components(rows, unit, f"Variance components: {said}") if rows else "",
        sources=[("variance_components.tsv", f"{ROOT}tables/variance_components.html")],
        empty="" if rows else "No components were estimated.",
    )


def _sizes(rows: pd.DataFrame) -> str:
    """``58 values of 5 subjects at 4 sites``, as the levels of the calibrated components tell."""
    own = rows[rows["stage"] == "calibrated"] if "stage" in rows and (rows["stage"] == "calibrated").any() else rows
    levels = {str(r["component"]): r.get("n_levels") for _, r in own.iterrows()}
    nouns = {"residual": "value", "subject": "subject", "site": "site"}
    said = {name: plural(int(levels[name]), noun) for name, noun in nouns.items() if not is_missing(levels.get(name))}
    text = said.get("residual", "values not counted")
    text += f" of {said['subject']}" if "subject" in said else ""
    return text + (f" at {said['site']}" if "site" in said else "")


def _sites(trial: Trial, metric: Metric) -> Figure:
    rows, n = [], 0
    for stage, column in COLUMNS.items():
        found, n = deviate_sites(persons(trial, metric), column)
        for d in found:
            said = format_interval(d["value"], d["low"], d["high"])
            title = f"{d['site']}, {stage}: {said} %"
            rows.append({**d, "group": d["site"], "stage": stage, "title": title, "href": _site_page(trial, d["site"])})
    rows.sort(key=lambda r: r["group"])
    alt = "Deviation of each site from the mean of all sites: " + "; ".join(r["title"] for r in rows)
    return Figure(
        f"How far each site reads from the others: {metric.title}",
        alt,
        "Mean deviation of each site from the mean of all sites, in percent, over the "
        f"{plural(n, 'participant')} seen at every site; 95 % t intervals over participants. Hollow squares: "
        "raw; dots: calibrated.",
        "Each participant's mean at a site over that participant's mean of all sites, from measurements.tsv.",
        "Calibrated intervals include zero and lie closer to it than the raw ones.",
        "A bias that all sites share: the zero line is their own mean, not the truth. The phantom shows that.",
        svg=draw_forest(rows, "site − mean of all sites [%]", alt, reference=0.0) if rows else "",
        sources=[("measurements.tsv", f"{ROOT}tables/measurements.html")],
        empty="" if rows else "No participant was seen at every site.",
    )


def _site_page(trial: Trial, site: str) -> str:
    return f"{ROOT}sites/{site}.html" if site in trial.sites else ""


def _site_precision(trial: Trial, metric: Metric) -> Figure:
    rows = []
    for _, r in metric.rows(trial, "repeatability").iterrows():
        value, low, high = (times(r.get(c), 100) for c in ("wcv", "wcv_low", "wcv_high"))
        said = f"{r['site']}, {r.get('stage', '')}: wCV {format_interval(value, low, high)} %"
        rows.append(
            {
                "group": str(r["site"]),
                "stage": str(r.get("stage") or "calibrated"),
                "value": value,
                "low": low,
                "high": high,
                "title": said,
                "href": _site_page(trial, str(r["site"])),
            }
        )
    alt = "Within-subject coefficient of variation by site: " + "; ".join(r["title"] for r in rows)
    return Figure(
        f"Precision by site: {metric.title}",
        alt,
        "Within-subject coefficient of variation (wCV) of repeats, each site and pooled, with 95 % intervals, in "
        f"percent{_pooled_size(metric.rows(trial, 'repeatability'))}.",
        "Root mean square of SD over mean of each participant's repeats; intervals by χ², from repeatability.tsv.",
        "Sites overlap; one that stands apart to the right has a scanner, coil or habit to look at.",
        "Whether sites agree in level: precision only. With few repeats a site's interval is wide.",
        svg=draw_forest(rows, "wCV [%]", alt) if rows else "",
        sources=[("repeatability.tsv", f"{ROOT}tables/repeatability.html")],
        empty="" if rows else "No repeats to compare.",
    )


def _pooled_size(rows: pd.DataFrame) -> str:
    row = pick(rows, site="pooled", stage="calibrated")
    if row is None or is_missing(row.get("n_subjects")) or is_missing(row.get("df")):
        return ""
    return f" (n = {plural(int(row['n_subjects']), 'subject')}, {plural(int(row['df']), 'degree')} of freedom, pooled)"


def linearity_figure(trial: Trial, biomarker: str, root: str = ROOT) -> Figure:
    """Measured against reference over all sites' phantoms."""
    vials = trial.rows("vials", biomarker=biomarker)
    points, unit = [], ""
    for index, v in vials.iterrows():
        unit, factor = shown_unit(v.get("unit"))
        used = is_used(v)
        points.append(
            {
                "reference": times(v["reference"], factor),
                "measured": times(v["measured"], factor),
                "error": times(v["stderr"], factor),
                "site": str(v["site"]),
                "used": used,
                "title": f"{v['site']} ses-{v['session']} vial {v['vial']}: {times(v['measured'], factor):.4g} {unit} "
                f"measured, {times(v['reference'], factor):.4g} {unit} reference" + ("" if used else f"; {v['flag']}"),
                "href": row_link("vials", index, root),
            }
        )
    n_used = sum(p["used"] for p in points)
    alt = f"Measured against reference {biomarker} of {len(points)} vial measurements, {n_used} used"
    is_share = unit == "%"  # reaches down to 0, where no logarithm is
    return Figure(
        f"Phantom, measured against reference: {biomarker}",
        alt,
        f"Every vial of every site and session (n = {len(points)}, {n_used} used) before "
        f"calibration, {'both axes linear' if is_share else 'both axes logarithmic'}, in {unit}. "
        "Dashed: identity. Crosses: vials left out, with the reason in their row.",
        "Median over the vial's voxels against the reference at the phantom's temperature, from vials.tsv.",
        "Marks on the identity line over the whole range; a site above or below it by a constant factor has a ruler "
        "error that calibration removes.",
        f"Small errors: on {'these' if is_share else 'log'} axes 2 % is less than a mark. The bias plots on "
        "the site pages show those.",
        svg=draw_linearity(points[:MAX_POINTS], unit, site_styles(trial.sites), alt) if points else "",
        sources=[("vials.tsv", f"{root}tables/vials.html")],
        empty="" if points else "No phantom was measured.",
        legend=legend_of(trial.sites),
    )


def is_used(vial: Any) -> bool:
    """Whether a vial took part in the calibration."""
    if "used" in vial and not is_missing(vial["used"]):
        return str(vial["used"]).strip().lower() in ("true", "1", "yes", "1.0")
    return str(vial.get("flag", "")) in ("", "ok")
