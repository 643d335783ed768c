"""A scanner that is not ideal: from tissue or vials to the magnitudes of one series.

The signal is the forward model's. What a real machine adds: times that are not the nominal ones, an imperfect
inversion, refocusing below 180 degrees under an uneven transmit field, an uneven receive field, a head that moves,
noise in two channels whose magnitude is taken, and now and then a spike.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from isocenter.phantom.library import Phantom
from isocenter.simulation.body import build_scene
from isocenter.simulation.design import Acquisition
from isocenter.simulation.head import Head, pure_voxels, sample_head, true_diffusion, true_regions
from isocenter.simulation.phantom_scene import VialTruth, build_plate, draw_vials
from isocenter.simulation.seeds import stream
from isocenter.simulation.settings import SimulationSettings
from isocenter.simulation.signals import diffusion, fat_and_water, inversion_recovery, look_locker, multi_echo
from isocenter.simulation.techniques import TECHNIQUES

#: Signals are in units of pure water's magnetization; white matter at full recovery gives this much.
WHITE_MATTER_SIGNAL = 0.7
#: Height of a spike's stripes relative to white matter, and its place in k-space [cycles over the matrix].
SPIKE_HEIGHT, SPIKE_PLACE = 0.6, (9, 5)
#: A vendor's map carries this many seconds per stored unit.
DERIVED_STEP = 0.001
#: Radius over which transmit and receive fields fall off [mm].
FIELD_RADIUS = 110.0
#: Below this proton density a voxel is air [1].
AIR = 0.01
#: The readout of the heart: flip angle [rad], spacing of its pulses and echo time [s], first times of its two sets [s].
HEART_FLIP_ANGLE, HEART_PULSE_SPACING, HEART_ECHO_TIME = np.deg2rad(4.0), 0.005, 0.002
HEART_FIRST_TIMES = (0.12, 0.20)


@dataclass(frozen=True)
class SimulatedSeries:
    """One series as the scanner would hand it over, and what was true.

    data : (columns, rows, slices, n) float32 array [water's magnetization = 1]
    phase : the same shape [rad], None where only magnitudes are handed over
    position, columns, rows, slices : (3,) arrays, LPS millimeters: the first voxel's center and the steps to the
        next column, row and slice
    thickness : [mm]; times : (n,) array, what varies: nominal inversion or echo times [s], b-values [s/mm2]
    roi_truth : (roi, biomarker, value); vial_truth : of the plate, when it is a phantom
    drawn : region → (columns, rows, slices) booleans that the site's reader outlined
    """

    data: np.ndarray
    position: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    slices: np.ndarray
    thickness: float
    times: np.ndarray
    repetition_time: float
    echo_time: float
    flip_angle: float
    roi_truth: list[tuple[str, str, float]]
    vial_truth: list[VialTruth]
    phase: np.ndarray | None = None
    drawn: dict[str, np.ndarray] = field(default_factory=dict)


def simulate_head(plan: Acquisition, head: Head, settings: SimulationSettings) -> SimulatedSeries:
    """One series of a head: inversion recovery, multi-echo spin echo, trace images, or the vendor's own T1 map."""
    shape, lps = settings.head_matrix, _grid(settings.head_matrix, settings.head_voxel)
    ras = lps * [-1, -1, 1]
    turn, shift = _place_head(plan, settings)
    visit = stream(settings.seed, "visit", plan.participant, plan.site.name, plan.session)
    factors = 1 / (1 + settings.visit_spread * visit.standard_normal(2))

    still = sample_head(head, ras, rotation(turn), shift)
    still[4:] *= factors.reshape(2, 1, 1, 1)
    if plan.suffix == "dwi":
        return _simulate_diffusion(plan, still, lps, settings)
    regions = true_regions(still)
    biomarker = "T2" if plan.suffix == "MESE" else "T1"
    truth = [(roi, biomarker, values[biomarker]) for roi, values in regions.items()]
    if plan.is_derived:
        inside = still[3] > 0.3
        data = np.where(inside, 1 / np.where(inside, still[4], 1) / DERIVED_STEP, 0)[..., np.newaxis]
        times, truth = np.array([0.0]), []
    elif plan.suffix == "IRT1":
        times = np.array(settings.inversion_times)
        data = np.empty((*shape, times.size))
        motion = stream(settings.seed, "motion", *plan.key)
        for index in range(times.size):
            # The head lies still in the first volume, moves about that place in the others.
            move = motion.uniform(-1, 1, (2, 3)) * [[settings.motion_deg], [settings.motion_mm]] * (index > 0)
            density, r1 = still[3:5]
            if move.any():
                density, r1, _ = sample_head(head, ras, rotation(turn + move[0]), shift + move[1], first=3)
                r1 = r1 * factors[0]
            data[..., index] = _inversion(plan, density, r1, times, settings)[..., index]
    else:
        times = settings.echo_spacing * (1 + np.arange(settings.echoes))
        data = _echoes(plan, still[3], still[5], still[4], times, lps, settings)
    if not plan.is_derived:
        data = _receive(plan, data, lps, settings)
    return _series(plan, settings, data, times, lps, settings.head_voxel[2], truth, [])


def _simulate_diffusion(plan, sampled, lps, settings) -> SimulatedSeries:
    """Trace images of a head: every tissue diffuses with a coefficient of the person's own."""
    adc = true_diffusion(sampled, plan.participant, settings)
    visit = stream(settings.seed, "visit", plan.participant, plan.site.name, plan.session, plan.suffix)
    adc = adc / (1 + settings.visit_spread * visit.standard_normal())
    b_values = np.array(settings.b_values)
    filled = sampled[3] > AIR
    data = np.zeros((*adc.shape, b_values.size))
    amplitude = sampled[3][filled] * np.exp(-settings.diffusion_echo_time * sampled[5][filled])
    data[filled] = diffusion(amplitude, adc[filled], b_values * (1 + plan.site.ruler_errors["ADC"]))
    truth = [(roi, "ADC", float(np.median(adc[pure]))) for roi, pure in pure_voxels(sampled).items()]
    data = _receive(plan, data, lps, settings)
    return _series(plan, settings, data, b_values, lps, settings.head_voxel[2], truth, [])


def simulate_body(plan: Acquisition, settings: SimulationSettings) -> SimulatedSeries:
    """One series of an organ outside the head: MOLLI of the heart, multi-echo gradient echo of the thigh."""
    is_heart = plan.suffix == "MOLLI"
    shape, voxel = (
        (settings.heart_matrix, settings.heart_voxel) if is_heart else (settings.thigh_matrix, settings.thigh_voxel)
    )
    lps = _grid(shape, voxel)
    scene = build_scene(plan, lps, settings)
    truth = [
        (roi, TECHNIQUES[plan.suffix].biomarker, float(np.median(value[pure])))
        for roi, (value, pure) in scene.truth.items()
    ]
    phase = None
    if is_heart:
        times = _heart_times(plan, settings)
        filled = scene.maps["density"] > AIR
        data = np.zeros((*shape, times.size))
        data[filled] = look_locker(
            scene.maps["density"][filled], 1 / scene.maps["R1"][filled], times, HEART_FLIP_ANGLE, HEART_PULSE_SPACING
        )
        data = _receive(plan, data, lps, settings)
    else:
        times = settings.fat_echo_spacing * (1 + np.arange(settings.fat_echoes))
        inside = lps / FIELD_RADIUS
        tilt = stream(settings.seed, "field", *plan.key[:3]).uniform(-1, 1, 3)
        offset = settings.field_range * (0.6 * inside @ tilt + 0.4 * (inside**2).sum(axis=-1))
        filled = scene.maps["water"] + scene.maps["fat"] > AIR
        signal = np.zeros((*shape, times.size), complex)
        signal[filled] = fat_and_water(
            *(scene.maps[name][filled] for name in ("water", "fat", "R2star")),
            offset[filled],
            times,
            plan.site.imaging_frequency,
        )
        data, phase = _receive_complex(plan, signal, lps, settings)
    series = _series(plan, settings, data, times, lps, voxel[2], truth, [])
    return replace(series, phase=phase, drawn=scene.drawn)


def _heart_times(plan: Acquisition, settings: SimulationSettings) -> np.ndarray:
    """The inversion times [s] of a 5(3)3 scheme at this visit's heart rate, ascending."""
    rng = stream(settings.seed, "heartbeat", *plan.key)
    beats = np.cumsum(rng.normal(0.95, 0.03, 8).clip(0.8, 1.1))
    first = HEART_FIRST_TIMES[0] + beats[:5] - beats[0]
    second = HEART_FIRST_TIMES[1] + beats[5:] - beats[5]
    return np.round(np.sort([*first, *second]), 4)


def _grid(shape, voxel) -> np.ndarray:
    """The centers of the voxels about the isocenter, (x, y, z, 3) array [mm, LPS]."""
    steps = [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel, strict=True)]
    return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)


