"""Over trials, 95 % intervals of regions cover the truth as often as they say.

Within a trial all scans of a site share one calibration, which is most of their standard error: one trial is four
draws of it, too few to tell 95 % from 100 %. These seeds were used for no choice.
"""

import pandas as pd
import pytest
from end_to_end.conftest import Trial

SEEDS = (11, 12, 13, 14, 15)


@pytest.mark.slow
def test_intervals_cover_the_truth(tmp_path, capsys):
    parts = []
    for seed in SEEDS:
        trial = Trial(tmp_path / str(seed))
        trial.simulate(seed=seed, workers=2)
        trial.run()
        parts.append(trial.compare_with_truth().assign(seed=seed))
    rows = pd.concat(parts, ignore_index=True)
    rows["z"] = (rows["value"] - rows["truth"]) / rows["stderr"]
    rows["covered"] = rows["z"].abs() <= 1.96
    with capsys.disabled():
        print("\n", rows.groupby(["biomarker", "roi"])[["covered", "z"]].agg(["mean", "std", "size"]).to_string())
    tissue = rows[rows["roi"].isin(["white_matter", "gray_matter"])]
    assert 0.85 <= tissue["covered"].mean() <= 0.99
    # A biomarker alone has 20 calibrations here: all of them cover in every third set of five trials.
    assert (tissue.groupby("biomarker")["covered"].mean() >= 0.85).all()
    assert tissue.groupby("biomarker")["z"].std().between(0.7, 1.35).all()
