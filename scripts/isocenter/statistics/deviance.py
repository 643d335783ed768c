"""The restricted deviance of a design as a function of variance ratios, with its exact gradient.

The deviance is profiled over the mean and the residual variance. All effects are eliminated one after the other
(sessions, cells, subjects, then sites), so a value costs time linear in the cells. Sessions with as many repeats share
one weight, so they enter as sums. Balanced data need even less: five mean squares say all.

References
----------
Patterson & Thompson 1971, doi 10.1093/biomet/58.3.545; Bates et al. 2015, doi 10.18637/jss.v067.i01 (the profiled
criterion, whose value is the same); Searle, Casella & McCulloch 1992, doi 10.1002/9780470316856 (balanced strata).
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.design import Design, build_design

#: Components whose ratio to the residual variance is optimized, in the order of the ratio vectors.
RATIOS = ("subject", "site", "subject:site", "session")

_SITE = RATIOS.index("site")


def make_criterion(design: Design) -> "Criterion | BalancedCriterion":
    """The cheapest criterion that a design allows."""
    is_balanced = design.remember("balance", lambda: find_balance(design))
    return BalancedCriterion(design) if is_balanced else Criterion(design)


def find_units(design: Design) -> tuple[float, float]:
    """Mean and SD of the values, in which criteria compute."""
    count = design.values_per_session
    center = float(count @ design.session_mean) / design.n
    square = float(design.session_squares.sum()) + float(count @ (design.session_mean - center) ** 2)
    return center, float(np.sqrt(square / design.n)) or 1.0


@dataclass(frozen=True)
class Solution:
    """What the data say at given ratios.

    The deviance is that of values in their own unit, the residual variance that of scaled ones; the mean is over the
    fixed effects, in the values' unit, its standard error per residual SD. ``slopes`` (4,) are those of the deviance in
    the ratios.
    """

    deviance: float
    residual: float
    mean: float
    mean_stderr: float
    slopes: np.ndarray


def compile_criterion() -> None:
    """Compile and keep the kernel of the general deviance, so that no analysis waits for the compiler."""
    y, subject, site = np.array([1.0, 2.0, 4.0, 3.0, 5.0]), np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1])
    Criterion(build_design(y, subject, site)).differentiate(np.ones((1, 4)))


class Criterion:
    """The profiled deviance of any design; values are centered and scaled inside."""

    def __init__(self, design: Design):
        # Loads the compiler, which balanced designs do without.
        from isocenter.statistics.elimination import eliminate

        self.design = design
        self.center, self.scale = find_units(design)
        structure = design.remember("elimination", lambda: _Structure.of(design))
        self.n_fixed = structure.n_fixed
        self.df = design.n - self.n_fixed
        # X is whitened in scaled units; its determinant does not depend on the values' unit.
        self.constant = self.df * (1 + np.log(2 * np.pi / self.df)) + 2 * self.df * np.log(self.scale)
        sums, reference, squares = design.cell_sums
        self._eliminate = eliminate
        self._data = (
            structure.sizes,
            structure.number,
            structure.kind,
            np.ascontiguousarray(sums / self.scale),
            (reference - self.center) / self.scale,
            squares.sum(1) / self.scale**2,
            float(design.session_squares.sum()) / self.scale**2,
            structure.first,
            structure.site,
            structure.n_columns,
            structure.is_site_random,
        )

    def eliminate(self, ratio: np.ndarray, *, with_slopes: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Pieces and slopes at (b, 4) ratios, see `isocenter.statistics.elimination.eliminate`; scaled units."""
        return self._eliminate(np.ascontiguousarray(ratio, float), *self._data, with_slopes)

    def evaluate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (of values in their own unit) and residual variance (scaled units) at (b, 4) ratios."""
        pieces, _ = self.eliminate(ratio, with_slopes=False)
        return self._sum_up(pieces)

    def _sum_up(self, pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return pieces[:, 0] + self.df * np.log(pieces[:, 1]) + self.constant, pieces[:, 1] / self.df

    def differentiate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (b,) and its gradient (b, 4) in the ratios."""
        pieces, slopes = self.eliminate(ratio)
        return self._sum_up(pieces)[0], slopes[:, 0] + self.df * slopes[:, 1] / pieces[:, [1]]

    def solve(self, ratio: np.ndarray) -> Solution:
        """All that the data say at (4,) ratios."""
        pieces, slopes = self.eliminate(ratio[None, :])
        deviance, residual = self._sum_up(pieces)
        return Solution(
            float(deviance[0]),
            float(residual[0]),
            float(pieces[0, 2]) * self.scale + self.center,
            float(np.sqrt(pieces[0, 3])),
            slopes[0, 0] + self.df * slopes[0, 1] / pieces[0, 1],
        )