def simulate_phantom(plan: Acquisition, phantom: Phantom, settings: SimulationSettings) -> SimulatedSeries:
    """One series of the phantom: one coronal slice through the plate made for the series' biomarker."""
    biomarker = "T1" if plan.suffix == "IRT1" else "T2"
    vials = draw_vials(phantom, plan.site, plan.session, biomarker, settings)
    rng = stream(settings.seed, "placement", plan.site.name, plan.participant, plan.session)
    draws = rng.standard_normal(5).clip(-2, 2)
    angle, tilt = settings.placement_deg * draws[0], 0.2 * settings.placement_deg * draws[1]
    shift = settings.placement_mm * draws[2:] * [1, 1, 0.3]
    share, t1, t2 = (a[:, :, np.newaxis] for a in build_plate(phantom, vials, biomarker, settings, angle, shift, tilt))
    n, step = settings.phantom_matrix, settings.phantom_pixel
    fine = (np.arange(n) - (n - 1) / 2) * step
    # A coronal slice: columns to the patient's left, rows to the feet; the plates stand along anterior-posterior.
    depth = phantom.geometry(biomarker).centers[0, 2]
    x, z = np.meshgrid(fine, -fine, indexing="ij")
    lps = np.stack([x, depth + np.tan(np.deg2rad(tilt)) * z, z], axis=-1)[:, :, np.newaxis, :]
    if plan.suffix == "IRT1":
        times = np.array(settings.inversion_times)
        data = _inversion(plan, share, 1 / t1, times, settings)
    else:
        times = settings.echo_spacing * (1 + np.arange(settings.echoes))
        data = _echoes(plan, share, 1 / t2, 1 / t1, times, lps, settings)
    data = _receive(plan, data, lps, settings)
    return _series(plan, settings, data, times, lps, settings.phantom_thickness, [], vials)


