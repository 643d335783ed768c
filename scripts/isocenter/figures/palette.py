"""Colors that carry one meaning each: verdicts with a symbol and a word, sites with a shape.

Sites use the color-blind-safe set of Okabe & Ito (https://jfly.uni-koeln.de/color/); from the ninth site on,
position and text tell them apart, not color.
"""

from dataclasses import dataclass

#: verdict or state: (color with contrast >= 4.5:1 on white, symbol)
VERDICTS = {
    "pass": ("#00696b", "✓"),
    "warn": ("#8a5300", "▲"),
    "fail": ("#b3261e", "✕"),
    "none": ("#5b6470", "–"),
}

#: what the statistics and the intake say, in the words of the four states above
STATES = {
    "qualified": "pass",
    "indeterminate": "warn",
    "not_qualified": "fail",
    "pass": "pass",
    "warn": "warn",
    "fail": "fail",
    "used": "pass",
    "ok": "pass",
    "ignored": "none",
    "quarantined": "fail",
}

#: before and after calibration
STAGES = {"raw": "#9a5b00", "calibrated": "#0072b2"}

INK = "#1d2530"
MUTED = "#5b6470"
GRID = "#dfe3e8"

_SITE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#6a3d9a", "#1d2530")
#: as many as colors: in gray a shape must do
_SHAPES = ("circle", "square", "triangle", "diamond", "down", "plus", "pentagon", "star")


@dataclass(frozen=True)
class Style:
    """How one site is drawn."""

    color: str
    shape: str


def site_styles(sites: list[str]) -> dict[str, Style]:
    """A color and a shape a site, by sorted position; one muted color for all beyond eight sites."""
    ordered = sorted(sites)
    if len(ordered) > len(_SITE_COLORS):
        return {site: Style(MUTED, "circle") for site in ordered}
    return {site: Style(_SITE_COLORS[i], _SHAPES[i]) for i, site in enumerate(ordered)}


def state_of(word: object) -> str:
    """The state (``pass``, ``warn``, ``fail``, ``none``) behind a word of a table; ``none`` when unknown."""
    return STATES.get(str(word), "none")
