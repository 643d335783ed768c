"""From received to analyzed: one box a stage, one branch for what is left out."""

import textwrap

from isocenter.figures.palette import INK, MUTED, VERDICTS
from isocenter.figures.svg import Chart

#: where boxes end and where branches begin [px]
_RIGHT, _BRANCH = 278, 340


def draw_flow(stages: list[dict], alt: str) -> str:
    """Boxes downward with the number that enters each stage; branches to the right with what left and why.

    stages : dicts with ``label``, ``n``, ``unit`` (series, runs, …), ``lost`` (n or None), ``reasons`` (list of str)
    and perhaps ``notes``, lines said of what goes on, and ``beside``, what has no value though nothing was lost
    """
    rows = [max(58, 30 + 17 * _n_lines(stage), 54 + 15 * len(stage.get("notes", []))) for stage in stages]
    chart = Chart(width=820, height=sum(rows) + 8)
    top = 4
    for i, (stage, row) in enumerate(zip(stages, rows, strict=True)):
        chart.box(8, top, _RIGHT, top + 40, color="#ffffff", opacity=1, stroke=INK, radius=5)
        chart.text(20, top + 25, stage["label"], size=14)
        chart.text(_RIGHT - 10, top + 25, f"{stage['n']} {stage['unit']}", size=14, anchor="end", weight="600")
        if stage["lost"] or stage.get("beside"):
            _branch(chart, top, stage)
        if i + 1 < len(stages):
            chart.line(138, top + 40, 138, top + row - 6, color=INK)
            chart.add("path", d=f"M138 {top + row}l-5 -8h10z", fill=INK)
            passed = stage["n"] - (stage["lost"] or 0)
            first, *more = stage.get("notes") or [""]
            lines = (f"{passed} {first}".strip(), *more)
            # Of short arrows the number stands at the middle, of those with notes at the top.
            for k, line in enumerate(lines):
                at = top + 55 + 15 * k if more or first else top + 40 + (row - 40) / 2 + 2
                chart.text(148, at, line, size=12, color=MUTED)
        top += row
    return chart.render(alt)


def _n_lines(stage: dict) -> int:
    return sum(len(_wrap(r)) for r in stage["reasons"]) if stage["lost"] or stage.get("beside") else 0


def _branch(chart: Chart, top: float, stage: dict) -> None:
    """What left at a stage, or, without an acquisition lost, what of it has no value."""
    color, symbol = VERDICTS["fail" if stage["lost"] else "warn"]
    words = f"{stage['lost']} left out" if stage["lost"] else stage["beside"]
    chart.line(_RIGHT, top + 20, _BRANCH - 14, top + 20, color=color)
    chart.add("path", d=f"M{_BRANCH - 6} {top + 20}l-9 -5v10z", fill=color)
    chart.text(_BRANCH, top + 25, f"{symbol} {words}", size=13, color=color, weight="600")
    lines = [(line, k, reason) for reason in stage["reasons"] for k, line in enumerate(_wrap(reason))]
    for at, (line, k, reason) in enumerate(lines):
        chart.text(_BRANCH + (14 if k else 0), top + 43 + 17 * at, line, size=12, color=MUTED, title=reason)


def _wrap(text: str, size: int = 66) -> list[str]:
    """A reason in two lines at most, the second shortened in the middle."""
    first, *more = textwrap.wrap(text, size, break_on_hyphens=False) or [""]
    rest = " ".join(more)
    return (
        [first]
        if not rest
        else [first, rest if len(rest) <= size else f"{rest[: size // 2]}…{rest[-(size // 2 - 1) :]}"]
    )
