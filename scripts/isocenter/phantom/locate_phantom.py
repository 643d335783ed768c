"""The pose of a whole phantom from its geometry scan: all plates at once, from their published places.

Every vial is a ball of known size. How round every point of the scan is gets scored, the vials of all plates are laid
over the score any way round (:mod:`place_pattern`), and which way round it is, rods, body, brightness and, where given,
measured values say (:mod:`orientation`). The centers then travel to any series of the same session through the
scanner's coordinates.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.even_grid import fill_gaps, resample_evenly, to_bright_end
from isocenter.phantom.library import SUSPECT, Geometry, Phantom, VialReference
from isocenter.phantom.numbering import CORE, crude_values
from isocenter.phantom.orientation import choose_orientation, mark_body, mark_order, mark_rods
from isocenter.phantom.place_pattern import NEAR, SEEN, Found, place_pattern
from isocenter.phantom.round_score import score_round
from isocenter.phantom.sharpen import sharpen_balls
from isocenter.phantom.symmetry import Placement, find_symmetries
from isocenter.volume import ParameterMap, Volume

#: Spacing of the grid on which balls are sought [mm].
GRID = 2.0
#: Of the vials of all plates this share must be seen (two of the ISMRM/NIST phantom's 42 show no contrast).
LEAST_SEEN = 0.75
#: Vials sit up to 2 mm off their design place; a pattern that fits worse than this is another object's [mm].
MOST_RESIDUAL = 2.0
#: The mark of a way round that needs no mirror: less than what a cue that speaks adds.
HAND = 0.15


@dataclass(frozen=True)
class PhantomPose:
    """Where a phantom lies in the scanner.

    placement : from the phantom's frame to RAS+ [mm]
    centers : array (plate) name to its vials' own (n, 3) centers, RAS+ [mm]; vials : to their numbers
    seen : to (n,) booleans, vials that were seen; the others lie where the pattern puts them
    residual : rms distance of the vials seen from the pattern [mm]; n_seen, n_vials : over all plates
    marks : cue to its mark for the way round that was chosen and for the best other one
    confidence : 0 to 1, the smaller of the share of vials seen and the lead of the way round over the next
    is_mirrored : whether the scan shows the phantom mirrored: its geometry in the file is then wrong
    """

    placement: Placement
    centers: dict[str, np.ndarray]
    vials: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]
    residual: float
    n_seen: int
    n_vials: int
    marks: dict[str, tuple[float, float]]
    confidence: float
    is_mirrored: bool


def locate_phantom(
    volume: Volume,
    phantom: Phantom,
    *,
    maps: list[tuple[ParameterMap, Geometry, list[VialReference]]] | None = None,
) -> PhantomPose:
    """Find a phantom of several plates in its geometry scan.

    Parameters
    ----------
    volume : Volume
        (x, y, z), voxels of 5 mm or less; any orientation.
    phantom : Phantom
        Its definition gives plates, layout, rods and the order of brightness.
    maps : list of (ParameterMap, Geometry, list of VialReference), optional
        Fitted maps of the same session, which tell the way round by their values too.

    Raises
    ------
    CalibrationError
        The phantom is not found, or which way round it lies is not clear.
    """
    spacing = np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0))
    plates = {name: phantom.geometry("", array=name) for name in phantom.definition["arrays"]}
    pattern = np.vstack([g.centers for g in plates.values()])
    radius = next(iter(plates.values())).sphere_diameter / 2
    image = to_bright_end(fill_gaps(volume.data))
    even = resample_evenly(image, spacing, GRID)
    found = place_pattern(score_round(even[None], radius, GRID), GRID, pattern)
    title = phantom.definition["title"]
    _check_found(found, len(pattern), title)
    found = found[0]

    to_world = _world(volume.affine, spacing)
    candidates = _ways_round(found.placement, plates)
    marks = _marks(even, candidates, plates, phantom, maps or [], to_world)
    chosen = choose_orientation(marks, title)
    placement = candidates[chosen.best]

    points = placement(pattern)
    nearest = np.linalg.norm(points[:, None] - found.points[None], axis=2).argmin(axis=1)
    fine, heights = sharpen_balls(image[None], spacing, found.points[nearest], radius)
    seen = found.seen[nearest] & (heights >= SEEN)
    points = to_world(np.where(seen[:, None], fine, points))
    in_world = to_world.after(placement)
    names = np.repeat(list(plates), [len(g.vials) for g in plates.values()])
    others = np.delete(np.arange(len(candidates)), chosen.best)
    return PhantomPose(
        placement=in_world,
        centers={name: points[names == name] for name in plates},
        vials={name: g.vials for name, g in plates.items()},
        seen={name: seen[names == name] for name in plates},
        residual=found.residual,
        n_seen=found.n_seen,
        n_vials=len(pattern),
        marks={cue: (float(m[chosen.best]), float(m[others].max())) for cue, m in marks.items()},
        confidence=float(min(found.n_seen / len(pattern), chosen.lead, 1.0)),
        is_mirrored=not in_world.is_mirrored,
    )


def _check_found(found: list[Found], n: int, title: str) -> None:
    least = int(np.ceil(LEAST_SEEN * n))
    if not found or found[0].n_seen < least or found[0].residual > MOST_RESIDUAL:
        raise CalibrationError(
            explain(
                f"The {title} is not found in the geometry scan",
                expected=f"at least {least} of {n} spheres within {MOST_RESIDUAL:g} mm (rms) of their places",
                found=f"{found[0].n_seen}, {found[0].residual:.1f} mm" if found else "none",
                remedy="check that the scan holds the whole phantom, and the phantom's type in site.yaml",
            )
        )


def _world(affine: np.ndarray, spacing: np.ndarray) -> Placement:
    """From millimeters along the voxel axes to RAS+."""
    return Placement(affine[:3, :3] / spacing, affine[:3, 3])


def _ways_round(placement: Placement, plates: dict[str, Geometry]) -> list[Placement]:
    """All ways in which the vials of all plates lie alike: symmetries of a plate, and the ends exchanged."""
    layout = next(iter(plates.values())).centers[:, :2]
    offsets = np.array([g.centers[0, 2] for g in plates.values()])
    middle = offsets.min() + offsets.max()
    ends = [(1.0, 0.0)]
    if np.abs(np.sort(middle - offsets) - np.sort(offsets)).max() < NEAR:
        ends.append((-1.0, middle))
    ways = []
    for sign, shift in ends:
        for flat in find_symmetries(layout, NEAR):
            turn = np.eye(3)
            turn[:2, :2], turn[2, 2] = flat.turn, sign
            ways.append(placement.after(Placement(turn, np.array([*flat.shift, shift]))))
    return ways


def _marks(even, candidates, plates, phantom: Phantom, maps, to_world: Placement) -> dict[str, np.ndarray]:
    """What each cue says of each candidate."""
    geometry = phantom.definition["geometry"]
    # Seen from the end where z is least, x runs right and y up: the phantom's frame is left-handed, and so is its place
    # in the scanner, unless the file's geometry is wrong, which is rare.
    marks = {"hand": np.array([HAND * to_world.after(c).is_mirrored for c in candidates])}
    if geometry.get("rods"):
        marks["rods"] = mark_rods(even, GRID, candidates, rod_points(geometry["rods"]))
    centers = np.array([c.shift for c in candidates])
    apart = float(np.linalg.norm(centers - centers[0], axis=1).max())
    if apart > NEAR:
        marks["body"] = mark_body(even, GRID, candidates, apart / 2)
    if geometry.get("brightness") == "rising":
        smooth = ndimage.uniform_filter(even, 3)
        by_plate = []
        for name in plates:
            values = [_read(smooth, c(plates[name].centers) / GRID) for c in candidates]
            by_plate.append(mark_order(values, plates[name].vials.astype(float)))
        marks["brightness"] = np.mean(by_plate, axis=0)
    for fitted, plate, reference in maps:
        marks[f"values of {plate.array}"] = _mark_values(candidates, fitted, plate, reference, to_world)
    return marks


def rod_points(rods: list[dict]) -> np.ndarray:
    """(r, 3) array [mm]: where rods pass, in the phantom's frame."""
    return np.array(
        [
            [rod["radius"] * np.cos(np.radians(a)), rod["radius"] * np.sin(np.radians(a)), rod["offset"]]
            for rod in rods
            for a in rod["angles"]
        ]
    )


def _read(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    inside = ((at >= 0) & (at <= np.array(image.shape) - 1)).all(axis=1)
    return np.where(inside, ndimage.map_coordinates(image, at.T, order=1), np.nan)


def _mark_values(candidates, fitted: ParameterMap, plate: Geometry, reference, to_world: Placement) -> np.ndarray:
    """Rank correlation of a map with the reference at the places that each candidate predicts."""
    expected = {r.vial: r.value for r in reference if r.flag != SUSPECT}
    known = np.array([expected.get(v, np.nan) for v in plate.vials.tolist()])
    inverse = np.linalg.inv(fitted.affine)
    spacing = np.sqrt((fitted.affine[:3, :3] ** 2).sum(axis=0))
    values = []
    for candidate in candidates:
        voxels = to_world(candidate(plate.centers)) @ inverse[:3, :3].T + inverse[:3, 3]
        values.append(crude_values(fitted, spacing, voxels, CORE * plate.sphere_diameter / 2))
    marks = mark_order(values, known)
    # Where the other end lies outside the map, it has no values there: that is no match.
    return np.where(np.isfinite(marks), marks, 0.0) if np.isfinite(marks).any() else marks
