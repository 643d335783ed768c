"""Calls of antsRegistration: arrays in, matrices out.

ANTs thinks in LPS millimeters, float32 and files; Isocenter thinks in RAS millimeters and arrays. What crosses between
the two crosses here. Matrices are in RAS and map a point of the fixed image to the moving image, the direction in
which images are resampled.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isocenter.errors import RegistrationError, explain
from isocenter.registration.loading import load_ants

#: RAS to LPS and back.
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stage:
    """One stage of antsRegistration: a transform, a metric, and a pyramid from coarse to fine.

    metric : antsRegistration's words with ``{fixed}`` and ``{moving}`` in place of the images
    sigmas : smoothing of each level [mm]
    """

    transform: str
    metric: str
    iterations: tuple[int, ...]
    shrink: tuple[int, ...]
    sigmas: tuple[float, ...]
    tolerance: float = 1e-6
    window: int = 6

    def arguments(self, fixed: str, moving: str) -> list[str]:
        """The stage in antsRegistration's command line."""
        return [
            *("--transform", self.transform),
            *("--metric", self.metric.format(fixed=fixed, moving=moving)),
            *("--convergence", f"[{_times(self.iterations)},{self.tolerance:g},{self.window}]"),
            *("--shrink-factors", _times(self.shrink)),
            *("--smoothing-sigmas", f"{_times(self.sigmas)}mm"),
        ]


def _times(values: Sequence[float]) -> str:
    return "x".join(f"{value:g}" for value in values)


