"""The DICOM that the simulation writes: pydicom reads it as meant, and dcm2niix makes the simulated numbers of it."""

import dataclasses
import json
import shutil
import subprocess
import warnings

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
import pytest
from small_trials import SMALL

from isocenter.dicom.write import write_series
from isocenter.dicom.write_elements import encode_element, encode_value
from isocenter.dicom.write_headers import GAIN, choose_scaling, make_uid
from isocenter.simulation.design import design_trial
from isocenter.simulation.head import build_head
from isocenter.simulation.scanner import simulate_head, simulate_phantom
from isocenter.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings(participants=1, bad_things=False, spike=False, **SMALL)
#: Half a stored unit of the coarsest volume (a Philips gain goes down to 0.86 of the full one), and rounding.
STEP = 0.51 / 0.86
DIALECTS = ("siemens", "ge", "philips", "philips_enhanced")


@pytest.fixture(scope="module")
def head(tissues):
    return build_head(tissues, "T01", SETTINGS)


def plan_of(dialect, suffix, participant="T01"):
    return next(
        a
        for a in design_trial(SETTINGS).acquisitions
        if (a.site.dialect, a.suffix, a.participant) == (dialect, suffix, participant)
    )


def signal_unit(plan, index, *, is_display=False):
    """What a signal of 1 becomes in dcm2niix's numbers: the vendor's true scale, or the display's."""
    scaling = choose_scaling(plan, index)
    if is_display:
        return scaling.gain * scaling.slope
    return scaling.gain / (scaling.scale_slope or 1.0)


def convert(source, target):
    found = []
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        (target / folder.name).mkdir(parents=True)
        command = [dcm2niix.bin, "-f", "%s_%e_%r", "-o", target / folder.name, folder]
        subprocess.run(command, check=True, capture_output=True)
        for path in sorted((target / folder.name).glob("*.nii")):
            found.append((nib.load(path), json.loads(path.with_suffix(".json").read_text())))
    return found


def write_by_volume(folder, plan, series):
    """Write a series; images of one inversion time go into a folder of their own.

    dcm2niix scales a stack of Philips images for display where the scaling changes from volume to volume.
    """
    paths = write_series(folder / "all", plan, series)
    if plan.site.dialect == "philips" and plan.suffix == "IRT1":
        for number, path in enumerate(paths):
            part = folder / f"volume{number // series.data.shape[2]}"
            part.mkdir(exist_ok=True)
            path.rename(part / path.name)
        shutil.rmtree(folder / "all")


def resample_exactly(image, series):
    """The converted image on the simulated grid: its affine must send voxel to voxel. (columns, rows, slices, n)."""
    data = image.get_fdata()
    data = data[..., np.newaxis] if data.ndim == 3 else data
    index = np.stack(np.meshgrid(*(np.arange(n) for n in series.data.shape[:3]), indexing="ij"), -1)
    lps = series.position + index @ np.stack([series.columns, series.rows, series.slices])
    inverse = np.linalg.inv(image.affine)
    voxel = (lps * [-1, -1, 1]) @ inverse[:3, :3].T + inverse[:3, 3]
    np.testing.assert_allclose(voxel, np.rint(voxel), atol=2e-3)
    i, j, k = np.rint(voxel).astype(int).transpose(3, 0, 1, 2)
    return data[i, j, k]


