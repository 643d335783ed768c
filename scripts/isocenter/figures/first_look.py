"""A first look at a fit: the middle slice of every parameter, its standard error, the flags and the residual."""

import numpy as np

from isocenter.entities import Flag
from isocenter.figures.maps import _matplotlib, _plain, _png
from isocenter.figures.palette import INK, MUTED
from isocenter.fitting import Fit
from isocenter.units import display_unit

#: One color a flag, in their order; a voxel with a value is light, air is white.
_FLAG_COLORS = ("#d7e8e6", "#ffffff", "#8d97a3", "#d55e00", "#cc79a7", "#6a3d9a", "#e5b800", "#0072b2")
_EMPTY = "#e9ecef"


def draw_first_look(title: str, found: Fit, affine: np.ndarray, *, is_robust: bool = False) -> bytes:
    """A PNG: a row a parameter (value, standard error), then flags with their shares, residual [, outliers].

    title : the model's; found : the fit, arrays (x, y, z); affine : (4, 4), voxel to millimetres, for the aspect
    """
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    k = _fullest_slice(found.ok)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    nx, ny, nz = found.flag.shape
    wide = 2.9
    high = float(np.clip(wide * ny * size[1] / (nx * size[0]), 1.2, 4.5))
    rows, columns = len(found.parameters) + 1, 3 if is_robust else 2
    # Places in inches, set by hand: matplotlib's layout engines would draw everything twice.
    left, top, gap, head, bar = 0.25, 0.75, 1.25, 0.3, 0.13
    width, height = left + columns * (wide + gap), top + rows * (high + head) + 0.45
    figure = Figure(figsize=(width, height), dpi=100)
    figure.text(left / width, 1 - 0.28 / height, _plain(title), fontsize=12, color=INK)
    note = f"slice {k + 1} of {nz}; gray: no value; colors span 2 to 98 % of the slice (errors: 0 to 95 %)"
    figure.text(left / width, 1 - 0.5 / height, note, fontsize=8, color=MUTED)

    def place(row: int, column: int):
        x, y = left + column * (wide + gap), height - top - (row + 1) * (high + head) + head / 2
        axes = figure.add_axes((x / width, y / height, wide / width, high / height))
        axes.set_xticks([])
        axes.set_yticks([])
        side = figure.add_axes(((x + wide + 0.08) / width, y / height, bar / width, high / height))
        return axes, side

    def show(row: int, column: int, values: np.ndarray, name: str, unit: str, colors: str, spread) -> None:
        axes, side = place(row, column)
        shown, factor = display_unit(unit)
        image = np.where(found.ok[:, :, k], values[:, :, k], np.nan) * factor
        low, high_ = _limits(image, spread)
        palette = matplotlib.colormaps[colors].with_extremes(bad=_EMPTY)
        drawn = axes.imshow(
            image.T[::-1], cmap=palette, vmin=low, vmax=high_, interpolation="nearest", aspect=size[1] / size[0]
        )
        axes.set_title(_plain(name), fontsize=9, loc="left", color=INK, pad=3)
        label = {"1": "", "arbitrary": "a.u."}.get(shown, shown)
        figure.colorbar(drawn, cax=side, extend="both").set_label(label, fontsize=8)
        side.tick_params(labelsize=7)
        side.yaxis.get_offset_text().set_size(7)

    for row, (name, unit) in enumerate(zip(found.parameters, found.units, strict=True)):
        show(row, 0, found.value[name], name, unit, "viridis", (2, 98))
        show(row, 1, found.stderr[name], f"{name}, standard error", unit, "magma", (None, 95))
    axes, side = place(rows - 1, 0)
    side.set_axis_off()
    palette = matplotlib.colors.ListedColormap(_FLAG_COLORS)
    axes.imshow(
        found.flag[:, :, k].T[::-1], cmap=palette, vmin=-0.5, vmax=len(Flag) - 0.5, interpolation="nearest",
        aspect=size[1] / size[0],
    )  # fmt: skip
    axes.set_title("flags (share of the fitted voxels, all slices)", fontsize=9, loc="left", color=INK, pad=3)
    tried = max(1, int((found.flag != Flag.MASKED).sum()))
    handles = []
    for flag in Flag:
        count = int((found.flag == flag).sum())
        if count:
            share = "" if flag == Flag.MASKED else f" {100 * count / tried:.1f} %"
            words = f"{flag.name.lower().replace('_', ' ')}{share}"
            patch = matplotlib.patches.Patch(facecolor=_FLAG_COLORS[flag], edgecolor=MUTED, linewidth=0.5, label=words)
            handles.append(patch)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False,
                handlelength=1, borderaxespad=0.3)  # fmt: skip
    show(rows - 1, 1, found.residual, "residual, root mean square", "arbitrary", "magma", (None, 95))
    if is_robust:
        show(rows - 1, 2, found.outliers, "outliers, fraction of samples", "1", "magma", (None, 99))
    return _png(figure)


def _fullest_slice(ok: np.ndarray) -> int:
    """Of the slices with nearly the most values the one next to the middle."""
    counts = ok.sum(axis=(0, 1))
    full = np.flatnonzero(counts >= 0.9 * counts.max())
    return int(full[np.argmin(np.abs(full - (ok.shape[2] - 1) / 2))])


def _limits(image: np.ndarray, spread: tuple[int | None, int]) -> tuple[float, float]:
    """The color range of a slice: percentiles of it, the first from zero where there is none."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low = 0.0 if spread[0] is None else float(np.percentile(finite, spread[0]))
    high = float(np.percentile(finite, spread[1]))
    return low, high if high > low else low + (abs(low) or 1.0) * 1e-3
