"""From received to analyzed: one box a stage, one branch for what is left out."""

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart


def draw_flow(stages: list[dict], alt: str) -> str:
    """Boxes downward with the number that enters each stage; branches to the right with what left and why.

    stages : dicts with ``label``, ``n``, ``unit`` (series, runs, …), ``lost`` (n or None), ``reasons`` (list of str)
    and perhaps ``notes``, lines said of what goes on
    """
    rows = [max(58, 30 + 17 * len(stage["reasons"]), 54 + 15 * len(stage.get("notes", []))) for stage in stages]
    chart = Chart(width=620, height=sum(rows) + 8)
    top = 4
    for i, (stage, row) in enumerate(zip(stages, rows, strict=True)):
        chart.box(8, top, 248, top + 40, color="#ffffff", opacity=1, stroke=INK, radius=5)
        chart.text(20, top + 25, stage["label"], size=14)
        chart.text(238, top + 25, f"{stage['n']} {stage['unit']}", size=14, anchor="end", weight="600")
        if stage["lost"]:
            color, symbol = VERDICTS["fail"]
            chart.line(248, top + 20, 282, top + 20, color=color)
            chart.add("path", d=f"M290 {top + 20}l-9 -5v10z", fill=color)
            chart.text(296, top + 25, f"{symbol} {stage['lost']} left out", size=13, color=color, weight="600")
            for k, reason in enumerate(stage["reasons"]):
                chart.text(296, top + 43 + 17 * k, _short(reason), size=12, color=MUTED, title=reason)
        if i + 1 < len(stages):
            chart.line(128, top + 40, 128, top + row - 6, color=INK)
            chart.add("path", d=f"M128 {top + row}l-5 -8h10z", fill=INK)
            passed = stage["n"] - (stage["lost"] or 0)
            if passed != stages[i + 1]["n"] or stage["lost"]:
                first, *more = stage.get("notes") or [""]
                for k, line in enumerate((f"{passed} {first}".strip(), *more)):
                    chart.text(138, top + 55 + 15 * k, line, size=12, color=MUTED)
        top += row
    return chart.render(alt)


def _short(text: str, size: int = 46) -> str:
    return text if len(text) <= size else f"{text[: size // 2]}…{text[-(size // 2 - 1) :]}"
