"""Values of headers and tables as numbers and as text; whatever a header holds, nothing raises."""

import math
from typing import Any


def find_distinct(values: list[Any]) -> list[Any]:
    """The values without repeats, in their order; numbers that differ by rounding are one."""
    kept: list[Any] = []
    for value in values:
        if not any(is_same(value, other) for other in kept):
            kept.append(value)
    return kept


def is_same(a: Any, b: Any) -> bool:
    """Whether two values are the same number, or the same text in any case."""
    x, y = as_number(a), as_number(b)
    if math.isfinite(x) and math.isfinite(y):
        return math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-12)
    return str(a).strip().casefold() == str(b).strip().casefold()


def as_number(value: Any) -> float:
    """A finite or infinite number; NaN for anything else, so that no comparison with it holds."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def as_text(value: Any) -> str:
    """Text of a table's cell; empty where the cell is."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def describe_values(values: list[Any], unit: str) -> str:
    """What was found, as a person reads it: one value, a range, or a list."""
    distinct = find_distinct(values)
    if not distinct:
        return "missing from the header"
    if len(distinct) == 1:
        return format_value(distinct[0], unit)
    numbers = [as_number(value) for value in distinct]
    if all(map(math.isfinite, numbers)):
        return f"{min(numbers):g} to {format_value(max(numbers), unit)} ({len(distinct)} values)"
    shown = ", ".join(str(value) for value in distinct[:5])
    return f"{shown}, … ({len(distinct)} values)" if len(distinct) > 5 else shown


def format_value(value: Any, unit: str) -> str:
    """A value with its unit."""
    number = as_number(value)
    if isinstance(value, str) and not math.isfinite(number):
        return value
    return join_unit(
        "not computable" if math.isnan(number) else f"{number:.4g}", unit if not math.isnan(number) else ""
    )


def join_unit(text: str, unit: str) -> str:
    """A number's text with its unit."""
    return f"{text} {'%' if unit == 'percent' else unit}" if unit and unit != "1" else text


def count_words(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}" if number == 1 or noun.endswith("s") else f"{number} {noun}s"
