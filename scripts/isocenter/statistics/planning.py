"""Planning: what bound a design would give, by formula and by simulated trials, if the components were as assumed.

The formula takes mean squares at their expectations; half of all trials then do better and half worse, so beside it
stands the chance that the bound stays within the change that matters. Simulated trials go through the same REML and
bounds as a real one, and may lose runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from isocenter.errors import ConfigError, explain
from isocenter.statistics.bounds import COEFFICIENTS, bound_coefficient
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import MINIMUM_SITES, build_design
from isocenter.statistics.power import Plan, expect_strata
from isocenter.statistics.quantiles import K
from isocenter.statistics.verdict import MINIMUM_DF

#: What each coefficient sums.
PARTS = {
    "repeatability": ("residual",),
    "intermediate_precision": ("session", "residual"),
    "reproducibility": ("site", "subject:site", "session", "residual"),
}

_DRAWS = 4000


@dataclass(frozen=True)
class PlannedBound:
    """One design: true coefficient and expected upper 95 % bound [unit], df, and chances to stay within delta."""

    plan: Plan
    true: float
    bound: float
    df: float
    chance: float
    bound_simulated: float = np.nan
    chance_simulated: float = np.nan

    @property
    def n_scans(self) -> int:
        """Runs of the whole design."""
        p = self.plan
        return int(p.n_sites * p.n_subjects * p.n_sessions * p.n_repeats)


def list_designs(grid: dict[str, list[int]]) -> Iterator[Plan]:
    """Every combination of the counts of a grid (keys: the fields of `Plan`)."""
    for n_sites, n_subjects, n_sessions, n_repeats in product(
        grid["n_sites"], grid["n_subjects"], grid["n_sessions"], grid["n_repeats"]
    ):
        yield Plan(n_sites, n_subjects, n_sessions, n_repeats)


def is_estimable(plan: Plan, coefficient: str) -> bool:
    """Whether a design tells what the coefficient sums."""
    if coefficient == "repeatability":
        return plan.n_repeats > 1
    if coefficient == "intermediate_precision":
        return plan.n_sessions > 1
    enough = plan.n_sites >= MINIMUM_SITES and plan.n_subjects > 1
    return enough and (plan.n_sessions > 1 or plan.n_repeats > 1 or plan.n_subjects > 1)


def expect_bound(
    plan: Plan, variances: dict[str, float], coefficient: str, delta: float = np.nan, seed: int = 0
) -> PlannedBound:
    """The bound that a design would show, by formula.

    Parameters
    ----------
    plan : Plan
        The design.
    variances : dict
        Assumed variances [unit²] of residual, session, subject:site and site.
    coefficient : str
        One of the keys of `PARTS`.
    delta : float
        The change that matters [unit]; NaN for none.
    seed : int
        Of the drawn mean squares behind the chance.

    Raises
    ------
    ConfigError
        For an unknown coefficient.
    """
    if coefficient not in COEFFICIENTS:
        raise ConfigError(explain("Unknown coefficient", expected=", ".join(COEFFICIENTS), found=coefficient))
    parts = PARTS[coefficient]
    true = K * np.sqrt(sum(variances.get(name, 0.0) for name in parts))
    if not is_estimable(plan, coefficient):
        return PlannedBound(plan, true, np.nan, np.nan, np.nan)
    strata = expect_strata(
        plan, {"subject": 0.0, **{name: variances.get(name, 0.0) for name in PARTS["reproducibility"]}}, parts
    )
    bound = float(K * np.sqrt(strata.bound(strata.terms)))
    chance = np.nan
    if np.isfinite(delta):
        if strata.satterthwaite < MINIMUM_DF:
            chance = 0.0  # such a trial stays indeterminate, whatever it finds
        else:
            rng = np.random.default_rng(seed)
            drawn = strata.terms * rng.chisquare(strata.df, (_DRAWS, len(strata.df))) / strata.df
            chance = float((K * np.sqrt(strata.bound(drawn)) <= delta).mean())
    return PlannedBound(plan, true, bound, strata.satterthwaite, chance)


def simulate_values(plan: Plan, variances: dict[str, float], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One trial of a balanced crossed design: (n,) values, subject, site and session codes."""
    shape = (plan.n_subjects, plan.n_sites, plan.n_sessions, int(plan.n_repeats))
    subject, site, session, _ = (index.ravel() for index in np.indices(shape))
    sd = {name: np.sqrt(variance) for name, variance in variances.items()}
    y = (
        rng.normal(0, sd.get("subject", 0.0), (shape[0], 1, 1, 1))
        + rng.normal(0, sd.get("site", 0.0), (1, shape[1], 1, 1))
        + rng.normal(0, sd.get("subject:site", 0.0), (*shape[:2], 1, 1))
        + rng.normal(0, sd.get("session", 0.0), (*shape[:3], 1))
        + rng.normal(0, sd["residual"], shape)
    )
    return y.ravel(), subject, site, session


def simulate_bound(
    planned: PlannedBound,
    variances: dict[str, float],
    coefficient: str,
    delta: float = np.nan,
    *,
    trials: int = 200,
    missing: float = 0.0,
    seed: int = 0,
    on_trial: Callable[[], None] | None = None,
) -> PlannedBound:
    """The same design by simulated trials: median bound, and the share of trials that stay within delta."""
    if not np.isfinite(planned.bound) or trials < 1:
        return planned
    rng = np.random.default_rng(seed)
    between = {"subject": 25 * max(sum(variances.values()), 1e-30), **variances}
    bounds, passed = [], 0
    for _ in range(trials):
        y, subject, site, session = simulate_values(planned.plan, between, rng)
        if missing:
            y = np.where(rng.random(len(y)) < missing, np.nan, y)
        found = bound_coefficient(estimate_components(build_design(y, subject, site, session)), coefficient)
        bounds.append(found.upper95)
        passed += bool(found.upper95 <= delta and found.df >= MINIMUM_DF)
        if on_trial:
            on_trial()
    chance = passed / trials if np.isfinite(delta) else np.nan
    finite = [bound for bound in bounds if np.isfinite(bound)]
    median = float(np.median(finite)) if finite else np.nan
    return replace(planned, bound_simulated=median, chance_simulated=chance)
