"""Where the vials were measured: the image with each region's circle and number."""

import io
import os
from pathlib import Path

import numpy as np

from isocenter.io.nifti import write_bytes

#: One color a meaning, told apart without color by the line: used, left out.
USED, LEFT_OUT = ("#56b4e9", "solid"), ("#ff9f1c", "dashed")


def draw_vials(
    path: str | os.PathLike, image: np.ndarray, spacing: tuple[float, float], vials: list[dict], **words
) -> None:
    """Write the picture of :func:`picture_vials`."""
    write_bytes(Path(path), picture_vials(image, spacing, vials, **words))


def picture_vials(
    image: np.ndarray,
    spacing: tuple[float, float],
    vials: list[dict],
    *,
    diameter: float,
    title: str,
    note: str = "",
) -> bytes:
    """A PNG of one slice with its vials.

    image : (x, y) array [a.u.]; spacing : of its voxels [mm]
    vials : dicts with ``vial``, ``voxel`` (x, y indices), ``used``; empty when they were not found
    diameter : of the measured regions [mm]; note : what went wrong, drawn below
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    extent = (
        -0.5 * spacing[0],
        (image.shape[0] - 0.5) * spacing[0],
        -0.5 * spacing[1],
        (image.shape[1] - 0.5) * spacing[1],
    )
    figure = Figure(figsize=(6.0, 6.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    finite = image[np.isfinite(image)]
    top = float(np.percentile(finite, 99.5)) if finite.size else 1.0
    axes.imshow(image.T, origin="lower", cmap="gray", vmin=0, vmax=top or 1.0, extent=extent, interpolation="nearest")
    for vial in vials:
        color, line = USED if vial["used"] else LEFT_OUT
        x, y = vial["voxel"][0] * spacing[0], vial["voxel"][1] * spacing[1]
        axes.add_patch(Circle((x, y), diameter / 2, fill=False, edgecolor=color, linestyle=line, linewidth=1.4))
        axes.annotate(
            str(vial["vial"]),
            (x, y),
            ha="center",
            va="center",
            fontsize=8,
            color="white",
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "black", "alpha": 0.55, "linewidth": 0},
        )
    if vials:
        xs, ys = ([v["voxel"][a] * spacing[a] for v in vials] for a in (0, 1))
        center, reach = (np.mean(xs), np.mean(ys)), max(np.ptp(xs), np.ptp(ys)) / 2 + 25.0
        axes.set_xlim(center[0] - reach, center[0] + reach)
        axes.set_ylim(center[1] - reach, center[1] + reach)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title.replace("$", r"\$"), fontsize=10, loc="left")
    legend = f"circles of {diameter:g} mm: solid = used, dashed = left out" if vials else ""
    axes.set_xlabel("\n".join(_wrap(text) for text in (legend, note) if text), fontsize=8)
    buffer = io.BytesIO()
    # No software name and no time: the same picture has the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _wrap(text: str, width: int = 95) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text.replace("$", r"\$"), width))
