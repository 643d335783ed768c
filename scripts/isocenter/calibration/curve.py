"""A calibration: reference = c0 + c1 · measured (+ c2 · measured²), where it holds, when, and how well it is known.

A curve of a scanner that drifts belongs to a day: :meth:`Calibration.at` gives the plain curve of any other day.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.units import check_unit

#: The forms of a calibration, simplest first, with the vials that each needs at least.
FORMS = {"none": 0, "gain": 3, "linear": 6, "quadratic": 9}
#: How phantom sessions stand for other days.
RULES = ("pooled", "nearest", "drift")
DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class Calibration:
    """How a scanner's values of one biomarker become the reference's.

    form : a word of :data:`FORMS`
    coefficients : (2,) c0 [unit], c1 [1]; with a quadratic (3,), c2 [1/unit] the last; covariance : (2, 2) or (3, 3)
    valid_range : smallest and largest measured value [unit] that the vials support; None when there are none
    dates : of the phantom sessions; refused : no calibration could be made, `reason` says why
    checks : figures of merit by name (percent where the name says so)
    vials : what entered, one dict a vial
    rule : a word of :data:`RULES`
    day : that the coefficients belong to [days since the site's first phantom session]; None with ``pooled``
    drift : with rule ``drift``: `per_day` and `stderr_per_day` of log measured, `first_day` and `last_day` of the
        sessions, and the same in percent a year
    sessions : one dict a phantom session: its `session`, `date`, `day`, and its own curve where it gave one
    """

    biomarker: str
    unit: str
    form: str
    coefficients: tuple[float, ...] = (0.0, 1.0)
    covariance: tuple[tuple[float, ...], ...] = ((0.0, 0.0), (0.0, 0.0))
    valid_range: tuple[float, float] | None = None
    n_vials: int = 0
    dates: tuple[str, ...] = ()
    refused: bool = False
    reason: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    vials: list[dict[str, Any]] = field(default_factory=list)
    rule: str = "pooled"
    day: float | None = None
    drift: dict[str, float] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        check_unit(self.unit)
        if self.form not in FORMS:
            raise CalibrationError(explain("Unknown form", expected=", ".join(FORMS), found=self.form))
        if self.rule not in RULES:
            raise CalibrationError(explain("Unknown calibration_dates", expected=", ".join(RULES), found=self.rule))
        n = len(self.coefficients)
        if n != (3 if self.form == "quadratic" else 2) or np.shape(self.covariance) != (n, n):
            raise CalibrationError(
                explain(
                    f"The coefficients of a {self.form} calibration and their covariance do not fit together",
                    expected="2 and 2 x 2, with a quadratic 3 and 3 x 3",
                    found=f"{n} and {' x '.join(map(str, np.shape(self.covariance)))}",
                )
            )

    @classmethod
    def refuse(cls, biomarker: str, unit: str, reason: str, **more: Any) -> "Calibration":
        """No calibration: values stay as measured, and the reason travels on."""
        return cls(biomarker, unit, "none", refused=True, reason=reason, **more)

    def apply(self, value: np.ndarray, stderr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Calibrated value and standard error [unit], and where the value lies beyond the vials.

        value, stderr : (...,) arrays [unit], NaN where absent. The standard error holds the measurement's, scaled,
        and the calibration's own; the latter is shared by all values of the scanner and does not average out.
        Beyond the vials a quadratic goes on along its tangent: a parabola turns where no vial holds it.
        """
        value, stderr = np.asarray(value, dtype=float), np.asarray(stderr, dtype=float)
        low, high = self.valid_range or (-np.inf, np.inf)
        basis = [np.ones_like(value), value]
        slope = np.full(value.shape, self.coefficients[1])
        if len(self.coefficients) == 3:
            edge = np.clip(value, low, high)
            basis.append(edge * (2 * value - edge))
            slope = slope + 2 * self.coefficients[2] * edge
        calibrated = sum(c * b for c, b in zip(self.coefficients, basis, strict=True))
        own = sum(
            v * a * b for row, a in zip(self.covariance, basis, strict=True) for v, b in zip(row, basis, strict=True)
        )
        beyond = (value < low) | (value > high)
        return calibrated, np.sqrt((slope * stderr) ** 2 + np.maximum(own, 0.0)), beyond

    def at(self, day: float | None, spread: float = 0.0) -> "Calibration":
        """The curve of another day.

        Parameters
        ----------
        day : float or None
            Days since the site's first phantom session; None: not known.
        spread : float
            Standard error of `day` [days].

        Returns
        -------
        Calibration
            ``pooled``: the curve itself. ``nearest``: that of the closest session which gave one, the earlier of two.
            ``drift``: the curve of :attr:`day`, its measured values moved along the drift; before the first session
            and after the last the drift is held, and what it would have done in the meantime is uncertainty.

        Raises
        ------
        CalibrationError
            The rule needs the scan's day and it is not known.
        """
        if self.rule == "pooled" or self.refused or not (self.drift or self.rule == "nearest"):
            return self
        if day is None or not np.isfinite(day):
            raise CalibrationError(
                explain(
                    f"calibration_dates is {self.rule}, and the scan's day is not known",
                    expected="calibration_day in scans.tsv",
                    remedy="run the intake again, or set calibration_dates: pooled",
                )
            )
        return self._nearest(day) if self.rule == "nearest" else self._drifted(day, spread)

    def _nearest(self, day: float) -> "Calibration":
        usable = [s for s in self.sessions if s.get("curve") and not s["curve"]["refused"]]
        if not usable:
            return self
        best = min(usable, key=lambda s: (abs(s["day"] - day), s["day"]))
        return replace(Calibration.from_dict(best["curve"]), rule="nearest", day=float(best["day"]))

    def _drifted(self, day: float, spread: float) -> "Calibration":
        rate, error = self.drift["per_day"], self.drift["stderr_per_day"]
        held = float(np.clip(day, self.drift["first_day"], self.drift["last_day"]))
        beyond = day - held
        # (x·k) put into the curve is the same curve with coefficients (c0, c1·k, c2·k²).
        k = float(np.exp(-rate * (held - self.day)))
        variance = ((day - self.day) * error) ** 2 + (rate * beyond) ** 2 + (rate * spread) ** 2
        scale = np.array([1.0, k, k * k])[: len(self.coefficients)]
        c = np.asarray(self.coefficients) * scale
        along = c * np.arange(len(c))
        covariance = np.asarray(self.covariance) * np.outer(scale, scale) + variance * np.outer(along, along)
        limits = self.valid_range and (self.valid_range[0] / k, self.valid_range[1] / k)
        return replace(
            self, coefficients=tuple(map(float, c)), covariance=_nested(covariance), valid_range=limits, day=day
        )

    def describe(self) -> str:
        """The words of the ``calibration`` column: form, dates of the sessions, and the rule where it is not pooled."""
        return " ".join([self.form, *self.dates, *([] if self.rule == "pooled" else [f"({self.rule})"])])

    def to_dict(self) -> dict[str, Any]:
        """Plain content for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Calibration":
        """What :meth:`to_dict` wrote, also before there were rules; CalibrationError when it is something else."""
        try:
            limits = content.get("valid_range")
            day = content.get("day")
            return cls(
                content["biomarker"],
                content["unit"],
                content["form"],
                tuple(float(c) for c in content["coefficients"]),
                _nested(content["covariance"]),
                (float(limits[0]), float(limits[1])) if limits else None,
                int(content["n_vials"]),
                tuple(content.get("dates", ())),
                bool(content["refused"]),
                content["reason"],
                content.get("checks", {}),
                content.get("vials", []),
                content.get("rule", "pooled"),
                None if day is None else float(day),
                content.get("drift", {}),
                content.get("sessions", []),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(
                explain("A calibration file is incomplete", found=repr(error), remedy="run fit_calibration again")
            ) from error


def _nested(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)
