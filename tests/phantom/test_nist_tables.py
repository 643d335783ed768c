"""The traps of the published tables, one test each, and what a physicist would check in any table."""

import csv

import numpy as np
import pytest

from isocenter.errors import CalibrationError, ConfigError
from isocenter.phantom.library import load_phantom

TABLES = [
    ("batch1_sn_lte_130-0041/T1-Batch1_3T_userCreated_20210726.csv", "nickel_batch1_3T"),
    ("batch1_sn_lte_130-0041/T2-Batch1_1p5T_userCreated_20210726.csv", "manganese_batch1_3T"),  # swapped on purpose
    ("batch2_sn_gte_130-0042/T1-Batch2_3T_dl-20210726.csv", "nickel_batch2_3T"),
    ("batch2_sn_gte_130-0042/T2-Batch2_3T_dl-20210726.csv", "manganese_batch2_3T"),
    ("batch2_sn_gte_130-0042/T2-Batch2_Extrap-1p5T_dl-20210726.csv", "manganese_batch2_1p5T"),
    ("batch2p5_sn_gte_130-0133/T2-Batch2p5_3T_dl-20210726.csv", "manganese_batch2p5_3T"),
]


def relaxivity(table, biomarker, *, at=20):
    """[1/mM/s] of every vial from its rate alone; the water's own rate makes it high where the solution is thin."""
    j = table["temperatures"].index(at)
    return {v: 1 / row[biomarker][j] / row["concentration"] for v, row in table["vials"].items()}


@pytest.mark.parametrize(
    ("field", "low", "high"),
    # r2 of Mn rises with field: 65–80 /mM/s at 1.5 T, 100–125 at 3 T (batch 2 at 3 T, measured by itself, gives 122).
    [(1.5, 65, 80), (3.0, 100, 125)],
)
def test_manganese_relaxivity_is_plausible_for_its_field(definition, field, low, high):
    tables = [
        t for t in definition["tables"].values() if t["array"] == "MnCl2" and abs(t["field_strength"] - field) < 0.1
    ]
    assert len(tables) == 3
    for table in tables:
        assert low < relaxivity(table, "T2")[14] < high, table["source"]


def test_nickel_relaxivity_is_plausible(definition):
    for table in definition["tables"].values():
        if table["array"] == "NiCl2":
            r1, r2 = relaxivity(table, "T1"), relaxivity(table, "T2")
            assert 0.6 < r1[14] < 0.75, table["source"]
            assert 1.05 < r2[14] / r1[14] < 1.45, table["source"]


def test_batch_1_manganese_is_longer_in_t1_at_3_tesla(definition):
    """The swap would turn it round: batch 2.5, measured by itself, is longer at 3 T by 5 % over vials 1–8."""
    for batch in ("batch1", "batch2p5"):
        high = definition["tables"][f"manganese_{batch}_3T"]
        low = definition["tables"][f"manganese_{batch}_1p5T"]
        at_20 = high["temperatures"].index(20)
        ratios = [high["vials"][v]["T1"][at_20] / low["vials"][v]["T1"][0] for v in range(1, 9)]
        assert 1.02 < np.mean(ratios) < 1.12


def test_vials_are_matched_by_number_not_concentration(nist, definition):
    """The misprinted concentration of vial 13 stands as printed and decides nothing."""
    assert definition["tables"]["manganese_batch1_3T"]["vials"][13]["concentration"] == 1.104
    reference = {r.vial: r.value for r in nist.reference("T2", "130-0010", 3.0, 20.0)}
    assert reference[13] == pytest.approx(0.007911)


def test_suspect_vials_of_batch_2_are_flagged_and_others_not(nist):
    flags = {r.vial: r.flag for r in nist.reference("T2", "130-0093", 3.0, 20.0)}
    assert [v for v, flag in flags.items() if flag != "ok"] == [1, 5]
    assert {r.flag for r in nist.reference("T2", "130-0133", 3.0, 20.0)} == {"ok"}
    assert {r.flag for r in nist.reference("T1", "130-0093", 3.0, 20.0)} == {"ok"}


def test_batch_1_uncertainty_is_not_the_scatter_of_repeats(nist):
    """±0.2 ms on 1012 ms is repeatability; the calibration's 1.5 % (k = 2) is added."""
    for biomarker in ("T1", "T2"):
        for r in nist.reference(biomarker, "130-0010", 1.5, 20.0):
            assert 0.0075 <= r.stderr / r.value < 0.01


