"""How a trial's phantoms drifted: one line a scanner, every session against the first."""

from isocenter.figures.palette import MUTED, VERDICTS, Style
from isocenter.figures.svg import Chart, is_finite, padded


def draw_drift(points: list[dict], label: str, tolerance: float, styles: dict[str, Style], alt: str) -> str:
    """Mean bias of each phantom session over time.

    points : dicts with ``day`` (since the first session), ``value``, ``error`` [as the label says], ``scanner``,
    ``state``, ``title``, ``href``; tolerance : ± where a band stands, NaN for none
    """
    chart = Chart(height=300)
    ends = [
        p["value"] + s * p["error"] for p in points for s in (-1, 1) if is_finite(p["value"]) and is_finite(p["error"])
    ]
    band = (-tolerance, tolerance) if is_finite(tolerance) else ()
    y = chart.y_scale(*padded([p["value"] for p in points], include=(0.0, *ends, *band)))
    x = chart.x_scale(*padded([p["day"] for p in points], include=(0.0,), pad=0.06))
    if band:
        chart.box(
            chart.left, y(-tolerance), chart.width - chart.right, y(tolerance), color=VERDICTS["pass"][0], opacity=0.09
        )
    chart.y_axis(y, label)
    chart.x_axis(x, "days since the trial's first phantom session", ticks=[t for t in x.ticks() if t >= 0])
    chart.line(chart.left, y(0), chart.width - chart.right, y(0), color=MUTED, width=1)
    for scanner, style in styles.items():
        own = sorted((p for p in points if p["scanner"] == scanner and is_finite(p["value"])), key=lambda p: p["day"])
        chart.polyline([(x(p["day"]), y(p["value"])) for p in own], color=style.color, width=1.3)
        for p in own:
            if is_finite(p["error"]):
                chart.interval(y(p["value"] - p["error"]), y(p["value"] + p["error"]), x(p["day"]), color=style.color,
                               upright=True, cap=3)  # fmt: skip
            chart.marker(x(p["day"]), y(p["value"]), color=style.color, shape=style.shape, hollow=p["state"] == "out",
                         title=p["title"], href=p["href"], group=scanner)  # fmt: skip
    return chart.render(alt)
