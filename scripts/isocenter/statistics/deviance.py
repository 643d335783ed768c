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

from isocenter.statistics.design import Design

#: Components whose ratio to the residual variance is optimized, in the order of the ratio vectors.
RATIOS = ("subject", "site", "subject:site", "session")

_SUBJECT, _SITE, _CELL, _SESSION = range(4)


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


@dataclass
class _Reduced:
    """Everything that elimination leaves, for (b,) ratio vectors; the gradient reuses it."""

    w: np.ndarray
    W: np.ndarray
    lift: np.ndarray
    m: np.ndarray
    u: np.ndarray
    row: np.ndarray
    moment: np.ndarray
    g: np.ndarray
    grid: np.ndarray
    C: np.ndarray
    b: np.ndarray
    yy: np.ndarray
    logdet: np.ndarray


@dataclass(frozen=True)
class Solution:
    """What the data say at given ratios.

    The deviance is that of values in their own unit, the residual variance that of scaled ones; the mean is over the
    fixed effects, in the values' unit, its standard error per residual SD.
    """

    deviance: float
    residual: float
    mean: float
    mean_stderr: float


class Criterion:
    """The profiled deviance of any design; values are centered and scaled inside."""

    def __init__(self, design: Design):
        self.design = design
        self.center, self.scale = find_units(design)
        count, mean = design.values_per_session, (design.session_mean - self.center) / self.scale
        self.within = float(design.session_squares.sum()) / self.scale**2
        cell, n_cells = design.session_cell, design.n_cells
        sizes, kind = design.remember("sizes of sessions", lambda: np.unique(count, return_inverse=True))
        self.sizes = sizes.astype(float)
        # Around a reference inside each cell nothing cancels: subjects differ by far more than sessions do.
        self.reference = np.bincount(cell, mean) / design.sessions_per_cell
        away = mean - self.reference[cell]
        index, length = cell * len(sizes) + kind, n_cells * len(sizes)
        self.number, self.sum, square = (
            np.bincount(index, weights, length).reshape(n_cells, -1).T for weights in (None, away, away**2)
        )
        self.number_of_size, self.square_of_size = self.number.sum(1), square.sum(1)
        self.is_site_random = "site" in design.active
        # Fixed sites have one column each; with a random site, or none, the only fixed effect is the mean.
        self.site = design.cell_site if (self.is_site_random or design.is_site_fixed) else 0 * design.cell_site
        self.n_columns = int(self.site.max()) + 1
        self.n_fixed = 1 if self.is_site_random else self.n_columns
        # Cells are sorted by subject and site: groups are runs, whose sums `reduceat` makes.
        self.subject_first = np.flatnonzero(np.diff(design.cell_subject, prepend=-1))
        place = design.cell_subject * self.n_columns + self.site
        self.place_first = np.flatnonzero(np.diff(place, prepend=-1))
        self.place = place
        self.by_site = np.argsort(self.site, kind="stable")
        self.site_first = np.flatnonzero(np.diff(self.site[self.by_site], prepend=-1))

    def _per_subject(self, per_cell: np.ndarray) -> np.ndarray:
        return np.add.reduceat(per_cell, self.subject_first, axis=1)

    def _per_site(self, per_cell: np.ndarray) -> np.ndarray:
        return np.add.reduceat(per_cell[:, self.by_site], self.site_first, axis=1)

    def _eliminate(self, ratio: np.ndarray) -> _Reduced:
        subject, cell, session = (ratio[:, [k]] for k in (_SUBJECT, _CELL, _SESSION))
        whole = 1 + self.sizes * session
        w = self.sizes / whole
        W, A = w @ self.number, w @ self.sum
        lift = A / W
        m = self.reference + lift
        yy = self.within + w @ self.square_of_size - (A * lift).sum(1)
        spread = 1 + W * cell
        u = W / spread
        um = u * m
        row, moment = self._per_subject(u), self._per_subject(um)
        kept = 1 + row * subject
        g = subject / kept
        logdet = np.log(whole) @ self.number_of_size + np.log(spread).sum(1) + np.log(kept).sum(1)
        yy = yy + (um * m).sum(1) - (g * moment**2).sum(1)
        grid = np.zeros((len(ratio), self.design.n_subjects * self.n_columns), u.dtype)
        grid[:, self.place[self.place_first]] = np.add.reduceat(u, self.place_first, axis=1)
        grid = grid.reshape(len(ratio), self.design.n_subjects, self.n_columns)
        turned = grid.transpose(0, 2, 1)
        C = -np.matmul(turned * g[:, None, :], grid)
        diagonal = np.arange(self.n_columns)
        C[:, diagonal, diagonal] += self._per_site(u)
        b = self._per_site(um) - np.matmul(turned, (g * moment)[:, :, None])[:, :, 0]
        return _Reduced(w, W, lift, m, u, row, moment, g, grid, C, b, yy, logdet)

    def reduce(self, ratio: np.ndarray) -> tuple[np.ndarray, ...]:
        """Eliminate all effects: log determinants, X'X, X'y and y'y of the whitened model.

        Parameters
        ----------
        ratio : (b, 4) array, real or complex
            Variance ratios in the order of `RATIOS`.

        Returns
        -------
        logdet : (b,) array
            log det of the relative covariance.
        xx : (b, p, p), xy : (b, p), yy : (b,) arrays
        """
        r = self._eliminate(ratio)
        if not self.is_site_random:
            return r.logdet, r.C, r.b, r.yy
        t = ratio[:, _SITE]
        inner = np.eye(self.n_columns) + t[:, None, None] * r.C
        P = np.linalg.inv(inner)
        z = np.matmul(P, r.b[:, :, None])[:, :, 0]
        xx = np.matmul(P, r.C).sum((1, 2))[:, None, None]
        return r.logdet + _log_det(inner), xx, z.sum(1)[:, None], r.yy - t * (r.b * z).sum(1)

    def evaluate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (of values in their own unit) and residual variance (scaled units) at (b, 4) ratios."""
        logdet, xx, xy, yy = self.reduce(ratio)
        if xx.shape[1] == 1:
            rss, log_xx = yy - xy[:, 0] ** 2 / xx[:, 0, 0], np.log(xx[:, 0, 0])
        else:
            rss, log_xx = yy - (xy * np.linalg.solve(xx, xy[:, :, None])[:, :, 0]).sum(1), _log_det(xx)
        return self._sum_up(logdet + log_xx, rss)

    def _sum_up(self, logdet: np.ndarray, rss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        df = self.design.n - self.n_fixed
        # X is whitened in scaled units; its determinant does not depend on the values' unit.
        return logdet + df * (1 + np.log(2 * np.pi * rss / df)) + 2 * df * np.log(self.scale), rss / df

    def differentiate(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (b,) and its gradient (b, 4) in the ratios."""
        r = self._eliminate(ratio)
        s, t, c = (ratio[:, k] for k in (_SUBJECT, _SITE, _CELL))
        gradient = np.zeros((len(ratio), 4))
        rss_gradient = np.zeros((len(ratio), 4))
        if self.is_site_random:
            inner = np.eye(self.n_columns) + t[:, None, None] * r.C
            P = np.linalg.inv(inner)
            p, z = P.sum(2), np.matmul(P, r.b[:, :, None])[:, :, 0]
            Cp = np.matmul(r.C, p[:, :, None])[:, :, 0]
            xx, xy = Cp.sum(1), z.sum(1)
            h = (xy / xx)[:, None]
            e = t[:, None] * z + h * p
            bz, share = (r.b * z).sum(1), t[:, None, None] * P
            logdet, rss = r.logdet + _log_det(inner) + np.log(xx), r.yy - t * bz - xy**2 / xx
            gradient[:, _SITE] = (P * r.C).sum((1, 2)) - (Cp**2).sum(1) / xx
            # y'V⁻¹y, X'V⁻¹y and X'V⁻¹X fall with the site's variance through the sites' weighted means.
            zCz = (z * np.matmul(r.C, z[:, :, None])[:, :, 0]).sum(1)
            rss_gradient[:, _SITE] = -bz + t * zCz + 2 * h[:, 0] * (Cp * z).sum(1) - (h[:, 0] ** 2) * (Cp**2).sum(1)
        else:
            share = np.linalg.inv(r.C)
            e = np.matmul(share, r.b[:, :, None])[:, :, 0]
            logdet, rss = r.logdet + _log_det(r.C), r.yy - (r.b * e).sum(1)
            p = xx = None
        # What a change of u (per cell) and of g (per subject) does to log determinants and to the residual sum.
        grid_share = np.matmul(r.grid, share)
        Ue, e_cell = np.matmul(r.grid, e[:, :, None])[:, :, 0], e[:, self.site]
        h_row = (r.grid * grid_share).sum(2)
        flat_share = grid_share.reshape(len(ratio), -1)[:, self.place]
        diagonal = share[:, np.arange(self.n_columns), np.arange(self.n_columns)][:, self.site]
        mom_e = r.moment - Ue
        subject_of = self.design.cell_subject
        g_cell = r.g[:, subject_of]
        log_u = diagonal - 2 * g_cell * flat_share
        log_g = -h_row
        if p is not None:
            Up, p_cell = np.matmul(r.grid, p[:, :, None])[:, :, 0], p[:, self.site]
            log_u = log_u + (p_cell**2 - 2 * g_cell * p_cell * Up[:, subject_of]) / xx[:, None]
            log_g = log_g - Up**2 / xx[:, None]
        residual = r.m - e_cell - g_cell * mom_e[:, subject_of]
        # d rss = Σ_cells du·(m − e − g·(moment − Ue))² up to the g² that dg of the row takes over, and Σ dg·…
        rss_u = (r.m - e_cell) ** 2 - 2 * g_cell * mom_e[:, subject_of] * (r.m - e_cell)
        rss_g = -(mom_e**2)
        kept = 1 / (1 + r.row * s[:, None])
        gradient[:, _SUBJECT] = (r.row * kept).sum(1) + (log_g * kept**2).sum(1)
        rss_gradient[:, _SUBJECT] = (rss_g * kept**2).sum(1)
        # g falls with the row sum of u: dg = −g² Σ du.
        log_u = log_u + g_cell - (g_cell**2) * log_g[:, subject_of]
        rss_u = rss_u - (g_cell**2) * rss_g[:, subject_of]
        u_c = -(r.u**2)
        gradient[:, _CELL] = r.u.sum(1) + (log_u * u_c).sum(1)
        rss_gradient[:, _CELL] = (rss_u * u_c).sum(1)
        w2 = r.w**2
        W_v, A_v = -(w2 @ self.number), -(w2 @ self.sum)
        ratio_u = r.u / r.W
        u_v = ratio_u**2 * W_v
        m_v = (A_v - r.lift * W_v) / r.W
        gradient[:, _SESSION] = r.w @ self.number_of_size + (c[:, None] * W_v * ratio_u).sum(1) + (log_u * u_v).sum(1)
        rss_gradient[:, _SESSION] = (
            -(w2 @ self.square_of_size)
            - (r.lift * (2 * A_v - r.lift * W_v)).sum(1)
            + (rss_u * u_v).sum(1)
            + (2 * r.u * m_v * residual).sum(1)
        )
        df = self.design.n - self.n_fixed
        deviance, _ = self._sum_up(logdet, rss)
        return deviance, gradient + df * rss_gradient / rss[:, None]

    def solve(self, ratio: np.ndarray) -> Solution:
        """All that the data say at (4,) ratios."""
        logdet, xx, xy, yy = self.reduce(ratio[None, :])
        inverse = np.linalg.inv(xx[0])
        effects = inverse @ xy[0]
        deviance, residual = self._sum_up(logdet + _log_det(xx), yy - xy[0] @ effects)
        stderr = float(np.sqrt(inverse.sum()) / len(effects))
        return Solution(
            float(deviance[0]), float(residual[0]), float(effects.mean() * self.scale + self.center), stderr
        )


def _log_det(matrix: np.ndarray) -> np.ndarray:
    sign, logarithm = np.linalg.slogdet(matrix)
    return logarithm + np.log(sign) if np.iscomplexobj(sign) else logarithm


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
        fixed = self.of_mean.copy()
        if self.design.is_site_fixed or "site" not in self.design.active:
            fixed[_SITE] = 0.0
        stderr = float(np.sqrt((1 + ratio @ fixed) / self.design.n))
        return Solution(float(deviance[0]), float(residual[0]), self.center, stderr)
