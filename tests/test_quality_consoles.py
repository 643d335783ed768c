"""A protocol in the words of each console, and statistics of a phantom by hand."""

import math

import numpy as np
import pytest

from isocenter.documents import read_document
from isocenter.errors import ConfigError
from isocenter.quality.acquisition import Acquisition, Grid, is_in_stratum
from isocenter.quality.consoles import find_console, show_value
from isocenter.quality.differences import accept_differences, widen_bounds
from isocenter.quality.geometry import compare_grids
from isocenter.quality.phantom_statistics import compare_sessions, measure_linearity
from isocenter.quality.protocol import check_parameter
from isocenter.settings import load_settings

CONSOLES = "config/consoles.yaml"


@pytest.fixture(scope="module")
def consoles(pytestconfig):
    return read_document(pytestconfig.rootpath / CONSOLES, "consoles")["consoles"]


#: The same 230 Hz/px: Siemens shows it, GE ± half of 256 samples, Philips 3.4 ppm of 127.77 MHz (434.4 Hz) over it.
@pytest.mark.parametrize(
    ("maker", "words", "value"),
    [
        ("SIEMENS", '"Bandwidth [Hz/Px]" (Sequence)', "230 Hz/px"),
        ("GE MEDICAL SYSTEMS", '"Receiver Bandwidth (± kHz)" (Scan Timing)', "±29.44 kHz"),
        ("Philips Healthcare", '"Water-fat shift (pixels)" (Contrast)', "1.89 pixels"),
        ("Canon", '"receiver bandwidth"', "230 Hz/px"),
    ],
)
def test_one_bandwidth_on_every_console(consoles, maker, words, value):
    about = {"FrequencyEncodingSteps": 256, "ImagingFrequency": 127.77}
    console = find_console(consoles, maker)
    assert console.word("Set {PixelBandwidth} to {PixelBandwidth=230}", about) == f"Set {words} to {value}"


def test_what_a_unit_needs_and_the_header_lacks_leaves_the_sidecars_unit(consoles):
    for maker in ("GE", "Philips"):
        assert find_console(consoles, maker).word("{PixelBandwidth=230}") == "230 Hz/px"
    assert show_value("ms", "soon", "s", {}) == "soon"
    assert show_value("water_fat_shift", 0.0, "Hz/px", {"ImagingFrequency": 127.7}) == "0 Hz/px"


def test_words_are_unchecked_until_an_entry_says_where_they_were_read(consoles):
    assert {find_console(consoles, maker).checked for maker in ("Siemens", "GE", "Philips")} == {""}
    (first, *_) = consoles
    seen = [{**first, "checked": "the Prisma, VE11E, 2026-05-02"}]
    assert find_console(seen, "Siemens").checked == "the Prisma, VE11E, 2026-05-02"


def test_an_entry_for_a_release_goes_before_the_makers_other_one():
    entries = [
        {"manufacturer": "Siemens", "software": "*XA*", "parameters": {"Averages": {"name": "new"}}},
        {"manufacturer": "Siemens", "parameters": {"Averages": {"name": "old"}}},
        {"manufacturer": "", "copy": "copy", "parameters": {"Averages": {"name": "any"}, "TE": {"name": "TE"}}},
    ]
    names = [find_console(entries, "SIEMENS", release).name("Averages") for release in ("syngo MR XA30", "E11", "")]
    assert names == ["new", "old", "old"]
    assert find_console(entries, "Siemens", "E11").name("TE") == "TE", "what an entry lacks is the general word"
    assert find_console(entries, "").name("Unknown") == "Unknown"


def test_every_console_has_a_name_for_everything_that_remedies_speak_of(consoles):
    known = {entry["manufacturer"]: set(entry["parameters"]) for entry in consoles}
    for maker in ("Siemens", "GE", "Philips"):
        assert known[""] - known[maker] <= {"PercentSampling"}, maker


def acquisition(**values):
    return Acquisition("T01", "traveler", "01", "1", "IRT1", [values])


