"""The order that tissues must have: a check on every scan, which shows a violation and removes nothing.

T2* is shorter than T2, and T2 shorter than T1, in every tissue (Bloembergen 1948, doi 10.1103/PhysRev.73.679, gives
T2 ≤ T1 for liquids; inhomogeneity of the field only adds to the decay). T1 and T2 rise from white over gray matter to
cerebrospinal fluid at every field that people are scanned at (Wansapura 1999,
doi 10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L). Deep gray matter holds iron and keeps out
of the second rule.
"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

#: Columns of ``plausibility.tsv``.
COLUMNS = (
    "site",
    "participant_id",
    "session",
    "run",
    "rule",
    "lower_biomarker",
    "lower_roi",
    "lower",
    "lower_stderr",
    "upper_biomarker",
    "upper_roi",
    "upper",
    "upper_stderr",
    "unit",
    "z",
    "order",
)
#: Relaxation times in rising order, and tissues in rising order of their T1 and T2.
TIMES = ("T2star", "T2", "T1")
TISSUES = (("white_matter",), ("gray_matter", "cortical_gray_matter"), ("csf",))
TISSUE_TIMES = ("T1", "T2")
#: A rate is turned into its time.
RATES = {"R1": "T1", "R2": "T2", "R2star": "T2star"}
#: Beyond so many standard errors of the difference an order is certain (one-sided 95 %).
CERTAIN = 1.645
#: What the order of a pair is.
HOLDS, UNCLEAR, VIOLATED = "holds", "unclear", "violated"
RUN = ["site", "participant_id", "session", "run"]


def check_order(measurements: pd.DataFrame, parameters: Mapping[str, str]) -> pd.DataFrame:
    """Every pair of a run that has an order: both values, their difference in standard errors, whether it holds.

    Parameters
    ----------
    measurements : DataFrame
        Rows as in ``measurements.tsv``. The calibrated value is held against the rule, the raw one where there is none.
    parameters : mapping
        Biomarker to the parameter that it is (T1, T2, T2star, R1, R2, R2star); others are passed over.

    Returns
    -------
    DataFrame with the columns `COLUMNS`, times in seconds; ``z`` is (upper − lower) over its standard error, ``order``
    is ``holds`` above 1.645, ``violated`` below −1.645 and ``unclear`` between
    """
    rows = []
    for run, group in measurements.groupby(RUN, sort=True) if len(measurements) else ():
        times = [time for row in group.to_dict("records") if (time := _time_of(row, parameters)) is not None]
        rows += [{**dict(zip(RUN, run, strict=True)), **pair} for pair in _list_pairs(times)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _time_of(row: dict, parameters: Mapping[str, str]) -> dict | None:
    """Biomarker, region, which time it is, its value and standard error [s]; None where a row has none."""
    parameter = parameters.get(row["biomarker"], "")
    name = RATES.get(parameter, parameter)
    is_calibrated = np.isfinite(row["value"])
    value, stderr = (row["value"], row["stderr"]) if is_calibrated else (row["raw_value"], row["raw_stderr"])
    if name not in TIMES or not np.isfinite(value) or value <= 0 or row["unit"] not in ("s", "1/s"):
        return None
    if parameter in RATES:
        value, stderr = 1 / value, stderr / value**2
    return {"biomarker": row["biomarker"], "roi": row["roi"], "time": name, "value": value, "stderr": stderr}


def _list_pairs(times: list[dict]) -> Iterator[dict]:
    for low, high in itertools.permutations(times, 2):
        a, b = TIMES.index(low["time"]), TIMES.index(high["time"])
        if low["roi"] == high["roi"] and a < b:
            yield _compare(f"{low['time']} < {high['time']}", low, high)
    ranks = {name: rank for rank, names in enumerate(TISSUES) for name in names}
    for low, high in itertools.permutations(times, 2):
        if low["biomarker"] == high["biomarker"] and low["time"] in TISSUE_TIMES:
            a, b = ranks.get(low["roi"]), ranks.get(high["roi"])
            if a is not None and b is not None and a < b:
                yield _compare(f"{low['roi']} < {high['roi']}", low, high)


def _compare(rule: str, low: dict, high: dict) -> dict:
    difference, stderr = high["value"] - low["value"], np.hypot(low["stderr"], high["stderr"])
    z = difference / stderr if stderr > 0 else np.copysign(np.inf, difference)
    if not np.isfinite(stderr):  # without a standard error nothing is certain
        z = np.nan
    return {
        "rule": rule,
        **{f"lower_{key}": low[key] for key in ("biomarker", "roi", "stderr")},
        **{f"upper_{key}": high[key] for key in ("biomarker", "roi", "stderr")},
        "lower": low["value"],
        "upper": high["value"],
        "unit": "s",
        "z": z,
        "order": HOLDS if z > CERTAIN else VIOLATED if z < -CERTAIN else UNCLEAR,
    }


def describe_violation(row: Mapping) -> str:
    """One sentence about a violated pair: what was found, and what a person looks at."""
    who = f"sub-{row['participant_id']} ses-{row['session']} run-{row['run']}"
    low, high = (
        f"{row[f'{end}_biomarker']} of {str(row[f'{end}_roi']).replace('_', ' ')} ({1000 * row[end]:.4g} ms)"
        for end in ("lower", "upper")
    )
    return (
        f"{row['site']} {who}: {low} should be below {high}, and is above it by {-row['z']:.1f} standard errors. The "
        "values stand as they are; look whether series, maps or labels were swapped"
    )
