"""A figure of a page: the picture and the four things its caption owes a reader."""

from dataclasses import dataclass, field


@dataclass
class Figure:
    """A picture with its caption.

    svg : inline SVG text (made by :mod:`isocenter.figures`, escaped there), or "" when `src` names an image file
    shows, computed, good, cannot : what is shown, how it is computed, what good looks like, what it cannot show
    sources : (label, link inside the report) pairs
    """

    title: str
    alt: str
    shows: str
    computed: str
    good: str
    cannot: str
    svg: str = ""
    src: str = ""
    sources: list[tuple[str, str]] = field(default_factory=list)
    empty: str = ""
    is_wide: bool = False
    legend: list[tuple[str, str, str]] = field(default_factory=list)
