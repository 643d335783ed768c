"""Every source of regions through the workflow: Atropos with an atlas, eroded labels, a heart's segments, a thigh."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from isocenter import layout
from isocenter.io.nifti import read_labels, write_image
from isocenter.io.tables import write_table
from isocenter.plan import Plan
from isocenter.settings import load_settings
from isocenter.templates import load_mni_template

#: Relative variation of T1 around the ring: slow over the back, fast over the front (`simulation.body`).
VARIATION = 0.05
ROIS = {
    "T1": ["white_matter", "gray_matter", "cortical_gray_matter", "deep_gray_matter", "left_half"],
    "T2": ["white_matter", "gray_matter"],
    "T1heart": ["myocardium", "basal_anterior", "basal_inferior", "apical_septal"],
    "PDFF": ["thigh_muscle", "subcutaneous_fat"],
}


def write_atlas(folder):
    """The left half of gray matter, and an ellipsoid for its nuclei, in the template's space."""
    template = load_mni_template()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in template.image.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ template.affine[:3, :3].T + template.affine[:3, 3], -1, 0)
    labels = np.where(x < 0, 1, 0).astype(np.int16)
    labels[(x / 26) ** 2 + ((y + 10) / 22) ** 2 + ((z - 8) / 12) ** 2 < 1] = 2
    write_image(folder / "atlas.nii.gz", labels, template.affine)
    rows = [("1", "left_half", "gray_matter", "n/a"), ("2", "nuclei", "gray_matter", "deep_gray")]
    write_table(folder / "atlas.tsv", pd.DataFrame(rows, columns=["index", "name", "tissue", "part"]))


def write_config(folder):
    """The full demonstration's config, with every source of regions in use."""
    path = folder / "config" / "biomarkers.yaml"
    blocks = yaml.safe_load(path.read_text())
    for name, rois in ROIS.items():
        blocks[name]["rois"] = rois
    blocks["T1"]["erosion"] = {"voxels": 1}
    blocks["T1heart"]["regions"] = "heart"
    blocks["PDFF"] |= {"regions": "thigh", "erosion": {"mm": 3.5}}
    path.write_text(yaml.safe_dump(blocks, sort_keys=False))
    config = yaml.safe_load((folder / "config" / "full.yaml").read_text())
    config["biomarkers"] = list(ROIS)
    config["regions"] = {
        "brain": {"segmentation": "atropos", "atlas": {"labels": "config/atlas.nii.gz", "names": "config/atlas.tsv"}}
    }
    (folder / layout.CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "config" / "claims.yaml").write_text("claims: []\n")
    write_atlas(folder / "config")


def describe_hearts(folder):
    """A heart of three slices beside each mask that the simulated reader drew; the mask itself is taken away."""
    for path in sorted(folder.glob("sites/*/rois/*_MOLLI_dseg.nii.gz")):
        image, affine = read_labels(path)
        center = np.argwhere(image == 1).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
        slices, angles = [], np.arange(48) * np.pi / 24
        around = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)
        for level, z in (("basal", 8.0), ("mid", 0.0), ("apical", -8.0)):
            middle = np.array([center[0], center[1], z])
            slices.append(
                {
                    "level": level,
                    "anterior_insertion": (middle + 33 * np.array([0.5, np.sqrt(0.75), 0])).tolist(),
                    "endocardium": (middle + 23.5 * around).tolist(),
                    "epicardium": (middle + 31.5 * around).tolist(),
                }
            )
        path.with_name(path.name.replace("_dseg.nii.gz", "_heart.yaml")).write_text(yaml.safe_dump({"slices": slices}))
        path.with_name(path.name.replace(".nii.gz", ".tsv")).unlink()
        path.unlink()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    from end_to_end.conftest import Trial

    trial = Trial(tmp_path_factory.mktemp("sources"))
    options = {"bad_things": False, "spike": False, "first_session_runs": 1, "arms": ["T1heart", "PDFF"]}
    options |= {"tissue_variation": VARIATION}
    trial.simulate(sites=1, participants=1, sessions=1, workers=2, options=options)
    write_config(trial.directory)
    describe_hearts(trial.directory)
    trial.run()
    return trial


