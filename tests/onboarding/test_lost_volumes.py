"""Volumes and slices that were lost on the way, at a site of each vendor: the rest still fits, and is told.

Files are deleted as a broken transfer leaves them; of one multi-frame file frames cannot be lost, so there the scanner
did not make them.
"""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from onboarding.vendor_site import DIALECTS, VendorSite, broken

CLASSIC = [dialect for dialect in DIALECTS if "enhanced" not in dialect]
KEYWORDS = {"IRT1": "InversionTime", "MESE": "EchoTime"}


def build(folder, dialect, participants=3):
    site = VendorSite(folder, dialect, seed=3, participants=participants)
    site.write()
    return site


def read_value(path, suffix):
    """What varies over the volumes [ms], by the element or by where this vendor writes it."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return float(header.get(KEYWORDS[suffix]) or header.get("TriggerTime"))


def lose(site, key, which):
    """Delete the files of the volumes that `which` picks of the ascending values; the values [ms]."""
    values = {path: read_value(path, key[2]) for path in site.files[key]}
    gone = set(np.atleast_1d(sorted(set(values.values()))[which]).tolist())
    for path, value in values.items():
        if value in gone:
            path.unlink()
    return sorted(gone)


def found(answer, name):
    return {c["scope"]: c["found"] for c in answer["checks"] if c["id"] == name and c["verdict"] != "pass"}


@pytest.mark.parametrize("dialect", CLASSIC)
@pytest.mark.parametrize("suffix", KEYWORDS)
@pytest.mark.parametrize("which", [0, -2], ids=["first", "last but one"])
def test_a_volume_that_one_run_lost_is_named(tmp_path, dialect, suffix, which):
    site = build(tmp_path / "site", dialect)
    (value,) = lose(site, ("T02", "01", suffix), which)
    answer = site.judge()
    scope = f"sub-T02 ses-01 run-1 {suffix}"
    told = found(answer, "same_volumes") | found(answer, "inversion_span") | found(answer, "echo_span")
    assert list(told) == [scope]
    if which:
        number = 15 if suffix == "MESE" else 7
        assert told[scope] == f"{number} values, without {value / 1000:.4g} s"
    assert {name for name, _ in broken(answer)} <= {"same_volumes", "images_missing", "inversion_span", "echo_span"}
    assert answer["verdict"] == "warn"


@pytest.mark.parametrize("dialect", CLASSIC)
def test_a_first_echo_that_every_run_lost_is_told_by_the_protocol(tmp_path, dialect):
    site = build(tmp_path / "site", dialect, participants=1)
    series = [key for key in site.files if key[2] == "MESE"]
    for key in series:
        lose(site, key, 0)
    told = found(site.judge(), "echo_span")
    assert len(told) == len(series)
    assert set(told.values()) == {"0.02 to 0.16 s (15 values)"}


@pytest.mark.parametrize("dialect", CLASSIC)
def test_a_slice_that_every_volume_of_a_run_lost_is_told(tmp_path, dialect):
    site = build(tmp_path / "site", dialect)
    for suffix in KEYWORDS:  # of both series, so that they still show the same slices
        paths = site.files["T02", "01", suffix]
        heights = {path: pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2] for path in paths}
        for path, height in heights.items():
            if height == max(heights.values()):
                path.unlink()
    told = found(site.judge(), "same_slices_sent")
    assert told == {f"sub-T02 ses-01 run-1 {suffix}": "1 slice" for suffix in KEYWORDS}


def test_frames_that_a_multi_frame_image_does_not_hold_are_named(tmp_path):
    site = VendorSite(tmp_path / "site", "Philips, enhanced", seed=3, participants=3)
    site.series["T02", "01", "MESE"] = lambda series: replace(
        series, times=np.delete(series.times, 3), data=np.ascontiguousarray(np.delete(series.data, 3, axis=-1))
    )
    site.write()
    answer = site.judge()
    assert found(answer, "same_volumes") == {"sub-T02 ses-01 run-1 MESE": "15 values, without 0.04 s"}
    assert {name for name, _ in broken(answer)} == {"same_volumes"}
