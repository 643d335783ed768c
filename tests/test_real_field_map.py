"""A real field map from its DICOM to Hz: recognized, paired, agreeing with the vendor's phase, without jumps."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from dicom.small_site import make_site
from scipy import ndimage

from fit_map import fit_map
from isocenter.dicom.suffixes import is_phase
from isocenter.fields.distortion import read_readout
from isocenter.io.nifti import read_map, read_series, read_sidecar, read_volume
from isocenter.io.series import read_parts
from isocenter.registration import undistort
from isocenter.volume import Series, Volume
from measure_shim import measure_shim

ARCHIVE = Path(__file__).resolve().parents[2] / "shared/data/field_map/siemens_gre_field_dicom.tar.gz"
#: One turn of the phase [Hz] between echoes at 5.19 and 7.65 ms.
PERIOD = 1 / (0.00765 - 0.00519)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    if not ARCHIVE.exists():
        pytest.skip(f"the real data are not here: {ARCHIVE}")
    site = make_site(tmp_path_factory.mktemp("field_map"))
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(site.dicom, filter="data")
    (site.folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nP01\tvolunteer\tcrlab\n")
    table = site.take_in(suffixes=["B0GRE"])
    names = sorted(name for row in table.itertuples() for name in row.files.split("|"))
    return site, table, names


@pytest.fixture(scope="module")
def fitted(taken):
    site, _, names = taken
    out = {key: site.folder / f"{key}.nii.gz" for key in ("map", "stderr", "flag", "fit")}
    fit_map(
        [site.bids / name for name in names], **out, model="b0_dual_echo", parameter="B0", unit="Hz", options={},
        plausible_range=[-2000, 2000],
    )  # fmt: skip
    field, sidecar = read_map(out["map"], out["stderr"], out["flag"])
    assert "Outcome" not in sidecar
    return field, out


def test_magnitudes_and_difference_are_one_field_map_in_bids(taken):
    site, table, names = taken
    assert table[["suffix", "disposition", "run"]].values.tolist() == [["B0GRE", "used", "1"]] * 2
    start = "sub-P01/ses-01/fmap/sub-P01_ses-01_run-1_"
    assert names == [f"{start}{ending}.nii.gz" for ending in ("magnitude1", "magnitude2", "phasediff")]
    sidecars = [read_sidecar(site.bids / name) for name in names]
    assert [sidecar.get("EchoTime") for sidecar in sidecars] == [0.00519, 0.00765, None]
    assert (sidecars[2]["EchoTime1"], sidecars[2]["EchoTime2"], sidecars[2]["Units"]) == (0.00519, 0.00765, "rad")


def test_hertz_are_the_vendors_phase_by_definition(taken, fitted):
    """Stored integers of the DICOM to radians by Siemens' rule (4096 is half a turn), to Hz over the echo spacing."""
    site, _, names = taken
    field, _ = fitted
    pydicom = pytest.importorskip("pydicom")
    with tarfile.open(ARCHIVE) as archive:
        members = [m for m in archive if "gre_field_ph" in m.name and m.name.endswith(".dcm")]
        headers = [pydicom.dcmread(io.BytesIO(archive.extractfile(m).read())) for m in members]
    headers.sort(key=lambda h: float(h.SliceLocation))
    stored = np.stack([h.pixel_array for h in headers], axis=-1).astype(float)
    # NIfTI's first axis is the row, its second runs against the columns of DICOM.
    phase = (2 * stored - 4096).transpose(1, 0, 2)[:, ::-1] * np.pi / 4096
    expected = phase / (2 * np.pi) * PERIOD
    turns = (field.value - expected)[field.ok] / PERIOD
    assert field.ok.sum() > 10_000
    assert np.abs(turns - np.round(turns)).max() < 1e-5
    # Most of the head is in the turn that the vendor wrote.
    assert np.mean(np.round(turns) == 0) > 0.9
    np.testing.assert_allclose(read_volume(site.bids / names[2]).data, phase, atol=1e-6)


def test_no_jump_is_left_inside_the_head(taken, fitted):
    """Between face neighbors of the head's strong voxels no step comes near half a turn (203 Hz)."""
    site, _, names = taken
    field, _ = fitted
    strength = np.abs(read_parts([site.bids / name for name in names]).data[..., 0])
    head = strength > 0.25 * np.percentile(strength, 98)
    head = ndimage.binary_erosion(head, iterations=1)
    head &= field.ok
    assert head.sum() > 10_000
    for axis in range(3):
        first, second = (np.take(a, range(s, a.shape[axis] - 1 + s), axis=axis) for s in (0, 1) for a in (field.value,))
        both = np.take(head, range(head.shape[axis] - 1), axis) & np.take(head, range(1, head.shape[axis]), axis)
        assert np.abs(second - first)[both].max() < 0.5 * PERIOD


