"""The decision in one strip: estimate and one-sided bounds against the change that matters."""

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart, is_finite

#: the strip ends at this multiple of delta; a bound beyond it is drawn as an arrow
_REACH = 2.5


def draw_bound_strip(estimate: float, lower: float, upper: float, delta: float, unit: str, state: str, alt: str) -> str:
    """Estimate (dot), one-sided 95 % bounds (bar) and delta (line) on one axis [unit].

    state : ``pass``, ``warn``, ``fail`` or ``none``; gives the color of the bar
    """
    chart = Chart(width=380, height=92, top=26, bottom=40, left=12, right=18)
    values = [v for v in (estimate, lower, upper, delta) if is_finite(v)]
    if not values:
        chart.text(chart.left, 50, "not estimable", color=MUTED)
        return chart.render(alt)
    largest = max(values) * 1.12
    if is_finite(delta):
        floor = max([delta * _REACH] + [v * 1.3 for v in (estimate,) if is_finite(v)])
        largest = min(max(largest, delta * 1.25), floor)
    x = chart.x_scale(0.0, largest)
    color = VERDICTS[state][0]
    middle = 39
    if is_finite(delta):
        chart.box(x(0), 28, x(delta), 50, color=VERDICTS["pass"][0], opacity=0.09)
    chart.x_axis(x, f"coefficient [{unit}]", grid=False)
    if is_finite(upper):
        start = lower if is_finite(lower) else 0.0
        chart.line(x.clamp(start), middle, x.clamp(upper), middle, color=color, width=5)
        if upper > largest:
            tip = chart.width - chart.right + 12
            chart.add("path", d=f"M{tip} {middle}l-12 -7v14z", fill=color, title=f"upper bound {upper:.3g} {unit}")
        else:
            chart.line(x(upper), middle - 8, x(upper), middle + 8, color=color, width=2.5)
        if is_finite(lower):
            chart.line(x.clamp(lower), middle - 5, x.clamp(lower), middle + 5, color=color, width=1.5)
    if is_finite(estimate):
        chart.marker(
            x.clamp(estimate),
            middle,
            color=color,
            radius=6,
            hollow=True,
            title=f"estimate {estimate:.3g} {unit}",
        )
    if is_finite(delta):
        chart.line(x(delta), 22, x(delta), 52, color=INK, width=2.5, title=f"delta {delta:.3g} {unit}")
        late = x(delta) > chart.width * 0.55
        chart.text(
            x(delta) + (4 if late else -4),
            16,
            f"change that matters: {delta:g} {unit}",
            size=12,
            anchor="end" if late else "start",
        )
    return chart.render(alt)
