"""The phantom against its reference: bias a vial, and measured against reference over all sites."""

from isocenter.figures.palette import MUTED, VERDICTS, Style
from isocenter.figures.svg import Chart, Scale, is_finite, padded

#: what a reader sees at once; a vial beyond is drawn at the edge with its value beside it
_CAP = 40.0


def shown_bias(unit: str) -> str:
    """The unit of a bias of values in `unit` as it is shown: shares differ in points."""
    return "points" if unit == "%" else "%"


def draw_reference_axis(chart: Chart, references: list[float], unit: str) -> Scale:
    """The axis of the vials' references [unit] and its scale: logarithmic, but of shares, which reach down to 0."""
    is_log = unit != "%"
    x = chart.x_scale(*padded(references, log=is_log), log=is_log)
    chart.x_axis(x, f"reference [{unit}]" + (", log axis" if is_log else ""))
    return x


def draw_vial_bias(
    vials: list[dict],
    curve: list[tuple[float, float]],
    tolerance: float,
    unit: str,
    styles: dict[str, Style],
    alt: str,
) -> str:
    """Percent bias a vial (of shares, points) against its reference, tolerance as a band, calibration as a line.

    vials : dicts with ``reference`` [unit], ``bias``, ``error`` [%], ``session``, ``used``, ``label``,
    ``title``, ``href``; curve : (reference [unit], bias that the calibration takes away [%]); tolerance : ± [%]
    """
    chart = Chart(height=330, top=34)
    # Vials that take part set the axis; one left out may lie far away and stands at the edge with its value.
    ends = [
        v["bias"] + sign * (v["error"] if is_finite(v["error"]) else 0.0)
        for v in vials
        for sign in (-1, 1)
        if is_finite(v["bias"]) and v["used"]
    ]
    shown = [max(min(end, _CAP), -_CAP) for end in ends]
    y = chart.y_scale(*padded(shown, include=(-1.3 * tolerance, 1.3 * tolerance)))
    chart.box(
        chart.left,
        y(-tolerance),
        chart.width - chart.right,
        y(tolerance),
        color=VERDICTS["pass"][0],
        opacity=0.1,
    )
    chart.y_axis(y, f"measured − reference [{shown_bias(unit)}]")
    x = draw_reference_axis(chart, [v["reference"] for v in vials], unit)
    chart.line(chart.left, y(0), chart.width - chart.right, y(0), color=MUTED)
    if curve:
        chart.polyline([(x.clamp(r), y.clamp(b)) for r, b in curve], dash="5 4", color="#6a3d9a")
    drawn = [v for v in vials if is_finite(v["bias"]) and is_finite(v["reference"])]
    for vial in drawn:
        _vial(chart, x, y, vial, styles.get(vial["session"], Style(MUTED, "circle")))
    _name_vials(chart, x, y, drawn)
    for i, (session, style) in enumerate(sorted(styles.items())):
        chart.marker(chart.left + 6 + 104 * i, 14, color=style.color, shape=style.shape)
        chart.text(chart.left + 16 + 104 * i, 18, f"session {session}", size=12)
    chart.marker(chart.width - 150, 14, shape="cross", color=VERDICTS["fail"][0])
    chart.text(chart.width - 138, 18, "left out, with reason", size=11)
    return chart.render(alt)


def _vial(chart, x, y, vial, style) -> None:
    px, py = x(vial["reference"]), y.clamp(vial["bias"])
    if is_finite(vial["error"]):
        chart.interval(
            y.clamp(vial["bias"] - vial["error"]),
            y.clamp(vial["bias"] + vial["error"]),
            px,
            color=style.color,
            upright=True,
            cap=3,
        )
    if vial["used"]:
        chart.marker(px, py, color=style.color, shape=style.shape, title=vial["title"], href=vial.get("href", ""))
    else:
        chart.marker(px, py, color=VERDICTS["fail"][0], shape="cross", title=vial["title"], href=vial.get("href", ""))


def _name_vials(chart, x, y, vials) -> None:
    """The number of each vial that is left out or beyond the axis, once a vial, one below the other where close."""
    placed: list[tuple[float, float]] = []
    named = set()
    for vial in vials:
        is_beyond = not y.low <= vial["bias"] <= y.high
        if vial["label"] in named or (vial["used"] and not is_beyond):
            continue
        named.add(vial["label"])
        px, py = x(vial["reference"]), y.clamp(vial["bias"]) + 4
        # Away from the edge: below the lower one stand the numbers of the axis.
        is_low = vial["bias"] < y.low
        py -= 8 if is_low else 0
        while any(abs(px - qx) < 58 and abs(py - qy) < 12 for qx, qy in placed):
            py += -12 if is_low else 12
        placed.append((px, py))
        text = f"{vial['label']} ({vial['bias']:+.0f} %)" if is_beyond else vial["label"]
        end = px > chart.width * 0.75
        chart.text(px + (-7 if end else 7), py, text.replace("-", "−"), size=11, anchor="end" if end else "start")


def draw_linearity(points: list[dict], unit: str, styles: dict[str, Style], alt: str) -> str:
    """Measured against reference on log axes (of shares, linear ones), all sites, with the line of identity.

    points : dicts with ``reference``, ``measured``, ``error`` [unit], ``site``, ``used``, ``title``, ``href``
    """
    chart = Chart(height=340)
    is_log = unit != "%"
    both = [v for p in points for v in (p["reference"], p["measured"]) if is_finite(v) and (v > 0 or not is_log)]
    limits = padded(both, log=is_log)
    x, y = chart.x_scale(*limits, log=is_log), chart.y_scale(*limits, log=is_log)
    chart.y_axis(y, f"measured [{unit}]" + (", log axis" if is_log else ""))
    chart.x_axis(x, f"reference [{unit}]" + (", log axis" if is_log else ""))
    chart.line(x(limits[0]), y(limits[0]), x(limits[1]), y(limits[1]), color=MUTED, dash="6 4")
    for p in points:
        if not (is_finite(p["measured"]) and (p["measured"] > 0 or not is_log) and is_finite(p["reference"])):
            continue
        style = styles.get(p["site"], Style(MUTED, "circle"))
        shape, color = (style.shape, style.color) if p["used"] else ("cross", VERDICTS["fail"][0])
        chart.marker(
            x(p["reference"]),
            y(p["measured"]),
            shape=shape,
            color=color,
            hollow=p["used"],
            radius=4,
            title=p["title"],
            href=p.get("href", ""),
            group=p["site"],
        )
    return chart.render(alt)
