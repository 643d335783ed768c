"""Before and after calibration: what every site measured of the same people, a line a person."""

from isocenter.figures.palette import GRID, MUTED, Style
from isocenter.figures.svg import Chart, is_finite, padded


def draw_profiles(people: dict[str, dict], sites: list[str], unit: str, styles: dict[str, Style], alt: str) -> str:
    """Two panels with one scale: a person's means at each site, raw on the left, calibrated on the right.

    people : participant to ``raw`` and ``calibrated``, each a dict from site to a dict with ``value`` [unit], ``title``
    and ``href``; styles : participant to color and shape
    """
    chart = Chart(width=640, height=330, top=34, bottom=58)
    values = [p["value"] for stages in people.values() for points in stages.values() for p in points.values()]
    y = chart.y_scale(*padded(values))
    chart.y_axis(y, f"mean of the visits [{unit}]")
    gap = 22
    wide = (chart.width - chart.left - chart.right - gap) / 2
    for k, stage in enumerate(("raw", "calibrated")):
        left = chart.left + k * (wide + gap)
        chart.text(left + wide / 2, 20, "before calibration" if stage == "raw" else "calibrated", anchor="middle")
        places = {site: left + wide * (i + 0.5) / len(sites) for i, site in enumerate(sites)}
        for site, x in places.items():
            chart.line(x, chart.top, x, chart.height - chart.bottom, color=GRID, width=1)
            chart.text(x, chart.height - chart.bottom + 17, _short(site, len(sites)), anchor="middle", size=12,
                       color=MUTED, title=site)  # fmt: skip
        for person, stages in people.items():
            points = [(places[s], p) for s, p in stages[stage].items() if s in places and is_finite(p["value"])]
            style = styles.get(person, Style(MUTED, "circle"))
            chart.polyline([(x, y(p["value"])) for x, p in points], color=style.color, width=1.3)
            for x, p in points:
                chart.marker(x, y(p["value"]), color=style.color, shape=style.shape, radius=4, title=p["title"],
                             href=p["href"], group=person)  # fmt: skip
    chart.line(chart.left + wide + gap / 2, 8, chart.left + wide + gap / 2, chart.height - 34, color=MUTED, width=1)
    chart.text((chart.left + chart.width - chart.right) / 2, chart.height - 8, "site", anchor="middle")
    return chart.render(alt)


def _short(site: str, n: int) -> str:
    size = max(3, 40 // n)
    return site if len(site) <= size else f"{site[: size - 1]}…"
