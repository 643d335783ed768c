"""A fit in a trial knows of a phantom what it must: the temperature at which water resonates."""

from types import SimpleNamespace

import pandas as pd
import pytest
from phantom.conftest import ROOT

from isocenter import layout
from isocenter.documents import read_phantom
from isocenter.io.tables import write_table
from isocenter.plan import Plan
from isocenter.settings import Settings

BLOCK = {"model": "pdff_magnitude", "parameter": "PDFF", "map": "PDFFmap", "suffix": "MEGRE", "unit": "percent",
         "signal": "magnitude", "options": {"dominant": "either"}}  # fmt: skip
T1 = {"model": "t1_inversion_recovery", "parameter": "T1", "map": "T1map", "suffix": "IRT1", "unit": "s",
      "signal": "magnitude", "options": {}}  # fmt: skip
SITE = {
    "scanners": [{"id": "one", "serial": "1"}, {"id": "two", "serial": "2"}],
    "phantoms": [
        {"participant_id": "fat", "type": "pdff_vials", "serial": "7", "temperatures": {"2026-01-10": 21.5}},
        {"participant_id": "balls", "type": "nist_system", "serial": "130-0093", "temperature": 20.0},
    ],
}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    same = {"session": "01", "run": "1", "suffix": "MEGRE", "disposition": "used", "date": "2026-01-10", "files": "x"}
    people = [("fat", "phantom"), ("balls", "phantom"), ("P01", "patient")]
    rows = pd.DataFrame([{"participant_id": p, "kind": kind, **same} for p, kind in people])
    write_table(layout.fill(layout.SCANS, site="a"), rows)
    phantoms = {name: read_phantom(ROOT / f"config/phantoms/{name}.yaml") for name in ("pdff_vials", "nist_system")}
    blocks = {"PDFF": BLOCK, "T1": T1}
    return Plan(Settings(tmp_path, {}, blocks, [], {}, ["a"], phantoms, {"a": SITE}, {"a": []}, {"a": []}))


def job(participant, map="PDFFmap"):
    return SimpleNamespace(site="a", participant=participant, session="01", run="1", map=map)


def test_fat_of_vials_is_fitted_at_the_temperature_of_the_day(plan):
    assert plan.fit_options(job("fat")) == {"dominant": "either", "temperature": 21.5}


@pytest.mark.parametrize(("participant", "map"), [("P01", "PDFFmap"), ("balls", "PDFFmap"), ("fat", "T1map")])
def test_nothing_is_said_where_nothing_depends_on_it(plan, participant, map):
    assert plan.fit_options(job(participant, map)) == plan.block_of_map(map)["options"]


def test_the_scanners_of_a_site_are_those_of_its_file(plan):
    assert plan.site_scanners("a") == ["one", "two"]
