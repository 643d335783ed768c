"""Restricted maximum likelihood for crossed subjects and sites with nested sessions, right on the boundary.

The deviance is profiled over the mean and the residual variance, so it is a function of the ratios of the other
variances to the residual's (:mod:`isocenter.statistics.deviance`, which has its exact gradient too). In the square
root θ of a ratio the deviance is even and smooth, so a component at zero is an ordinary minimum at θ = 0: no optimizer
runs into a wall, and none can stop in front of it. The answer is checked against the conditions of a minimum (zero
gradient inside, no descent at zero) rather than trusted.

Reference: Patterson & Thompson 1971, doi 10.1093/biomet/58.3.545.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.design import Design
from isocenter.statistics.deviance import RATIOS, BalancedCriterion, make_criterion

#: A step whose predicted gain in deviance is below this is the last one: Newton's error is then far below 1e-9.
CONVERGED = 1e-8

#: The same for descents from a neighbor, whose steps are a little worse than Newton's, and for the last steps of all.
DESCENDED = 1e-16

#: How far from an answer [of itself], and from the parabola there [of its rise], a search counts as ending in it.
SAME_VALLEY = 0.3

#: Deviance that setting a small component to exactly zero may cost.
ZERO_COST = 1e-9

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


def _search(criterion, theta: np.ndarray, free: np.ndarray, max_iterations: int = 80) -> np.ndarray:
    """Newton from several starts at once, curvature made positive, steps limited and halved as needed.

    A start that comes into the valley in which another one has ended is not followed to the same end.
    """
    theta = theta.copy()
    ends: list[tuple[np.ndarray, float, np.ndarray]] = []
    running = np.arange(len(theta))
    shorter = np.array([0.5, 0.2, 0.05, 0.005])
    for _ in range(max_iterations):
        point = theta[running]
        deviance, g, hessian = _differentiate_twice(criterion, point, free)
        value, vector = np.linalg.eigh(hessian)
        curvature = np.maximum(np.abs(value), 1e-6)
        along = np.matmul(vector.transpose(0, 2, 1), g[:, :, None])[:, :, 0]
        move = -np.matmul(vector, (along / curvature)[:, :, None])[:, :, 0]
        gain = (along**2 / curvature).sum(1) / 2
        limit = 0.7 * np.maximum(np.abs(point[:, free]), 0.7)
        move *= np.minimum(1.0, (limit / np.maximum(np.abs(move), 1e-300)).min(1))[:, None]
        trial = point.copy()
        trial[:, free] += move
        found = criterion.evaluate(trial**2)[0]
        failed = np.flatnonzero(~(found < deviance))
        if len(failed):
            # The whole step overshot: shorter ones, of which the best counts.
            tries = np.repeat(point[failed, None, :], len(shorter), axis=1)
            tries[:, :, free] += shorter[None, :, None] * move[failed, None, :]
            values = criterion.evaluate(tries.reshape(-1, 4) ** 2)[0].reshape(-1, len(shorter))
            values = np.where(np.isfinite(values), values, np.inf)
            best = values.argmin(1)
            trial[failed], found[failed] = tries[np.arange(len(failed)), best], values[np.arange(len(failed)), best]
        better = found < deviance
        theta[running[better]] = np.abs(trial)[better]
        ended = better & (gain <= CONVERGED) & (value[:, 0] > 0)
        ends += [(np.abs(trial[k, free]), float(found[k]), hessian[k]) for k in np.flatnonzero(ended)]
        going = better & (gain > CONVERGED)
        for k in np.flatnonzero(going) if ends else ():
            going[k] = not any(_is_in_valley(np.abs(trial[k, free]), float(found[k]), *end) for end in ends)
        running = running[going]
        if len(running) == 0:
            break
    return theta


def _is_in_valley(theta: np.ndarray, deviance: float, end: np.ndarray, least: float, curvature: np.ndarray) -> bool:
    """Whether a point with its deviance lies on the parabola around an answer, and near it."""
    away = theta - end
    if (np.abs(away) > SAME_VALLEY * end).any():
        return False
    rise = float(away @ curvature @ away) / 2
    return abs(deviance - least - rise) < SAME_VALLEY * rise


def _differentiate_twice(criterion, theta: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, ...]:
    """Deviance (b,), gradient (b, f) and Hessian (b, f, f) in the free roots at (b, 4), the last by differences."""
    f = len(free)
    step = 1e-5 * np.maximum(1.0, np.abs(theta[:, free]))
    probes = np.repeat(theta[:, None, :], f + 1, axis=1)
    probes[:, np.arange(1, f + 1), free] += step
    probes = probes.reshape(-1, 4)
    deviance, slope = criterion.differentiate(probes**2)
    gradient = (2 * probes * slope)[:, free].reshape(-1, f + 1, f)
    hessian = (gradient[:, 1:] - gradient[:, :1]) / step[:, :, None]
    return deviance.reshape(-1, f + 1)[:, 0], gradient[:, 0], (hessian + hessian.transpose(0, 2, 1)) / 2


def fit_reml(design: Design, start: dict[str, float] | None = None) -> RemlFit:
    """Fit the variance components of a design.

    Parameters
    ----------
    design : Design
        At least one residual degree of freedom, and values that scatter within their finest groups.
    start : dict, optional
        Variances to start from (moment estimates, say), beside the built-in starts.
    """
    criterion = make_criterion(design)
    free = _list_free(design)
    if len(free) == 0:
        return _finish(criterion, np.zeros(4), free)
    plain = _find_plainly(criterion, free)
    if plain is not None:
        return _finish(criterion, plain, free)
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
        descends = [k for k in free if ratio[k] == 0 and _find_slopes(criterion, ratio)[k] < -1e-6]
        if not descends:
            break
        theta = np.sqrt(np.repeat(ratio[None, :], 2, axis=0))
        theta[0, descends], theta[1, descends] = 0.05, 0.5
        ratio = _choose(criterion, theta, free)
    return _finish(criterion, ratio, free)


@dataclass(frozen=True)
class Neighbor:
    """A fit whose answer and curvature start the fits of nearly the same data (the trial with a site less, say).

    ``theta`` (f,) and ``flatness`` (f, f), the inverse of the curvature, belong to the roots of the ratios of
    ``names``.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    flatness: np.ndarray
    n: int


