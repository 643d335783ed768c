"""Units: BIDS units inside and in files, milliseconds only where people read.

Every conversion of the project lives here.
"""

from isocenter.errors import ConfigError

#: Unit symbols that maps and tables may carry (UCUM-like, as BIDS writes them).
UNITS = (
    "s",
    "1/s",
    "mm2/s",
    "percent",
    "1/min",
    "Hz",
    "1",
    "mM",
    "ms",
    "degC",
    "T",
    "mm",
    "deg",
    "arbitrary",
)

#: Units that figures and pages show, with the factor from the stored unit.
DISPLAY = {"s": ("ms", 1e3), "mm2/s": ("10⁻³ mm²/s", 1e3), "percent": ("%", 1.0)}


def check_unit(unit: str) -> str:
    """Return `unit` when it is known; a number without a unit raises ConfigError."""
    if unit not in UNITS:
        raise ConfigError(f"Unknown or missing unit {unit!r}; known units: {', '.join(UNITS)}")
    return unit


def display_unit(unit: str) -> tuple[str, float]:
    """The unit that a reader sees and the factor that converts a stored value to it."""
    return DISPLAY.get(check_unit(unit), (unit, 1.0))


def seconds_from_milliseconds(value):
    """Milliseconds (DICOM) to seconds (BIDS)."""
    return value / 1000.0


def milliseconds_from_seconds(value):
    """Seconds (BIDS) to milliseconds (DICOM, figures)."""
    return value * 1000.0
