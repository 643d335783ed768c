"""Two blocks on one series: each has its maps, its vials and its calibration."""

import json

import pytest
from end_to_end.conftest import Trial

from isocenter import layout

pytestmark = pytest.mark.slow

#: The same echoes and the same recovery, fitted in another way.
BLOCKS = """
T2plain:
  {title: T2 by one exponential, suffix: MESE, model: t2_multi_echo, parameter: T2, map: T2plainmap, unit: s,
   plausible_range: [0.002, 3.0], align: none, rois: [white_matter], calibration: phantom, field_dependent: true}
T1plain:
  {title: T1 without outliers left out, suffix: IRT1, model: t1_inversion_recovery, parameter: T1, map: T1plainmap,
   unit: s, plausible_range: [0.01, 6.0], align: rigid, rois: [white_matter], calibration: phantom,
   field_dependent: true}
"""
NAMES = ["T1", "T2", "T1plain", "T2plain"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("two"))
    trial.simulate(sites=1, participants=1, sessions=1, workers=2)
    blocks = trial.directory / "config/biomarkers.yaml"
    blocks.write_text(blocks.read_text() + BLOCKS)
    config = trial.directory / "config/config.yaml"
    config.write_text(config.read_text().replace("[T1, T2]", f"[{', '.join(NAMES)}]"))
    targets = [str(layout.fill(layout.CALIBRATION, site="siteA", biomarker=name)) for name in NAMES]
    trial.run(*targets)
    return trial


def test_each_has_its_own_calibration(trial):
    for name in NAMES:
        path = trial.directory / layout.fill(layout.CALIBRATION, site="siteA", biomarker=name)
        calibration = json.loads(path.read_text())
        assert calibration["biomarker"] == name
        assert not calibration["refused"], calibration["reason"]
        assert calibration["n_vials"] >= 5


def test_vials_are_held_against_the_same_references(trial):
    folder = trial.directory / layout.fill(layout.DERIVATIVES, site="siteA")
    tables = {
        name: trial.table(
            next(folder.glob(f"sub-*/ses-01/anat/*desc-{name}map_vials.tsv")).relative_to(trial.directory)
        )
        for name in NAMES
    }
    for name, other in (("T1", "T1plain"), ("T2", "T2plain")):
        assert set(tables[other]["biomarker"]) == {other}
        assert tables[name]["reference"].tolist() == tables[other]["reference"].tolist()
    # An ideal exponential over-reads T2 of imperfect echoes: the two must not be one map under two names.
    assert (tables["T2plain"]["measured"] / tables["T2"]["measured"] - 1).median() > 0.01
