"""A small vocabulary for charts as SVG text: scales, axes, marks with hover titles.

Charts are text so that they are the same to the byte, sharp in print, readable without scripts, and so that a
mark can say what it is (``<title>``) and link to the row it came from. Lengths are pixels of the view box.
"""

import math
import numbers
from dataclasses import dataclass, field
from html import escape

from isocenter.figures.palette import GRID, INK, MUTED

#: the width that a chart has at full size; narrower screens scroll inside the figure's box
WIDTH = 480


@dataclass(frozen=True)
class Scale:
    """From data to pixels: `low`…`high` onto `start`…`end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of `value`."""
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The pixel of `value`, held inside the axis."""
        return self(min(max(value, self.low), self.high))

    def ticks(self, count: int = 6) -> list[float]:
        """Round values inside the axis, about `count` of them."""
        if self.log:
            return _log_ticks(self.low, self.high, count)
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / count))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**d for d in decades for m in mantissas]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if len(ticks) <= count:
            return ticks
    return ticks


def padded(values, *, pad: float = 0.08, include: tuple[float, ...] = (), log: bool = False) -> tuple[float, float]:
    """Limits around the finite `values` with some air; never of zero width."""
    finite = [float(v) for v in (*values, *include) if v is not None and math.isfinite(v) and (v > 0 or not log)]
    if not finite:
        return (0.1, 10.0) if log else (-1.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        ratio = max(high / low, 1.1) ** pad
        return low / ratio, high * ratio
    span = (high - low) or abs(high) * 0.1 or 1.0
    return low - pad * span, high + pad * span


def is_finite(value: object) -> bool:
    """Whether `value` is a number that can be drawn."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def number(value: float) -> str:
    """A tick label: short, with a real minus sign."""
    return f"{value:.6g}".replace("-", "−")