@dataclass(frozen=True)
class _Structure:
    """What elimination needs of a design besides its values, see `isocenter.statistics.elimination.eliminate`."""

    sizes: np.ndarray
    number: np.ndarray
    kind: np.ndarray
    first: np.ndarray
    site: np.ndarray
    n_columns: int
    is_site_random: bool
    n_fixed: int

    @classmethod
    def of(cls, design: Design) -> "_Structure":
        is_site_random = "site" in design.active
        # Fixed sites have one column each; with a random site, or none, the only fixed effect is the mean.
        site = design.cell_site if (is_site_random or design.is_site_fixed) else 0 * design.cell_site
        n_columns = int(site.max()) + 1
        first = np.searchsorted(design.cell_subject, np.arange(design.n_subjects + 1))
        return cls(
            design.session_sizes.sizes,
            design.session_sizes.number,
            design.session_sizes.kind,
            first.astype(np.int64),
            np.ascontiguousarray(site, np.int64),
            n_columns,
            is_site_random,
            1 if is_site_random else n_columns,
        )


def find_balance(design: Design) -> str:
    """``crossed`` or ``nested`` (each subject at one site) when all groups have one size, "" otherwise."""
    repeats, sessions = design.values_per_session, design.sessions_per_cell
    if np.ptp(repeats) or np.ptp(sessions):
        return ""
    if design.n_cells == design.n_subjects * design.n_sites:
        return "crossed"
    if design.n_cells == design.n_subjects and np.ptp(np.bincount(design.cell_site)) == 0:
        return "nested"
    return ""


@dataclass(frozen=True)
class _BalancedPlan:
    """What the strata of a balanced design owe to its structure: residual, session and so on."""

    is_crossed: bool
    cells_per_subject: np.ndarray
    cells_per_site: np.ndarray
    kept: np.ndarray
    freedom: np.ndarray
    sizes: np.ndarray
    of_mean: np.ndarray
    n_fixed: int

    @classmethod
    def of(cls, design: Design) -> "_BalancedPlan":
        n, R, per_cell = design.n, design.n / design.n_sessions, design.n / design.n_cells
        n_subjects, n_sites, is_crossed = design.n_subjects, design.n_sites, find_balance(design) == "crossed"
        strata = [(n - design.n_sessions, (0, 0, 0, 0)), (design.n_sessions - design.n_cells, (0, 0, 0, R))]
        if is_crossed:
            strata.append(((n_subjects - 1) * (n_sites - 1), (0, 0, per_cell, R)))
            strata.append((n_subjects - 1, (n / n_subjects, 0, per_cell, R)))
        else:
            strata.append((n_subjects - n_sites, (per_cell, 0, per_cell, R)))
        if not design.is_site_fixed:
            strata.append((n_sites - 1, (0 if is_crossed else per_cell, n / n_sites, per_cell, R)))
        kept = [k for k, (df, _) in enumerate(strata) if df > 0]
        return cls(
            is_crossed,
            np.bincount(design.cell_subject),
            np.bincount(design.cell_site),
            np.array(kept, int),
            np.array([strata[k][0] for k in kept], float),
            np.array([strata[k][1] for k in kept], float),
            np.array([n / n_subjects if is_crossed else per_cell, n / n_sites, per_cell, R]),
            n_sites if design.is_site_fixed else 1,
        )


