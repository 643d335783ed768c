"""What each vial of a phantom should read at a field strength and temperature, with its uncertainty.

All numbers come from a definition in ``config/phantoms/``; nothing about a phantom stands in Python.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.errors import CalibrationError, ConfigError, explain

#: Flags of a reference value: usable, or the phantom's maker does not stand by the solution.
OK = "ok"
SUSPECT = "suspect_solution"

#: What a table's uncertainty column is. `standard`: one standard uncertainty. `repeatability`: the scatter of
#: repeats only, to which the calibration's `relative` uncertainty is added. `none`: only `relative` is known.
MEANINGS = ("standard", "repeatability", "none")


@dataclass(frozen=True)
class VialReference:
    """What one vial should read.

    value : reference [s]; stderr : its standard uncertainty [s], the temperature's share included
    flag : ``ok`` or ``suspect_solution``; grade : ``measured`` or ``extrapolated``
    temperature_stderr : signed share of the temperature's uncertainty [s]; one error common to all vials
    """

    vial: int
    value: float
    stderr: float
    flag: str
    grade: str = "measured"
    temperature_stderr: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Geometry:
    """Where the vials of one array lie in the phantom's frame (x right, y up, z along the axis).

    vials : (n,) int array; centers : (n, 3) array [mm]; sphere_diameter, roi_diameter, body_radius [mm]
    """

    array: str
    vials: np.ndarray
    centers: np.ndarray
    sphere_diameter: float
    roi_diameter: float
    body_radius: float


@dataclass(frozen=True)
class Phantom:
    """One kind of phantom, as its definition describes it."""

    name: str
    definition: dict[str, Any]

    def batch(self, serial: str) -> str:
        """The batch of solutions in the phantom with this serial number; CalibrationError when unknown."""
        serials = self.definition["serials"]
        match = re.match(serials["pattern"], str(serial).strip())
        if match:
            number = int(match.group(1))
            for entry in serials["batches"]:
                if entry["first"] <= number <= entry.get("last", number):
                    return entry["batch"]
        ranges = ", ".join(f"{e['first']:04d}–{e.get('last', '')}" for e in serials["batches"])
        raise CalibrationError(
            explain(
                f"The serial number belongs to no batch of {self.name}",
                expected=f"{serials['pattern']} in {ranges}",
                found=repr(serial),
                remedy="correct the phantom's serial in site.yaml (it stands on the phantom)",
            )
        )

    def array(self, biomarker: str) -> str:
        """The array of vials made to calibrate a biomarker; CalibrationError when there is none."""
        for name, array in self.definition["arrays"].items():
            if biomarker in array["calibrates"]:
                return name
        known = sorted({b for a in self.definition["arrays"].values() for b in a["calibrates"]})
        raise CalibrationError(
            explain(f"{self.name} has no vials for {biomarker}", expected=", ".join(known), found=biomarker)
        )

    def geometry(self, biomarker: str, *, array: str | None = None) -> Geometry:
        """Where the vials for a biomarker (or of a named array) lie."""
        array = array or self.array(biomarker)
        geometry = self.definition["geometry"]
        layout = geometry["layout"]
        offset = self.definition["arrays"][array]["offset"]
        vials = np.array(sorted(layout), dtype=int)
        centers = np.array([[*layout[v], offset] for v in vials.tolist()], dtype=float)
        return Geometry(
            array,
            vials,
            centers,
            geometry["sphere_diameter"],
            geometry["roi_diameter"],
            geometry["body_radius"],
        )

    def reference(
        self,
        biomarker: str,
        serial: str,
        field_strength: float,
        temperature: float,
        temperature_stderr: float = 0.0,
        *,
        array: str | None = None,
    ) -> list[VialReference]:
        """What each vial should read for `biomarker` (``T1``, ``T2``), in vial order.

        Parameters
        ----------
        biomarker : str
            ``T1`` or ``T2``.
        serial : str
            The phantom's serial number, which tells its batch.
        field_strength : float
            Of the scanner [T].
        temperature, temperature_stderr : float
            Of the phantom during the scan, and its standard uncertainty [degC].
        array : str, optional
            The array of vials; by default the one made for the biomarker. Simulation asks for the T2 of the T1
            array and the T1 of the T2 array too.

        Raises
        ------
        CalibrationError
            No table for the batch and field strength, or a temperature outside the table.
        """
        table = self._table(array or self.array(biomarker), self.batch(serial), field_strength)
        if not np.isfinite(temperature) or not temperature_stderr >= 0:
            raise CalibrationError(
                explain(
                    "The phantom's temperature is missing",
                    expected="a temperature in degC and its standard uncertainty",
                    found=f"{temperature} ± {temperature_stderr}",
                    remedy="write the temperature of that day in site.yaml",
                )
            )
        return [
            self._vial_reference(table, int(vial), biomarker, temperature, temperature_stderr)
            for vial in sorted(table["vials"])
        ]

    def _table(self, array: str, batch: str, field_strength: float) -> dict[str, Any]:
        tables = self.definition["tables"].values()
        fitting = [t for t in tables if t["array"] == array and batch in t["batches"]]
        near = [t for t in fitting if abs(t["field_strength"] - field_strength) <= self.definition["field_tolerance"]]
        if len(near) != 1:
            raise CalibrationError(
                explain(
                    f"No reference table of {self.name}, {array}, batch {batch} for this field strength",
                    expected=" or ".join(f"{t['field_strength']:g} T" for t in fitting),
                    found=f"{field_strength:g} T",
                    remedy="check field_strength in site.yaml",
                )
            )
        return near[0]

    def _vial_reference(
        self, table: dict[str, Any], vial: int, biomarker: str, temperature: float, temperature_stderr: float
    ) -> VialReference:
        row = table["vials"][vial]
        slopes_from = table
        extra = 0.0
        if len(table["temperatures"]) > 1:
            log_value = _interpolate(table, vial, biomarker, temperature)
            log_slope = _log_slope(table, vial, biomarker, temperature)
        else:
            # One temperature only: the same solution in another table tells how it changes with temperature.
            slopes_from = self.definition["tables"][table["temperature_dependence_of"]]
            at = table["temperatures"][0]
            change = _interpolate(slopes_from, vial, biomarker, temperature) - _interpolate(
                slopes_from, vial, biomarker, at
            )
            log_value = np.log(row[biomarker][0]) + change
            log_slope = _log_slope(slopes_from, vial, biomarker, temperature)
            extra = abs(change) * self.definition["borrowed_slope_uncertainty"]
        value = float(np.exp(log_value))
        own = _relative_uncertainty(table, row, biomarker, temperature)
        shift = value * log_slope * temperature_stderr
        stderr = value * float(np.sqrt(own**2 + extra**2 + (log_slope * temperature_stderr) ** 2))
        suspect = table.get("suspect", {}).get(vial, "")
        return VialReference(vial, value, stderr, SUSPECT if suspect else OK, table["grade"], float(shift), suspect)


def load_phantom(definition: dict[str, Any]) -> Phantom:
    """A phantom from its definition (a parsed file of ``config/phantoms/``); ConfigError when it contradicts itself."""
    try:
        vials = sorted(definition["geometry"]["layout"])
        for name, table in definition["tables"].items():
            where = f"{definition['phantom']}, table {name}"
            if sorted(table["vials"]) != vials:
                raise ConfigError(explain("A table and the layout differ in their vials", where=where, expected=vials))
            if table["uncertainty"]["meaning"] not in MEANINGS:
                raise ConfigError(
                    explain("Unknown meaning of an uncertainty", where=where, expected=", ".join(MEANINGS))
                )
            n = len(table["temperatures"])
            if n == 1 and table.get("temperature_dependence_of") not in definition["tables"]:
                raise ConfigError(explain("One temperature and no temperature_dependence_of", where=where))
            for vial, row in table["vials"].items():
                for key, values in row.items():
                    if key != "concentration" and len(values) != n:
                        raise ConfigError(
                            explain(f"{key} of vial {vial} has {len(values)} values", where=where, expected=n)
                        )
        return Phantom(definition["phantom"], definition)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            explain("A phantom definition is incomplete", found=repr(error), remedy="see phantom.schema.yaml")
        ) from error


def _interpolate(table: dict[str, Any], vial: int, biomarker: str, temperature: float) -> float:
    """Log of a vial's value at a temperature [degC]: through every published value, smooth and without overshoot."""
    from scipy.interpolate import PchipInterpolator

    temperatures = np.asarray(table["temperatures"], dtype=float)
    if biomarker not in table["vials"][vial]:
        raise CalibrationError(explain(f"The table has no {biomarker}", where=table["source"]))
    if not temperatures[0] <= temperature <= temperatures[-1]:
        raise CalibrationError(
            explain(
                "The phantom's temperature lies outside the reference table",
                where=table["source"],
                expected=f"{temperatures[0]:g} to {temperatures[-1]:g} degC",
                found=f"{temperature:g} degC",
                remedy="check the temperature in site.yaml; let the phantom settle in the scanner room",
            )
        )
    log_values = np.log(np.asarray(table["vials"][vial][biomarker], dtype=float))
    return float(PchipInterpolator(temperatures, log_values)(temperature))


def _log_slope(table: dict[str, Any], vial: int, biomarker: str, temperature: float) -> float:
    """Relative change per degree [1/degC] from a parabola over the table: the scatter of single values stays out."""
    temperatures = np.asarray(table["temperatures"], dtype=float)
    log_values = np.log(np.asarray(table["vials"][vial][biomarker], dtype=float))
    middle = temperatures.mean()
    return float(np.polyval(np.polyder(np.polyfit(temperatures - middle, log_values, 2)), temperature - middle))


def _relative_uncertainty(table: dict[str, Any], row: dict[str, Any], biomarker: str, temperature: float) -> float:
    """The table's own relative standard uncertainty of one value."""
    rule = table["uncertainty"]
    if rule["meaning"] == "none":
        return float(rule["relative"])
    printed = np.asarray(row[f"{biomarker}_uncertainty"], dtype=float) / np.asarray(row[biomarker], dtype=float)
    own = float(np.interp(temperature, table["temperatures"], printed))
    if rule["meaning"] == "repeatability":
        own = float(np.hypot(own, rule["relative"]))
    return own
