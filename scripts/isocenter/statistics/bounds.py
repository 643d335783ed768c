"""Bounds for sums of variance components: the modified large sample (MLS) method, and simulation for ratios.

A trial has few sites, and the usual intervals then cover far too rarely. MLS bounds hold their level; their price is
an upper bound of several times the estimate at three sites. Unbalanced data enter through mean squares that are
rebuilt from the REML components with harmonic sizes.

References
----------
Graybill & Wang 1980, doi 10.1080/01621459.1980.10477565; Ting et al. 1990, doi 10.1080/00949659008811240;
Weerahandi 1993, doi 10.1080/01621459.1993.10476355 (generalized intervals).
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import special

from isocenter.statistics.components import Components, count_additive_rank, count_residual_df
from isocenter.statistics.design import MINIMUM_SITES, Design
from isocenter.statistics.quantiles import K, find_chi2, find_quantiles

#: Below this many degrees of freedom a bound is more than 1.25 times its estimate.
SMALL_SAMPLE_DF = 35

#: Up to this many sites their component rests on so few that every table says so.
FEW_SITES = 5

_CHAIN = ("residual", "session", "subject:site")


@dataclass(frozen=True)
class MeanSquares:
    """The strata of a design: mean square, degrees of freedom, and how many measurements a level averages.

    A component is (its mean square − its parent's) / size.
    """

    names: tuple[str, ...]
    values: np.ndarray
    df: np.ndarray
    sizes: np.ndarray
    parents: tuple[int, ...]

    def weigh(self, components: tuple[str, ...]) -> np.ndarray:
        """Weights on the mean squares whose sum is the sum of `components`."""
        weights = np.zeros(len(self.names))
        for name in components:
            if name in self.names:
                k = self.names.index(name)
                weights[k] += 1 / self.sizes[k]
                if self.parents[k] >= 0:
                    weights[self.parents[k]] -= 1 / self.sizes[k]
        return weights

    def component(self, name: str, values: np.ndarray) -> np.ndarray:
        """One component from (..., q) mean squares, truncated at zero; zeros when the design lacks it."""
        if name not in self.names:
            return np.zeros(values.shape[:-1])
        return np.maximum(values @ self.weigh((name,)), 0.0)


def _harmonic(counts: np.ndarray) -> float:
    return float(len(counts) / (1.0 / counts).sum())


@dataclass(frozen=True)
class _Strata:
    """What mean squares owe to the design alone, in the order of :class:`MeanSquares`."""

    names: tuple[str, ...]
    df: np.ndarray
    sizes: np.ndarray
    parents: tuple[int, ...]


def _list_strata(design: Design) -> _Strata:
    active = design.active
    per_session = _harmonic(design.values_per_session)
    sessions_per_cell = _harmonic(design.sessions_per_cell)
    per_cell = sessions_per_cell * per_session if "session" in active else _harmonic(design.values_per_cell)
    sizes = {
        "residual": 1.0,
        "session": per_session,
        "subject:site": per_cell,
        "site": per_cell * _harmonic(np.bincount(design.cell_site)),
        "subject": per_cell * _harmonic(np.bincount(design.cell_subject)),
    }
    rank = count_additive_rank(design)
    cells = design.n_cells if "subject:site" in active else rank
    df = {
        "residual": count_residual_df(design),
        "session": design.n_sessions - cells,
        "subject:site": design.n_cells - rank,
        "site": design.n_sites - 1,
        "subject": design.n_subjects - (1 if design.is_traveling or design.n_sites == 1 else design.n_sites),
    }
    names = tuple(n for n in (*_CHAIN, "site", "subject") if n in active or n == "residual")
    parents, top = [], -1
    for k, name in enumerate(names):
        parents.append(top)
        if name in _CHAIN:
            top = k
    return _Strata(
        names, np.array([max(df[n], 1) for n in names], float), np.array([sizes[n] for n in names]), tuple(parents)
    )


def rebuild_mean_squares(design: Design, variances: dict[str, float]) -> MeanSquares:
    """Mean squares that a balanced design of harmonic sizes would show for these variances."""
    strata = design.remember("strata", lambda: _list_strata(design))
    values: list[float] = []
    for name, size, parent in zip(strata.names, strata.sizes.tolist(), strata.parents, strict=True):
        values.append((values[parent] if parent >= 0 else 0.0) + size * variances[name])
    return MeanSquares(strata.names, np.array(values), strata.df, strata.sizes, strata.parents)


def bound_sum(weights, mean_squares, df, level: float, side: str) -> float:
    """One-sided MLS bound of Σ weight·mean square; weights may be negative (Ting et al. 1990).

    Parameters
    ----------
    weights, mean_squares, df : (q,) arrays
        One entry a stratum.
    level : float
        One-sided confidence, 0.95 say.
    side : {"lower", "upper"}
        Which bound.
    """
    is_upper = side == "upper"
    total = square = 0.0
    plus, minus = [], []
    for weight, mean_square, n in zip(weights, mean_squares, df, strict=True):
        term = float(weight) * float(mean_square)
        if weight == 0:
            continue
        grow, fall = _find_reach(float(n), level)
        # Above: positive terms may be larger than they look, negative ones smaller; below the other way round.
        reach = grow if (term > 0) == is_upper else fall
        total += term
        square += (reach * term) ** 2
        (plus if term > 0 else minus).append((abs(term), float(n), reach))
    for term, n, first in plus:
        for other, m, second in minus:
            F = _find_ratio(n, m, 1 - level if is_upper else level)
            square += ((1 - F) ** 2 - first**2 * F**2 - second**2) / F * term * other
    return total + (1.0 if is_upper else -1.0) * max(square, 0.0) ** 0.5


@lru_cache(maxsize=4096)
def _find_reach(df: float, level: float) -> tuple[float, float]:
    """How far a mean square's expectation may lie above and below it, per mean square, at a one-sided level."""
    return df / float(find_chi2(1 - level, df)) - 1, 1 - df / float(find_chi2(level, df))


@lru_cache(maxsize=4096)
def _find_ratio(df: float, other: float, probability: float) -> float:
    return float(special.fdtri(df, other, probability))


@dataclass
class Coefficient:
    """A precision coefficient K·√(sum of variances), in the values' unit, with its bounds."""

    name: str
    estimate: float = np.nan
    lower95: float = np.nan
    upper95: float = np.nan
    low: float = np.nan
    high: float = np.nan
    df: float = np.nan
    method: str = ""
    flags: list[str] = field(default_factory=list)


COEFFICIENTS = ("repeatability", "intermediate_precision", "reproducibility")


def list_parts(design: Design, name: str) -> tuple[tuple[str, ...], str]:
    """The components that a coefficient sums in this design, and why it is not estimable ("" when it is)."""
    if name == "repeatability":
        if design.n == design.n_sessions:
            return (), "no_replicates"
        return ("residual",), ""
    if name == "intermediate_precision":
        if design.n_sessions == design.n_cells:
            return (), "one_session_per_site"
        return ("session", "residual"), ""
    if name == "reproducibility":
        if design.n_sites < MINIMUM_SITES:
            return (), "too_few_sites"
        if design.n_subjects > 1 and not design.is_traveling:
            return (), "no_subject_at_two_sites"
        return ("site", "subject:site", "session", "residual"), ""
    raise ValueError(f"Unknown coefficient {name!r}; known: {', '.join(COEFFICIENTS)}")


def bound_coefficient(components: Components, name: str) -> Coefficient:
    """Repeatability, intermediate precision or reproducibility (RDC) with one- and two-sided 95 % bounds."""
    design = components.design
    result = Coefficient(name)
    parts, reason = list_parts(design, name)
    result.flags += components.flags
    if reason:
        if reason not in result.flags:
            result.flags.append(reason)
        return result
    if components.fit is None:
        if "zero_within_variance" in result.flags and name == "repeatability":
            result.estimate = 0.0
        return result
    strata = rebuild_mean_squares(design, components.variances)
    weights = strata.weigh(parts)
    terms = weights * strata.values
    variance = float(terms.sum())
    result.estimate = K * np.sqrt(variance)
    result.df = float(variance**2 / (terms**2 / strata.df).sum())

    def bound(level: float, side: str) -> float:
        return K * np.sqrt(max(bound_sum(weights, strata.values, strata.df, level, side), 0.0))

    result.lower95, result.upper95 = bound(0.95, "lower"), bound(0.95, "upper")
    result.low, result.high = bound(0.975, "lower"), bound(0.975, "upper")
    result.method = "chi-square" if (weights != 0).sum() == 1 else "MLS"
    if result.df < SMALL_SAMPLE_DF:
        result.flags.append("small_sample")
    if name == "reproducibility" and design.n_sites <= FEW_SITES:
        result.flags.append("few_sites")
    return result


def bound_component(components: Components, name: str) -> tuple[float, float]:
    """Two-sided 95 % interval of one variance (χ² for the residual, MLS for differences), never below zero."""
    if components.fit is None or name not in (*components.design.active, "residual"):
        return np.nan, np.nan
    strata = rebuild_mean_squares(components.design, components.variances)
    weights = strata.weigh((name,))
    low, high = (bound_sum(weights, strata.values, strata.df, 0.975, side) for side in ("lower", "upper"))
    return max(low, 0.0), high


@dataclass(frozen=True)
class Ratio:
    """An intraclass correlation from components with its generalized 95 % interval."""

    name: str
    estimate: float
    low: float
    high: float
    flags: tuple[str, ...] = ()


_ICC = {
    "ICC_between_sites": (("subject",), ("subject", "site", "subject:site", "session", "residual")),
    "ICC_consistency": (("subject",), ("subject", "subject:site", "session", "residual")),
    "ICC_retest": (("subject", "subject:site"), ("subject", "subject:site", "session", "residual")),
}


def find_component_iccs(components: Components, seed: int, draws: int = 10_000) -> list[Ratio]:
    """ICCs from variance components: agreement between sites, consistency, and retest within a site.

    Intervals are generalized: mean squares are redrawn as df·M/χ², components recomputed and truncated at zero.
    """
    design = components.design
    if components.fit is None or "subject" not in design.active:
        reason = tuple(components.flags) or ("subject_not_estimable",)
        return [Ratio(name, np.nan, np.nan, np.nan, reason) for name in _ICC]
    strata = rebuild_mean_squares(design, components.variances)
    rng = np.random.default_rng(seed)
    redrawn = strata.df * strata.values / rng.chisquare(strata.df, (draws, len(strata.df)))
    drawn = {name: strata.component(name, redrawn) for name in (*design.active, "residual")}
    found = []
    few = ("few_sites",) if design.n_sites <= FEW_SITES else ()
    for name, (top, bottom) in _ICC.items():
        between = name != "ICC_retest"
        if between and design.n_sites < MINIMUM_SITES:
            found.append(Ratio(name, np.nan, np.nan, np.nan, ("too_few_sites",)))
            continue
        estimate = _share({k: components.variances[k] for k in drawn}, top, bottom)
        low, high = find_quantiles(_share(drawn, top, bottom), (0.025, 0.975))
        found.append(Ratio(name, float(estimate), float(low), float(high), few if between else ()))
    return found


def _share(values: dict, top: tuple[str, ...], bottom: tuple[str, ...]):
    return sum(values[k] for k in top if k in values) / sum(values[k] for k in bottom if k in values)


def simulate_coefficients(components: Components, seed: int, draws: int = 10_000) -> dict[str, np.ndarray]:
    """Sampling distribution of the coefficients and ICCs when the estimates are the truth (parametric bootstrap).

    Mean squares are drawn as M·χ²/df. Its percentiles under-cover for few sites: a comparison, not a default.
    """
    design = components.design
    strata = rebuild_mean_squares(design, components.variances)
    rng = np.random.default_rng(seed)
    drawn = strata.values * rng.chisquare(strata.df, (draws, len(strata.df))) / strata.df
    parts = {name: strata.component(name, drawn) for name in (*design.active, "residual")}
    found = {name: _share(parts, top, bottom) for name, (top, bottom) in _ICC.items()}
    for name in COEFFICIENTS:
        used, reason = list_parts(design, name)
        if not reason:
            found[name] = K * np.sqrt(sum(parts[k] for k in used if k in parts))
    return found
