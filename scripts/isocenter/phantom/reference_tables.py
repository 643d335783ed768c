"""One vial's value out of a reference table at a temperature and field strength, with the parts of its uncertainty."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.solutions import relax_solution

Tables = dict[str, dict[str, Any]]

KELVIN = 273.15
#: Field strengths [T] no further apart are one: a header's "3" stands for 3.007 T too.
SAME_FIELD = 0.02
#: A parabola and one value more: fewer temperatures cannot show that one of them departs from a smooth curve.
LEAST_FOR_CURVE = 4


@dataclass(frozen=True)
class Reading:
    """A reference value and what it owes its uncertainty to; all but `slope` in the unit of the quantity.

    value : at the temperature asked for; own : standard uncertainty of its own
    common : signed share of an uncertainty common to all vials (a relaxivity's)
    slope : change with temperature [unit/degC]
    """

    value: float
    own: float
    common: float
    slope: float


def read_table(
    tables: Tables, table: dict[str, Any], vial: int, quantity: str, temperature: float, borrowed: float
) -> Reading:
    """What a vial reads by a table at a temperature [degC].

    `borrowed` is the share of a change taken from another table that is added to the uncertainty.

    Raises
    ------
    CalibrationError
        The quantity does not stand in the table, or the temperature lies outside it.
    """
    if "solution" in table:
        return _read_solution(table, vial, quantity, temperature)
    row = table["vials"][vial]
    if quantity not in row:
        raise CalibrationError(
            explain(f"The reference table has no {quantity}", where=table["source"], found=f"vial {vial}")
        )
    if "temperatures" not in table:
        return Reading(float(row[quantity][0]), _printed(table, row, quantity)[0], 0.0, 0.0)
    if len(table["temperatures"]) > 1:
        value = float(np.exp(_interpolate(table, vial, quantity, temperature)))
        own = value * _own(table, vial, quantity, temperature)
        return Reading(value, own, 0.0, value * _log_slope(table, vial, quantity, temperature))
    relative = _printed(table, row, quantity)[0] / row[quantity][0]
    other = tables.get(table.get("temperature_dependence_of", ""))
    if other is None:
        # Nothing tells the change with temperature: the value holds at its own, and a bound stands for the slope.
        check_temperature(temperature, table["temperatures"], table["source"])
        value = float(row[quantity][0])
        return Reading(value, value * relative, 0.0, value * table["slope_bound"])
    # One temperature only: the same solution in another table tells how it changes with temperature.
    at = table["temperatures"][0]
    change = _interpolate(other, vial, quantity, temperature) - _interpolate(other, vial, quantity, at)
    value = float(np.exp(np.log(row[quantity][0]) + change))
    own = value * float(np.hypot(relative, change * borrowed))
    return Reading(value, own, 0.0, value * _log_slope(other, vial, quantity, temperature))


def change_with_field(tables: Tables, table: dict[str, Any], quantity: str, field_strength: float) -> float:
    """Relative change [1] of a table's values from its own field strength to a scanner's [T]; 0 where none tells it.

    The logarithm is taken as linear in the field between the two tables that `field_dependence_of` names: what is
    asked for is a tenth of a tesla out of one and a half. It is the median over the vials, because the two sets of
    solutions scatter by some percent. Within :data:`SAME_FIELD` nothing changes: headers round.
    """
    if "field_dependence_of" not in table or abs(field_strength - table["field_strength"]) <= SAME_FIELD:
        return 0.0
    low, high = (tables[name] for name in table["field_dependence_of"])
    shared = common_temperature(low, high)
    i, j = low["temperatures"].index(shared), high["temperatures"].index(shared)
    vials = sorted(set(low["vials"]) & set(high["vials"]))
    ratios = [high["vials"][v][quantity][j] / low["vials"][v][quantity][i] for v in vials]
    per_tesla = float(np.median(np.log(ratios))) / (high["field_strength"] - low["field_strength"])
    return float(np.expm1(per_tesla * (field_strength - table["field_strength"])))


def common_temperature(low: dict[str, Any], high: dict[str, Any]) -> float:
    """A temperature [degC] that both tables hold; CalibrationError when there is none."""
    shared = sorted(set(low["temperatures"]) & set(high["temperatures"]))
    if not shared:
        raise CalibrationError(explain("Two tables share no temperature", where=f"{low['source']}, {high['source']}"))
    return shared[0]


def depends_on_temperature(table: dict[str, Any]) -> bool:
    """Whether a table's values belong to a temperature."""
    return "solution" in table or "temperatures" in table


def check_temperature(temperature: float, temperatures: list[float], source: str) -> None:
    """CalibrationError when a temperature [degC] lies outside a table."""
    low, high = temperatures[0], temperatures[-1]
    if low <= temperature <= high:
        return
    raise CalibrationError(
        explain(
            "The phantom's temperature lies outside the reference table",
            where=source,
            expected=f"{low:g} to {high:g} degC" if high > low else f"{low:g} degC, the only temperature it holds for",
            found=f"{temperature:g} degC",
            remedy="check the temperature (site.yaml, or --temperature); let the phantom settle in the scanner room",
        )
    )


def _read_solution(table: dict[str, Any], vial: int, quantity: str, temperature: float) -> Reading:
    solution, row = table["solution"], table["vials"][vial]
    rates = {f"T{name[1:]}": rate for name, rate in solution["rates"].items()}
    if quantity not in rates:
        raise CalibrationError(
            explain(f"The solution gives no {quantity}", where=table["source"], expected=" or ".join(rates))
        )
    check_temperature(temperature, solution["range"], table["source"])
    relaxed = relax_solution(
        rates[quantity],
        row["concentration"],
        row.get("concentration_stderr", 0.0),
        temperature - solution["temperature"],
    )
    return Reading(relaxed.value, relaxed.own, relaxed.relaxivity, relaxed.slope)


def _law(table: dict[str, Any], temperature: np.ndarray) -> np.ndarray:
    """Log of the table's law of water at temperatures [degC]; zeros where it has none."""
    law = table.get("temperature_law")
    if law is None:
        return np.zeros_like(temperature)
    return np.log(law["scale"]) + law["exponent"] * np.log((temperature + KELVIN) / law["zero"] - 1)


def _columns(table: dict[str, Any], vial: int, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures (n,) [degC] of a table and the logs (n,) of a vial's values over the table's law."""
    temperatures = np.asarray(table["temperatures"], dtype=float)
    if quantity not in table["vials"][vial]:
        raise CalibrationError(explain(f"The reference table has no {quantity}", where=table["source"]))
    values = np.asarray(table["vials"][vial][quantity], dtype=float)
    return temperatures, np.log(values) - _law(table, temperatures)


def _interpolate(table: dict[str, Any], vial: int, quantity: str, temperature: float) -> float:
    """Log of a vial's value at a temperature [degC]: through every published value, smooth and without overshoot."""
    from scipy.interpolate import PchipInterpolator

    temperatures, logs = _columns(table, vial, quantity)
    check_temperature(temperature, temperatures.tolist(), table["source"])
    # A parabola carries the bend, and what single values depart from it is interpolated: the scatter of neighboring
    # values then does not tilt the curve where a table has a gap.
    coefficients, middle = _curve(table, vial, quantity)
    departures = logs - np.polyval(coefficients, temperatures - middle)
    smooth = np.polyval(coefficients, temperature - middle) + _law(table, np.array(temperature, dtype=float))
    return float(smooth + PchipInterpolator(temperatures, departures)(temperature))


def _curve(table: dict[str, Any], vial: int, quantity: str) -> tuple[np.ndarray, float]:
    """A parabola over the table, its coefficients and the temperature [degC] that they count from."""
    temperatures, logs = _columns(table, vial, quantity)
    middle = float(temperatures.mean())
    return np.polyfit(temperatures - middle, logs, min(2, temperatures.size - 1)), middle


def _log_slope(table: dict[str, Any], vial: int, quantity: str, temperature: float) -> float:
    """Relative change per degree [1/degC] from a parabola over the table: the scatter of single values stays out."""
    coefficients, middle = _curve(table, vial, quantity)
    step = np.array([temperature - 0.5, temperature + 0.5])
    return float(np.polyval(np.polyder(coefficients), temperature - middle) + np.diff(_law(table, step))[0])


def _own(table: dict[str, Any], vial: int, quantity: str, temperature: float) -> float:
    """A value's own relative standard uncertainty at a temperature [degC].

    Where a published value departs from a smooth curve by more than its uncertainty, the departure stands for it:
    liquids know no steps.
    """
    row = table["vials"][vial]
    temperatures, logs = _columns(table, vial, quantity)
    relative = _printed(table, row, quantity) / np.asarray(row[quantity], dtype=float)
    if temperatures.size >= LEAST_FOR_CURVE:
        coefficients, middle = _curve(table, vial, quantity)
        relative = np.maximum(relative, np.abs(logs - np.polyval(coefficients, temperatures - middle)))
    return float(np.interp(temperature, temperatures, relative))


def _printed(table: dict[str, Any], row: dict[str, Any], quantity: str) -> np.ndarray:
    """Standard uncertainties (n,) of a row, in the unit of the quantity, as the table's rule reads its columns."""
    rule, values = table["uncertainty"], np.asarray(row[quantity], dtype=float)
    if rule["meaning"] == "none":
        return values * rule["relative"]
    printed = np.asarray(row[f"{quantity}_uncertainty"], dtype=float) / rule.get("k", 1.0)
    return np.hypot(printed, values * rule["relative"]) if rule["meaning"] == "repeatability" else printed


def describe_uncertainty(table: dict[str, Any]) -> str:
    """What the uncertainties of a table are, in words."""
    if "solution" in table:
        return "standard uncertainties of concentration, solvent and relaxivity, propagated"
    rule = table["uncertainty"]
    relative = f"{100 * rule.get('relative', 0.0):.3g} %"
    if rule["meaning"] == "none":
        return f"{relative} (k = 1); the table has none of its own"
    if rule["meaning"] == "repeatability":
        return f"the table's scatter of repeats and {relative} (k = 1) for the calibration"
    k = rule.get("k", 1.0)
    return "as printed, taken as k = 1" if k == 1 else f"as printed, with k = {k:g}; divided by it"
