"""Where the vials were measured: the image with each region's circle and number, and every region from near by."""

import os
from pathlib import Path

import numpy as np

from isocenter.io.nifti import write_bytes

#: One color a meaning, told apart without color by the line: used, left out.
USED, LEFT_OUT = ("#56b4e9", "solid"), ("#ff9f1c", "dashed")


def draw_vials(
    path: str | os.PathLike,
    image: np.ndarray,
    spacing: tuple[float, float],
    vials: list[dict],
    *,
    diameter: float,
    title: str,
    note: str = "",
) -> None:
    """Write a PNG of one slice with its vials.

    image : (x, y) array [a.u.]; spacing : of its voxels [mm]
    vials : dicts with ``vial``, ``voxel`` (x, y indices), ``used``; empty when they were not found
    diameter : of the measured regions [mm]; note : what went wrong, drawn below
    """
    figure = _figure(6.0, 6.4)
    _draw_overview(figure.subplots(), image, spacing, vials, diameter, title, note)
    _write_png(path, figure)


def draw_contact_sheet(
    path: str | os.PathLike,
    images: np.ndarray,
    spacing: tuple[float, float],
    vials: list[dict],
    *,
    diameter: float,
    reach: float,
    title: str,
    note: str = "",
) -> None:
    """Write a PNG with the overview and every vial's region from near by, each in the slice that holds it.

    images : (x, y, z) array [a.u.]; spacing : of its voxels in the plane [mm]
    vials : dicts with ``vial``, ``voxel`` (x, y, z indices), ``used`` and optionally ``label``, a line below it; empty
    when they were not found
    diameter : of the measured regions [mm]; reach : half the width of what is shown around a region [mm]
    note : what went wrong, drawn below the overview
    """
    columns = 5
    rows = max(3, -(-len(vials) // columns))
    figure = _figure(6.4 + 1.75 * columns, max(6.4, 2.05 * rows))
    left, right = figure.subfigures(1, 2, width_ratios=(6.4, 1.75 * columns))
    _draw_overview(left.subplots(), images[:, :, _slice(images, vials)], spacing, vials, diameter, title, note)
    panels = right.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, vial in zip(panels, vials, strict=False):
        _draw_near(axes, images, spacing, vial, diameter, reach)
    _write_png(path, figure)


def _slice(images: np.ndarray, vials: list[dict]) -> int:
    """The slice that holds most vials; the middle one when there are none."""
    if not vials:
        return images.shape[2] // 2
    return int(np.clip(np.rint(np.median([v["voxel"][2] for v in vials])), 0, images.shape[2] - 1))


def _draw_near(axes, images, spacing, vial: dict, diameter: float, reach: float) -> None:
    from matplotlib.patches import Circle

    i, j, k = (float(v) for v in vial["voxel"])
    image = images[:, :, int(np.clip(np.rint(k), 0, images.shape[2] - 1))]
    x, y = i * spacing[0], j * spacing[1]
    half = [0.7 * diameter / step for step in spacing]
    near = [slice(max(0, int(v - h)), max(0, int(v + h)) + 2) for v, h in zip((i, j), half, strict=True)]
    # Each vial has its own gray scale with room above: a bubble would not show in a vial that is all white.
    _show(axes, image, spacing, 1.15 * _bright_end(image[tuple(near)]))
    color, line = USED if vial["used"] else LEFT_OUT
    axes.add_patch(Circle((x, y), diameter / 2, fill=False, edgecolor=color, linestyle=line, linewidth=1.4))
    axes.plot([x], [y], marker="+", color=color, markersize=5)
    axes.set_xlim(x - reach, x + reach)
    axes.set_ylim(y - reach, y + reach)
    # At a given height: to seek one above ticks that are not drawn takes a third of the picture's time.
    axes.set_title(f"vial {vial['vial']}", fontsize=13, pad=3, fontweight="bold", y=1.0)
    label = str(vial.get("label", "")).replace("$", r"\$")
    axes.text(0.5, -0.04, label, transform=axes.transAxes, fontsize=11, ha="center", va="top")


def _draw_overview(axes, image, spacing, vials: list[dict], diameter: float, title: str, note: str) -> None:
    from matplotlib.patches import Circle

    _show(axes, image, spacing, _bright_end(image))
    for vial in vials:
        color, line = USED if vial["used"] else LEFT_OUT
        x, y = vial["voxel"][0] * spacing[0], vial["voxel"][1] * spacing[1]
        axes.add_patch(Circle((x, y), diameter / 2, fill=False, edgecolor=color, linestyle=line, linewidth=1.4))
        axes.annotate(
            str(vial["vial"]),
            (x, y),
            ha="center",
            va="center",
            fontsize=14,
            color="white",
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "black", "alpha": 0.7, "linewidth": 0},
        )
    if vials:
        xs, ys = ([v["voxel"][a] * spacing[a] for v in vials] for a in (0, 1))
        center, reach = (np.mean(xs), np.mean(ys)), max(np.ptp(xs), np.ptp(ys)) / 2 + 25.0
        axes.set_xlim(center[0] - reach, center[0] + reach)
        axes.set_ylim(center[1] - reach, center[1] + reach)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title.replace("$", r"\$"), fontsize=14, loc="left")
    legend = f"circles of {diameter:g} mm: solid = used, dashed = left out" if vials else ""
    axes.set_xlabel("\n".join(_wrap(text) for text in (legend, note) if text), fontsize=13)


def _show(axes, image, spacing, top: float) -> None:
    extent = (
        -0.5 * spacing[0],
        (image.shape[0] - 0.5) * spacing[0],
        -0.5 * spacing[1],
        (image.shape[1] - 0.5) * spacing[1],
    )
    axes.imshow(image.T, origin="lower", cmap="gray", vmin=0, vmax=top, extent=extent, interpolation="nearest")


def _bright_end(image: np.ndarray) -> float:
    finite = image[np.isfinite(image)]
    return (float(np.percentile(finite, 99.5)) if finite.size else 1.0) or 1.0


def _figure(width: float, height: float):
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _wrap(text: str, width: int = 62) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text.replace("$", r"\$"), width))


def _write_png(path: str | os.PathLike, figure) -> None:
    import io

    buffer = io.BytesIO()
    # No software name and no time: the same picture has the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(Path(path), buffer.getvalue())
