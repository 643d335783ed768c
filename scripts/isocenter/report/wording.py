"""How numbers, flags and foreign text read on a page."""

import math
import re
from typing import Any

from isocenter.errors import ConfigError
from isocenter.units import display_unit

#: what a flag of the statistics means, for a reader who has never seen it
FLAGS = {
    "asymmetric": "wCV above 15 %: the asymmetric percent limits are the ones to quote",
    "at_bound": "some voxels ended at a limit of the fit and hold no value; the region's row gives their share",
    "no_signal": "some voxels have no signal and hold no value; the region's row gives their share",
    "clipped": "some voxels have clipped samples and hold no value; the region's row gives their share",
    "out_of_range": "some voxels lie outside what the acquisition can see; the region's row gives their share",
    "beyond_calibration": "outside the range that the phantom covers",
    "boundary": "a variance component is estimated at zero; it has no interval of its own",
    "calibration_refused": "a phantom session could not be calibrated",
    "clustered": "several pairs of one participant are not counted as independent",
    "complete_cases": "computed on complete cases only",
    "components_as_estimated": "assumes that the components are what this trial found",
    "both": "the SD of the precision profile has a constant part and one that grows with the level",
    "constant": "all values are equal; of a precision profile, the SD does not change with the level",
    "equal_errors_assumed": "too few repeats to tell whose error is larger: taken as equal",
    "error_ratio_from_repeats": "whose error is larger is taken from the repeats",
    "few_raters": "few raters: where they differ much this interval holds in about 90 % of trials, not in 95 %; that "
    "from components holds its level",
    "few_sites": "3 to 5 sites: the site component, and every bound built on it, is uncertain",
    "fewer_than_3_sites": "fewer than 3 sites: no site component, so no reproducibility coefficient",
    "first_repeat_only": "the first run of the first session stands for a participant at a site",
    "heteroscedastic": "the spread of the differences changes with the mean",
    "leave_one_session_out": "each phantom session was calibrated with the other sessions only",
    "leave_one_vial_out": "each vial was calibrated with the other vials only",
    "masked": "some voxels of the region lie outside the object and hold no value",
    "mean_near_zero": "the mean is close to zero: percent statistics mean nothing",
    "more_than_planned": "more runs arrived than the schedule plans",
    "negative_mean_square": "the untruncated ANOVA estimate is negative",
    "no_claim": "no change that matters was declared",
    "no_replicates": "no repeats: within-subject precision cannot be estimated",
    "no_subject_at_two_sites": "no participant was seen at two sites",
    "non_positive": "values at or below zero: no log or percent statistics",
    "may_hold_shared_parts": "the standard errors may hold parts that repeats share, which do not make them differ",
    "at_most": "at most: what the references of all sites share (one traveling phantom, one batch) is in the standard "
    "errors and makes no site differ",
    "nonpositive_values": "values at or below zero: no log or percent statistics",
    "not_calibrated": "a phantom session could not be calibrated",
    "not_converged": "the optimizer did not settle: an estimate is not used; of a region, the share of voxels without "
    "a value for it",
    "observed_design": "the design of this trial",
    "one_level": "a single level: the component cannot be told apart",
    "one_session_per_site": "one session a site: sessions cannot be told apart",
    "pooled_over_field_strength": "values from different field strengths stand together, as the config allows",
    "partial_volume": "blurring by a voxel moves the value by more than 1 %: it leans toward the tissue around, by "
    "the share that the region's row gives",
    "participants_left_out": "participants without every site are left out",
    "not_estimable": "cannot be estimated from these values",
    "related_negatively": "the two run against each other",
    "more_than_observed": "the standard errors are larger than the scatter that they are part of",
    "precision_from_patients": "precision comes from the same patients whose changes are judged",
    "proportional": "the SD of the precision profile grows in proportion to the level",
    "proportional_bias": "the difference depends on the mean",
    "raters_are_runs": "the raters of this coefficient are the runs of a session",
    "raters_are_sessions": "the raters of this coefficient are sessions at one site",
    "raters_are_sites": "the raters of this coefficient are the sites",
    "replicates_added_back": "the scatter that averaging repeats took out was added back",
    "scale_disagrees": "the spread of repeats changes with their mean: the declared scale may not fit",
    "small_sample": "fewer than 35 degrees of freedom: the upper bound may lie more than 1.25 times above the estimate",
    "stratified_by_field_strength": "each field strength is judged by itself",
    "too_few_pairs": "too few pairs",
    "too_few_sites": "fewer than 3 sites: no site component",
    "too_few_vials": "too few vials",
    "unbalanced": "not every participant has every site, session and repeat: estimated by REML",
    "unknown_field_strength": "the field strength is not known",
    "within_session": "repeats are runs of one session",
    "between_sessions": "repeats are sessions of one participant at one site",
    "zero_variance": "all differences are equal",
    "zero_within_variance": "repeats are identical to the last digit: check for copied data",
}

#: flags that only say how a number was made; they ask nothing of a reader
REMARKS = {
    "clustered", "complete_cases", "components_as_estimated", "first_repeat_only", "leave_one_session_out",
    "leave_one_vial_out", "both", "proportional", "error_ratio_from_repeats", "no_claim", "observed_design",
    "raters_are_runs", "raters_are_sessions", "raters_are_sites", "replicates_added_back",
    "stratified_by_field_strength", "unbalanced", "within_session", "between_sessions",
}  # fmt: skip

