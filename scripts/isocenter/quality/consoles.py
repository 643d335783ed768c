"""What a parameter is called at the scanner, and how its value reads there: remedies in the console's own words."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from isocenter.quality.values import as_number, format_value
from isocenter.units import milliseconds_from_seconds

#: Fat's protons precess that much slower than water's; consoles round the same way [1].
WATER_FAT_SHIFT = 3.4e-6
#: ``{RepetitionTime}`` is a parameter's name, ``{RepetitionTime=4.0}`` a value of it, ``{copy}`` how slices are copied.
PLACEHOLDER = re.compile(r"\{([A-Za-z0-9]+)(?:=([-+0-9.eE]+))?\}")
COPY = "copy"
#: What a console's unit needs beside the value: sidecar keys.
SAMPLES, FREQUENCY = "FrequencyEncodingSteps", "ImagingFrequency"


@dataclass(frozen=True)
class Console:
    """How one scanner's console names parameters.

    manufacturer : as people call it, "" when unknown
    parameters : sidecar key to ``name``, ``place`` and ``shown``
    checked : where somebody read these words off a console; "" when nobody did
    """

    manufacturer: str = ""
    copy: str = "the scanner's own way to copy a slice position"
    parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    checked: str = ""

    def name(self, key: str) -> str:
        """A parameter as the console writes it; its sidecar key where nobody said."""
        return str(self.parameters.get(key, {}).get("name", key))

    def show(self, key: str, value: Any, unit: str, about: Mapping[str, Any] | None = None) -> str:
        """A value in the unit that the console shows, with that unit.

        value, unit : as the sidecar has them; about : the sidecar, for units that need more than the value
        """
        return show_value(self.parameters.get(key, {}).get("shown", "as_stored"), value, unit, about or {})

    def word(self, text: str, about: Mapping[str, Any] | None = None, units: Mapping[str, str] | None = None) -> str:
        """A remedy with its placeholders in the console's words."""

        def replace(match: re.Match) -> str:
            key, value = match.groups()
            if key == COPY:
                return self.copy
            if value is not None:
                return self.show(key, float(value), (units or {}).get(key, UNITS.get(key, "")), about)
            place = self.parameters.get(key, {}).get("place", "")
            return f'"{self.name(key)}"' + (f" ({place})" if place else "")

        return PLACEHOLDER.sub(replace, text)


#: Units of the sidecar keys that remedies give values of.
UNITS = {
    "RepetitionTime": "s", "EchoTime": "s", "InversionTime": "s", "FlipAngle": "deg", "PixelBandwidth": "Hz/px",
    "SliceThickness": "mm", "SpacingBetweenSlices": "mm", "VoxelSize": "mm", "DiffusionBValue": "s/mm2",
    "MagneticFieldStrength": "T", "PercentPhaseFOV": "percent", "PercentSampling": "percent",
}  # fmt: skip


def find_console(consoles: Sequence[Mapping[str, Any]], manufacturer: str, software: str = "") -> Console:
    """The console of a scanner; names that it lacks come from the entry without a manufacturer.

    consoles : the entries of ``config/consoles.yaml``
    """
    fallback = next((entry for entry in consoles if not entry["manufacturer"]), {"parameters": {}})
    for entry in consoles:
        maker, pattern = entry["manufacturer"].casefold(), entry.get("software", "*").casefold()
        if maker and manufacturer.casefold().startswith(maker) and fnmatchcase(software.casefold(), pattern):
            words = {**fallback["parameters"], **entry["parameters"]}
            copy = entry.get("copy", fallback.get("copy", Console.copy))
            return Console(entry["manufacturer"], copy, words, entry.get("checked", ""))
    return Console("", fallback.get("copy", Console.copy), fallback["parameters"])


def choose_remedy(rule: Mapping[str, Any], console: Console) -> str:
    """The remedy of a rule for a console, its own where the rule has one; placeholders are not yet filled."""
    own = {maker.casefold(): text for maker, text in (rule.get("remedies") or {}).items()}
    return str(own.get(console.manufacturer.casefold(), rule.get("remedy", "")))


def list_unknown(text: str, consoles: Sequence[Mapping[str, Any]]) -> list[str]:
    """The placeholders of a remedy that some console has no name for."""
    fallback = find_console(consoles, "")
    keys = {match.group(1) for match in PLACEHOLDER.finditer(text)} - {COPY}
    return sorted(key for key in keys if key not in fallback.parameters)


def show_value(shown: str, value: Any, unit: str, about: Mapping[str, Any]) -> str:
    """A value with its unit as a console shows it (`shown` as in ``consoles.schema.yaml``)."""
    number = as_number(value)
    if not math.isfinite(number):
        return format_value(value, unit)
    if shown == "ms" and unit == "s":
        return format_value(milliseconds_from_seconds(number), "ms")
    if shown == "half_bandwidth_khz" and unit == "Hz/px":
        samples = as_number(about.get(SAMPLES))
        if samples > 0:
            return f"±{number * samples / 2000:.4g} kHz"
    if shown == "water_fat_shift" and unit == "Hz/px" and number > 0:
        frequency = as_number(about.get(FREQUENCY))
        if frequency > 0:
            return f"{WATER_FAT_SHIFT * frequency * 1e6 / number:.3g} pixels"
    return format_value(value, unit)
