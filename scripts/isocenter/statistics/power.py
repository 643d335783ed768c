"""Power: what other designs would have given, if the components were as estimated.

Upper bounds are the MLS bounds of a balanced design; the chance to qualify is the share of simulated trials whose
upper bound is at most the change that matters.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from isocenter.statistics.bounds import list_parts
from isocenter.statistics.components import Components
from isocenter.statistics.design import COMPONENTS, Design
from isocenter.statistics.quantiles import Z975, K, find_chi2
from isocenter.statistics.verdict import MINIMUM_DF

#: The longest designs that are worth proposing.
MOST_SITES, MOST_SUBJECTS, MOST_SESSIONS, MOST_REPEATS = 50, 200, 6, 6

#: Power of the two-arm comparison behind ``n_per_arm``.
POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """A balanced design: every subject at every site, so many sessions with so many repeats."""

    n_sites: int
    n_subjects: int
    n_sessions: int
    n_repeats: float

    def describe(self) -> str:
        """``4 sites x 5 participants x 2 sessions x 1.5 repeats``."""
        names = ("site", "participant", "session", "repeat")
        counts = (self.n_sites, self.n_subjects, self.n_sessions, self.n_repeats)
        return " x ".join(f"{c:.3g} {n}{'' if c == 1 else 's'}" for c, n in zip(counts, names, strict=True))


def find_plan(design: Design) -> Plan:
    """The balanced plan nearest to a design."""
    return Plan(
        design.n_sites,
        design.n_subjects,
        max(round(design.n_sessions / design.n_cells), 1),
        max(design.n / design.n_sessions, 1.0),
    )


@dataclass(frozen=True)
class Strata:
    """Expected mean squares of a plan with their df and their weights in a coefficient's variance."""

    terms: np.ndarray
    df: np.ndarray

    @property
    def satterthwaite(self) -> float:
        """Degrees of freedom of the sum."""
        return float(self.terms.sum() ** 2 / (self.terms**2 / self.df).sum())

    def bound(self, terms: np.ndarray) -> np.ndarray:
        """One-sided 95 % upper MLS bound of the variance at (..., q) weighted mean squares."""
        grow = self.df / find_chi2(0.05, self.df) - 1
        return terms.sum(-1) + np.sqrt(((grow * terms) ** 2).sum(-1))


def expect_strata(plan: Plan, variances: dict[str, float], parts: tuple[str, ...]) -> Strata:
    """The strata of a coefficient in a plan; a component that is not a number counts as zero.

    Strata without degrees of freedom (one repeat, one session) join the next one up.
    """
    J, I, Q, R = plan.n_sites, plan.n_subjects, plan.n_sessions, plan.n_repeats  # noqa: E741
    var = {name: np.nan_to_num(variances[name]) for name in COMPONENTS}
    chain = [
        ("residual", 1.0, I * J * Q * (R - 1)),
        ("session", R, I * J * (Q - 1)),
        ("subject:site", Q * R, (I - 1) * (J - 1)),
        ("site", I * Q * R, J - 1),
    ]
    if I == 1:
        chain.pop(2)
    chain = [entry for entry in chain if entry[0] in parts]
    squares, sizes, df = [], [], []
    below = 0.0
    for name, size, freedom in chain:
        below = below + size * var[name]
        squares.append(below)
        sizes.append(size)
        df.append(freedom)
    weights = np.zeros(len(chain))
    for k in range(len(chain)):
        weights[k] += 1 / sizes[k]
        if k:
            weights[k - 1] -= 1 / sizes[k]
    df, terms = np.array(df, float), weights * np.array(squares)
    keep = (df > 0) & (np.abs(weights) > 1e-12)
    return Strata(terms[keep], df[keep])


