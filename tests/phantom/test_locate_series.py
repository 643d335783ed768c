"""Vials in the real quantitative series: single slices, a stack of thin slices, and tubes in echo-planar images."""

import io
import tarfile
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import yaml
from phantom.conftest import ROOT
from phantom.moving import add_noise, move_plane, move_volume, read_geometry_scan, shade
from phantom.test_session_a import affine_of, crude_map, published_centers, series_of

from isocenter.entities import Flag
from isocenter.errors import CalibrationError
from isocenter.phantom.library import Geometry, VialReference, load_phantom
from isocenter.phantom.locate import locate_vials
from isocenter.phantom.locate_phantom import locate_phantom
from isocenter.volume import ParameterMap, Series

DIFFUSION = ROOT / ".." / "shared" / "data" / "diffusion_phantom"
MODELS = {
    "T1": (range(8, 18), "InversionTime", "t1_inversion_recovery"),
    "T2": ([18], "EchoTime", "t2_multi_echo"),
}


def read_archive(path, numbers):
    """Data sets by series number."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.isfile():
                continue
            try:
                dataset = pydicom.dcmread(io.BytesIO(archive.extractfile(member).read()))
            except pydicom.errors.InvalidDicomError:
                continue
            if int(dataset.SeriesNumber) in numbers:
                found.setdefault(int(dataset.SeriesNumber), []).append(dataset)
    return found


def stack_of(datasets):
    """(x, y, z) data and affine of a stack of slices."""
    normal = np.cross(*np.reshape(np.array(datasets[0].ImageOrientationPatient, dtype=float), (2, 3)))
    place = {id(d): float(np.dot(normal, np.array(d.ImagePositionPatient, dtype=float))) for d in datasets}
    datasets = sorted(datasets, key=lambda d: place[id(d)])
    first, last = (np.array(d.ImagePositionPatient, dtype=float) for d in (datasets[0], datasets[-1]))
    affine = affine_of(datasets[0])
    affine[:3, 2] = np.diag([-1.0, -1.0, 1.0]) @ (last - first) / (len(datasets) - 1)
    return np.stack([d.pixel_array.T for d in datasets], axis=-1).astype(np.float32), affine


def as_map(value, affine, unit):
    flag = np.where(np.isfinite(value) & (value > 0), Flag.OK, Flag.NO_SIGNAL).astype(np.uint8)
    value = np.where(flag == Flag.OK, value, np.nan).astype(np.float32)
    return ParameterMap(value, 0.01 * value, flag, affine, unit)


@pytest.fixture(scope="module")
def headers(nist_data):
    return read_archive(nist_data / "session_a_dicom.tar.gz", set(range(8, 26)) - {19})


@pytest.fixture(scope="module")
def scan(nist_data):
    return read_geometry_scan(nist_data)


@pytest.fixture(scope="module")
def pose(nist, scan):
    return locate_phantom(scan, nist)


@pytest.fixture(scope="module")
def truth(nist_data):
    geometry = read_archive(nist_data / "session_a_geometry_dicom.tar.gz", {2})
    return {b: published_centers(nist_data, geometry, b) for b in MODELS}


@pytest.fixture(scope="module")
def session(nist, headers):
    """Biomarker to series, map, geometry, reference and the vials as found."""
    known = {}
    for biomarker, (numbers, key, model) in MODELS.items():
        series = series_of([d for number in numbers for d in headers[number]], key)
        what = (series, crude_map(series, model, biomarker), nist.geometry(biomarker),
                nist.reference(biomarker, "130-0093", 2.89, 20.0, 0.5))  # fmt: skip
        known[biomarker] = (*what, locate_vials(*what))
    return known


@pytest.fixture(scope="module")
def stack(nist, headers):
    """The 3D variable flip angle series with a T1 map by the straight line through two angles' signals."""
    volumes = [stack_of(headers[n]) for n in range(20, 26)]
    angles = np.radians([float(headers[n][0].FlipAngle) for n in range(20, 26)])
    data = np.stack([v for v, _ in volumes], axis=-1)
    affine = volumes[0][1]
    low, high = data[..., 0], data[..., 2]
    a, b = angles[0], angles[2]
    with np.errstate(all="ignore"):
        e1 = (high / np.sin(b) - low / np.sin(a)) / (high / np.tan(b) - low / np.tan(a))
        t1 = np.where(low > 20, -0.0073 / np.log(e1), np.nan)
    series = Series(data, affine, {"FlipAngle": np.degrees(angles)}, np.full(6, np.inf))
    return series, as_map(t1, affine, "s")


