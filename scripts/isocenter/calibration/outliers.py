"""The vial that does not follow the line of the others."""

import numpy as np

from isocenter.calibration.curve import FORMS
from isocenter.calibration.regression import LEAST_SPAN

#: A vial further than this many standard deviations from the others' line is an outlier; at most this share is.
OUTLIER, MOST_OUTLIERS = 4.0, 0.3
#: Pairs of vials through which a line is tried at most.
MOST_PAIRS = 400


def find_outliers(
    measured: np.ndarray, measured_stderr: np.ndarray, reference: np.ndarray, reference_stderr: np.ndarray
) -> np.ndarray:
    """(n,) booleans: vials that do not follow the line of the others.

    The line is the one through two vials that leaves the smallest median residual, so that up to a third of the
    vials cannot pull it toward themselves; the scatter of the others judges the distance. At most
    :data:`MOST_OUTLIERS` of the vials are called outliers, the worst first: beyond that, "outlier" means nothing.
    """
    m, r = np.asarray(measured, dtype=float), np.asarray(reference, dtype=float)
    n = len(m)
    most = int(MOST_OUTLIERS * n)
    if n < 5:
        return np.zeros(n, bool)
    relative = np.sqrt((np.asarray(reference_stderr) / r) ** 2 + (np.asarray(measured_stderr) / m) ** 2)
    lines = [(0.0, g) for g in r / m]
    if n >= FORMS["linear"] and m.max() / m.min() >= LEAST_SPAN["linear"]:
        i, j = np.triu_indices(n, 1)
        # Enough pairs to find the line; more vials than a phantom or two have are drawn on evenly.
        thin = max(1, len(i) // MOST_PAIRS)
        i, j = i[::thin], j[::thin]
        far = np.maximum(m[i], m[j]) / np.minimum(m[i], m[j]) >= 1.5
        slope = (r[i] - r[j])[far] / (m[i] - m[j])[far]
        lines += list(zip(r[i][far] - slope * m[i][far], slope, strict=True))
    c = np.array(lines)
    residual = np.abs(c[:, :1] + c[:, 1:] * m - r) / r
    # Judged by the better three quarters: the median alone would let a line through two stray vials win.
    cost = np.sort(residual / np.maximum(relative, np.median(relative)), axis=1)[:, : int(np.ceil(0.75 * n))].mean(1)
    best = residual[np.argmin(cost)]
    scatter = 1.4826 * np.median(best) * np.sqrt(n / (n - 2))
    z = best / np.sqrt(relative**2 + max(scatter**2 - np.median(relative) ** 2, 0.0))
    outlier = z > OUTLIER
    if outlier.sum() > most:
        outlier[np.argsort(-z, kind="stable")[most:]] = False
    return outlier