@pytest.mark.parametrize("suffix", ["IRT1", "MESE"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dcm2niix_recovers_the_simulated_series(dialect, suffix, head, tmp_path):
    plan = plan_of(dialect, suffix)
    series = simulate_head(plan, head, SETTINGS)
    write_by_volume(tmp_path / "dicom", plan, series)
    key = "InversionTime" if suffix == "IRT1" else "EchoTime"
    volumes = {}
    for image, sidecar in convert(tmp_path / "dicom", tmp_path / "nii"):
        data = resample_exactly(image, series)
        assert sidecar["RepetitionTime"] == pytest.approx(series.repetition_time)
        # A stack of all times comes in their order, under the sidecar of one of them; of enhanced files dcm2niix
        # scales such a stack for display.
        is_stack = data.shape[3] > 1
        times = series.times if is_stack else [sidecar[key]]
        for number, time in enumerate(times):
            index = int(np.argmin(np.abs(series.times - time)))
            unit = signal_unit(plan, index, is_display=is_stack and dialect == "philips_enhanced")
            assert index not in volumes
            volumes[index] = data[..., number] / unit
    assert sorted(volumes) == list(range(series.times.size))
    found = np.stack([volumes[index] for index in sorted(volumes)], axis=-1)
    assert np.abs(found - series.data).max() <= STEP / GAIN[dialect]


@pytest.mark.parametrize("dialect", ["siemens", "ge", "philips"])
def test_dcm2niix_recovers_a_phantom_slice(dialect, phantom, tmp_path):
    plan = plan_of(dialect, "MESE", "phantom1")
    series = simulate_phantom(plan, phantom, SETTINGS)
    series = dataclasses.replace(series, slices=series.slices / np.linalg.norm(series.slices) * series.thickness)
    write_by_volume(tmp_path / "dicom", plan, series)
    found = convert(tmp_path / "dicom", tmp_path / "nii")
    assert len(found) == SETTINGS.echoes
    for image, sidecar in found:
        number = int(np.argmin(np.abs(series.times - sidecar["EchoTime"])))
        data = resample_exactly(image, series)[..., 0] / signal_unit(plan, number)
        assert np.abs(data - series.data[..., number]).max() <= STEP / GAIN[dialect]


def test_an_enhanced_file_holds_each_frames_values(phantom, tmp_path):
    plan = plan_of("philips_enhanced", "IRT1", "phantom1")
    series = simulate_phantom(plan, phantom, SETTINGS)
    (path,) = write_series(tmp_path, plan, series)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID.name == "Enhanced MR Image Storage"
    assert dataset.NumberOfFrames == series.times.size == len(dataset.PerFrameFunctionalGroupsSequence)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        assert frame.MRModifierSequence[0].InversionTimes == pytest.approx(1000 * series.times[number])
        assert frame.FrameContentSequence[0].DimensionIndexValues == [1, 1, number + 1]
        scale_slope = frame[0x2005, 0x140F][0][0x2005, 0x100E].value
        true = dataset.pixel_array[number] / scale_slope / signal_unit(plan, 0)
        assert np.abs(true.T - series.data[:, :, 0, number]).max() <= STEP / GAIN["philips"]


@pytest.mark.parametrize("suffix", ["IRT1", "MESE"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_headers_are_valid_and_say_who_where_and_when(dialect, suffix, phantom, tmp_path):
    plan = plan_of(dialect, suffix, "phantom1")
    paths = write_series(tmp_path, plan, simulate_phantom(plan, phantom, SETTINGS))
    series = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
        try:
            for path in paths:
                dataset = pydicom.dcmread(path)
                for _ in dataset.iterall():
                    pass
                series.add(dataset.SeriesInstanceUID)
        finally:
            pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
    tags = [int(element.tag) for element in dataset]
    assert tags == sorted(tags)
    assert dataset.PatientID == plan.site.phantom_patient_id
    assert dataset.DeviceSerialNumber == plan.site.serial
    assert dataset.StudyDate == f"{plan.day:%Y%m%d}"
    assert float(dataset.MagneticFieldStrength) == 3.0
    is_split = dialect == "siemens" and suffix == "IRT1"
    assert len(series) == (len(SETTINGS.inversion_times) if is_split else 1)


def test_hand_made_elements_are_pydicoms():
    for tag, vr, value in (
        (0x00080018, "UI", "2.25.123"),
        (0x00080018, "UI", "2.25.1234"),
        (0x00080032, "TM", "073400.000000"),
        (0x00200032, "DS", ["-110", "1.5", "3"]),
        (0x00200013, "IS", 12),
        (0x2005100E, "FL", 0.25),
        (0x7FE00010, "OW", b"\x01\x02\x03\x04"),
    ):
        assert encode_value(tag, vr, value) == encode_element(pydicom.DataElement(tag, vr, value))


def test_uids_follow_names_and_are_valid():
    assert make_uid("a", 1) == make_uid("a", 1) != make_uid("a", 2)
    assert pydicom.uid.UID(make_uid("series", "siteA")).is_valid
