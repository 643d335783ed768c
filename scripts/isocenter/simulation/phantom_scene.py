"""A coronal slice through one plate of a phantom: spheres of solution in water, as a scanner samples them."""

from dataclasses import dataclass

import numpy as np

from isocenter.phantom.library import SUSPECT, Phantom
from isocenter.simulation.design import FIELD_STRENGTH, Site
from isocenter.simulation.seeds import stream
from isocenter.simulation.settings import SimulationSettings

#: The water between the spheres: T1 and T2 [s] of pure water at room temperature, long beside any solution.
FILL_T1, FILL_T2 = 2.8, 2.0
#: The spheres' walls give no signal [mm].
WALL = 1.0
#: Points per voxel along each axis.
SUBSAMPLES = 4


@dataclass(frozen=True)
class VialTruth:
    """What one vial truly has. t1, t2 : [s]."""

    vial: int
    t1: float
    t2: float


def draw_vials(
    phantom: Phantom, site: Site, session: str, biomarker: str, settings: SimulationSettings
) -> list[VialTruth]:
    """The true T1 and T2 of the vials of the plate made for `biomarker`, on the day of `session`.

    A solution differs from the reference by a draw of the reference's uncertainty, once for a phantom; on the day
    it has the value that belongs to the true temperature, not to the logged one.
    """
    array = phantom.array(biomarker)
    truths = {}
    for quantity in ("T1", "T2"):
        references = phantom.reference(
            quantity, site.phantom_serial, FIELD_STRENGTH, site.true_temperatures[session], 0.0, array=array
        )
        rng = stream(settings.seed, "vials", site.name, array, quantity)
        draws = rng.standard_normal(len(references)).clip(-3, 3) * settings.reference_errors
        suspect = settings.suspect_error * settings.reference_errors
        truths[quantity] = {
            r.vial: (r.value + r.stderr * draw) * (1 + suspect * (r.flag == SUSPECT))
            for r, draw in zip(references, draws, strict=True)
        }
    # Water relaxes no slower transversally than longitudinally; a published pair may say otherwise by rounding.
    return [VialTruth(v, truths["T1"][v], min(truths["T2"][v], truths["T1"][v])) for v in sorted(truths["T1"])]


def build_plate(
    phantom: Phantom,
    vials: list[VialTruth],
    biomarker: str,
    settings: SimulationSettings,
    angle: float,
    shift: np.ndarray,
    tilt: float,
) -> np.ndarray:
    """What a coronal slice through a plate holds.

    Parameters
    ----------
    phantom : Phantom
        Its geometry.
    vials : list of VialTruth
        What the spheres hold, in vial order.
    biomarker : str
        Tells the plate.
    settings : SimulationSettings
        Matrix, pixel and slice thickness.
    angle : float [deg]
        The phantom's turn about its axis.
    shift : (3,) array [mm]
        Of the phantom in its own frame (x right, y up, z along the axis); without it the slice lies in the plane of
        the spheres' centers.
    tilt : float [deg]
        Of the slice about x.

    Returns
    -------
    (3, columns, rows) array: filled share of the voxel [1], T1 [s], T2 [s] of what fills most of it
    """
    geometry = phantom.geometry(biomarker)
    n, step = settings.phantom_matrix, settings.phantom_pixel
    fine = (np.arange(n * SUBSAMPLES) + 0.5) * step / SUBSAMPLES - n * step / 2
    x, y = (fine - shift[0])[:, np.newaxis], (-fine - shift[1])[np.newaxis, :]
    turn = np.deg2rad(angle)
    turned = geometry.centers[:, :2] @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    outer = geometry.sphere_diameter / 2
    counts = np.zeros((len(vials) + 1, n, n), dtype=np.float32)
    depths = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    for depth in depths * settings.phantom_thickness:
        z = depth - shift[2] + np.tan(np.deg2rad(tilt)) * y
        fill = x**2 + y**2 + (z + geometry.centers[0, 2]) ** 2 < geometry.body_radius**2
        for index, (cx, cy) in enumerate(turned):
            # Only the pixels around the sphere, whole ones.
            near = tuple(_span(np.abs(axis.ravel() - c) < outer) for axis, c in ((x, cx), (y, cy)))
            distance = (x[near[0]] - cx) ** 2 + (y[:, near[1]] - cy) ** 2 + z[:, near[1]] ** 2
            fill[near] &= distance >= outer**2
            pixels = tuple(slice(s.start // SUBSAMPLES, s.stop // SUBSAMPLES) for s in near)
            counts[(index + 1, *pixels)] += _sum_blocks(distance < (outer - WALL) ** 2)
        counts[0] += _sum_blocks(fill)
    share = counts / SUBSAMPLES**3
    most = share.argmax(axis=0)
    t1 = np.array([FILL_T1, *(v.t1 for v in vials)])[most]
    t2 = np.array([FILL_T2, *(v.t2 for v in vials)])[most]
    return np.stack([share.sum(axis=0), t1, t2])


def _span(inside: np.ndarray) -> slice:
    """The whole pixels that hold the marked points."""
    marked = np.flatnonzero(inside)
    if marked.size == 0:
        return slice(0, 0)
    return slice(marked[0] // SUBSAMPLES * SUBSAMPLES, (marked[-1] // SUBSAMPLES + 1) * SUBSAMPLES)


def _sum_blocks(fine: np.ndarray) -> np.ndarray:
    """The count of marked points in each pixel."""
    columns, rows = (n // SUBSAMPLES for n in fine.shape)
    return fine.reshape(columns, SUBSAMPLES, rows, SUBSAMPLES).sum(axis=(1, 3), dtype=np.float32)
