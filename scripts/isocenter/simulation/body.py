"""Organs outside the head, drawn on the scanner's grid: a heart in short axis and a thigh, from a few curves.

Literature at 3 T: native T1 and T2 of myocardium from von Knobelsdorff-Brenkenhoff 2013 (doi 10.1186/1532-429X-15-53),
T1 of blood from Lu 2004 (doi 10.1002/mrm.20178). Muscle holds 2 to 12 % of fat here, the range of healthy to mildly
infiltrated thighs. Inside a voxel R1, R2* and the amounts of water and fat mix by volume, as in the head.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.simulation.design import Acquisition
from isocenter.simulation.seeds import stream
from isocenter.simulation.settings import SimulationSettings

#: Points per voxel along each axis in plane.
SUBSAMPLES = 4
#: A voxel counts for a region's truth when it holds more than this fraction of the tissue.
PURE = 0.99

#: T1 [s] and proton density relative to water [1] of what a short axis shows.
HEART = {"myocardium": (1.16, 0.80), "blood": (1.66, 0.95), "chest": (1.30, 0.75), "lung": (1.20, 0.12)}
#: Fat fraction [1], R2* [1/s] and proton density relative to water [1] of what a thigh shows.
THIGH = {"muscle": (0.06, 30.0, 0.80), "fat": (0.92, 40.0, 0.90), "marrow": (0.85, 60.0, 0.85)}
#: Range of a volunteer's muscle fat fraction [1].
MUSCLE_FAT = (0.02, 0.12)
#: Radii [mm]: inner and outer wall of the left ventricle, outer wall of the right; the thigh's layers from outside in.
VENTRICLE, RIGHT_VENTRICLE, CHEST = (22.0, 33.0), 26.0, (95.0, 75.0)
THIGH_LAYERS = {"fat": 82.0, "muscle": 66.0, "bone": 15.0, "marrow": 10.0}
#: What a reader leaves out at either border of an organ [mm], and the SD of where the reader's center lies [mm].
MARGIN, READER_ERROR = 2.5, 0.6


@dataclass(frozen=True)
class Scene:
    """An organ on the scanner's grid, arrays (x, y, z).

    maps : what the signal needs, by name: ``density``, ``R1`` [1/s] of the heart; ``water``, ``fat`` [1], ``R2star``
        [1/s] of the thigh
    truth : region → (true value map, voxels that are purely the region)
    drawn : region → the voxels that the site's reader outlined
    """

    maps: dict[str, np.ndarray]
    truth: dict[str, tuple[np.ndarray, np.ndarray]]
    drawn: dict[str, np.ndarray]


def build_scene(plan: Acquisition, lps: np.ndarray, settings: SimulationSettings) -> Scene:
    """The organ of a series, placed anew in each session. lps : (x, y, z, 3) array [mm], the voxels' centers."""
    rng = stream(settings.seed, "placement", plan.site.name, plan.participant, plan.session, plan.suffix)
    center = settings.placement_mm * rng.standard_normal(2).clip(-2, 2)
    step = np.abs([lps[1, 0, 0, 0] - lps[0, 0, 0, 0], lps[0, 1, 0, 1] - lps[0, 0, 0, 1]])
    inside = (np.arange(SUBSAMPLES) - (SUBSAMPLES - 1) / 2) / SUBSAMPLES
    offsets = np.stack(np.meshgrid(inside * step[0], inside * step[1], indexing="ij"), axis=-1).reshape(-1, 2)
    points = lps[:, :, 0, np.newaxis, :2] - center + offsets  # every slice shows the same cut
    reader = stream(settings.seed, "reader", *plan.key).standard_normal(2) * READER_ERROR
    build = _build_heart if plan.suffix == "MOLLI" else _build_thigh
    scene = build(plan, points, lps[:, :, 0, :2] - center - reader, settings)
    depth = lps.shape[2]

    def fill(plane: np.ndarray) -> np.ndarray:
        return np.repeat(plane[:, :, np.newaxis], depth, axis=2)

    return Scene(
        {name: fill(plane) for name, plane in scene.maps.items()},
        {name: (fill(value), fill(pure)) for name, (value, pure) in scene.truth.items()},
        {name: fill(plane) for name, plane in scene.drawn.items()},
    )


