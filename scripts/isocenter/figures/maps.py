"""Mosaics of maps: mid-slices with the labels outlined, one picture a site and biomarker."""

import io
import os

import numpy as np

#: outlines that stand on viridis, one a label, with a dash pattern each
OUTLINES = (("#ffffff", "solid"), ("#ff4fd8", "solid"), ("#ffb000", "dashed"), ("#00e5ff", "dotted"))


def middle_slice(values: np.ndarray, labels: np.ndarray | None = None) -> int:
    """The slice along the last axis with the most labelled (or else finite) voxels in its middle third.

    values : (x, y, z) array; labels : (x, y, z) int array or None
    """
    z = values.shape[2]
    window = slice(z // 3, max(z // 3 + 1, -(-2 * z // 3)))
    content = labels > 0 if labels is not None and labels.shape == values.shape else np.isfinite(values)
    return window.start + int(np.argmax(content[:, :, window].sum(axis=(0, 1))))


def draw_mosaic(
    tiles: list[list[dict | None]],
    row_names: list[str],
    column_names: list[str],
    label_names: dict[int, str],
    *,
    title: str,
    unit: str,
    limits: tuple[float, float],
) -> bytes:
    """A PNG of map slices in rows and columns, viridis with a bar in `unit`, labels outlined.

    tiles : rows of dicts with ``values`` (x, y) array [unit] and ``labels`` (x, y) int array or None, or a dict
    with ``reason`` alone, or None where nothing was planned; limits : the range of the color bar [unit]
    """
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    height = max((t["values"].shape[1] for row in tiles for t in row if t and "values" in t), default=48)
    width = max((t["values"].shape[0] for row in tiles for t in row if t and "values" in t), default=48)
    n_rows, n_columns = len(tiles), max(len(column_names), 1)
    canvas = np.full((n_rows * height, n_columns * width), np.nan, np.float32)
    marks = np.zeros(canvas.shape, np.int16)
    notes = []
    for r, row in enumerate(tiles):
        for c, tile in enumerate(row):
            y, x = r * height, c * width
            if tile is None or "values" not in tile:
                notes.append((x + width / 2, y + height / 2, tile["reason"] if tile else "not planned"))
                continue
            values = tile["values"].T[::-1]
            canvas[y : y + values.shape[0], x : x + values.shape[1]] = values
            if tile["labels"] is not None:
                marks[y : y + values.shape[0], x : x + values.shape[1]] = tile["labels"].T[::-1]
    tile = 1.5
    wide, high = tile * n_columns, tile * n_rows * height / width
    # Places in inches, set by hand: matplotlib's layout engines would draw everything twice.
    left, bottom, right, top = 0.65, 0.45, 0.95, 0.6
    total = (max(left + wide + right, 4.4), bottom + high + top)
    figure = Figure(figsize=total, dpi=110)
    axes = figure.add_axes((left / total[0], bottom / total[1], wide / total[0], high / total[1]))
    bar = figure.add_axes(((left + wide + 0.12) / total[0], bottom / total[1], 0.14 / total[0], high / total[1]))
    colors = matplotlib.colormaps["viridis"].with_extremes(bad="#e9ecef")
    shown = axes.imshow(canvas, cmap=colors, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    for k, index in enumerate(sorted(label_names)):
        if (marks == index).any():
            color, style = OUTLINES[k % len(OUTLINES)]
            axes.contour(marks == index, levels=[0.5], colors=color, linestyles=style, linewidths=0.8)
    for x, y, text in notes:
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="#1d2530", wrap=True)
    axes.set_xticks([(c + 0.5) * width for c in range(n_columns)], [_plain(n) for n in column_names], fontsize=9)
    axes.set_yticks([(r + 0.5) * height for r in range(n_rows)], [_plain(n) for n in row_names], fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)
    for c in range(1, n_columns):
        axes.axvline(c * width - 0.5, color="white", linewidth=2)
    for r in range(1, n_rows):
        axes.axhline(r * height - 0.5, color="white", linewidth=2)
    figure.text(0.08 / total[0], 1 - 0.22 / total[1], _plain(title), fontsize=11)
    figure.colorbar(shown, cax=bar, label=unit, extend="max")
    handles = []
    for k, index in enumerate(sorted(label_names)):
        color, style = OUTLINES[k % len(OUTLINES)]
        handles.append(Line2D([], [], color=color, linestyle=style, label=_plain(label_names[index])))
    if handles:
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(left / total[0], 0.04 / total[1]),
            ncols=len(handles),
            fontsize=8,
            facecolor="#3b4652",
            labelcolor="white",
        )
    return _png(figure)


def _plain(text: str) -> str:
    """Text without matplotlib's math markup."""
    return str(text).replace("$", r"\$")


def _matplotlib():
    """Matplotlib, without a display."""
    # A font cache in a folder that a job may write; no display is ever asked for.
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib

    return matplotlib


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
