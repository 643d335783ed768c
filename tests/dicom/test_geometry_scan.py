"""The 3D scan of a whole phantom is converted beside the series that maps are fitted to; nothing of a person's is."""

import numpy as np
from dicom.small import add_pixels, header, pixels, save, uid, write_classic

from isocenter.dicom.suffixes import GEOMETRY
from isocenter.io.nifti import read_sidecar, read_volume

ECHOES = [{"EchoTime": str(10 * k)} for k in range(1, 6)]


def write_volume(folder, name, patient, *, n_slices, thickness=4.0, **elements):
    """A 3D gradient echo of one flip angle."""
    base = header(
        name, patient=patient, time="100500", **{
            "ScanningSequence": "GR", "MRAcquisitionType": "3D", "RepetitionTime": "8", "EchoTime": "3",
            "FlipAngle": "10", "SliceThickness": str(thickness), "SpacingBetweenSlices": str(thickness), **elements,
        },
    )  # fmt: skip
    folder.mkdir(parents=True)
    for plane in range(n_slices):
        dataset = type(base)()
        dataset.update(base)
        dataset.InstanceNumber = str(plane + 1)
        dataset.SOPInstanceUID = uid(base.SeriesInstanceUID, plane)
        dataset.ImagePositionPatient = [-8.0, -10.0, -60.0 + thickness * plane]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [2.0, 2.0]
        add_pixels(dataset, pixels(name, plane))
        save(dataset, folder / f"image{plane:03d}")


def fill(site):
    spin_echo = {"ScanningSequence": "SE", "EchoTime": None}
    for patient in ("PHANTOM-9", "PAT-0042"):
        base = header("mese", patient=patient, time="102000", **spin_echo)
        write_classic(site.dicom / patient / "mese", base, ECHOES)
        write_volume(site.dicom / patient / "geometry", f"geometry {patient}", patient, n_slices=32)
    write_volume(site.dicom / "PHANTOM-9" / "slab", "slab", "PHANTOM-9", n_slices=8)


def test_a_phantoms_scan_is_taken_and_a_persons_is_not(site):
    fill(site)
    scans = site.take_in()
    taken = scans[scans["suffix"] == GEOMETRY]
    assert taken["participant_id"].tolist() == ["phantom1"]
    (row,) = taken.to_dict("records")
    assert (row["disposition"], row["run"]) == ("used", "")
    assert "whole phantom" in row["reason"]
    assert row["files"] == "sub-phantom1/ses-01/anat/sub-phantom1_ses-01_acq-geometry_run-1_T1w.nii.gz"
    volume = read_volume(site.bids / row["files"])
    assert volume.data.shape[2] == 32
    assert np.isclose(np.linalg.norm(volume.affine[:3, 2]), 4.0)
    assert read_sidecar(site.bids / row["files"])["Scanner"] == "scanner1"
    # A slab of 32 mm shows no whole phantom, and a person's 3D scan stays ignored as before.
    ignored = scans[scans["disposition"] == "ignored"]
    assert sorted(ignored["participant_id"]) == ["P01", "phantom1"]
    assert (scans["suffix"] == "MESE").sum() == 2


def test_it_is_converted_once(site):
    fill(site)
    site.take_in()
    before = site.files()
    site.take_in()
    assert site.files() == before


def test_it_goes_with_its_dicom(site):
    fill(site)
    name = site.take_in().query("suffix == @GEOMETRY")["files"].item()
    for path in sorted((site.dicom / "PHANTOM-9" / "geometry").iterdir()):
        path.unlink()
    assert (site.take_in()["suffix"] != GEOMETRY).all()
    assert not (site.bids / name).exists()
