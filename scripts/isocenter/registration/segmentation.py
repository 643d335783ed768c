"""Tissue segmentation of a scan by Atropos, with transferred probabilities as priors (Avants 2011,
doi 10.1007/s12021-011-9109-y).
"""

import tempfile
from pathlib import Path

import numpy as np

from isocenter.errors import RegistrationError, explain
from isocenter.registration.engine import to_ants
from isocenter.registration.loading import load_ants

#: Weight of the priors beside the image, and of the neighbors (Markov field over one voxel around).
PRIOR_WEIGHT, SMOOTHING = 0.25, 0.1
#: Iterations, and the change of the mean posterior at which they stop.
ITERATIONS, CHANGE = 5, 0.0


def segment_tissues(
    image: np.ndarray, affine: np.ndarray, priors: dict[str, np.ndarray], *, seed: int = 1
) -> dict[str, np.ndarray]:
    """The probability of each tissue by the scan's own contrast: name to (x, y, z) float32 array [1], 0 in air.

    Parameters
    ----------
    image : (x, y, z) array [1]
        T1-weighted-like, 0 in air (:func:`isocenter.tissues.synthesize_contrast`).
    affine : (4, 4) array
        Voxel to RAS mm.
    priors : name to (x, y, z) array [1]
        The template's tissues, brought to the image.
    seed : int
        Atropos draws nothing at random when it starts from priors; its generator is fixed all the same.

    Raises
    ------
    RegistrationError
        Atropos failed.
    """
    ants = load_ants()
    from ants.internal import get_lib_fn, get_pointer_string, process_arguments

    scan, mask = to_ants(image, affine), to_ants(image > 0, affine).clone("unsigned int")
    labels = scan.clone("unsigned int")
    with tempfile.TemporaryDirectory() as folder:
        for number, prior in enumerate(priors.values(), start=1):
            ants.image_write(to_ants(prior, affine), str(Path(folder, f"prior{number:02d}.nii.gz")))
        arguments = {
            "d": 3,
            "a": scan,
            "x": mask,
            "i": f"PriorProbabilityImages[{len(priors)},{folder}/prior%02d.nii.gz,{PRIOR_WEIGHT}]",
            "m": f"[{SMOOTHING},1x1x1]",
            "c": f"[{ITERATIONS},{CHANGE}]",
            "r": 0,
            "o": f"[{get_pointer_string(labels)},{folder}/posterior%02d.nii.gz]",
        }
        if get_lib_fn("Atropos")(process_arguments(arguments)) != 0:
            raise RegistrationError(
                explain(
                    "Atropos found no tissues in this scan",
                    found="it stopped with an error",
                    remedy="look at the maps, or set regions.brain.segmentation to template",
                )
            )
        found = [Path(folder, f"posterior{number:02d}.nii.gz") for number in range(1, len(priors) + 1)]
        posteriors = [ants.image_read(str(path)).numpy().astype(np.float32) for path in found]
    # Atropos knows no air: what the template says of it stays.
    tissue = np.where(image > 0, np.minimum(sum(priors.values()), 1), 0).astype(np.float32)
    return {name: p * tissue for name, p in zip(priors, posteriors, strict=True)}
