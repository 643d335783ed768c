"""Profile-likelihood intervals of the components: slow, exact to the likelihood, and one that reaches zero.

They are beside the MLS intervals of the tables for who wants them, and they are what other software prints. The
likelihood is the ordinary (ML) one, because restricted likelihoods of different fixed effects do not compare.

Reference: Bates et al. 2015, doi 10.18637/jss.v067.i01, section 5.1.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from isocenter.statistics.design import Design
from isocenter.statistics.deviance import RATIOS, Criterion
from isocenter.statistics.reml import fit_reml

#: Rise of the deviance at the ends of a 95 % interval.
_RISE = float(special.chdtri(1, 0.05))


def profile_intervals(design: Design) -> dict[str, tuple[float, float]]:
    """95 % intervals of the SD of each active component, of the residual SD, and of the mean, in the values' unit.

    Raises
    ------
    ValueError
        With fixed sites, whose mean is not one parameter.
    """
    criterion = Criterion(design)
    if criterion.n_fixed != 1:
        raise ValueError("Profile intervals need a single fixed effect")
    free = [k for k, name in enumerate(RATIOS) if name in design.active]
    fit = fit_reml(design)
    sigma = np.sqrt(fit.variances["residual"]) / criterion.scale
    start = np.array([np.log(sigma), *(np.sqrt(fit.variances[RATIOS[k]]) / criterion.scale for k in free)])

    def deviance(parameters: np.ndarray, mean: float | None = None) -> np.ndarray:
        """(b,) −2 log likelihood at (b, 1 + f) log residual SD and component SDs, scaled units, real or complex."""
        ratio = np.zeros((len(parameters), 4), parameters.dtype)
        ratio[:, free] = (parameters[:, 1:] / np.exp(parameters[:, :1])) ** 2
        logdet, xx, xy, yy = criterion.reduce(ratio)
        a, b = xx[:, 0, 0], xy[:, 0]
        rss = yy - b**2 / a if mean is None else yy - 2 * mean * b + mean**2 * a
        log_sigma = parameters[:, 0]
        return logdet + design.n * (np.log(2 * np.pi) + 2 * log_sigma) + rss * np.exp(-2 * log_sigma)

    best, top = _minimize(deviance, start)
    found = {}
    for position, name in enumerate(["residual", *(RATIOS[k] for k in free)]):

        def rise(value: float, position: int = position) -> float:
            fixed = np.log(value) if position == 0 else value
            return _minimize(deviance, best, {position: fixed})[1] - top - _RISE

        estimate = np.exp(best[0]) if position == 0 else abs(best[position])
        low, high = _cross(rise, estimate, may_be_zero=position > 0)
        found[name] = (low * criterion.scale, high * criterion.scale)

    def rise_of_mean(value: float) -> float:
        return _minimize(lambda p: deviance(p, value), best)[1] - top - _RISE

    middle = (fit.mean - criterion.center) / criterion.scale
    step = fit.mean_stderr / criterion.scale
    ends = [
        optimize.brentq(rise_of_mean, middle, _reach(rise_of_mean, middle, sign * step), rtol=1e-5) for sign in (-1, 1)
    ]
    found["mean"] = tuple(end * criterion.scale + criterion.center for end in ends)
    return found


def _minimize(function: Callable, start: np.ndarray, fixed: dict[int, float] | None = None) -> tuple[np.ndarray, float]:
    """A local minimum with some parameters fixed; components may cross zero, where the deviance is even and smooth."""
    point = start.copy()
    for position, value in (fixed or {}).items():
        point[position] = value
    moving = np.array([k for k in range(len(start)) if k not in (fixed or {})], int)

    def evaluate(values: np.ndarray) -> tuple[float, np.ndarray]:
        stepped = np.repeat(point[None, :], len(moving), axis=0).astype(complex)
        stepped[:, moving] = values
        stepped[np.arange(len(moving)), moving] += 1e-30j
        answer = function(stepped)
        return float(answer[0].real), answer.imag / 1e-30

    if len(moving) == 0:
        return point, float(function(point[None, :])[0])
    # A component that starts at zero would stay there: it is a stationary point.
    away = np.where(np.abs(point[moving]) < 1e-3, 0.1, point[moving])
    answer = optimize.minimize(evaluate, away, jac=True, method="BFGS", options={"gtol": 1e-7})
    point[moving] = answer.x
    return point, float(answer.fun)


def _reach(rise: Callable, value: float, step: float) -> float:
    end = value + step
    for _ in range(60):
        if rise(end) > 0:
            return end
        step *= 1.6
        end += step
    return end


def _cross(rise: Callable, estimate: float, *, may_be_zero: bool) -> tuple[float, float]:
    """Where the profile has risen on either side of the estimate; 0 when it never does below."""
    high = optimize.brentq(rise, estimate, _reach(rise, estimate, 0.3 * max(estimate, 0.05)), rtol=1e-5)
    if may_be_zero and (estimate < 1e-9 or rise(0.0) <= 0):
        return 0.0, float(high)
    low = estimate / 1.3
    while rise(low) < 0:
        low /= 1.3
    return float(optimize.brentq(rise, low, estimate, rtol=1e-5)), float(high)
