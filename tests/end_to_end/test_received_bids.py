"""A site that sends its BIDS folder instead of DICOM gets the same maps, through the same jobs."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from end_to_end.conftest import Trial

from isocenter import layout

pytestmark = pytest.mark.slow

RUN = {"site": "siteA", "participant": "T01", "session": "01", "run": "1"}


@pytest.fixture(scope="module")
def trial(demo, tmp_path_factory) -> Trial:
    """What the intake made of one traveler's DICOM, sent as a dataset by a site of a new trial."""
    new = tmp_path_factory.mktemp("bids")
    shutil.copytree(demo.directory / "config", new / "config")
    site = new / "sites" / "siteA"
    site.mkdir(parents=True)
    old = demo.directory / "sites" / "siteA"
    text = (old / "site.yaml").read_text()
    assert "source: dicom" in text
    (site / "site.yaml").write_text(text.replace("source: dicom", "source: sent"))
    (site / "participants.tsv").write_text(
        "participant_id\tkind\tsource_id\nT01\ttraveler\tsub-T01\nphantom1\tphantom\tsub-phantom1\n"
    )
    raw = demo.directory / layout.fill(layout.BIDS, site="siteA")
    for name in ("sub-T01", "sub-phantom1"):
        shutil.copytree(raw / name, site / "sent" / name)
    shutil.copy(raw / "dataset_description.json", site / "sent")
    trial = Trial(new)
    trial.run(str(layout.fill(layout.MAP, **RUN, map="T1map")), str(layout.fill(layout.MAP, **RUN, map="T2map")))
    return trial


def test_every_image_and_its_values_are_those_of_the_dicom(demo, trial):
    old, new = (one.directory / layout.fill(layout.BIDS, site="siteA") for one in (demo, trial))
    images = sorted(path.relative_to(new) for path in new.rglob("*.nii.gz"))
    assert images == sorted(p.relative_to(old) for name in ("T01", "phantom1") for p in old.glob(f"sub-{name}/**/*.gz"))
    for image in images:
        a, b = nib.load(old / image), nib.load(new / image)
        np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
        np.testing.assert_allclose(a.affine, b.affine, atol=1e-5)
        before, after = (json.loads((root / str(image).replace(".nii.gz", ".json")).read_text()) for root in (old, new))
        for key in ("InversionTime", "EchoTime", "RepetitionTime", "FlipAngle", "MagneticFieldStrength", "Scanner",
                    "SaturationValue", "ReceiveCoilName", "SoftwareVersions", "Manufacturer"):  # fmt: skip
            assert before.get(key) == after.get(key), key


@pytest.mark.parametrize("name", ["T1map", "T2map"])
def test_the_maps_are_the_same(demo, trial, name):
    path = layout.fill(layout.MAP, **RUN, map=name)
    old, new = (np.asarray(nib.load(one.directory / path).dataobj) for one in (demo, trial))
    np.testing.assert_array_equal(old, new)
    sidecar = json.loads((trial.directory / str(path).replace(".nii.gz", ".json")).read_text())
    assert "Outcome" not in sidecar
    assert sidecar["SourceHashes"]