def in_plane(series, centers, other):
    axes = series.affine[:3, :2] / np.linalg.norm(series.affine[:3, :2], axis=0)
    return np.linalg.norm((centers - other) @ axes, axis=1)


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_a_single_slice_needs_no_geometry_scan(session, truth, biomarker):
    *what, found = session[biomarker]
    distance = in_plane(what[0], found.centers, truth[biomarker])
    assert distance.mean() <= 0.8
    assert distance.max() <= 1.5
    assert found.confidence > 0.9
    start = time.process_time()
    locate_vials(*what)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_the_geometry_scan_predicts_the_series(session, truth, pose, biomarker):
    series, fitted, geometry, reference, alone = session[biomarker]
    found = locate_vials(series, fitted, geometry, reference, centers=pose.centers[geometry.array])
    assert in_plane(series, found.centers, truth[biomarker]).mean() <= 0.8
    assert in_plane(series, found.centers, alone.centers).max() < 0.5


def test_values_tell_the_way_round_where_rods_are_unknown(definition, session, scan, pose):
    """A phantom whose definition has neither rods nor an order of brightness: maps of the session decide."""
    geometry = {k: v for k, v in definition["geometry"].items() if k not in ("rods", "brightness")}
    bare = load_phantom(definition | {"geometry": geometry})
    coarse, _ = move_volume(scan, np.eye(3), np.zeros(3), spacing=2.0)
    maps = [(fitted, plate, reference) for _, fitted, plate, reference, _ in session.values()]
    found = locate_phantom(coarse, bare, maps=maps)
    for array in ("NiCl2", "MnCl2"):
        assert np.linalg.norm(found.centers[array] - pose.centers[array], axis=1).max() < 1.5
    assert found.marks["values of NiCl2"][0] > 0.97


def test_a_geometry_scan_that_the_values_contradict_is_refused(session, pose):
    """Half a turn between the scans: the disks lie where they are predicted, the numbers do not."""
    series, fitted, geometry, reference, _ = session["T1"]
    centers = pose.centers["NiCl2"]
    turned = 2 * centers.mean(axis=0) - centers
    with pytest.raises(CalibrationError, match="disagree"):
        locate_vials(series, fitted, geometry, reference, centers=turned)
    with pytest.raises(CalibrationError, match="do not cut the NiCl2 plate"):
        locate_vials(series, fitted, geometry, reference, centers=pose.centers["MnCl2"])


def test_a_stack_of_thin_slices(nist, stack, truth):
    """The stack cuts two plates; the values tell which is which, and centers are sub-voxel across the slices too."""
    series, fitted = stack
    found = locate_vials(series, fitted, nist.geometry("T1"), nist.reference("T1", "130-0093", 2.89, 20.0, 0.5))
    distance = np.linalg.norm(found.centers - truth["T1"], axis=1)
    assert distance.mean() <= 0.9
    assert distance.max() <= 1.8
    assert np.ptp(found.voxels[:, 2]) < 1.0


def test_the_geometry_scan_predicts_the_stack(nist, stack, pose, truth):
    series, fitted = stack
    what = series, fitted, nist.geometry("T1"), nist.reference("T1", "130-0093", 2.89, 20.0, 0.5)
    found = locate_vials(*what, centers=pose.centers["NiCl2"])
    assert np.linalg.norm(found.centers - truth["T1"], axis=1).mean() <= 0.9


