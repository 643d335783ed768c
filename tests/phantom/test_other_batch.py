"""A serial number of another batch: the vials say so, and those of the right number never do."""

import numpy as np
import pandas as pd
import pytest

from isocenter.phantom.other_batch import find_better_batch
from isocenter.phantom.whole_session import Conditions

#: One phantom of each batch.
SERIALS = {"1": "130-0010", "2": "130-0093", "2.5": "130-0150"}


def scan(nist, quantity, serial, field, temperature, seed, scatter=0.01):
    """Rows of a phantom's vials by a scanner of some gain: 0.6 % noise, solutions `scatter` off their table."""
    rng = np.random.default_rng(seed)
    reference = nist.reference(quantity, serial, field, temperature)
    value = np.array([r.value for r in reference])
    measured = value * (1 + 0.04 * rng.standard_normal())
    measured = measured * (1 + np.hypot(0.006, scatter) * rng.standard_normal(len(value)))
    rows = pd.DataFrame({"vial": [r.vial for r in reference], "flag": [r.flag for r in reference],
                         "measured": measured, "stderr": 0.006 * measured})  # fmt: skip
    return rows[value > 0.012]


def ask(nist, rows, serial, quantity="T1", field=3.0, temperature=20.0):
    return find_better_batch(nist, Conditions(serial, temperature, 0.5, field), quantity, rows)


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("quantity", ["T1", "T2"])
def test_the_right_number_is_never_doubted(nist, quantity, field):
    """Six phantoms of each batch, read 1 degree too warm by their thermometer."""
    for serial in SERIALS.values():
        for seed in range(6):
            rows = scan(nist, quantity, serial, field, 20.0, seed)
            assert ask(nist, rows, serial, quantity, field, 21.0) is None


@pytest.mark.parametrize(("true", "said"), [("1", "2"), ("2", "1"), ("1", "2.5")])
def test_a_number_of_another_batch_is_found_out(nist, true, said):
    """T1 at 3 T, where the batches differ least: four of five phantoms whose solutions are 1 % off their table."""
    found = [ask(nist, scan(nist, "T1", SERIALS[true], 3.0, 20.0, seed), SERIALS[said]) for seed in range(25)]
    told = [one for one in found if one is not None]
    assert len(told) >= 20
    for one in told:
        assert one.own == said
        assert one.other == true or {one.other, true} == {"2", "2.5"}  # which share their nickel
        assert one.other_scatter < one.scatter


def test_a_replaced_solution_is_no_merit_of_the_batch_that_flags_it(nist):
    """Batches 2 and 2.5 differ in two T2 vials alone, and batch 2 does not stand by these."""
    rows = scan(nist, "T2", SERIALS["2.5"], 3.0, 20.0, 3)
    rows.loc[rows["vial"] == 5, "measured"] *= 1.5
    assert ask(nist, rows, SERIALS["2.5"], "T2") is None


def test_few_vials_and_phantoms_without_batches_say_nothing(nist):
    rows = scan(nist, "T1", SERIALS["1"], 3.0, 20.0, 0, scatter=0.0)
    assert ask(nist, rows, SERIALS["2"]) is not None
    assert ask(nist, rows[:6], SERIALS["2"]) is None
