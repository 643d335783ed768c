"""Alignment of a series whose contrast changes from volume to volume."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from isocenter import motion
from isocenter.consensus import FEWEST_SLICES, FEWEST_VOLUMES, find_followers, refine_motions
from isocenter.errors import ConfigError, RegistrationError, explain
from isocenter.registration.deformable import deform_by_model
from isocenter.registration.engine import register_rigid, register_rigid_plane
from isocenter.series_model import Bind, predict_from_others

#: A motion larger than this within one series is taken for a failed registration [mm]: it is more than a head coil
#: lets a head move, and a scan with such a motion is lost anyway.
MOTION_LIMIT = 15.0
#: How a series is aligned: see `align_volumes`.
METHODS = ("none", "reference", "mean", "rigid", "model", "deformable")
#: Those that need a signal model.
BY_MODEL = ("model", "deformable")
#: Most turns of registering to the mean of the volumes.
_MEAN_ROUNDS = 3
LEFT_OUT = "left out"
#: The motion of such a volume is not known: it stays where it is, and fits use it as it was measured.
_NOT_JUDGED = "left in place: not judged, as nothing in it follows the other volumes"
_EMPTY = f"{LEFT_OUT}: it holds no signal"


@dataclass(frozen=True)
class Alignment:
    """The motions of a series and what became of each volume.

    matrices : n (4, 4) arrays, reference point to point in volume k, RAS mm
    used : n words: ``reference``, ``registered``, or why the volume was left where it was, or left out
    center : (3,) array, the object's centroid in the reference volume [mm]
    moved : (n, x, y, z, 3) array [mm, along the voxel axes], or None: where a reference point lies in volume k, less
        the point; for deformable motion, whose matrices are those of no motion
    """

    matrices: list[np.ndarray]
    used: list[str]
    reference: int
    center: np.ndarray
    moved: np.ndarray | None = None

    @property
    def left_out(self) -> np.ndarray:
        """(n,) booleans: volumes that no fit may use."""
        return np.array([word.startswith(LEFT_OUT) for word in self.used], dtype=bool)


def align_volumes(
    data: np.ndarray,
    affine: np.ndarray,
    *,
    method: str = "rigid",
    inversion_time: np.ndarray | None = None,
    bind: Bind | None = None,
    limit: float = MOTION_LIMIT,
    mask: np.ndarray | None = None,
    seed: int = 1,
) -> Alignment:
    """Find the motion of every volume of a series whose contrast changes.

    Parameters
    ----------
    data : (x, y, z, n) array
        Magnitudes.
    affine : (4, 4) array
        Voxel to RAS mm.
    method : str
        ``none``; ``reference``: ANTs registers each volume to the reference volume by mutual information; ``mean``:
        to the mean of all, by turns; ``rigid``: as ``reference``, then the consensus of all volumes refines the motions
        (:func:`isocenter.consensus.refine_motions`); ``model``: as ``rigid``, with the signal model's prediction of
        each volume from the others; ``deformable``: each volume is warped to that prediction, by turns.
    inversion_time : (n,) array [s], optional
        When the series has them.
    bind : callable, optional
        The signal model (:func:`isocenter.series_model.bind_series`), for the methods in `BY_MODEL`.
    limit : float
        Largest motion that is believed [mm]: a volume beyond it is left out.
    mask : (x, y, z) booleans, optional
        The organ whose motion counts; without it everything that is no air.
    seed : int
        Of ANTs' sampling.

    Raises
    ------
    RegistrationError
        When fewer than two volumes hold any signal; single ones that hold none are left out.
    """
    if method not in METHODS or (method in BY_MODEL and bind is None):
        raise ConfigError(
            explain(
                "Unknown alignment method" if method not in METHODS else "This alignment needs a signal model",
                expected=" or ".join(METHODS),
                found=method,
                remedy="set `align`",
            )
        )
    same = {
        "method": method,
        "inversion_time": inversion_time,
        "bind": bind,
        "limit": limit,
        "mask": mask,
        "seed": seed,
    }
    holds = motion.find_signal(data)
    if method != "none" and not holds.all():
        return _align_rest(align_volumes, data, affine, holds, **same)
    if method in ("none", "deformable"):
        mask = motion.find_foreground(data) if mask is None else mask
        center = motion.center_of(mask, affine)
        reference = motion.choose_reference(data, mask, inversion_time)
        if method == "deformable":
            return _align_deformable(data, affine, mask, center, reference, bind, limit, seed)
        n = data.shape[3]
        return Alignment([np.eye(4)] * n, ["not aligned"] * n, reference, center)
    found = _align_rigidly(data, affine, **same)
    if 2 * found.left_out.sum() < data.shape[3] or data.shape[3] == 2:
        return found
    # Where most lie far from the reference, it is the reference that lies far from them.
    kept = np.arange(data.shape[3]) != found.reference
    other = _align_rest(_align_rigidly, data, affine, kept, {found.reference: np.eye(4)}, **same)
    if other.left_out.sum() >= found.left_out.sum():
        return found
    other.matrices[found.reference] = np.linalg.inv(found.matrices[other.reference])
    return other


def _align_rigidly(data, affine, *, method, inversion_time, bind, limit, mask, seed) -> Alignment:
    mask = motion.find_foreground(data) if mask is None else mask
    center = motion.center_of(mask, affine)
    reference = motion.choose_reference(data, mask, inversion_time)
    n = data.shape[3]
    is_refined = method in ("rigid", "model") and n >= FEWEST_VOLUMES
    if is_refined and data.shape[2] < FEWEST_SLICES:  # the consensus finds motions within a slice from nothing
        found = [np.eye(4)] * n
    else:
        start = _register_to_mean if method == "mean" else _register_to_reference
        found = start(data, affine, mask, reference, seed)
    gains = np.zeros(n)
    if is_refined:
        predict = predict_from_others(bind) if method == "model" else None
        near = [m if motion.largest_displacement(m, center) <= limit else np.eye(4) for m in found]
        refined, gains = refine_motions(data, affine, near, mask, reference, predict=predict)
        far = _find_far(data, affine, found, refined, gains, mask, center, reference, limit, predict)
        if far.any() and 2 * far.sum() < n:  # they shaped the others' motions: these are found once more, without them
            moved = {int(k): found[k] for k in np.flatnonzero(far)}
            return _align_rest(
                _align_rigidly, data, affine, ~far, moved, method=method, inversion_time=inversion_time, bind=bind,
                limit=limit, mask=mask, seed=seed,
            )  # fmt: skip
        found = [far_motion if is_far else own for far_motion, own, is_far in zip(found, refined, far, strict=True)]
    is_far = np.array([motion.largest_displacement(m, center) > limit for m in found])
    placed = [np.eye(4) if far else m for far, m in zip(is_far, found, strict=True)]
    follows = find_followers(data, affine, placed, mask)
    matrices, used = [], []
    for k, matrix in enumerate(found):
        if k == reference:
            word = "reference"
        elif is_far[k]:
            word = _beyond(limit)
        elif not follows[k]:
            word = _NOT_JUDGED
        elif gains[k] < 0:
            word = "left in place: fits the other volumes no better"
        else:
            word = "registered"
        matrices.append(np.eye(4) if word.startswith("left in place") else matrix)
        used.append(word)
    return Alignment(matrices, used, reference, center)


def _align_rest(align, data, affine, kept, far=None, *, inversion_time, bind, limit, **same) -> Alignment:
    """The alignment, by `align`, of the volumes that are `kept`; the others are left out, and shape no other's.

    far : by volume the motion that is beyond the limit; those without one hold no signal
    """
    which = np.flatnonzero(kept)
    if which.size < 2:
        raise RegistrationError(
            explain(
                "The series cannot be aligned", expected="two volumes that hold signal or more", found=int(which.size),
                remedy="send the series again, or set `align: none`",
            )
        )  # fmt: skip
    n = data.shape[3]
    times = inversion_time if np.size(inversion_time) != n else np.asarray(inversion_time)[which]
    part = None if bind is None else (lambda volumes: bind(which[volumes]))
    found = align(data[..., which], affine, inversion_time=times, bind=part, limit=limit, **same)
    matrices, used = [np.eye(4)] * n, [_EMPTY] * n
    for k, matrix in (far or {}).items():
        matrices[k], used[k] = matrix, _beyond(limit)
    for k, matrix, word in zip(which, found.matrices, found.used, strict=True):
        matrices[k], used[k] = matrix, word
    moved = None
    if found.moved is not None:
        moved = np.zeros((n, *found.moved.shape[1:]))
        moved[which] = found.moved
    return Alignment(matrices, used, int(which[found.reference]), found.center, moved)


def _beyond(limit: float) -> str:
    return f"{LEFT_OUT}: motion beyond {limit:g} mm"


def _find_far(data, affine, found, refined, gains, mask, center, reference, limit, predict) -> np.ndarray:
    """(n,) booleans: volumes of which the registration says that they moved beyond the limit, and the others agree.

    The consensus starts such a volume from no motion, as registration may fail where a tissue is nulled; what it then
    finds counts unless the far motion explains the volume better.
    """
    far = np.array([motion.largest_displacement(m, center) > limit for m in found])
    for k in np.flatnonzero(far):
        tried = [found[k] if j == k else m for j, m in enumerate(refined)]
        _, other = refine_motions(data, affine, tried, mask, reference, predict=predict, steps=0)
        far[k] = other[k] > max(gains[k], 0.0)
    return far


def undo(alignment: Alignment, reason: str) -> Alignment:
    """The alignment with every registered volume back where it was, and why."""
    words = [f"left in place: {reason}" if word == "registered" else word for word in alignment.used]
    keeps = alignment.left_out
    matrices = [m if keep else np.eye(4) for m, keep in zip(alignment.matrices, keeps, strict=True)]
    return replace(alignment, matrices=matrices, used=words, moved=None)


def _register_to_reference(data, affine, mask, reference, seed) -> list[np.ndarray]:
    fixed = data[..., reference]
    return [
        np.eye(4) if k == reference else _register(fixed, data[..., k], affine, mask, seed)
        for k in range(data.shape[3])
    ]


def _register(fixed, moving, affine, mask, seed) -> np.ndarray:
    """One volume to another; a thin stack moves as its slices do on average, and not through them."""
    if fixed.shape[2] >= FEWEST_SLICES:
        return register_rigid(fixed, moving, affine, mask=mask, seed=seed)
    slices = [z for z in range(fixed.shape[2]) if mask[:, :, z].any()]
    found = []
    for z in slices:
        own = affine.copy()
        own[:3, 3] = affine[:3, :3] @ [0, 0, z] + affine[:3, 3]
        found.append(register_rigid_plane(fixed[..., z], moving[..., z], own, mask=mask[..., z], seed=seed))
    return motion.average_motion(found, motion.center_of(mask, affine)) if found else np.eye(4)


def _register_to_mean(data, affine, mask, reference, seed) -> list[np.ndarray]:
    """By turns, from the volumes as they are; in the end everything is told from the reference volume."""
    n = data.shape[3]
    # Every volume counts alike: the mean of the brightest would be the brightest.
    sizes = np.array([np.median(np.nan_to_num(data[..., k])[mask]) for k in range(n)])
    weights = 1 / np.maximum(sizes, 1e-3 * sizes.max())
    found = [np.eye(4)] * n
    for _ in range(_MEAN_ROUNDS):
        still = [motion.resample(data[..., k], found[k], affine, outside=0.0) * weights[k] for k in range(n)]
        mean = np.mean(still, axis=0)
        before = found
        found = [_register(mean, data[..., k], affine, mask, seed) for k in range(n)]
        center = motion.center_of(mask, affine)
        steps = [np.linalg.inv(a) @ b for a, b in zip(before, found, strict=True)]
        if max(motion.largest_displacement(step, center) for step in steps) < 0.1:
            break
    frame = np.linalg.inv(found[reference])
    return [matrix @ frame for matrix in found]


def _align_deformable(data, affine, mask, center, reference, bind: Callable, limit, seed) -> Alignment:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    moved = deform_by_model(data, spacing, mask, reference, bind, seed=seed)
    used = []
    for k in range(data.shape[3]):
        far = float(np.percentile(np.linalg.norm(moved[k][mask], axis=-1), 95))
        word = "reference" if k == reference else "registered"
        used.append(_beyond(limit) if far > limit else word)
    return Alignment([np.eye(4)] * data.shape[3], used, reference, center, moved)
