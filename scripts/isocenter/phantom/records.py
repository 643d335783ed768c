"""What was found of the vials of one map, as plain content: the session's page draws it without fitting again."""

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from isocenter.phantom.measure import VialMeasurement
from isocenter.phantom.places import Place
from isocenter.phantom.vial_fits import Method, MethodResult

#: Fields of a result that are arrays of numbers, and of booleans.
_NUMBERS = ("voxels", "means", "axis", "signals", "curve_axis", "curves")
_TRUTHS = ("clipped", "left_out")


def record_result(result: MethodResult, place: Place, problems: list[tuple[str, str]], **about: Any) -> dict[str, Any]:
    """A result with where its vials lie, RAS+ [mm]; `about` says more of the session and scanner."""
    arrays = {name: getattr(result, name) for name in (*_NUMBERS, *_TRUTHS)}
    return {
        "method": asdict(result.method),
        "run": result.run,
        "vials": [asdict(one) for one in result.measurements],
        "centers": place.locations.centers,
        "how": place.how,
        "confidence": float(place.locations.confidence),
        "array": place.geometry.array,
        **arrays,
        "extra": result.extra,
        "quality": {name: list(values) for name, values in result.quality.items()},
        "notes": result.notes,
        "record": result.record,
        "problems": [list(one) for one in problems],
        **about,
    }


def record_failure(reason: str, **about: Any) -> dict[str, Any]:
    """That nothing was measured, and why."""
    return {"method": None, "reason": reason, **about}


def read_result(content: dict[str, Any]) -> MethodResult | None:
    """The result that :func:`record_result` kept; None where nothing was measured."""
    if content["method"] is None:
        return None
    known = {field.name for field in fields(VialMeasurement)}
    vials = [VialMeasurement(**{k: _number(v) for k, v in one.items() if k in known}) for one in content["vials"]]
    arrays = {name: np.array(content[name], dtype=float) for name in _NUMBERS}
    truths = {name: np.array(content[name], dtype=bool) for name in _TRUTHS}
    return MethodResult(
        Method(**content["method"]),
        int(content["run"]),
        vials,
        **arrays,
        **truths,
        extra={name: np.array(values, dtype=float) for name, values in content["extra"].items()},
        quality={
            name: (_number(value), _number(error), unit, words)
            for name, (value, error, unit, words) in content["quality"].items()
        },
        notes=list(content["notes"]),
        record=dict(content["record"]),
    )


def _number(value: Any) -> Any:
    """JSON has no NaN: an absent number was one."""
    return float("nan") if value is None else value
