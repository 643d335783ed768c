"""Eurospin gels, fat-fraction vials and solutions of one's own; and what holds for every shipped definition."""

import copy
import csv

import numpy as np
import pytest
import yaml
from phantom.conftest import ROOT

from isocenter import models
from isocenter.documents import read_phantom
from isocenter.errors import CalibrationError, ConfigError
from isocenter.phantom import library
from isocenter.phantom.library import load_phantom
from isocenter.phantom.solutions import relax_solution
from isocenter.schemas import load_schema

FOLDER = ROOT / "config" / "phantoms"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def phantom_called(name):
    return load_phantom(read_phantom(FOLDER / f"{name}.yaml"))


# Every definition ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_every_definition_is_valid_and_sourced(name):
    """read_phantom holds it against the schema; every table says where its numbers come from and how sure they are."""
    phantom = phantom_called(name)
    assert phantom.name == name
    text = phantom.describe()
    assert text["title"]
    assert "doi" in text["reference"]
    assert text["tables"]
    for table in text["tables"]:
        assert table["source"]
        assert "k = " in table["uncertainty"] or "propagated" in table["uncertainty"]


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_quantities_are_parameters_of_models(name):
    """What an array calibrates is what a biomarker's `parameter` can say, in that parameter's unit."""
    units = {}
    for model in models.names():
        for parameter in models.get(model).parameters:
            units.setdefault(parameter.name, parameter.unit)
    quantities = {q for a in phantom_called(name).definition["arrays"].values() for q in a["calibrates"]}
    properties = load_schema("phantom")["properties"]["tables"]["additionalProperties"]["properties"]["vials"]
    properties = properties["additionalProperties"]["properties"]
    assert quantities <= set(units)
    assert all(properties[q]["unit"] == units[q] for q in quantities)


def test_parameters_of_the_trials_biomarkers_find_their_array():
    """The blocks of config/biomarkers.yaml, whatever their names, and the variants that a trial may add."""
    blocks = yaml.safe_load((ROOT / "config" / "biomarkers.yaml").read_text(encoding="utf-8"))
    blocks["T1vfa"] = {"parameter": "T1", "model": "t1_variable_flip_angle"}
    blocks["T2plain"] = {"parameter": "T2", "model": "t2_multi_echo"}
    home = {"T1": ("nist_system", "NiCl2"), "T2": ("nist_system", "MnCl2"), "ADC": ("diffusion", "tubes"),
            "PDFF": ("pdff_vials", "fat")}  # fmt: skip
    for block in blocks.values():
        phantom, array = home[block["parameter"]]
        assert phantom_called(phantom).array(block["parameter"]) == array
        assert block["parameter"] in [p.name for p in models.get(block["model"]).parameters]


def test_defaults_of_the_code_are_those_of_the_schema():
    properties = load_schema("phantom")["properties"]
    assert properties["field_tolerance"]["default"] == library.FIELD_TOLERANCE
    assert properties["unmeasured_temperature_stderr"]["default"] == library.UNMEASURED_TEMPERATURE_STDERR
    assert properties["borrowed_slope_uncertainty"]["default"] == library.BORROWED_SLOPE_UNCERTAINTY


# Eurospin --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def gels():
    return phantom_called("eurospin_to5")


@pytest.mark.parametrize("file", ["T1-Batch1_1p5T_userCreated_20240315.csv", "T2-Batch1_1p5T_userCreated_20240315.csv"])
def test_every_gel_is_that_of_the_source(gels, nist_data, file):
    """The gel's number stands in a column headed concentration: no concentration is shipped."""
    with open(nist_data / "eurospin_reference_values" / file, encoding="utf-8-sig") as source:
        rows = list(csv.DictReader(source))
    table = gels.definition["tables"]["gels_1p5T"]
    assert len(rows) == len(table["vials"]) == 18
    for row in rows:
        number = next(row[column] for column in row if "Concentration" in column)
        vial = table["vials"][int(number)]
        assert "concentration" not in vial
        for quantity in ("T1", "T2"):
            assert vial[quantity][0] == pytest.approx(float(row[f"{quantity} reported (ms)"]) / 1000, abs=1e-9)
            printed = float(row[f"{quantity} uncertainty (ms)"]) / 1000
            assert vial[f"{quantity}_uncertainty"][0] == pytest.approx(printed, abs=1e-9)


