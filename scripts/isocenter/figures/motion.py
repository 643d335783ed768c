"""How far a head moved, volume by volume."""

from isocenter.figures.palette import STAGES, VERDICTS
from isocenter.figures.svg import Chart, is_finite, padded


def draw_motion(displacements: list[float], used: list[str], alt: str) -> str:
    """Displacement of each volume of a series from its reference.

    displacements : [mm] · used : what became of the volume, "registered" or why not; shown on hovering
    """
    chart = Chart(height=200, bottom=44)
    known = [d for d in displacements if is_finite(d)]
    y = chart.y_scale(0.0, padded(known, include=(0.0, 1.0))[1])
    x = chart.x_scale(0.5, max(len(displacements), 1) + 0.5)
    chart.y_axis(y, "displacement [mm]")
    ticks = [t for t in x.ticks(8) if t == int(t) and t >= 1]
    chart.x_axis(x, "volume", grid=False, ticks=ticks)
    chart.polyline([(x(i), y(d)) for i, d in enumerate(displacements, 1) if is_finite(d)], color=STAGES["calibrated"])
    for i, (d, word) in enumerate(zip(displacements, used, strict=True), 1):
        if is_finite(d):
            is_lost = word.startswith("left")
            chart.marker(
                x(i), y(d), radius=3.5, title=f"volume {i}: {d:.2f} mm; {word}",
                shape="cross" if is_lost else "circle",
                color=VERDICTS["fail"][0] if is_lost else STAGES["calibrated"],
            )  # fmt: skip
    return chart.render(alt)
