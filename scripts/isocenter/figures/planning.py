"""Planning: the upper bound that a design would give, against its number of sites."""

import math

from isocenter.figures.palette import INK, MUTED, site_styles
from isocenter.figures.svg import Chart, is_finite, number, padded

#: More lines than this cannot be told apart.
_MOST_LINES = 8


def draw_bounds_by_sites(rows: list[dict], delta: float, coefficient: str) -> str:
    """Upper 95 % bound over sites, a line for each number of participants, sessions and repeats.

    rows : dicts with ``n_sites``, ``n_participants``, ``n_sessions``, ``n_repeats``, ``bound``, ``bound_simulated``,
    ``true_value``, all bounds in the values' unit; delta : the wanted bound, NaN for none
    """
    lines: dict[tuple, list[dict]] = {}
    for row in rows:
        lines.setdefault((row["n_participants"], row["n_sessions"], row["n_repeats"]), []).append(row)
    keys = sorted(lines)
    if len(keys) > _MOST_LINES:
        keys = [keys[round(i * (len(keys) - 1) / (_MOST_LINES - 1))] for i in range(_MOST_LINES)]
    shown = [row for key in keys for row in lines[key]]
    true = shown[0]["true_value"]
    chart = Chart(width=640, height=400, right=170)
    bounds = [row["bound"] for row in shown]
    low, high = padded(bounds, include=(true, *((delta,) if is_finite(delta) else ())), log=max(bounds) > 4 * true)
    y = chart.y_scale(max(low, 0.0) if max(bounds) <= 4 * true else low, high, log=max(bounds) > 4 * true)
    sites = sorted({row["n_sites"] for row in shown})
    x = chart.x_scale(sites[0] - 0.5, sites[-1] + 0.5)
    chart.y_axis(y, "upper 95 % bound [unit of the SDs]")
    chart.x_axis(x, "sites", ticks=sites if len(sites) <= 12 else None)
    right = chart.width - chart.right
    for value, name, dash in ((true, "true value", "2 4"), (delta, "delta", "7 4")):
        if is_finite(value):
            chart.line(chart.left, y(value), right, y(value), color=INK if name == "delta" else MUTED, dash=dash)
            chart.text(right + 6, y(value) + 4, f"{name} {number(float(f'{value:.4g}'))}", size=12)
    styles = site_styles([str(key) for key in keys])
    for place, key in enumerate(keys):
        style, points = styles[str(key)], sorted(lines[key], key=lambda row: row["n_sites"])
        chart.polyline([(x(row["n_sites"]), y(row["bound"])) for row in points], color=style.color, width=1.8)
        for row in points:
            title = f"{row['design']}: bound {row['bound']:.4g}"
            chart.marker(x(row["n_sites"]), y(row["bound"]), shape=style.shape, color=style.color, title=title)
            simulated = row["bound_simulated"]
            if is_finite(simulated) and not math.isnan(simulated):
                chart.marker(
                    x(row["n_sites"]), y.clamp(simulated), shape="cross", color=style.color,
                    title=f"{row['design']}: median of simulated trials {simulated:.4g}",
                )  # fmt: skip
        top = chart.top + 14 + 20 * place
        chart.marker(right + 14, top - 4, shape=style.shape, color=style.color)
        chart.text(right + 26, top, f"{key[0]} people × {key[1]} × {key[2]}", size=12)
    chart.text(right + 6, chart.height - 30, "people × sessions × repeats", size=11, color=MUTED)
    chart.text(right + 6, chart.height - 14, "crosses: simulated", size=11, color=MUTED)
    return chart.render(f"Upper 95 % bound of the {coefficient.replace('_', ' ')} against the number of sites")
