"""How precision runs with the level: the within-subject SD of bins of the measurand, and the curve through them."""

import math

from isocenter.figures.palette import STAGES
from isocenter.figures.svg import Chart, is_finite, padded

#: points of a curve
_POINTS = 60


def draw_precision_profile(bins: list[dict], curves: dict[str, tuple[float, float]], unit: str, alt: str) -> str:
    """SD of repeats against their level, a mark a bin with its interval, a curve a stage.

    bins : dicts with ``stage``, ``mean``, ``wsd``, ``low``, ``high`` [unit], ``title``, ``href``
    curves : stage → constant part a [unit] and proportional part b [1] of SD² = a² + (b·mean)²
    """
    chart = Chart(height=300)
    # A bin of few repeats reaches far up: the axis ends where the marks can still be told apart.
    top = max([4 * b["wsd"] for b in bins if is_finite(b["wsd"])] or [1.0])
    ends = [min(b["high"], top) for b in bins if is_finite(b["high"])]
    y = chart.y_scale(0.0, padded([b["wsd"] for b in bins], include=(0.0, *ends))[1])
    x = chart.x_scale(*padded([b["mean"] for b in bins]))
    chart.y_axis(y, f"SD of repeats [{unit}]")
    chart.x_axis(x, f"level [{unit}]")
    for stage, (a, b) in curves.items():
        if is_finite(a) and is_finite(b):
            levels = [x.low + (x.high - x.low) * k / (_POINTS - 1) for k in range(_POINTS)]
            points = [(x(m), y.clamp(math.hypot(a, b * m))) for m in levels]
            chart.polyline(points, color=STAGES.get(stage, STAGES["calibrated"]), dash="6 4" if stage == "raw" else "")
    for one in bins:
        color = STAGES.get(one["stage"], STAGES["calibrated"])
        if is_finite(one["low"]) and is_finite(one["high"]):
            chart.interval(y.clamp(one["low"]), y.clamp(one["high"]), x(one["mean"]), color=color, upright=True)
        chart.marker(
            x(one["mean"]), y(one["wsd"]), color=color, shape="square" if one["stage"] == "raw" else "circle",
            hollow=one["stage"] == "raw", title=one["title"], href=one["href"], group=one["stage"],
        )  # fmt: skip
    return chart.render(alt)
