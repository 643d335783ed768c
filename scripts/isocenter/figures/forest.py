"""One row a site: an estimate with its interval, raw and calibrated side by side."""

from isocenter.figures.palette import INK, MUTED, STAGES
from isocenter.figures.svg import Chart, is_finite, padded


def draw_forest(rows: list[dict], label: str, alt: str, *, reference: float | None = None) -> str:
    """Estimates by group: hollow for raw, filled for calibrated, bars are 95 % intervals.

    rows : dicts with ``group``, ``stage`` (``raw``, ``calibrated``), ``value``, ``low``, ``high``, ``title`` and
    perhaps ``href``
    label : the axis, with its unit; reference : where a vertical line stands (0 for differences)
    """
    groups = list(dict.fromkeys(r["group"] for r in rows))
    stages = [stage for stage in STAGES if any(r["stage"] == stage for r in rows)]
    step = 15 * len(stages) + 12
    chart = Chart(height=step * len(groups) + 88, top=34, left=104)
    values = [v for r in rows for v in (r["value"], *_tamed(r)) if is_finite(v)]
    x = chart.x_scale(*padded(values, include=() if reference is None else (reference,)))
    chart.x_axis(x, label)
    if reference is not None:
        chart.line(x(reference), chart.top, x(reference), chart.height - chart.bottom, color=INK, width=1.5)
    for i, stage in enumerate(stages):
        chart.marker(chart.left + 6 + 130 * i, 14, color=STAGES[stage], hollow=stage == "raw", shape=_shape(stage))
        chart.text(chart.left + 17 + 130 * i, 19, stage, size=12)
    for i, group in enumerate(groups):
        top = chart.top + i * step + 6
        chart.text(chart.left - 8, top + step / 2 - 2, _short(group), anchor="end", size=12, title=group)
        for row in (r for r in rows if r["group"] == group):
            at = top + 8 + 15 * stages.index(row["stage"])
            if not is_finite(row["value"]):
                chart.text(chart.left + 6, at + 4, "not estimable", size=11, color=MUTED)
                continue
            color = STAGES[row["stage"]]
            if is_finite(row["low"]) and is_finite(row["high"]):
                chart.interval(x.clamp(row["low"]), x.clamp(row["high"]), at, color=color)
            chart.marker(
                x(row["value"]),
                at,
                color=color,
                hollow=row["stage"] == "raw",
                shape=_shape(row["stage"]),
                title=row["title"],
                href=row.get("href", ""),
            )
    return chart.render(alt)


def _shape(stage: str) -> str:
    return "square" if stage == "raw" else "circle"


def _tamed(row: dict) -> tuple:
    """The ends of an interval, left out of the axis when it is more than ten times its estimate."""
    low, high, value = row["low"], row["high"], row["value"]
    if not (is_finite(low) and is_finite(high) and is_finite(value)):
        return ()
    return (low, high) if high - low < 10 * abs(value) + 1e-300 else ()


def _short(text: str) -> str:
    return text if len(text) <= 14 else f"{text[:6]}…{text[-6:]}"
