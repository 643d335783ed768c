"""What the vials tell of the scanner itself: how well it inverts, how strong its pulses are, how noisy it is."""

import numpy as np
import pandas as pd

from isocenter.phantom.measure import LEAST_VOXELS, vial_region
from isocenter.volume import ParameterMap, Series

#: Column of ``vials.tsv`` to the parameter of a fit that it is the median of, over the voxels of a vial.
FITTED = {"inversion_efficiency": "inversion_efficiency", "b1": "B1"}


def measure_scanner_quality(
    series: Series,
    parameter_map: ParameterMap,
    layers: dict[str, np.ndarray],
    vials: np.ndarray,
    voxels: np.ndarray,
    diameter: float,
) -> pd.DataFrame:
    """One row a vial: `vial`, `inversion_efficiency`, `b1`, `snr` [1]; NaN where the fit does not give it.

    layers : parameters of the fit by name, (x, y, z) each, and its ``residual`` [as the signal]; vials : (n,) numbers;
    voxels : (n, 3) their centers; diameter : of the region of each [mm]. The ratio of signal
    to noise is the largest sample of a voxel over the residual of its fit, so that a fit that does not describe the
    signal counts as noise.
    """
    brightest = np.max(np.abs(np.nan_to_num(series.data)), axis=-1)
    rows = []
    for vial, voxel in zip(vials.tolist(), voxels, strict=True):
        region = vial_region(series.data.shape[:3], series.affine, voxel, diameter) & parameter_map.ok
        row = {"vial": vial} | {column: _median(layers.get(name), region) for column, name in FITTED.items()}
        noise = _median(layers.get("residual"), region)
        row["snr"] = _median(brightest, region) / noise if noise > 0 else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _median(values: np.ndarray | None, region: np.ndarray) -> float:
    """The median of the finite values of a region; NaN with too few."""
    if values is None or values.shape != region.shape:
        return np.nan
    inside = values[region]
    inside = inside[np.isfinite(inside)]
    return float(np.median(inside)) if len(inside) >= LEAST_VOXELS else np.nan