def test_every_region_has_its_row_and_says_where_it_came_from(measured):
    rows = measured.table(layout.MEASUREMENTS)
    for name, rois in ROIS.items():
        own = rows[rows["biomarker"] == name]
        assert set(own["roi"]) == set(rois), measured.table(layout.EXCLUSIONS)[["biomarker", "reason"]].to_string()
        assert len(own) == len(rois)
    erosion = rows.groupby("biomarker")["erosion"].unique().apply(list).to_dict()
    assert erosion == {"PDFF": ["3.5 mm"], "T1": ["1 voxel"], "T1heart": ["none"], "T2": ["none"]}
    assert rows["transform_hash"].str.fullmatch("[0-9a-f]{64}").all()
    per_map = rows.groupby(["participant_id", "biomarker"])["transform_hash"].nunique()
    assert (per_map == 1).all()
    assert rows["transform_hash"].nunique() == len(per_map)
    for column in ("raw_median", "raw_mean", "raw_sd", "raw_iqr", "raw_p10", "raw_p90", "n_effective"):
        assert np.isfinite(rows[column]).all(), column
    assert (rows["raw_p10"] <= rows["raw_median"]).all()
    assert (rows["n_effective"] <= rows["n_valid"]).all()


def test_values_are_those_of_the_truth(measured):
    rows = measured.table(layout.MEASUREMENTS).set_index(["biomarker", "roi"])["value"]
    truth = measured.table("demo-truth/roi_truth.tsv").set_index(["biomarker", "roi"])["truth"]
    # Hard labels of Atropos, eroded by a voxel, beside voxels that are pure tissue to 90 %.
    assert rows["T1", "white_matter"] == pytest.approx(truth["T1", "white_matter"], rel=0.05)
    assert rows["T1heart", "myocardium"] == pytest.approx(truth["T1heart", "myocardium"], rel=0.01)
    assert rows["PDFF", "thigh_muscle"] == pytest.approx(truth["PDFF", "thigh_muscle"], abs=0.2)
    assert rows["PDFF", "subcutaneous_fat"] == pytest.approx(92.0, abs=1.0)


def test_segments_of_the_heart_show_what_differs_around_it(measured):
    """T1 is 1 + 0.05 sin of the angle toward the back: over 60° in front and behind, ∓ 4.8 % of the mean."""
    rows = measured.table(layout.MEASUREMENTS).set_index("roi")["value"]
    share = VARIATION * np.sin(np.pi / 6) / (np.pi / 6)
    assert rows["basal_anterior"] / rows["basal_inferior"] == pytest.approx((1 - share) / (1 + share), abs=0.015)


def test_a_structural_scan_is_taken_where_it_was_sent(measured, monkeypatch):
    monkeypatch.chdir(measured.directory)
    settings = load_settings(measured.directory)
    run = Plan(settings).runs("siteA", phantom=False)[0]
    scan = Path("sites/siteA/rois/sub-T01_ses-01_T1w.nii.gz")
    assert Plan(settings).structural(run) == []
    settings.config["regions"]["brain"]["structural"] = "T1w"
    assert Plan(settings).structural(run) == []
    scan.touch()
    assert Plan(settings).structural(run) == [str(scan)]
    scan.unlink()


def test_tissues_are_in_their_order(measured):
    found = measured.table(layout.PLAUSIBILITY)
    assert set(found["rule"]) >= {"T2 < T1", "white_matter < gray_matter", "white_matter < cortical_gray_matter"}
    assert "violated" not in set(found["order"])
    assert 'id="plausibility"' in (measured.directory / "results/report/sites/siteA.html").read_text()
