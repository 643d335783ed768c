"""The field offset from the phase of echoes, over a volume."""

import numpy as np

from isocenter.fields.noise import find_signal
from isocenter.fields.unwrapping import unwrap_field
from isocenter.models import Bound
from isocenter.models.b0_dual_echo import shortest_spacing, solve_field


def measure_field(bound: Bound, signal: np.ndarray, *, mask: np.ndarray | None = None) -> np.ndarray:
    """The field offset from the two echoes that lie closest, unwrapped over space.

    Parameters
    ----------
    bound : Bound
        `b0_dual_echo`, bound to n samples.
    signal : (x, y, z, n) complex array [a.u.]
        The samples.
    mask : (x, y, z) booleans, optional
        Voxels to look at; all that have signal by default.

    Returns
    -------
    (x, y, z) array [Hz]
        NaN outside.
    """
    times = evolution_times(bound)
    inside = find_signal(signal, mask)
    magnitude = np.sqrt(sum(np.nan_to_num(np.abs(signal[..., i]) ** 2) for i in range(bound.n)))
    field = np.full(inside.shape, np.nan)
    samples = signal[inside]
    if times.size > 2:
        order = np.argsort(times)
        first = int(np.argmin(np.where(np.diff(times[order]) > 0, np.diff(times[order]), np.inf)))
        pair = order[first : first + 2]
        samples, times = samples[:, pair], times[pair]
    field[inside] = solve_field(samples, np.nan, times)[0][:, 0]
    return unwrap_field(field, 1 / shortest_spacing(times), magnitude, inside)


def evolution_times(bound: Bound) -> np.ndarray:
    """(n,) array [s]: how long the phase of each sample has evolved; of a difference image the time between echoes."""
    known = bound.acquisition
    if "EchoTime" in known:
        return known["EchoTime"]
    return np.array([known["EchoTime2"] - known["EchoTime1"]])
