"""What each vial of a phantom should read at a field strength and temperature, with its uncertainty.

All numbers come from a definition in ``config/phantoms/``; nothing about a phantom stands in Python.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.errors import CalibrationError, ConfigError, explain
from isocenter.phantom.reference_tables import (
    change_with_field,
    common_temperature,
    depends_on_temperature,
    describe_uncertainty,
    read_table,
)

#: Flags of a reference value: usable; the phantom's maker does not stand by the solution; known to be measured wrongly;
#: of a quantity that the phantom has vials for, but no table.
OK = "ok"
SUSPECT = "suspect_solution"
UNRELIABLE = "unreliable"
NO_REFERENCE = "no_reference"

#: What a table's uncertainty column is. `standard`: one standard uncertainty. `repeatability`: the scatter of
#: repeats only, to which the calibration's `relative` uncertainty is added. `none`: only `relative` is known.
MEANINGS = ("standard", "repeatability", "none")

#: A text that was copied from a printed page may hold a longer dash than the keyboard's.
DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")

#: What holds where a definition is silent; the schema says the same, and a test holds them together.
FIELD_TOLERANCE = 0.15
UNMEASURED_TEMPERATURE_STDERR = 2.0
BORROWED_SLOPE_UNCERTAINTY = 0.5


@dataclass(frozen=True)
class VialReference:
    """What one vial should read, in the unit of the quantity (s, mm2/s, percent).

    value : reference; stderr : its standard uncertainty, the temperature's share included
    flag : ``ok``, ``suspect_solution``, ``unreliable`` or ``no_reference``, with the `reason`
    grade : ``measured``, ``extrapolated``, ``computed`` or ``nominal``
    temperature_stderr : signed share of the temperature's uncertainty; one error common to all vials
    common_stderr : signed share of another error common to all vials, such as a relaxivity's
    source : the document and table
    """

    vial: int
    value: float
    stderr: float
    flag: str
    grade: str = "measured"
    temperature_stderr: float = 0.0
    reason: str = ""
    common_stderr: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Geometry:
    """Where the vials of one array lie in the phantom's frame (x right, y up, z along the axis).

    vials : (n,) int array; centers : (n, 3) array [mm]; sphere_diameter, roi_diameter, body_radius [mm]
    roi_length : along the axis [mm], for tubes; 0 for spheres, whose region is a sphere
    wall : of a sphere [mm], inside of its diameter; None for tubes, and where it is not known
    """

    array: str
    vials: np.ndarray
    centers: np.ndarray
    sphere_diameter: float
    roi_diameter: float
    body_radius: float
    roi_length: float = 0.0
    wall: float | None = None


@dataclass(frozen=True)
class Phantom:
    """One kind of phantom, as its definition describes it.

    Wherever a `biomarker` is asked for it is the *quantity*: the ``parameter`` of the biomarker's block (T1, T2,
    T2star, ADC, PDFF), whatever the trial calls the biomarker.
    """

    name: str
    definition: dict[str, Any]

    def batch(self, serial: str) -> str:
        """The batch of solutions in the phantom with this serial number, "" where the type has no batches.

        CalibrationError when the number belongs to none.
        """
        serials = self.definition.get("serials")
        if serials is None:
            return ""
        number = self._serial_number(serial)
        if number is not None:
            for entry in serials["batches"]:
                if entry["first"] <= number <= entry.get("last", number):
                    return entry["batch"]
        ranges = ", ".join(
            f"{self._write_number(e['first'])} to {self._write_number(e['last']) if 'last' in e else 'any later one'} "
            f"(batch {e['batch']})"
            for e in serials["batches"]
        )
        raise CalibrationError(
            explain(
                f"The serial number belongs to no batch of {self.name}",
                expected=ranges,
                found=repr(serial) if str(serial).strip() else "'': none was given",
                remedy=serials.get("remedy", "check the serial (site.yaml, or --serial); it stands on the phantom"),
            )
        )

    def list_batches(self) -> dict[str, str]:
        """By batch the first serial number of it; none where the type has no batches."""
        entries = self.definition.get("serials", {}).get("batches", [])
        return {entry["batch"]: self._write_number(entry["first"]) for entry in entries}

    def write_serial(self, serial: str) -> str:
        """A serial number as the maker writes it, so that one phantom has one name: ``130-0093`` for ``130-93``.

        What is no serial number of this type comes back as it is; :meth:`batch` says so.
        """
        number = self._serial_number(serial)
        return str(serial).strip() if number is None else self._write_number(number)

    def _serial_number(self, serial: str) -> int | None:
        """The number that the batches count, None where the text is no serial number of this type."""
        serials = self.definition.get("serials")
        plain = str(serial).strip().translate(DASHES)
        match = re.match(serials["pattern"], plain) if serials else None
        return int(match.group(1)) if match else None

    def _write_number(self, number: int) -> str:
        return self.definition["serials"]["form"].format(number=number)

    def array(self, biomarker: str) -> str:
        """The array of vials made to calibrate a quantity; CalibrationError when there is none."""
        for name, array in self.definition["arrays"].items():
            if biomarker in array["calibrates"]:
                return name
        known = sorted({b for a in self.definition["arrays"].values() for b in a["calibrates"]})
        raise CalibrationError(
            explain(
                f"{self.name} has no vials for {biomarker}",
                expected=", ".join(known),
                found=biomarker,
                remedy="quantities are asked for, as `parameter` of a biomarker names them",
            )
        )

    def geometry(self, biomarker: str, *, array: str | None = None) -> Geometry:
        """Where the vials for a quantity (or of a named array) lie.

        A quantity that an array `locates` has a place too, though no reference.

        Raises
        ------
        CalibrationError
            No array for the quantity, or a phantom whose vials are placed by hand.
        """
        array = array or self._array_that_locates(biomarker) or self.array(biomarker)
        layout = _layout(self.definition, array)
        if layout is None:
            raise CalibrationError(
                explain(
                    f"The vials of {self.name} have no fixed place",
                    expected="a layout in the phantom's definition, or a file of regions",
                    remedy="draw the regions by hand, or copy the definition and give it your rack's geometry",
                )
            )
        geometry = self.definition["geometry"]
        offset = self.definition["arrays"][array].get("offset", 0.0)
        vials = np.array(sorted(layout), dtype=int)
        centers = np.array([[*layout[v], offset] for v in vials.tolist()], dtype=float)
        return Geometry(
            array,
            vials,
            centers,
            geometry["sphere_diameter"],
            geometry["roi_diameter"],
            geometry["body_radius"],
            geometry.get("roi_length", 0.0),
            geometry.get("wall"),
        )

    def vials(self, biomarker: str) -> list[int]:
        """The numbers of the vials that any table has for a quantity, in order; none where the phantom has none."""
        arrays = {name for name, array in self.definition["arrays"].items() if biomarker in array["calibrates"]}
        tables = self.definition["tables"].values()
        return sorted({int(vial) for table in tables if table["array"] in arrays for vial in table["vials"]})

    def fit_options(self, biomarker: str, temperature: float) -> dict[str, float]:
        """What the fit itself must know of the phantom: the option ``temperature`` [degC] for PDFF, else nothing.

        Water's resonance moves with temperature and fat's does not (``config/spectra.yaml``).
        """
        array = self._array_that_locates(biomarker) or self.array(biomarker)
        needs = self.definition["arrays"][array].get("fit_at_temperature", False)
        return {"temperature": float(temperature)} if needs else {}

    def reference(
        self,
        biomarker: str,
        serial: str,
        field_strength: float,
        temperature: float,
        temperature_stderr: float | None = 0.0,
        *,
        array: str | None = None,
    ) -> list[VialReference]:
        """What each vial should read for a quantity, in vial order.

        Parameters
        ----------
        biomarker : str
            The quantity: ``T1``, ``T2``, ``ADC`` or ``PDFF``.
        serial : str
            The phantom's serial number, which tells its batch; any text where the type has no batches.
        field_strength : float
            Of the scanner [T]. Within the definition's tolerance of a table's, the change with field is applied where
            tables tell it: a machine sold as 3 T at 2.89 T reads manganese's T2 2 % longer than one at 3.0 T.
        temperature, temperature_stderr : float
            Of the phantom during the scan, and its standard uncertainty [degC]. None stands for a temperature that
            nobody measured: the definition's `unmeasured_temperature_stderr`.
        array : str, optional
            The array of vials; by default the one made for the quantity. Simulation asks for the T2 of the T1
            array and the T1 of the T2 array too.

        Raises
        ------
        CalibrationError
            No table for the batch and field strength, or a temperature outside the table.
        """
        table = self._table(array or self.array(biomarker), self.batch(serial), field_strength)
        if temperature_stderr is None:
            temperature_stderr = self.definition.get("unmeasured_temperature_stderr", UNMEASURED_TEMPERATURE_STDERR)
        is_known = np.isfinite(temperature) and temperature_stderr >= 0
        if depends_on_temperature(table) and not is_known:
            raise CalibrationError(
                explain(
                    "The phantom's temperature is missing",
                    expected="a temperature in degC and its standard uncertainty",
                    found=f"{temperature} ± {temperature_stderr}",
                    remedy="write the temperature of that day in site.yaml",
                )
            )
        return [
            self._vial_reference(table, int(vial), biomarker, field_strength, temperature, temperature_stderr)
            for vial in sorted(table["vials"])
        ]

    def calibrates(self, biomarker: str) -> bool:
        """Whether any array of the phantom has reference values for a quantity."""
        return any(biomarker in array["calibrates"] for array in self.definition["arrays"].values())

    def shows(self, biomarker: str) -> bool:
        """Whether the phantom has vials for a quantity, with reference values or without."""
        return self.calibrates(biomarker) or self._array_that_locates(biomarker) is not None

    def without_reference(self, biomarker: str) -> list[VialReference]:
        """The vials in which a quantity can be measured that no table of the phantom has, in order."""
        reason = f"the phantom has no reference for {biomarker}"
        numbers = self.vials(self.order_of(biomarker))
        return [VialReference(n, np.nan, np.nan, NO_REFERENCE, "none", reason=reason) for n in numbers]

    def order_of(self, biomarker: str) -> str:
        """The quantity by whose values the vials of a quantity are told apart: its own, or that of its array."""
        if self.calibrates(biomarker):
            return biomarker
        return self.definition["arrays"][self._array_that_locates(biomarker)]["calibrates"][0]

    def describe(self, serial: str = "", field_strength: float | None = None) -> dict[str, Any]:
        """What a page says of the phantom: title, maker, publication, batch and the tables that hold for it.

        Returns
        -------
        dict
            ``name``, ``title``, ``maker``, ``reference``, ``serial``, ``batch`` (text) and ``tables``, a list of dicts
            with ``name``, ``array``, ``field_strength`` ([T] or None), ``grade``, ``source``, ``note`` and
            ``uncertainty`` (text). Without a serial number the tables of all batches; with a field strength only those
            near it.
        """
        batch = self.batch(serial) if serial else None
        tables = [
            {
                "name": name,
                "array": self.definition["arrays"][table["array"]]["title"],
                "field_strength": table.get("field_strength"),
                "grade": table["grade"],
                "source": table["source"],
                "note": table.get("note", ""),
                "uncertainty": describe_uncertainty(table),
            }
            for name, table in self.definition["tables"].items()
            if (batch is None or batch in table.get("batches", [batch]))
            and (field_strength is None or self._is_near(table, field_strength))
        ]
        return {
            "name": self.name,
            "title": self.definition["title"],
            "maker": self.definition.get("maker", ""),
            "reference": self.definition["reference"],
            "serial": serial,
            "batch": batch or "",
            "tables": tables,
        }

    def _array_that_locates(self, biomarker: str) -> str | None:
        arrays = self.definition["arrays"].items()
        return next((name for name, array in arrays if biomarker in array.get("locates", [])), None)

    def _is_near(self, table: dict[str, Any], field_strength: float) -> bool:
        own = table.get("field_strength")
        return own is None or abs(own - field_strength) <= self.definition.get("field_tolerance", FIELD_TOLERANCE)

    def _table(self, array: str, batch: str, field_strength: float) -> dict[str, Any]:
        tables = self.definition["tables"].values()
        fitting = [t for t in tables if t["array"] == array and batch in t.get("batches", [batch])]
        near = [t for t in fitting if self._is_near(t, field_strength)]
        if len(near) != 1:
            raise CalibrationError(
                explain(
                    f"No reference table of {self.name}, {array}, batch {batch} for this field strength"
                    if batch
                    else f"No reference table of {self.name}, {array}, for this field strength",
                    expected=" or ".join(f"{t['field_strength']:g} T" for t in fitting if "field_strength" in t)
                    or "a table of this array, of which the definition has none",
                    found=f"{field_strength:g} T",
                    remedy="check field_strength (site.yaml, or --field-strength)",
                )
            )
        return near[0]

    def _vial_reference(
        self,
        table: dict[str, Any],
        vial: int,
        quantity: str,
        field_strength: float,
        temperature: float,
        temperature_stderr: float,
    ) -> VialReference:
        tables = self.definition["tables"]
        borrowed = self.definition.get("borrowed_slope_uncertainty", BORROWED_SLOPE_UNCERTAINTY)
        reading = read_table(tables, table, vial, quantity, temperature, borrowed)
        change = change_with_field(tables, table, quantity, field_strength)
        scale = 1 + change
        value = reading.value * scale
        shift = reading.slope * scale * temperature_stderr if depends_on_temperature(table) else 0.0
        parts = (reading.own * scale, reading.value * change * borrowed, reading.common * scale, shift)
        flag, reason = OK, ""
        for word, key in ((SUSPECT, "suspect"), (UNRELIABLE, "unreliable")):
            if vial in table.get(key, {}):
                flag, reason = word, table[key][vial]
        return VialReference(
            vial,
            value,
            float(np.sqrt(np.square(parts).sum())),
            flag,
            table["grade"],
            float(shift),
            reason,
            float(reading.common * scale),
            table["source"],
        )


def without_reference(phantom: str, quantity: str) -> str:
    """What a reader is told of a quantity that a phantom has vials for, but no table."""
    return (
        f"no reference: vials are measured and shown, and nothing is calibrated; {phantom} has no table for {quantity}"
    )


def load_phantom(definition: dict[str, Any]) -> Phantom:
    """A phantom from its definition (a parsed file of ``config/phantoms/``); ConfigError when it contradicts itself."""
    try:
        for name, table in definition["tables"].items():
            where = f"{definition['phantom']}, table {name}"
            layout = _layout(definition, table["array"])
            if layout is not None and sorted(table["vials"]) != sorted(layout):
                raise ConfigError(
                    explain("A table and the layout differ in their vials", where=where, expected=sorted(layout))
                )
            if "solution" in table:
                if any("concentration" not in row for row in table["vials"].values()):
                    raise ConfigError(explain("A vial of a solution has no concentration", where=where))
            else:
                _check_columns(definition["tables"], table, where)
            pair = [definition["tables"][other] for other in table.get("field_dependence_of", [])]
            if pair:
                common_temperature(*pair)
        return Phantom(definition["phantom"], definition)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            explain("A phantom definition is incomplete", found=repr(error), remedy="see phantom.schema.yaml")
        ) from error


def _layout(definition: dict[str, Any], array: str) -> dict[int, list[float]] | None:
    """The places of an array's vials; None where the phantom has none."""
    own = definition["arrays"][array].get("layout")
    return own if own is not None else definition.get("geometry", {}).get("layout")


def _check_columns(tables: dict[str, dict[str, Any]], table: dict[str, Any], where: str) -> None:
    if table["uncertainty"]["meaning"] not in MEANINGS:
        raise ConfigError(explain("Unknown meaning of an uncertainty", where=where, expected=", ".join(MEANINGS)))
    if table["uncertainty"]["meaning"] != "standard" and "relative" not in table["uncertainty"]:
        raise ConfigError(explain("The uncertainty has no `relative`", where=where))
    n = len(table.get("temperatures", [0]))
    tells_change = table.get("temperature_dependence_of") in tables or "slope_bound" in table
    if n == 1 and "temperatures" in table and not tells_change:
        raise ConfigError(
            explain("One temperature and no temperature_dependence_of or slope_bound", where=where)
        )  # fmt: skip
    for vial, row in table["vials"].items():
        for key, values in row.items():
            if not key.startswith("concentration") and len(values) != n:
                raise ConfigError(explain(f"{key} of vial {vial} has {len(values)} values", where=where, expected=n))
