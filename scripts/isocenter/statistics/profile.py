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
from isocenter.statistics.elimination import LOG_DET, LOG_WEIGHT, MEAN, RSS, WEIGHT
from isocenter.statistics.reml import fit_reml

#: Rise of the deviance at the ends of a 95 % interval.
_RISE = float(special.chdtri(1, 0.05))


class Profile:
    """The profiled likelihood of a design's SDs and mean.

    Raises
    ------
    ValueError
        With fixed sites, whose mean is not one parameter.
    """

    def __init__(self, design: Design):
        self.criterion = Criterion(design)
        if self.criterion.n_fixed != 1:
            raise ValueError("Profile intervals need a single fixed effect")
        self.n = design.n
        self.free = [k for k, name in enumerate(RATIOS) if name in design.active]
        self.names = ("residual", *(RATIOS[k] for k in self.free))
        self.fit = fit_reml(design)
        scale = self.criterion.scale
        sigma = np.sqrt(self.fit.variances["residual"]) / scale
        others = (np.sqrt(self.fit.variances[RATIOS[k]]) / scale for k in self.free)
        self.best, self.top = _minimize(self._deviance, np.array([np.log(sigma), *others]))

    def _deviance(self, parameters: np.ndarray, mean: float | None = None) -> tuple[float, np.ndarray]:
        """−2 log likelihood and its gradient at (1 + f,) log residual SD and component SDs, in scaled units."""
        precision, sd = float(np.exp(-2 * parameters[0])), parameters[1:]
        ratio = np.zeros((1, 4))
        ratio[0, self.free] = sd**2 * precision
        (pieces,), (slopes,) = self.criterion.eliminate(ratio)
        distance = 0.0 if mean is None else mean - pieces[MEAN]
        rss = pieces[RSS] + pieces[WEIGHT] * distance**2
        rss_slopes = slopes[RSS] + pieces[WEIGHT] * distance * (slopes[LOG_WEIGHT] * distance - 2 * slopes[MEAN])
        # The restricted criterion's determinant holds that of the mean, which is its weight.
        value = pieces[LOG_DET] - np.log(pieces[WEIGHT]) + rss * precision
        in_ratio = (slopes[LOG_DET] - slopes[LOG_WEIGHT] + rss_slopes * precision)[self.free]
        in_residual = 2 * (self.n - rss * precision - in_ratio @ ratio[0, self.free])
        value += self.n * (np.log(2 * np.pi) + 2 * parameters[0])
        return float(value), np.array([in_residual, *(2 * precision * sd * in_ratio)])

    def estimate(self, name: str) -> float:
        """The likeliest SD of a component, in the values' unit."""
        position = self.names.index(name)
        return float(np.exp(self.best[0]) if position == 0 else abs(self.best[position])) * self.criterion.scale

    def rise(self, name: str, sd: float) -> float:
        """How much the deviance rises when a component's SD is held at a value, in the values' unit."""
        position = self.names.index(name)
        value = sd / self.criterion.scale
        fixed = np.log(value) if position == 0 else value
        return _minimize(self._deviance, self.best, {position: fixed})[1] - self.top

    def rise_of_mean(self, mean: float) -> float:
        """The same for the mean."""
        value = (mean - self.criterion.center) / self.criterion.scale
        return _minimize(lambda p: self._deviance(p, value), self.best)[1] - self.top


def profile_intervals(design: Design) -> dict[str, tuple[float, float]]:
    """95 % intervals of the SD of each active component, of the residual SD, and of the mean, in the values' unit."""
    profile = Profile(design)
    scale = profile.criterion.scale
    found = {}
    for name in profile.names:

        def beyond(value: float, name: str = name) -> float:
            return profile.rise(name, value * scale) - _RISE

        low, high = _cross(beyond, profile.estimate(name) / scale, may_be_zero=name != "residual")
        found[name] = (low * scale, high * scale)

    def beyond_of_mean(value: float) -> float:
        return profile.rise_of_mean(value * scale + profile.criterion.center) - _RISE

    middle = (profile.fit.mean - profile.criterion.center) / scale
    step = profile.fit.mean_stderr / scale
    ends = [
        optimize.brentq(beyond_of_mean, middle, _reach(beyond_of_mean, middle, sign * step), rtol=1e-5)
        for sign in (-1, 1)
    ]
    found["mean"] = tuple(end * scale + profile.criterion.center for end in ends)
    return found


def _minimize(function: Callable, start: np.ndarray, fixed: dict[int, float] | None = None) -> tuple[np.ndarray, float]:
    """A local minimum with some parameters fixed; components may cross zero, where the deviance is even and smooth."""
    point = start.copy()
    for position, value in (fixed or {}).items():
        point[position] = value
    moving = np.array([k for k in range(len(start)) if k not in (fixed or {})], int)

    def evaluate(values: np.ndarray) -> tuple[float, np.ndarray]:
        moved = point.copy()
        moved[moving] = values
        value, slope = function(moved)
        return value, slope[moving]

    if len(moving) == 0:
        return point, function(point)[0]
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
