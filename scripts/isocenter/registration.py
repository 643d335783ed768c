"""Registration: the only door to ANTs.

ANTs thinks in LPS millimetres, float32 and files; Isocenter thinks in RAS millimetres and arrays. Everything that
crosses between the two crosses here. Transforms leave as 4 × 4 matrices in RAS that map a point of the fixed image to
the moving image (the direction in which images are resampled).
"""

import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import tempfile
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isocenter import motion
from isocenter.errors import RegistrationError, explain
from isocenter.tissues import Template, average_blocks

log = logging.getLogger("isocenter")

#: A motion larger than this within one series is taken for a failed registration [mm]: it is more than a head coil
#: lets a head move, and a scan with such a motion is lost anyway.
MOTION_LIMIT = 15.0

#: RAS to LPS and back.
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Parts of ANTs that Isocenter never calls and that pull matplotlib, scikit-learn, statsmodels, scipy.stats and
#: requests at import (2 s of 3); with the names that ``ants`` takes from them by name.
DEFERRED = {
    "ants.plotting": (),
    "ants.learn": (),
    "ants.deeplearn": (),
    "ants.contrib": (),
    "ants.math.quantile": (
        "ilr",
        "rank_intensity",
        "quantile",
        "regress_poly",
        "regress_components",
        "get_average_of_timeseries",
        "compcor",
        "bandpass_filter_matrix",
    ),
    "ants.utils.get_ants_data": ("get_ants_data", "get_data"),
}


def load_ants(threads: int = 1, *, defer: bool = True) -> types.ModuleType:
    """Import ``ants`` with a fixed number of ITK threads, without the parts that only plot or learn.

    The parts in `DEFERRED` are replaced, for the time of the import, by modules whose functions load the real part
    when they are called. When the package no longer looks as expected, the plain import is used.

    Parameters
    ----------
    threads : int
        ITK threads. ITK reads the number once in a process, at its first registration.
    defer : bool
        False imports everything, as ``import ants`` does.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    loaded = sys.modules.get("ants")
    if loaded is not None:
        return loaded
    if defer:
        try:
            return _import_deferred()
        except Exception as error:  # whatever a new release changed, the plain import is right
            log.info("Importing all of ANTs: %s: %s", type(error).__name__, error)
            for name in [n for n in sys.modules if n == "ants" or n.startswith("ants.")]:
                del sys.modules[name]
    return importlib.import_module("ants")


def _import_deferred() -> types.ModuleType:
    stand_ins = {name: _stand_in(name, attributes) for name, attributes in DEFERRED.items()}
    sys.modules.update(stand_ins)
    try:
        ants = importlib.import_module("ants")
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    for name in ("registration", "apply_transforms", "from_numpy", "read_transform", "atropos"):
        if not callable(getattr(ants, name, None)):
            raise ImportError(f"ants has no {name}")
    return ants


def _stand_in(name: str, attributes: Sequence[str]) -> types.ModuleType:
    module = types.ModuleType(name, "Stands in while ants is imported; its functions load the real module.")
    module.__all__ = list(attributes)
    for attribute in attributes:
        setattr(module, attribute, _late(name, attribute))
    return module


def _late(module: str, attribute: str):
    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), attribute)(*args, **kwargs)

    call.__name__ = attribute
    return call


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
    """Run antsRegistration and return the paths of its transforms, in the order that resampling needs."""
    ants = load_ants()
    from ants.internal import get_pointer_string

    names = get_pointer_string(fixed), get_pointer_string(moving)
    arguments = ["--dimensionality", "3", "--float", "1", "--random-seed", str(seed)]
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


#: Rigid, for volumes of some 10⁵ samples: 0.2 s each. ANTs shrinks thick slices less than the plane.
RIGID = (Stage("Rigid[0.2]", "Mattes[{fixed},{moving},1,32,Regular,0.25]", (30,), (2,), (3.0,), tolerance=1e-5),)


def register_rigid(
    fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray, *, mask: np.ndarray | None = None, seed: int = 1
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
    seed : int
        Of ANTs' sampling.

    Returns
    -------
    (4, 4) array: a point of `fixed` to the same point of the object in `moving`, RAS mm
    """
    images = to_ants(fixed, affine), to_ants(moving, affine)
    mask_image = None if mask is None else to_ants(mask, affine).clone("unsigned char")
    with tempfile.TemporaryDirectory() as folder:
        paths = run_ants_registration(*images, RIGID, folder, initial="Identity", mask=mask_image, seed=seed)
        return read_matrix(paths[-1])


