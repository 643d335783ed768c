"""The gradient of the field offset, and how much it shortens a measured T2*.

Spins across a voxel of length d in a gradient g turn apart, and the voxel's signal falls by sinc(g d TE) on top of
exp(-TE/T2*): the mean over a box of phases (Fernandez-Seara and Wehrli 2000, doi
10.1002/1522-2594(200009)44:3<358::AID-MRM3>3.0.CO;2-O; Yablonskiy 1998, doi 10.1002/mrm.1910390316). A fit of one
exponential takes this fall for decay.
"""

import numpy as np

#: The least signal that is left of a voxel: past the first zero of the sinc nothing is measured any more.
_LEAST_SIGNAL = 1e-3


def measure_gradient(field: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The gradient of a field offset along the axes of its grid.

    Parameters
    ----------
    field : (x, y, z) array [Hz]
        NaN where it is not known.
    size : (3,) array [mm]
        From voxel to voxel.

    Returns
    -------
    (x, y, z, 3) array [Hz/mm]
        Half the step between both neighbors, or the step to the one that has a value; NaN where none has, or the
        voxel itself has not. 0 along an axis of one voxel.
    """
    found = np.zeros((*field.shape, 3))
    for axis in range(3):
        if field.shape[axis] == 1:
            continue
        step = np.diff(field, axis=axis) / size[axis]
        blank = np.full_like(np.take(field, [0], axis=axis), np.nan, dtype=float)
        both = np.stack([np.concatenate(pair, axis=axis) for pair in ((blank, step), (step, blank))])
        count = np.isfinite(both).sum(axis=0)
        with np.errstate(invalid="ignore"):
            found[..., axis] = np.where(count > 0, np.nansum(both, axis=0) / np.maximum(count, 1), np.nan)
    found[~np.isfinite(field)] = np.nan
    return found


def predict_shortening(
    gradient: np.ndarray, size: np.ndarray, echo_times: np.ndarray, t2star: np.ndarray
) -> np.ndarray:
    """By how much a gradient shortened a measured T2*.

    The fall of the signal by dephasing is fitted as a fit of one exponential does: minus its logarithm on a line over
    the echo times, each weighted by the square of its signal. The slope b is what was added to 1/T2*.

    Parameters
    ----------
    gradient : (..., 3) array [Hz/mm]
        Along the axes of the voxel.
    size : (3,) array [mm]
        Of the voxel: of thick slices with gaps their thickness.
    echo_times : (n,) array [s]
        Of the fit.
    t2star : (...,) array [s]
        As measured.

    Returns
    -------
    (...,) array
        b times the measured T2*: the share of the measured rate that is not the tissue's. With few and short echoes it
        goes with the square of gradient and voxel. NaN where either input is.
    """
    times = np.asarray(echo_times, dtype=float)
    turns = (np.asarray(gradient) * size)[..., np.newaxis, :] * times[:, np.newaxis]
    left = np.prod(np.sinc(turns), axis=-1)
    fall = -np.log(np.maximum(np.abs(left), _LEAST_SIGNAL))
    fall = np.where(np.max(np.abs(turns), axis=-1) >= 1, -np.log(_LEAST_SIGNAL), fall)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.exp(-2 * times / np.asarray(t2star)[..., np.newaxis])
        total = weight.sum(axis=-1, keepdims=True)
        apart = times - (weight * times).sum(axis=-1, keepdims=True) / total
        slope = (weight * apart * fall).sum(axis=-1) / (weight * apart**2).sum(axis=-1)
        return slope * t2star