def test_the_wrong_plate_in_the_stack_is_refused(nist, stack):
    series, fitted = stack
    upper = slice(22, 32)
    affine = series.affine.copy()
    affine[:3, 3] += 22 * affine[:3, 2]
    only = replace(series, data=series.data[:, :, upper], affine=affine)
    cut = ParameterMap(fitted.value[:, :, upper], fitted.stderr[:, :, upper], fitted.flag[:, :, upper], affine, "s")
    with pytest.raises(CalibrationError, match=r"not those of|ambiguous|not found"):
        locate_vials(only, cut, nist.geometry("T1"), nist.reference("T1", "130-0093", 2.89, 20.0, 0.5))


def outcome(what, found, move):
    """The largest error of a vial seen [mm], or None where refused; a wrong number is an error of 30 mm or more."""
    series, _, geometry, _ = what
    try:
        moved = locate_vials(*what)
    except CalibrationError:
        return None
    spacing = np.sqrt((series.affine[:3, :2] ** 2).sum(axis=0))
    assert (moved.vials == geometry.vials).all()
    errors = np.hypot(*((moved.voxels - move(found.voxels))[:, :2] * spacing).T)
    # A vial that is not seen, and says so, lies where the pattern puts it; vials sit up to 2 mm off the pattern.
    assert (errors[~moved.seen] < 2.5).all()
    return float(errors[moved.seen].max())


@pytest.mark.parametrize(("degrees", "mirrored"), [(36.0, False), (180.0, True), (251.0, False)])
def test_a_turned_slice(session, degrees, mirrored):
    series, fitted, geometry, reference, found = session["T1"]
    moved, moved_map, move = move_plane(series, fitted, degrees, (12.0, -9.0), mirrored=mirrored)
    assert outcome((moved, moved_map, geometry, reference), found, move) < 1.5


def test_noise_and_shading(session):
    series, fitted, geometry, reference, found = session["T1"]
    signal = float(np.median(series.data[120:136, 60:70]))
    noisy = add_noise(shade(series.data, 0, 3.0), 5.0, 1, signal=signal / 1.7)
    assert outcome((replace(series, data=noisy), fitted, geometry, reference), found, lambda v: v) < 1.5


def hide(series, fitted, voxels, diameter):
    """The vials at some voxels replaced by what is around them, with no value."""
    data, flag, value = series.data.copy(), fitted.flag.copy(), fitted.value.copy()
    spacing = np.sqrt((series.affine[:3, :2] ** 2).sum(axis=0))
    i, j = np.ogrid[: data.shape[0], : data.shape[1]]
    for voxel in voxels:
        r = np.hypot((i - voxel[0]) * spacing[0], (j - voxel[1]) * spacing[1])
        ring = (r > diameter / 2 + 2) & (r < diameter / 2 + 4)
        data[r <= diameter / 2 + 2] = np.median(data[ring], axis=0)
        flag[r <= diameter / 2 + 2] = Flag.NO_SIGNAL
        value[r <= diameter / 2 + 2] = np.nan
    return replace(series, data=data), ParameterMap(value, fitted.stderr, flag, fitted.affine, fitted.unit)


def test_missing_vials_lie_where_the_pattern_puts_them(session):
    series, fitted, geometry, reference, found = session["T1"]
    gone = [1, 5, 11]
    hidden = hide(series, fitted, found.voxels[gone], 20.0)
    again = locate_vials(*hidden, geometry, reference)
    assert not again.seen[gone].any()
    assert again.n_seen == 11
    assert in_plane(series, again.centers, found.centers).max() < 2.5  # vials sit up to 2 mm off the pattern
    with pytest.raises(CalibrationError, match="not found"):
        locate_vials(*hide(series, fitted, found.voxels[::2], 20.0), geometry, reference)


