"""The step that marks T2* by the gradient of B0, and the share of marked voxels in a region's row."""

import numpy as np
import pandas as pd
import pytest

from extract_rois import extract_rois
from isocenter import models
from isocenter.entities import Flag
from isocenter.fitting import fit
from isocenter.io.nifti import read_layers, read_sidecar, write_image, write_json, write_map
from isocenter.io.outcome import Exclusion, write_excluded_map
from isocenter.io.tables import read_table, write_table
from isocenter.volume import ParameterMap
from mark_gradient import mark_gradient

SHAPE = (20, 20, 10)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
ECHOES = 0.004 * np.arange(1, 9)
T2STAR = 0.040


def through(z):
    """Hz/mm across the slices [mm]: nothing in the lower half, steep in the upper."""
    return np.where(z < 18, 0.0, 2.5)


@pytest.fixture
def run(tmp_path):
    """A T2* map of a block whose upper half lies in a steep field, the map of that field, and raw echoes' sidecars."""
    z = np.broadcast_to(np.arange(SHAPE[2]) * 4.0, SHAPE)
    turns = through(z)[..., np.newaxis] * 4.0 * ECHOES
    signal = 1000 * np.exp(-ECHOES / T2STAR) * np.sinc(turns)
    measured = fit(models.get("t2star_multi_echo").bind({"EchoTime": ECHOES}), signal).value["T2star"]
    maps = [tmp_path / f"sub-1_ses-01_run-1_{part}T2starmap.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")]
    flag = np.zeros(SHAPE, np.uint8)
    write_map(maps[0], ParameterMap(measured, 0 * measured, flag, AFFINE, "s"), *maps[1:], {})
    field = np.where(z < 18, 0.0, 2.5 * (z - 18))
    fields = [tmp_path / f"sub-1_ses-01_run-1_{part}B0map.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")]
    flag = np.where(np.indices(SHAPE)[0] < 18, Flag.OK, Flag.MASKED).astype(np.uint8)
    value = np.where(flag == Flag.OK, field, np.nan)
    write_map(fields[0], ParameterMap(value, 0 * value, flag, AFFINE, "Hz"), *fields[1:], {})
    series = []
    for k, time in enumerate(ECHOES):
        series.append(tmp_path / f"sub-1_ses-01_run-1_echo-{k + 1}_MEGRE.nii.gz")
        write_image(series[-1], np.zeros((1, 1, 1), np.float32), np.eye(4), {"EchoTime": time, "SliceThickness": 4.0})
    return tmp_path, maps, fields, series, measured


def mark(folder, maps, fields, series, **options):
    out = folder / "sub-1_ses-01_run-1_desc-gradient_T2starmap.nii.gz"
    mark_gradient(
        *maps, series, *([path] for path in fields), gradient=out, map_name="B0map",
        **{"limit": 10.0, "is_rate": False, **options},
    )  # fmt: skip
    return out


def test_steep_voxels_and_by_how_much(run):
    folder, maps, fields, series, measured = run
    out = mark(folder, maps, fields, series)
    layers = read_layers(out)
    np.testing.assert_allclose(layers["gradient"][2:16, 2:18, 1:3], 0, atol=1e-3)
    np.testing.assert_allclose(layers["gradient"][2:16, 2:18, 7:9], 2.5, rtol=0.02)
    actual = 100 * (1 - measured[5, 5, 8] / T2STAR)
    assert actual > 15
    assert layers["shortening"][5, 5, 8] == pytest.approx(actual, rel=0.08)
    assert np.isnan(layers["shortening"][19]).all()  # no field there
    told = read_sidecar(out)["FieldGradient"]
    assert told["VoxelMillimeters"] == [2.0, 2.0, 4.0]
    assert told["Reason"] == ""


def test_thin_slices_with_gaps_are_shortened_less(run):
    folder, maps, fields, series, _ = run
    whole = read_layers(mark(folder, maps, fields, series))["shortening"][5, 5, 8]
    write_image(series[0], np.zeros((1, 1, 1), np.float32), np.eye(4), {"EchoTime": ECHOES[0], "SliceThickness": 2.0})
    thin = read_layers(mark(folder, maps, fields, series))["shortening"][5, 5, 8]
    assert thin == pytest.approx(whole / 4, rel=0.1)