@dataclass(frozen=True)
class Alignment:
    """The motions of a series and what became of each volume.

    matrices : n (4, 4) arrays, reference point to point in volume k, RAS mm
    used : n words: ``reference``, ``registered``, or why the volume was left where it was
    center : (3,) array, the object's centroid in the reference volume [mm]
    """

    matrices: list[np.ndarray]
    used: list[str]
    reference: int
    center: np.ndarray


def align_volumes(
    data: np.ndarray,
    affine: np.ndarray,
    *,
    inversion_time: np.ndarray | None = None,
    limit: float = MOTION_LIMIT,
    seed: int = 1,
) -> Alignment:
    """Find the rigid motion of every volume of a series whose contrast changes.

    ANTs registers each volume to the reference volume by mutual information; then the consensus of all volumes
    refines the motions (:func:`isocenter.motion.refine_motions`). A volume whose motion exceeds `limit`, or that fits
    the others no better for it, stays where it was.

    Parameters
    ----------
    data : (x, y, z, n) array
        Magnitudes.
    affine : (4, 4) array
        Voxel to RAS mm.
    inversion_time : (n,) array [s], optional
        When the series has them.
    limit : float
        Largest motion that is believed [mm].
    seed : int
        Of ANTs' sampling.
    """
    n = data.shape[3]
    mask = motion.find_foreground(data)
    center = motion.center_of(mask, affine)
    reference = motion.choose_reference(data, mask, inversion_time)
    fixed = data[..., reference]
    matrices = [
        np.eye(4) if k == reference else register_rigid(fixed, data[..., k], affine, mask=mask, seed=seed)
        for k in range(n)
    ]
    matrices = [m if motion.largest_displacement(m, center) <= limit else np.eye(4) for m in matrices]
    gains = np.full(n, np.inf)
    if n >= motion.FEWEST_VOLUMES:
        matrices, gains = motion.refine_motions(data, affine, matrices, mask, reference)
    used = []
    for k, matrix in enumerate(matrices):
        if k == reference:
            used.append("reference")
        elif motion.largest_displacement(matrix, center) > limit:
            used.append(f"left in place: motion beyond {limit:g} mm")
        elif gains[k] < 0:
            used.append("left in place: fits the other volumes no better")
        else:
            used.append("registered")
    matrices = [m if word == "registered" else np.eye(4) for m, word in zip(matrices, used, strict=True)]
    return Alignment(matrices, used, reference, center)