class BalancedCriterion:
    """The same deviance for balanced designs, from one sum of squares a stratum."""

    def __init__(self, design: Design):
        self.design = design
        self.center, self.scale = find_units(design)
        plan = design.remember("balanced strata", lambda: _BalancedPlan.of(design))
        self.freedom, self.sizes, self.of_mean, self.n_fixed = plan.freedom, plan.sizes, plan.of_mean, plan.n_fixed
        of_session = (design.session_mean - self.center) / self.scale
        of_cell = np.bincount(design.session_cell, of_session) / design.sessions_per_cell
        of_site = np.bincount(design.cell_site, of_cell) / plan.cells_per_site
        n, R = design.n, design.n / design.n_sessions
        per_cell = n / design.n_cells
        squares = [
            float(design.session_squares.sum()) / self.scale**2,
            R * float(((of_session - of_cell[design.session_cell]) ** 2).sum()),
        ]
        if plan.is_crossed:
            of_subject = np.bincount(design.cell_subject, of_cell) / plan.cells_per_subject
            both = of_cell - of_subject[design.cell_subject] - of_site[design.cell_site]
            squares.append(per_cell * float((both**2).sum()))
            squares.append(n / design.n_subjects * float((of_subject**2).sum()))
        else:
            squares.append(per_cell * float(((of_cell - of_site[design.cell_site]) ** 2).sum()))
        if not design.is_site_fixed:
            squares.append(n / design.n_sites * float((of_site**2).sum()))
        self.squares = np.array(squares)[plan.kept]
        self.constant = self.n_fixed * np.log(n / self.n_fixed) + 2 * (n - self.n_fixed) * np.log(self.scale)

    def equate_squares(self, free: np.ndarray) -> np.ndarray | None:
        """(4,) ratios at which each mean square has its expectation: the minimum, where all of them are positive.

        None where one is not, or where strata and components differ in number.
        """
        solve = self.design.remember(("equated", tuple(free)), lambda: self._invert_expectations(free))
        if solve is None:
            return None
        variances = solve @ (self.squares / self.freedom)
        if not (variances > 0).all():
            return None
        ratio = np.zeros(4)
        ratio[free] = variances[1:] / variances[0]
        return ratio

    def _invert_expectations(self, free: np.ndarray) -> np.ndarray | None:
        """Mean squares to variances, where strata and components are as many and tell each other apart."""
        if len(self.squares) != len(free) + 1:
            return None
        expected = np.concatenate([np.ones((len(self.squares), 1)), self.sizes[:, free]], axis=1)
        return None if np.linalg.matrix_rank(expected) < len(expected) else np.linalg.inv(expected)

    def evaluate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (of values in their own unit) and residual variance (scaled units) at (b, 4) ratios."""
        expected = 1 + ratio @ self.sizes.T
        df = self.design.n - self.n_fixed
        rss = (self.squares / expected).sum(1)
        return np.log(expected) @ self.freedom + df * (1 + np.log(2 * np.pi * rss / df)) + self.constant, rss / df

    def differentiate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (b,) and its gradient (b, 4) in the ratios."""
        expected = 1 + ratio @ self.sizes.T
        df = self.design.n - self.n_fixed
        rss = (self.squares / expected).sum(1)
        deviance = np.log(expected) @ self.freedom + df * (1 + np.log(2 * np.pi * rss / df)) + self.constant
        inner = self.freedom / expected - (df / rss)[:, None] * self.squares / expected**2
        return deviance, inner @ self.sizes

    def solve(self, ratio: np.ndarray) -> Solution:
        """All that the data say at (4,) ratios."""
        deviance, residual = self.evaluate(ratio[None, :])
        slopes = self.differentiate(ratio[None, :])[1][0]
        fixed = self.of_mean.copy()
        if self.design.is_site_fixed or "site" not in self.design.active:
            fixed[_SITE] = 0.0
        stderr = float(np.sqrt((1 + ratio @ fixed) / self.design.n))
        return Solution(float(deviance[0]), float(residual[0]), self.center, stderr, slopes)
