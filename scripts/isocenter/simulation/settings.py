"""What a simulated trial is made of: sizes, protocol, and each imperfection with its own switch."""

from dataclasses import asdict, dataclass
from typing import Any

from isocenter.errors import ConfigError, explain
from isocenter.simulation.techniques import ARMS, CORE


@dataclass(frozen=True)
class SimulationSettings:
    """The knobs of a simulated trial. Zero (or False) turns an imperfection off.

    Attributes
    ----------
    arms : biomarkers that the trial measures besides T1 and T2, from ``ADC``, ``T1heart``, ``PDFF``
    seed : the trial's seed; every series draws from its own stream, so nothing depends on order or workers
    sites, participants, sessions : how many; session 01 has `first_session_runs`, later ones `later_session_runs`
    phantoms_only : leave the volunteers out
    bad_things : truncated and foreign files, duplicates, missing values, a missing visit, a derived map
    spike : one volume of the trial is corrupted by a k-space spike
    ruler_errors : largest relative error of a site's TI and TE (drawn within ±, one per site and biomarker)
    snr : white matter's magnitude at full recovery over the noise SD of one channel; inf for no noise
    phantom_snr : the same noise measure in phantom images, which are averaged for longer
    motion_mm, motion_deg : largest shift and turn of the head between inversion times, per axis
    placement_mm, placement_deg : SD of the head's and phantom's placement per session, per axis
    b1_spread : relative depth of the transmit field's dome (peak to edge)
    coil_spread : relative depth of the receive sensitivity
    inversion_efficiency, refocusing_angle : range from which each site's value is drawn [1], [deg]
    subject_spread : between-subject relative SD of each tissue's T1, T2 and proton density
    visit_spread : relative SD of one volunteer's T1 and of T2 from visit to visit
    tissue_variation : relative SD of the smooth variation inside a tissue
    warp_mm : RMS of the smooth warp that makes a volunteer of the template, per axis
    reference_errors : vials differ from the reference within its uncertainty
    suspect_error : and those whose solution is suspect by this much more, relative
    gradient_errors : largest relative error of a site's b-values
    temperature_stderr : SD of the true temperature about the site's log [degC]
    """

    seed: int = 20260101
    sites: int = 4
    participants: int = 5
    sessions: int = 2
    first_session_runs: int = 2
    later_session_runs: int = 1
    arms: tuple[str, ...] = ()
    phantoms_only: bool = False
    bad_things: bool = True
    spike: bool = True

    ruler_errors: float = 0.08
    snr: float = 90.0
    phantom_snr: float = 200.0
    motion_mm: float = 0.8
    motion_deg: float = 0.8
    placement_mm: float = 2.5
    placement_deg: float = 2.5
    b1_spread: float = 0.2
    coil_spread: float = 0.3
    inversion_efficiency: tuple[float, float] = (0.90, 0.97)
    refocusing_angle: tuple[float, float] = (150.0, 165.0)
    subject_spread: float = 0.03
    visit_spread: float = 0.004
    tissue_variation: float = 0.01
    warp_mm: float = 2.0
    reference_errors: bool = True
    suspect_error: float = 0.12
    temperature_stderr: float = 0.3
    gradient_errors: float = 0.01

    head_matrix: tuple[int, int, int] = (48, 56, 12)
    head_voxel: tuple[float, float, float] = (4.0, 4.0, 6.0)
    phantom_matrix: int = 128
    phantom_pixel: float = 1.953125
    phantom_thickness: float = 6.0
    inversion_times: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0)
    inversion_repetition_time: float = 5.0
    inversion_echo_time: float = 0.007
    echo_spacing: float = 0.010
    echoes: int = 16
    echo_repetition_time: float = 4.0
    b_values: tuple[float, ...] = (0.0, 300.0, 600.0, 1000.0)
    diffusion_repetition_time: float = 5.0
    diffusion_echo_time: float = 0.080
    heart_matrix: tuple[int, int, int] = (72, 72, 3)
    heart_voxel: tuple[float, float, float] = (3.0, 3.0, 8.0)
    thigh_matrix: tuple[int, int, int] = (64, 64, 4)
    thigh_voxel: tuple[float, float, float] = (3.0, 3.0, 6.0)
    fat_echo_spacing: float = 0.0012
    fat_echoes: int = 6
    field_range: float = 60.0

    def __post_init__(self):
        for name, least in (("sites", 1), ("participants", 0), ("sessions", 1), ("first_session_runs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    explain(f"simulate: {name} is too small", expected=f"{least} or more", found=getattr(self, name))
                )
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown:
            raise ConfigError(explain("simulate: unknown arm", expected=", ".join(ARMS), found=", ".join(unknown)))
        if not 0 <= self.ruler_errors < 0.5:
            raise ConfigError(explain("simulate: ruler_errors", expected="0 to 0.5", found=self.ruler_errors))
        for name in ("snr", "phantom_snr"):
            if not getattr(self, name) > 0:
                raise ConfigError(explain(f"simulate: {name}", expected="above 0", found=getattr(self, name)))

    def runs(self, session: int) -> int:
        """How many runs a volunteer has in a session (counted from 1)."""
        return self.first_session_runs if session == 1 else self.later_session_runs

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The series of a volunteer's run, in the order of scanning."""
        return (*CORE, *(suffix for biomarker, suffix in ARMS.items() if biomarker in self.arms))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for the truth's folder."""
        return asdict(self)


def read_settings(**fields: Any) -> SimulationSettings:
    """Settings from plain values (lists become tuples); an unknown field raises ConfigError."""
    unknown = sorted(set(fields) - set(SimulationSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(SimulationSettings.__dataclass_fields__)
        raise ConfigError(explain(f"simulate: unknown option {', '.join(unknown)}", expected=known))
    return SimulationSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
