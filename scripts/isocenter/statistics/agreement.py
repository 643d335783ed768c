"""Classic intraclass correlations: the one door to pingouin, and Koo and Li's words for an interval.

pingouin averages repeats without saying so, so this door lets in one value per subject and rater only; incomplete
subjects are left out and counted. It rounds intervals unless told not to, and takes seconds to import, so it is
imported where it is used. Large tables are answered from the mean squares by the same formulas, at a fraction of its
time; a test holds the two together.

References
----------
Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420; McGraw & Wong 1996, doi 10.1037/1082-989X.1.1.30;
Koo & Li 2016, doi 10.1016/j.jcm.2016.02.012.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from isocenter.errors import TableError, explain

FORMS = ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)", "ICC(1,k)", "ICC(A,k)", "ICC(C,k)")

#: pingouin refuses fewer values than this.
LEAST_VALUES = 5

#: Larger tables are answered from their mean squares.
MOST_FOR_PINGOUIN = 400

_WORDS = ((0.5, "poor"), (0.75, "moderate"), (0.9, "good"), (np.inf, "excellent"))


@dataclass(frozen=True)
class Icc:
    """One form of the ICC with its 95 % interval, the subjects and raters it rests on, and what was dropped."""

    form: str
    estimate: float
    low: float
    high: float
    n: int
    k: int
    n_dropped: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeanSquares:
    """Two-way mean squares of complete data, squared units of the values.

    ``sem_agreement`` and ``sem_consistency`` are standard errors of measurement with and without differences between
    raters; ``df_agreement`` the Satterthwaite df behind the interval of ICC(A,1).
    """

    subjects: float
    raters: float
    residual: float
    within: float
    sem_agreement: float
    sem_consistency: float
    df_agreement: float


def find_mean_squares(y: np.ndarray) -> MeanSquares:
    """Mean squares of an (n, k) array: n subjects by k raters."""
    n, k = y.shape
    row, column, grand = y.mean(1, keepdims=True), y.mean(0, keepdims=True), y.mean()
    subjects = k * float(((row - grand) ** 2).sum()) / (n - 1)
    raters = n * float(((column - grand) ** 2).sum()) / (k - 1)
    residual = float(((y - row - column + grand) ** 2).sum()) / ((n - 1) * (k - 1))
    within = float(((y - row) ** 2).sum()) / (n * (k - 1))
    agreement = (raters - residual) / n + residual
    df = np.nan
    if residual > 0:
        icc = (subjects - residual) / (subjects + (k - 1) * residual + k * (raters - residual) / n)
        a, b = k * icc * raters / residual, n * (1 + (k - 1) * icc) - k * icc
        df = (n - 1) * (k - 1) * (a + b) ** 2 / ((n - 1) * a**2 + b**2)
    return MeanSquares(
        subjects, raters, residual, within, float(np.sqrt(max(agreement, 0.0))), float(np.sqrt(residual)), float(df)
    )


def find_iccs(subjects, raters, values) -> list[Icc]:
    """All six forms of the ICC on the complete cases.

    Parameters
    ----------
    subjects, raters : (n,) arrays of labels
        Who was measured, and by which rater (a site, a session).
    values : (n,) array
        One value per subject × rater; values that are not finite are absent.

    Raises
    ------
    TableError
        When a subject × rater pair has two values: which one counts is not for a library to guess.
    """
    values = np.asarray(values, float)
    keep = np.isfinite(values)
    values = values[keep]
    (subject, subject_names), (rater, rater_names) = (
        np.unique(np.asarray(labels)[keep], return_inverse=True)[::-1] for labels in (subjects, raters)
    )
    place = subject * len(rater_names) + rater
    count = np.bincount(place, minlength=len(subject_names) * len(rater_names))
    if (count > 1).any():
        pairs = [
            f"{subject_names[i]} × {rater_names[j]}"
            for i, j in (divmod(int(k), len(rater_names)) for k in np.flatnonzero(count > 1)[:5])
        ]
        raise TableError(
            explain(
                "An ICC needs one value per subject and rater",
                where=", ".join(pairs),
                expected="one value",
                found="several",
                remedy="choose one repeat, or use the ICC from components",
            )
        )
    wide = np.full(len(count), np.nan)
    wide[place] = values
    wide = wide.reshape(len(subject_names), len(rater_names))
    complete = wide[np.isfinite(wide).all(1)]
    n, k = complete.shape
    dropped = len(wide) - n
    if n < 2 or k < 2 or n * k < LEAST_VALUES:
        return _nothing(n, k, dropped, "too_few_complete_cases")
    y = complete
    if np.ptp(y) == 0:
        return _nothing(n, k, dropped, "constant")
    if np.abs(y - y.mean(1, keepdims=True)).max() <= 1e-13 * np.abs(y).max():
        return [Icc(form, 1.0, np.nan, np.nan, n, k, dropped, ("zero_within_variance",)) for form in FORMS]
    if find_mean_squares(y).residual <= (1e-13 * np.abs(y).max()) ** 2:
        return _nothing(n, k, dropped, "zero_residual_variance")
    answers = _ask_pingouin(complete) if n * k <= MOST_FOR_PINGOUIN else answer_from_mean_squares(y)
    return [
        Icc(form, estimate, low, high, n, k, dropped)
        for form, (estimate, low, high) in zip(FORMS, answers, strict=True)
    ]


def _nothing(n: int, k: int, dropped: int, reason: str) -> list[Icc]:
    return [Icc(form, np.nan, np.nan, np.nan, n, k, dropped, (reason,)) for form in FORMS]


def answer_from_mean_squares(y: np.ndarray) -> list[tuple[float, float, float]]:
    """(estimate, low, high) of every form from an (n, k) array, by McGraw and Wong's formulas."""
    n, k = y.shape
    ms = find_mean_squares(y)
    subjects, residual = ms.subjects, ms.residual
    df = (n - 1) * (k - 1)

    def shape(ratio: float) -> float:
        return (ratio - 1) / (ratio + k - 1)

    def bounds(ratio: float, df_within: float) -> tuple[float, float]:
        return (
            shape(ratio / float(special.fdtri(n - 1, df_within, 0.975))),
            shape(ratio * float(special.fdtri(df_within, n - 1, 0.975))),
        )

    one = subjects / ms.within
    consistent = subjects / residual
    spread = k * (ms.raters - residual) / n
    agreement = (subjects - residual) / (subjects + (k - 1) * residual + spread)
    v = ms.df_agreement
    upper, lower = float(special.fdtri(n - 1, v, 0.975)), float(special.fdtri(v, n - 1, 0.975))
    common = k * ms.raters + (k * n - k - n) * residual
    of_agreement = (
        n * (subjects - upper * residual) / (upper * common + n * subjects),
        n * (lower * subjects - residual) / (common + n * lower * subjects),
    )
    singles = [
        (shape(one), *bounds(one, n * (k - 1))),
        (agreement, *of_agreement),
        (shape(consistent), *bounds(consistent, df)),
    ]
    return singles + [tuple(k * value / (1 + (k - 1) * value) for value in single) for single in singles]


