"""The verdict: does the precision of a metric support the use that was declared for it?

Three ways. *Qualified*: the one-sided 95 % upper bound is at most the change that matters, and all preconditions
hold. *Not qualified*: the lower bound is above it, or a precondition fails with confidence. *Indeterminate*
otherwise, with what would settle it. All conditions must pass, so one metric needs no multiplicity correction.
"""

from dataclasses import dataclass, field

import numpy as np

from isocenter.statistics.bounds import Coefficient
from isocenter.statistics.linearity import Linearity

QUALIFIED, NOT_QUALIFIED, INDETERMINATE = "qualified", "not_qualified", "indeterminate"

#: With fewer degrees of freedom no verdict is given.
MINIMUM_DF = 10

#: The slope of measured on reference must lie in here with its whole interval.
SLOPE_RANGE = (0.95, 1.05)

#: Departure of the quadratic from its line that matters, in percent of the range: what a slope off by 0.05 does.
QUADRATIC_TOLERANCE = 2.5

#: Mean bias that matters, in percent, unless the claim says otherwise.
BIAS_TOLERANCE = 5.0

_WORDS = {QUALIFIED: "supports", NOT_QUALIFIED: "does not support", INDETERMINATE: "does not settle"}


@dataclass(frozen=True)
class Precondition:
    """One condition besides precision: it holds (True), fails with confidence (False), or is open (None)."""

    name: str
    holds: bool | None
    reason: str


@dataclass
class Verdict:
    """The verdict with its reasons; numbers in the unit of the decision."""

    verdict: str
    reasons: list[str] = field(default_factory=list)


def check_phantom(found: dict[str, Linearity], *, bias_tolerance: float = BIAS_TOLERANCE) -> list[Precondition]:
    """Linearity and bias over the sites' phantoms: every site must pass, one clear failure fails.

    Parameters
    ----------
    found : dict
        Site → linearity of the values that are judged; empty when no phantom was measured.
    bias_tolerance : float
        Largest mean bias that is accepted [percent].
    """
    if not found:
        return [Precondition("linearity", None, "no phantom was measured: linearity and bias are open")]
    checks = {
        "slope": {site: _place(line.slope_low, line.slope_high, *SLOPE_RANGE) for site, line in found.items()},
        "quadratic effect": {site: _judge_quadratic(line) for site, line in found.items()},
        "bias": {
            site: _place(line.percent_bias_low, line.percent_bias_high, -bias_tolerance, bias_tolerance)
            for site, line in found.items()
        },
    }
    limits = {
        "slope": f"{SLOPE_RANGE[0]}–{SLOPE_RANGE[1]}",
        "quadratic effect": f"{QUADRATIC_TOLERANCE:g} % of the range",
        "bias": f"±{bias_tolerance:g} %",
    }
    result = []
    for name, sites in checks.items():
        failed = [site for site, holds in sites.items() if holds is False]
        still_open = [site for site, holds in sites.items() if holds is None]
        if failed:
            result.append(Precondition(name, False, f"phantom {name} outside {limits[name]} at {', '.join(failed)}"))
        elif still_open:
            reason = f"phantom {name} not shown to lie within {limits[name]} at {', '.join(still_open)}"
            result.append(Precondition(name, None, reason))
        else:
            result.append(Precondition(name, True, f"phantom {name} within {limits[name]} at every site"))
    return result


def _place(low: float, high: float, least: float, most: float) -> bool | None:
    """Whether an interval lies inside (True), outside (False) or across the limits (None)."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    if least <= low and high <= most:
        return True
    return False if high < least or low > most else None


def _judge_quadratic(line: Linearity) -> bool | None:
    if not np.isfinite(line.quadratic_effect):
        return None
    if abs(line.quadratic_effect) <= QUADRATIC_TOLERANCE:
        return True
    return False if line.quadratic_p < 0.05 else None


def judge(coefficient: Coefficient, delta: float, preconditions: list[Precondition] = ()) -> Verdict:
    """The three-way verdict.

    Parameters
    ----------
    coefficient : Coefficient
        Estimate and bounds in the unit of `delta`.
    delta : float
        The change that matters.
    preconditions : list of Precondition
        What else must hold.
    """
    failed = [p.reason for p in preconditions if p.holds is False]
    still_open = [p.reason for p in preconditions if p.holds is None]
    limits = []
    if "zero_within_variance" in coefficient.flags:
        limits.append("zero_within_variance")
    elif not np.isfinite(coefficient.estimate):
        limits += list(coefficient.flags) or ["not_estimable"]
    elif not np.isfinite(coefficient.upper95):
        limits.append("no_bound")
    elif coefficient.df < MINIMUM_DF:
        limits.append(f"{coefficient.df:.3g} degrees of freedom, fewer than {MINIMUM_DF}")
    if "not_converged" in coefficient.flags:
        limits.append("not_converged")
    if failed:
        return Verdict(NOT_QUALIFIED, failed + limits)
    if limits:
        return Verdict(INDETERMINATE, limits + still_open)
    if coefficient.lower95 > delta:
        return Verdict(NOT_QUALIFIED, ["the lower 95 % bound exceeds the change that matters"])
    if coefficient.upper95 <= delta and not still_open:
        held = [p.reason for p in preconditions]
        return Verdict(QUALIFIED, ["the upper 95 % bound is at most the change that matters", *held])
    reasons = [] if coefficient.upper95 <= delta else ["the change that matters lies between the 95 % bounds"]
    return Verdict(INDETERMINATE, reasons + still_open)


def write_sentence(verdict: str, context: str, estimate: float, upper: float, delta: float, unit: str) -> str:
    """The sentence of a verdict; a number that is not estimable is said to be so."""

    def say(value: float) -> str:
        if not np.isfinite(value):
            return "not estimable"
        return f"{value:.3g} %" if unit == "percent" else f"{value:.3g} {unit}".rstrip()

    return (
        f"Under {context}, a change larger than {say(estimate)} (upper 95 % bound {say(upper)}) is needed for 95 % "
        f"confidence that it is not measurement variation; the change that matters is {say(delta)}. Precision "
        f"{_WORDS[verdict]} this use."
    )