def test_strata_by_model_and_software():
    skyra = acquisition(Manufacturer="Siemens", ManufacturersModelName="Skyra_fit", SoftwareVersions="syngo MR E11")
    assert is_in_stratum(skyra, {"model": "skyra*", "software": "*E11*"})
    assert not is_in_stratum(skyra, {"model": "Prisma*"})
    assert not is_in_stratum(skyra, {"software": "*XA*"})
    assert not is_in_stratum(acquisition(), {"model": "*"}), "a model that nobody tells is in no stratum of models"


def test_what_a_header_never_tells_may_pass():
    rule = {"id": "a", "parameter": "X", "allowed": [False], "severity": "warn", "remedy": "r"}
    assert check_parameter(acquisition(), rule).verdict == "warn"
    silent = check_parameter(acquisition(), {**rule, "if_missing": "passes"})
    assert (silent.verdict, silent.found) == ("pass", "not told by the header")
    assert check_parameter(acquisition(X=True), {**rule, "if_missing": "passes"}).verdict == "warn"


def test_a_tolerance_in_a_unit_that_turns_around_is_told_by_its_ends(consoles):
    """Water-fat shift falls as the bandwidth rises: 434.4/210 = 2.07, 434.4/250 = 1.74 pixels."""
    rule = {"id": "a", "parameter": "PixelBandwidth", "target": 230, "tolerance": 20, "unit": "Hz/px",
            "severity": "warn", "remedy": "r"}  # fmt: skip
    one = acquisition(Manufacturer="Philips", PixelBandwidth=100, ImagingFrequency=127.77)
    check = check_parameter(one, rule, find_console(consoles, "Philips"))
    assert (check.expected, check.console_expected) == ("230 ± 20 Hz/px", "2.07 pixels to 1.74 pixels")
    assert check.console_found == "4.34 pixels"


# Geometry ---------------------------------------------------------------------------------------------
LIMITS = {"position": 2.0, "angle": 1.0, "voxel": 1.0}


def grid(shape=(10, 12, 3), angle=0.0, shift=(0, 0, 0), voxel=(2.0, 2.0, 5.0)):
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * voxel
    affine[:3, 3] = np.array(shift) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (grid(), []),
        (grid(shift=(0, 1.4, 1.4)), []),
        (grid(shift=(0, 0, 2.5)), ["centers 2.5 mm apart"]),
        (grid(angle=0.9), []),
        (grid(angle=3.0), ["turned by 3 degrees"]),
        (grid(shape=(10, 12, 4)), ["4 slices instead of 3"]),
        (grid(voxel=(2.0, 2.0, 6.0)), ["6 mm instead of 5 mm along slices"]),
    ],
)
def test_two_stacks_of_slices(other, found):
    assert compare_grids(grid(), other, LIMITS) == found


def test_a_stack_that_is_stored_the_other_way_round_is_the_same():
    stack = grid()
    flipped = stack.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    flipped[:3, 3] = (stack.affine @ [0, 0, stack.shape[2] - 1, 1])[:3]
    assert compare_grids(stack, Grid(stack.shape, flipped), LIMITS) == []


# Phantom ----------------------------------------------------------------------------------------------
def test_linearity_by_hand():
    line = measure_linearity([1.05 * r + 0.01 for r in (0.1, 0.5, 1.0, 2.0)], [0.1, 0.5, 1.0, 2.0])
    assert line["r_squared"] == pytest.approx(1.0)
    assert line["nonlinearity_percent"] == pytest.approx(0.0, abs=1e-9)
    reference = np.linspace(0.1, 2.0, 10)
    bent = measure_linearity(list(reference * (1 - 0.2 * reference)), list(reference))
    assert bent["r_squared"] == pytest.approx(np.corrcoef(reference, reference * (1 - 0.2 * reference))[0, 1] ** 2)
    assert bent["nonlinearity_percent"] > 2
    assert math.isnan(measure_linearity([1.0, 2.0], [1.0, 2.0])["r_squared"])