def test_exchanged_uncertainties_of_nickel_12_and_13_are_put_right(nist):
    """All vials of the array have 1.3–1.7 %, as printed for the others."""
    for r in nist.reference("T1", "130-0093", 3.0, 20.0):
        assert 0.013 < r.stderr / r.value < 0.017, r.vial


def test_vial_14_at_20_degrees_is_not_that_of_22(nist):
    """The printed page repeats 5.28 ms; the data file's 5.10 ms lies on the curve through the other temperatures."""
    values = [nist.reference("T2", "130-0093", 3.0, t)[13].value for t in (18.0, 20.0, 22.0)]
    assert values[1] == pytest.approx(0.00510)
    assert values[1] == pytest.approx(np.sqrt(values[0] * values[2]), rel=0.003)


@pytest.mark.parametrize(("path", "name"), TABLES)
def test_shipped_values_are_those_of_the_source(definition, nist_data, path, name):
    table = definition["tables"][name]
    with open(nist_data / "reference_values" / path, encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    seen = 0
    for i, row in enumerate(rows):
        vial = int(row["Solution"].split("-")[1]) if "Solution" in row else i + 1
        j = table["temperatures"].index(int(row["Temp (C)"].replace("~", "")))
        for biomarker in ("T1", "T2"):
            printed = float(row[f"{biomarker} reported (ms)"].replace(",", "")) / 1000
            assert table["vials"][vial][biomarker][j] == pytest.approx(printed, abs=1e-9)
            seen += 1
    assert seen == 2 * len(rows) == 2 * 14 * len(table["temperatures"])


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
@pytest.mark.parametrize("serial", ["130-0010", "130-0093", "130-0200"])
@pytest.mark.parametrize("field", [1.5, 3.0])
def test_vials_fall_monotonically(nist, biomarker, serial, field):
    values = [r.value for r in nist.reference(biomarker, serial, field, 20.0)]
    assert len(values) == 14
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize(("biomarker", "array"), [("T1", "MnCl2"), ("T2", "NiCl2")])
@pytest.mark.parametrize("serial", ["130-0010", "130-0093", "130-0200"])
def test_both_relaxation_times_of_every_array(nist, biomarker, array, serial):
    """Simulation needs the T2 of the T1 array and the T1 of the T2 array; T2 stays below T1 in each vial."""
    own = nist.reference("T2" if biomarker == "T1" else "T1", serial, 3.0, 20.0, array=array)
    other = nist.reference(biomarker, serial, 3.0, 20.0, array=array)
    for a, b in zip(own, other, strict=True):
        t1, t2 = (a.value, b.value) if biomarker == "T2" else (b.value, a.value)
        assert 0 < t2 < t1


@pytest.mark.parametrize(("biomarker", "serial"), [("T1", "130-0093"), ("T2", "130-0093"), ("T2", "130-0200")])
def test_temperature_is_interpolated_smoothly(nist, biomarker, serial):
    """No step of 0.1 degC moves a value by more than 0.5 %, and published temperatures give published values."""
    grid = np.arange(16.0, 26.01, 0.1)
    values = np.array([[r.value for r in nist.reference(biomarker, serial, 3.0, min(t, 26.0))] for t in grid])
    assert np.abs(np.diff(np.log(values), axis=0)).max() < 0.005
    assert nist.reference("T1", "130-0093", 3.0, 20.0)[3].value == pytest.approx(0.69008)
    between = [r.value for r in nist.reference(biomarker, serial, 3.0, 20.9)]
    assert not np.allclose(between, values[40], rtol=1e-4)  # 20.9 is neither truncated to 20 …
    assert not np.allclose(between, values[60], rtol=1e-4)  # … nor taken to the nearest, 22


def test_temperature_coefficients_are_those_of_the_solutions(nist):
    """Mn at 3 T: T1 +2.7 %/degC, T2 +1.6 %/degC; Ni spheres 7–14 within ±0.5 %/degC (science.md §2)."""
    t2 = nist.reference("T2", "130-0093", 3.0, 20.0, 1.0)
    slopes = [r.temperature_stderr / r.value for r in t2 if r.flag == "ok"]
    assert np.mean(slopes) == pytest.approx(0.016, abs=0.003)
    t1 = nist.reference("T1", "130-0093", 3.0, 20.0, 1.0, array="MnCl2")
    assert np.mean([r.temperature_stderr / r.value for r in t1]) == pytest.approx(0.027, abs=0.003)
    nickel = nist.reference("T1", "130-0093", 3.0, 20.0, 1.0)[6:]
    assert np.abs([r.temperature_stderr / r.value for r in nickel]).max() < 0.005


def test_temperature_uncertainty_goes_into_the_reference(nist):
    sharp = nist.reference("T2", "130-0093", 3.0, 20.0, 0.0)[1]
    vague = nist.reference("T2", "130-0093", 3.0, 20.0, 1.0)[1]
    assert vague.stderr**2 == pytest.approx(sharp.stderr**2 + vague.temperature_stderr**2)
    assert sharp.temperature_stderr == 0


def test_one_temperature_tables_borrow_the_change_and_widen(nist):
    at_20 = nist.reference("T2", "130-0010", 3.0, 20.0)[1]
    at_22 = nist.reference("T2", "130-0010", 3.0, 22.0)[1]
    other = [nist.reference("T2", "130-0093", 3.0, t)[1].value for t in (20.0, 22.0)]
    assert at_22.value / at_20.value == pytest.approx(other[1] / other[0])
    assert at_22.stderr / at_22.value > at_20.stderr / at_20.value


@pytest.mark.parametrize(("serial", "temperature"), [("130-0093", 15.9), ("130-0093", 26.1), ("130-0010", 28.0)])
def test_outside_the_table_is_refused_with_the_range(nist, serial, temperature):
    with pytest.raises(CalibrationError, match=r"16 to 26 degC; found: .* degC"):
        nist.reference("T1", serial, 3.0, temperature)


def test_missing_temperature_is_refused(nist):
    with pytest.raises(CalibrationError, match="temperature is missing"):
        nist.reference("T1", "130-0093", 3.0, float("nan"))


@pytest.mark.parametrize(
    ("serial", "batch"),
    [("130-0001", "1"), ("130-0041", "1"), ("130-0042", "2"), ("130-0132", "2"), ("130-0133", "2.5")],
)
def test_serial_tells_the_batch(nist, serial, batch):
    assert nist.batch(serial) == batch


@pytest.mark.parametrize("serial", ["", "128-0155", "130-0000", "93", "130-00930"])
def test_unknown_serials_are_refused(nist, serial):
    with pytest.raises(CalibrationError, match="belongs to no batch"):
        nist.batch(serial)


def test_field_strength_is_matched_within_its_tolerance(nist):
    assert nist.reference("T1", "130-0093", 2.89, 20.0)[0].value == pytest.approx(1.88397)
    with pytest.raises(CalibrationError, match=r"expected: 3.00672 T or 1.5 T; found: 7 T"):
        nist.reference("T1", "130-0093", 7.0, 20.0)


def test_unknown_biomarker_is_refused(nist):
    with pytest.raises(CalibrationError, match="no vials for ADC"):
        nist.array("ADC")


def test_layout_is_that_of_the_publication(nist):
    """Ten spheres on 50 mm, 36° apart, clockwise from the top; four at (±20, ±20), clockwise from upper left."""
    g = nist.geometry("T1")
    ring = g.centers[:10, :2]
    assert np.allclose(np.hypot(*ring.T), 50.0, atol=1e-3)
    assert np.allclose(np.degrees(np.arctan2(ring[:, 0], ring[:, 1])) % 360, 36.0 * np.arange(10), atol=1e-2)
    assert g.centers[10:, :2].tolist() == [[-20, 20], [20, 20], [20, -20], [-20, -20]]
    assert (g.centers[0, 2], nist.geometry("T2").centers[0, 2]) == (-56.5, -16.5)


def test_definitions_that_contradict_themselves_are_refused(definition):
    for break_it, message in [
        (lambda d: d["tables"]["nickel_batch2_3T"]["vials"][3]["T1"].pop(), "T1 of vial 3 has 5 values"),
        (lambda d: d["tables"]["nickel_batch2_3T"]["vials"].pop(3), "differ in their vials"),
        (lambda d: d["tables"]["nickel_batch1_3T"].pop("temperature_dependence_of"), "One temperature"),
        (lambda d: d["tables"]["nickel_batch1_3T"]["uncertainty"].update(meaning="x"), "Unknown meaning"),
        (lambda d: d.pop("tables"), "incomplete"),
    ]:
        broken = yaml_copy(definition)
        break_it(broken)
        with pytest.raises(ConfigError, match=message):
            load_phantom(broken)


def yaml_copy(content):
    import copy

    return copy.deepcopy(content)
