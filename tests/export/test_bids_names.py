"""Every name that intake and the fits can give a file, held against the official validator."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from export.test_export_command import validate_bids

from isocenter import layout
from isocenter.dicom.bids import name_phase, name_volumes, write_dataset
from isocenter.dicom.suffixes import SUFFIXES, is_phase
from isocenter.export.dataset import BIDS_MAPS, describe_derivatives
from isocenter.io.nifti import sidecar_path, write_image

PREFIX = f"{layout.SESSION_FOLDER}/{{folder}}/{layout.PREFIX}"
RUN = {"site": "alpha", "participant": "P01", "session": "01", "run": "1"}


def names_of(suffix: str, *, has_phase: bool) -> list[str]:
    volumes = {1.0: [], 2.0: []}
    acquisition = SimpleNamespace(
        kind=SUFFIXES[suffix], suffix=suffix, participant="P01", session="01", run="1", volumes=volumes,
        phases=volumes if has_phase else {}, difference_of=None,
    )  # fmt: skip
    names = list(dict.fromkeys(name_volumes(acquisition, PREFIX).values()))
    return names + ([name_phase(acquisition, name) for name in names] if has_phase else [])


def acquired(suffix: str, name: str) -> dict:
    """What a sidecar of each kind holds at the least (`dicom.sidecar`)."""
    kind = SUFFIXES[suffix]
    told = {"Manufacturer": "Siemens", "MagneticFieldStrength": 3.0, "RepetitionTime": 2.0, "EchoTime": 0.01}
    told |= {"FlipAngle": 20.0, kind.key: [0.5, 1.0] if not kind.entity else 0.5}
    if kind.is_spoiled:
        told |= {"RepetitionTimeExcitation": 0.02, "PulseSequenceType": "Spoiled gradient echo"}
    return told | ({"Units": "rad"} if is_phase(name) else {})


def test_raw_files_of_every_kind(tmp_path):
    for suffix, kind in SUFFIXES.items():
        for name in names_of(suffix, has_phase=kind.has_phase):
            shape = (4, 4, 2) if kind.entity else (4, 4, 2, 2)
            write_image(tmp_path / name, np.zeros(shape, np.int16), np.eye(4), acquired(suffix, name))
            if suffix == "dwi":
                stem = sidecar_path(tmp_path / name)
                stem.with_suffix(".bval").write_text("0 500\n")
                stem.with_suffix(".bvec").write_text("0 0\n" * 3)
    people = pd.DataFrame({"participant_id": ["P01"], "kind": ["patient"]})
    write_dataset(tmp_path, "alpha", people, set(SUFFIXES))
    assert validate_bids(tmp_path) == []


@pytest.mark.parametrize("own", ["TB1map", "ADCmap"])
def test_maps_of_every_name(tmp_path, own):
    """Those that BIDS knows are looked at, not ignored; those that it does not know are ignored, or would be errors."""
    maps = [*sorted(BIDS_MAPS), own, "PDFFmap", "T1heartmap", "B0map", "Ktransmap", "R2primemap"]
    top = describe_derivatives("alpha", maps, {"P01": "patient"})
    for name, text in top.items():
        (tmp_path / name).write_text(text)
    assert not any(f"_{name}." in top[".bidsignore"] for name in BIDS_MAPS)
    folder = layout.fill(layout.DERIVATIVES, site="alpha")
    patterns = (layout.MAP, layout.MAP_STDERR, layout.MAP_FLAG, layout.FIT, layout.GRADIENT, layout.CALIBRATED,
                layout.CALIBRATED_STDERR, layout.CALIBRATED_FLAG)  # fmt: skip
    sidecar = {"SkullStripped": False, "EchoTime": [0.01, 0.02], "FlipAngle": [3.0, 9.0], "InversionTimes": [0.1, 1.0]}
    for name in maps:
        for pattern in patterns:
            path = tmp_path / layout.fill(pattern, **RUN, map=name).relative_to(folder)
            write_image(path, np.zeros((4, 4, 2), np.float32), np.eye(4), sidecar)
    assert validate_bids(tmp_path) == []
    ignored = (tmp_path / ".bidsignore").read_text()
    (tmp_path / ".bidsignore").write_text(ignored.replace(f"*_{own}.*\n", ""))
    assert validate_bids(tmp_path)
