"""The arms in each vendor's DICOM, through intake to a fitted value: the full demonstration's chain in small."""

import numpy as np
import pytest
from small_trials import PHANTOM, SMALL, hash_files

from index_site import index_site
from isocenter import layout, models
from isocenter.fields import fit_volume
from isocenter.fitting import fit
from isocenter.io.nifti import read_labels, read_series
from isocenter.io.series import read_parts
from isocenter.io.tables import read_table
from isocenter.rois import place_labels
from simulate_trial import simulate_trial

SITES = ["siteA", "siteB", "siteC", "siteD"]
DIALECTS = ["siemens", "ge", "philips", "philips_enhanced"]
SUFFIXES = ["IRT1", "MESE", "dwi", "MOLLI", "MEGRE"]
TEXT = ("participant_id", "session", "run", "files", "suffix", "site", "roi", "biomarker")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    options = {**SMALL, "arms": ["ADC", "T1heart", "PDFF"], "bad_things": False, "spike": False}
    simulate_trial(PHANTOM, directory=folder, participants=1, sessions=1, options=options)
    return folder


def take_in(trial, site, suffixes=SUFFIXES):
    source, out = trial / "sites" / site, trial / "out" / site / "-".join(suffixes)
    index_site(
        source / "site.yaml", source / "participants.tsv", scans=out / "scans.tsv", exclusions=out / "exclusions.tsv",
        index=out / "index.json", bids=str(out / "bids"), source=str(source / "dicom"), suffixes=suffixes,
    )  # fmt: skip
    return read_table(out / "scans.tsv", text=TEXT), out / "bids"


def read_arm(trial, site, suffix):
    """The series of the volunteer's first run, and the labels that the site drew on it."""
    scans, bids = take_in(trial, site)
    row = scans.query("suffix == @suffix and run == '1' and participant_id == 'T01'").iloc[0]
    assert row.disposition == "used", row.reason
    series = read_series([bids / name for name in row.files.split("|") if "part-phase" not in name])
    drawn = trial / layout.fill(layout.SENT_REGIONS, site=site, participant="T01", session="01", run="1", suffix=suffix)
    if not drawn.exists():
        return series, None
    labels, affine = read_labels(drawn)
    placed = place_labels(labels, affine, series.data.shape[:3], series.affine)
    assert np.count_nonzero(placed) == np.count_nonzero(labels)
    return series, placed


def true_value(trial, site, biomarker, roi):
    rows = read_table(trial / "demo-truth/roi_truth.tsv", text=TEXT)
    return rows.query("site == @site and biomarker == @biomarker and roi == @roi and run == '1'")["truth"].iloc[0]


@pytest.mark.parametrize("site", SITES, ids=DIALECTS)
def test_b_values_survive_each_dialect_and_diffusion_is_recovered(trial, site):
    series, _ = read_arm(trial, site, "dwi")
    assert series.acquisition["DiffusionBValue"].tolist() == [0, 300, 600, 1000]
    found = fit(models.get("adc_monoexponential").bind(series.acquisition), series.data)
    value = found.value["ADC"][found.ok & (series.data[..., 0] > 0.2 * series.data[..., 0].max())]
    white = true_value(trial, site, "ADC", "white_matter") if has_white(trial, site) else 0.7e-3
    # Coarse voxels hold little but mixtures: the lower end of what is found is white matter, the upper end fluid.
    assert np.percentile(value, 10) == pytest.approx(white, rel=0.08)
    assert np.percentile(value, 99.5) > 1.5e-3


def has_white(trial, site):
    rows = read_table(trial / "demo-truth/roi_truth.tsv", text=TEXT)
    return not rows.query("site == @site and biomarker == 'ADC' and roi == 'white_matter'").empty


