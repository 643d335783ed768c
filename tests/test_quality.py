"""Onboarding checks: what holds passes, what does not says what to change, odd data never raise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter import quality
from isocenter.entities import Verdict
from isocenter.quality.acquisition import is_in_stratum
from isocenter.quality.differences import widen_bounds
from isocenter.quality.protocol import check_parameter

RULE = {"id": "check", "parameter": "RepetitionTime", "severity": "warn", "remedy": "Raise TR", "unit": "s"}


def acquisition(suffix="IRT1", n=1, **values):
    """`n` sidecars; a list value is spread over them."""
    sidecars = [
        {key: value[i] if isinstance(value, list) and len(value) == n else value for key, value in values.items()}
        for i in range(n)
    ]
    return quality.Acquisition("T01", "traveler", "01", "1", suffix, sidecars)


def rule(**more):
    return {**RULE, **more}


HOLDS = [
    ({"minimum": 4.0}, 4.0, True),
    ({"minimum": 4.0}, 3.999, False),
    ({"maximum": 4.0}, 4.0, True),
    ({"maximum": 4.0}, 4.1, False),
    ({"minimum": 1.0, "maximum": 2.0}, 1.5, True),
    ({"minimum": 1.0, "maximum": 2.0}, 2.5, False),
    ({"target": 3.0, "tolerance": 0.2}, 2.89, True),
    ({"target": 3.0, "tolerance": 0.2}, 3.2, True),
    ({"target": 3.0, "tolerance": 0.2}, 1.5, False),
    ({"target": 3.0, "tolerance_percent": 10.0}, 2.71, True),
    ({"target": 3.0, "tolerance_percent": 10.0}, 2.69, False),
    ({"target": 3.0}, 3.0, True),
    ({"target": 3.0}, 3.0000001, False),
    ({"target": "IR"}, "ir ", True),
    ({"target": "IR"}, "SE", False),
    ({"allowed": [1, 2]}, 2.0, True),
    ({"allowed": ["AP", "PA"]}, "ap", True),
    ({"allowed": ["AP", "PA"]}, "RL", False),
    ({"smallest_at_most": 4.0}, 4.0, True),
    ({"smallest_at_most": 4.0}, 4.1, False),
    ({"largest_at_least": 4.0}, 4.0, True),
    ({"largest_at_least": 4.0}, 3.9, False),
    ({"largest_at_least": 4.0}, None, False),
    ({"minimum": 4.0}, "long", False),
    ({"minimum": 4.0}, float("nan"), False),
    ({"minimum": 4.0}, {"a": 1}, False),
    ({"target": 3.0, "tolerance": 0.2}, None, False),
]


@pytest.mark.parametrize(("bounds", "value", "holds"), HOLDS)
def test_one_value_against_its_rule(bounds, value, holds):
    check = check_parameter(acquisition(RepetitionTime=value), rule(**bounds))
    assert check.verdict == ("pass" if holds else "warn")
    assert check.remedy == "Raise TR"


def test_every_value_of_a_series_must_hold():
    times = acquisition(n=3, RepetitionTime=[4.0, 5.0, 3.0])
    assert check_parameter(times, rule(minimum=4.0)).verdict == "warn"
    assert check_parameter(times, rule(minimum=3.0)).found == "3 to 5 s (3 values)"


def test_the_ends_of_a_series_are_held_by_their_own_limits():
    bounds = {"parameter": "EchoTime", "smallest_at_most": 0.015, "largest_at_least": 0.1}
    assert check_parameter(acquisition(n=3, EchoTime=[0.01, 0.06, 0.11]), rule(**bounds)).verdict == "pass"
    assert check_parameter(acquisition(n=3, EchoTime=[0.02, 0.06, 0.11]), rule(**bounds)).verdict == "warn"
    short = check_parameter(acquisition(n=3, EchoTime=[0.01, 0.06, 0.09]), rule(**bounds))
    assert short.verdict == "warn"
    assert short.expected == "the smallest at most 0.015 s and the largest at least 0.1 s"
    scans = [acquisition(n=2, EchoTime=[0.02, 0.09]), acquisition(n=2, EchoTime=[0.01, 0.2])]
    wide = widen_bounds(rule(**bounds), scans)
    assert wide == {"smallest_at_most": 0.02, "largest_at_least": 0.09}


def test_different_values_are_counted():
    bounds = {"parameter": "InversionTime", "minimum_count": 3}
    assert check_parameter(acquisition(n=3, InversionTime=[0.1, 0.2, 0.3]), rule(**bounds)).verdict == "pass"
    repeated = check_parameter(acquisition(n=3, InversionTime=[0.1, 0.1, 0.3]), rule(**bounds))
    assert repeated.verdict == "warn"
    assert repeated.expected == "at least 3 different values"


def test_a_list_of_targets_is_compared_in_order():
    bounds = {"parameter": "InversionTime", "target": [0.1, 0.5, 1.0], "tolerance_percent": 5.0}
    assert check_parameter(acquisition(n=3, InversionTime=[1.02, 0.1, 0.5]), rule(**bounds)).verdict == "pass"
    assert check_parameter(acquisition(n=3, InversionTime=[1.2, 0.1, 0.5]), rule(**bounds)).verdict == "warn"
    assert check_parameter(acquisition(n=2, InversionTime=[0.1, 0.5]), rule(**bounds)).verdict == "warn"


def test_a_missing_value_says_so():
    check = check_parameter(acquisition(), rule(minimum=4.0))
    assert check.verdict == "warn"
    assert check.found == "missing from the header"
    assert check.expected == "at least 4 s"


def test_the_console_names_the_parameter():
    check = check_parameter(acquisition(RepetitionTime=5), rule(minimum=4.0, console="TR"))
    assert check.parameter == "TR"
    assert check.scope == "sub-T01 ses-01 run-1 IRT1"


def test_a_stratum_narrows_a_check():
    siemens = acquisition(Manufacturer="SIEMENS", MagneticFieldStrength=2.89)
    assert is_in_stratum(siemens, {})
    assert is_in_stratum(siemens, {"manufacturer": "Siemens", "field_strength": 3.0})
    assert not is_in_stratum(siemens, {"manufacturer": "GE"})
    assert not is_in_stratum(siemens, {"field_strength": 1.5})
    protocol = {"series": {"IRT1": {"checks": [rule(minimum=9.0, stratum={"manufacturer": "GE"})]}}}
    assert quality.check_parameters([siemens], protocol) == []


def scan(participant="T01", session="01", run="1", suffix="IRT1", **more):
    row = {"series_uid": f"1.{participant}.{session}.{run}.{suffix}", "participant_id": participant}
    return row | {"kind": "traveler", "session": session, "run": run, "suffix": suffix, "disposition": "used"} | more


SERIES = {
    "series": {
        name: {
            "title": name,
            "required": True,
            "kinds": ["traveler", "phantom"],
            "severity": "warn",
            "remedy": "Acquire it",
            "checks": [],
        }
        for name in ("IRT1", "MESE")
    }
}


def test_required_series_of_each_run():
    rows = [scan(), scan(suffix="MESE"), scan(run="2"), scan(run="2", suffix="MESE", disposition="quarantined")]
    rows[-1] |= {"reason": "InversionTime (0018,0082) is missing", "action": "Ask the site"}
    checks = quality.check_sequences(rows, SERIES)
    assert [(c.id, c.verdict) for c in checks[:2]] == [("series_received", "pass")] * 2
    assert [c.verdict for c in checks[2:]] == ["pass", "pass", "pass", "warn"]
    assert checks[-1].found == "quarantined: InversionTime (0018,0082) is missing"
    assert checks[-1].scope == "sub-T01 ses-01 run-2"
    assert checks[-1].remedy == "Ask the site"


def test_a_series_that_no_run_holds_fails_the_site():
    checks = quality.check_sequences([scan(), scan(run="2")], SERIES)
    assert [(c.id, c.verdict) for c in checks if c.verdict != "pass"] == [
        ("series_received", "fail"),
        ("required_series", "warn"),
        ("required_series", "warn"),
    ]


def test_a_series_that_a_kind_does_not_need():
    protocol = {"series": {"IRT1": {**SERIES["series"]["IRT1"], "kinds": ["phantom"]}}}
    assert quality.check_sequences([scan(suffix="MESE")], protocol) == []


SCHEDULE = {"traveler": {"sessions": {"01": {"runs": 2}, "02": {"runs": 1}}}}
LATE = {"severity": "warn", "remedy": "Send it"}


def test_planned_visits_against_those_that_arrived():
    people = [{"participant_id": name, "kind": "traveler"} for name in ("T01", "T02")]
    rows = [scan(), scan(run="2"), scan(session="02"), scan("T02", run="1")]
    checks = quality.check_completeness(rows, people, SCHEDULE, LATE)
    assert [(c.scope, c.verdict, c.found) for c in checks] == [
        ("sub-T01 ses-01", "pass", "2 runs"),
        ("sub-T01 ses-02", "pass", "1 run"),
        ("sub-T02 ses-01", "warn", "1 run"),
        ("sub-T02 ses-02", "warn", "the session did not arrive"),
    ]


def test_a_participant_without_any_scan_and_one_with_too_many():
    people = [{"participant_id": "T03", "kind": "traveler"}, {"participant_id": "P1", "kind": "patient"}]
    assert len(quality.check_completeness([], people, SCHEDULE, LATE)) == 2
    rows = [scan("T03"), scan("T03", run="2"), scan("T03", "02"), scan("T03", "03")]
    extra = quality.check_completeness(rows, people, SCHEDULE, LATE)[-1]
    assert (extra.id, extra.verdict, extra.found) == ("unplanned_session", "warn", "03 besides")


def test_intake_asks_only_for_what_the_site_can_mend():
    rows = [
        scan(),
        scan(run="2", disposition="ignored", reason="a duplicate", series_uid="1.9"),
        scan(run="3", disposition="quarantined", reason="no TI", action="Export it again"),
    ]
    exclusions = [
        {"series": "1.9", "reason": "a duplicate"},
        {"series": "notes.txt", "reason": "no DICOM"},
        {"series": rows[2]["series_uid"], "reason": "no TI"},
    ]
    copy = scan(run="3", disposition="ignored", reason="a copy", series_uid=rows[2]["series_uid"])
    rows.append(copy)
    exclusions.append({"series": copy["series_uid"], "reason": "a copy"})
    checks = quality.check_intake(rows, exclusions, LATE)
    assert [(c.id, c.verdict, c.found) for c in checks] == [
        ("usable_series", "pass", "1 usable of 4"),
        ("unusable_series", "warn", "no TI"),
        ("unusable_series", "warn", "no DICOM"),
    ]
    assert checks[1].remedy == "Export it again"
    rows[2]["action"] = "Ask the site to send the series with its inversion times"
    asked = quality.check_intake(rows, exclusions, LATE)[1].remedy
    assert asked == "Send the series with its inversion times", "the site reads it"


def test_a_damaged_file_is_one_thing_to_change():
    """The file's own row, its quarantined series and the run that lacks it are one finding, told once."""
    problem = "The file is truncated"
    reason = f"2 of 8 files of the series cannot be used: {problem}"
    rows = [scan(), scan(run="2", disposition="quarantined", reason=reason, action="Send it again")]
    file = {"series": "[withheld]/image3 (file 3f9a1c2e)", "participant_id": "T01", "session": "01", "reason": problem}
    exclusions = [
        {"series": rows[1]["series_uid"], "participant_id": "T01", "session": "01", "reason": reason},
        file,
        {**file, "series": "x", "reason": f"{problem} (nor are 1 more files of the same content)"},
    ]
    assert len(quality.check_intake(rows, exclusions, LATE)) == 2
    elsewhere = [{**exclusions[0], "session": "02"}, {**file, "reason": "The file is empty"}]
    assert len(quality.check_intake(rows, [*exclusions, *elsewhere], LATE)) == 3
    required = {"title": "T1", "required": True, "severity": "warn", "kinds": [rows[0]["kind"]], "remedy": "r"}
    checks = [
        *quality.check_intake(rows, exclusions, LATE),
        *quality.check_sequences(rows, {"series": {rows[0]["suffix"]: required}}),
    ]
    assert {c.id for c in checks if c.verdict != "pass"} == {"unusable_series", "required_series"}
    (change,) = quality.summarize(checks)
    assert change["found"] == f"quarantined: {reason}"


