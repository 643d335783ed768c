"""All decisions on one axis: the bounds of each quantity as a share of the change that matters to it."""

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart, is_finite

#: the axis ends here at the latest; a bound beyond it is an arrow with its number
_REACH = 3.0


def draw_decisions(rows: list[dict], alt: str) -> str:
    """A bar a quantity between its one-sided 95 % bounds, a ring at the estimate, a line where the bar must end.

    rows : dicts with ``label``, ``estimate``, ``lower``, ``upper`` [over delta], ``state``, ``word``, ``title`` and
    ``href``
    """
    step = 30
    chart = Chart(width=720, height=step * len(rows) + 76, top=26, left=200, right=150)
    ends = [v for r in rows for v in (r["estimate"], r["upper"]) if is_finite(v)]
    x = chart.x_scale(0.0, min(max([1.25, *(1.08 * v for v in ends)]), _REACH))
    chart.box(x(0), chart.top, x(1), chart.height - chart.bottom, color=VERDICTS["pass"][0], opacity=0.08)
    chart.x_axis(x, "over the change that matters")
    for i, row in enumerate(rows):
        at = chart.top + step * (i + 0.5)
        color, symbol = VERDICTS[row["state"]]
        chart.text(chart.left - 10, at + 4, row["label"], anchor="end", size=12, title=row["label"])
        chart.text(
            chart.width - chart.right + 12, at + 4, f"{symbol} {row['word']}", size=12, color=color, weight="600"
        )
        if not is_finite(row["estimate"]):
            chart.text(x(0) + 6, at + 4, "not estimable", size=11, color=MUTED)
            continue
        if is_finite(row["upper"]):
            low = row["lower"] if is_finite(row["lower"]) else 0.0
            chart.line(x.clamp(low), at, x.clamp(row["upper"]), at, color=color, width=6, title=row["title"])
            if row["upper"] > x.high:
                tip = x(x.high) + 8
                chart.add("path", d=f"M{tip:.1f} {at:.1f}l-10 -6v12z", fill=color, title=row["title"])
        chart.marker(
            x.clamp(row["estimate"]), at, color=color, radius=5.5, hollow=True, title=row["title"], href=row["href"]
        )
    chart.line(x(1), chart.top - 4, x(1), chart.height - chart.bottom + 4, color=INK, width=2.5)
    chart.text(x(1), 16, "the change that matters", anchor="middle", size=12)
    return chart.render(alt)