def to_ants(data: np.ndarray, affine: np.ndarray):
    """An ANTs image from an array and its RAS affine; NaN becomes 0, which ANTs needs.

    data : (x, y, z) array; affine : (4, 4) array, voxel to RAS+ mm
    """
    ants = load_ants()
    lps = FLIP @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise RegistrationError(
            explain(
                "An image has sheared axes, which ANTs cannot hold",
                found=np.round(affine[:3, :3], 4).tolist(),
                remedy="resample the image to an orthogonal grid",
            )
        )
    u, _, vt = np.linalg.svd(direction)
    values = np.nan_to_num(np.asarray(data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return ants.from_numpy(
        np.ascontiguousarray(values),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=u @ vt,
    )


def run_ants_registration(fixed, moving, stages: Sequence[Stage], folder: str, *, initial: str, mask=None, seed: int):
    """Run antsRegistration and return the paths of its transforms, in the order that resampling needs.

    fixed, moving, mask : ANTs images of the same dimension, 2 or 3
    """
    ants = load_ants()
    from ants.internal import get_pointer_string

    names = get_pointer_string(fixed), get_pointer_string(moving)
    arguments = ["--dimensionality", str(fixed.dimension), "--float", "1", "--random-seed", str(seed)]
    arguments += ["--initial-moving-transform", initial.format(fixed=names[0], moving=names[1])]
    for stage in stages:
        arguments += stage.arguments(*names)
        arguments += ["--masks", f"[{get_pointer_string(mask) if mask is not None else 'NA'},NA]"]
    arguments += ["--use-histogram-matching", "0", "--winsorize-image-intensities", "[0.0,1.0]"]
    arguments += ["--output", f"{folder}/t"]
    try:
        ants.registration(arguments, None)
    except RuntimeError as error:
        raise RegistrationError(explain("antsRegistration failed", found=error)) from error
    warps = sorted(Path(folder).glob("t*[0-9]Warp.nii.gz"))
    matrices = sorted(Path(folder).glob("t*GenericAffine.mat"))
    return [str(path) for path in (*reversed(warps), *reversed(matrices))]


def read_matrix(path: str) -> np.ndarray:
    """A (4, 4) matrix, fixed point to moving point in RAS mm, from an ITK affine transform file."""
    transform = load_ants().read_transform(path)
    parameters = np.asarray(transform.parameters, dtype=float)
    center = np.asarray(transform.fixed_parameters, dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + center - matrix[:3, :3] @ center
    return FLIP @ matrix @ FLIP


def hash_transform(shift: np.ndarray, paths: Sequence[str]) -> str:
    """SHA-256 of a composed transform, as hexadecimal digits: of its numbers, not of how files pack them.

    shift : (4, 4) array, what was done before; paths : files of matrices and warps, as resampling takes them
    """
    ants, digest = load_ants(), hashlib.sha256(np.asarray(shift, dtype="<f8").tobytes())
    for path in paths:
        if path.endswith(".mat"):
            transform = ants.read_transform(path)
            parts = [transform.parameters, transform.fixed_parameters]
        else:
            warp = load_ants().image_read(path)
            parts = [warp.numpy(), warp.origin, warp.spacing, warp.direction]
        for part in parts:
            digest.update(np.ascontiguousarray(part, dtype="<f8").tobytes())
    return digest.hexdigest()


#: Rigid, for volumes of some 10⁵ samples: 0.2 s each. ANTs shrinks thick slices less than the plane.
RIGID = (
    Stage(
        "Rigid[0.3]",
        "Mattes[{fixed},{moving},1,32,Regular,0.25]",
        iterations=(30, 20),
        shrink=(3, 2),
        sigmas=(6.0, 3.0),
        window=8,
    ),
)
#: Rigid to the resolution of the images: where two scans lie on each other, which nothing refines afterwards.
RIGID_FINE = (
    Stage(
        "Rigid[0.2]",
        "Mattes[{fixed},{moving},1,32,Regular,0.5]",
        iterations=(60, 40, 30),
        shrink=(3, 2, 1),
        sigmas=(6.0, 3.0, 1.0),
        window=8,
    ),
)


def register_rigid(
    fixed: np.ndarray,
    moving: np.ndarray,
    affine: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    stages: Sequence[Stage] = RIGID,
    seed: int = 1,
) -> np.ndarray:
    """The rigid motion between two volumes on one grid, by Mattes mutual information.

    Mutual information asks only that the contrasts be related: inverted and nulled tissues do no harm.

    Parameters
    ----------
    fixed, moving : (x, y, z) arrays
        On one grid.
    affine : (4, 4) array
        Voxel to RAS mm, of both.
    mask : (x, y, z) booleans, optional
        Where the metric is evaluated.
    stages : sequence of Stage
        `RIGID`, or `RIGID_FINE`.
    seed : int
        Of ANTs' sampling.

    Returns
    -------
    (4, 4) array: a point of `fixed` to the same point of the object in `moving`, RAS mm
    """
    images = to_ants(fixed, affine), to_ants(moving, affine)
    mask_image = None if mask is None else to_ants(mask, affine).clone("unsigned char")
    with tempfile.TemporaryDirectory() as folder:
        paths = run_ants_registration(*images, stages, folder, initial="Identity", mask=mask_image, seed=seed)
        return read_matrix(paths[-1])


def _on_grid(values: np.ndarray, spacing: np.ndarray):
    """An ANTs image of 2 or 3 dimensions along the grid's own axes, spacing in mm; NaN becomes 0."""
    return load_ants().from_numpy(np.ascontiguousarray(np.nan_to_num(values), np.float32), spacing=spacing.tolist())


#: Within one slice, whose samples are few: all of them count.
IN_PLANE = (Stage("Rigid[0.3]", "Mattes[{fixed},{moving},1,24]", (40, 30), shrink=(2, 1), sigmas=(5.0, 2.5), window=8),)


def register_rigid_plane(
    fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray, *, mask: np.ndarray | None = None, seed: int = 1
) -> np.ndarray:
    """The rigid motion within one slice, by Mattes mutual information.

    fixed, moving, mask : (x, y) arrays; the rest and the answer as in :func:`register_rigid`, without motion through
    the slice.
    """
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    mask_image = None if mask is None else _on_grid(mask, spacing).clone("unsigned char")
    with tempfile.TemporaryDirectory() as folder:
        paths = run_ants_registration(
            _on_grid(fixed, spacing),
            _on_grid(moving, spacing),
            IN_PLANE,
            folder,
            initial="Identity",
            mask=mask_image,
            seed=seed,
        )
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        moved = points_after(corners * spacing, paths[-1]) / spacing
    voxel = np.eye(4)
    voxel[:2, 3] = moved[0]
    voxel[:2, :2] = (moved[1:] - moved[0]).T
    return affine @ voxel @ np.linalg.inv(affine)


#: Breathing: a shift of the whole, then what is left. Prediction and volume have about the same contrast, but a
#: prediction that extrapolates is off in scale, which mutual information and local correlation do not see. Organs are
#: smooth enough for half the resolution, to which the last level only adds the grid.
BREATHING = (
    Stage("Translation[0.5]", "Mattes[{fixed},{moving},1,32,Regular,0.25]", (30, 20), (4, 2), (6.0, 3.0)),
    Stage("SyN[0.2,3,0.5]", "CC[{fixed},{moving},1,4]", (20, 15, 0), (4, 2, 1), (6.0, 3.0, 0.0)),
)


def register_deformable(
    fixed: np.ndarray, moving: np.ndarray, spacing: np.ndarray, *, mask: np.ndarray | None = None, seed: int = 1
) -> np.ndarray:
    """The smooth, invertible displacement between two images of one contrast on one grid (SyN, Avants 2008).

    Parameters
    ----------
    fixed, moving : (x, y) or (x, y, z) arrays
        On one grid.
    spacing : (2,) or (3,) array [mm]
        Of the grid.
    mask : booleans like `fixed`, optional
        Where the metric is evaluated.
    seed : int
        Of ANTs' sampling.

    Returns
    -------
    (x, y, 2) or (x, y, z, 3) array [mm, along the grid's axes]: where a point of `fixed` lies in `moving`, less the
    point.
    """
    mask_image = None if mask is None else _on_grid(mask, spacing).clone("unsigned char")
    with tempfile.TemporaryDirectory() as folder:
        paths = run_ants_registration(
            _on_grid(fixed, spacing),
            _on_grid(moving, spacing),
            BREATHING,
            folder,
            initial="Identity",
            mask=mask_image,
            seed=seed,
        )
        points = np.moveaxis(np.indices(fixed.shape), 0, -1) * spacing
        warp = load_ants().image_read(paths[0]).numpy()
        return points_after(points + warp, paths[1]) - points


def points_after(points: np.ndarray, path: str) -> np.ndarray:
    """Points (..., d) through an ITK affine transform file of that dimension, in its own coordinates."""
    transform = load_ants().read_transform(path)
    d = points.shape[-1]
    parameters = np.asarray(transform.parameters, dtype=float)
    center = np.asarray(transform.fixed_parameters, dtype=float)
    return np.einsum("ij,...j->...i", parameters[: d * d].reshape(d, d), points - center) + center + parameters[d * d :]