def test_its_shim(taken, fitted, tmp_path):
    _, out = fitted
    who = {"participant_id": "P01", "kind": "volunteer", "session": "01", "run": "1", "scanner": "scanner1"}
    measure_shim(out["map"], out["stderr"], out["flag"], shim=tmp_path / "shim.json", biomarker="B0", **who)
    shim = json.loads((tmp_path / "shim.json").read_text())
    print(shim)
    assert 10 < shim["sd"] < 128  # within a part per million at 3 T
    assert 10 < shim["fwhm"] < shim["range"] < 400


def test_magnitudes_alone_make_no_field_map(taken, tmp_path):
    site, _, _ = taken
    other = make_site(tmp_path)
    for path in site.dicom.rglob("5_gre_field_mag/*.dcm"):
        (other.dicom / path.name).write_bytes(path.read_bytes())
    (other.folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nP01\tvolunteer\tcrlab\n")
    row = other.take_in(suffixes=["B0GRE"]).iloc[0]
    assert (row.disposition, row.suffix) == ("ignored", "B0GRE")
    assert "no field map" in row.reason
    assert "phase images" in row.action


def test_names_of_phases():
    names = ["a_run-1_phase1.nii.gz", "a_phasediff.nii.gz", "a_echo-1_part-phase_MEGRE.nii.gz", "a_magnitude1.nii.gz"]
    assert [is_phase(name) for name in names] == [True, True, True, False]


@pytest.mark.parametrize("direction", ["j", "j-", "i"])
def test_a_real_head_in_its_own_field_comes_back(taken, fitted, direction):
    """The real magnitude as echo-planar images would show it in the real field (readout 60 ms), then corrected.

    The images are made on a finer grid elsewhere, by moving signal; the correction sees them and the map alone.
    """
    site, _, names = taken
    field, _ = fitted
    magnitude = read_series([site.bids / name for name in names[:2]])
    scan = Volume(magnitude.data.mean(axis=-1), magnitude.affine)
    readout = read_readout({"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.06})
    shape, affine = (84, 84, 40), scan.affine @ np.diag([0.75, 0.75, 0.9, 1.0])
    affine[:3, 3] += affine[:3, :3] @ [0.4, -0.3, 0.2]
    voxel = np.linalg.inv(scan.affine) @ affine
    truth = ndimage.affine_transform(scan.data, voxel, output_shape=shape, order=1)
    head = truth > 0.25 * np.percentile(truth, 98)
    # The field that distorts: the map itself, between its voxels by lines, not by the cubic of the correction.
    known = np.where(field.ok, field.value, 0.0)
    offset = ndimage.affine_transform(known, voxel, output_shape=shape, order=1)
    core = ndimage.binary_erosion(head, iterations=3)
    shift = readout.sign * readout.time * offset
    image = np.moveaxis(
        push(np.moveaxis(truth, readout.axis, -1), np.moveaxis(shift, readout.axis, -1)), -1, readout.axis
    )
    acquired = Series(
        image[..., np.newaxis].astype(np.float32), affine,
        {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.06},
    )  # fmt: skip
    found = undistort(acquired, readout, field, scan)
    assert found.reason == ""
    left = np.abs(found.shift - shift)[core]
    before = np.abs(shift[core])
    error = [np.median(np.abs(one - truth)[core] / truth[core]) for one in (image, found.corrected)]
    print("MEASURED", direction, np.percentile(before, [50, 95]), np.nanpercentile(left, [50, 95, 99.9]), error,
          found.placement.how, found.facts["Likeness"])  # fmt: skip
    assert np.nanpercentile(left, 99) <= 0.3
    assert error[1] < 0.5 * error[0]
    assert found.facts["Likeness"][1] > found.facts["Likeness"][0]


def push(density, shift):
    """Lines (..., n) of signal moved by shifts [voxels], eight points a voxel."""
    n, fine = density.shape[-1], 8
    place = (np.arange(n * fine) + 0.5) / fine - 0.5
    out = np.zeros(density.shape)
    for index in np.ndindex(density.shape[:-1]):
        signal = np.interp(place, np.arange(n), density[index]) / fine
        at = place + np.interp(place, np.arange(n), shift[index])
        low = np.floor(at).astype(int)
        for where, share in ((low, 1 - at + low), (low + 1, at - low)):
            inside = (where >= 0) & (where < n)
            out[index] += np.bincount(where[inside], (signal * share)[inside], minlength=n)
    return out
