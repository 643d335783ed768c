"""Repeats against each other: Bland–Altman, and within-subject SD against the mean."""

from isocenter.figures.palette import INK, MUTED, Style
from isocenter.figures.svg import Chart, is_finite, padded

_BAND = "#56b4e9"


def draw_bland_altman(points: list[dict], lines: dict, unit: str, styles: dict[str, Style], alt: str) -> str:
    """Difference of two repeats against their mean, with bias, limits and the intervals of each as bands.

    points : dicts with ``mean``, ``difference`` [unit], ``site``, ``title``, ``href``
    lines : ``bias``, ``loa_lower``, ``loa_upper`` [unit], each perhaps with ``_low`` and ``_high``
    """
    chart = Chart(height=320, right=74)
    values = [p["difference"] for p in points] + [v for v in lines.values() if is_finite(v)]
    y = chart.y_scale(*padded(values, include=(0.0,)))
    x = chart.x_scale(*padded([p["mean"] for p in points]))
    chart.y_axis(y, f"run 2 − run 1 [{unit}]")
    chart.x_axis(x, f"mean of the two runs [{unit}]")
    chart.line(chart.left, y(0), chart.width - chart.right, y(0), color=MUTED, width=1)
    for name, label in (("loa_upper", "upper limit"), ("bias", "bias"), ("loa_lower", "lower limit")):
        value = lines.get(name)
        if not is_finite(value):
            continue
        low, high = lines.get(f"{name}_low"), lines.get(f"{name}_high")
        if is_finite(low) and is_finite(high):
            chart.box(chart.left, y.clamp(low), chart.width - chart.right, y.clamp(high), color=_BAND, opacity=0.22)
        chart.line(
            chart.left,
            y(value),
            chart.width - chart.right,
            y(value),
            dash="" if name == "bias" else "6 4",
            width=1.6,
        )
        chart.text(chart.width - chart.right + 4, y(value) + 4, label, size=12, color=INK)
    scatter(chart, x, y, points, "mean", "difference", styles)
    return chart.render(alt)


def draw_within_spread(points: list[dict], wsd: float, unit: str, styles: dict[str, Style], alt: str) -> str:
    """Within-subject SD of the repeats against their mean; a line at the pooled SD.

    points : dicts with ``mean``, ``sd`` [unit], ``site``, ``title``, ``href``; wsd : pooled SD [unit] or NaN
    """
    chart = Chart(height=300, right=74)
    y = chart.y_scale(0.0, padded([p["sd"] for p in points], include=(0.0, wsd))[1])
    x = chart.x_scale(*padded([p["mean"] for p in points]))
    chart.y_axis(y, f"SD of the repeats sᵢ [{unit}]")
    chart.x_axis(x, f"mean of the repeats mᵢ [{unit}]")
    if is_finite(wsd):
        chart.line(chart.left, y(wsd), chart.width - chart.right, y(wsd), dash="6 4")
        chart.text(chart.width - chart.right + 4, y(wsd) + 4, "pooled", size=12)
    scatter(chart, x, y, points, "mean", "sd", styles)
    return chart.render(alt)


def scatter(chart, x, y, points, x_name, y_name, styles) -> None:
    """A mark a point, in the shape and color of its site."""
    for p in points:
        style = styles.get(p["site"], Style(MUTED, "circle"))
        chart.marker(
            x(p[x_name]),
            y(p[y_name]),
            shape=style.shape,
            color=style.color,
            title=p["title"],
            href=p.get("href", ""),
            group=p["site"],
        )
