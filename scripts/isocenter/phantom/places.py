"""Where the vials of one array lie in a series: drawn by hand, by the geometry scan, or found in the series itself."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from isocenter import models
from isocenter.errors import IsocenterError
from isocenter.fitting.maps import fit_series
from isocenter.phantom.hand_regions import DrawnVials, take_regions
from isocenter.phantom.library import Geometry, Phantom, VialReference
from isocenter.phantom.locate import VialLocations, locate_vials
from isocenter.phantom.locate_phantom import PhantomPose, locate_phantom
from isocenter.phantom.vial_fits import AVERAGED, Method
from isocenter.volume import ParameterMap, Series, Volume

#: What could not be done, and why.
Problems = list[tuple[str, str]]

BY_HAND = "by a hand-made file"
BY_SCAN = "from the geometry scan, refined in the series"
BY_SERIES = "in the series itself"
#: The crude map that tells the numbering is fitted on every so many voxels of a slice.
CRUDE_STEP = 4
#: Side of the squares over which signals are averaged first, where single voxels tell too little, in diameters of a
#: vial: around the core of a vial, where its number is told from, they stay inside of it.
CORE_BOX = 0.5
#: Every fit of the crude map is plain, whatever the method does later.
CRUDE_MODELS = {"t2_extended_phase_graph": "t2_multi_echo", "pdff_complex": "pdff_magnitude"}


@dataclass(frozen=True)
class Place:
    """Where the vials of one array were found, and in which image."""

    geometry: Geometry
    locations: VialLocations
    series: Series
    how: str


def find_pose(phantom: Phantom, scans: list[Volume]) -> tuple[PhantomPose | None, Problems]:
    """How the phantom lies in the first of its 3D scans that shows it, and why it is not found in others."""
    problems: Problems = []
    for scan in scans:
        try:
            return locate_phantom(scan, phantom), problems
        except IsocenterError as error:
            problems.append(("The phantom in the geometry scan", str(error)))
    return None, problems


def find_geometry(phantom: Phantom, quantity: str, *, is_drawn: bool) -> Geometry:
    """The array of a quantity; where regions are drawn by hand, also of a phantom whose vials have no fixed place."""
    if not is_drawn:
        return phantom.geometry(quantity)
    array = phantom.array(phantom.order_of(quantity))
    table = next(t for t in phantom.definition["tables"].values() if t["array"] == array)
    vials = np.array(sorted(table["vials"]), dtype=int)
    own = phantom.definition.get("geometry", {})
    diameter = own.get("sphere_diameter", 20.0)
    return Geometry(array, vials, np.zeros((len(vials), 3)), diameter, own.get("roi_diameter", diameter / 2), 100.0)


def find_place(
    series: Series,
    fitted: ParameterMap | None,
    geometry: Geometry,
    reference: list[VialReference],
    *,
    pose: PhantomPose | None = None,
    drawn: DrawnVials | None = None,
) -> tuple[Place, Problems]:
    """Where the vials lie: as a person drew them, as the geometry scan tells, or as the series itself does.

    Parameters
    ----------
    series : Series
        In which they are measured.
    fitted : ParameterMap, optional
        A map of the quantity, which tells the numbering; needed unless the vials are drawn.
    geometry, reference
        Of the array.
    pose : PhantomPose, optional
        From the geometry scan of the same session.
    drawn : DrawnVials, optional
        Regions of a hand-made file; nothing is then searched.

    Raises
    ------
    CalibrationError
        The vials are not found, or a drawn region is none of this array or lies outside the image.
    """
    problems: Problems = []
    if drawn is not None:
        locations = take_regions(*drawn[:2], series, geometry, in_voxels=drawn[2])
        return Place(geometry, locations, series, BY_HAND), problems
    if pose is not None:
        try:
            locations = locate_vials(series, fitted, geometry, reference, centers=pose.centers[geometry.array])
            return Place(geometry, locations, series, BY_SCAN), problems
        except IsocenterError as error:
            problems.append((f"{geometry.array} vials by the geometry scan", str(error)))
    return Place(geometry, locate_vials(series, fitted, geometry, reference), series, BY_SERIES), problems


def fit_crude(series: Series, method: Method, threads: int, diameter: float = 0.0) -> ParameterMap:
    """The quantity on every few voxels, spread over the grid: enough to tell the order of the vials.

    diameter : of a vial [mm]; models of :data:`AVERAGED` are fitted to means over half of it
    """
    step = CRUDE_STEP if min(series.data.shape[:2]) >= 192 else 2
    model = CRUDE_MODELS.get(method.model, method.model)
    data = series.data
    if model in AVERAGED:
        spacing = np.sqrt((series.affine[:3, :2] ** 2).sum(axis=0))
        size = [max(1, int(n)) for n in CORE_BOX * diameter / spacing]
        data = ndimage.uniform_filter(data, (*size, 1, 1), mode="nearest")
    thin = replace(series, data=np.ascontiguousarray(data[::step, ::step]))
    known = models.get(model).options
    options = {key: value for key, value in method.options.items() if model == method.model or key in known}
    _, found = fit_series(thin, model, options, threads)
    shape = series.data.shape[:3]
    wide = [
        np.repeat(np.repeat(a, step, 0), step, 1)[: shape[0], : shape[1]]
        for a in (found.value[method.quantity], found.stderr[method.quantity], found.flag)
    ]
    return ParameterMap(*wide, series.affine, method.unit)
