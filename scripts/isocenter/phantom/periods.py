"""How exactly results tell the day of a person's scan: to a period, so that a calibration gives no date away."""

#: Days of one period. A scanner that drifts by 2 % a year moves by 0.04 % (standard deviation) within it.
PERIOD_DAYS = 28


def coarsen_day(day: int) -> float:
    """The middle of the period that a day [days since the site's first phantom session] lies in."""
    return float((day // PERIOD_DAYS) * PERIOD_DAYS + PERIOD_DAYS / 2)


def spread_of_day(is_exact: bool) -> float:
    """Standard error [days] of a day that is exact, or only known to lie in its period."""
    return 0.0 if is_exact else PERIOD_DAYS / 12**0.5