def vial(session, number, ratio, **more):
    return {"session": session, "vial": number, "reference": 1.0, "measured": ratio, "used": True, "unit": "s"} | more


def test_repeatability_and_drift_by_hand():
    """Vials at +1 and -1 % in the first, at +3 and +1 % in the second: both moved by 2 %, their SD is 2/√2 %."""
    rows = [vial("01", 1, math.exp(0.01)), vial("01", 2, math.exp(-0.01))]
    rows += [vial("02", 1, math.exp(0.03)), vial("02", 2, math.exp(0.01)), vial("02", 3, 9.0, used=False)]
    found = compare_sessions(rows)
    assert found["n_sessions"] == 2
    assert found["drift_percent"] == pytest.approx(2.0)
    assert found["repeatability_percent"] == pytest.approx(math.sqrt(2.0))
    shares = [vial("01", 1, 10.0, reference=11.0, unit="percent"), vial("02", 1, 14.0, reference=11.0, unit="percent")]
    assert compare_sessions(shares)["drift_percent"] == pytest.approx(4.0), "points, of shares"
    one = compare_sessions(rows[:2])
    assert math.isnan(one["drift_percent"])
    assert math.isnan(one["repeatability_percent"])
    assert compare_sessions([])["n_sessions"] == 0


# Differences ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bounds", "values", "wide"),
    [
        ({"minimum": 4.0}, [3.5, 5.0], {"minimum": 3.5}),
        ({"maximum": 4.0}, [3.5, 5.0], {"maximum": 5.0}),
        ({"target": 1}, [2.0], {"minimum": 1, "maximum": 2.0}),
        ({"target": [0, 500]}, [500.0, 0.0], {"target": [0.0, 500.0]}),
        ({"minimum_count": 8}, [1.0, 2.0, 3.0], {"minimum_count": 3}),
        ({"allowed": [False]}, [True], {"allowed": [False, True]}),
        ({"target": "IR"}, ["SE"], {}),
        ({"minimum": 4.0}, ["soon"], {}),
        ({"minimum": 4.0}, [], {}),
    ],
)
def test_bounds_as_wide_as_what_was_found(bounds, values, wide):
    rule = {"id": "a", "parameter": "X", "severity": "warn", "remedy": "r", **bounds}
    assert widen_bounds(rule, [acquisition(X=values)] if values else [acquisition()]) == wide


def test_an_accepted_difference_still_is_a_check():
    rule = {"id": "tr", "parameter": "X", "severity": "warn", "remedy": "r", "target": 4.0, "tolerance": 0.1}
    protocol = {"series": {"IRT1": {"checks": [rule]}, "MESE": {"checks": [dict(rule)]}}}
    difference = {"series": "IRT1", "check": "tr", "bounds": {"minimum": 3.5}, "reason": "SAR"}
    assert accept_differences(protocol, [{**difference, "accepted": False}]) is protocol
    own = accept_differences(protocol, [{**difference, "accepted": True}])
    changed = own["series"]["IRT1"]["checks"][0]
    assert check_parameter(acquisition(X=3.5), changed).verdict == "pass"
    assert check_parameter(acquisition(X=3.0), changed).verdict == "warn"
    assert own["series"]["MESE"]["checks"][0] == rule
    assert protocol["series"]["IRT1"]["checks"][0] == rule, "the trial's protocol stays as it is"


def test_a_remedy_that_no_console_can_say_is_a_mistake(tmp_path, pytestconfig):
    import shutil

    shutil.copytree(pytestconfig.rootpath / "config", tmp_path / "config")
    (tmp_path / "sites").mkdir()
    load_settings(tmp_path)
    path = tmp_path / "config" / "protocols" / "brain_relaxometry.yaml"
    path.write_text(path.read_text().replace("Set {NumberOfAverages} to 1", "Set {Averages} to 1", 1))
    with pytest.raises(ConfigError, match=r"series.IRT1.checks\[7\].remedy.*found: \{Averages\}"):
        load_settings(tmp_path)