def read_matrix(path: str) -> np.ndarray:
    """A (4, 4) matrix, fixed point to moving point in RAS mm, from an ITK affine transform file."""
    transform = load_ants().read_transform(path)
    parameters = np.asarray(transform.parameters, dtype=float)
    center = np.asarray(transform.fixed_parameters, dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + center - matrix[:3, :3] @ center
    return FLIP @ matrix @ FLIP


#: Template to scan: rigid and affine on a coarse grid find the head, diffeomorphic (SyN, Avants 2008,
#: doi 10.1016/j.media.2007.06.004) at half the scan's resolution follows its shape.
TO_TEMPLATE = (
    Stage("Rigid[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (40, 20), (4, 2), (8.0, 4.0), tolerance=1e-5),
    Stage("Affine[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (40, 20), (4, 2), (8.0, 4.0), tolerance=1e-5),
    Stage("SyN[0.2,3,0]", "MI[{fixed},{moving},1,32]", (30,), (2,), (3.0,)),
)
#: Correlation of the scan's image and the template brought to it; below, the head was not found.
LEAST_CORRELATION = 0.6
#: When it is not found from the centers of mass, starts this far along the head's axis are tried [mm]: a slab's
#: center is not the head's.
OTHER_STARTS = (-25.0, 25.0, -50.0, 50.0)
#: Probabilities are means over points this far apart [mm]; a thick voxel is not its center.
POINT_SPACING = 2.0


@dataclass(frozen=True)
class Transfer:
    """A template's tissues in scan space.

    probabilities : for each image, name to (x, y, z) float32 array [1]
    correlation : of the first image and the template brought to it
    """

    probabilities: list[dict[str, np.ndarray]]
    correlation: float


def transfer_tissues(images: Sequence[tuple[np.ndarray, np.ndarray]], template: Template, *, seed: int = 1) -> Transfer:
    """Bring a template's tissues to the images of one session.

    The template is registered to the first image (rigid, affine, diffeomorphic); every other image is registered to
    the first rigidly. Each tissue map is interpolated once, through all transforms, onto points inside each voxel.

    Parameters
    ----------
    images : pairs of (x, y, z) array and (4, 4) affine, voxel to RAS mm
        T1-weighted-like images (:func:`isocenter.tissues.synthesize_contrast`), air 0.
    template : Template
        Skull-stripped, like the images.
    seed : int
        Of ANTs' sampling.
    """
    with tempfile.TemporaryDirectory() as folder:
        shift, paths, correlation = _find_template(images[0], template, folder, seed)
        moved = shift @ template.affine
        probabilities = [_bring(template.tissues, moved, *images[0], paths)]
        for number, image in enumerate(images[1:], start=1):
            rigid = _register_to_first(images[0], image, Path(folder, f"image{number}"), seed)
            probabilities.append(_bring(template.tissues, moved, *image, [*paths, rigid]))
    return Transfer(probabilities, correlation)


def _find_template(image, template, folder, seed):
    """Shift of the template before registration, paths of its transforms, and how well it fits."""
    fixed = to_ants(*image)
    tissue = image[0] > 0
    centers = [motion.center_of(a > 0, affine) for a, affine in (image, (template.image, template.affine))]
    best = None
    for number, start in enumerate((0.0, *OTHER_STARTS)):
        shift = np.eye(4)
        shift[:3, 3] = centers[0] - centers[1] + [0.0, 0.0, start]
        moving = to_ants(template.image, shift @ template.affine)
        trial = Path(folder, f"template{number}")
        trial.mkdir()
        paths = run_ants_registration(fixed, moving, TO_TEMPLATE, str(trial), initial="Identity", seed=seed)
        warped = load_ants().apply_transforms(fixed, moving, paths).numpy()
        correlation = _correlate(image[0][tissue], warped[tissue])
        if best is None or correlation > best[2]:
            best = shift, paths, correlation
        if correlation >= LEAST_CORRELATION:
            return best
    raise RegistrationError(
        explain(
            "The template does not fit this head",
            expected=f"a correlation of {LEAST_CORRELATION} or more between the template and the scan",
            found=f"{best[2]:.2f}",
            remedy="look at the maps: is it a head, and is enough of it in the scan?",
        )
    )


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (values.astype(float) - values.mean(dtype=float) for values in (first, second))
    power = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / power) if power > 0 else 0.0


def _register_to_first(first, image, folder: Path, seed: int) -> str:
    folder.mkdir()
    fixed, moving = to_ants(*image), to_ants(*first)
    return run_ants_registration(fixed, moving, RIGID, str(folder), initial="Identity", seed=seed)[-1]


def _bring(tissues, tissues_affine, image, affine, paths) -> dict[str, np.ndarray]:
    """Each tissue's mean over points inside every voxel of an image's grid, through the transforms."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    counts = np.maximum(np.round(spacing / POINT_SPACING).astype(int), 1)
    fine = affine.copy()
    fine[:3, :3] = affine[:3, :3] / counts
    fine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((1 / counts - 1) / 2)
    grid = to_ants(np.zeros(np.array(image.shape) * counts, np.float32), fine)
    return {
        name: average_blocks(
            load_ants().apply_transforms(grid, to_ants(tissue, tissues_affine), paths).numpy(),
            tuple(int(count) for count in counts),
        )
        for name, tissue in tissues.items()
    }
