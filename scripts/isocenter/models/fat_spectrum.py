"""The spectrum of fat relative to water: what PDFF models take as option `spectrum`.

A spectrum is a mapping with ``ppm`` (shifts from water), ``amplitude`` (shares, scaled here to a sum of one), and
optionally ``reference_temperature`` [degC] and ``shift_per_degree`` [ppm/degC]: water moves with temperature and fat
does not, so their distance changes in phantoms at room temperature. ``config/spectra.yaml`` has the known ones with
their sources; a test holds the default below against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models.base import Model, read_constant

#: Gyromagnetic ratio of the proton over 2 pi [MHz/T]; times ppm it gives Hz.
GYROMAGNETIC_RATIO = 42.577

#: The default: `six_peak` of config/spectra.yaml.
SIX_PEAK: dict[str, Any] = {
    "ppm": [-3.80, -3.40, -2.60, -1.94, -0.39, 0.60],
    "amplitude": [0.087, 0.693, 0.128, 0.004, 0.039, 0.048],
    "reference_temperature": 37.0,
    "shift_per_degree": 0.01,
}

#: A magnet's name and its field differ by less than this share.
_MOST_MISNAMED = 0.1
_KEYS = ("ppm", "amplitude", "reference_temperature", "shift_per_degree")
#: What a block of config/spectra.yaml says besides.
_WORDS = ("title", "source")


@dataclass(frozen=True)
class FatSpectrum:
    """Fat's frequencies (p,) relative to water [Hz], their shares (p,), which sum to one, and the field [T]."""

    frequency: np.ndarray
    amplitude: np.ndarray
    field: float

    def signal(self, times: np.ndarray) -> np.ndarray:
        """The complex signal (n,) of a unit of fat at echo times (n,) [s], on resonance and without decay."""
        return np.exp(2j * np.pi * np.outer(times, self.frequency)) @ self.amplitude


def read_spectrum(model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any]) -> FatSpectrum:
    """The spectrum [Hz] of the options `spectrum` and `temperature` [degC] at the field of the acquisition.

    The field is ImagingFrequency [MHz] over the gyromagnetic ratio where it is given: a magnet called 3 T may run at
    2.89 T. Else it is MagneticFieldStrength [T].

    Raises SidecarError without either or where the two contradict each other, ConfigError for a mapping that is no
    spectrum.
    """
    nominal = read_constant(model, acquisition, "MagneticFieldStrength", np.nan, unit="T")
    frequency = read_constant(model, acquisition, "ImagingFrequency", np.nan, unit="MHz")
    field = frequency / GYROMAGNETIC_RATIO if np.isfinite(frequency) else nominal
    if not np.isfinite(field):
        raise SidecarError(
            explain(
                f"The model {model.name} needs MagneticFieldStrength, which the sidecar lacks",
                expected="MagneticFieldStrength [T] or ImagingFrequency [MHz]: how many Hz fat lies from water",
                found=", ".join(sorted(acquisition)) or "an empty sidecar",
                remedy="check the DICOM header of the series; the value is never guessed",
            )
        )
    if np.isfinite(nominal) and abs(field / nominal - 1) > _MOST_MISNAMED:
        raise SidecarError(
            explain(
                "ImagingFrequency and MagneticFieldStrength contradict each other",
                where=f"model {model.name}",
                expected=f"about {GYROMAGNETIC_RATIO * nominal:.1f} MHz for protons at {nominal:g} T",
                found=f"{frequency:g} MHz",
                remedy="check the DICOM header of the series; the value is never guessed",
            )
        )
    spectrum = options["spectrum"] if options["spectrum"] is not None else SIX_PEAK
    known = isinstance(spectrum, Mapping) and not set(spectrum) - {*_KEYS, *_WORDS}
    if not known or not {"ppm", "amplitude"} <= set(spectrum):
        _refuse(model, spectrum)
    try:
        ppm = np.asarray(spectrum["ppm"], dtype=float)
        amplitude = np.asarray(spectrum["amplitude"], dtype=float)
        reference = float(spectrum.get("reference_temperature", SIX_PEAK["reference_temperature"]))
        slope = float(spectrum.get("shift_per_degree", SIX_PEAK["shift_per_degree"]))
        temperature = reference if options["temperature"] is None else float(options["temperature"])
    except (TypeError, ValueError):
        _refuse(model, spectrum)
    is_whole = ppm.ndim == 1 and ppm.shape == amplitude.shape and ppm.size > 0
    if not is_whole or not np.all(np.isfinite([*ppm, *amplitude, temperature])) or not amplitude.sum() > 0:
        _refuse(model, spectrum)
    # Colder water resonates higher: every peak of fat then lies further below it.
    shifted = ppm + slope * (temperature - reference)
    return FatSpectrum(shifted * GYROMAGNETIC_RATIO * field, amplitude / amplitude.sum(), field)


def _refuse(model: Model, spectrum: Any) -> NoReturn:
    raise ConfigError(
        explain(
            f"The spectrum of fat is unusable for the model {model.name}",
            where="option spectrum (or temperature)",
            expected=f"a mapping of {', '.join(_KEYS)}: shifts [ppm] and as many amplitudes, which sum to more than 0",
            found=spectrum,
            remedy="take a block of config/spectra.yaml",
        )
    )