def test_gels_are_uncertain_by_three_percent_and_relax_as_gels_do(gels):
    t1, t2 = (gels.reference(q, "any", 1.5, 20.0) for q in ("T1", "T2"))
    for a, b in zip(t1, t2, strict=True):
        assert 0.027 < a.stderr / a.value < 0.033
        assert 0.027 < b.stderr / b.value < 0.033
        assert b.value < a.value


@pytest.mark.parametrize("temperature", [19.0, 22.0])
def test_gels_have_one_temperature(gels, temperature):
    with pytest.raises(CalibrationError, match="expected: 20 degC, the only temperature it holds for"):
        gels.reference("T1", "any", 1.5, temperature)


def test_gels_have_one_field_strength(gels):
    with pytest.raises(CalibrationError, match=r"expected: 1.5 T; found: 3 T"):
        gels.reference("T1", "any", 3.0, 20.0)


def test_an_uncertain_temperature_of_gels_costs_the_most_that_it_could(gels):
    sharp, vague = (gels.reference("T1", "any", 1.494, 20.0, t)[0] for t in (0.0, 1.0))
    assert vague.stderr / vague.value == pytest.approx(np.hypot(sharp.stderr / sharp.value, 0.027))


def test_tubes_placed_by_hand_have_no_geometry(gels):
    with pytest.raises(CalibrationError, match="file of regions"):
        gels.geometry("T1")


# Fat fraction ----------------------------------------------------------------------------------------
def test_fat_fractions_hold_at_any_field_and_temperature():
    fat = phantom_called("pdff_vials")
    rows = fat.reference("PDFF", "", 1.5, float("nan"))  # nobody need know
    assert [r.value for r in rows] == [r.value for r in fat.reference("PDFF", "", 3.0, 22.0, 1.0)]
    assert (rows[0].value, rows[-1].value) == (0.0, 100.0)
    assert all(r.stderr > 0 and r.temperature_stderr == 0 for r in rows)
    assert (np.diff([r.value for r in rows]) > 0).all()


def test_the_fit_of_fat_must_know_the_temperature():
    """Neglected, 17 degC cost a point and more; told, nothing."""
    fat = phantom_called("pdff_vials")
    options = fat.fit_options("PDFF", 20.0)
    assert options == {"temperature": 20.0}
    assert phantom_called("nist_system").fit_options("T1", 20.0) == {}
    from isocenter import fitting

    scan = {"EchoTime": [0.0012 * (1 + i) for i in range(6)], "MagneticFieldStrength": 3.0}
    model = models.get("pdff_complex")
    truth = {"PDFF": 20.9, "R2star": 40.0, "B0": 10.0, "W": 79.1, "F": 20.9, "phase": 0.0}
    signal = model.bind(scan, **options).predict(truth)
    told = fitting.fit(model.bind(scan, **options), signal).value["PDFF"]
    neglected = fitting.fit(model.bind(scan), signal).value["PDFF"]
    assert float(told) == pytest.approx(20.9, abs=0.01)
    assert abs(float(neglected) - 20.9) > 0.5


# Solutions of one's own ------------------------------------------------------------------------------
RATE = {"water": 0.32, "water_stderr": 0.01, "water_slope": -0.028, "relaxivity": 6.8, "relaxivity_stderr": 0.3,
        "relaxivity_slope": -0.026, "slope_stderr": 0.003}  # fmt: skip


def test_a_solution_relaxes_as_water_and_ions_together():
    assert relax_solution(RATE, 0.1, 0.0, 0.0).value == pytest.approx(1 / (0.32 + 0.68))
    assert relax_solution(RATE, 0.0, 0.0, 0.0).value == pytest.approx(1 / 0.32)
    warm = relax_solution(RATE, 0.1, 0.0, 4.0)
    assert warm.value == pytest.approx(1 / (0.32 * np.exp(-0.112) + 0.68 * np.exp(-0.104)))


