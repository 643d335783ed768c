"""Variance components of a trial: REML, with moment estimates that may be negative beside it.

Moments are Henderson's method I, which is the ANOVA estimate in balanced data and needs no balance. It is not
truncated: a negative moment estimate is how data say that a component is zero.

References
----------
Henderson 1953, doi 10.2307/3001853; Searle, Casella & McCulloch 1992, doi 10.1002/9780470316856.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from isocenter.statistics.design import COMPONENTS, Design
from isocenter.statistics.reml import Neighbor, RemlFit, fit_near, fit_reml
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


def estimate_components(design: Design, near: Neighbor | None = None) -> Components:
    """REML variances of a design, moment estimates beside them.

    With `near`, the fit of nearly the same data (a site more), the search starts there alone and moments are left
    out; when the answer fails the check of a minimum, the whole search is made.

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
    if near is None:
        result.moments.update(estimate_moments(design))
    if _find_residual_sd(design) <= COPY_TOLERANCE * 10 * np.abs(design.values).max():
        result.flags.append("zero_within_variance")
        result.variances["residual"] = 0.0
        return result
    result.fit = fit_reml(design, result.moments) if near is None else fit_near(design, near)
    result.variances.update(result.fit.variances)
    if not result.fit.is_converged:
        result.flags.append("not_converged")
    return result


def count_residual_df(design: Design) -> int:
    """Residual degrees of freedom: measurements less the levels they are told apart by.

    None where no participant has two values: what differs then are people, and that is no residual.
    """
    if design.n_subjects == design.n > 1:
        return 0
    if "session" in design.active:
        return design.n - design.n_sessions
    if "subject:site" in design.active:
        return design.n - design.n_cells
    return design.n - count_additive_rank(design)


def count_additive_rank(design: Design) -> int:
    """Rank of subjects plus sites without interaction."""
    if "subject" not in design.active and design.n_subjects > 1:
        return design.n_sites
    return design.additive_rank


def _find_residual_sd(design: Design) -> float:
    if "session" in design.active:
        return float(np.sqrt(design.session_squares.sum() / design.n))
    y = design.values - design.values.mean()
    if design.n > design.n_cells or "subject:site" in design.active:
        # Sessions are not told apart, so repeats are those of a cell.
        code = design.levels("subject:site")
        fitted = (np.bincount(code, y) / design.values_per_cell)[code]
    elif "subject" not in design.active:
        code = design.levels("site")
        fitted = (np.bincount(code, y) / np.bincount(code))[code]
    else:
        # One value a cell: what subjects plus sites leave.
        shape = (design.n, design.n_subjects + design.n_sites)
        rows = np.arange(design.n)
        columns = [design.levels("subject"), design.n_subjects + design.levels("site")]
        X = sparse.csr_matrix((np.ones(2 * design.n), (np.tile(rows, 2), np.concatenate(columns))), shape)
        fitted = X @ linalg.lsqr(X, y, atol=1e-15, btol=1e-15, iter_lim=500)[0]
    return float(np.sqrt(((y - fitted) ** 2).mean()))


#: Components from fine to coarse along the nesting; site stands across.
_NESTING = ("residual", "session", "subject:site", "subject")


def estimate_moments(design: Design) -> dict[str, float]:
    """Henderson's method I: equate uncorrected sums of squares to their expectations.

    Two fixed sites take part as a nuisance component that is not returned.
    """
    names = [name for name in COMPONENTS if name in design.active or name == "residual"]
    factors = ["mean", *names, *(["site"] if design.is_site_fixed else [])]
    y = design.values - design.values.mean()
    of_session, of_cell = design.values_per_session, design.values_per_cell
    counts = {
        "mean": np.array([design.n]),
        "residual": np.ones(design.n),
        "session": of_session,
        "subject:site": of_cell,
        "subject": np.bincount(design.cell_subject, of_cell),
        "site": np.bincount(design.cell_site, of_cell),
    }
    levels = {name: np.zeros(design.n, int) if name == "mean" else design.levels(name) for name in factors}
    squares = [(np.bincount(levels[name], y) ** 2 / counts[name]).sum() for name in factors]
    equations = np.full((len(factors), len(factors)), float(design.n))
    for i, row in enumerate(factors):
        for j, column in enumerate(factors[1:], start=1):
            if {row, column} == {"subject", "site"}:
                parent = design.cell_subject if row == "subject" else design.cell_site
                equations[i, j] = (of_cell**2 / counts[row][parent]).sum()
            elif row == "mean" or _is_within(column, row):
                equations[i, j] = (counts[column] ** 2 / _find_parent(design, counts, column, row)).sum()
    solution = np.linalg.lstsq(equations, np.array(squares), rcond=None)[0]
    return {name: float(v) for name, v in zip(factors[1:], solution[1:], strict=True) if name in names}


def _is_within(fine: str, coarse: str) -> bool:
    """Whether each level of one component lies in one level of the other (or is it)."""
    if coarse == "site" or fine == "site":
        return coarse == "site" and fine != "subject"
    return _NESTING.index(fine) <= _NESTING.index(coarse)


def _find_parent(design: Design, counts: dict, fine: str, coarse: str) -> np.ndarray:
    """For each level of the finer component, how many measurements its level of the coarser one holds."""
    if coarse == "mean":
        return counts["mean"]
    if fine == "residual":
        return counts[coarse][design.levels(coarse)]
    if coarse == fine:
        return counts[fine]
    # Levels are numbered by first appearance along the sorted rows, or as the cells' labels say.
    fine_of = {"session": design.session_cell, "subject:site": np.arange(design.n_cells)}
    if fine not in fine_of:
        first = np.unique(design.levels(fine), return_index=True)[1]
        return counts[coarse][design.levels(coarse)[first]]
    cell = fine_of[fine]
    return counts[coarse][
        {"subject:site": cell, "subject": design.cell_subject[cell], "site": design.cell_site[cell]}[coarse]
    ]
