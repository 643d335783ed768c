"""The three-way rule, its preconditions and its sentence."""

import numpy as np
import pytest

from isocenter.statistics.bounds import Coefficient
from isocenter.statistics.linearity import Linearity
from isocenter.statistics.verdict import Precondition, check_phantom, judge, write_sentence


def coefficient(lower=4.0, estimate=5.0, upper=7.0, df=40.0, flags=()):
    return Coefficient("reproducibility", estimate, lower, upper, lower, upper, df, "MLS", list(flags))


def line(slope=(0.98, 1.02), bias=(-1.0, 1.0), effect=0.5, p=0.5):
    return Linearity(
        10, 2, slope_low=slope[0], slope_high=slope[1], percent_bias_low=bias[0], percent_bias_high=bias[1],
        quadratic_effect=effect, quadratic_p=p,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("delta", "verdict"),
    [(8.0, "qualified"), (7.0, "qualified"), (6.0, "indeterminate"), (4.0, "indeterminate"), (3.9, "not_qualified")],
)
def test_bounds_decide(delta, verdict):
    assert judge(coefficient(), delta).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, True),
        ({"slope": (0.90, 0.94)}, False),
        ({"slope": (0.94, 1.02)}, None),
        ({"bias": (6.0, 9.0)}, False),
        ({"bias": (-6.0, 1.0)}, None),
        ({"effect": 4.0, "p": 0.001}, False),
        ({"effect": 4.0, "p": 0.2}, None),
        ({"effect": np.nan}, None),
    ],
)
def test_phantom_preconditions(changes, verdict):
    held = {p.holds for p in check_phantom({"siteA": line(), "siteB": line(**changes)})}
    assert held == {True} if verdict else verdict in held
    decided = judge(coefficient(), 8.0, check_phantom({"siteA": line(), "siteB": line(**changes)}))
    assert decided.verdict == {True: "qualified", False: "not_qualified", None: "indeterminate"}[verdict]
    assert verdict is True or any("siteB" in reason for reason in decided.reasons)


def test_no_phantom_leaves_the_verdict_open():
    assert judge(coefficient(), 8.0, check_phantom({})).verdict == "indeterminate"


def test_a_clear_failure_of_precision_needs_no_phantom():
    assert judge(coefficient(), 3.0, check_phantom({})).verdict == "not_qualified"


@pytest.mark.parametrize(
    "found",
    [
        coefficient(df=9.0),
        coefficient(flags=["zero_within_variance"]),
        coefficient(estimate=np.nan, lower=np.nan, upper=np.nan, df=np.nan, flags=["too_few_sites"]),
        coefficient(upper=np.nan),
        coefficient(flags=["not_converged"]),
    ],
)
def test_what_cannot_be_judged_is_indeterminate_with_a_reason(found):
    decided = judge(found, 8.0, [Precondition("linearity", True, "fine")])
    assert decided.verdict == "indeterminate"
    assert decided.reasons


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("qualified", "supports"), ("not_qualified", "does not support"), ("indeterminate", "does not settle")],
)
def test_sentence(verdict, words):
    assert write_sentence(verdict, "follow-up of one participant", 5.0, 7.25, 8.0, "percent") == (
        "Under follow-up of one participant, a change larger than 5 % (upper 95 % bound 7.25 %) is needed for 95 % "
        "confidence that it is not measurement variation; the change that matters is 8 %. Precision "
        f"{words} this use."
    )


def test_sentence_without_an_estimate_claims_nothing():
    said = write_sentence("indeterminate", "a test", np.nan, np.nan, 0.05, "s")
    assert "not estimable" in said
    assert "0.05 s" in said
    assert "nan" not in said
