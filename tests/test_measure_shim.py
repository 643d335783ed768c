"""The step and the checks: from a map of B0 to a line of the certificate."""

import json

import numpy as np
import pytest

from isocenter import quality
from isocenter.entities import Flag
from isocenter.io.nifti import write_map
from isocenter.io.outcome import Exclusion, write_excluded_map
from isocenter.schemas import SCHEMAS, load_schema
from isocenter.volume import ParameterMap
from measure_shim import measure_shim

WHO = {
    "biomarker": "B0", "participant_id": "P01", "kind": "patient", "session": "02", "run": "1", "scanner": "scanner1"
}  # fmt: skip
LIMIT = {
    "id": "shim_sd", "statistic": "sd", "maximum": 40.0, "kinds": ["patient"], "severity": "fail",
    "remedy": "Shim again before the scan",
}  # fmt: skip


def measure(folder, write):
    paths = [folder / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    write(*paths)
    measure_shim(*paths, shim=folder / "shim.json", **WHO)
    return json.loads((folder / "shim.json").read_text())


@pytest.fixture
def shim(tmp_path):
    """A field of 30 Hz about 10 Hz, with voxels at 5 kHz that are flagged."""
    field = np.random.default_rng(0).normal(10, 30, (20, 20, 10)).astype(np.float32)
    flag = np.zeros(field.shape, np.uint8)
    flag[:5] = Flag.NO_SIGNAL
    value = np.where(flag == Flag.OK, field, 5000.0)
    return measure(
        tmp_path, lambda *paths: write_map(paths[0], ParameterMap(value, value, flag, np.eye(4), "Hz"), *paths[1:], {})
    )


def test_figures_are_of_voxels_with_a_value(shim):
    assert shim["n_voxels"] == 15 * 20 * 10
    assert shim["median"] == pytest.approx(10, abs=2)
    assert shim["sd"] == pytest.approx(30, rel=0.05)
    assert shim["reason"] == ""


def test_a_map_that_could_not_be_made_is_a_warning_with_its_reason(tmp_path):
    lost = Exclusion("fit", "There is no phase", "Send it")
    row = measure(tmp_path, lambda *paths: write_excluded_map(*paths, lost, "Hz"))
    (check,) = quality.check_shim([row], [LIMIT])
    assert (check.verdict, check.found, check.scope) == ("warn", "There is no phase", "sub-P01 ses-02 run-1 B0")
    assert "field map" in check.remedy


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [({}, "pass"), ({"maximum": 20.0}, "fail"), ({"maximum": 20.0, "severity": "warn"}, "warn"),
     ({"statistic": "range", "maximum": 50.0}, "fail"), ({"statistic": "fwhm", "maximum": 100.0}, "pass")],
)  # fmt: skip
def test_limits_of_the_protocol(shim, rule, verdict):
    shown, limit = quality.check_shim([shim], [{**LIMIT, **rule}])
    assert shown.verdict == "pass"
    assert shown.found.startswith("SD ")
    assert limit.verdict == verdict
    assert limit.unit == "Hz"
    assert limit.found.endswith(" Hz")


def test_a_limit_is_for_the_kinds_and_maps_that_it_names(shim):
    for rule in ({"kinds": ["phantom"]}, {"biomarkers": ["other"]}):
        assert len(quality.check_shim([shim], [{**LIMIT, **rule}])) == 1


def test_the_protocol_may_hold_limits():
    schema = load_schema("protocol")
    assert set(schema["$defs"]["shim_check"]["properties"]["statistic"]["enum"]) == {"sd", "range", "fwhm"}
    assert (SCHEMAS / "protocol.schema.yaml").is_file()
