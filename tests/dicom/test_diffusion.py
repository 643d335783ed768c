"""Where each vendor keeps the b-value, what becomes of a series without one, and how trace images get to BIDS."""

import json

import nibabel as nib
import numpy as np
import pytest
from dicom.small import header, write_classic, write_enhanced
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

B_VALUES = [0, 300, 600, 1000]  # s/mm2
DIFFUSION = {"suffixes": ["IRT1", "MESE", "dwi"]}


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def echo_planar(series="dwi", **elements):
    base = header(series, ScanningSequence=["SE", "EP"], EchoTime="80")
    for key, value in elements.items():
        setattr(base, key, value)
    return base


def write(site, base, scale=None, values=None):
    return write_classic(site.dicom / "dwi", base, values or [{} for _ in B_VALUES], scale=scale)


def standard(dataset, index):
    dataset.DiffusionBValue = float(B_VALUES[index])


def siemens(dataset, index):
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", str(B_VALUES[index]))


def siemens_as_bytes(dataset, index):
    """An archive that lost the private VR: four ASCII digits look like a float."""
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(
        0x0C, "UN", f"{B_VALUES[index]:<4}".encode()
    )


def ge(dataset, index):
    values = [1_000_000_000 + B_VALUES[index] if index else 0, 8, 0, 0]
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", values)


def philips(dataset, index):
    dataset.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", float(B_VALUES[index]))


@pytest.mark.parametrize(
    ("manufacturer", "place", "source"),
    [
        ("SIEMENS", standard, "(0018,9087)"),
        ("SIEMENS", siemens, "(0019,100C)"),
        ("SIEMENS", siemens_as_bytes, "(0019,100C)"),
        ("GE MEDICAL SYSTEMS", ge, "(0043,1039)"),
        ("Philips Medical Systems", philips, "(2001,1003)"),
    ],
    ids=["standard", "siemens", "siemens_as_bytes", "ge", "philips"],
)
def test_b_values_are_read_where_the_vendor_keeps_them(site, manufacturer, place, source):
    write(site, echo_planar(Manufacturer=manufacturer), place)
    row = only(site.take_in(**DIFFUSION))
    assert (row.disposition, row.suffix, row.run) == ("used", "dwi", "1")
    assert row.files == "sub-P01/ses-01/dwi/sub-P01_ses-01_run-1_dwi.nii.gz"
    image = site.bids / row.files
    sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["DiffusionBValue"] == B_VALUES
    assert source in sidecar["DiffusionBValueSource"]
    assert image.with_name(image.name.replace(".nii.gz", ".bval")).read_text() == "0 300 600 1000\n"
    assert image.with_name(image.name.replace(".nii.gz", ".bvec")).read_text() == "0 0 0 0\n" * 3
    assert nib.load(image).shape == (8, 10, 2, 4)


def test_b_values_of_an_enhanced_file(site):
    base = echo_planar(Manufacturer="Philips Healthcare")
    path = write_enhanced(site.dicom / "dwi.dcm", base, [80.0] * 4, kind="SE")
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.EchoPlanarPulseSequence = "YES"
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        weighting = Dataset()
        weighting.DiffusionBValue = float(B_VALUES[index % 4])
        weighting.DiffusionDirectionality = "ISOTROPIC" if index % 4 else "NONE"
        frame.MRDiffusionSequence = Sequence([weighting])
    dataset.save_as(path)
    row = only(site.take_in(**DIFFUSION))
    assert (row.disposition, row.suffix) == ("used", "dwi"), row.reason
    assert (site.bids / row.files.replace(".nii.gz", ".bval")).read_text() == "0 300 600 1000\n"


def test_volumes_stand_in_the_order_of_their_b_values(site):
    def backwards(dataset, index):
        dataset.DiffusionBValue = float(B_VALUES[::-1][index])

    paths = write(site, echo_planar(), backwards)
    import pydicom

    row = only(site.take_in(**DIFFUSION))
    image = np.asarray(nib.load(site.bids / row.files).dataobj)
    first = pydicom.dcmread(paths[-2]).pixel_array  # the last volume written holds b = 0
    assert image[..., 0, 0].sum() == first.sum()


@pytest.mark.parametrize(("missing", "words"), [(4, "is missing:"), (1, "missing in 2 of 8 images")])
def test_a_missing_b_value_is_quarantined_and_never_guessed(site, missing, words):
    def place(dataset, index):
        if index >= missing:
            dataset.DiffusionBValue = float(B_VALUES[index])

    write(site, echo_planar(), place)
    row = only(site.take_in(**DIFFUSION))
    assert (row.disposition, row.suffix, row.files) == ("quarantined", "dwi", "")
    assert words in row.reason
    assert "(0018,9087)" in row.reason
    assert "b-values" in only(site.exclusions()).action
    assert list(site.bids.glob("sub-*")) == []


def test_functional_images_and_single_echo_planar_ones_are_not_diffusion(site):
    write(site, header("bold", ScanningSequence=["GR", "EP"], EchoTime="30"))
    write_classic(site.dicom / "field", header("field", ScanningSequence=["SE", "EP"], EchoTime="60"), [{}])
    table = site.take_in(**DIFFUSION)
    assert set(table.disposition) == {"ignored"}


