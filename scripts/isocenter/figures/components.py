"""Where the variance comes from, before and after calibration."""

from isocenter.figures.palette import INK, STAGES
from isocenter.figures.svg import Chart, is_finite, padded

#: the components in the order of the model, with the words a reader knows
COMPONENTS = {
    "subject": "between subjects",
    "site": "between sites",
    "subject:site": "subject × site",
    "session": "between sessions",
    "residual": "repeat (residual)",
}


def draw_components(rows: list[dict], unit: str, alt: str) -> str:
    """A bar a component and stage: its SD with the 95 % interval.

    rows : dicts with ``component``, ``stage``, ``sd``, ``low``, ``high`` [unit], ``title``
    """
    names = [name for name in COMPONENTS if any(r["component"] == name for r in rows)]
    stages = [stage for stage in STAGES if any(r["stage"] == stage for r in rows)]
    step = 17 * len(stages) + 14
    chart = Chart(height=14 + step * len(names) + 74, top=34, left=128)
    # An interval from few sites is wide beyond use: the axis shows up to 3 times the largest estimate.
    largest = max([r["sd"] for r in rows if is_finite(r["sd"])] or [1.0]) or 1.0
    ends = [min(r["high"], 3 * largest) for r in rows if is_finite(r["high"])]
    x = chart.x_scale(0.0, padded([largest, *ends])[1])
    chart.x_axis(x, f"SD of the component [{unit}]")
    for i, stage in enumerate(stages):
        chart.box(
            chart.left + 130 * i,
            8,
            chart.left + 12 + 130 * i,
            20,
            color=STAGES[stage],
            opacity=1 - 0.35 * (i == 0),
        )
        chart.text(chart.left + 17 + 130 * i, 19, stage, size=12)
    for i, name in enumerate(names):
        top = chart.top + i * step + 6
        chart.text(chart.left - 8, top + step / 2 - 2, COMPONENTS[name], anchor="end", size=12)
        for j, stage in enumerate(stages):
            for row in (r for r in rows if r["component"] == name and r["stage"] == stage):
                _bar(chart, x, row, top + 17 * j, STAGES[stage], 1 - 0.35 * (j == 0 and len(stages) > 1))
    return chart.render(alt)


def _bar(chart, x, row, top, color, opacity) -> None:
    if not is_finite(row["sd"]):
        chart.text(chart.left + 6, top + 12, "not estimable", size=11)
        return
    chart.box(x(0), top, max(x(row["sd"]), x(0) + 1), top + 14, color=color, opacity=opacity, title=row["title"])
    if is_finite(row["low"]) and is_finite(row["high"]):
        end = x.clamp(row["high"])
        chart.interval(x.clamp(row["low"]), end, top + 7, color=INK)
        if row["high"] > x.high:
            chart.text(end - 6, top + 3, "›", anchor="end", size=16)