def _build_heart(plan, points, centers, settings) -> Scene:
    radius = np.hypot(points[..., 0], points[..., 1])
    beside = np.hypot(points[..., 0] + 34.0, points[..., 1])
    is_inside = {
        "blood": (radius < VENTRICLE[0]) | ((beside < RIGHT_VENTRICLE) & (radius > VENTRICLE[1])),
        "myocardium": (radius >= VENTRICLE[0]) & (radius <= VENTRICLE[1]),
    }
    is_lung = (np.abs(points[..., 0]) / CHEST[0]) ** 2 + (np.abs(points[..., 1]) / CHEST[1]) ** 2 < 0.72
    is_chest = (np.abs(points[..., 0]) / CHEST[0]) ** 2 + (np.abs(points[..., 1]) / CHEST[1]) ** 2 < 1
    taken = is_inside["blood"] | is_inside["myocardium"]
    is_inside["lung"] = is_lung & ~taken
    is_inside["chest"] = is_chest & ~is_lung & ~taken
    fractions = {name: mask.mean(axis=-1) for name, mask in is_inside.items()}
    times = {name: t1 * _person(plan, name, settings) for name, (t1, _) in HEART.items()}
    times = {name: t1 * (1 + settings.visit_spread * _visit(plan, settings)) for name, t1 in times.items()}
    total = np.maximum(sum(fractions.values()), 1e-6)
    r1 = sum(fractions[name] / times[name] for name in HEART) / total
    r1 = r1 / (1 + settings.tissue_variation * np.sin(np.arctan2(centers[..., 1], centers[..., 0])))
    density = sum(fractions[name] * HEART[name][1] for name in HEART)
    drawn = np.hypot(centers[..., 0], centers[..., 1])
    ring = (drawn > VENTRICLE[0] + MARGIN) & (drawn < VENTRICLE[1] - MARGIN)
    return Scene(
        {"density": density, "R1": r1},
        {"myocardium": (1 / np.maximum(r1, 1e-6), fractions["myocardium"] > PURE)},
        {"myocardium": ring},
    )


def _build_thigh(plan, points, centers, settings) -> Scene:
    radius = np.hypot(points[..., 0], points[..., 1])
    shells = {
        "marrow": radius < THIGH_LAYERS["marrow"],
        "muscle": (radius >= THIGH_LAYERS["bone"]) & (radius < THIGH_LAYERS["muscle"]),
        "fat": (radius >= THIGH_LAYERS["muscle"]) & (radius < THIGH_LAYERS["fat"]),
    }  # between marrow and muscle lies cortical bone, which gives no signal
    fractions = {name: mask.mean(axis=-1) for name, mask in shells.items()}
    muscle_fat = stream(settings.seed, "fat", plan.participant).uniform(*MUSCLE_FAT)
    muscle_fat = muscle_fat * (1 + settings.visit_spread * _visit(plan, settings))
    # Fat in muscle grows towards the back, smoothly.
    local = muscle_fat * (1 + 10 * settings.tissue_variation * centers[..., 1] / THIGH_LAYERS["muscle"])
    shares = {name: np.full_like(local, THIGH[name][0]) for name in THIGH} | {"muscle": local}
    amounts = {name: fractions[name] * THIGH[name][2] for name in THIGH}
    fat = sum(amounts[name] * shares[name] for name in THIGH)
    water = sum(amounts[name] * (1 - shares[name]) for name in THIGH)
    total = np.maximum(sum(fractions.values()), 1e-6)
    decay = sum(fractions[name] * THIGH[name][1] for name in THIGH) / total
    drawn = np.hypot(centers[..., 0], centers[..., 1])
    ring = (drawn > THIGH_LAYERS["bone"] + MARGIN) & (drawn < THIGH_LAYERS["muscle"] - MARGIN)
    percent = 100 * fat / np.maximum(fat + water, 1e-6)
    return Scene(
        {"water": water, "fat": fat, "R2star": decay},
        {"thigh_muscle": (percent, fractions["muscle"] > PURE)},
        {"thigh_muscle": ring},
    )


def _person(plan: Acquisition, tissue: str, settings: SimulationSettings) -> float:
    draw = stream(settings.seed, "organ", plan.participant, tissue).standard_normal()
    return float(np.exp(settings.subject_spread * np.clip(draw, -2.5, 2.5)))


def _visit(plan: Acquisition, settings: SimulationSettings) -> float:
    return float(
        stream(settings.seed, "visit", plan.participant, plan.site.name, plan.session, plan.suffix).standard_normal()
    )