def test_a_site_without_usable_series_fails():
    checks = quality.check_intake([], [], LATE)
    assert quality.judge(checks) == Verdict.FAIL


SCANNER = {"id": "a", "serial": "12345", "field_strength": 3.0}


def test_headers_name_a_known_scanner():
    good = acquisition(DeviceSerialNumber="12345", MagneticFieldStrength=2.89, SoftwareVersions="E11")
    assert quality.judge(quality.check_headers([good], [SCANNER])) == "pass"
    unknown = acquisition(DeviceSerialNumber="999", MagneticFieldStrength=3)
    verdicts = {c.id: c.verdict for c in quality.check_headers([unknown], [SCANNER])}
    assert verdicts == {"known_scanner": "warn", "known_field_strength": "pass", "one_software_version": "pass"}
    weak = acquisition(DeviceSerialNumber="12345", MagneticFieldStrength=1.5)
    assert quality.judge(quality.check_headers([weak], [SCANNER])) == "fail"


def test_a_scanner_whose_serial_nobody_wrote_down_is_told():
    for scanner, header in (({**SCANNER, "serial": ""}, "12345"), ({**SCANNER, "serial": ""}, None), (SCANNER, None)):
        series = acquisition(MagneticFieldStrength=3, DeviceSerialNumber=header)
        wrong = [c for c in quality.check_headers([series], [scanner]) if c.verdict != "pass"]
        assert [(c.id, c.verdict) for c in wrong] == [("known_scanner", "warn")]
        assert wrong[0].found == (header or "missing")


