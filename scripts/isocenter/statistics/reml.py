"""Restricted maximum likelihood for crossed subjects and sites with nested sessions, right on the boundary.

The deviance is profiled over the mean and the residual variance, so it is a function of the ratios of the other
variances to the residual's. It is evaluated by elimination (sessions, cells, subjects, then sites) in time linear in
the sessions, for many ratio vectors at once; its gradient is exact, by complex steps. In the square root θ of a ratio
the deviance is even and smooth, so a component at zero is an ordinary minimum at θ = 0: no optimizer runs into a
wall, and none can stop in front of it. The answer is checked against the conditions of a minimum (zero gradient
inside, no descent at zero) rather than trusted.

References
----------
Patterson & Thompson 1971, doi 10.1093/biomet/58.3.545; Bates et al. 2015, doi 10.18637/jss.v067.i01 (the profiled
criterion, whose value is the same); Squire & Trapp 1998, doi 10.1137/S003614459631241X (complex steps).
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.design import Design

#: Components whose ratio is optimized, in the order of the ratio vectors.
RATIOS = ("subject", "site", "subject:site", "session")

#: A predicted gain in deviance below this ends the search (the criterion's own rounding is about 1e-12).
CONVERGED = 1e-11

#: Deviance that setting a small component to exactly zero may cost.
ZERO_COST = 1e-9

_COMPLEX_STEP = 1e-30
_STARTS = ((1.0, 1.0, 1.0, 1.0), (0.2, 2.0, 0.2, 0.2), (4.0, 0.3, 0.5, 1.0), (0.3, 0.3, 2.0, 0.3))


@dataclass(frozen=True)
class RemlFit:
    """A fitted model: variances by component in squared units of the values.

    ``deviance`` is −2 log restricted likelihood. ``is_converged`` is our own check of the minimum, not an optimizer's
    word. ``boundary`` names active components that are exactly zero.
    """

    variances: dict[str, float]
    deviance: float
    mean: float
    mean_stderr: float
    is_converged: bool
    boundary: tuple[str, ...]


class Criterion:
    """The profiled deviance of one design; values are centered and scaled inside."""

    def __init__(self, design: Design):
        self.design = design
        y = design.values
        self.center = float(y.mean())
        self.scale = float(y.std()) or 1.0
        z = (y - self.center) / self.scale
        self.count = np.bincount(design.session).astype(float)
        self.mean = np.bincount(design.session, z) / self.count
        self.within = float(((z - self.mean[design.session]) ** 2).sum())
        self.first = np.flatnonzero(np.diff(design.session_cell, prepend=-1))
        self.is_site_random = "site" in design.active
        # Fixed sites have one column each; with a random site, or none, the only fixed effect is the mean.
        self.site = design.cell_site if (self.is_site_random or design.is_site_fixed) else 0 * design.cell_site
        self.n_columns = int(self.site.max()) + 1
        self.n_fixed = 1 if self.is_site_random else self.n_columns
        self.place = design.cell_subject * self.n_columns + self.site
        # Without a subject component or with sites left out, several cells can share a place in the grid.
        self.is_shared = len(np.unique(self.place)) < len(self.place)

    def _grid(self, per_cell: np.ndarray) -> np.ndarray:
        shape = (len(per_cell), self.design.n_subjects * self.n_columns)
        grid = np.zeros(shape, per_cell.dtype)
        if self.is_shared:
            for row, values in zip(grid, per_cell, strict=True):
                np.add.at(row, self.place, values)
        else:
            grid[:, self.place] = per_cell
        return grid.reshape(len(per_cell), self.design.n_subjects, self.n_columns)

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
        subject, site, cell, session = (ratio[:, [k]] for k in range(4))
        w = self.count / (1 + self.count * session)
        logdet = np.log(1 + self.count * session).sum(1)
        W = np.add.reduceat(w, self.first, axis=1)
        m = np.add.reduceat(w * self.mean, self.first, axis=1) / W
        yy = self.within + (w * (self.mean - m[:, self.design.session_cell]) ** 2).sum(1)
        logdet = logdet + np.log(1 + W * cell).sum(1)
        u = W / (1 + W * cell)
        grid, moment = self._grid(u), self._grid(u * m)
        row, moment_row = grid.sum(2), moment.sum(2)
        logdet = logdet + np.log(1 + row * subject).sum(1)
        shrink = subject / (1 + row * subject)
        yy = yy + (u * m**2).sum(1) - (shrink * moment_row**2).sum(1)
        weighted = shrink[:, :, None] * grid
        C = -np.matmul(weighted.transpose(0, 2, 1), grid)
        diagonal = np.arange(self.n_columns)
        C[:, diagonal, diagonal] += grid.sum(1)
        b = moment.sum(1) - (weighted * moment_row[:, :, None]).sum(1)
        if not self.is_site_random:
            return logdet, C, b, yy
        inner = np.eye(self.n_columns) + site[:, :, None] * C
        G = np.linalg.inv(inner)
        logdet = logdet + _log_det(inner)
        Gb = np.matmul(G, b[:, :, None])[:, :, 0]
        yy = yy - site[:, 0] * (b * Gb).sum(1)
        return logdet, np.matmul(G, C).sum((1, 2))[:, None, None], Gb.sum(1)[:, None], yy

    def evaluate(self, ratio: np.ndarray, *, restricted: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (of values in their own unit) and residual variance (scaled units) at (b, 4) ratios."""
        n, p = self.design.n, self.n_fixed
        logdet, xx, xy, yy = self.reduce(ratio)
        if p == 1:
            rss = yy - xy[:, 0] ** 2 / xx[:, 0, 0]
            log_xx = np.log(xx[:, 0, 0])
        else:
            rss = yy - (xy * np.linalg.solve(xx, xy[:, :, None])[:, :, 0]).sum(1)
            log_xx = _log_det(xx)
        df = n - p if restricted else n
        deviance = logdet + df * (1 + np.log(2 * np.pi * rss / df)) + 2 * df * np.log(self.scale)
        # X is whitened in scaled units; its determinant does not depend on the values' unit.
        return (deviance + log_xx if restricted else deviance), rss / df

    def differentiate(self, theta: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviance (b,) and its gradient (b, f) in the free θ = √ratio, at (b, 4) θ."""
        b, f = len(theta), len(free)
        stepped = np.repeat(theta[:, None, :], f, axis=1).astype(complex)
        stepped[:, np.arange(f), free] += 1j * _COMPLEX_STEP
        deviance, _ = self.evaluate(stepped.reshape(b * f, 4) ** 2)
        deviance = deviance.reshape(b, f)
        return deviance[:, 0].real, deviance.imag / _COMPLEX_STEP

    def slopes(self, ratio: np.ndarray) -> np.ndarray:
        """(4,) derivative of the deviance in each ratio (not its root) at one ratio vector."""
        stepped = np.repeat(ratio[None, :], 4, axis=0).astype(complex)
        stepped[np.arange(4), np.arange(4)] += 1j * _COMPLEX_STEP
        return self.evaluate(stepped)[0].imag / _COMPLEX_STEP


def _log_det(matrix: np.ndarray) -> np.ndarray:
    sign, logarithm = np.linalg.slogdet(matrix)
    return logarithm + np.log(sign) if np.iscomplexobj(sign) else logarithm


def _search(criterion: Criterion, theta: np.ndarray, free: np.ndarray, max_iterations: int = 80) -> np.ndarray:
    """Newton from several starts at once, curvature made positive, steps limited and halved as needed."""
    theta = theta.copy()
    running = np.arange(len(theta))
    shrink = np.array([1.0, 0.5, 0.2, 0.05, 0.005])
    f = len(free)
    for _ in range(max_iterations):
        point = theta[running]
        step = 1e-5 * np.maximum(1.0, np.abs(point[:, free]))
        probes = np.repeat(point[:, None, :], f + 1, axis=1)
        probes[:, np.arange(1, f + 1), free] += step
        deviance, gradient = criterion.differentiate(probes.reshape(-1, 4), free)
        deviance = deviance.reshape(-1, f + 1)[:, 0]
        gradient = gradient.reshape(-1, f + 1, f)
        hessian = (gradient[:, 1:] - gradient[:, :1]) / step[:, :, None]
        g = gradient[:, 0]
        value, vector = np.linalg.eigh((hessian + hessian.transpose(0, 2, 1)) / 2)
        curvature = np.maximum(np.abs(value), 1e-6)
        along = np.matmul(vector.transpose(0, 2, 1), g[:, :, None])[:, :, 0]
        move = -np.matmul(vector, (along / curvature)[:, :, None])[:, :, 0]
        gain = (along**2 / curvature).sum(1) / 2
        limit = 0.7 * np.maximum(np.abs(point[:, free]), 0.7)
        move *= np.minimum(1.0, (limit / np.maximum(np.abs(move), 1e-300)).min(1))[:, None]
        trials = np.repeat(point[:, None, :], len(shrink), axis=1)
        trials[:, :, free] += shrink[None, :, None] * move[:, None, :]
        found = criterion.evaluate(trials.reshape(-1, 4) ** 2)[0].reshape(-1, len(shrink))
        best = found.argmin(1)
        better = found[np.arange(len(running)), best] < deviance
        theta[running[better]] = np.abs(trials[np.arange(len(running)), best])[better]
        running = running[better & (gain > CONVERGED)]
        if len(running) == 0:
            break
    return theta


def fit_reml(design: Design, start: dict[str, float] | None = None) -> RemlFit:
    """Fit the variance components of a design.

    Parameters
    ----------
    design : Design
        At least one residual degree of freedom, and values that scatter within their finest groups.
    start : dict, optional
        Variances to start from (moment estimates, say), beside the built-in starts.
    """
    criterion = Criterion(design)
    free = np.array([k for k, name in enumerate(RATIOS) if name in design.active], int)
    if len(free) == 0:
        return _finish(criterion, np.zeros(4), free)
    starts = [list(s) for s in _STARTS]
    if start and start.get("residual", 0) > 0:
        floor = 0.01 * start["residual"]
        starts.insert(0, [np.sqrt(max(start.get(name, 0.0), floor) / start["residual"]) for name in RATIOS])
        starts = starts[:3]
    theta = np.zeros((len(starts), 4))
    theta[:, free] = np.array(starts)[:, free]
    ratio = _choose(criterion, theta, free)
    for _ in range(3):
        # A component at zero from which the deviance descends was a saddle, not an answer: go on from beside it.
        descends = [k for k in free if ratio[k] == 0 and criterion.slopes(ratio)[k] < -1e-6]
        if not descends:
            break
        theta = np.sqrt(np.repeat(ratio[None, :], 2, axis=0))
        theta[0, descends], theta[1, descends] = 0.05, 0.5
        ratio = _choose(criterion, theta, free)
    return _finish(criterion, ratio, free)


def _choose(criterion: Criterion, theta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The best of several searches as ratios, components that are zero for all purposes set to zero."""
    theta = _search(criterion, theta, free)
    deviance = criterion.evaluate(theta**2)[0]
    ratio = theta[int(np.nanargmin(deviance))] ** 2
    for k in free[np.argsort(ratio[free], kind="stable")]:
        zeroed = ratio.copy()
        zeroed[k] = 0.0
        before, after = criterion.evaluate(np.stack([ratio, zeroed]))[0]
        if after <= before + ZERO_COST:
            ratio = zeroed
    positive = free[ratio[free] > 0]
    if 0 < len(positive) < len(free):
        ratio = _search(criterion, np.sqrt(ratio)[None, :], positive)[0] ** 2
    return ratio


def _finish(criterion: Criterion, ratio: np.ndarray, free: np.ndarray) -> RemlFit:
    design = criterion.design
    deviance, residual = criterion.evaluate(ratio[None, :])
    slopes = criterion.slopes(ratio)
    inside = np.abs(slopes[free] * ratio[free]) < 1e-4
    at_zero = (ratio[free] == 0) & (slopes[free] > -1e-6)
    variance = float(residual[0]) * criterion.scale**2
    _, xx, xy, _ = criterion.reduce(ratio[None, :])
    effects = np.linalg.solve(xx[0], xy[0])
    covariance = np.linalg.inv(xx[0]) * variance
    variances = {name: float(ratio[RATIOS.index(name)]) * variance for name in design.active}
    variances["residual"] = variance
    return RemlFit(
        variances,
        float(deviance[0]),
        float(effects.mean() * criterion.scale + criterion.center),
        float(np.sqrt(covariance.sum()) / len(effects)),
        bool((inside | at_zero).all()),
        tuple(name for name in design.active if variances[name] == 0),
    )
