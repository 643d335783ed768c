"""A real session of the system phantom goes through the same workflow, DICOM as it came, without a geometry scan.

`test_phantom_in_trial` asks the same of the session with that scan, in every run of the tests; `isocenter phantom`
without it stands in tests/phantom.
"""

import json
import shutil
import tarfile

import pytest
import yaml
from end_to_end.conftest import REPOSITORY, Trial

from isocenter import layout

SITE = {
    "site": "real",
    "title": "One real session of the NIST system phantom, 3 T",
    "source": "dicom",
    "protocol": "brain_relaxometry",
    "scanners": [{"id": "skyra", "serial": "", "manufacturer": "SIEMENS", "model": "Skyra", "field_strength": 3.0}],
    # The temperature was never measured: 20 degrees is a setting, so half a degree is a guess to be stated.
    "phantoms": [
        {
            "participant_id": "phantom1",
            "type": "nist_system",
            "serial": "130-0093",
            "temperature": 20.0,
            "temperature_stderr": 0.5,
        }
    ],
}
pytestmark = pytest.mark.slow

#: The T2 vials that are neither clipped throughout, nor another solution than their label says, nor too short.
SOUND = [2, 3, 4, 6, 7, 8, 9, 10]


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory) -> Trial:
    """The session's DICOM put into a site as it comes, and the whole workflow run on it."""
    trial = Trial(tmp_path_factory.mktemp("real"))
    shutil.copytree(REPOSITORY / "config", trial.directory / "config")
    folder = trial.directory / "sites" / "real"
    (folder / "dicom").mkdir(parents=True)
    with tarfile.open(shared_data / "nist_system_phantom" / "session_a_dicom.tar.gz") as archive:
        archive.extractall(folder / "dicom", filter="data")
    site = SITE | {"scanners": [SITE["scanners"][0] | {"serial": serial_of(folder / "dicom")}]}
    (folder / "site.yaml").write_text(yaml.safe_dump(site, sort_keys=False))
    (folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nphantom1\tphantom\tH20QMDSYS\n")
    trial.run()
    return trial


def serial_of(folder) -> str:
    """The scanner's serial number, as a person would read it from the console."""
    import pydicom

    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if "SOPInstanceUID" in header:
            return str(header.get("DeviceSerialNumber", "unknown"))
    raise AssertionError("no DICOM in the archive")


def test_the_series_are_recognized(real):
    scans = real.table(layout.SCANS.format(site="real"))
    used = scans[scans["disposition"] == "used"]
    assert (used["suffix"] == "IRT1").sum() == 10  # one series an inversion time
    assert (used["suffix"] == "MESE").sum() == 1
    assert scans.loc[scans["disposition"] != "used", "reason"].str.len().min() > 10


def test_t1_of_every_vial(real):
    vials = real.table(layout.VIALS.format(site="real")).query("biomarker == 'T1'").set_index("vial")
    assert len(vials) == 14
    assert vials["stderr"].notna().all()
    assert vials["bias_percent"].abs().max() <= 3.0
    assert (vials["measured"].sort_index().diff().dropna() < 0).all()  # NIST's numbering: T1 falls from vial to vial


def test_t2_of_sound_vials(real):
    """Through the pulses that the phantom chose; clipped and suspect vials say so, and none of them calibrates."""
    vials = real.table(layout.VIALS.format(site="real")).query("biomarker == 'T2'").set_index("vial")
    assert len(vials) == 14
    bias = vials["bias_percent"].abs()[SOUND]
    assert bias.mean() <= 4.0
    assert bias.max() <= 8.0
    assert vials.loc[1, "flag"] == "clipped"
    # Their labels name other solutions than they hold, which the regression finds out by itself.
    assert (vials.loc[[5, 14], "flag"] == "outlier").all()
    assert not vials.loc[[1, 5, 14], "used"].any()


def test_calibrations_are_written(real):
    for biomarker in ("T1", "T2"):
        path = real.directory / layout.CALIBRATION.format(site="real", biomarker=biomarker)
        calibration = json.loads(path.read_text())
        assert calibration["form"] in ("none", "gain", "linear")
        assert calibration["n_vials"] >= 5


def test_the_report_stands_without_people(real):
    assert (real.directory / layout.REPORT).is_file()
    flow = real.table(layout.FLOW)
    assert flow.query("entity == 'phantom'")["n_out"].tolist() == [2]