def test_a_software_upgrade_is_told():
    two = [
        acquisition(DeviceSerialNumber="12345", MagneticFieldStrength=3, SoftwareVersions=v) for v in ("E11", "XA30")
    ]
    upgrade = [c for c in quality.check_headers(two, [SCANNER]) if c.verdict != "pass"]
    assert [(c.id, c.found) for c in upgrade] == [("one_software_version", "E11, XA30")]


def test_an_identity_in_a_sidecar_fails():
    named = acquisition(DeviceSerialNumber="12345", MagneticFieldStrength=3, PatientBirthDate="x")
    check = next(c for c in quality.check_headers([named], [SCANNER]) if c.id == "no_identity")
    assert check.verdict == "fail"
    assert "x" not in (check.found, check.expected)


def vial(number, measured, reference=1.0, **more):
    row = {"phantom": "nist_system", "serial": "130-0001", "session": "01", "biomarker": "T1", "vial": number}
    return row | {"measured": measured, "reference": reference, "used": "True"} | more


def statistic(name, **bounds):
    return {"id": name, "statistic": name, "severity": "fail", "remedy": "Rescan", **bounds}


def test_phantom_statistics_by_hand():
    rows = [vial(1, 1.1), vial(2, 1.8, 2.0), vial(3, 9.0, used="False")]
    found = quality.compute_phantom_statistics(rows, {"coefficients": [0.0, 1.0]})
    assert found["n_used"] == 2
    assert found["max_abs_percent_bias"] == pytest.approx(10.0)
    assert found["mean_percent_bias"] == pytest.approx(0.0)
    assert found["rms_percent_residual"] == pytest.approx(10.0)
    gain = quality.compute_phantom_statistics([vial(1, 1.1), vial(2, 2.2, 2.0)], {"coefficients": [0.0, 1 / 1.1]})
    assert gain["rms_percent_residual"] == pytest.approx(0.0, abs=1e-9)
    assert gain["slope"] == pytest.approx(1 / 1.1)