def find_bound(plan: Plan, components: Components, name: str) -> tuple[float, float, float]:
    """Estimate, upper 95 % bound and df of a coefficient in a plan, the components being as estimated."""
    parts, _ = list_parts(components.design, name)
    strata = expect_strata(plan, components.variances, parts)
    if len(strata.df) == 0:
        return np.nan, np.nan, np.nan
    return (
        K * np.sqrt(strata.terms.sum()),
        float(K * np.sqrt(strata.bound(strata.terms))),
        strata.satterthwaite,
    )


def find_chance(plan: Plan, components: Components, name: str, delta: float, seed: int, draws: int = 4000) -> float:
    """Share of simulated trials of a plan whose upper bound is at most `delta`."""
    parts, _ = list_parts(components.design, name)
    strata = expect_strata(plan, components.variances, parts)
    if len(strata.df) == 0 or strata.satterthwaite < MINIMUM_DF:
        return 0.0
    rng = np.random.default_rng(seed)
    drawn = strata.terms * rng.chisquare(strata.df, (draws, len(strata.df))) / strata.df
    return float((K * np.sqrt(strata.bound(drawn)) <= delta).mean())


def count_per_arm(coefficient: float, delta: float) -> float:
    """Participants per arm of a two-arm trial that compares mean changes that differ by `delta`.

    The SD of a change is coefficient / z.975; two-sided 5 %, power 80 %, between-person differences in true change
    left out: a floor.
    """
    if not (np.isfinite(coefficient) and delta > 0):
        return np.nan
    quantiles = Z975 + float(special.ndtri(POWER))
    return float(np.ceil(max(2 * (quantiles * coefficient / Z975 / delta) ** 2, 2)))


def list_plans(plan: Plan) -> list[Plan]:
    """The observed plan, and with twice the participants, sites or sessions, or one more repeat."""
    return [
        plan,
        replace(plan, n_subjects=2 * plan.n_subjects),
        replace(plan, n_sites=2 * plan.n_sites),
        replace(plan, n_sessions=2 * plan.n_sessions),
        replace(plan, n_repeats=plan.n_repeats + 1),
    ]


def propose(components: Components, name: str, delta: float) -> str:
    """What would settle an indeterminate verdict: the smallest plan in each direction, or that none would.

    `delta` is on the scale of the components.
    """
    is_empty = components.design.n == 0
    plan = None if is_empty else find_plan(components.design)
    if is_empty or not np.isfinite(find_bound(plan, components, name)[0]):
        return "Repeats of the same participants, within sessions, between sessions and at three sites or more"
    if find_bound(plan, components, name)[0] > delta:
        worst = max(
            (n for n in COMPONENTS if n != "subject" and np.isfinite(components.variances[n])),
            key=lambda n: components.variances[n],
        )
        return (
            "The estimate itself exceeds the change that matters: more data would settle it, most likely as not "
            f"qualified; only a smaller {worst} variance would qualify it"
        )
    directions = {
        "n_sites": ("sites", MOST_SITES, name == "reproducibility"),
        "n_subjects": ("participants", MOST_SUBJECTS, True),
        "n_sessions": ("sessions", MOST_SESSIONS, name != "repeatability"),
        "n_repeats": ("repeats", MOST_REPEATS, True),
    }
    options = []
    for field_name, (word, most, applies) in directions.items():
        now = int(np.ceil(getattr(plan, field_name)))
        for count in range(now + 1, most + 1) if applies else ():
            _, upper, df = find_bound(replace(plan, **{field_name: count}), components, name)
            if upper <= delta and df >= MINIMUM_DF:
                options.append(f"{count} {word} instead of {now}")
                break
    if not options:
        for factor in (2, 3, 4, 6, 8):
            wider = replace(plan, n_sites=factor * plan.n_sites, n_subjects=factor * plan.n_subjects)
            _, upper, df = find_bound(wider, components, name)
            if upper <= delta and df >= MINIMUM_DF:
                options.append(f"{wider.n_sites} sites with {wider.n_subjects} participants")
                break
    if not options:
        return "No design of a practicable size would bring the upper bound below the change that matters"
    return f"If the components stay as estimated: {', or '.join(options)}"