@pytest.mark.parametrize("known", ["stack", "slice"])
def test_a_single_slice_feels_the_gradient_through_it(run, known):
    """As a stack of B0 tells it; a map of a single slice tells the gradient within it, and marks nothing here."""
    folder, maps, fields, series, measured = run
    one = AFFINE.copy()
    one[2, 3] = 4.0 * 8
    cut = measured[:, :, 8:9]
    write_map(maps[0], ParameterMap(cut, 0 * cut, np.zeros(cut.shape, np.uint8), one, "s"), *maps[1:], {})
    if known == "slice":
        flag = np.zeros(cut.shape, np.uint8)
        write_map(fields[0], ParameterMap(np.full(cut.shape, 35.0), 0 * cut, flag, one, "Hz"), *fields[1:], {})
    layers = read_layers(mark(folder, maps, fields, series))
    assert layers["gradient"].shape == cut.shape
    expected = 2.5 if known == "stack" else 0.0
    np.testing.assert_allclose(layers["gradient"][2:16, 2:18], expected, rtol=0.02, atol=1e-6)
    actual = 100 * (1 - measured[5, 5, 8] / T2STAR) if known == "stack" else 0.0
    assert layers["shortening"][5, 5, 0] == pytest.approx(actual, rel=0.08)
    if known == "stack":
        assert np.isnan(layers["shortening"][19]).all()  # no field there


def measure(folder, maps, gradients):
    labels = folder / "labels"
    z = np.indices(SHAPE)[2]
    write_image(labels / "T2starmap_dseg.nii.gz", np.where(z < 4, 1, np.where(z > 5, 2, 0)).astype(np.uint8), AFFINE)
    write_table(labels / "labels.tsv", pd.DataFrame({"index": [1, 2], "name": ["low", "high"]}))
    came = {"T2starmap": {"Erosion": "none", "TransformHash": "0e1f"}}
    write_json(labels / "outcome.json", {"Outcome": None, "Labels": came})
    extract_rois(
        *([path] for path in maps), labels, gradients=gradients, table=folder / "t.tsv", exclusions=folder / "e.tsv",
        biomarkers=["T2star"], rois={"T2star": ["low", "high"]}, site="a", scanner="s", participant_id="1",
        kind="patient", session="01", run="1", field_strength=3.0,
    )  # fmt: skip
    return read_table(folder / "t.tsv", text=("flags", "lent_maps")).set_index("roi")


def test_rows_tell_the_share_of_marked_voxels_and_keep_the_value(run):
    folder, maps, fields, series, _ = run
    without = measure(folder, maps, [])
    table = measure(folder, maps, [mark(folder, maps, fields, series)])
    assert table.loc["high", "flags"] == "steep_field 0.9"  # the field is known in 18 of 20
    assert not isinstance(table.loc["low", "flags"], str) or not table.loc["low", "flags"]
    assert set(table["lent_maps"]) == {"field_gradient: B0map"}
    np.testing.assert_array_equal(table["value"], without["value"])


@pytest.mark.parametrize("case", ["none", "excluded"])
def test_without_a_field_map_rows_say_so(run, case):
    folder, maps, fields, series, _ = run
    if case == "excluded":
        write_excluded_map(*fields, Exclusion("fit", "There is no phase; expected: some", "Send it"), "Hz")
    out = mark(folder, maps, fields if case == "excluded" else [], series) if case == "excluded" else folder / (
        "sub-1_ses-01_run-1_desc-gradient_T2starmap.nii.gz"
    )  # fmt: skip
    if case == "none":
        mark_gradient(*maps, series, gradient=out, map_name="B0map", limit=10.0, is_rate=False)
    word = "no field map in this session" if case == "none" else "the field map could not be made: There is no phase"
    assert set(measure(folder, maps, [out])["lent_maps"]) == {f"field_gradient: none ({word})"}


def test_a_rate_is_marked_as_its_time_is(run):
    folder, maps, fields, series, measured = run
    of_time = read_layers(mark(folder, maps, fields, series))["shortening"]
    write_map(
        maps[0], ParameterMap(1 / measured, 0 * measured, np.zeros(SHAPE, np.uint8), AFFINE, "1/s"), *maps[1:], {}
    )
    of_rate = read_layers(mark(folder, maps, fields, series, is_rate=True))["shortening"]
    np.testing.assert_allclose(of_rate, of_time, rtol=1e-4)