def rotation(degrees: np.ndarray) -> np.ndarray:
    """(3, 3) rotation matrix from turns about x, y and z [deg], applied in that order."""
    cx, cy, cz = np.cos(np.deg2rad(degrees))
    sx, sy, sz = np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _place_head(plan: Acquisition, settings: SimulationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Turns [deg] and shift [mm] of the head in one series: a placement per session, less per run and series."""
    total = np.zeros((2, 3))
    for share, key in ((1.0, ()), (0.5, (plan.run,)), (0.1, (plan.run, plan.suffix))):
        rng = stream(settings.seed, "placement", plan.site.name, plan.participant, plan.session, *key)
        total += share * rng.standard_normal((2, 3)).clip(-2, 2)
    return settings.placement_deg * total[0], settings.placement_mm * total[1]


def _inversion(plan, amplitude, r1, times, settings) -> np.ndarray:
    """(..., n) magnitudes at the times that this scanner really plays out."""
    stretch = 1 + plan.site.ruler_errors["T1"]
    filled = amplitude > AIR
    signal = np.zeros((*amplitude.shape, times.size))
    signal[filled] = inversion_recovery(
        amplitude[filled],
        1 / r1[filled],
        times * stretch,
        settings.inversion_repetition_time * stretch,
        plan.site.inversion_efficiency,
    )
    return signal


def _echoes(plan, amplitude, r2, r1, times, lps, settings) -> np.ndarray:
    """(..., n) magnitudes of the echoes that this scanner really plays out."""
    stretch = 1 + plan.site.ruler_errors["T2"]
    filled = amplitude > AIR
    signal = np.zeros((*amplitude.shape, times.size))
    radius = np.sqrt((lps[filled] ** 2).sum(axis=-1)) / FIELD_RADIUS
    # The transmit field peaks in the middle: a dome from 1 + depth/3 down; the angle never exceeds 180 degrees.
    b1 = 1 + settings.b1_spread * (1 / 3 - np.minimum(radius, 1.3) ** 2)
    b1 = np.minimum(b1, 180.0 / plan.site.refocusing_angle)
    recovered = 1 - np.exp(-settings.echo_repetition_time * r1[filled])
    signal[filled] = multi_echo(
        amplitude[filled] * recovered,
        1 / r1[filled],
        1 / r2[filled],
        times * stretch,
        plan.site.refocusing_angle,
        b1,
    )
    return signal


def _receive(plan, signal, lps, settings) -> np.ndarray:
    """Coil sensitivity, a spike where the plan has one, noise; the magnitude of the lot."""
    signal = signal * _sensitivity(plan, lps, settings)[..., np.newaxis]
    rng = stream(settings.seed, "noise", *plan.key)
    if plan.has_spike:
        volume = int(rng.integers(1, signal.shape[-1]))
        kx, ky = SPIKE_PLACE
        x, y = (np.arange(n).reshape(s) / n for n, s in zip(signal.shape, ((-1, 1), (1, -1)), strict=False))
        stripes = np.cos(2 * np.pi * (kx * x + ky * y))[..., np.newaxis]
        signal[..., volume] += SPIKE_HEIGHT * WHITE_MATTER_SIGNAL * stripes
    snr = settings.phantom_snr if plan.kind == "phantom" else settings.snr
    if np.isfinite(snr):
        sigma = WHITE_MATTER_SIGNAL / snr
        noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
        signal = np.hypot(signal + noise[0], noise[1])
    return np.abs(signal)


def _receive_complex(plan, signal, lps, settings) -> tuple[np.ndarray, np.ndarray]:
    """Coil sensitivity and noise; magnitude and phase [rad]."""
    signal = signal * _sensitivity(plan, lps, settings)[..., np.newaxis]
    if np.isfinite(settings.snr):
        noise = stream(settings.seed, "noise", *plan.key).standard_normal((2, *signal.shape))
        signal = signal + WHITE_MATTER_SIGNAL / settings.snr * (noise[0] + 1j * noise[1])
    return np.abs(signal), np.angle(signal)


def _sensitivity(plan, lps, settings) -> np.ndarray:
    """The receive coil's, (x, y, z) array [1]."""
    coil = stream(settings.seed, "coil", plan.site.name)
    direction = coil.standard_normal(3)
    direction /= np.linalg.norm(direction)
    inside = lps / FIELD_RADIUS
    sensitivity = 1 + settings.coil_spread * (0.5 * inside @ direction + 0.5 * (inside**2).sum(axis=-1) - 0.3)
    return np.maximum(sensitivity, 0.2)


def _series(plan, settings, data, times, lps, thickness, roi_truth, vial_truth) -> SimulatedSeries:
    first = lps[0, 0, 0]
    slices = lps[0, 0, 1] - first if lps.shape[2] > 1 else np.cross(lps[1, 0, 0] - first, lps[0, 1, 0] - first)
    tr, echo_time, flip = {
        "MESE": (settings.echo_repetition_time, 0.0, 90.0),
        "dwi": (settings.diffusion_repetition_time, settings.diffusion_echo_time, 90.0),
        "MOLLI": (HEART_PULSE_SPACING, HEART_ECHO_TIME, round(float(np.rad2deg(HEART_FLIP_ANGLE)), 3)),
        "MEGRE": (0.010, 0.0, 3.0),
    }.get(plan.suffix, (settings.inversion_repetition_time, settings.inversion_echo_time, 90.0))
    return SimulatedSeries(
        data.astype(np.float32),
        first,
        lps[1, 0, 0] - first,
        lps[0, 1, 0] - first,
        slices,
        thickness,
        times,
        tr,
        echo_time,
        flip,
        roi_truth,
        vial_truth,
    )