def test_the_scanners_trace_is_used_and_its_map_is_not(site):
    trace = ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]
    write(site, echo_planar(ImageType=trace), siemens)
    write_classic(site.dicom / "adc", echo_planar("adc", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]), [{}])
    table = site.take_in(**DIFFUSION).set_index("disposition")
    assert table.loc["used", "suffix"] == "dwi"
    assert "ADC" in table.loc["ignored", "reason"]


def test_single_directions_are_refused_with_what_to_send(site):
    def place(dataset, index):
        dataset.DiffusionBValue = [0.0, 1000.0, 1000.0, 1000.0][index]

    write(site, echo_planar(), place)
    row = only(site.take_in(**DIFFUSION))
    assert row.disposition == "quarantined"
    assert "6 images for 2 slices" in row.reason
    assert "trace" in row.action


def test_single_directions_give_way_to_the_trace_of_the_same_scan(site):
    def directions(dataset, index):
        dataset.DiffusionBValue = [0.0, 1000.0, 1000.0, 1000.0][index]

    write(site, echo_planar(), directions)
    trace = echo_planar("trace", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"])
    write_classic(site.dicom / "trace", trace, [{} for _ in B_VALUES], scale=siemens)
    table = site.take_in(**DIFFUSION).set_index("disposition")
    assert (table.loc["used", "run"], table.loc["used", "suffix"]) == ("1", "dwi")
    assert "trace" in table.loc["ignored", "reason"]


def test_a_trial_without_diffusion_leaves_it_out(site):
    write(site, echo_planar(), standard)
    row = only(site.take_in())
    assert (row.disposition, row.suffix) == ("ignored", "dwi")


def heart(series="molli", **elements):
    return header(series, ScanningSequence="GR", ScanOptions=["IR", "CG"], EchoTime="1.1", **elements)


TIMES = [{"InversionTime": str(time)} for time in (120, 200, 1020, 1100, 1920, 2000, 2820, 3720)]


def test_a_gated_gradient_echo_with_inversion_times_is_look_locker(site):
    write_classic(site.dicom / "heart", heart(), TIMES)
    row = only(site.take_in(suffixes=["MOLLI"]))
    assert (row.disposition, row.suffix) == ("used", "MOLLI")
    assert row.files.split("|")[7].endswith("run-1_inv-8_MOLLI.nii.gz")
    assert "*_MOLLI.*" in (site.bids / ".bidsignore").read_text()


def test_look_locker_is_no_inversion_recovery(site):
    """Fitted as inversion recovery, its apparent T1* would stand for T1."""
    write_classic(site.dicom / "heart", heart(), TIMES)
    row = only(site.take_in(suffixes=["IRT1"]))
    assert (row.disposition, row.suffix) == ("ignored", "MOLLI")


def test_the_hearts_trigger_time_is_no_inversion_time(site):
    base = heart(Manufacturer="Philips Medical Systems")
    write_classic(site.dicom / "heart", base, [{"TriggerTime": str(500 + 10 * k)} for k in range(8)])
    row = only(site.take_in(suffixes=["MOLLI"]))
    assert (row.disposition, row.suffix) == ("quarantined", "MOLLI")
    assert "(0018,0082)" in row.reason


def test_several_echoes_of_a_gradient_echo(site):
    echoes = [{"EchoTime": f"{1.2 * (k + 1):.1f}"} for k in range(6)]
    write_classic(site.dicom / "thigh", header(ScanningSequence="GR", MRAcquisitionType="3D"), echoes)
    row = only(site.take_in(suffixes=["MEGRE"]))
    assert (row.disposition, row.suffix) == ("used", "MEGRE")
    assert row.files.split("|")[5].endswith("anat/sub-P01_ses-01_run-1_echo-6_MEGRE.nii.gz")


@pytest.mark.parametrize(
    ("axis", "positive", "direction"),
    [("COL", "1", "j-"), ("COL", "0", "j"), ("ROW", "1", "i"), ("ROW", "0", "i-"), ("COL", None, None)],
)
def test_the_readout_of_echo_planar_images_stands_in_the_sidecar(site, axis, positive, direction):
    """Siemens: (0019,1028) pixel bandwidth of the lines, (0021,111C) their direction; without it none is written."""
    base = echo_planar(InPlanePhaseEncodingDirection=axis)

    def private(dataset, index):
        siemens(dataset, index)
        dataset.private_block(0x0019, "SIEMENS MR HEADER").add_new(0x28, "FD", 20.0)
        if positive is not None:
            dataset.private_block(0x0021, "SIEMENS MR SDI 02", create=True).add_new(0x1C, "IS", positive)

    write(site, base, private)
    for _ in range(2):  # the second time from the index
        row = only(site.take_in(**DIFFUSION))
        sidecar = json.loads((site.bids / row.files.replace(".nii.gz", ".json")).read_text())
        assert sidecar.get("PhaseEncodingDirection") == direction
        lines = 10 if axis == "COL" else 8
        assert sidecar["TotalReadoutTime"] == pytest.approx((lines - 1) / (20.0 * lines))
        path = site.bids / row.files.replace(".nii.gz", ".json")
        path.unlink()
