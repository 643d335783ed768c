"""A picture of an alignment: the fit's residual before and after, and how far each volume moved."""

from typing import Any

import numpy as np

from isocenter.figures.maps import _matplotlib, _plain, _png
from isocenter.figures.palette import INK, MUTED

_EMPTY = "#e9ecef"
_MARKS = {"reference": "s", "registered": "o"}


def draw_alignment(title: str, found: Any) -> bytes:
    """A PNG of an alignment (:class:`isocenter.registration.Judged`): residual maps of one slice, and displacements."""
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    affine, shape = found.series.affine, found.series.data.shape
    size = np.linalg.norm(affine[:3, :3], axis=0)
    wide = 2.9
    high = float(np.clip(wide * shape[1] * size[1] / (shape[0] * size[0]), 1.2, 4.0))
    width, height = 10.4, high + 1.5
    figure = Figure(figsize=(width, height), dpi=90)
    figure.text(0.25 / width, 1 - 0.3 / height, _plain(title), fontsize=14, color=INK)
    figure.text(0.25 / width, 1 - 0.58 / height, found.note, fontsize=11, color=MUTED)
    bottom = 0.5 / height
    if found.before is not None and np.isfinite(found.before).any():
        k = int(np.argmax(np.isfinite(found.before).sum(axis=(0, 1))))
        top = float(np.nanpercentile(np.stack([found.before, found.after])[..., k], 98))
        palette = matplotlib.colormaps["magma"].with_extremes(bad=_EMPTY)
        for place, (values, name) in enumerate(((found.before, "as measured"), (found.after, "aligned"))):
            axes = figure.add_axes(((0.25 + place * (wide + 0.15)) / width, bottom, wide / width, high / height))
            drawn = axes.imshow(
                values[:, :, k].T[::-1], cmap=palette, vmin=0, vmax=top, interpolation="nearest",
                aspect=size[1] / size[0],
            )  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"residual {name}, slice {k + 1} of {shape[2]}", fontsize=11, loc="left", color=INK, pad=3)
        side = figure.add_axes(((0.25 + 2 * (wide + 0.15)) / width, bottom, 0.12 / width, high / height))
        figure.colorbar(drawn, cax=side, extend="max").set_label("a.u.", fontsize=11)
        side.tick_params(labelsize=10)
    left = 0.25 + 2 * (wide + 0.15) + 1.15
    axes = figure.add_axes((left / width, bottom, (width - left - 0.2) / width, high / height))
    _draw_displacements(axes, found.table)
    return _png(figure)


def _draw_displacements(axes, table: dict[str, list]) -> None:
    numbers, values, used = table["volume"], np.array(table["displacement_mm"], dtype=float), table["used"]
    axes.plot(numbers, values, color="#8d97a3", linewidth=1, zorder=1)
    groups: dict[str, list[int]] = {}
    for index, word in enumerate(used):
        groups.setdefault(word.split(":")[0], []).append(index)
    for word, rows in groups.items():
        mark = _MARKS.get(word, "X")
        color = "#0072b2" if word in _MARKS else "#d55e00"
        axes.scatter([numbers[i] for i in rows], values[rows], marker=mark, color=color, s=26, zorder=2, label=word)
    axes.set_xlabel("volume", fontsize=11)
    axes.set_title("displacement [mm]", fontsize=11, loc="left", color=INK, pad=3)
    axes.tick_params(labelsize=10)
    axes.set_ylim(bottom=0, top=max(0.5, 1.15 * float(np.nanmax(values, initial=0))))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=10, frameon=False, loc="best")


def draw_nothing(why: str) -> bytes:
    """A PNG that says why there is no picture."""
    _matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 1), dpi=90)
    figure.text(0.05, 0.5, why, fontsize=10, color=INK, va="center")
    return _png(figure)
