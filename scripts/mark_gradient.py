"""Mark where the gradient of B0 shortened a map of T2* (or quickened R2*).

Reads   the map, the raw series it was fitted to (for its echo times and slices), and a map of B0 of the same session
Writes  a 4D image on the map's grid: the gradient [Hz/mm], and the share of the measured decay that it made [percent];
        values of the map itself stay as they are. Without a map of B0, one voxel whose sidecar says why
"""

import logging

import numpy as np

from isocenter.fields.distortion import extend_field, place_field
from isocenter.fields.gradient import measure_gradient, predict_shortening
from isocenter.fitting.lending import resample_map
from isocenter.io.nifti import read_map, read_sidecar, write_image
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.step import In, Ins, Out, run_step
from isocenter.volume import ParameterMap

log = logging.getLogger("isocenter")


def mark_gradient(
    map: In,
    stderr: In,
    flag: In,
    series: Ins,
    field: Ins = (),
    field_stderr: Ins = (),
    field_flag: Ins = (),
    *,
    gradient: Out,
    map_name: str,
    limit: float,
    is_rate: bool,
) -> None:
    """Mark one map; beyond `limit` [percent] of the measured rate a voxel counts as marked.

    `map_name` is what rows call the map of B0; `is_rate` says that the map holds R2*.
    """
    words = {"FieldMap": map_name, "LimitPercent": limit, "Reason": ""}
    names = {"Parameters": ["gradient", "shortening"], "ParameterUnits": ["Hz/mm", "percent"]}
    try:
        decay, sidecar = read_map(map, stderr, flag)
        lost = read_exclusion(sidecar)
        reason = "" if lost is None else f"the map could not be made: {lost.reason.split(';')[0]}"
        if not field and not reason:
            reason = "no field map in this session"
        if not reason:
            offset, told = read_map(field[0], field_stderr[0], field_flag[0])
            lost = read_exclusion(told)
            reason = "" if lost is None else f"the field map could not be made: {lost.reason.split(';')[0]}"
        if not reason:
            t2star = 1 / decay.value if is_rate else decay.value
            steep = _measure(offset, decay)
            size, times = _voxel_of(decay, series), np.array([read_sidecar(path)["EchoTime"] for path in series])
            share = 100 * predict_shortening(steep, size, np.sort(times), t2star)
            layers = np.stack([np.linalg.norm(steep, axis=-1), share], axis=-1).astype(np.float32)
            facts = {**words, "VoxelMillimeters": size.tolist(), "EchoTime": np.sort(times).tolist()}
            log.info("%.1f %% of %s beyond %g %%", 100 * np.mean(share[decay.ok] > limit), map.name, limit)
            write_image(gradient, layers, decay.affine, {"FieldGradient": facts, **names})
            return
    except Exception as error:  # a map without marks is still a map
        reason = Exclusion.from_error("mark", error).reason
    nothing = np.full((1, 1, 1, 2), np.nan, np.float32)
    write_image(gradient, nothing, np.eye(4), {"FieldGradient": {**words, "Reason": reason}, **names})


def _measure(offset: ParameterMap, decay: ParameterMap) -> np.ndarray:
    """The gradient (x, y, z, 3) of the offset [Hz/mm] on the grid of the decay; NaN where its own map has no value.

    Of a single slice the map may know what lies before and behind, which a thick slice feels most; where it is a single
    slice itself, the gradient through it counts as 0.
    """
    beside = np.array([1 if n == 1 else 0 for n in decay.value.shape])
    shape, affine = tuple(np.array(decay.value.shape) + 2 * beside), decay.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ beside
    has_value = resample_map(offset, shape, affine).ok
    placed = np.where(has_value, place_field(extend_field(offset), shape, affine), np.nan)
    steep = measure_gradient(placed, np.linalg.norm(affine[:3, :3], axis=0))
    steep = steep[tuple(slice(b, b + n) for b, n in zip(beside, decay.value.shape, strict=True))]
    for axis in np.flatnonzero(beside):
        if not np.isfinite(steep[..., axis]).any():
            steep[..., axis] = np.where(np.isfinite(steep).any(axis=-1), 0.0, np.nan)
    return steep


def _voxel_of(decay: ParameterMap, series: Ins) -> np.ndarray:
    """(3,) array [mm]: the voxel's edges, across slices their thickness where there are gaps between them."""
    size = np.linalg.norm(decay.affine[:3, :3], axis=0)
    thickness = read_sidecar(series[0]).get("SliceThickness")
    if thickness is not None and 0 < float(thickness) < size[2]:
        size[2] = float(thickness)
    return size


if __name__ == "__main__":
    run_step(mark_gradient, globals())
