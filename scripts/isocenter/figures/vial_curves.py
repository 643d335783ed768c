"""One small chart a vial: its samples, the fitted curve, and the samples that no fit used crossed out."""

import numpy as np

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.phantom import draw_reference_axis, shown_bias
from isocenter.figures.svg import Chart, padded

_FIT = "#0072b2"


def draw_vial_curve(
    axis: np.ndarray,
    signal: np.ndarray,
    left_out: np.ndarray,
    curve_axis: np.ndarray,
    curve: np.ndarray,
    *,
    heading: str,
    label: str,
    alt: str,
    log_signal: bool = False,
) -> str:
    """SVG of one vial.

    axis, signal, left_out : (n,) arrays, what was sampled [unit of `label`, a.u.]; curve_axis, curve : (m,) arrays
    heading : vial and value; log_signal : whether the signal's axis is logarithmic (decays)
    """
    chart = Chart(width=240, height=190, top=26, bottom=38, left=46, right=10)
    shown = signal[np.isfinite(signal) & (signal > 0)]
    drawn = curve[np.isfinite(curve) & (curve > 0)]
    top = [*shown.tolist(), *drawn.tolist()]
    x = chart.x_scale(*padded(axis.tolist(), pad=0.03))
    if log_signal:
        low = 0.5 * float(shown.min()) if shown.size else 1.0
        y = chart.y_scale(low, 1.5 * max(top, default=10.0), log=True)
    else:
        y = chart.y_scale(0.0, 1.06 * max(top, default=1.0))
    for value in y.ticks(4):
        chart.line(chart.left, y(value), chart.width - chart.right, y(value), color="#dfe3e8", width=1)
        chart.text(chart.left - 5, y(value) + 4, f"{value:g}", anchor="end", size=10, color=MUTED)
    chart.line(chart.left, chart.top, chart.left, chart.height - chart.bottom, color=MUTED, width=1)
    chart.x_axis(x, label, grid=False, ticks=x.ticks(5))
    inside = np.isfinite(curve) & (curve > 0)
    if inside.any():
        points = [(x(a), y.clamp(b)) for a, b in zip(curve_axis[inside], curve[inside], strict=True)]
        chart.polyline(points, color=_FIT)
    for a, b, out in zip(axis, signal, left_out, strict=True):
        if np.isfinite(b):
            words = f"{a:g}: {b:.4g}{', left out' if out else ''}"
            if out:
                chart.marker(x(a), y.clamp(b), shape="cross", color=VERDICTS["fail"][0], radius=3.2, title=words)
            else:
                chart.marker(x(a), y.clamp(b), color=INK, radius=2.2, hollow=True, title=words)
    chart.text(chart.left, 16, heading, size=12, weight="600")
    return chart.render(alt)


def draw_residuals(points: list[dict], tolerance: float, unit: str, alt: str) -> str:
    """Percent residual of every vial (of shares, points) after calibration against its reference.

    points : dicts with ``reference`` [unit], ``residual``, ``error`` [%], ``vial``, ``used``
    """
    chart = Chart(height=300, top=20)
    used = [p for p in points if p["used"] and np.isfinite(p["residual"])]
    shown = [v for p in used for v in (p["residual"] - p["error"], p["residual"] + p["error"])]
    y = chart.y_scale(*padded(shown, include=(-1.2 * tolerance, 1.2 * tolerance)))
    right = chart.width - chart.right
    chart.box(chart.left, y(-tolerance), right, y(tolerance), color=VERDICTS["pass"][0], opacity=0.1)
    chart.y_axis(y, f"calibrated − reference [{shown_bias(unit)}]")
    x = draw_reference_axis(chart, [p["reference"] for p in points], unit)
    chart.line(chart.left, y(0), right, y(0), color=MUTED)
    for p in points:
        if not np.isfinite(p["residual"]):
            continue
        px, py = x(p["reference"]), y.clamp(p["residual"])
        title = f"vial {p['vial']}: {p['residual']:+.2f} {shown_bias(unit)}"
        if p["used"]:
            ends = (y.clamp(p["residual"] - p["error"]), y.clamp(p["residual"] + p["error"]))
            chart.interval(*ends, px, color=_FIT, upright=True, cap=3)
            chart.marker(px, py, color=_FIT, title=title)
        else:
            chart.marker(px, py, shape="cross", color=VERDICTS["fail"][0], title=title + ", left out")
        chart.text(px + 6, py - 6, str(p["vial"]), size=11, color=MUTED)
    return chart.render(alt)


def draw_comparison(series: list[dict], tolerance: float, unit: str, alt: str) -> str:
    """Percent bias of the vials by several methods beside one another, in the order of the vials' references.

    series : dicts with ``title``, ``color``, ``shape``, ``points`` (reference [unit], bias [%], used)
    """
    chart = Chart(height=320, top=20 + 18 * len(series))
    both = [p for one in series for p in one["points"] if np.isfinite(p[1])]
    inside = [min(max(p[1], -40.0), 40.0) for p in both]
    y = chart.y_scale(*padded(inside, include=(-1.3 * tolerance, 1.3 * tolerance)))
    right = chart.width - chart.right
    chart.box(chart.left, y(-tolerance), right, y(tolerance), color=VERDICTS["pass"][0], opacity=0.1)
    chart.y_axis(y, f"measured − reference [{shown_bias(unit)}]")
    x = draw_reference_axis(chart, [p[0] for p in both], unit)
    chart.line(chart.left, y(0), right, y(0), color=MUTED)
    for k, one in enumerate(series):
        style = {"color": one["color"], "shape": one["shape"]}
        chart.marker(chart.left + 6, 12 + 18 * k, **style)
        chart.text(chart.left + 18, 16 + 18 * k, one["title"], size=12)
        for reference, bias, used in one["points"]:
            if np.isfinite(bias):
                words = f"{one['title']}: {bias:+.1f} {shown_bias(unit)}{'' if used else ', left out'}"
                chart.marker(x(reference), y.clamp(bias), **style, hollow=not used, title=words)
    return chart.render(alt)
