"""The brain within a whole head: skull and scalp taken away, by the template's own outline brought to the scan.

The template has no skull, so a head that has one is matched where the template says something: its brain and a rim of
what lies around it (Avants 2011, doi 10.1016/j.neuroimage.2010.09.025, with the mask on the template).
"""

import tempfile
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from isocenter import motion
from isocenter.errors import RegistrationError
from isocenter.registration.engine import Stage, read_matrix, run_ants_registration, to_ants
from isocenter.tissues import Template

#: Template to head, evaluated in the template's outline with a rim.
TO_HEAD = (
    Stage("Rigid[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (60, 30), (4, 2), (8.0, 4.0), tolerance=1e-5),
    Stage("Affine[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (60, 30), (4, 2), (8.0, 4.0), tolerance=1e-5),
)
#: The rim of fluid and bone around the brain that takes part in the match [mm]: dark in the template and in the head.
RIM = 8.0
#: What is kept around an outline [mm]: more would let in the marrow of the skull, which is as bright as white matter.
MARGIN = 2.0
#: Starts: up and to the front [mm], for face and neck draw the center of mass down and forward; nodding [deg].
STARTS = (
    (0.0, 0.0, 0.0), (30.0, -10.0, 0.0), (30.0, -10.0, 15.0), (30.0, -10.0, -15.0), (0.0, 0.0, 15.0), (0.0, 0.0, -15.0),
    (-30.0, 10.0, 0.0), (55.0, -15.0, 0.0),
)  # fmt: skip
#: A match this good ends the search for a better start; wrong ones stay below 0.1.
GOOD_CORRELATION = 0.45
#: A brain is so much larger or smaller than the template along an edge [1]; else the match took the skin for it.
PLAUSIBLE_SIZES = (0.75, 1.2)


def outline_of(template: Template) -> np.ndarray:
    """Where the template's brain is: (x, y, z) booleans."""
    return ndimage.binary_fill_holes(sum(template.tissues.values()) > 0.5)


def widen(mask: np.ndarray, affine: np.ndarray, millimeters: float) -> np.ndarray:
    """A mask (x, y, z) and what lies within some millimeters of it."""
    return ndimage.distance_transform_edt(~mask, sampling=np.linalg.norm(affine[:3, :3], axis=0)) <= millimeters


def place_outline(head: tuple[np.ndarray, np.ndarray], template: Template, *, seed: int = 1) -> np.ndarray:
    """The template's outline in a whole head, by an affine match: (x, y, z) booleans.

    Parameters
    ----------
    head : (x, y, z) array and (4, 4) affine
        T1-weighted-like, 0 in air; skull, scalp, face and neck may be there.
    template : Template
        Without skull.
    seed : int
        Of ANTs' sampling.
    """
    image, affine = head
    brain = outline_of(template)
    rim = widen(brain, template.affine, RIM)
    tissue = image > 0
    middle = motion.center_of(template.image > 0, template.affine)
    away = motion.center_of(tissue, affine) - middle
    best, best_outline = -1.0, None
    for up, forward, nod in STARTS:
        start = motion.rigid_matrix(away + np.array([0.0, forward, up]), np.radians([nod, 0.0, 0.0]), middle)
        there = start @ template.affine
        try:
            matrix = _match(template.image, there, head, rim, seed)
        except RegistrationError:  # no overlap from this start
            continue
        if not PLAUSIBLE_SIZES[0] <= np.cbrt(np.linalg.det(matrix[:3, :3])) <= PLAUSIBLE_SIZES[1]:
            continue
        voxel = np.linalg.inv(matrix @ there) @ affine
        placed, outline = (
            ndimage.affine_transform(
                a.astype(np.float32), voxel[:3, :3], voxel[:3, 3], output_shape=image.shape, order=1
            )
            for a in (template.image, brain)
        )
        inside = (outline > 0.5) & tissue
        if np.count_nonzero(inside) <= 0.2 * np.count_nonzero(outline > 0.5):  # most of it lies in air
            continue
        correlation = float(np.corrcoef(image[inside], placed[inside])[0, 1])
        if correlation > best:
            best, best_outline = correlation, outline > 0.5
        if best >= GOOD_CORRELATION:
            break
    return np.zeros(image.shape, bool) if best_outline is None else best_outline


def _match(image: np.ndarray, affine: np.ndarray, head: Sequence[np.ndarray], rim: np.ndarray, seed: int) -> np.ndarray:
    """(4, 4) affine matrix, a point of the template to the head's, RAS mm."""
    mask = to_ants(rim, affine).clone("unsigned char")
    with tempfile.TemporaryDirectory() as folder:
        fixed, moving = to_ants(image, affine), to_ants(*head)
        paths = run_ants_registration(fixed, moving, TO_HEAD, folder, initial="Identity", mask=mask, seed=seed)
        return read_matrix(paths[-1])
