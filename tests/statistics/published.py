"""The published and simulated data sets of ``../shared/data/statistics``, and our answers to each by name."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from isocenter.statistics.agreement import find_iccs, find_mean_squares
from isocenter.statistics.bland_altman import compare_pairs
from isocenter.statistics.bounds import bound_coefficient, find_component_iccs, simulate_coefficients
from isocenter.statistics.comparison import find_concordance, fit_deming, fit_passing_bablok
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.linearity import assess_linearity
from isocenter.statistics.profile import Profile, profile_intervals
from isocenter.statistics.quantiles import Z975
from isocenter.statistics.repeatability import estimate_repeatability

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
MISSING = f"the public data sets are not at {FOLDER}"


@cache
def expected() -> dict:
    path = FOLDER / "expected.json"
    return json.loads(path.read_text(encoding="utf-8"))["datasets"] if path.is_file() else {}


@cache
def read(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv")


def leaves(tree, prefix=""):
    """(path, value, specification) of every number that an answer must match; lists give one leaf an end."""
    for key, value in tree.items():
        path = f"{prefix}/{key}" if prefix else key
        if isinstance(value, dict) and "value" not in value:
            yield from leaves(value, path)
        elif isinstance(value, dict):
            values = value["value"] if isinstance(value["value"], list) else [value["value"]]
            for i, number in enumerate(values):
                yield (f"{path}[{i}]" if len(values) > 1 else path), number, value


def answers_within(found, prefix="") -> dict:
    pairs = {
        "n_subjects": "n_subjects", "df": "df", "grand_mean": "mean", "wSD": "wsd", "wSD_ci95_lo": "wsd_low",
        "wSD_ci95_hi": "wsd_high", "RC": "rc", "RC_ci95_lo": "rc_low", "RC_ci95_hi": "rc_high",
        "RC_upper95_onesided": "rc_upper95", "wCV_rms": "wcv", "wCV_sd_over_mean": "wcv_mean",
        "log_wSD": "log_wsd", "wCV_log": "wcv_log", "wCV_log_ci95_lo": "wcv_log_low",
        "wCV_log_ci95_hi": "wcv_log_high", "pctRC_sym": "percent_rc", "pctRC_log_up": "percent_rc_up",
        "pctRC_log_down": "percent_rc_down",
    }  # fmt: skip
    return {prefix + theirs: getattr(found, ours) for theirs, ours in pairs.items()}


def answers_icc(subject, rater, y, prefix="") -> dict:
    found = {icc.form: icc for icc in find_iccs(subject, rater, y)}
    table = pd.DataFrame({"s": np.asarray(subject), "r": np.asarray(rater), "y": np.asarray(y, float)})
    wide = table.pivot(index="s", columns="r", values="y").dropna()
    squares = find_mean_squares(wide.to_numpy())
    answers = {"n": len(wide), "k": wide.shape[1], "MSR": squares.subjects, "MSC": squares.raters}
    answers |= {"MSE": squares.residual, "MSW": squares.within, "ICC_A_1_nu": squares.df_agreement}
    answers |= {"SEM_agreement": squares.sem_agreement, "SEM_consistency": squares.sem_consistency}
    for form, icc in found.items():
        name = "ICC_" + form[4:-1].replace(",", "_")
        answers |= {name: icc.estimate, f"{name}_lo": icc.low, f"{name}_hi": icc.high}
    return {prefix + key: value for key, value in answers.items()}


def answers_limits(difference, mean, prefix="") -> dict:
    exact, approximate, mover = (
        compare_pairs(difference, mean, limits=kind) for kind in ("exact", "approximate", "mover")
    )
    answers = {"n": exact.n, "bias": exact.bias, "bias_lo": exact.bias_low, "bias_hi": exact.bias_high}
    answers |= {"sd_diff": exact.sd, "LoA_lo": exact.loa_lower, "LoA_hi": exact.loa_upper}
    for kind, found in (("BA", approximate), ("exact", exact), ("MOVER", mover)):
        answers |= {
            f"LoA_lo_{kind}_ci[0]": found.loa_lower_low,
            f"LoA_lo_{kind}_ci[1]": found.loa_lower_high,
            f"LoA_hi_{kind}_ci[0]": found.loa_upper_low,
            f"LoA_hi_{kind}_ci[1]": found.loa_upper_high,
        }
    return {prefix + key: value for key, value in answers.items()}


def answers_reml(design, names: dict[str, str], *, profiled: bool = False) -> dict:
    found = estimate_components(design)
    names = {**names, "residual": "Residual"}
    answers = {
        "REML_criterion": found.fit.deviance,
        "singular": bool(found.fit.boundary),
        "fixef_(Intercept)": found.fit.mean,
        "se_(Intercept)": found.fit.mean_stderr,
    }
    for ours, theirs in names.items():
        answers[f"var_{theirs}"] = found.variances[ours]
        answers[f"sd_{theirs}"] = np.sqrt(found.variances[ours])
        answers[f"anova_var_{theirs}"] = found.moments[ours]
    if profiled:
        for ours, ends in profile_intervals(design).items():
            key = {"residual": "sigma", "mean": "(Intercept)"}.get(ours) or f"sd_(Intercept)|{names[ours]}"
            answers |= {f"profile95_{key}[{i}]": end for i, end in enumerate(ends)}
    return answers


def answer_shrout_fleiss_1979() -> dict:
    t = read("shrout_fleiss_1979")
    return answers_icc(t.subject, t.rater, t.y)


def answer_bland_altman_1986_pefr() -> dict:
    t = read("bland_altman_1986_pefr")
    answers = answers_limits(t.wright1 - t.mini1, (t.wright1 + t.mini1) / 2, "loa_wright1_minus_mini1/")
    concordance, unbiased = (find_concordance(t.wright1, t.mini1, ddof=d) for d in (0, 1))
    answers |= {
        "ccc_wright1_mini1/CCC_n": concordance.estimate,
        "ccc_wright1_mini1/CCC_n_minus_1": unbiased.estimate,
        "ccc_wright1_mini1/CCC_epiR": concordance.estimate,
        "ccc_wright1_mini1/CCC_lo": concordance.low,
        "ccc_wright1_mini1/CCC_hi": concordance.high,
        "ccc_wright1_mini1/Cb": concordance.bias_correction,
        "ccc_wright1_mini1/pearson": concordance.pearson,
        "ccc_wright1_mini1/scale_shift": concordance.scale_shift,
        "ccc_wright1_mini1/location_shift": concordance.location_shift,
    }
    for method in ("wright", "mini"):
        values = t[[f"{method}1", f"{method}2"]].to_numpy().ravel()
        found = estimate_repeatability(values, np.repeat(t.id, 2))
        answers |= answers_within(found, f"within_{method}/")
        # Bland and Altman 1986 take the differences around zero and the factor 2.
        answers[f"BA1986_sd_diff_mean0_{method}"] = np.sqrt(2) * found.wsd
        answers[f"BA1986_coef_repeatability_{method}"] = 2 * np.sqrt(2) * found.wsd
    return answers


def answer_rail() -> dict:
    t = read("rail")
    within = answers_within(estimate_repeatability(t.travel, t.Rail), "within/")
    return answers_reml(build_design(t.travel, t.Rail), {"subject": "Rail"}, profiled=True) | within


def answer_penicillin() -> dict:
    t = read("penicillin")
    design = build_design(t.diameter, t.plate, t["sample"])
    return answers_reml(design, {"subject": "plate", "site": "sample"}, profiled=True)


def answer_pastes() -> dict:
    t = read("pastes")
    return answers_reml(build_design(t.strength, t.batch, None, t.cask), {"subject": "batch", "session": "sample"})


def answer_dyestuff() -> dict:
    t = read("dyestuff")
    return answers_reml(build_design(t.Yield, t.Batch), {"subject": "Batch"}, profiled=True)


def answer_dyestuff2() -> dict:
    t = read("dyestuff2")
    return answers_reml(build_design(t.Yield, t.Batch), {"subject": "Batch"}, profiled=True)


def answer_creatinine() -> dict:
    t = read("creatinine").dropna()
    x, y = t["serum.crea"], t["plasma.crea"]
    deming, rank, ols = fit_deming(x, y), fit_passing_bablok(x, y), assess_linearity(x, y, np.arange(len(x)))
    return {
        "n": len(x),
        "deming_intercept": deming.intercept,
        "deming_slope": deming.slope,
        "deming_intercept_jack_se": deming.intercept_stderr,
        "deming_slope_jack_se": deming.slope_stderr,
        "deming_slope_jack_ci[0]": deming.slope_low,
        "deming_slope_jack_ci[1]": deming.slope_high,
        "mcr_deming_se_slope": deming.slope_stderr_analytic,
        "ols_intercept": ols.intercept,
        "ols_slope": ols.slope,
        "ols_slope_ci[0]": ols.slope_low,
        "ols_slope_ci[1]": ols.slope_high,
        "ols_R2": ols.r2,
        "pb_slope": rank.slope,
        "pb_slope_ci[0]": rank.slope_low,
        "pb_slope_ci[1]": rank.slope_high,
        "pb_intercept": rank.intercept,
        "pb_intercept_ci[0]": rank.intercept_low,
        "pb_intercept_ci[1]": rank.intercept_high,
    }


def answer_giavarina_2015() -> dict:
    t = read("giavarina_2015")
    a, b = t["Method.A"], t["Method.B"]
    return answers_limits(a - b, (a + b) / 2, "loa_A_minus_B/")


def answer_bland_altman_1999_plasma_volume() -> dict:
    t = read("bland_altman_1999_plasma_volume")
    raw = t.Nadler - t.Hurley, (t.Nadler + t.Hurley) / 2
    log = np.log(t.Nadler) - np.log(t.Hurley), (np.log(t.Nadler) + np.log(t.Hurley)) / 2
    on_raw, on_log = compare_pairs(*raw), compare_pairs(*log)
    return {
        **answers_limits(*raw, "raw_nadler_minus_hurley/"),
        **answers_limits(*log, "log_nadler_minus_hurley/"),
        "ratio_bias": np.exp(on_log.bias),
        "ratio_LoA[0]": np.exp(on_log.loa_lower),
        "ratio_LoA[1]": np.exp(on_log.loa_upper),
        "prop_bias_slope": on_raw.slope,
        "prop_bias_p": on_raw.slope_p,
    }


#: The SDs of the sites at which lme4 1.1-31 evaluates their profile up to the estimate's other side.
_LME4_STEPS = (0, 0.1047987293, 0.2552943289, 0.3867713518, 0.5356935124, 0.7114646520, 0.7905162800, 0.8774730708,
               1.0753077145, 1.3118481483, 1.6179184702, 2.0210986620)  # fmt: skip


def interpolate_lower_end(profile: Profile, name: str, steps) -> float:
    """The lower end of a profile interval as lme4 draws it: between the few SDs that it evaluated.

    Signed roots of the deviance's rise at `steps`, a natural cubic through them, and the inverse cubic with the
    reciprocal slopes (``interpSpline`` and ``backSpline`` of R's splines) where the root is −1.96.
    """
    steps = np.array(steps)
    best = profile.estimate(name)
    zeta = np.array([np.sign(sd - best) * np.sqrt(max(profile.rise(name, sd), 0.0)) for sd in steps])
    slopes = 1 / CubicSpline(steps, zeta, bc_type="natural")(steps, 1)
    # Natural at its end: the first piece of the inverse is a parabola that ends with the next slope.
    slopes[0] = 2 * (steps[1] - steps[0]) / (zeta[1] - zeta[0]) - slopes[1]
    return float(CubicHermiteSpline(zeta, steps, slopes)(-Z975))


def answer_ep05a3_multisite() -> dict:
    t = read("ep05a3_multisite")
    design = build_design(t.y, np.zeros(len(t)), t.site, t.day)
    answers = answers_reml(design, {"site": "site", "session": "site:day"}, profiled=True)
    # Our own end is where the likelihood says (a test); the published one depends on the steps of who published it.
    answers["profile95_sd_(Intercept)|site[0]"] = interpolate_lower_end(Profile(design), "site", _LME4_STEPS)
    components = estimate_components(design)
    rdc = bound_coefficient(components, "reproducibility")
    v = components.variances
    total = v["site"] + v["session"] + v["residual"]
    return answers | {
        "repeatability_sd": np.sqrt(v["residual"]),
        "within_site_sd": np.sqrt(v["session"] + v["residual"]),
        "reproducibility_sd": np.sqrt(total),
        "RDC": rdc.estimate,
        "reproducibility_CV_pct": 100 * np.sqrt(total) / components.fit.mean,
        "RDC_MLS_upper95_onesided": rdc.upper95,
        "RDC_MLS_lower95_onesided": rdc.lower95,
    }


def answer_pet_vt_amygdala() -> dict:
    t = read("pet_vt_amygdala")
    found = estimate_repeatability(t.y, t.subject)
    icc = answers_icc(t.subject, t.session, t.y, "icc/")
    return answers_within(found) | icc | {"wscv_Quan_Shih": found.wcv_mean}


def answer_crossed(name: str) -> dict:
    t = read(name)
    y = np.log(t.y) if name.endswith("prop") else t.y
    design = build_design(y, t.subject, t.site, t.session)
    components = estimate_components(design)
    names = {"subject": "subject", "site": "site", "subject:site": "subject:site", "session": "subject:site:session"}
    answers = answers_reml(design, names)
    groups = t.subject + t.site + t.session.astype(str)
    within = estimate_repeatability(y, groups, t.subject)
    answers |= {"pooled_within_session_SD": within.wsd, "pooled_within_session_df": within.df}
    answers |= {"n_obs": design.n, "n_missing": int(t.y.isna().sum())}
    drawn = simulate_coefficients(components, 1, 20_000)
    coefficients = {
        "RC_same_session": "repeatability", "RC_between_session": "intermediate_precision", "RDC": "reproducibility",
    }  # fmt: skip
    for theirs, ours in coefficients.items():
        found = bound_coefficient(components, ours)
        answers |= {
            theirs: found.estimate,
            f"{theirs}_logbasic_upper95": found.estimate**2 / np.quantile(drawn[ours], 0.05),
        }
        answers |= {f"{theirs}_MLS_lower95_onesided": found.lower95, f"{theirs}_MLS_upper95_onesided": found.upper95}
        answers |= {
            f"pct_{theirs}_up": 100 * np.expm1(found.estimate),
            f"pct_{theirs}_down": 100 * np.expm1(-found.estimate),
        }
    iccs = {
        "ICC_between_site_agreement": "ICC_between_sites", "ICC_between_site_consistency": "ICC_consistency",
        "ICC_within_site_retest": "ICC_retest",
    }  # fmt: skip
    estimates = {ratio.name: ratio.estimate for ratio in find_component_iccs(components, 1)}
    answers |= {theirs: estimates[ours] for theirs, ours in iccs.items()}
    for theirs, ours in {**coefficients, **iccs}.items():
        low, high, upper = np.quantile(drawn[ours], [0.025, 0.975, 0.95])
        answers |= {f"{theirs}_pboot95[0]": low, f"{theirs}_pboot95[1]": high}
        answers[f"{theirs}_pboot_percentile_upper95"] = upper
    v = components.variances
    answers["wCV_same_session"] = np.sqrt(np.expm1(v["residual"]))
    answers["wCV_total"] = np.sqrt(np.expm1(components.total - v["subject"]))
    return answers


def answer_sim_crossed_public_T1() -> dict:
    return answer_crossed("sim_crossed_public_T1")


def answer_sim_crossed_public_prop() -> dict:
    return answer_crossed("sim_crossed_public_prop")


def answer_sim_testretest_public() -> dict:
    t = read("sim_testretest_public")
    return answers_within(estimate_repeatability(t.y, t.subject))


def answer_sim_phantom_public() -> dict:
    answers = {}
    for site, t in read("sim_phantom_public").groupby("site"):
        found = assess_linearity(t.reference, t.measured, t.vial, t.scan)
        pairs = {
            "slope": "slope", "slope_ci[0]": "slope_low", "slope_ci[1]": "slope_high", "intercept": "intercept",
            "intercept_ci[0]": "intercept_low", "intercept_ci[1]": "intercept_high", "R2": "r2",
            "quad_p": "quadratic_p", "quad_coef": "quadratic", "wls_slope": "weighted_slope",
            "wls_intercept": "weighted_intercept", "mean_pct_bias": "percent_bias",
            "mean_pct_bias_ci[0]": "percent_bias_low", "mean_pct_bias_ci[1]": "percent_bias_high",
            "max_abs_pct_bias": "max_percent_bias", "pooled_scan_wCV": "scan_wcv",
        }  # fmt: skip
        answers |= {f"{site}/{theirs}": getattr(found, ours) for theirs, ours in pairs.items()}
    return answers


def answer_edge_cases() -> dict:
    answers = {}
    for case, t in read("edge_cases").groupby("case"):
        answers |= answers_within(estimate_repeatability(t.y, t.subject), f"{case}/")
        if case == "negative_icc":
            answers |= answers_icc(t.subject, t.session, t.y, f"{case}/")
        icc = find_iccs(t.subject, t.session, t.y)
        answers[f"{case}/ICC"] = icc[0].estimate
    return answers


@cache
def answers_of(name: str) -> dict:
    return globals()[f"answer_{name}"]()
