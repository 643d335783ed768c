"""A picture of a distortion correction: the same slice before and after, outlined by the undistorted scan."""

from typing import Any

import numpy as np

from isocenter.figures.maps import _matplotlib, _plain, _png
from isocenter.figures.palette import INK, MUTED

_OUTLINE = "#d55e00"
_EMPTY = "#e9ecef"


def draw_distortion(title: str, found: Any) -> bytes:
    """A PNG of a correction (:class:`isocenter.registration.Undistorted`): one slice of the field map's magnitude, of
    the series before and after with the magnitude's outline on each, and the shift in voxels.
    """
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    affine, shape = found.series.affine, found.magnitude.shape
    size = np.linalg.norm(affine[:3, :3], axis=0)
    wide = 2.5
    high = float(np.clip(wide * shape[1] * size[1] / (shape[0] * size[0]), 1.2, 4.0))
    width, height = 4 * (wide + 0.12) + 1.0, high + 0.95
    figure = Figure(figsize=(width, height), dpi=90)
    figure.text(0.2 / width, 1 - 0.26 / height, _plain(title), fontsize=11, color=INK)
    note = f"Not corrected: {found.reason}" if found.reason else _describe(found)
    figure.text(0.2 / width, 1 - 0.47 / height, _plain(note), fontsize=8, color=MUTED)
    inside = found.magnitude > 0.25 * np.percentile(found.magnitude, 98)
    spread = np.nan_to_num(np.where(inside, np.abs(found.shift), 0.0))
    # Where the most signal moved the furthest, there is the most to see.
    k = int(np.argmax(spread.sum(axis=(0, 1))))
    panels = (
        ("field map's magnitude", found.magnitude), ("before", found.image), ("after", found.corrected),
        ("shift [voxels]", np.where(inside, found.shift, np.nan)),
    )  # fmt: skip
    for place, (name, values) in enumerate(panels):
        axes = figure.add_axes(((0.2 + place * (wide + 0.12)) / width, 0.12 / height, wide / width, high / height))
        plane = values[:, :, k].T[::-1]
        if name.startswith("shift"):
            top = max(0.5, float(np.nanpercentile(np.abs(plane), 98)) if np.isfinite(plane).any() else 0.5)
            palette, low = matplotlib.colormaps["RdBu_r"].with_extremes(bad=_EMPTY), -top
        else:
            top = float(np.nanpercentile(values, 99.5)) or 1.0
            palette, low = matplotlib.colormaps["gray"].with_extremes(bad=_EMPTY), 0.0
        drawn = axes.imshow(plane, cmap=palette, vmin=low, vmax=top, interpolation="nearest", aspect=size[1] / size[0])
        outline = inside[:, :, k].T[::-1]
        if outline.any() and not outline.all():
            axes.contour(outline, levels=[0.5], colors=_OUTLINE, linewidths=0.9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(name, fontsize=8, loc="left", color=INK, pad=3)
    side = figure.add_axes(((0.25 + 4 * (wide + 0.12)) / width, 0.12 / height, 0.12 / width, high / height))
    figure.colorbar(drawn, cax=side)
    side.tick_params(labelsize=7)
    return _png(figure)


def _describe(found: Any) -> str:
    shifts = found.facts["ShiftVoxels"]
    was, now, _ = found.facts["Likeness"]
    return (
        f"Shifts of {shifts['5%']:.1f} to {shifts['95%']:.1f} voxels along {found.facts['PhaseEncodingDirection']}; "
        f"likeness to the magnitude {was:.3f} before, {now:.3f} after; placed by the "
        f"{'scanner' if found.placement.how == 'scanner' else 'registration'}; outline: the magnitude's"
    )
