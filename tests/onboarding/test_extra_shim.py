"""Deviations that need a site of their own: a series for nothing, a series that nobody sent, a bad shim."""

import json
from dataclasses import replace

import numpy as np
import pytest
from onboarding.vendor_site import VendorSite, broken

from isocenter.dicom.write import write_series
from isocenter.entities import Flag
from isocenter.io.nifti import write_map
from isocenter.volume import ParameterMap
from measure_shim import measure_shim


@pytest.fixture
def site(tmp_path):
    return VendorSite(tmp_path / "site", "Philips, enhanced", seed=21, participants=1)


def test_a_series_that_no_run_holds_fails_the_site(site):
    for participant in ("T01", "phantom1"):
        site.series |= {(participant, session, "MESE"): lambda series: None for session in ("01", "02")}
    site.write()
    answer = site.judge()
    assert answer["verdict"] == "fail"
    assert {name for name, _ in broken(answer)} == {"series_received", "required_series"}


def test_a_series_that_the_protocol_does_not_name_is_told(site):
    site.write()
    plan = replace(next(p for p in site.plans if p.participant == "T01"), suffix="dwi", number=40, start=40000.0)
    series = replace(
        site.make_series(plan), times=np.array([0.0, 500.0, 1000.0]), repetition_time=5.0, echo_time=0.08,
    )  # fmt: skip
    series = replace(series, data=np.ascontiguousarray(series.data[..., :3]))
    write_series(site.folder / "dicom", plan, series)
    answer = site.judge()
    assert {name for name, _ in broken(answer)} == {"extra_series"}
    change = answer["changes"][0]
    assert (change["parameter"], change["found"]) == ("dwi", "dwi in 1 session besides")
    assert change["expected"] == "of a traveler: IRT1, MESE"


@pytest.mark.parametrize(("slope", "holds"), [(0.4, True), (4.0, False)])
def test_a_bad_shim_is_told_with_the_console_s_word(site, slope, holds):
    """A field that rises by `slope` [Hz/mm] over 80 mm: its standard deviation is 80 slope / √12."""
    folder = site.folder.parent / "b0"
    field = np.broadcast_to(slope * np.linspace(-40, 40, 41)[:, None, None], (41, 20, 5)).astype(np.float32)
    ok = np.full(field.shape, Flag.OK, np.uint8)
    paths = [folder / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    write_map(paths[0], ParameterMap(field, np.ones_like(field), ok, np.diag([2.0, 2, 5, 1]), "Hz"), *paths[1:], {})
    measure_shim(
        *paths, shim=folder / "shim.json", biomarker="B0", participant_id="T01", kind="traveler", session="01",
        run="1", scanner=site.scanner_id,
    )  # fmt: skip
    found = json.loads((folder / "shim.json").read_text())
    assert found["sd"] == pytest.approx(80 * slope / np.sqrt(12), rel=0.06)
    site.shims = [found]
    site.write()
    answer = site.judge()
    if holds:
        assert broken(answer) == set()
    else:
        assert {name for name, _ in broken(answer)} == {"shim_spread"}
        assert answer["changes"][0]["remedy"] == 'Repeat "Shim (PB-volume)" over the volume of the brain'
