"""The vial that does not follow the line of the others."""

from itertools import combinations

import numpy as np

from isocenter.calibration.curve import FORMS
from isocenter.calibration.regression import LEAST_SPAN, find_span
from isocenter.calibration.scale import RELATIVE, Scale

#: A vial further than this many standard deviations from the others' line is an outlier; at most this share is.
OUTLIER, MOST_OUTLIERS = 4.0, 0.3
#: Pairs of vials through which a line, triples through which a parabola is tried at most.
MOST_PAIRS = 400
#: Shares that a line is drawn through differ by at least this part of the whole.
LEAST_APART = 0.05


def find_outliers(
    measured: np.ndarray,
    measured_stderr: np.ndarray,
    reference: np.ndarray,
    reference_stderr: np.ndarray,
    *,
    may_bend: bool = False,
    scale: Scale = RELATIVE,
) -> np.ndarray:
    """(n,) booleans: vials that do not follow the line of the others.

    The line is the one through two vials that leaves the smallest median residual, so that up to a third of the
    vials cannot pull it toward themselves; the scatter of the others judges the distance. At most
    :data:`MOST_OUTLIERS` of the vials are called outliers, the worst first: beyond that, "outlier" means nothing.
    `scale` says how errors count. With `may_bend` rising parabolas through three vials are tried too: at the end of a
    bent curve good vials lie far
    off every line.
    """
    m, r = np.asarray(measured, dtype=float), np.asarray(reference, dtype=float)
    n = len(m)
    most = int(MOST_OUTLIERS * n)
    if n < 5:
        return np.zeros(n, bool)
    size = scale.size(r)
    relative = np.sqrt(
        scale.share(np.asarray(reference_stderr), r) ** 2 + scale.share(np.asarray(measured_stderr), m) ** 2
    )
    lines = [(0.0, g, 0.0) for g in (r / m if scale.is_relative else r[m > 0] / m[m > 0])]
    span = find_span(m)
    if n >= FORMS["linear"] and span >= LEAST_SPAN["linear"]:
        i, j = np.triu_indices(n, 1)
        # Enough pairs to find the line; more vials than a phantom or two have are drawn on evenly.
        thin = max(1, len(i) // MOST_PAIRS)
        i, j = i[::thin], j[::thin]
        high, low = np.maximum(m[i], m[j]), np.minimum(m[i], m[j])
        far = high / low >= 1.5 if scale.is_relative else high - low >= LEAST_APART * scale.whole
        slope = (r[i] - r[j])[far] / (m[i] - m[j])[far]
        lines += list(zip(r[i][far] - slope * m[i][far], slope, 0.0 * slope, strict=True))
    c = np.array(lines)
    if may_bend and n >= FORMS["quadratic"] and span >= LEAST_SPAN["quadratic"]:
        c = np.vstack([c, _parabolas(m, r, scale)])
    residual = np.abs(c[:, :1] + c[:, 1:2] * m + c[:, 2:] * m**2 - r) / size
    # Judged by the better three quarters: the median alone would let a line through two stray vials win.
    cost = np.sort(residual / np.maximum(relative, np.median(relative)), axis=1)[:, : int(np.ceil(0.75 * n))].mean(1)
    best = residual[np.argmin(cost)]
    scatter = 1.4826 * np.median(best) * np.sqrt(n / (n - 2))
    z = best / np.sqrt(relative**2 + max(scatter**2 - np.median(relative) ** 2, 0.0))
    outlier = z > OUTLIER
    if outlier.sum() > most:
        outlier[np.argsort(-z, kind="stable")[most:]] = False
    return outlier


def _parabolas(m: np.ndarray, r: np.ndarray, scale: Scale) -> np.ndarray:
    """(k, 3) coefficients of the parabolas through three vials that lie apart, those that rise between all vials."""
    triples = np.array(list(combinations(np.argsort(m), 3)))
    high, low = m[triples[:, 1:]], m[triples[:, :-1]]
    far = high / low >= 1.5 if scale.is_relative else high - low >= LEAST_APART * scale.whole
    triples = triples[far.all(axis=1)]
    triples = triples[:: max(1, len(triples) // MOST_PAIRS)]
    if not len(triples):
        return np.zeros((0, 3))
    powers = m[triples][..., None] ** np.arange(3)
    c = np.linalg.solve(powers, r[triples][..., None])[..., 0]
    rises = np.minimum(c[:, 1] + 2 * c[:, 2] * m.min(), c[:, 1] + 2 * c[:, 2] * m.max()) > 0
    return c[rises]
