"""How echo-planar series were read out, as a site states it: for any orientation, beside the header and against it."""

import json

import numpy as np
import pytest
from dicom.small import header, write_classic

from isocenter.dicom.readouts import complete_readout, find_statement, name_direction

#: Voxel axes in RAS: the first two span the slice. As dcm2niix writes them: x to the right's left, y up.
AXIAL = np.diag([-2.0, 2.0, 5.0, 1.0])
SAGITTAL = np.array([[0, 0, 5.0, 0], [-2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
CORONAL = np.array([[-2.0, 0, 0, 0], [0, 0, 5.0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
STATED = {"name": "*dwi*", "scanner": "", "phase_encoding": "AP", "total_readout_time": 0.04}


@pytest.mark.parametrize(
    ("affine", "direction", "expected"),
    [(AXIAL, "AP", "j-"), (AXIAL, "PA", "j"), (AXIAL, "LR", "i-"), (AXIAL, "RL", "i"), (SAGITTAL, "AP", "i"),
     (SAGITTAL, "IS", "j"), (SAGITTAL, "SI", "j-"), (CORONAL, "LR", "i-"), (CORONAL, "SI", "j-"),
     (CORONAL, "AP", "k-")],
)  # fmt: skip
def test_a_direction_in_the_body_is_an_axis_of_the_image(affine, direction, expected):
    assert name_direction(direction, affine) == expected


def test_an_oblique_stack_takes_the_axis_that_runs_closest():
    turn = np.radians(30)
    tilt = np.eye(4)
    tilt[:3, :3] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    assert name_direction("AP", tilt @ AXIAL) == "j-"


def test_what_the_header_leaves_out_is_filled_in_and_says_so():
    found = complete_readout({"PhaseEncodingAxis": "j", "EstimatedTotalReadoutTime": 0.041}, STATED, AXIAL)
    assert found["PhaseEncodingDirection"] == "j-"
    assert found["TotalReadoutTime"] == 0.04
    assert found["PhaseEncodingDirectionSource"] == found["TotalReadoutTimeSource"] == "site.yaml"
    known = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.0396}
    assert complete_readout(known, STATED, AXIAL) == known
    assert complete_readout(known, None, AXIAL) == known


@pytest.mark.parametrize(
    ("known", "words"),
    [({"PhaseEncodingDirection": "j"}, "states j- (AP), and the header j"),
     ({"PhaseEncodingAxis": "i"}, "states lines along j (AP), and the header along i"),
     ({"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.02}, "a readout of 0.04 s, and the header of 0.02 s")],
)  # fmt: skip
def test_a_statement_never_overrides_a_header(known, words):
    found = complete_readout(known, STATED, AXIAL)
    assert words in found.pop("ReadoutConflict")
    assert {key: found[key] for key in known} == known


def test_lines_across_the_slices_are_refused():
    assert "across the slices" in complete_readout({}, STATED, CORONAL)["ReadoutConflict"]


def test_statements_are_found_by_the_sites_own_names():
    other = {**STATED, "scanner": "s2", "phase_encoding": "PA"}
    assert find_statement(("DWI_b1000",), "s1", [other, STATED]) is STATED
    assert find_statement(("DWI_b1000",), "s2", [other, STATED]) is other
    assert find_statement(("T1w",), "s1", [other, STATED]) is None
    assert find_statement((), "s1", [{**STATED, "name": "*"}])["phase_encoding"] == "AP"


def test_a_philips_series_gets_what_the_site_states(site):
    """dcm2niix tells the axis from the header, and no polarity; stated later, the sidecar alone is written again."""
    base = header(
        "dwi", manufacturer="Philips Medical Systems", ScanningSequence=["SE", "EP"], EchoTime="80",
        InPlanePhaseEncodingDirection="COL", SeriesDescription="DWI 4b",
    )  # fmt: skip
    values = [{"DiffusionBValue": b} for b in (0.0, 500.0, 1000.0)]
    write_classic(site.dicom / "dwi", base, values)

    def take_in():
        row = site.take_in(suffixes=["dwi"]).iloc[0]
        image = site.bids / row.files
        return image, json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())

    image, sidecar = take_in()
    assert "PhaseEncodingDirection" not in sidecar
    written = image.stat().st_mtime_ns
    statement = 'readouts: [{name: "dwi*", phase_encoding: PA, total_readout_time: 0.035}]\n'
    path = site.folder / "site.yaml"
    path.write_text(path.read_text() + statement)
    image, sidecar = take_in()
    assert (sidecar["PhaseEncodingDirection"], sidecar["TotalReadoutTime"]) == ("j", 0.035)
    assert sidecar["PhaseEncodingDirectionSource"] == "site.yaml"
    assert image.stat().st_mtime_ns == written
    path.write_text(path.read_text().replace("PA", "LR"))
    _, sidecar = take_in()
    assert "the header along j" in sidecar["ReadoutConflict"]
    path.write_text(path.read_text().replace(statement.replace("PA", "LR"), ""))
    _, sidecar = take_in()
    assert not {"PhaseEncodingDirection", "ReadoutConflict", "TotalReadoutTime"} & set(sidecar)