def find_neighbor(design: Design, fit: RemlFit) -> Neighbor | None:
    """The start that a fit gives to its neighbors; None where a component is zero, as theirs need not be.

    None too where the deviance does not curve upwards in all directions.
    """
    residual = fit.variances["residual"]
    if not design.active or fit.boundary or not residual > 0:
        return None
    criterion = make_criterion(design)
    free = _list_free(design)
    theta = np.zeros(4)
    theta[free] = np.sqrt([fit.variances[RATIOS[k]] / residual for k in free])
    _, _, hessian = _differentiate_twice(criterion, theta[None, :], free)
    if not np.linalg.eigvalsh(hessian[0])[0] > 0:
        return None
    return Neighbor(tuple(RATIOS[k] for k in free), theta[free], np.linalg.inv(hessian[0]), design.n)


def fit_near(design: Design, near: Neighbor) -> RemlFit:
    """Fit by descent from a neighbor's answer, with the neighbor's curvature kept up to date by gradients (BFGS).

    The answer is checked as any other; where the descent fails, or a component comes near zero, the whole search
    decides.
    """
    free = _list_free(design)
    if tuple(RATIOS[k] for k in free) == near.names:
        criterion = make_criterion(design)
        ratio = _find_plainly(criterion, free)
        if ratio is None:
            ratio = _descend(criterion, near, free)
        if ratio is not None:
            fit = _finish(criterion, ratio, free)
            if fit.is_converged:
                return fit
    return fit_reml(design)


def _descend(criterion, near: Neighbor, free: np.ndarray, max_iterations: int = 12) -> np.ndarray | None:
    """(4,) ratios at the minimum next to a neighbor's; None where that is not plainly one inside."""
    # Curvature grows with the data.
    theta, flatness = np.zeros(4), near.flatness * (near.n / criterion.design.n)
    theta[free] = near.theta
    deviance, gradient = _find_gradient(criterion, theta, free)
    for _ in range(max_iterations):
        move = -(flatness @ gradient)
        theta = theta.copy()
        theta[free] += move
        # Half-way to zero the deviance may have another minimum there.
        if (theta[free] < 0.5 * near.theta).any():
            return None
        if -(gradient @ move) / 2 < DESCENDED:
            # Zero is far off where a step there would cost much: the deviance is even, so it has to climb a ridge.
            return theta**2 if (np.diag(np.linalg.inv(flatness)) * theta[free] ** 2 > 0.1).all() else None
        before, old = deviance, gradient
        deviance, gradient = _find_gradient(criterion, theta, free)
        change = gradient - old
        along = float(change @ move)
        if not (deviance <= before + CONVERGED and along > 0):
            return None
        across = flatness @ change
        both = (across[:, None] * move) / along
        flatness = flatness - both - both.T + (1 + float(change @ across) / along) / along * (move[:, None] * move)
    return None


