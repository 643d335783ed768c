"""One map as a reader of images looks at it: value, standard error and flags side by side, regions outlined.

The voxels are one small picture, three tiles beside each other; outlines, bars and words are drawn over it, so that
they are sharp on paper too.
"""

import io
from html import escape

import numpy as np

from isocenter.entities import Flag
from isocenter.figures.maps import OUTLINES, _matplotlib
from isocenter.figures.palette import INK, MUTED
from isocenter.figures.svg import Chart, number

#: what stands where a voxel has no value
_NO_VALUE = (233, 236, 239)
#: a color a flag, told apart without red and green; their words stand beside them
FLAG_COLORS = {
    Flag.OK: "#bcdedd",
    Flag.MASKED: "#eef0f2",
    Flag.NO_SIGNAL: "#1d2530",
    Flag.AT_BOUND: "#d55e00",
    Flag.NOT_CONVERGED: "#cc79a7",
    Flag.SINGULAR: "#6a3d9a",
    Flag.CLIPPED: "#0072b2",
    Flag.OUT_OF_RANGE: "#e69f00",
}
FLAG_WORDS = {
    Flag.OK: "has a value",
    Flag.MASKED: "outside the object",
    Flag.NO_SIGNAL: "no signal",
    Flag.AT_BOUND: "at a limit of the fit",
    Flag.NOT_CONVERGED: "not converged",
    Flag.SINGULAR: "singular",
    Flag.CLIPPED: "clipped samples",
    Flag.OUT_OF_RANGE: "out of range",
}
_SIDE, _GAP = 200, 20


def lay_out(plane: np.ndarray) -> np.ndarray:
    """A (x, y) plane as rows of a picture: y upward."""
    return plane.T[::-1]


def render_tiles(values: np.ndarray, limits, stderr: np.ndarray, stderr_limits, flags: np.ndarray) -> bytes:
    """A PNG of three tiles: values and standard errors by color, flags by kind.

    values, stderr : (x, y) arrays [unit], NaN where there is none; flags : (x, y) int array of :class:`Flag`
    limits, stderr_limits : the ends of the color bars [unit]
    """
    _matplotlib()
    from matplotlib import image

    kinds = np.zeros((*flags.shape, 3), np.uint8)
    for flag, color in FLAG_COLORS.items():
        kinds[flags == flag] = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    tiles = [_color(values, limits), _color(stderr, stderr_limits), kinds.transpose(1, 0, 2)[::-1]]
    buffer = io.BytesIO()
    image.imsave(buffer, np.concatenate(tiles, axis=1), format="png", metadata={"Software": None})
    return buffer.getvalue()


def _color(values: np.ndarray, limits) -> np.ndarray:
    low, high = limits
    shown = lay_out(values)
    scaled = np.clip((shown - low) / ((high - low) or 1.0), 0.0, 1.0)
    colors = _viridis()(np.nan_to_num(scaled), bytes=True)[..., :3].copy()
    colors[~np.isfinite(shown)] = _NO_VALUE
    return colors


def _viridis():
    return _matplotlib().colormaps["viridis"]


def draw_panels(
    src: str, shape: tuple[int, int], labels: np.ndarray | None, names: dict[int, str], bars: list[dict],
    counts: dict[Flag, int], alt: str,
) -> str:  # fmt: skip
    """The three tiles with outlines, color bars and what the flags mean.

    src : the picture of :func:`render_tiles` · shape : (x, y) voxels of a tile · labels : (x, y) int array or None ·
    names : label to region · bars : of values and of standard errors, each ``title``, ``unit``, ``limits`` ·
    counts : voxels of each flag in the slice
    """
    width, height = shape
    tall = _SIDE * height / width
    kinds = [flag for flag in FLAG_COLORS if counts.get(flag)]
    shown = {k: v for k, v in names.items() if labels is not None and (labels == k).any()}
    legend = max(40, 18 * len(kinds) + 6)
    chart = Chart(width=3 * _SIDE + 2 * _GAP + 8, height=tall + 26 + legend + (22 if shown else 0))
    paths = {k: outline(lay_out(labels) == k) for k in shown} if labels is not None else {}
    for i, title in enumerate([*(bar["title"] for bar in bars), "Flags"]):
        left = 4 + i * (_SIDE + _GAP)
        chart.text(left, 14, title, size=13, weight="600")
        picture = (
            f'<image href="{escape(src)}" width="{3 * width}" height="{height}" style="image-rendering:pixelated"/>'
        )
        lines = "".join(
            f'<path d="{paths[k]}" transform="translate({i * width} 0)" fill="none" '
            f'stroke="{INK if i == 2 else OUTLINES[n % len(OUTLINES)][0]}" stroke-width="1.4" '
            f'vector-effect="non-scaling-stroke"/>'
            for n, k in enumerate(sorted(paths))
        )
        box = f"{i * width} 0 {width} {height}"
        chart.add("svg", picture + lines, x=left, y=20, width=_SIDE, height=tall, viewBox=box)
    for i, bar in enumerate(bars):
        _draw_bar(chart, 4 + i * (_SIDE + _GAP), 26 + tall, bar)
    for k, flag in enumerate(kinds):
        left, top = 4 + 2 * (_SIDE + _GAP), 28 + tall + 18 * k
        chart.box(left, top, left + 12, top + 12, color=FLAG_COLORS[flag], opacity=1, stroke=MUTED)
        chart.text(left + 18, top + 11, f"{FLAG_WORDS[flag]}: {counts[flag]}", size=12)
    _name_regions(chart, shown)
    return chart.render(alt)


def _draw_bar(chart: Chart, left: float, top: float, bar: dict) -> None:
    colors, steps = _viridis(), 40
    low, high = bar["limits"]
    for k in range(steps):
        r, g, b, _ = colors((k + 0.5) / steps, bytes=True)
        x = left + _SIDE * k / steps
        chart.box(x, top, x + _SIDE / steps + 0.4, top + 9, color=f"#{r:02x}{g:02x}{b:02x}", opacity=1)
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = low + share * (high - low)
        text = number(float(f"{value:.3g}")) + (f" {bar['unit']}" if share == 1.0 else "")
        chart.text(left + share * _SIDE, top + 24, text, size=12, anchor=anchor, color=MUTED)


def _name_regions(chart: Chart, shown: dict[int, str]) -> None:
    if not shown:
        return
    x, y = 4.0, chart.height - 6
    chart.box(0, y - 16, 2 * _SIDE + _GAP + 4, y + 6, color="#3b4652", opacity=1, radius=3)
    for n, k in enumerate(sorted(shown)):
        chart.line(x + 4, y - 5, x + 22, y - 5, color=OUTLINES[n % len(OUTLINES)][0], width=2)
        chart.text(x + 28, y - 1, shown[k], size=12, color="#ffffff")
        x += 40 + 7 * len(shown[k])


def outline(mask: np.ndarray) -> str:
    """The border of a mask as an SVG path on the voxels' edges.

    mask : (rows, columns) bool array
    """
    framed = np.pad(mask, 1).astype(np.int8)
    steps = []
    for y, x1, x2 in _runs(np.diff(framed, axis=0)[:, 1:-1] != 0):
        steps.append(f"M{x1} {y}H{x2}")
    for x, y1, y2 in _runs((np.diff(framed, axis=1)[1:-1] != 0).T):
        steps.append(f"M{x} {y1}V{y2}")
    return "".join(steps)


def _runs(edges: np.ndarray):
    """(line, start, end) of each stretch of True along the second axis."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    for (line, start), (_, end) in zip(starts, ends, strict=True):
        yield int(line), int(start), int(end)
