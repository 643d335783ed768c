"""Segments of a left ventricle that is a known cone, in any orientation of the slices."""

import numpy as np
import pytest

from isocenter.errors import ConfigError
from isocenter.regions.erosion import Erosion
from isocenter.regions.heart import ShortAxisSlice, segment_heart
from isocenter.regions.shapes import voxel_centers

SHAPE = (81, 81, 6)
#: Where the anterior insertion lies: 120° from the lateral wall, counterclockwise as seen from the apex.
INSERTION = np.radians(120.0)


def frame(seed=None, *, flipped=False):
    """Affine of 1 × 1 × 8 mm voxels, and the unit vectors lateral, anterior and base-to-apex in RAS."""
    turn = np.eye(3) if seed is None else np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    if np.linalg.det(turn) < 0:
        turn[:, 0] *= -1
    # Patient's left is −x, anterior +y; seen from the feet (the apex lies below) the septum is counterclockwise.
    lateral, anterior, apex = turn @ [-1, 0, 0], turn @ [0, 1, 0], turn @ [0, 0, -1]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = lateral, anterior, 8 * (-apex if flipped else apex)
    affine[:3, 3] = -40 * lateral - 40 * anterior - (8 * 5 * apex * -1 if flipped else 0)
    return affine, lateral, anterior, apex


def contour(center, lateral, anterior, radius, n=60):
    angle = 2 * np.pi * np.arange(n) / n
    return center + radius * (np.cos(angle)[:, None] * lateral + np.sin(angle)[:, None] * anterior)


def draw(levels, affine, lateral, anterior, *, contours=True, inferior=False):
    slices = []
    for k, level in levels.items():
        center = affine[:3, :3] @ [40, 40, k] + affine[:3, 3]
        at = [center + 33 * (np.cos(a) * lateral + np.sin(a) * anterior) for a in (INSERTION, -INSERTION)]
        radii = [r if contours and (r > 22 or level != "apex") else None for r in (22, 33)]
        rings = [None if r is None else contour(center, lateral, anterior, r) for r in radii]
        slices.append(ShortAxisSlice(level, at[0], at[1] if inferior else None, *rings))
    return slices


def true_angle(affine, lateral, anterior):
    """Degrees from the lateral wall, counterclockwise seen from the apex; radius [mm]; of every voxel in its slice."""
    points = voxel_centers(SHAPE, affine) - affine[:3, 3]
    x, y = (points @ v - 40 for v in (lateral, anterior))
    return np.degrees(np.arctan2(y, x)) % 360, np.hypot(x, y)


#: Where each segment begins, in degrees from the lateral wall (Cerqueira 2002, figure 4).
SIX = {
    "anterolateral": 0, "anterior": 60, "anteroseptal": 120, "inferoseptal": 180, "inferior": 240, "inferolateral": 300,
}  # fmt: skip
FOUR = {"anterior": 45, "septal": 135, "inferior": 225, "lateral": 315}


def off_borders(angle, radius):
    """Voxels a little away from every border, where rounding has no say."""
    return (np.abs((angle + 7.5) % 15 - 7.5) > 1.5) & (np.abs(radius - 22) > 1) & (np.abs(radius - 33) > 1)


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("flipped", [False, True], ids=["base first", "apex first"])
def test_seventeen_segments_lie_where_the_heart_association_puts_them(seed, flipped):
    affine, lateral, anterior, _ = frame(seed, flipped=flipped)
    levels = {0: "basal", 1: "basal", 2: "mid", 3: "mid", 4: "apical", 5: "apex"}
    if flipped:
        levels = {5 - k: level for k, level in levels.items()}
    found = segment_heart(draw(levels, affine, lateral, anterior), SHAPE, affine)
    assert len(found) == 1 + 6 + 6 + 4 + 1
    angle, radius = true_angle(affine, lateral, anterior)
    clear, wall = off_borders(angle, radius), (radius > 22) & (radius <= 33)
    for level, names, width in (("basal", SIX, 60), ("mid", SIX, 60), ("apical", FOUR, 90)):
        at = np.isin(np.arange(SHAPE[2]), [k for k, own in levels.items() if own == level])
        for name, start in names.items():
            expected = ((angle - start) % 360 < width) & wall & at
            own = found[f"{level}_{name}"]
            np.testing.assert_array_equal(own & clear, expected & clear, f"{level}_{name}")
    segments = np.sum([region for name, region in found.items() if name != "myocardium"], axis=0)
    assert segments.max() == 1
    np.testing.assert_array_equal(segments.astype(bool), found["myocardium"])


