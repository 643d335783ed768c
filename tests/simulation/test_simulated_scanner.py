"""What a simulated scanner measures, held against what is true."""

import dataclasses

import numpy as np
import pytest

from isocenter import models
from isocenter.simulation.design import design_trial
from isocenter.simulation.head import build_head, sample_head
from isocenter.simulation.phantom_scene import build_plate, draw_vials
from isocenter.simulation.scanner import rotation, simulate_head, simulate_phantom
from isocenter.simulation.settings import SimulationSettings

IDEAL = SimulationSettings(
    bad_things=False,
    spike=False,
    ruler_errors=0.0,
    snr=np.inf,
    phantom_snr=np.inf,
    motion_mm=0.0,
    motion_deg=0.0,
    placement_mm=0.0,
    placement_deg=0.0,
    b1_spread=0.0,
    coil_spread=0.0,
    inversion_efficiency=(1.0, 1.0),
    refocusing_angle=(180.0, 180.0),
    subject_spread=0.0,
    visit_spread=0.0,
    tissue_variation=0.0,
    reference_errors=False,
    temperature_stderr=0.0,
)


def find(settings, suffix, participant="T01", site=0, session="01"):
    design = design_trial(settings)
    return next(
        a
        for a in design.acquisitions
        if (a.site.index, a.participant, a.session, a.suffix) == (site, participant, session, suffix)
    )


@pytest.fixture(scope="module")
def ideal_head(tissues):
    return build_head(tissues, "T01", IDEAL)


def test_an_ideal_scanner_gives_the_forward_model(ideal_head):
    series = simulate_head(find(IDEAL, "IRT1"), ideal_head, IDEAL)
    n = IDEAL.head_matrix
    center = tuple(i // 2 for i in n)
    position = series.position + center[0] * series.columns + center[1] * series.rows + center[2] * series.slices
    maps = sample_head(ideal_head, (position * [-1, -1, 1])[np.newaxis], np.eye(3), np.zeros(3))[:, 0]
    bound = models.get("t1_inversion_recovery").bind(
        {"InversionTime": series.times, "RepetitionTime": IDEAL.inversion_repetition_time}
    )
    expected = bound.predict({"T1": 1 / maps[4], "M0": maps[3], "inversion_efficiency": 1.0})
    np.testing.assert_allclose(series.data[center], expected, rtol=1e-5)


def test_an_ideal_train_decays_by_t2_alone(ideal_head):
    series = simulate_head(find(IDEAL, "MESE"), ideal_head, IDEAL)
    inside = series.data[..., 0] > 0.3
    log_signal = np.log(series.data[inside])
    slope = np.diff(log_signal, axis=1) / np.diff(series.times)
    np.testing.assert_allclose(slope, slope[:, :1].repeat(slope.shape[1], axis=1), rtol=1e-3)
    t2 = dict((roi, v) for roi, _, v in series.roi_truth)
    assert 0.075 < t2["white_matter"] < t2["gray_matter"] < t2["csf"]


def test_a_ruler_error_reads_as_another_t1(ideal_head):
    """Only ratios of times enter the signal: all times stretched by 1 + e are T1 shortened by as much."""
    settings = dataclasses.replace(IDEAL, ruler_errors=0.08)
    plan = find(settings, "IRT1")
    series = simulate_head(plan, ideal_head, settings)
    straight = simulate_head(find(IDEAL, "IRT1"), ideal_head, IDEAL)
    assert series.roi_truth == straight.roi_truth
    center = tuple(i // 2 for i in IDEAL.head_matrix)
    position = series.position + sum(
        i * step for i, step in zip(center, (series.columns, series.rows, series.slices), strict=True)
    )
    maps = sample_head(ideal_head, (position * [-1, -1, 1])[np.newaxis], np.eye(3), np.zeros(3))[:, 0]
    bound = models.get("t1_inversion_recovery").bind(
        {"InversionTime": series.times, "RepetitionTime": settings.inversion_repetition_time}
    )
    read = 1 / maps[4] / (1 + plan.site.ruler_errors["T1"])
    expected = bound.predict({"T1": read, "M0": maps[3], "inversion_efficiency": 1.0})
    np.testing.assert_allclose(series.data[center], expected, rtol=1e-5)
    assert np.abs(series.data[center] - straight.data[center]).max() > 0.005


def test_noise_is_rician(ideal_head):
    settings = dataclasses.replace(IDEAL, snr=50.0)
    series = simulate_head(find(settings, "IRT1"), ideal_head, settings)
    air = series.data[:4, :4].ravel()
    sigma = 0.7 / 50
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)
    assert air.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.05)


