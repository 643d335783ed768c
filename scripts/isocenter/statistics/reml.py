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
from isocenter.statistics.deviance import RATIOS, make_criterion

#: A step whose predicted gain in deviance is below this is the last one: Newton's error is then far below 1e-9.
CONVERGED = 1e-8

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
    """Newton from several starts at once, curvature made positive, steps limited and halved as needed."""
    theta = theta.copy()
    running = np.arange(len(theta))
    shorter = np.array([0.5, 0.2, 0.05, 0.005])
    f = len(free)
    for _ in range(max_iterations):
        point = theta[running]
        step = 1e-5 * np.maximum(1.0, np.abs(point[:, free]))
        probes = np.repeat(point[:, None, :], f + 1, axis=1)
        probes[:, np.arange(1, f + 1), free] += step
        probes = probes.reshape(-1, 4)
        deviance, slope = criterion.differentiate(probes**2)
        deviance = deviance.reshape(-1, f + 1)[:, 0]
        gradient = (2 * probes * slope)[:, free].reshape(-1, f + 1, f)
        hessian = (gradient[:, 1:] - gradient[:, :1]) / step[:, :, None]
        g = gradient[:, 0]
        value, vector = np.linalg.eigh((hessian + hessian.transpose(0, 2, 1)) / 2)
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
    criterion = make_criterion(design)
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
        descends = [k for k in free if ratio[k] == 0 and _find_slopes(criterion, ratio)[k] < -1e-6]
        if not descends:
            break
        theta = np.sqrt(np.repeat(ratio[None, :], 2, axis=0))
        theta[0, descends], theta[1, descends] = 0.05, 0.5
        ratio = _choose(criterion, theta, free)
    return _finish(criterion, ratio, free)


def fit_near(design: Design, start: dict[str, float]) -> RemlFit:
    """Fit from one start that is known to be close (the same trial with a site less, say).

    The answer is checked as any other; where it fails, or a component is zero, the whole search decides.
    """
    criterion = make_criterion(design)
    free = np.array([k for k, name in enumerate(RATIOS) if name in design.active], int)
    residual = start.get("residual", 0.0)
    if len(free) == 0 or not residual > 0:
        return fit_reml(design)
    ratio = np.array([[np.nan_to_num(start.get(name, np.nan), nan=0.1 * residual) for name in RATIOS]]) / residual
    theta = np.zeros((1, 4))
    theta[:, free] = np.sqrt(np.maximum(ratio, 0.01))[:, free]
    fit = _finish(criterion, _choose(criterion, theta, free), free)
    return fit if fit.is_converged and not fit.boundary else fit_reml(design)


def _choose(criterion, theta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The best of several searches as ratios, components that are zero for all purposes set to zero."""
    theta = _search(criterion, theta, free)
    deviance = criterion.evaluate(theta**2)[0]
    ratio = theta[int(np.nanargmin(deviance))] ** 2
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
        ratio = _search(criterion, np.sqrt(ratio)[None, :], positive)[0] ** 2
    return ratio


def _find_slopes(criterion, ratio: np.ndarray) -> np.ndarray:
    """(4,) derivative of the deviance in each ratio (not its root) at one ratio vector."""
    return criterion.differentiate(ratio[None, :])[1][0]


def _finish(criterion, ratio: np.ndarray, free: np.ndarray) -> RemlFit:
    design = criterion.design
    deviance, residual = criterion.evaluate(ratio[None, :])
    slopes = _find_slopes(criterion, ratio)
    inside = np.abs(slopes[free] * ratio[free]) < 1e-4
    at_zero = (ratio[free] == 0) & (slopes[free] > -1e-6)
    variance = float(residual[0]) * criterion.scale**2
    mean, stderr = criterion.find_mean(ratio)
    variances = {name: float(ratio[RATIOS.index(name)]) * variance for name in design.active}
    variances["residual"] = variance
    return RemlFit(
        variances,
        float(deviance[0]),
        mean,
        stderr * float(np.sqrt(variance)),
        bool((inside | at_zero).all()),
        tuple(name for name in design.active if variances[name] == 0),
    )
