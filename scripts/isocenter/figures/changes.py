"""Changes of single participants against the variation of measurements."""

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart, is_finite, padded

#: what marks a call: none of them is good or bad, so shape and filling tell them as well as color
CALLS = {
    "real": (VERDICTS["warn"][0], "diamond", False),
    "possible": (VERDICTS["warn"][0], "diamond", True),
    "within_variation": (MUTED, "circle", False),
    "not_judged": (MUTED, "cross", True),
}

#: height of a row and where rows start [px]
_ROW, _TOP = 19, 16


def draw_changes(rows: list[dict], label: str, alt: str) -> str:
    """A row a change: where it stands, and the limits that measurement variation alone would keep it in.

    rows : dicts with ``label``, ``change``, ``low``, ``high`` (limit of the estimate), ``low95``, ``high95`` (of its
    upper bound) [as `label` says], ``call``, ``title``, ``href``
    """
    chart = Chart(height=_TOP + _ROW * len(rows) + 46, left=150, top=_TOP)
    finite = [r[k] for r in rows for k in ("change", "low", "high", "low95", "high95") if is_finite(r[k])]
    x = chart.x_scale(*padded(finite, include=(0.0,)))
    chart.x_axis(x, label)
    for number, row in enumerate(rows):
        middle = _TOP + _ROW * (number + 0.5)
        for low, high, opacity in (("low95", "high95", 0.18), ("low", "high", 0.32)):
            if is_finite(row[low]) and is_finite(row[high]):
                chart.box(x(row[low]), middle - 6, x(row[high]), middle + 6, color=MUTED, opacity=opacity)
        chart.text(chart.left - 8, middle + 4, row["label"], anchor="end", size=12, title=row["title"])
        color, shape, hollow = CALLS.get(row["call"], CALLS["not_judged"])
        if is_finite(row["change"]):
            chart.marker(x(row["change"]), middle, color=color, shape=shape, hollow=hollow, title=row["title"],
                         href=row["href"], group=row["call"])  # fmt: skip
    chart.line(x(0.0), _TOP, x(0.0), chart.height - chart.bottom, color=INK, width=1)
    return chart.render(alt)
