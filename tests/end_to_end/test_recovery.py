"""The injected ruler error of each site is recovered by its calibration, over seeds.

A site's clock runs at nominal x (1 + e), on phantom and head alike: the right calibration has the gain 1 + e.
"""

import json

import numpy as np
import pandas as pd
import pytest
from end_to_end.conftest import Trial

from isocenter import layout

SEEDS = range(101, 111)


def recover(directory, seed: int) -> pd.DataFrame:
    """Simulate the phantom sessions of one trial and calibrate its sites; one row a site and biomarker."""
    trial = Trial(directory)
    trial.simulate(seed=seed, participants=0, workers=2, options={"phantoms_only": True, "bad_things": False})
    rulers = trial.table("demo-truth/ruler.tsv")
    paths = [layout.CALIBRATION.format(site=r.site, biomarker=r.biomarker) for r in rulers.itertuples()]
    trial.run(*paths)
    calibrations = [json.loads((directory / path).read_text()) for path in paths]
    return rulers.assign(
        seed=seed,
        form=[c["form"] for c in calibrations],
        gain=[c["coefficients"][1] for c in calibrations],
        stderr=[np.sqrt(c["covariance"][1][1]) for c in calibrations],
    )


@pytest.mark.slow
def test_rulers_are_recovered_over_seeds(tmp_path, capsys):
    rows = pd.concat([recover(tmp_path / str(seed), seed) for seed in SEEDS], ignore_index=True)
    rows["z"] = (rows["gain"] - 1 - rows["ruler_error"]) / rows["stderr"]
    with capsys.disabled():
        print("\n", rows.groupby("biomarker")["z"].agg(["size", "mean", "std", lambda z: (z.abs() <= 1.96).mean()]))
        print(rows[rows["z"].abs() > 1.96].to_string())
    assert (rows["z"].abs() <= 1.96).mean() >= 0.9