def _find_gradient(criterion, theta: np.ndarray, free: np.ndarray) -> tuple[float, np.ndarray]:
    deviance, slope = criterion.differentiate(theta[None, :] ** 2)
    return float(deviance[0]), (2 * theta * slope[0])[free]


def _find_plainly(criterion, free: np.ndarray) -> np.ndarray | None:
    """(4,) ratios of balanced data whose components are all positive: no search is needed. None for others."""
    ratio = criterion.equate_squares(free) if isinstance(criterion, BalancedCriterion) else None
    if ratio is None:
        return None
    each = np.repeat(ratio[None, :], len(free) + 1, axis=0)
    each[np.arange(len(free)), free] = 0.0
    deviance = criterion.evaluate(each)[0]
    return ratio if (deviance[:-1] > deviance[-1] + ZERO_COST).all() else None


def _list_free(design: Design) -> np.ndarray:
    """Positions of the ratios that a design estimates."""
    return np.array([k for k, name in enumerate(RATIOS) if name in design.active], int)


def _choose(criterion, theta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The best of several searches as ratios, components that are zero for all purposes set to zero."""
    theta = _search(criterion, theta, free)
    deviance = criterion.evaluate(theta**2)[0]
    ratio = _polish(criterion, theta[int(np.nanargmin(deviance))] ** 2, free)
    each = np.repeat(ratio[None, :], len(free) + 1, axis=0)
    each[np.arange(len(free)), free] = 0.0
    deviance = criterion.evaluate(each)[0]
    # Only what alone can go for nothing needs to be tried together.
    idle = free[deviance[:-1] <= deviance[-1] + ZERO_COST]
    for k in idle[np.argsort(ratio[idle], kind="stable")]:
        zeroed = ratio.copy()
        zeroed[k] = 0.0
        before, after = criterion.evaluate(np.stack([ratio, zeroed]))[0]
        if after <= before + ZERO_COST:
            ratio = zeroed
    positive = free[ratio[free] > 0]
    if 0 < len(positive) < len(free):
        ratio = _polish(criterion, _search(criterion, np.sqrt(ratio)[None, :], positive)[0] ** 2, positive)
    return ratio


def _polish(criterion, ratio: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(4,) ratios after Newton's last steps, which the deviance itself is too coarse to judge."""
    free = free[ratio[free] > 0]
    theta = np.sqrt(ratio)
    for _ in range(4 if len(free) else 0):
        _, (gradient,), (hessian,) = _differentiate_twice(criterion, theta[None, :], free)
        if not np.linalg.eigvalsh(hessian)[0] > 0:
            break
        move = -np.linalg.solve(hessian, gradient)
        gain = -float(gradient @ move) / 2
        if gain > CONVERGED or (np.abs(move) > 0.1 * theta[free]).any():
            break
        theta[free] += move
        if gain < DESCENDED:
            break
    return theta**2


def _find_slopes(criterion, ratio: np.ndarray) -> np.ndarray:
    """(4,) derivative of the deviance in each ratio (not its root) at one ratio vector."""
    return criterion.differentiate(ratio[None, :])[1][0]


def _finish(criterion, ratio: np.ndarray, free: np.ndarray) -> RemlFit:
    design = criterion.design
    solution = criterion.solve(ratio)
    slopes = solution.slopes
    inside = np.abs(slopes[free] * ratio[free]) < 1e-4
    at_zero = (ratio[free] == 0) & (slopes[free] > -1e-6)
    variance = solution.residual * criterion.scale**2
    variances = {name: float(ratio[RATIOS.index(name)]) * variance for name in design.active}
    variances["residual"] = variance
    return RemlFit(
        variances,
        solution.deviance,
        solution.mean,
        solution.mean_stderr * float(np.sqrt(variance)),
        bool((inside | at_zero).all()),
        tuple(name for name in design.active if variances[name] == 0),
    )
