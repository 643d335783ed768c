"""T1 by variable flip angle against the tables of OSIPI's code collection, within OSIPI's own tolerances.

R1 may differ by 0.05/s + 5 %. The QIBA rows are a digital reference object with known R1 (in 1/ms); the brain rows are
measurements with the R1 that another nonlinear fit gave.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from isocenter import models
from isocenter.fitting import fit

DATA = Path(__file__).parents[2] / "../shared/data/osipi_dce"
#: Name, rows, factor from the table's R1 to 1/s.
TABLES = [("t1_quiba_data.csv", 45, 1000.0), ("t1_brain_data.csv", 76, 1.0)]


def read_rows(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the OSIPI tables are not here: {path}")
    with path.open(encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield row["label"], *(np.array(row[key].split(), float) for key in ("FA", "TR", "s", "R1", "s0"))


def fit_rows(name, robust=None):
    for label, angle, tr, signal, rate, s0 in read_rows(name):
        bound = models.get("t1_variable_flip_angle").bind({"FlipAngle": angle, "RepetitionTimeExcitation": tr})
        yield label, fit(bound, signal, robust=robust), rate.item(), s0.item()


@pytest.mark.parametrize(("name", "rows", "scale"), TABLES)
def test_every_row_is_within_the_tolerance(name, rows, scale):
    found = [(label, 1 / f.value["T1"], rate * scale) for label, f, rate, _ in fit_rows(name)]
    assert len(found) == rows
    off = [row for row in found if not abs(row[1] - row[2]) <= 0.05 + 0.05 * row[2]]
    assert not off


def test_the_brain_rows_are_the_same_least_squares_optimum():
    """Far inside the tolerance: the reference is a fit too, so rounding of the table is all that may be left."""
    for label, f, rate, s0 in fit_rows("t1_brain_data.csv"):
        assert 1 / f.value["T1"] == pytest.approx(rate, rel=2e-4), label
        assert f.value["M0"] == pytest.approx(s0, rel=2e-4), label


def test_the_errors_of_the_reference_object_are_those_of_its_noise():
    """Each miss of the known R1 over its own standard error: Student's t with four degrees of freedom."""
    ratio = []
    for _, f, rate, _ in fit_rows("t1_quiba_data.csv"):
        ratio.append((f.value["T1"] - 1 / (1000 * rate)) / f.stderr["T1"])
        assert f.freedom == 4
    # 95 % of 45 lie inside 2.78; fewer than 38 would happen once in a thousand times.
    assert np.sum(np.abs(ratio) < 2.776) >= 38
