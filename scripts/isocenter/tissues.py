"""Tissues: a template's probability maps, the image that finds them in a scan, and the labels they become."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isocenter.errors import RegistrationError, explain

#: Tissues in the order of their labels, which count from 1.
TISSUES = ("white_matter", "gray_matter", "csf")
#: A voxel gets a label above this probability. Over 0.9 the medians of white matter and fluid agree with those of
#: truly pure voxels; cortex is thinner than most voxels, and hardly any exceed 0.9 (docs/decisions/0016).
THRESHOLDS = {"white_matter": 0.9, "gray_matter": 0.8, "csf": 0.9}
#: The synthetic image of a relaxation time T is exp(−T / this) [s]: white above gray matter, fluid dark, as in a
#: T1-weighted image, with no coil in it.
CONTRAST_TIMES = {"T1": 1.0, "T2": 0.1, "T2star": 0.05}
#: Amplitude below this share of the bright tissue's is air.
AIR_SHARE = 0.25
#: Parts of an image smaller than this share of the largest are noise.
LEAST_PART = 0.1
#: Fewer voxels than this are no head.
FEWEST_VOXELS = 500


@dataclass(frozen=True)
class Template:
    """A T1-weighted head without skull and the probability of each tissue.

    image : (x, y, z) float32 array [1], white matter bright, air 0
    tissues : name to (x, y, z) float32 array [1]
    affine : (4, 4) array, voxel to RAS mm
    """

    image: np.ndarray
    tissues: dict[str, np.ndarray]
    affine: np.ndarray


def synthesize_contrast(
    time: np.ndarray, amplitude: np.ndarray, parameter: str, scale: float | None = None
) -> np.ndarray:
    """A T1-weighted-like image from a parameter alone: (x, y, z) float32 array [1], 0 in air.

    Its brightness is the tissue's, not the receive coil's; the amplitude only tells tissue from air.

    Parameters
    ----------
    time : (x, y, z) array
        T1, T2 or T2* [s], or whatever rises from white to gray matter to fluid; NaN where there is none.
    amplitude : (x, y, z) array
        The fit's M0 or S0.
    parameter : str
        Which time it is: a key of `CONTRAST_TIMES`, unless `scale` is given.
    scale : float, optional
        In the unit of `time`; the image is exp(-time/scale).
    """
    fitted = np.isfinite(time) & np.isfinite(amplitude) & (amplitude > 0)
    if np.count_nonzero(fitted) < FEWEST_VOXELS:
        raise RegistrationError(
            explain(
                "A map holds too few voxels to find the head in it",
                expected=f"{FEWEST_VOXELS} or more",
                found=np.count_nonzero(fitted),
            )
        )
    tissue = fitted & (amplitude > AIR_SHARE * np.percentile(amplitude[fitted], 90))
    labels, count = ndimage.label(tissue)
    if count > 1:  # the largest may be the scalp, with the brain for itself within the skull
        sizes = np.bincount(labels.ravel())[1:]
        tissue = np.isin(labels, 1 + np.flatnonzero(sizes >= LEAST_PART * sizes.max()))
    image = np.zeros(time.shape, np.float32)
    image[tissue] = np.exp(-time[tissue] / (scale or CONTRAST_TIMES[parameter]))
    # A voxel without a value inside the head looks like its neighbors, not like air.
    holes = ndimage.binary_fill_holes(tissue) & ~tissue
    image[holes] = ndimage.median_filter(image, size=3)[holes]
    return image


def divide_tissues(
    probabilities: dict[str, np.ndarray], thresholds: dict[str, float] = THRESHOLDS
) -> dict[str, np.ndarray]:
    """Where each of `TISSUES` is: name to (x, y, z) booleans, none over another.

    A voxel is of the tissue that it most probably is, air among them; of these voxels those whose probability exceeds
    the tissue's threshold stay. With thresholds of 0 all do: the hard labels.
    """
    stack = np.stack([probabilities[name] for name in TISSUES])
    air = np.maximum(1 - stack.sum(axis=0), 0)
    most = np.argmax(np.concatenate([stack, air[np.newaxis]]), axis=0)
    return {name: (most == number) & (stack[number] > thresholds.get(name, 0.0)) for number, name in enumerate(TISSUES)}


def average_blocks(fine: np.ndarray, block: int | tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of voxels: (x, y, z) to (x / block, y / block, z / block) float32; a rest is cut off."""
    blocks = (block,) * 3 if isinstance(block, int) else block
    counts = [n // b for n, b in zip(fine.shape, blocks, strict=True)]
    cut = fine[tuple(slice(n * b) for n, b in zip(counts, blocks, strict=True))]
    shape = [s for n, b in zip(counts, blocks, strict=True) for s in (n, b)]
    return cut.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