def test_half_a_phantom_in_the_image_is_refused(session):
    series, fitted, geometry, reference, found = session["T1"]
    half = int(found.voxels[:, 0].mean())
    cut = ParameterMap(fitted.value[:half], fitted.stderr[:half], fitted.flag[:half], fitted.affine, "s")
    with pytest.raises(CalibrationError, match="not found"):
        locate_vials(replace(series, data=series.data[:half]), cut, geometry, reference)


def test_an_empty_image_is_refused(session):
    series, fitted, geometry, reference, _ = session["T1"]
    with pytest.raises(CalibrationError, match="not found"):
        locate_vials(replace(series, data=np.zeros_like(series.data)), fitted, geometry, reference)


@pytest.mark.slow
def test_every_rotation_mirror_noise_and_gap(session):
    """10 rotations × 2 mirrors × 2 arrays × 6 ways to spoil the slice: found within 1.5 mm, or refused."""
    rng = np.random.default_rng(0)
    tally = {}
    for biomarker, (series, fitted, geometry, reference, found) in session.items():
        level = float(np.percentile(series.data.mean(axis=-1), 80))
        for turns in range(10):
            for mirrored in (False, True):
                shift = rng.uniform(-1, 1, 2) * 21.0
                for spoil in ("none", "noise 5", "shading 5", "two vials gone", "values 20 %", "values shuffled"):
                    s, m = series, fitted
                    if spoil == "two vials gone":
                        s, m = hide(s, m, found.voxels[rng.choice(14, 2, replace=False)], 20.0)
                    s, m, move = move_plane(s, m, 36.0 * turns + rng.uniform(-5, 5), shift, mirrored=mirrored)
                    if spoil == "noise 5":
                        s = replace(s, data=add_noise(s.data, 5.0, turns, signal=level))
                    if spoil == "shading 5":
                        s = replace(s, data=shade(s.data, turns % 2, 5.0))
                    if spoil.startswith("values"):
                        m = spoil_values(m, move(found.voxels), spoil, rng)
                    error = outcome((s, m, geometry, reference), found, move)
                    tally.setdefault((biomarker, spoil), []).append(np.nan if error is None else error)
    summary = {what: (int(np.isnan(errors).sum()), np.array(errors)) for what, errors in tally.items()}
    for (biomarker, spoil), (refused, errors) in summary.items():
        worst = np.nanmax(errors) if refused < len(errors) else np.nan
        print(f"{biomarker} {spoil}: {len(errors)} slices, {refused} refused, worst {worst:.2f} mm")
    for (_, spoil), (refused, errors) in summary.items():
        assert not (errors > 1.5).any()
        assert refused == 0 or spoil.startswith("values") or spoil == "two vials gone"


def spoil_values(fitted, voxels, spoil, rng):
    """The map with each vial's value off by a random 20 %, or with the vials' values exchanged."""
    value = fitted.value.copy()
    i, j = np.ogrid[: value.shape[0], : value.shape[1]]
    disks = [np.hypot(i - v[0], j - v[1]) < 9 for v in voxels]
    order = rng.permutation(len(disks)) if spoil == "values shuffled" else np.arange(len(disks))
    level = [np.nanmedian(fitted.value[:, :, 0][disk]) for disk in disks]
    for n, disk in enumerate(disks):
        value[:, :, 0][disk] = level[order[n]] * (1.0 if spoil == "values shuffled" else np.exp(0.2 * rng.normal()))
    return ParameterMap(value, fitted.stderr, fitted.flag, fitted.affine, fitted.unit)


# Tubes ---------------------------------------------------------------------------------------------
#: The tubes' places, measured on these images: a grid of 34.3 mm. ADC of water with 0, 0, 10 … 50 % PVP at 0 °C, as
#: the reference tables of phantom 128-0155 have it [mm²/s]; echo-planar images cannot be trusted in the last ones.
PITCH = 34.3
ADC = np.array([1.109, 0.817, 0.579, 0.380, 0.220, 0.110]) * 1e-3


