"""Methods beside the main tables: total deviation, precision profile, ComBat, single changes, standard errors."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from trials import BIOMARKERS, make_measurements, simulate_values

from isocenter.statistics.analyze import analyze, analyze_table
from isocenter.statistics.bland_altman import compare_pairs
from isocenter.statistics.combat import apply_effects, estimate_effects, harmonize_left_out
from isocenter.statistics.comparison import fit_passing_bablok
from isocenter.statistics.precision_profile import find_profile
from isocenter.statistics.quantiles import K
from isocenter.statistics.total_deviation import find_total_deviation


@pytest.mark.parametrize(("bias", "sd"), [(0.0, 1.0), (2.0, 1.0), (-30.0, 3.0)])
def test_total_deviation_solves_its_equation(bias, sd):
    """Against the folded normal distribution: |d| has the probability 0.9 below the index."""
    n = 4000
    d = bias + sd * stats.norm.ppf((np.arange(n) + 0.5) / n)
    found = find_total_deviation(compare_pairs(d, 0 * d))
    spread = d.std(ddof=1)
    assert found.tdi == pytest.approx(stats.foldnorm.ppf(0.9, abs(bias) / spread, scale=spread), rel=1e-6)
    assert found.tdi < found.tdi_upper95 < 1.06 * found.tdi


def test_upper_bound_of_the_total_deviation_covers():
    """300 seeded trials of 15 differences; the standard error of the share is 1.3 %."""
    rng = np.random.default_rng(2)
    truth = stats.foldnorm.ppf(0.9, 0.5)
    d = rng.normal(0.5, 1, (300, 15))
    held = np.mean([find_total_deviation(compare_pairs(x, 0 * x)).tdi_upper95 >= truth for x in d])
    assert 0.92 <= held <= 0.98


def test_precision_profile_finds_how_the_spread_grows():
    rng = np.random.default_rng(3)
    level = np.repeat(np.linspace(10, 200, 400), 2)
    for constant, proportional in ((3.0, 0.0), (0.0, 0.05), (2.0, 0.03)):
        y = (level + rng.normal(0, np.hypot(constant, proportional * level))).reshape(-1, 2)
        bins, a, b = find_profile(np.full(400, 2.0), y.mean(1), y.var(1, ddof=1))
        assert len(bins) == 5
        assert sum(found.n_groups for found in bins) == 400
        for found in bins:
            truth = np.hypot(constant, proportional * found.mean)
            assert found.wsd_low < found.wsd < found.wsd_high
            assert found.fitted_wsd == pytest.approx(truth, rel=0.12)
        assert a == pytest.approx(constant, abs=0.8)
        assert b == pytest.approx(proportional, abs=0.006)


def make_values(rng, shift, n_people=12, features=4):
    """(f, n) values of travelers, with site shifts and the second site twice as noisy; subject and site codes."""
    n_sites = len(shift)
    subject, site = (index.ravel() for index in np.indices((n_people, n_sites, 3))[:2])
    noise = np.where(np.arange(n_sites) == 1, 2.0, 1.0)
    people = rng.normal(0, 6, (features, n_people))
    y = 100 + people[:, subject] + np.asarray(shift)[site] + rng.normal(0, 1, (features, len(site))) * noise[site]
    return y, subject, site


def test_combat_takes_sites_away_and_leaves_people():
    rng = np.random.default_rng(4)
    y, subject, site = make_values(rng, (5.0, -4.0, 0.0, 1.0))
    done = harmonize_left_out(y, subject, site)
    for before, after in zip(y, done, strict=True):
        means = [np.array([x[site == j].mean() for j in range(4)]) for x in (before, after)]
        assert means[1].std() < 0.15 * means[0].std()
        people = [np.array([x[subject == i].mean() for i in range(12)]) for x in (before, after)]
        assert np.corrcoef(*people)[0, 1] > 0.995
        assert people[1].std() == pytest.approx(people[0].std(), rel=0.03)


def test_combat_left_out_never_sees_the_person_it_corrects():
    rng = np.random.default_rng(5)
    y, subject, site = make_values(rng, (5.0, -4.0, 0.0))
    changed = y.copy()
    changed[:, (subject == 3) & (site == 1)] += 50
    first, second = (harmonize_left_out(v, subject, site) for v in (y, changed))
    mine = (subject == 3) & (site != 1)
    # Their own other values move only by the rescaling around their own level, never by a site effect of their own.
    effects = [estimate_effects(v[:, subject != 3], subject[subject != 3], site[subject != 3], 3) for v in (y, changed)]
    assert np.array_equal(effects[0].shift, effects[1].shift)
    alone = apply_effects(y[:, subject == 3], np.zeros((subject == 3).sum(), int), site[subject == 3], effects[0])
    assert np.allclose(first[:, subject == 3], alone)
    assert not np.allclose(second[:, mine], y[:, mine])


def test_combat_stands_beside_the_phantom_in_the_table():
    table = make_measurements(np.random.default_rng(6), rois=("white_matter", "gray_matter"))
    rows = analyze(table, biomarkers=BIOMARKERS, combat=True)["harmonization"]
    combat = rows[rows["method"] == "combat_roi"].set_index(["roi", "stage", "component"])
    assert combat["validation"].str.contains("leave one participant out").sum() == 10
    for roi in ("white_matter", "gray_matter"):
        before, after = (combat.loc[(roi, stage, "site")] for stage in ("raw", "harmonized"))
        assert after["variance"] < 0.1 * before["variance"]
        assert after["subject_variance_ratio"] == pytest.approx(1, abs=0.2)
    assert len(analyze(table, biomarkers=BIOMARKERS)["harmonization"].query("method == 'combat_roi'")) == 0


def test_single_changes_are_judged_by_the_volunteers():
    rng = np.random.default_rng(7)
    volunteers = simulate_values(rng, subjects=20, sites=1, sd={"session": 1.0}).assign(kind="volunteer")
    patients = simulate_values(rng, subjects=200, sites=1, repeats=1, sd={"session": 1.0})
    patients = patients.assign(kind="patient", participant_id="X" + patients["participant_id"])
    sick = (patients["participant_id"] == "XP07") & (patients["session"] == "02")
    patients.loc[sick, "value"] += 15.0
    rows = analyze_table(pd.concat([volunteers, patients]))["longitudinal"].set_index("participant_id")
    assert len(rows) == 200
    assert rows.loc["XP07", "call"] == "real"
    others = rows.drop(index="XP07")
    # Without a change 5 % exceed the limit of the true variance; the bound's limit is wider.
    assert rows["limit"].iloc[0] == pytest.approx(K * np.sqrt(2), rel=0.3)
    assert (rows["limit_upper95"] > rows["limit"]).all()
    assert (others["call"] == "real").mean() < 0.05
    assert set(rows["coefficient"]) == {"intermediate_precision"}
    assert set(rows["flags"]) == {""}


def test_changes_of_people_who_move_are_judged_by_reproducibility():
    rng = np.random.default_rng(8)
    travelers = simulate_values(rng, subjects=10, sites=5).assign(kind="traveler")
    patient = pd.DataFrame(
        {"participant_id": "X", "site": ["site1", "site3"], "session": ["01", "02"], "run": "1",
         "value": [100.0, 103.0], "kind": "patient"}
    )  # fmt: skip
    row = analyze_table(pd.concat([travelers, patient]))["longitudinal"].iloc[0]
    assert (row["site_from"], row["site_to"], row["coefficient"]) == ("site1", "site3", "reproducibility")
    assert row["call"] == "within_variation"


def test_standard_errors_explain_what_they_made():
    """Repeats that scatter by their standard errors alone are explained whole, others in part."""
    rng = np.random.default_rng(9)
    for extra, share in ((0.0, 1.0), (1.0, 0.5)):
        table = simulate_values(rng, subjects=60, sites=1, sd={"session": 0.0, "residual": np.hypot(1, extra)})
        rows = analyze_table(table.assign(stderr=1.0))["measurement_error"].set_index("component")
        assert rows.loc["residual", "share"] == pytest.approx(share, rel=0.25)
        assert rows.loc["residual", "share_low"] < share < rows.loc["residual", "share_high"]
        assert "may_hold_shared_parts" in rows.loc["residual", "flags"]


def test_only_the_part_of_an_error_that_varies_within_a_component_explains_it():
    """Repeats share the anatomy that a region samples and the calibration; sites differ by the calibration alone."""
    rng = np.random.default_rng(19)
    noise, anatomy, calibration = 1.0, 3.0, 2.0
    sd = {"subject": 5.0, "site": calibration, "subject:site": 0.0, "session": 0.0, "residual": noise}
    table = simulate_values(rng, subjects=12, sites=25, sd=sd)
    table = table.assign(
        raw_value=table["value"] / 1.1, raw_stderr=np.hypot(noise, anatomy) / 1.1, raw_stderr_noise=noise / 1.1,
        stderr=np.sqrt(noise**2 + anatomy**2 + calibration**2),
    )  # fmt: skip
    rows = analyze_table(table)["measurement_error"].set_index(["stage", "component"])
    assert set(rows.index) == {("raw", "residual"), ("calibrated", "residual"), ("calibrated", "site")}
    for stage in ("raw", "calibrated"):
        assert rows.loc[(stage, "residual"), "share"] == pytest.approx(1.0, rel=0.15)
        assert rows.loc[(stage, "residual"), "source"] == "noise of the fits"
    site = rows.loc[("calibrated", "site")]
    assert site["error_variance"] == pytest.approx(calibration**2)
    assert site["share_low"] < 1 < site["share_high"]
    assert "at_most" in site["flags"].split(";")
    assert "shared references included" in site["source"]


def test_passing_bablok_of_a_line_and_of_ties():
    x = np.arange(12.0)
    line = fit_passing_bablok(x, 2 + 3 * x)
    assert (line.slope, line.intercept) == pytest.approx((3, 2))
    with_tie = fit_passing_bablok(np.array([1.0, 1, 2, 3, 4]), np.array([1.0, 2, 2, 3, 4]))
    assert with_tie.slope == pytest.approx(1)


def test_methods_are_compared_for_every_pair_of_sites():
    rows = analyze_table(simulate_values(np.random.default_rng(10), subjects=15, sites=3))["method_comparison"]
    sites = rows[rows["contrast"].str.startswith("site")]
    assert len(sites) == 9
    deming = sites[sites["method"] == "Deming"]
    assert ((deming["slope_low"] < 1) & (deming["slope_high"] > 1)).all()
    concordance = sites[sites["method"] == "concordance (Lin)"]
    assert ((concordance["ccc_low"] < concordance["ccc"]) & (concordance["ccc"] < concordance["ccc_high"])).all()
