"""A scanner over time: sessions of its phantom with the limits of their control chart, and what happened between."""

from isocenter.figures.palette import MUTED, STAGES, VERDICTS
from isocenter.figures.svg import Chart, is_finite, padded

_EVENT = "#6a3d9a"


def draw_control_chart(points: list[dict], events: list[dict], label: str, alt: str) -> str:
    """Sessions over time with error bars, limits and moving average; events as upright lines.

    points : dicts with ``day``, ``value``, ``error`` (half the 95 % interval), ``center``, ``lower``, ``upper``,
    ``average``, ``segment``, ``state``, ``session``, ``title``, ``href``, in the order of time; limits NaN where there
    are none · events : dicts with ``day``, ``text``, ``number``, ``rebase``
    """
    chart = Chart(height=330, top=46)
    days = [p["day"] for p in points] + [e["day"] for e in events]
    x = chart.x_scale(*padded(days, pad=0.04))
    ends = [p["value"] + s * (p["error"] if is_finite(p["error"]) else 0.0) for p in points for s in (-1, 1)]
    y = chart.y_scale(*padded([*ends, *(p[k] for p in points for k in ("lower", "upper"))]))
    chart.y_axis(y, label)
    chart.x_axis(x, "days since the first session", grid=False)
    for stretch in _stretches(points):
        _limits(chart, x, y, stretch)
    for event in events:
        px = x(event["day"])
        chart.line(
            px, chart.top, px, chart.height - chart.bottom, color=_EVENT, dash="3 3" if not event["rebase"] else ""
        )
        chart.text(px + 3, chart.top + 11, str(event["number"]), size=11, color=_EVENT, title=event["text"])
    for p in points:
        px, py = x(p["day"]), y(p["value"])
        color = {"out": VERDICTS["fail"][0], "explained": VERDICTS["warn"][0]}.get(p["state"], STAGES["calibrated"])
        if is_finite(p["error"]):
            chart.interval(y(p["value"] - p["error"]), y(p["value"] + p["error"]), px, color=color, upright=True, cap=3)
        shape = {"out": "diamond", "explained": "square"}.get(p["state"], "circle")
        chart.marker(px, py, color=color, shape=shape, title=p["title"], href=p.get("href", ""))
    _legend(chart, points, events)
    return chart.render(alt)


def _stretches(points: list[dict]) -> list[list[dict]]:
    found: dict[object, list[dict]] = {}
    for p in points:
        found.setdefault(p["segment"], []).append(p)
    return list(found.values())


def _limits(chart: Chart, x, y, points: list[dict]) -> None:
    """Center, limits and average of one stretch between events that set them anew; nothing where there are none."""
    if not is_finite(points[0]["center"]):
        return
    left, right = (x(points[k]["day"]) for k in (0, -1))
    left, right = left - 8, right + 8
    first = points[0]
    chart.box(left, y(first["lower"]), right, y(first["upper"]), color=VERDICTS["pass"][0], opacity=0.08)
    chart.line(left, y(first["center"]), right, y(first["center"]), color=MUTED)
    for name in ("lower", "upper"):
        chart.line(left, y(first[name]), right, y(first[name]), color=VERDICTS["pass"][0], dash="6 4")
    chart.polyline([(x(p["day"]), y(p["average"])) for p in points], color=STAGES["raw"], width=2)


def _legend(chart: Chart, points: list[dict], events: list[dict]) -> None:
    has_limits = any(is_finite(p["center"]) for p in points)
    entries = [("circle", STAGES["calibrated"], "session")]
    entries += [("line", STAGES["raw"], "moving average"), ("dash", VERDICTS["pass"][0], "limits")] * has_limits
    states = {p["state"] for p in points}
    entries += [("diamond", VERDICTS["fail"][0], "out of control")] * ("out" in states)
    entries += [("square", VERDICTS["warn"][0], "out, explained")] * ("explained" in states)
    entries += [("line", _EVENT, "event")] * bool(events)
    at, row = chart.left + 6, 14
    for shape, color, text in entries:
        if at + 12 + 6.4 * len(text) > chart.width:
            at, row = chart.left + 6, row + 18
        if shape in ("line", "dash"):
            chart.line(at - 6, row, at + 8, row, color=color, width=2, dash="4 3" if shape == "dash" else "")
        else:
            chart.marker(at, row, color=color, shape=shape)
        chart.text(at + 12, row + 4, text, size=12)
        at += 32 + 6.4 * len(text)
    if not has_limits:
        chart.text(at + 6, row + 4, "too few sessions for limits", size=12, color=MUTED)
