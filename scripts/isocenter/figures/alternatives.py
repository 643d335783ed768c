"""The same decision under other analyses: estimate and upper bound of each against the change that matters."""

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart, is_finite

_REACH = 3.0


def draw_alternatives(rows: list[dict], delta: float, unit: str, alt: str) -> str:
    """A row an analysis: a ring at the estimate, a bar to its one-sided upper 95 % bound, a line at delta.

    rows : dicts with ``label``, ``estimate``, ``upper`` [unit], ``state``, ``word``, ``title``; delta : [unit] or NaN
    """
    step = 24
    chart = Chart(width=730, height=step * len(rows) + 74, top=26, left=300, right=118)
    ends = [v for r in rows for v in (r["estimate"], r["upper"]) if is_finite(v)]
    reach = max([*ends, *([1.15 * delta] if is_finite(delta) else [])] or [1.0]) * 1.05
    x = chart.x_scale(0.0, min(reach, _REACH * delta) if is_finite(delta) and delta > 0 else reach)
    chart.x_axis(x, f"coefficient [{unit}]")
    for i, row in enumerate(rows):
        at = chart.top + step * (i + 0.5)
        color, symbol = VERDICTS[row["state"]]
        chart.text(chart.left - 8, at + 4, _short(row["label"]), anchor="end", size=12, title=row["label"])
        chart.text(chart.width - chart.right + 14, at + 4, f"{symbol} {row['word']}", size=12, color=color)
        if not is_finite(row["estimate"]):
            chart.text(x(0) + 4, at + 4, "not estimable", size=11, color=MUTED)
            continue
        if is_finite(row["upper"]):
            chart.line(
                x.clamp(row["estimate"]), at, x.clamp(row["upper"]), at, color=color, width=4, title=row["title"]
            )
            if row["upper"] > x.high:
                tip = x(x.high) + 8
                chart.add("path", d=f"M{tip:.1f} {at:.1f}l-9 -5v10z", fill=color, title=row["title"])
        chart.marker(x.clamp(row["estimate"]), at, color=color, radius=4.5, hollow=True, title=row["title"])
    if is_finite(delta):
        chart.line(x.clamp(delta), chart.top - 4, x.clamp(delta), chart.height - chart.bottom, color=INK, width=2.5)
        chart.text(x.clamp(delta), 16, f"change that matters: {delta:g} {unit}", anchor="middle", size=12)
    return chart.render(alt)


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:31]}…{text[-12:]}"