#: the words of the three verdicts
VERDICT_WORDS = {
    "qualified": "qualified",
    "not_qualified": "not qualified",
    "indeterminate": "indeterminate",
    "pass": "pass",
    "warn": "pass with warnings",
    "fail": "fail",
}

ABSENT = "–"


def is_missing(value: Any) -> bool:
    """Whether a table cell holds nothing: None, NaN or empty text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


#: Marks that turn the direction of what follows them, also of a page's own words.
_TURNS = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def shorten(text: Any, size: int = 60) -> str:
    """Text from outside, one line in its own direction, shortened in the middle."""
    line = " ".join(str(text).translate(_TURNS).split())
    return line if len(line) <= size else f"{line[: size // 2]}…{line[-(size - size // 2 - 1) :]}"


def decimals_for(value: float, low: float | None = None, high: float | None = None) -> int:
    """How many decimals a value deserves: two digits of its interval, or three of itself without one."""
    if not is_missing(low) and not is_missing(high) and math.isfinite(high - low) and high > low:
        return max(0, min(6, 1 - math.floor(math.log10(high - low))))
    if is_missing(value) or not math.isfinite(value) or value == 0:
        return 0
    return max(0, min(6, 2 - math.floor(math.log10(abs(value)))))


def format_number(value: Any, decimals: int | None = None) -> str:
    """A number with a real minus sign; an absent one is a dash."""
    if is_missing(value):
        return ABSENT
    value = float(value)
    if not math.isfinite(value):
        return "not bounded" if value > 0 else "−∞"
    text = f"{value:.{decimals_for(value) if decimals is None else decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def format_interval(value: Any, low: Any, high: Any) -> str:
    """``0.88 [0.86, 0.90]``; without an interval the value alone."""
    if is_missing(value) or is_missing(low) or is_missing(high):
        return format_number(value)
    digits = decimals_for(value, low, high)
    # A wide interval must not round its own estimate to a single digit; one that holds zero has none to keep.
    if digits == 0 or low > 0 or high < 0:
        digits = max(digits, min(decimals_for(value) - 1, 3))
    return f"{format_number(value, digits)} [{format_number(low, digits)}, {format_number(high, digits)}]"


def format_plus_minus(value: Any, error: Any) -> str:
    """``869.2 ± 4.9``: the error with two digits, the value with as many decimals; without an error the value alone."""
    if is_missing(value) or is_missing(error) or not math.isfinite(error) or error <= 0:
        return format_number(value)
    decimals = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{format_number(value, decimals)} ± {format_number(error, decimals)}"


def format_cell(value: Any) -> str:
    """A cell of a table as its file says it, at most six significant digits."""
    if is_missing(value):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    return shorten(value, 80)


def list_flags(flags: Any) -> list[str]:
    """The names in a ``;``-separated cell of flags, without the share of voxels that a region's row gives."""
    return [] if is_missing(flags) else [name.split()[0] for name in str(flags).split(";") if name.strip()]


def explain_flag(name: str) -> str:
    """A flag in words; an unknown one as it stands."""
    if name.startswith("merged_into_"):
        return f"cannot be told from the component {name.removeprefix('merged_into_')}"
    return FLAGS.get(name, shorten(name).replace("_", " "))


def explain_flags(flags: Any, *, with_remarks: bool = False) -> list[str]:
    """The flags of a cell in words; without remarks on how a number was made, unless asked for."""
    return [explain_flag(name) for name in list_flags(flags) if with_remarks or name not in REMARKS]


def name_roi(roi: str) -> str:
    """``white_matter`` as ``white matter``, ``csf`` as ``CSF``."""
    return re.sub(r"\bcsf\b", "CSF", str(roi).replace("_", " "))


def say_reason(reason: Any, size: int) -> str:
    """A step's reason as pages speak: CSF, white matter, times in milliseconds; tables keep it as it was written."""
    text = re.sub(r"\b(csf|(?:white|gray)_matter)\b", lambda found: name_roi(found[0]), shorten(reason, 4 * size))
    return shorten(_TIMES.sub(_say_milliseconds, text), size)


#: A time or a span of times in seconds; longer ones are a machine's, no sequence's.
_TIMES = re.compile(r"(?<![\w.,–-])(\d+(?:\.\d+)?)(?: to (\d+(?:\.\d+)?))? s(?![\w/²])")
_LONGEST = 30.0


def _say_milliseconds(found: re.Match) -> str:
    times = [float(number) for number in found.groups() if number is not None]
    if max(times) >= _LONGEST:
        return found[0]
    return " to ".join(f"{1000 * time:.6g}" for time in times) + " ms"


def keep_together(text: str) -> str:
    """Text in which no line ends between a number and its percent sign or its uncertainty."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")


def name_flags(flags: Any) -> str:
    """``out_of_range 0.051;masked 0.2`` as ``out of range 5.1 %; masked 20 %``."""
    shares = re.sub(r"(?<= )[01]?\.\d+(?:e-\d+)?(?=;|$)", lambda found: f"{100 * float(found[0]):.2g} %", str(flags))
    return re.sub(r";\s*", "; ", shares).replace("_", " ")


def shown_unit(unit: Any) -> tuple[str, float]:
    """The unit that a page shows and the factor to it; an unknown unit stays as it is."""
    try:
        return display_unit(str(unit))
    except ConfigError:
        return ("" if is_missing(unit) else str(unit)), 1.0


def plural(count: int, noun: str) -> str:
    """``1 site``, ``2 sites``, ``4 series``."""
    if count == 1 or noun.endswith("s"):
        return f"{count} {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