def _ask_pingouin(complete: np.ndarray) -> list[tuple[float, float, float]]:
    """(estimate, low, high) by form from an (n, k) array, at full precision."""
    import pingouin

    subject, rater = np.indices(complete.shape)
    long = pd.DataFrame({"subject": subject.T.ravel(), "rater": rater.T.ravel(), "value": complete.T.ravel()})
    before = pingouin.options["round.column.CI95"]
    pingouin.options["round.column.CI95"] = None
    try:
        with np.errstate(invalid="ignore", divide="ignore"):  # an interval without an end is NaN, and said to be
            answer = pingouin.intraclass_corr(long, targets="subject", raters="rater", ratings="value")
    finally:
        pingouin.options["round.column.CI95"] = before
    missing = {"Type", "ICC", "CI95"} - set(answer.columns)
    if missing or list(answer["Type"]) != list(FORMS):
        raise TableError(
            explain(
                "pingouin answers in another form than this version of Isocenter knows",
                expected="columns Type, ICC, CI95 with the six McGraw-Wong forms",
                found=f"{list(answer.columns)} with {list(answer['Type'])}" if "Type" in answer else list(answer),
                remedy="install the version in requirements.lock",
            )
        )
    return [(float(row.ICC), float(row.CI95[0]), float(row.CI95[1])) for row in answer.itertuples(index=False)]


def word_interval(low: float, high: float) -> str:
    """Koo and Li's word for both ends of an interval: "moderate to excellent"; "" without an interval."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    first, last = (next(word for limit, word in _WORDS if value < limit) for value in (low, high))
    return first if first == last else f"{first} to {last}"