def test_phantom_checks_say_session_and_biomarker():
    calibration = {"biomarker": "T1", "form": "gain", "coefficients": [0.0, 1 / 1.1], "refused": False}
    rules = [statistic("max_abs_percent_bias", maximum=5.0), statistic("n_used", minimum=1)]
    checks = quality.check_phantom([vial(1, 1.1)], [calibration], rules)
    assert [(c.id, c.verdict) for c in checks] == [
        ("calibration", "pass"),
        ("max_abs_percent_bias", "fail"),
        ("n_used", "pass"),
    ]
    assert checks[1].scope == "nist_system 130-0001 ses-01 T1"
    assert checks[1].expected == "at most 5 %"
    assert checks[1].found == "10 %"


def test_a_refused_calibration_fails_with_its_reason():
    refused = {"biomarker": "T2", "form": "none", "refused": True, "reason": "No phantom session was received"}
    check = quality.check_phantom([], [refused], [statistic("n_used", minimum=6)])[0]
    assert check.verdict == "fail"
    assert check.found == "refused: No phantom session was received"
    assert quality.check_phantom([], [refused], [])[0].verdict == "warn", "a trial that asks for no phantom"


def test_no_usable_vial_fails_and_is_no_number():
    rows = [vial(1, float("nan")), vial(2, "n/a"), vial(3, 1.0, 0.0)]
    checks = quality.check_phantom(rows, [], [statistic("max_abs_percent_bias", maximum=5.0)])
    assert [(c.verdict, c.found) for c in checks] == [("fail", "not computable")]


