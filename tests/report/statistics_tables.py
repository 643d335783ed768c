"""Made-up statistics tables with the columns, units and scales of the real ones, and all three verdicts."""

import numpy as np
import pandas as pd

from isocenter import layout

WORDS = {"qualified": "supports", "not_qualified": "does not support", "indeterminate": "does not settle"}


def make_statistics(sites, rng, gains, truths, biomarkers) -> dict[str, pd.DataFrame]:
    tables: dict[str, list[dict]] = {name: [] for name in layout.STATISTICS_TABLES}
    for (biomarker, roi), truth in truths.items():
        lead = {"biomarker": biomarker, "roi": roi, "unit": "s", "scale": "log", "field_strength": 3.0}
        for site in sites:
            tables["accounting"].append(
                {
                    **lead,
                    "site": site,
                    "n_planned": 15,
                    "n_received": 15,
                    "n_usable": 14,
                    "n_used": 14,
                    "n_excluded": 1,
                    "reason": "",
                    "flags": "",
                }
            )
        for stage, site_sd in (("raw", 0.05), ("calibrated", 0.012)):
            both = {**lead, "stage": stage}
            for site in (*sites, "pooled"):
                wsd = 0.006 * truth * (1 + 0.2 * rng.standard_normal())
                tables["repeatability"].append(
                    {
                        **both,
                        "site": site,
                        "n_subjects": 5,
                        "df": 5,
                        "mean": truth,
                        "wsd": wsd,
                        "wsd_low": wsd * 0.7,
                        "wsd_high": wsd * 1.9,
                        "rc": 2.77 * wsd,
                        "rc_low": 1.9 * wsd,
                        "rc_high": 5.2 * wsd,
                        "rc_upper95": 4.6 * wsd,
                        "wcv": wsd / truth,
                        "wcv_low": 0.7 * wsd / truth,
                        "wcv_high": 1.9 * wsd / truth,
                        "wcv_log": wsd / truth,
                        "percent_rc": 277 * wsd / truth,
                        "percent_rc_down": -250 * wsd / truth,
                        "percent_rc_up": 290 * wsd / truth,
                        "flags": "small_sample",
                    }
                )
            d = 0.008 * truth
            tables["bland_altman"].append(
                {
                    **both,
                    "contrast": "run 2 - run 1",
                    "n": 20,
                    "bias": 0.001 * truth,
                    "bias_low": -d / 2,
                    "bias_high": d / 2,
                    "sd": d,
                    "loa_lower": -2 * d,
                    "loa_lower_low": -2.8 * d,
                    "loa_lower_high": -1.4 * d,
                    "loa_upper": 2 * d,
                    "loa_upper_low": 1.4 * d,
                    "loa_upper_high": 2.8 * d,
                    "slope": 0.01,
                    "slope_p": 0.4,
                    "spread_rho": 0.1,
                    "spread_p": 0.6,
                    "method": "exact (noncentral t)",
                    "flags": "",
                }
            )
            parts = {"subject": 0.03, "site": site_sd, "subject:site": 0.0, "session": 0.004, "residual": 0.006}
            total = sum(v**2 for v in parts.values())
            for name, sd in parts.items():
                tables["variance_components"].append(
                    {
                        **both,
                        "component": name,
                        "n_levels": 4,
                        "variance": sd**2,
                        "sd": sd,
                        "percent_total": 100 * sd**2 / total,
                        "variance_low": 0.3 * sd**2 if sd else np.nan,
                        "variance_high": (14 if name == "site" else 3) * sd**2 if sd else np.nan,
                        "moment_variance": sd**2 - 1e-7,
                        "method": "REML",
                        "flags": "" if sd else "boundary",
                    }
                )
            for name, sd in (
                ("repeatability", 0.006),
                ("intermediate_precision", 0.0072),
                ("reproducibility", site_sd),
            ):
                tables["reproducibility"].append(
                    {
                        **both,
                        "coefficient": name,
                        "estimate": 2.77 * sd,
                        "lower95": 2 * sd,
                        "upper95": 5.2 * sd,
                        "low": 1.9 * sd,
                        "high": 6 * sd,
                        "df": 4.2,
                        "percent": 277 * sd,
                        "n_subjects": 5,
                        "n_sites": len(sites),
                        "method": "MLS",
                        "flags": "few_sites;small_sample",
                    }
                )
            tables["agreement"].append(
                {
                    **both,
                    "form": "ICC(A,1)",
                    "estimate": 0.88,
                    "low": 0.62,
                    "high": 0.97,
                    "n": 5,
                    "k": 4,
                    "n_dropped": 1,
                    "source": "anova",
                    "wording": "moderate to excellent",
                    "flags": "",
                }
            )
            for name in ("variance_components", "reproducibility", "agreement"):
                for row in tables[name][-5:]:
                    row.update(unit="1")
            tables["descriptives"] += [
                {
                    **both,
                    "site": s,
                    "session": "01",
                    "n": 10,
                    "mean": truth,
                    "sd": 0.03 * truth,
                    "median": truth,
                    "min": 0.9 * truth,
                    "max": 1.1 * truth,
                    "flags": "",
                }
                for s in sites
            ]
    for k, ((biomarker, roi), verdict) in enumerate(
        zip(
            list(truths)[:2] + list(truths)[3:5],
            ("indeterminate", "qualified", "not_qualified", "indeterminate"),
            strict=True,
        )
    ):
        upper = (11.2, 6.1, 31.0, 18.0)[k]
        estimate, lower = upper / 2.4, upper / 3.4
        delta = 8.0 if biomarker == "T1" else 14.0
        lead = {
            "biomarker": biomarker,
            "roi": roi,
            "unit": "percent",
            "scale": "log",
            "field_strength": 3.0,
            "stage": "calibrated",
        }
        sentence = (
            f"Under longitudinal change of {roi}, a change larger than {estimate:.3g} % (upper 95 % bound "
            f"{upper:.3g} %) is needed for 95 % confidence that it is not measurement variation; the change that "
            f"matters is {delta:g} %. Precision {WORDS[verdict]} this use."
        )
        tables["qualification"].append(
            {
                **lead,
                "coefficient": "reproducibility",
                "delta": delta,
                "delta_source": "made up",
                "context_of_use": f"longitudinal change of {roi}",
                "estimate": estimate,
                "lower95": lower,
                "upper95": upper,
                "bound_over_delta": upper / delta,
                "verdict": verdict,
                "reasons": "the change that matters lies between the 95 % bounds" if verdict == "indeterminate" else "",
                "settle": "3 more sites" if verdict == "indeterminate" else "",
                "sentence": sentence,
                "flags": "few_sites;small_sample",
            }
        )
        tables["sensitivity"].append(
            {
                **lead,
                "unit": "1",
                "analysis": "without site siteA",
                "coefficient": "reproducibility",
                "estimate": estimate / 100,
                "upper95": upper / 100,
                "verdict": verdict,
                "flags": "",
            }
        )
    for biomarker in biomarkers:
        lead = {
            "biomarker": biomarker,
            "roi": "",
            "unit": "s",
            "scale": "absolute",
            "field_strength": 3.0,
            "stage": "raw",
        }
        for site in sites:
            slope = 1 + gains[site]
            tables["linearity"].append(
                {
                    **lead,
                    "site": site,
                    "n_vials": 10,
                    "n_scans": 2,
                    "slope": slope,
                    "slope_low": slope - 0.01,
                    "slope_high": slope + 0.01,
                    "intercept": 0.0003,
                    "intercept_low": -0.001,
                    "intercept_high": 0.0016,
                    "r2": 0.9995,
                    "quadratic_effect": 0.4,
                    "quadratic_p": 0.2,
                    "weighted_slope": slope,
                    "percent_bias": 100 * (slope - 1),
                    "percent_bias_low": 100 * (slope - 1) - 1,
                    "percent_bias_high": 100 * (slope - 1) + 1,
                    "max_percent_bias": 100 * abs(slope - 1) + 2,
                    "flags": "",
                }
            )
    return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}
