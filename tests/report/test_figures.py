"""Charts are text that is well formed, says its numbers, and survives odd input."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from isocenter.entities import Flag
from isocenter.figures import flow
from isocenter.figures.agreement import draw_bland_altman, draw_within_spread
from isocenter.figures.alternatives import draw_alternatives
from isocenter.figures.bounds import draw_bound_strip
from isocenter.figures.changes import draw_changes
from isocenter.figures.components import draw_components
from isocenter.figures.decisions import draw_decisions
from isocenter.figures.drift import draw_drift
from isocenter.figures.flow import draw_flow
from isocenter.figures.forest import draw_forest
from isocenter.figures.maps import draw_mosaic, middle_slice
from isocenter.figures.motion import draw_motion
from isocenter.figures.palette import VERDICTS, site_styles, state_of
from isocenter.figures.panels import FLAG_COLORS, FLAG_WORDS, draw_panels
from isocenter.figures.phantom import draw_linearity, draw_vial_bias
from isocenter.figures.precision import draw_precision_profile
from isocenter.figures.profiles import draw_profiles
from isocenter.figures.svg import Scale, padded
from isocenter.report.flow_figure import STAGE_WORDS

NAN = math.nan
STYLES = site_styles(["A", "B"])


def contrast_with_white(color: str) -> float:
    """WCAG 2.1 contrast ratio."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def test_verdict_colors_are_readable_and_differ_in_symbol():
    assert all(contrast_with_white(color) >= 4.5 for color, _ in VERDICTS.values())
    assert len({symbol for _, symbol in VERDICTS.values()}) == len(VERDICTS)
    assert state_of("not_qualified") == "fail"
    assert state_of("anything else") == "none"


def test_sites_differ_in_color_or_stand_by_position():
    styles = site_styles([f"s{i}" for i in range(8)])
    assert len({s.color for s in styles.values()}) == 8
    assert len({s.color for s in site_styles([f"s{i:02}" for i in range(9)]).values()}) == 1


