"""Phase images beside magnitudes: paired, in radians, or left out."""

import json

import numpy as np
import pytest
from dicom.small import header, write_classic

from isocenter.io.nifti import read_series

ECHOES = [{"EchoTime": f"{1.2 * (k + 1):.1f}"} for k in range(4)]
PHASES = [{**echo, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]} for echo in ECHOES]
WANTED = {"suffixes": ["MEGRE"]}


def gradient_echo(series, **elements):
    return header(series, ScanningSequence="GR", MRAcquisitionType="3D", **elements)


def rescale(dataset, index):
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-4096"


def files_of(table):
    return [name for row in table[table["disposition"] == "used"].itertuples() for name in row.files.split("|")]


def test_phase_of_another_series_joins_its_magnitude(site):
    write_classic(site.dicom / "m", gradient_echo("m", time="101500"), ECHOES)
    write_classic(site.dicom / "p", gradient_echo("p", time="101500"), PHASES, scale=rescale)
    table = site.take_in(**WANTED)
    assert table[["disposition", "suffix", "run"]].values.tolist() == [["used", "MEGRE", "1"]] * 2
    files = files_of(table)
    assert sum("_part-mag_" in name for name in files) == sum("_part-phase_" in name for name in files) == 4
    phase = site.bids / next(name for name in files if "echo-1_part-phase" in name)
    assert json.loads(phase.with_name(phase.name.replace(".nii.gz", ".json")).read_text())["Units"] == "rad"
    series = read_series([phase])
    assert series.data.min() >= -np.pi  # stored 0 is minus half a turn, 4095 nearly plus one
    assert -np.pi < series.data.mean() < np.pi
    assert not np.isfinite(series.saturation).any()
    assert site.take_in(**WANTED).equals(table)


def test_each_run_has_the_phase_that_was_scanned_with_it(site):
    for run, hour in ((1, "10"), (2, "11")):
        write_classic(site.dicom / f"m{run}", gradient_echo(f"m{run}", time=f"{hour}1500"), ECHOES)
        write_classic(site.dicom / f"p{run}", gradient_echo(f"p{run}", time=f"{hour}1500"), PHASES, scale=rescale)
    table = site.take_in(**WANTED).sort_values("time")
    assert table["run"].tolist() == ["1", "1", "2", "2"]
    assert len(files_of(table)) == 16


def test_phase_without_magnitude_is_ignored(site):
    write_classic(site.dicom / "p", gradient_echo("p"), PHASES, scale=rescale)
    row = site.take_in(**WANTED).iloc[0]
    assert row.disposition == "ignored"
    assert "without magnitude" in row.reason


@pytest.mark.parametrize("case", ["unknown vendor", "an echo is missing"])
def test_phase_that_cannot_be_trusted_is_left_out_and_the_magnitude_used(site, case):
    vendor = "ACME Imaging" if case == "unknown vendor" else "SIEMENS"
    phases = PHASES if case == "unknown vendor" else PHASES[:3]
    write_classic(site.dicom / "both", gradient_echo("m", manufacturer=vendor), [*ECHOES, *phases])
    table = site.take_in(**WANTED)
    assert [name.split("run-1_")[1] for name in files_of(table)] == [f"echo-{k}_MEGRE.nii.gz" for k in range(1, 5)]


def test_a_series_of_phase_in_an_unknown_unit_is_a_row_with_a_reason(site):
    write_classic(site.dicom / "m", gradient_echo("m", manufacturer="ACME Imaging"), ECHOES)
    write_classic(site.dicom / "p", gradient_echo("p", manufacturer="ACME Imaging"), PHASES)
    table = site.take_in(**WANTED).set_index("disposition")
    assert "a unit that is not known" in table.loc["ignored", "reason"]
    assert len(files_of(table.reset_index())) == 4