def test_the_ring_of_a_mask_is_divided_alike():
    affine, lateral, anterior, _ = frame(3)
    levels = {1: "basal", 4: "apical"}
    drawn = segment_heart(draw(levels, affine, lateral, anterior), SHAPE, affine)
    slices = draw(levels, affine, lateral, anterior, contours=False)
    sent = segment_heart(slices, SHAPE, affine, mask=drawn["myocardium"])
    clear = off_borders(*true_angle(affine, lateral, anterior))
    for name, region in drawn.items():
        np.testing.assert_array_equal(region & clear, sent[name] & clear, name)


def test_one_level_needs_the_other_insertion():
    affine, lateral, anterior, _ = frame(4)
    with pytest.raises(ConfigError, match="side of the insertion"):
        segment_heart(draw({2: "mid"}, affine, lateral, anterior), SHAPE, affine)
    found = segment_heart(draw({2: "mid"}, affine, lateral, anterior, inferior=True), SHAPE, affine)
    both = segment_heart(draw({2: "mid", 4: "apical"}, affine, lateral, anterior), SHAPE, affine)
    for name in SIX:
        np.testing.assert_array_equal(found[f"mid_{name}"], both[f"mid_{name}"])


@pytest.mark.parametrize("way", ["corners crowded", "wall of uneven thickness", "cavity drawn alone by the mask"])
def test_segments_go_around_the_cavity_however_it_was_drawn(way):
    """Corners crowd where somebody clicked often; a thick septum draws the mean of the wall toward itself."""
    affine, lateral, anterior, _ = frame(5)
    levels = {1: "basal", 3: "mid"}
    even = segment_heart(draw(levels, affine, lateral, anterior), SHAPE, affine)
    slices, mask = draw(levels, affine, lateral, anterior, contours=way == "corners crowded"), None
    angle, radius = true_angle(affine, lateral, anterior)
    if way == "corners crowded":
        turn = np.concatenate([np.linspace(0, 60, 200), np.arange(65, 360, 5)])  # degrees
        for k, one in enumerate(slices):
            center = affine[:3, :3] @ [40, 40, list(levels)[k]] + affine[:3, 3]
            ring = np.cos(np.radians(turn))[:, None] * lateral + np.sin(np.radians(turn))[:, None] * anterior
            slices[k] = ShortAxisSlice(one.level, one.anterior_insertion, None, center + 22 * ring, center + 33 * ring)
    else:
        thick = 33 if way.startswith("cavity") else 33 + 12 * ((angle > 120) & (angle < 240))  # the septum
        mask = (radius > 22) & (radius <= thick) & np.isin(np.arange(SHAPE[2]), list(levels))
    found = segment_heart(slices, SHAPE, affine, mask=mask)
    clear = off_borders(angle, radius) & (radius < 33)
    for name, region in even.items():
        np.testing.assert_array_equal(found[name] & clear, region & clear, name)


def test_the_rim_is_taken_off_the_ring_and_not_off_its_segments():
    affine, lateral, anterior, _ = frame()
    slices = draw({1: "basal", 3: "mid"}, affine, lateral, anterior)
    whole = segment_heart(slices, SHAPE, affine)
    eroded = segment_heart(slices, SHAPE, affine, erosion=Erosion(mm=3.0))
    _, radius = true_angle(affine, lateral, anterior)
    kept = radius[eroded["myocardium"]]
    assert (kept.min(), kept.max()) == pytest.approx((25.0, 30.0), abs=1.0)
    for name in SIX:  # all six still meet: the sum of the parts is the eroded ring
        share = eroded[f"mid_{name}"].sum() / whole[f"mid_{name}"].sum()
        assert share == pytest.approx((30**2 - 25**2) / (33**2 - 22**2), abs=0.05)


@pytest.mark.parametrize(
    ("levels", "words"),
    [({9: "basal", 1: "mid"}, "outside the series"), ({1.0: "basal", 1.3: "mid"}, "one slice of the series")],
)
def test_a_slice_that_has_no_place_is_refused(levels, words):
    affine, lateral, anterior, _ = frame()
    with pytest.raises(ConfigError, match=words):
        segment_heart(draw(levels, affine, lateral, anterior), SHAPE, affine)


def test_a_slice_without_contours_or_mask_is_refused():
    affine, lateral, anterior, _ = frame()
    with pytest.raises(ConfigError, match="no myocardium"):
        segment_heart(draw({1: "basal", 3: "mid"}, affine, lateral, anterior, contours=False), SHAPE, affine)