@dataclass
class Chart:
    """A view box that collects marks and renders to ``<svg>``."""

    width: float = WIDTH
    height: float = 300
    top: float = 14
    right: float = 16
    bottom: float = 46
    left: float = 62
    parts: list[str] = field(default_factory=list)
    has_links: bool = False

    def x_scale(self, low: float, high: float, *, log: bool = False) -> Scale:
        """A horizontal scale over the plot area."""
        return Scale(low, high, self.left, self.width - self.right, log)

    def y_scale(self, low: float, high: float, *, log: bool = False) -> Scale:
        """A vertical scale over the plot area, upward."""
        return Scale(low, high, self.height - self.bottom, self.top, log)

    def add(self, tag: str, content: str = "", *, title: str = "", href: str = "", **attributes) -> None:
        """One element; `title` is its hover text, `href` a link inside the report."""
        inner = (f"<title>{escape(title)}</title>" if title else "") + content
        text = f"<{tag}{_attributes(attributes)}" + (f">{inner}</{tag}>" if inner else "/>")
        if href:
            self.has_links = True
            text = f'<a href="{escape(href)}" tabindex="-1">{text}</a>'
        self.parts.append(text)

    def line(self, x1, y1, x2, y2, *, color: str = INK, width: float = 1.5, dash: str = "", title: str = "") -> None:
        """A straight line."""
        self.add(
            "line",
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            stroke=color,
            stroke_width=width,
            stroke_dasharray=dash,
            title=title,
        )

    def polyline(
        self, points: list[tuple[float, float]], *, color: str = INK, width: float = 1.5, dash: str = ""
    ) -> None:
        """A line through pixel points."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.add("polyline", points=path, fill="none", stroke=color, stroke_width=width, stroke_dasharray=dash)

    def box(
        self,
        x1,
        y1,
        x2,
        y2,
        *,
        color: str,
        opacity: float = 0.15,
        stroke: str = "",
        radius: float = 0,
        title: str = "",
    ) -> None:
        """A filled rectangle between two corners."""
        self.add(
            "rect",
            x=min(x1, x2),
            y=min(y1, y2),
            width=abs(x2 - x1),
            height=abs(y2 - y1),
            rx=radius or None,
            fill=color,
            fill_opacity=opacity,
            stroke=stroke or None,
            title=title,
        )

    def text(
        self,
        x,
        y,
        content: str,
        *,
        anchor: str = "start",
        size: float = 13,
        color: str = INK,
        weight: str = "",
        title: str = "",
    ) -> None:
        """Text whose baseline starts (or ends, or is centered) at a pixel."""
        self.add(
            "text",
            escape(content),
            x=x,
            y=y,
            text_anchor=anchor,
            font_size=size,
            fill=color,
            font_weight=weight,
            title=title,
        )

    def marker(
        self,
        x,
        y,
        *,
        shape: str = "circle",
        color: str = INK,
        radius: float = 4.5,
        hollow: bool = False,
        title: str = "",
        href: str = "",
        group: str = "",
    ) -> None:
        """A point in the shape of its site; `group` is the legend's entry that it belongs to."""
        style = {
            "data_group": group,
            "fill": "#ffffff" if hollow else color,
            "stroke": color,
            "stroke_width": 1.6,
            "title": title,
            "href": href,
        }
        if shape == "square":
            self.add(
                "rect",
                x=x - radius * 0.9,
                y=y - radius * 0.9,
                width=radius * 1.8,
                height=radius * 1.8,
                **style,
            )
        elif shape == "triangle":
            self.add("path", d=_polygon(x, y, radius * 1.25, (-90, 30, 150)), **style)
        elif shape == "diamond":
            self.add("path", d=_polygon(x, y, radius * 1.3, (-90, 0, 90, 180)), **style)
        elif shape in _OUTLINES:
            self.add("path", d=_outline(x, y, radius, shape), **style)
        elif shape == "cross":
            path = f"M{_number(x - radius)} {_number(y - radius)}l{_number(2 * radius)} {_number(2 * radius)}"
            path += f"M{_number(x - radius)} {_number(y + radius)}l{_number(2 * radius)} {_number(-2 * radius)}"
            self.add("path", d=path, **style | {"fill": "none", "stroke_width": 2})
        else:
            self.add("circle", cx=x, cy=y, r=radius, **style)

    def interval(
        self, low: float, high: float, at: float, *, color: str = INK, upright: bool = False, cap: float = 4
    ) -> None:
        """An error bar between the pixels `low` and `high`, at the pixel `at` of the other axis."""
        ends = ((low, at), (high, at)) if not upright else ((at, low), (at, high))
        self.line(*ends[0], *ends[1], color=color)
        for x, y in ends:
            self.line(*((x, y - cap, x, y + cap) if not upright else (x - cap, y, x + cap, y)), color=color)

    def x_axis(self, scale: Scale, label: str, *, grid: bool = True, ticks: list[float] | None = None) -> None:
        """Ticks, labels and a title below the plot."""
        base = self.height - self.bottom
        for value in scale.ticks() if ticks is None else ticks:
            if grid:
                self.line(scale(value), self.top, scale(value), base, color=GRID, width=1)
            self.text(scale(value), base + 17, number(value), anchor="middle", size=12, color=MUTED)
        self.line(self.left, base, self.width - self.right, base, color=MUTED, width=1)
        self.text((self.left + self.width - self.right) / 2, self.height - 8, label, anchor="middle")

    def y_axis(self, scale: Scale, label: str, *, grid: bool = True) -> None:
        """Ticks, labels and a turned title left of the plot."""
        for value in scale.ticks():
            if grid:
                self.line(self.left, scale(value), self.width - self.right, scale(value), color=GRID, width=1)
            self.text(self.left - 7, scale(value) + 4, number(value), anchor="end", size=12, color=MUTED)
        self.line(self.left, self.top, self.left, self.height - self.bottom, color=MUTED, width=1)
        middle = (self.top + self.height - self.bottom) / 2
        self.add(
            "text",
            escape(label),
            x=14,
            y=middle,
            text_anchor="middle",
            font_size=13,
            fill=INK,
            transform=f"rotate(-90 14 {_number(middle)})",
        )

    def render(self, alt: str) -> str:
        """The ``<svg>`` text; `alt` says in words what the picture shows."""
        role = "group" if self.has_links else "img"
        box = f"0 0 {_number(self.width)} {_number(self.height)}"
        # Never smaller than its text can be read at: a narrow screen scrolls inside the figure's box instead.
        size = f"max-width:{_number(self.width * 1.25)}px;min-width:{_number(self.width * 0.85)}px"
        start = f'<svg viewBox="{box}" role="{role}" aria-label="{escape(alt)}" style="{size}">'
        return start + "".join(self.parts) + "</svg>"


#: corners of a shape of radius 1, as (angle [degrees], distance)
_OUTLINES = {
    "down": [(90, 1.25), (210, 1.25), (330, 1.25)],
    "pentagon": [(-90 + 72 * k, 1.15) for k in range(5)],
    "star": [(-90 + 36 * k, 1.45 if k % 2 == 0 else 0.6) for k in range(10)],
    "plus": [(k * 90 + turn, size) for k in range(4) for turn, size in ((-18.4, 1.3), (18.4, 1.3), (45, 0.58))],
}


def _outline(x: float, y: float, radius: float, shape: str) -> str:
    corners = [
        (x + radius * size * math.cos(math.radians(angle)), y + radius * size * math.sin(math.radians(angle)))
        for angle, size in _OUTLINES[shape]
    ]
    return "M" + "L".join(f"{_number(a)} {_number(b)}" for a, b in corners) + "Z"


def _polygon(x: float, y: float, radius: float, degrees: tuple[int, ...]) -> str:
    points = [(x + radius * math.cos(math.radians(a)), y + radius * math.sin(math.radians(a))) for a in degrees]
    return "M" + "L".join(f"{_number(px)} {_number(py)}" for px, py in points) + "Z"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _attributes(attributes: dict) -> str:
    kept = {k.replace("_", "-"): v for k, v in attributes.items() if v is not None and v != ""}
    return "".join(f' {k}="{escape(_number(v) if isinstance(v, (int, float)) else str(v))}"' for k, v in kept.items())
