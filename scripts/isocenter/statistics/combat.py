"""ComBat on ROI values: an option beside phantom calibration, judged on people that it has not seen.

Each site's values are shifted and scaled so that the sites agree. Traveling participants give the site effects: their
own level is part of the model, so differences between people are not mistaken for differences between sites. The
effects of the regions of one biomarker are shrunk toward each other (empirical Bayes), which is what ComBat adds to a
plain correction. It uses people's values, so it is judged by leaving one participant out: each participant is corrected
by effects that were estimated without them.

References
----------
Johnson, Li & Rabinovic 2007, doi 10.1093/biostatistics/kxj037; Fortin et al. 2018,
doi 10.1016/j.neuroimage.2017.11.024; Maikusa et al. 2021, doi 10.1002/hbm.25615 (traveling subjects).
"""

from dataclasses import dataclass

import numpy as np

#: Inverse gamma prior with mean 1 for the scale of a single feature.
_PRIOR_A, _PRIOR_B = 3.0, 2.0


@dataclass(frozen=True)
class SiteEffects:
    """Shift (f, j) and scale (f, j) of each feature and site, in units of the feature's pooled residual SD (f,)."""

    shift: np.ndarray
    scale: np.ndarray
    sd: np.ndarray


def estimate_effects(values: np.ndarray, subject: np.ndarray, site: np.ndarray, n_sites: int) -> SiteEffects:
    """Empirical-Bayes site effects of several features.

    Parameters
    ----------
    values : (f, n) array
        One row a feature (a region); NaN where absent. Sites are told apart by participants seen at several.
    subject, site : (n,) arrays of int
        Who and where.
    n_sites : int
        Number of sites; one without data keeps shift 0 and scale 1.
    """
    shift, scale = np.zeros((len(values), n_sites)), np.ones((len(values), n_sites))
    sd = np.ones(len(values))
    counts = np.zeros((len(values), n_sites))
    squares = np.ones((len(values), n_sites))
    for f, y in enumerate(values):
        keep = np.isfinite(y)
        y, s, t = y[keep], subject[keep], site[keep]
        if len(y) < 3:
            continue
        effect, residual, df = _fit_additive(y, s, t, n_sites)
        sd[f] = np.sqrt((residual**2).sum() / df) if df > 0 and (residual**2).sum() > 0 else 1.0
        counts[f] = np.bincount(t, minlength=n_sites)
        shift[f] = effect / sd[f]
        # Residuals have fewer degrees of freedom than values; their mean square over sites is one by this factor.
        z2 = np.bincount(t, residual**2, n_sites) / sd[f] ** 2 * len(y) / max(df, 1)
        squares[f] = np.where(counts[f] > 0, z2 / np.maximum(counts[f], 1), 1.0)
    for j in range(n_sites):
        present = counts[:, j] > 0
        if not present.any():
            continue
        shift[present, j], scale[present, j] = _shrink(shift[present, j], squares[present, j], counts[present, j])
    return SiteEffects(shift, scale, sd)


def _fit_additive(y, subject, site, n_sites) -> tuple[np.ndarray, np.ndarray, int]:
    """Site effects (mean zero over the sites present) beside free participant levels, residuals and their df."""
    people = np.unique(subject, return_inverse=True)[1]
    n_people = int(people.max()) + 1
    present = np.unique(site)
    X = np.zeros((len(y), n_people + n_sites))
    X[np.arange(len(y)), people] = 1
    X[np.arange(len(y)), n_people + site] = 1
    center = y.mean()
    solution, _, rank, _ = np.linalg.lstsq(X, y - center, rcond=None)
    effect = np.zeros(n_sites)
    effect[present] = solution[n_people + present] - solution[n_people + present].mean()
    return effect, y - center - X @ solution, len(y) - int(rank)


def _shrink(shift: np.ndarray, square: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior shift and scale of one site over its features.

    With one feature the shift has nothing to be shrunk toward, and the scale leans weakly on 1: a site whose few values
    happen to agree is no site without noise.
    """
    if len(shift) < 2 or np.ptp(shift) == 0:
        return shift, np.sqrt((_PRIOR_B + 0.5 * count * square) / (count / 2 + _PRIOR_A - 1))
    center, spread = shift.mean(), max(float(shift.var(ddof=1) - (square / count).mean()), 1e-12)
    mean, var = max(float(square.mean()), 0.05), max(float(square.var(ddof=1)), 1e-3)
    # Inverse gamma prior with the moments of the features' variances at this site.
    a, b = 2 + mean**2 / var, mean + mean**3 / var
    g, d = shift.copy(), square.copy()
    for _ in range(100):
        g_next = (count * spread * shift + d * center) / (count * spread + d)
        d_next = (b + 0.5 * count * (square + (shift - g_next) ** 2)) / (count / 2 + a - 1)
        done = max(np.abs(g_next - g).max(), np.abs(d_next - d).max()) < 1e-8
        g, d = g_next, d_next
        if done:
            break
    return g, np.sqrt(d)


def apply_effects(values: np.ndarray, subject: np.ndarray, site: np.ndarray, effects: SiteEffects) -> np.ndarray:
    """(f, n) values less the sites' shifts, their scatter around each participant's own level rescaled."""
    result = values - (effects.shift * effects.sd[:, None])[:, site]
    for f in range(len(values)):
        keep = np.isfinite(result[f])
        if not keep.any():
            continue
        count = np.bincount(subject[keep])
        level = np.bincount(subject[keep], result[f, keep]) / np.maximum(count, 1)
        level = level[subject[keep]]
        result[f, keep] = level + (result[f, keep] - level) / effects.scale[f, site[keep]]
    return result


def harmonize_left_out(values: np.ndarray, subject: np.ndarray, site: np.ndarray) -> np.ndarray:
    """(f, n) values, each participant's corrected by effects estimated without them; NaN where that is not possible."""
    n_sites = int(site.max()) + 1
    result = np.full(values.shape, np.nan)
    for person in np.unique(subject):
        mine = subject == person
        others = ~mine
        if len(np.unique(site[others])) < n_sites:
            continue  # a site that only this participant saw has no effect without them
        effects = estimate_effects(values[:, others], subject[others], site[others], n_sites)
        result[:, mine] = apply_effects(values[:, mine], np.zeros(mine.sum(), int), site[mine], effects)
    return result