def test_scales_map_ends_to_ends():
    scale = Scale(1.0, 100.0, 0.0, 200.0, log=True)
    assert [scale(v) for v in (1.0, 10.0, 100.0)] == pytest.approx([0.0, 100.0, 200.0])
    assert all(1.0 <= t <= 100.0 for t in scale.ticks())
    assert Scale(-1.0, 1.0, 0.0, 10.0).ticks(4) == pytest.approx([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert scale.clamp(1e6) == 200.0


@pytest.mark.parametrize("values", [[], [NAN], [3.0], [0.0, 0.0], [1.0, math.inf]])
def test_limits_never_have_zero_width(values):
    low, high = padded(values)
    assert high > low
    low, high = padded(values, log=True)
    assert 0 < low < high


def draw_all():
    point = {"mean": 1.0, "difference": 0.1, "sd": 0.1, "site": "A", "title": "<A & B>", "href": "x.html#r1"}
    bar = {"component": "site", "stage": "raw", "sd": 1.0, "low": 0.2, "high": 50.0, "title": "t"}
    row = {"group": "a site with a very long name", "stage": "raw", "value": 1.0, "low": 0.5, "high": 1.5, "title": "t"}
    vial = {"reference": 100.0, "bias": 3.0, "error": 1.0, "session": "01", "used": True, "label": "1", "title": "v"}
    far = vial | {"bias": 250.0, "used": False}
    lines = {"bias": 0.0, "bias_low": -0.1, "bias_high": 0.1, "loa_upper": 1.0, "loa_lower": -1.0}
    stage = {"label": "Series", "n": 9, "unit": "series", "lost": 2, "reasons": ["2 × <b>bad</b>"]}
    decision = {"label": "T1 <b>", "estimate": 0.4, "lower": 0.2, "upper": 0.9, "state": "pass", "word": "qualified",
                "title": "t", "href": "m.html"}  # fmt: skip
    other = {
        "label": "without site A",
        "estimate": 3.0,
        "upper": 9.0,
        "state": "warn",
        "word": "indeterminate",
        "title": "t",
    }
    session = {
        "day": 0.0,
        "value": 1.0,
        "error": 0.2,
        "scanner": "A",
        "state": "out",
        "title": "t",
        "href": "c.html#r1",
    }
    level = {
        "stage": "calibrated",
        "mean": 850.0,
        "wsd": 1.0,
        "low": 0.5,
        "high": 3.0,
        "title": "<b>",
        "href": "p.html",
    }
    change = {"label": "P<b>", "change": 4.0, "low": -2.0, "high": 2.0, "low95": -3.0, "high95": 3.0, "call": "real",
              "title": "t", "href": "v.html"}  # fmt: skip
    seen = {"value": 850.0, "title": "t", "href": "x.html"}
    scale = {"title": "T1", "unit": "ms", "limits": (0.0, 2100.0)}
    measured = {"reference": 1.0, "measured": 1.1, "error": 0.1, "site": "B", "used": False, "title": "t"}
    return {
        "bland_altman": draw_bland_altman([point], lines, "ms", STYLES, "alt"),
        "bland_altman without limits": draw_bland_altman([point], {"bias": NAN}, "ms", STYLES, "alt"),
        "spread": draw_within_spread([point], NAN, "ms", STYLES, "alt"),
        "components": draw_components([bar, bar | {"component": "residual", "sd": NAN}], "%", 'alt "quoted"'),
        "bounds": draw_bound_strip(3.0, 2.0, 90.0, 8.0, "%", "warn", "alt"),
        "no bounds": draw_bound_strip(NAN, NAN, NAN, NAN, "%", "none", "alt"),
        "forest": draw_forest([row, row | {"value": NAN, "stage": "calibrated"}], "x", "alt", reference=0.0),
        "vials": draw_vial_bias([vial, far, vial | {"bias": NAN}], [(50.0, 1.0)], 5.0, "ms", STYLES, "alt"),
        "linearity": draw_linearity([measured, measured | {"measured": NAN}], "ms", STYLES, "alt"),
        "flow": draw_flow([stage, stage | {"lost": None, "reasons": []}], "alt"),
        "flow beside": draw_flow([stage | {"lost": 0, "beside": "2 regions", "notes": ["make"]}, stage], "alt"),
        "decisions": draw_decisions([decision, decision | {"upper": 90.0}, decision | {"estimate": NAN}], "alt"),
        "alternatives": draw_alternatives([other, other | {"upper": 90.0}, other | {"estimate": NAN}], 8.0, "%", "alt"),
        "alternatives without delta": draw_alternatives([other], NAN, "ms", "alt"),
        "drift": draw_drift([session, session | {"day": 30.0, "error": NAN}], "bias [%]", 5.0, STYLES, "alt"),
        "drift without a limit": draw_drift([session], "bias [%]", NAN, STYLES, "alt"),
        "precision": draw_precision_profile(
            [level, level | {"high": 90.0, "stage": "raw"}, level | {"low": NAN}],
            {"raw": (1.0, 0.1), "calibrated": (NAN, NAN)},
            "ms",
            "alt",
        ),
        "changes": draw_changes([change, change | {"call": "odd", "low": NAN}, change | {"change": NAN}], "x", "alt"),
        "profiles": draw_profiles(
            {"A": {"raw": {"A": seen, "B": seen}, "calibrated": {}}}, ["A", "B"], "ms", STYLES, "alt"
        ),
        "motion": draw_motion([0.0, 1.5, NAN], ["registered", "left out: <b>", "left in place"], "alt"),
        "panels": draw_panels("x.png", (2, 2), np.ones((2, 2), int), {1: "<b>"}, [scale, scale], {Flag.OK: 4}, "alt"),
    }


@pytest.mark.parametrize("name", list(draw_all()))
def test_charts_are_well_formed_described_and_finite(name):
    text = draw_all()[name]
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"].startswith("alt")
    assert "nan" not in text
    assert "inf" not in text
    assert "<b>" not in text


def test_a_bound_beyond_the_strip_is_an_arrow_with_its_number():
    text = draw_bound_strip(3.0, 2.0, 90.0, 8.0, "%", "warn", "alt")
    assert "upper bound 90 %" in text
    assert "change that matters: 8 %" in text


def test_the_middle_slice_holds_the_labels():
    values = np.ones((4, 4, 9), np.float32)
    labels = np.zeros(values.shape, np.int16)
    labels[:, :, 4] = 1
    labels[:, :, 0] = 2
    assert middle_slice(values, labels) == 4
    assert middle_slice(np.full((4, 4, 1), np.nan)) == 0


def test_a_mosaic_is_the_same_twice_and_takes_gaps():
    values = np.linspace(0, 1000, 64, dtype=np.float32).reshape(8, 8)
    labels = (values > 500).astype(np.int16)
    tiles = [[{"values": values, "labels": labels}, {"reason": "left out"}], [None, {"values": values, "labels": None}]]
    options = {"title": "T1 at $ite", "unit": "T1 [ms]", "limits": (0.0, 1000.0)}
    first = draw_mosaic(tiles, ["a", "b"], ["T01", "T02"], {1: "white matter"}, **options)
    assert first.startswith(b"\x89PNG")
    assert first == draw_mosaic(tiles, ["a", "b"], ["T01", "T02"], {1: "white matter"}, **options)


def test_every_flag_has_a_color_of_its_own_and_words():
    assert set(FLAG_COLORS) == set(FLAG_WORDS) == set(Flag)
    assert len(set(FLAG_COLORS.values())) == len(Flag)


def test_a_decision_beyond_the_axis_is_an_arrow_and_says_its_number_on_hovering():
    row = {"label": "T2", "estimate": 0.9, "lower": 0.5, "upper": 7.7, "state": "warn", "word": "indeterminate",
           "title": "T2: 0.9 (7.7)", "href": "m.html"}  # fmt: skip
    text = draw_decisions([row], "alt")
    assert "l-10 -6v12z" in text
    assert text.count("<title>T2: 0.9 (7.7)</title>") == 3
    assert "l-10 -6v12z" not in draw_decisions([row | {"upper": 0.95}], "alt")


def test_what_a_stage_is_called_and_its_count_do_not_touch():
    """At 14 px a letter is at most some 7.4 px wide, 8 in bold."""
    for (entity, _), label in STAGE_WORDS.items():
        count = f"99999 {'files' if entity == 'file' else 'acquisitions'}"
        assert 20 + 7.4 * len(label) < flow._RIGHT - 10 - 8 * len(count), label


def test_eight_sites_are_told_apart_without_color():
    from isocenter.figures.palette import site_styles
    from isocenter.figures.svg import Chart

    drawn = {}
    for site, style in site_styles([f"site{k}" for k in range(8)]).items():
        chart = Chart(width=100, height=100)
        chart.marker(50, 50, shape=style.shape, color="#000000")
        drawn[site] = chart.render("one mark")
    assert len(set(drawn.values())) == 8