def test_motion_leaves_the_first_volume_in_place(ideal_head):
    settings = dataclasses.replace(IDEAL, motion_mm=1.0, motion_deg=1.0)
    moved = simulate_head(find(settings, "IRT1"), ideal_head, settings)
    still = simulate_head(find(IDEAL, "IRT1"), ideal_head, IDEAL)
    np.testing.assert_array_equal(moved.data[..., 0], still.data[..., 0])
    assert np.abs(moved.data[..., 1:] - still.data[..., 1:]).max() > 0.05


def test_a_spike_spoils_one_volume_only(ideal_head):
    plan = find(IDEAL, "IRT1")
    still = simulate_head(plan, ideal_head, IDEAL)
    spoiled = simulate_head(dataclasses.replace(plan, has_spike=True), ideal_head, IDEAL)
    differs = np.abs(spoiled.data - still.data).max(axis=(0, 1, 2)) > 0
    assert differs.sum() == 1
    assert not differs[0]


def test_the_same_head_comes_to_every_site(tissues):
    settings = SimulationSettings(bad_things=False, visit_spread=0.0, motion_mm=0.0, motion_deg=0.0)
    head = build_head(tissues, "T02", settings)
    truths = [
        {r: v for r, _, v in simulate_head(find(settings, "IRT1", "T02", site), head, settings).roi_truth}
        for site in (0, 1)
    ]
    for roi in ("white_matter", "gray_matter"):
        assert truths[0][roi] == pytest.approx(truths[1][roi], rel=0.005)


def test_rotations_turn_and_keep_lengths():
    matrix = rotation(np.array([10.0, -20.0, 30.0]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation(np.array([0, 0, 90.0])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_vials_have_the_reference_values_when_nothing_is_off(phantom):
    plan = find(IDEAL, "MESE", "phantom1")
    vials = draw_vials(phantom, plan.site, "01", "T2", IDEAL)
    reference = phantom.reference("T2", plan.site.phantom_serial, 3.0, plan.site.temperatures["01"])
    np.testing.assert_allclose([v.t2 for v in vials], [r.value for r in reference])
    assert all(v.t2 <= v.t1 for v in vials)


def test_drawn_vials_scatter_by_the_reference_uncertainty(phantom):
    z = []
    for seed in range(40):
        settings = dataclasses.replace(IDEAL, seed=seed, reference_errors=True, suspect_error=0.0)
        site = find(settings, "IRT1", "phantom1").site
        reference = phantom.reference("T1", site.phantom_serial, 3.0, site.true_temperatures["01"])
        vials = draw_vials(phantom, site, "01", "T1", settings)
        z += [(v.t1 - r.value) / r.stderr for v, r in zip(vials, reference, strict=True)]
    assert np.std(z) == pytest.approx(1.0, abs=0.1)
    assert np.mean(z) == pytest.approx(0.0, abs=0.15)


def test_a_solution_stays_the_same_from_session_to_session(phantom):
    settings = dataclasses.replace(IDEAL, reference_errors=True)
    site = dataclasses.replace(find(settings, "IRT1", "phantom1").site, true_temperatures={"01": 20.0, "02": 20.0})
    assert draw_vials(phantom, site, "01", "T1", settings) == draw_vials(phantom, site, "02", "T1", settings)


def test_the_plate_shows_its_vials_where_the_library_says(phantom):
    plan = find(IDEAL, "IRT1", "phantom1")
    vials = draw_vials(phantom, plan.site, "01", "T1", IDEAL)
    share, t1, _ = build_plate(phantom, vials, "T1", IDEAL, 0.0, np.zeros(3), 0.0)
    n, step = IDEAL.phantom_matrix, IDEAL.phantom_pixel
    for vial, (x, y, _) in zip(vials, phantom.geometry("T1").centers, strict=True):
        column, row = int(n / 2 + x / step), int(n / 2 - y / step)
        assert t1[column, row] == pytest.approx(vial.t1)
        assert share[column, row] == pytest.approx(1.0)
        # At least six pixels across, as a region of interest needs.
        assert np.count_nonzero(t1[:, row] == t1[column, row]) >= 6
    assert share[0, 0] == 0


def test_a_phantom_slice_is_coronal_through_its_plate(phantom):
    series = simulate_phantom(find(IDEAL, "MESE", "phantom1"), phantom, IDEAL)
    assert series.data.shape == (128, 128, 1, IDEAL.echoes)
    np.testing.assert_allclose(np.abs(series.slices / np.linalg.norm(series.slices)), [0, 1, 0], atol=0.05)
    middle = series.position + 63.5 * (series.columns + series.rows)
    np.testing.assert_allclose(middle, [0, -16.5, 0], atol=0.1)
