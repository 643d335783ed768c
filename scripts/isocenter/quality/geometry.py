"""Whether the series of one run show the same slices: only then does a region mean the same tissue in both."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from isocenter.quality.acquisition import Acquisition, Grid
from isocenter.quality.check import Check, make_check
from isocenter.quality.consoles import choose_remedy
from isocenter.quality.protocol import console_of


def check_geometry(
    acquisitions: list[Acquisition], rules: list[dict[str, Any]], consoles: Sequence[dict[str, Any]] = ()
) -> list[Check]:
    """Every series that a rule names against the first of them that the run holds: slices, voxels, place.

    rules : ``geometry`` of the protocol; an acquisition whose image cannot be read is left to the other checks
    """
    runs: dict[str, dict[str, Acquisition]] = {}
    for one in acquisitions:
        if one.grid is not None:
            runs.setdefault(one.run_scope, {})[one.suffix] = one
    checks = []
    for scope, held in sorted(runs.items()):
        for rule in rules:
            stacks = [held[suffix] for suffix in rule["series"] if suffix in held]
            wanted = [one for one in stacks if one.kind in rule["kinds"]]
            checks += [_check_pair(scope, wanted[0], other, rule, consoles) for other in wanted[1:]]
    return checks


def _check_pair(
    scope: str, first: Acquisition, other: Acquisition, rule: dict[str, Any], consoles: Sequence[dict[str, Any]]
) -> Check:
    differences = compare_grids(first.grid, other.grid, rule)
    console = console_of(other, consoles)
    return make_check(
        not differences,
        severity=rule["severity"],
        id=rule["id"],
        group="geometry",
        scope=f"{scope} {first.suffix} and {other.suffix}",
        parameter="slice position and voxel size",
        expected=f"as in {first.suffix}: within {rule['position']:g} mm, {rule['angle']:g} degrees and "
        f"{rule['voxel']:g} % of the voxel",
        found="; ".join(differences) or "the same",
        remedy=console.word(choose_remedy(rule, console), other.first),
        tolerance=rule["position"],
        unit="mm",
    )


def compare_grids(first: Grid, other: Grid, limits: dict[str, float]) -> list[str]:
    """How two stacks of slices differ, in words; empty when they are the same within the limits.

    limits : ``position`` [mm], ``angle`` [deg], ``voxel`` [percent]
    """
    differences = []
    if first.shape[2] != other.shape[2]:
        differences.append(f"{other.shape[2]} slices instead of {first.shape[2]}")
    edges = zip(("columns", "rows", "slices"), first.voxel, other.voxel, strict=True)
    unlike = [f"{b:.3g} mm instead of {a:.3g} mm along {name}" for name, a, b in edges if _is_off(a, b, limits)]
    differences += unlike
    angle = measure_turn(first, other)
    if not angle <= limits["angle"]:
        differences.append(f"turned by {angle:.2g} degrees")
    distance = float(np.linalg.norm(first.center - other.center))
    if not distance <= limits["position"]:
        differences.append(f"centers {distance:.3g} mm apart")
    return differences


def _is_off(a: float, b: float, limits: dict[str, float]) -> bool:
    return not abs(b - a) <= limits["voxel"] / 100 * a


def measure_turn(first: Grid, other: Grid) -> float:
    """The largest angle between corresponding axes [deg]; an axis that runs the other way is the same axis."""
    cosines = np.abs(np.sum(first.axes * other.axes, axis=0))
    return float(math.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))
