"""Seeded deviations at a site of each vendor: all are found, each by its name, with the console's word in the remedy.

Every deviation hits a run of its own, so that the checks that do not hold must be those of the deviations and no other.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from onboarding.vendor_site import VendorSite, broken


@dataclass(frozen=True)
class Deviation:
    """What was done to a site; `expected` are (check, start of its scope), `words` what the remedy must say."""

    what: str
    expected: tuple[tuple[str, str], ...]
    words: tuple[str, ...] = ()
    series: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    again: tuple = ()


def run(participant, session="01"):
    return f"sub-{participant} ses-{session} run-1"


def change(participant, suffix, **fields):
    """The series of a participant with fields of the simulated series replaced."""
    return {(participant, "01", suffix): lambda series: replace(series, **fields)}


def cut(participant, suffix, keep):
    """Only some of the volumes of a series."""
    return {
        (participant, "01", suffix): lambda series: replace(
            series, times=series.times[keep], data=np.ascontiguousarray(series.data[..., keep])
        )
    }


def stretch(participant, suffix, factor):
    return {(participant, "01", suffix): lambda series: replace(series, times=series.times * factor)}


def move(participant, suffix, offset):
    return {
        (participant, "01", suffix): lambda series: replace(series, position=series.position + np.array(offset, float))
    }


def turn(participant, suffix, degrees):
    def turned(series):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        axes = {name: about_x @ getattr(series, name) for name in ("columns", "rows", "slices")}
        return replace(series, position=about_x @ series.position, **axes)

    return {(participant, "01", suffix): turned}


def leave_out(*keys):
    return dict.fromkeys(keys, lambda series: None)


SIEMENS = [
    Deviation(
        "TR of 2.5 s", (("repetition_time", f"{run('T01')} IRT1"),), ('"TR"', "4000 ms"),
        change("T01", "IRT1", repetition_time=2.5),
    ),
    Deviation(
        "two averages", (("averages", f"{run('T01')} MESE"),), ('"Averages"',),
        headers={("T01", "01", "MESE"): {"NumberOfAverages": "2"}},
    ),
    Deviation(
        "a narrow bandwidth", (("receiver_bandwidth", f"{run('T02')} IRT1"),), ('"Bandwidth [Hz/Px]"', "230 Hz/px"),
        headers={("T02", "01", "IRT1"): {"PixelBandwidth": "130"}},
    ),
    Deviation(
        "Prescan Normalize on", (("intensity_correction", f"{run('T02')} MESE"),), ('"Prescan Normalize"',),
        headers={("T02", "01", "MESE"): {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "ND"]}},
    ),
    Deviation(
        "distortion correction on", (("distortion_correction", f"{run('T03')} MESE"),), ('"Distortion Corr."',),
        headers={("T03", "01", "MESE"): {"ImageType": ["ORIGINAL", "PRIMARY", "M", "DIS2D"]}},
    ),
    Deviation(
        "slices of the second series moved", (("same_slices", run("T04")),), ("Copy Parameters",),
        move("T04", "MESE", (0, 0, 8)),
    ),
    Deviation(
        "a software upgrade between two sessions", (("one_software_version", ""),), ("upgrade",),
        headers={("T05", "02", suffix): {"SoftwareVersions": "syngo MR XA30"} for suffix in ("IRT1", "MESE")},
    ),
    Deviation(
        "a visit that did not take place", (("planned_session", "sub-T06 ses-02"),), ("Send the missing session",),
        leave_out(("T06", "02", "IRT1"), ("T06", "02", "MESE")),
    ),
]  # fmt: skip

GE = [
    Deviation(
        "five inversion times", (("inversion_times", f"{run('T01')} IRT1"), ("inversion_span", f"{run('T01')} IRT1")),
        ('"Prep Time', "50 ms"),
        cut("T01", "IRT1", slice(1, 6)),
    ),
    Deviation(
        "two excitations", (("averages", f"{run('T01')} MESE"),), ('"NEX"',),
        headers={("T01", "01", "MESE"): {"NumberOfAverages": "2"}},
    ),
    Deviation(  # 8 samples: the receiver bandwidth is 8 times that of a pixel, told as plus or minus its half
        "a narrow bandwidth", (("receiver_bandwidth", f"{run('T02')} IRT1"),),
        ('"Receiver Bandwidth (± kHz)"', "±0.92 kHz"), headers={("T02", "01", "IRT1"): {"PixelBandwidth": "100"}},
    ),
    Deviation(
        "six echoes", (("echo_times", f"{run('T02')} MESE"), ("echo_span", f"{run('T02')} MESE")),
        ('"Number of Echoes"',), cut("T02", "MESE", slice(0, 6)),
    ),
    Deviation(
        "GradWarp on", (("distortion_correction", f"{run('T03')} MESE"),), ('"GradWarp"',),
        headers={("T03", "01", "MESE"): {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "DIS2D"]}},
    ),
    Deviation(
        "a series missing in one run", (("required_series", run("T04")),), ("multi-echo spin-echo",),
        leave_out(("T04", "01", "MESE")),
    ),
    Deviation(
        "slices turned between two series", (("same_slices", run("T05")),), ("Copy Rx",), turn("T05", "MESE", 6.0),
    ),
    Deviation(
        "another scanner", (("known_scanner", ""),), ("site.yaml",),
        headers={("T06", "01", suffix): {"DeviceSerialNumber": "990001"} for suffix in ("IRT1", "MESE")},
    ),
]  # fmt: skip

PHILIPS = [
    Deviation(
        "inversion times up to 6 s",
        (("longest_inversion_time", f"{run('T01')} IRT1"), ("inversion_span", f"{run('T01')} IRT1")),
        ('"IR delay', "4000 ms"), stretch("T01", "IRT1", 2.0),
    ),
    Deviation(
        "two averages", (("averages", f"{run('T01')} MESE"),), ('"NSA"',),
        headers={("T01", "01", "MESE"): {"NumberOfAverages": "2"}},
    ),
    Deviation(  # 3.4 ppm of 127.77 MHz are 434 Hz: 1.89 pixels of 230 Hz
        "a large water-fat shift", (("receiver_bandwidth", f"{run('T02')} IRT1"),),
        ('"Water-fat shift (pixels)"', "1.89 pixels"), headers={("T02", "01", "IRT1"): {"PixelBandwidth": "110"}},
    ),
    Deviation(
        "an excitation of 60 degrees", (("flip_angle", f"{run('T02')} MESE"),), ('"Flip angle"',),
        change("T02", "MESE", flip_angle=60.0),
    ),
    Deviation(
        "TR of 1.5 s", (("repetition_time", f"{run('T03')} MESE"),), ('"TR"', "2000 ms"),
        change("T03", "MESE", repetition_time=1.5),
    ),
    Deviation(
        "the inversion times are absent",
        (("unusable_series", run("T04")), ("required_series", run("T04"))), ("inversion times",),
        headers={("T04", "01", "IRT1"): {"InversionTime": None}},
    ),
    Deviation(
        "a run too many", (("unplanned_run", "sub-T05 ses-01"),), ("schedule",),
        again=(("T05", "01", "IRT1"), ("T05", "01", "MESE")),
    ),
    Deviation(
        "1.5 T in the header",
        (("field_strength", f"{run('T06', '02')} MESE"), ("known_field_strength", "")), ("site.yaml",),
        headers={("T06", "02", "MESE"): {"MagneticFieldStrength": "1.5"}},
    ),
]  # fmt: skip


def build(folder, dialect, deviations, seed):
    site = VendorSite(folder, dialect, seed, participants=6)
    for one in deviations:
        site.series |= one.series
        site.headers |= one.headers
        site.again += list(one.again)
    site.write()
    return site


@pytest.mark.parametrize(("dialect", "deviations"), [("Siemens", SIEMENS), ("GE", GE), ("Philips", PHILIPS)])
def test_every_deviation_is_found_and_nothing_else(tmp_path, dialect, deviations):
    answer = build(tmp_path / "site", dialect, deviations, seed=11).judge()
    wrong = [check for check in answer["checks"] if check["verdict"] != "pass"]
    left = list(wrong)
    for one in deviations:
        for name, scope in one.expected:
            found = [check for check in wrong if check["id"] == name and check["scope"].startswith(scope)]
            assert found, f"{one.what}: {name} of {scope} was not found among {broken(answer)}"
            for check in found:
                if (name, scope) == one.expected[0]:
                    assert all(word in check["remedy"] for word in one.words), (one.what, check["remedy"])
                left = [other for other in left if other is not check]
    assert left == [], "alarms that no deviation explains"
    assert answer["verdict"] in ("warn", "fail")


def worn(site, biomarker="T1", **fields):
    """The scanner as it is on a day, with one of its faults changed."""
    if "ruler" in fields:
        error = fields.pop("ruler")
        fields["ruler_errors"] = {**site.site.ruler_errors, biomarker: error}
    return replace(site.site, **fields)


#: What a phantom shows: a fault, and the checks that must tell it. Both sessions have it unless the fault is a change.
PHANTOM = {
    "T1 read 25 % short": ("Siemens", {"ruler": 0.25}, ("01", "02"), {"bias"}, ()),
    "inversion of 0.7": ("Siemens", {"inversion_efficiency": 0.7}, ("01", "02"), {"inversion"}, ("Magn. preparation",)),
    "refocusing of 120 degrees": ("GE", {"refocusing_angle": 120.0}, ("01", "02"), {"transmit_field"}, ("TG (Auto",)),
    "T1 moves by 6.5 % between sessions": ("GE", {"drift": 0.065}, ("02",), {"drift", "repeatability"}, ("events",)),
    # Noise lifts the late echoes of what relaxes fast: its bias is told too.
    "a loose coil": ("Philips", {"snr": 35.0}, ("01", "02"), {"signal_to_noise", "bias"}, ("Coil selection",)),
    "half of the vials unseen": ("Philips", {"absent": range(1, 9)}, ("01",), {"vials_used"}, ("all vials",)),
}  # fmt: skip


@pytest.mark.parametrize("what", PHANTOM)
def test_a_fault_of_the_scanner_shows_in_the_phantom(tmp_path, what):
    dialect, fault, sessions, expected, words = PHANTOM[what]
    site = VendorSite(tmp_path / "site", dialect, seed=5, participants=0)
    fault = dict(fault)
    if "drift" in fault:
        fault["ruler"] = site.site.ruler_errors["T1"] + fault.pop("drift")
    for session in sessions:
        if "snr" in fault:
            site.phantom_snr[session] = fault["snr"]
        elif "absent" in fault:
            site.absent[session] = fault["absent"]
        else:
            site.scanner[session] = worn(site, **dict(fault))
    site.write()
    answer = site.judge()
    assert {name for name, _ in broken(answer)} == expected
    told = [check["remedy"] for check in answer["checks"] if check["verdict"] != "pass" and check["id"] in expected]
    assert all(any(word in remedy for remedy in told) for word in words), told
