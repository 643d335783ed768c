"""Variance components of a trial: REML, with moment estimates that may be negative beside it.

Moments are Henderson's method I, which is the ANOVA estimate in balanced data and needs no balance. It is not
truncated: a negative moment estimate is how data say that a component is zero.

References
----------
Henderson 1953, doi 10.2307/3001853; Searle, Casella & McCulloch 1992, doi 10.1002/9780470316856.
"""

from dataclasses import dataclass, field

import numpy as np

from isocenter.statistics.design import COMPONENTS, Design
from isocenter.statistics.reml import RemlFit, fit_reml
from isocenter.statistics.repeatability import COPY_TOLERANCE


@dataclass
class Components:
    """Variance components of one design; NaN where a component is not estimable.

    Attributes
    ----------
    variances, moments : dict
        By component, in squared units of the values; `moments` are not truncated.
    fit : RemlFit or None
        None when nothing could be fitted; `flags` say why.
    """

    design: Design
    variances: dict[str, float]
    moments: dict[str, float]
    fit: RemlFit | None = None
    flags: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Sum of all estimated components."""
        return float(np.nansum([self.variances[name] for name in COMPONENTS]))


def estimate_components(design: Design) -> Components:
    """REML variances of a design, moment estimates beside them.

    Flags: ``no_replicates`` (no residual degrees of freedom), ``constant`` (all values equal),
    ``zero_within_variance`` (repeats are copies), ``not_converged``.
    """
    nothing = dict.fromkeys(COMPONENTS, np.nan)
    result = Components(design, dict(nothing), dict(nothing))
    if design.n < 2 or count_residual_df(design) < 1:
        result.flags.append("no_replicates")
        return result
    if np.ptp(design.values) == 0:
        result.flags += ["constant", "zero_within_variance"]
        result.variances["residual"] = result.moments["residual"] = 0.0
        return result
    result.moments.update(estimate_moments(design))
    if _find_residual_sd(design) <= COPY_TOLERANCE * 10 * np.abs(design.values).max():
        result.flags.append("zero_within_variance")
        result.variances["residual"] = 0.0
        return result
    result.fit = fit_reml(design, result.moments)
    result.variances.update(result.fit.variances)
    if not result.fit.is_converged:
        result.flags.append("not_converged")
    return result


def count_residual_df(design: Design) -> int:
    """Residual degrees of freedom: measurements less the levels they are told apart by."""
    if "session" in design.active:
        return design.n - design.n_sessions
    if "subject:site" in design.active:
        return design.n - design.n_cells
    return design.n - count_additive_rank(design)


def count_additive_rank(design: Design) -> int:
    """Rank of subjects plus sites without interaction."""
    if "subject" not in design.active and design.n_subjects > 1:
        return design.n_sites
    return min(design.n_cells, design.n_subjects + design.n_sites - 1)


def _find_residual_sd(design: Design) -> float:
    y = design.values
    if "session" in design.active or "subject:site" in design.active:
        code = design.levels("session" if "session" in design.active else "subject:site")
        fitted = (np.bincount(code, y) / np.bincount(code))[code]
    else:
        X = np.zeros((design.n, design.n_subjects + design.n_sites))
        rows = np.arange(design.n)
        if "subject" in design.active:
            X[rows, design.levels("subject")] = 1
        X[rows, design.n_subjects + design.levels("site")] = 1
        center = y.mean()
        fitted = center + X @ np.linalg.lstsq(X, y - center, rcond=None)[0]
    return float(np.sqrt(((y - fitted) ** 2).mean()))


def estimate_moments(design: Design) -> dict[str, float]:
    """Henderson's method I: equate uncorrected sums of squares to their expectations.

    Two fixed sites take part as a nuisance component that is not returned.
    """
    names = [name for name in COMPONENTS if name in design.active or name == "residual"]
    nuisance = ["site"] if design.is_site_fixed else []
    levels = {name: design.levels(name) for name in names + nuisance}
    factors = [np.zeros(design.n, int), *levels.values()]
    y = design.values - design.values.mean()
    equations = np.zeros((len(factors), len(factors)))
    squares = np.zeros(len(factors))
    for row, code in enumerate(factors):
        count = np.bincount(code)
        squares[row] = (np.bincount(code, y) ** 2 / count).sum()
        equations[row, 0] = design.n
        for column, other in enumerate(factors[1:], start=1):
            _, first, size = np.unique(code * (int(other.max()) + 1) + other, return_index=True, return_counts=True)
            equations[row, column] = (size**2 / count[code[first]]).sum()
    solution = np.linalg.lstsq(equations, squares, rcond=None)[0]
    return {name: float(v) for name, v in zip(levels, solution[1:], strict=True) if name in names}
