"""The series that a simulated scanner can play out, one entry a BIDS suffix: what its header says and what varies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Technique:
    """How one kind of series is acquired and described.

    biomarker, unit : what its truth is, as the truth's tables name it
    axis : what varies over its volumes: ``inversion_time``, ``echo_time`` or ``b_value``
    description : the name that an operator gives the series
    scanning_sequence, scan_options, acquisition_type : as classic headers say it
    sequence_name : Siemens' name of the sequence
    contrast : the word of enhanced and of Philips' image types
    pulse_sequence : the name in enhanced headers; echo_kind, is_echo_planar : their flags
    duration : of the whole series [s], and how long after another volume the next begins
    organ : ``brain``, ``heart`` or ``thigh``
    """

    biomarker: str
    unit: str
    axis: str
    description: str
    scanning_sequence: str | tuple[str, ...]
    sequence_name: str
    contrast: str
    pulse_sequence: str
    echo_kind: str = "SPIN"
    scan_options: str | tuple[str, ...] = ""
    acquisition_type: str = "2D"
    is_echo_planar: bool = False
    duration: float = 480.0
    step: float = 0.0
    organ: str = "brain"

    @property
    def is_echo(self) -> bool:
        """Whether the volumes are echoes of one excitation."""
        return self.axis == "echo_time"

    @property
    def is_inversion(self) -> bool:
        """Whether the volumes are points of a recovery."""
        return self.axis == "inversion_time"


TECHNIQUES = {
    "IRT1": Technique("T1", "s", "inversion_time", "T1_IR", ("SE", "IR"), "*tir2d1_1", "T1", "IR", step=60.0),
    "MESE": Technique("T2", "s", "echo_time", "T2_MESE", "SE", "*se2d{n}", "T2", "SE"),
    "dwi": Technique(
        "ADC", "mm2/s", "b_value", "DWI_trace", ("SE", "EP"), "*ep_b{value:.0f}t", "DIFFUSION", "DwiSE",
        is_echo_planar=True, duration=150.0,
    ),
    "MOLLI": Technique(
        "T1heart", "s", "inversion_time", "MOLLI_SAX", "GR", "*tfi2d1_35", "T1", "TFE", echo_kind="GRADIENT",
        scan_options=("IR", "CG"), duration=11.0, organ="heart",
    ),
    "MEGRE": Technique(
        "PDFF", "percent", "echo_time", "Dixon_thigh", "GR", "*fl3d{n}", "PROTON_DENSITY", "FFE", echo_kind="GRADIENT",
        acquisition_type="3D", duration=30.0, organ="thigh",
    ),
}  # fmt: skip
#: What every simulated trial scans, phantoms included; the others are arms of the full demonstration.
CORE = ("IRT1", "MESE")
#: The arms by the biomarker that they add.
ARMS = {TECHNIQUES[suffix].biomarker: suffix for suffix in TECHNIQUES if suffix not in CORE}