@pytest.fixture(scope="module")
def tubes():
    angle = np.radians(-30.0 - 60.0 * np.arange(6))
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * PITCH
    turned = np.radians(-60.0 - 60.0 * np.arange(6))
    outer = np.column_stack([np.cos(turned), np.sin(turned)]) * PITCH * np.sqrt(3)
    flat = np.vstack([np.zeros((1, 2)), ring, outer])
    geometry = Geometry("tubes", np.arange(1, 14), np.column_stack([flat, np.zeros(13)]), 28.0, 16.0, 90.0)
    values = np.concatenate([ADC[:1], ADC, ADC])
    reference = [
        VialReference(n + 1, value, 0.01 * value, "unreliable" if n in (6, 12) else "ok")
        for n, value in enumerate(values)
    ]
    return geometry, reference


@pytest.fixture(scope="module")
def diffusion():
    """Both repeats as series with a map by the logarithm of two b-values, and the vendor's ADC map."""
    if not DIFFUSION.is_dir():
        pytest.skip(f"the real data are absent: {DIFFUSION}")
    first, second = range(3001, 3006), range(5001, 5006)
    found = read_archive(DIFFUSION / "repeats_1_2_dicom.tar.gz", {*first, *second})
    repeats = []
    for numbers in (first, second):
        volumes = [stack_of(found[n]) for n in numbers]
        data, affine = np.stack([v for v, _ in volumes], axis=-1), volumes[0][1]
        with np.errstate(all="ignore"):
            adc = np.log(data[..., 0] / data[..., 2]) / 1000.0
        series = Series(data, affine, {"DiffusionBValue": np.array([0.0, 500.0, 1000.0, 1500.0, 2000.0])})
        repeats.append((series, as_map(adc, affine, "mm2/s")))
    return repeats


def test_tubes_in_echo_planar_images(tubes, diffusion):
    geometry, reference = tubes
    centers = []
    for series, fitted in diffusion:
        found = locate_vials(series, fitted, geometry, reference)
        assert found.n_seen == 13
        assert found.confidence > 0.9
        centers.append(found.centers)
        values = np.array([fitted.value[tuple(np.rint(v).astype(int))] for v in found.voxels])
        # Every tube but the last of each ring reads its own solution: the next is 26 % or more away.
        assert np.abs(values / [r.value for r in reference] - 1)[[0, 1, 2, 3, 4, 7, 8, 9, 10]].max() < 0.13
    # Nothing was moved between the repeats.
    assert np.linalg.norm(centers[0] - centers[1], axis=1).max() < 0.5


def test_tubes_have_no_mirror_that_the_values_allow(tubes, diffusion):
    """Six-fold symmetry: with the values of the outer rings exchanged in order, nothing is believed."""
    geometry, reference = tubes
    swapped = [replace(r, value=reference[order].value) for r, order in
               zip(reference, [0, 1, 6, 5, 4, 3, 2, 7, 8, 9, 10, 11, 12], strict=True)]  # fmt: skip
    with pytest.raises(CalibrationError, match="ambiguous"):
        locate_vials(*diffusion[0], geometry, swapped)


def test_the_system_phantom_is_not_found_in_the_diffusion_phantom(nist, diffusion):
    reference = nist.reference("T1", "130-0093", 3.0, 20.0)
    series, fitted = diffusion[0]
    with pytest.raises(CalibrationError):
        locate_vials(series, replace(fitted, unit="s"), nist.geometry("T1"), reference)


def test_the_sphere_files_have_the_array_they_name(nist_data):
    """A guard of the truth itself: both files hold 14 spheres in one plane of the scan."""
    for biomarker in MODELS:
        rois = yaml.safe_load((nist_data / "sphere_positions" / f"default_{biomarker}_rois.yaml").read_text())
        levels = [rois[f"{biomarker.lower()}_roi_{i}"]["ctr_vox_coords"][2] for i in range(1, 15)]
        assert len(levels) == 14
        assert max(levels) - min(levels) <= 1