def test_the_worst_check_is_the_verdict():
    def check(verdict, **more):
        known = {"id": "a", "group": "g", "scope": "s", "parameter": "p", "severity": "warn", "expected": "e"}
        return quality.Check(**{**known, "found": "f", "remedy": "r", **more, "verdict": verdict})

    assert quality.judge([]) == "fail", "nothing checked is nothing known"
    assert quality.judge([check("pass"), check("pass")]) == "pass"
    assert quality.judge([check("pass"), check("warn")]) == "warn"
    assert quality.judge([check("warn"), check("fail"), check("pass")]) == "fail"
    changes = quality.summarize([check("warn"), check("warn", scope="t"), check("pass"), check("fail", id="b")])
    assert [(change["id"], change["n"], change["scopes"]) for change in changes] == [
        ("b", 1, ["s"]),
        ("a", 2, ["s", "t"]),
    ]


ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(values=st.lists(ODD, max_size=3), bound=st.floats(0.1, 10))
def test_no_header_value_makes_a_check_raise(values, bound):
    series = quality.Acquisition("T01", "traveler", "01", "1", "IRT1", [{"RepetitionTime": v} for v in values])
    for bounds in (
        {"minimum": bound},
        {"target": bound, "tolerance": 0.1},
        {"target": [bound, 2 * bound]},
        {"target": "text"},
        {"minimum_count": 2},
        {"allowed": [bound, "x", True]},
    ):
        assert check_parameter(series, rule(**bounds)).verdict in ("pass", "warn")
    odd = [{"DeviceSerialNumber": v, "MagneticFieldStrength": v, "SoftwareVersions": v} for v in values]
    quality.check_headers([quality.Acquisition("T01", "traveler", "01", "1", "IRT1", odd)], [SCANNER])


@given(measured=ODD, reference=ODD, coefficients=st.lists(ODD, max_size=3) | st.none())
def test_no_vial_makes_the_statistics_raise(measured, reference, coefficients):
    found = quality.compute_phantom_statistics([vial(1, measured, reference)], {"coefficients": coefficients})
    assert found["n_used"] in (0, 1)
    assert all(math.isnan(v) or isinstance(v, float) for v in found.values())


def arrived(kind="patient", n_files=8, n_named=0, named="", warnings="", disposition="used"):
    return {"kind": kind, "n_files": n_files, "n_named": n_named, "named": named, "warnings": warnings} | {
        "disposition": disposition
    }


def test_names_at_arrival_are_counted_over_the_site():
    rows = [
        arrived(),
        arrived(n_named=8, named="OperatorsName PatientName"),
        arrived(n_named=2, named="PatientBirthDate", disposition="quarantined"),
        arrived("phantom", n_named=8, named="PatientName"),
        arrived(n_named=None),  # replaced by a corrected re-send
        arrived("", n_named=8, named="PatientName"),  # a stranger, whom no row names, is a person
    ]
    (check,) = quality.check_privacy(rows)
    assert check.verdict == Verdict.WARN
    assert check.found == "in 18 of 32 files: OperatorsName, PatientName, PatientBirthDate"


def test_many_elements_are_counted_rather_than_listed():
    (check,) = quality.check_privacy([arrived(n_named=8, named=" ".join("ABCDEFG"))])
    assert check.found == "in 8 of 8 files: A, B, C, D, E, … (7 elements)"


def test_no_names_no_warning():
    (check,) = quality.check_privacy([arrived(), arrived("phantom", n_named=3)])
    assert (check.verdict, check.found) == (Verdict.PASS, "in 0 of 8 files")
    assert quality.check_privacy([arrived("phantom", n_named=3)]) == []
    assert quality.check_privacy([{"kind": "patient"}, {"n_files": math.nan, "n_named": "x"}]) == []


def test_faces_and_annotations_are_warned_of():
    rows = [
        arrived(warnings="face"),
        arrived(warnings="burned_in face", disposition="quarantined"),
        arrived("phantom", warnings="face"),
    ]
    found = {check.id: (check.verdict, check.scope) for check in quality.check_privacy(rows)}
    assert found["face_in_images"] == (Verdict.WARN, "1 series")
    assert found["annotation_in_pixels"] == (Verdict.WARN, "1 series")