@pytest.mark.parametrize("difference", [0.0, -3.0, 5.0])
def test_uncertainties_of_a_solution_are_those_of_draws(difference):
    """Against 200 000 draws of concentration, solvent, relaxivity, slopes and temperature: within 2 %."""
    rng = np.random.default_rng(1)
    n, c, c_stderr, t_stderr = 200_000, 0.1, 0.002, 0.5
    relaxed = relax_solution(RATE, c, c_stderr, difference)

    def draw(mean, stderr):
        return mean + stderr * rng.standard_normal(n)

    at = draw(difference, t_stderr)
    water = draw(0.32, 0.01) * np.exp(draw(-0.028, 0.003) * at)
    ions = draw(6.8, 0.3) * np.exp(draw(-0.026, 0.003) * at) * draw(c, c_stderr)
    told = np.sqrt(relaxed.own**2 + relaxed.relaxivity**2 + (relaxed.slope * t_stderr) ** 2)
    assert told == pytest.approx(np.std(1 / (water + ions)), rel=0.02)
    step = relax_solution(RATE, c, 0.0, difference + 1e-4).value - relax_solution(RATE, c, 0.0, difference - 1e-4).value
    assert relaxed.slope == pytest.approx(step / 2e-4, rel=1e-4)


@pytest.fixture(scope="module")
def own():
    return phantom_called("own_solutions")


def test_own_vials_fall_with_concentration_and_cover_the_tissues(own):
    for quantity, longest, shortest in (("T1", 1.5, 0.1), ("T2", 0.3, 0.02)):
        for field in (1.5, 2.894):
            rows = own.reference(quantity, "", field, 21.0, 0.5)
            values = np.array([r.value for r in rows])
            assert (np.diff(values) < 0).all()
            assert values[0] > longest
            assert values[-1] < shortest
            parts = [r.common_stderr**2 + r.temperature_stderr**2 < r.stderr**2 for r in rows]
            assert all(parts)
            assert {r.grade for r in rows} == {"computed"}


def test_relaxivities_of_the_example_are_those_of_the_nist_tables(own, definition):
    """Fitted to the tables at 20 °C, 1/T = water + r c with relative weights: inside two standard uncertainties.

    The two batches disagree by 8 to 15 %, and the example's uncertainty says so.
    """
    pairs = {"nickel": "nickel_{}_{}", "manganese": "manganese_{}_{}"}
    for ion, pattern in pairs.items():
        for field, batches in (("1p5T", ["batch1"]), ("3T", ["batch1", "batch2"])):
            rates = own.definition["tables"][f"{ion}_{field}"]["solution"]["rates"]
            for quantity, rate in (("T1", rates["R1"]), ("T2", rates["R2"])):
                found = [fit_relaxivity(definition["tables"][pattern.format(b, field)], quantity) for b in batches]
                for relaxivity in found:
                    assert abs(relaxivity - rate["relaxivity"]) < 2 * rate["relaxivity_stderr"]
                assert np.mean(found) == pytest.approx(rate["relaxivity"], rel=0.01)


def fit_relaxivity(table, quantity):
    """[1/(mM s)] over the vials whose solution and concentration are trusted."""
    vials = [v for v in table["vials"] if v not in table.get("suspect", {})]
    if table["array"] == "MnCl2" and table["batches"] == ["1"]:
        vials.remove(13)  # its concentration is misprinted
    j = table["temperatures"].index(20)
    c = np.array([table["vials"][v]["concentration"] for v in vials])
    t = np.array([table["vials"][v][quantity][j] for v in vials])
    return np.linalg.lstsq(np.column_stack([t, c * t]), np.ones(len(t)), rcond=None)[0][1]


@pytest.mark.parametrize("temperature", [15.0, 27.0])
def test_solutions_have_a_range(own, temperature):
    with pytest.raises(CalibrationError, match="16 to 26 degC"):
        own.reference("T1", "", 3.0, temperature)


def test_definitions_that_contradict_themselves_are_refused(own):
    for break_it, message in [
        (lambda d: d["tables"]["nickel_3T"]["vials"][3].pop("concentration"), "has no concentration"),
        (lambda d: d["tables"]["nickel_3T"]["vials"].pop(3), "differ in their vials"),
        (lambda d: d["tables"]["nickel_3T"].update(array="tin"), "incomplete"),
        (lambda d: d["tables"]["nickel_3T"].pop("solution"), "incomplete"),
        (lambda d: d["tables"]["nickel_3T"].update(field_dependence_of=["nickel_3T", "tin"]), "incomplete"),
    ]:
        broken = copy.deepcopy(own.definition)
        break_it(broken)
        with pytest.raises(ConfigError, match=message):
            load_phantom(broken)
