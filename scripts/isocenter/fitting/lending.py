"""Maps of other biomarkers that a fit makes use of: on the grid of the series, as the model takes them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, explain
from isocenter.models import Model
from isocenter.volume import ParameterMap, Series

#: A value between voxels is one where at least this share of its neighbors' weight has a value.
_LEAST_WEIGHT = 0.5
#: By how much [mm] voxels may lie apart that count as one grid.
_SAME_PLACE = 1e-3


def resample_map(lent: ParameterMap, shape: tuple[int, int, int], affine: np.ndarray) -> ParameterMap:
    """A map on another grid of the same scanner coordinates, by linear interpolation.

    Parameters
    ----------
    lent : ParameterMap
        Voxels without a value are left out of the interpolation; where they hold more than half of the weight, and
        outside of the map, there is no value.
    shape, affine : (3,) integers, (4, 4) array
        The other grid.

    Returns
    -------
    ParameterMap
        NaN and flagged masked where there is no value. Standard errors are interpolated as the values are: neighbors
        share their noise, so nothing is gained by averaging them.
    """
    from scipy.ndimage import map_coordinates  # slow to import, and most fits borrow no map

    if lent.value.shape == shape and np.allclose(lent.affine, affine, atol=_SAME_PLACE):
        return lent
    index = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"))
    matrix = np.linalg.inv(lent.affine) @ affine
    places = np.tensordot(matrix[:3, :3], index, axes=1) + matrix[:3, 3, np.newaxis, np.newaxis, np.newaxis]
    # The half voxel between the last center and the border of the map belongs to it, as does a map of one slice.
    last = np.array(lent.value.shape, dtype=float)[:, np.newaxis, np.newaxis, np.newaxis] - 1
    inside = np.all((places >= -0.5) & (places <= last + 0.5), axis=0)
    places = np.clip(places, 0.0, last)
    has_value = lent.ok & np.isfinite(lent.value)
    weight = map_coordinates(has_value.astype(float), places, order=1, mode="nearest")
    found = inside & (weight >= _LEAST_WEIGHT)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, error = (
            np.where(
                found,
                map_coordinates(np.where(has_value, layer, 0.0).astype(float), places, order=1, mode="nearest")
                / weight,
                np.nan,
            )
            for layer in (lent.value, lent.stderr)
        )
    flag = np.where(found, Flag.OK, Flag.MASKED).astype(np.uint8)
    return ParameterMap(value, error, flag, affine, lent.unit)


def lend_maps(
    model: Model, acquired: Series, options: Mapping[str, Any], lent: Mapping[str, ParameterMap]
) -> tuple[Series, dict[str, Any], np.ndarray]:
    """The series and the options with maps that the model makes use of.

    Parameters
    ----------
    model : Model
        Takes a map as an acquisition value (in its `needs` or `uses`), or as the option of the same name.
    acquired : Series
        What is fitted.
    options : mapping
        Options of the model.
    lent : mapping
        Maps on any grid of the same scanner coordinates, by the name that the model knows them by: B1, T1.

    Returns
    -------
    acquired, options : Series, dict
        With the maps on the grid of the series.
    has_all : (x, y, z) booleans
        Voxels in which every map has a value.

    Raises
    ------
    ConfigError
        When the model makes no use of such a map.
    """
    shape, options = acquired.data.shape[:3], dict(options)
    has_all = np.ones(shape, bool)
    for name, one in lent.items():
        values = resample_map(one, shape, acquired.affine).value.astype(float)
        if one.unit == "percent":
            values = values / 100.0
        has_all &= np.isfinite(values)
        if name in (*model.needs, *model.uses):
            acquired = replace(acquired, acquisition={**acquired.acquisition, name: values})
        elif name.lower() in model.options:
            middle = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan
            # Outside of the map nothing is fitted, but a model may refuse NaN.
            options[name.lower()] = np.where(np.isfinite(values), values, middle)
        else:
            raise ConfigError(
                explain(
                    f"The model {model.name} makes no use of a map of {name}",
                    expected=", ".join((*model.needs, *model.uses)),
                    remedy="take it out of uses_maps of the biomarker's block, or choose another model",
                )
            )
    return acquired, options, has_all
