"""Runs that lost volumes or slices on the way are found by what the site's other runs hold."""

import numpy as np
import pytest

from isocenter import quality
from isocenter.quality.acquisition import Grid

RULE = {"severity": "warn", "remedy": "Send {EchoTime} again"}
AXES = {
    "MESE": quality.Axis("EchoTime", "s"),
    "MOLLI": quality.Axis("InversionTime", "s", is_own_to_scan=True),
    "dwi": quality.Axis("DiffusionBValue", "s/mm²", is_listed=True),
}
ECHOES = [0.01 * n for n in range(1, 17)]


def take(participant, suffix, values, *, kind="traveler", slices=12, scanner="A", **more):
    """One acquisition with a sidecar a value, or one with a list."""
    key = AXES[suffix].key if suffix in AXES else "EchoTime"
    listed = [values] if suffix in AXES and AXES[suffix].is_listed else values
    sidecars = [{key: value, "Scanner": scanner, **more} for value in listed]
    grid = Grid((64, 64, slices), np.diag([3.0, 3.0, 5.0, 1.0]))
    return quality.Acquisition(participant, kind, "01", "1", suffix, sidecars, grid)


def judge(*acquisitions, told=()):
    checks = quality.check_sampling(acquisitions, AXES, RULE, told)
    return {(c.scope.split()[0], c.id): c.found for c in checks if c.verdict != "pass"}


def test_alike_runs_pass():
    runs = [take(f"T{n}", "MESE", ECHOES) for n in range(4)]
    checks = quality.check_sampling(runs, AXES, RULE)
    assert {check.verdict for check in checks} == {"pass"}
    assert {check.found for check in checks} == {"16 values", "12 slices"}


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (ECHOES[1:], "15 values, without 0.01 s"),
        (ECHOES[:-1], "15 values, without 0.16 s"),
        (ECHOES[:7] + ECHOES[8:], "15 values, without 0.08 s"),
        (ECHOES[::2], "8 values, without 0.02, 0.04, 0.06, 0.08 and 4 more s"),
        ([*ECHOES, 0.17], "17 values, with 0.17 s besides"),
        ([0.0105, *ECHOES[1:]], "0.0105 s instead of 0.01 s"),
    ],
)
def test_a_run_with_other_volumes_is_told_with_what_it_lacks(kept, found):
    others = [take(f"T{n}", "MESE", ECHOES) for n in range(2)]
    assert judge(*others, take("T9", "MESE", kept)) == {("sub-T9", "same_volumes"): found}


def test_of_two_the_fuller_is_expected():
    assert judge(take("T1", "MESE", ECHOES[1:]), take("T2", "MESE", ECHOES)) == {
        ("sub-T1", "same_volumes"): "15 values, without 0.01 s"
    }


def test_rounded_headers_are_the_same():
    rounded = [round(value * 1.004, 5) for value in ECHOES]
    assert judge(take("T1", "MESE", ECHOES), take("T2", "MESE", rounded)) == {}
    assert judge(take("T1", "dwi", [0, 300, 1000]), take("T2", "dwi", [1.5, 298, 1004])) == {}


def test_only_alike_runs_are_held_against_each_other():
    """Other kinds of people, scanners and series may be sampled otherwise; one alone has nothing beside it."""
    assert not judge(
        take("T1", "MESE", ECHOES),
        take("P1", "MESE", ECHOES[:8], kind="phantom", slices=1),
        take("T2", "MESE", ECHOES[:10], scanner="B"),
        take("T3", "MOLLI", ECHOES[:8]),
        take("T4", "T1w", [0.003]),
        take("T5", "T1w", []),
    )


def test_values_that_each_scan_has_for_itself_are_counted():
    times = [0.1, 0.18, 0.9, 1.02, 1.8, 1.9, 2.7, 3.6]
    beats = [0.1, 0.18, 1.1, 1.2, 2.1, 2.2, 3.1, 4.1]
    assert judge(take("T1", "MOLLI", times), take("T2", "MOLLI", beats)) == {}
    assert judge(take("T1", "MOLLI", times), take("T2", "MOLLI", beats[1:])) == {
        ("sub-T2", "same_volumes"): "7 instead of 8"
    }


def test_repeats_count_in_a_list_and_not_among_files():
    trace = [0, 0, 500, 500, 500, 1000]
    assert judge(take("T1", "dwi", trace), take("T2", "dwi", trace[1:])) == {
        ("sub-T2", "same_volumes"): "5 values, without 0 s/mm²"
    }
    assert judge(take("T1", "MESE", ECHOES), take("T2", "MESE", ECHOES * 2)) == {}


def test_missing_slices_are_told():
    stacks = [take(f"T{n}", "MESE", ECHOES, slices=60) for n in range(3)]
    assert judge(*stacks, take("T9", "MESE", ECHOES, slices=59)) == {("sub-T9", "same_slices_sent"): "59 slices"}


def test_what_the_protocol_says_is_not_said_again():
    runs = [take("T1", "MESE", ECHOES), take("T2", "MESE", ECHOES[8:])]
    rule = {"id": "echo_span", "parameter": "EchoTime", "smallest_at_most": 0.015, "unit": "s"}
    protocol = {"series": {"MESE": {"checks": [{**rule, "severity": "warn", "remedy": "Begin at 10 ms"}]}}}
    told = quality.check_parameters(runs, protocol)
    assert [(check.verdict, check.expected) for check in told] == [
        ("pass", "the smallest at most 0.015 s"),
        ("warn", "the smallest at most 0.015 s"),
    ]
    assert judge(*runs, told=told) == {}


def test_odd_headers_never_raise():
    odd = [[float("nan")], ["long"], [None], [{"a": 1}], [], [[0.01, [0.02]]]]
    runs = [take(f"T{n}", "MESE", values) for n, values in enumerate(odd)]
    assert judge(take("T9", "MESE", ECHOES), *runs)


def test_a_site_of_thousands_of_runs_is_judged_at_once():
    runs = [take(f"T{n}", "MESE", ECHOES) for n in range(3000)]
    wrong = judge(*runs, take("T9999", "MESE", ECHOES[1:]))
    assert wrong == {("sub-T9999", "same_volumes"): "15 values, without 0.01 s"}