@pytest.mark.parametrize("site", SITES, ids=DIALECTS)
def test_myocardium_is_recovered_in_each_dialect(trial, site):
    series, labels = read_arm(trial, site, "MOLLI")
    assert np.all(np.diff(series.acquisition["InversionTime"]) > 0)
    found = fit(models.get("t1_look_locker").bind(series.acquisition), series.data, mask=labels > 0)
    # 0.3 % of noise in the median of 350 voxels, 0.1 % of the readout's finite steps.
    truth = true_value(trial, site, "T1heart", "myocardium")
    assert np.median(found.value["T1"][found.ok]) == pytest.approx(truth, rel=0.006)


@pytest.mark.parametrize("site", SITES, ids=DIALECTS)
def test_muscle_fat_is_recovered_in_each_dialect(trial, site):
    series, labels = read_arm(trial, site, "MEGRE")
    assert series.n == 6
    # Fat lies where the machine's true field puts it (ImagingFrequency), not where its name does.
    bound = models.get("pdff_magnitude").bind(series.acquisition)
    found = fit(bound, series.data, mask=labels > 0)
    truth = true_value(trial, site, "PDFF", "thigh_muscle")
    assert np.median(found.value["PDFF"][found.ok]) == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("site", SITES, ids=DIALECTS)
def test_magnitude_and_phase_come_together_in_each_dialect(trial, site):
    """Phase in radians, whatever the vendor stores: water, fat and field from the complex echoes."""
    scans, bids = take_in(trial, site)
    rows = scans.query("suffix == 'MEGRE' and run == '1'")
    assert set(rows["disposition"]) == {"used"}
    assert len(rows) == (2 if site == "siteA" else 1)  # Siemens keeps phase in a series of its own
    names = [name for row in rows.itertuples() for name in row.files.split("|")]
    assert sorted(name.split("run-1_")[1] for name in names) == sorted(
        f"echo-{echo}_part-{part}_MEGRE.nii.gz" for echo in range(1, 7) for part in ("mag", "phase")
    )
    series = read_parts([bids / name for name in names])
    assert series.data.dtype.kind == "c"
    _, labels = read_arm(trial, site, "MEGRE")
    bound = models.get("pdff_complex").bind(series.acquisition)
    found = fit_volume(bound, series.data, mask=np.abs(series.data[..., 0]) > 0.1 * np.abs(series.data).max())
    inside = found.ok & (labels > 0)
    assert np.count_nonzero(inside) > 0.99 * np.count_nonzero(labels)
    truth = true_value(trial, site, "PDFF", "thigh_muscle")
    assert np.median(found.value["PDFF"][inside]) == pytest.approx(truth, abs=0.1)


def test_a_trial_of_t1_and_t2_ignores_the_arms(trial):
    scans, bids = take_in(trial, "siteC", ["IRT1", "MESE"])
    assert set(scans.query("disposition == 'used'")["suffix"]) == {"IRT1", "MESE"}
    assert set(scans.query("disposition == 'ignored'")["suffix"]) == {"dwi", "MOLLI", "MEGRE"}
    assert not list(bids.glob("sub-*/ses-*/dwi"))


def test_without_arms_no_byte_changes(tmp_path):
    """An arm draws from streams of its own: what the plain trial holds is in the full one, bytes and truth."""
    options = {**SMALL, "bad_things": False, "spike": False, "sessions": 1, "first_session_runs": 1}
    sizes = {"sites": 2, "participants": 1}
    sessions = options.pop("sessions")
    for name, arms in (("plain", []), ("full", ["ADC", "T1heart", "PDFF"])):
        (tmp_path / name).mkdir()
        simulate_trial(
            PHANTOM, directory=tmp_path / name, sessions=sessions, options={**options, "arms": arms}, **sizes
        )
    plain, full = (hash_files(tmp_path / name / "sites") for name in ("plain", "full"))
    dicom = {path: digest for path, digest in plain.items() if "/dicom/" in path}
    assert len(dicom) > 100
    assert {path: full.get(path) for path in dicom} == dicom
