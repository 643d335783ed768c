"""The phantom's steps: files in, files out, and nothing disappears when something is wrong."""

import json

import numpy as np
import pytest
from phantom.conftest import ROOT
from phantom.drawing import draw_plate

from calibrate_map import calibrate_map
from fit_calibration import fit_calibration
from isocenter.calibration import Calibration
from isocenter.documents import read_document
from isocenter.entities import Flag
from isocenter.io.nifti import read_map, read_sidecar, read_volume, write_json, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.io.series import write_series
from isocenter.io.tables import read_table
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.volume import ParameterMap
from make_phantom_page import make_phantom_page
from measure_vials import measure_vials
from pool_vials import pool_vials

DEFINITION = ROOT / "config" / "phantoms" / "nist_system.yaml"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, nist):
    """A drawn phantom on disk, its map as a scanner with a ruler 5 % off gives it."""
    folder = tmp_path_factory.mktemp("scan")
    geometry, reference = nist.geometry("T1"), nist.reference("T1", "130-0093", 3.0, 20.4, 0.3)
    drawing = draw_plate(geometry, reference, angle=17.0)
    m = drawing.parameter_map
    rng = np.random.default_rng(0)
    value = (m.value / 1.05 * (1 + 0.005 * rng.standard_normal(m.value.shape))).astype(np.float32)
    write_series(folder / "series.nii.gz", drawing.series)
    write_map(folder / "map.nii.gz", ParameterMap(value, m.stderr, m.flag, m.affine, "s"),
              folder / "stderr.nii.gz", folder / "flag.nii.gz", {"Model": "drawn"})  # fmt: skip
    return folder


def measure(scanned, out, **changes):
    files = {name: scanned / f"{name}.nii.gz" for name in ("map", "stderr", "flag")}
    settings = dict(
        biomarker="T1", unit="s", serial="130-0093", temperature=20.4, temperature_stderr=0.3,
        thermometer_stderr=0.3, field_strength=3.0,
        session="01", date="2026-01-12", phantom=DEFINITION,
    )  # fmt: skip
    measure_vials(
        [scanned / "series.nii.gz"], **files, fit=files["map"],
        vials=out / "vials.tsv", picture=out / "vials.png", record=out / "vials.json", **{**settings, **changes},
    )  # fmt: skip
    return read_table(out / "vials.tsv", required=VIAL_COLUMNS, text=VIAL_TEXT)


def test_the_shipped_definition_keeps_its_schema():
    assert read_document(DEFINITION, "phantom", integer_keys=True)["phantom"] == DEFINITION.stem


def test_a_session_goes_from_series_to_calibrated_map(scanned, tmp_path):
    table = measure(scanned, tmp_path)
    assert list(table.columns) == list(VIAL_COLUMNS)
    assert table["vial"].tolist() == list(range(1, 15))
    assert table["bias_percent"][:12].between(-6, -4).all()
    assert set(table["session"]) == {"01"}

    fit_calibration([tmp_path / "vials.tsv"], calibration=tmp_path / "T1.json", biomarker="T1", unit="s",
                    forms=["none", "gain", "linear"])  # fmt: skip
    curve = Calibration.from_dict(json.loads((tmp_path / "T1.json").read_text(encoding="utf-8")))
    assert curve.form == "gain"
    assert curve.coefficients[1] == pytest.approx(1.05, abs=0.005)
    assert curve.dates == ("2026-01-12",)
    assert len(curve.vials) == curve.checks["n_used"] == table["used"].sum()

    outputs = {f"calibrated{name}": tmp_path / f"c{name}.nii.gz" for name in ("", "_stderr", "_flag")}
    inputs = {name: scanned / f"{name}.nii.gz" for name in ("map", "stderr", "flag")}
    calibrate_map(**inputs, calibration=tmp_path / "T1.json", **outputs)
    result, sidecar = read_map(*outputs.values())
    raw, _ = read_map(*inputs.values())
    assert np.allclose(result.value[raw.ok], raw.value[raw.ok] * curve.coefficients[1], rtol=1e-5)
    assert (result.stderr[raw.ok] > raw.stderr[raw.ok]).all()
    assert sidecar["Calibration"]["form"] == "gain"
    assert 0 < sidecar["BeyondCalibration"] < 1  # the fluid around the vials is longer than the longest vial


@pytest.mark.parametrize(
    ("changes", "flag", "reason"),
    [
        ({"temperature": 31.0}, "failed", "outside the reference table"),
        ({"serial": "unknown"}, "failed", "belongs to no batch"),
        ({"field_strength": 7.0}, "failed", "field strength"),
        ({"biomarker": "T2"}, "not_found", "not those of the MnCl2 vials"),
    ],
)
def test_a_session_that_cannot_be_measured_is_rows_with_a_reason(scanned, tmp_path, changes, flag, reason):
    table = measure(scanned, tmp_path, **changes)
    assert len(table) == 14
    assert set(table["flag"]) == {flag}
    assert not table["used"].any()
    assert table["measured"].isna().all()
    assert table["reason"].str.contains(reason).all()
    assert (tmp_path / "vials.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("phantom", "quantity", "rows", "reason"),
    [("eurospin_to5", "T1", 18, "no fixed place"), ("nist_system", "ADC", 0, "no vials for ADC")],
)
def test_a_phantom_that_cannot_be_located_stops_nobody(scanned, tmp_path, phantom, quantity, rows, reason):
    definition = DEFINITION.with_name(f"{phantom}.yaml")
    table = measure(scanned, tmp_path, phantom=definition, biomarker=quantity, serial="1", temperature=20.0)
    assert len(table) == rows
    assert table["reason"].str.contains(reason).all()
    assert (tmp_path / "vials.png").stat().st_size > 1000


def test_an_excluded_map_passes_its_reason_on(scanned, tmp_path):
    paths = [tmp_path / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    write_excluded_map(*paths, Exclusion("fit", "no inversion times", "resend"), "s")
    measure_vials(
        [scanned / "series.nii.gz"], *paths, fit=paths[0], phantom=DEFINITION, vials=tmp_path / "v.tsv",
        picture=tmp_path / "v.png", record=tmp_path / "v.json", biomarker="T1", unit="s", serial="130-0093",
        temperature=20.0, temperature_stderr=0.3, thermometer_stderr=0.3, field_strength=3.0, session="02", date="n/a",
    )  # fmt: skip
    table = read_table(tmp_path / "v.tsv", text=VIAL_TEXT)
    assert set(table["reason"]) == {"no inversion times"}

    fit_calibration([tmp_path / "v.tsv"], calibration=tmp_path / "c.json", biomarker="T1", unit="s", forms=["gain"])
    refused = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert refused["refused"]
    assert refused["reason"].endswith("no inversion times")

    calibrate_map(*paths, tmp_path / "c.json", calibrated=tmp_path / "a.nii.gz",
                  calibrated_stderr=tmp_path / "b.nii.gz", calibrated_flag=tmp_path / "d.nii.gz")  # fmt: skip
    assert read_exclusion(read_sidecar(tmp_path / "a.nii.gz")).reason == "no inversion times"


def test_no_phantom_at_all_leaves_values_as_they_are(scanned, tmp_path):
    fit_calibration([], calibration=tmp_path / "c.json", biomarker="T1", unit="s", forms=["none", "gain"])
    refused = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert (refused["form"], refused["refused"], refused["reason"]) == (
        "none", True, "No phantom session was received",
    )  # fmt: skip
    inputs = [scanned / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    outputs = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    calibrate_map(*inputs, tmp_path / "c.json", calibrated=outputs[0], calibrated_stderr=outputs[1],
                  calibrated_flag=outputs[2])  # fmt: skip
    assert np.array_equal(read_map(*outputs)[0].value, read_map(*inputs)[0].value, equal_nan=True)
    pool_vials([], table=tmp_path / "vials.tsv")
    assert list(read_table(tmp_path / "vials.tsv").columns) == list(VIAL_COLUMNS)


def test_values_that_calibration_makes_impossible_are_flagged(scanned, tmp_path):
    curve = Calibration("T1", "s", "linear", (-0.5, 1.0), valid_range=(0.6, 2.0), n_vials=8)
    write_json(tmp_path / "c.json", curve.to_dict())
    inputs = [scanned / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    outputs = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    calibrate_map(*inputs, tmp_path / "c.json", calibrated=outputs[0], calibrated_stderr=outputs[1],
                  calibrated_flag=outputs[2])  # fmt: skip
    result, raw = read_map(*outputs)[0], read_map(*inputs)[0]
    lost = raw.ok & (raw.value <= 0.5)
    assert lost.any()
    assert (result.flag[lost] == Flag.OUT_OF_RANGE).all()
    assert np.isnan(result.value[lost]).all()


def test_unreadable_calibration_excludes_the_map_with_a_reason(scanned, tmp_path):
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    inputs = [scanned / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    calibrate_map(*inputs, tmp_path / "c.json", calibrated=tmp_path / "a.nii.gz",
                  calibrated_stderr=tmp_path / "b.nii.gz", calibrated_flag=tmp_path / "d.nii.gz")  # fmt: skip
    assert "incomplete" in read_exclusion(read_sidecar(tmp_path / "a.nii.gz")).reason


def test_sessions_are_pooled_in_order(scanned, tmp_path):
    for session in ("02", "01"):
        (tmp_path / session).mkdir()
        measure(scanned, tmp_path / session, session=session)
    pool_vials([tmp_path / s / "vials.tsv" for s in ("02", "01")], table=tmp_path / "all.tsv")
    pooled = read_table(tmp_path / "all.tsv", text=VIAL_TEXT)
    assert pooled["session"].tolist() == ["01"] * 14 + ["02"] * 14


def test_outputs_repeat_to_the_byte(scanned, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        measure(scanned, tmp_path / name)
    for file in ("vials.tsv", "vials.png", "vials.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def draw_regions(folder, rows):
    """A person's file of regions; `rows` are its lines below the heading."""
    path = folder / "sub-phantom1_ses-01_run-1_IRT1_vials.tsv"
    path.write_text("\n".join(["vial\ti\tj\tk", *rows]) + "\n", encoding="utf-8")
    return path


def test_regions_by_hand_replace_the_search(scanned, tmp_path):
    """The same vials at the places of the search read the same; those that were left out are rows with a reason."""
    searched = measure(scanned, tmp_path).set_index("vial")
    record = json.loads((tmp_path / "vials.json").read_text(encoding="utf-8"))
    inverse = np.linalg.inv(read_volume(scanned / "map.nii.gz").affine)
    voxels = np.array(record["centers"]) @ inverse[:3, :3].T + inverse[:3, 3]
    rows = [f"{v}\t{voxels[v - 1][0]:.6f}\t{voxels[v - 1][1]:.6f}\t0" for v in (12, 3, 6)]  # in any order
    drawn = measure(scanned, tmp_path, regions=[draw_regions(tmp_path, rows)]).set_index("vial")
    assert drawn.index.tolist() == list(range(1, 15))
    for vial in (3, 6, 12):
        assert drawn.loc[vial, "measured"] == pytest.approx(searched.loc[vial, "measured"], rel=0.005)
        assert drawn.loc[vial, "reference"] == searched.loc[vial, "reference"]
    others = drawn.drop([3, 6, 12])
    assert set(others["flag"]) == {"not_found"}
    assert set(others["reason"]) == {"no region was drawn for this vial"}
    assert json.loads((tmp_path / "vials.json").read_text(encoding="utf-8"))["how"] == "by a hand-made file"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["1\t10\t10\t0", "1\t20\t20\t0"], "two regions"),
        (["1\t10\t\t0"], "no clear place"),
        (["99\t10\t10\t0"], "has no vial 99"),
        (["1\t500\t10\t0"], "outside the image"),
        (["one\t5\t5\t0"], "vial"),
        ([], "no rows"),
    ],
)
def test_a_wrong_file_of_regions_is_rows_with_a_reason(scanned, tmp_path, rows, reason):
    table = measure(scanned, tmp_path, regions=[draw_regions(tmp_path, rows)])
    assert len(table) == 14
    assert not table["used"].any()
    assert table["reason"].str.contains(reason).all()
    assert set(table["flag"]) <= {"failed", "not_found"}
    assert json.loads((tmp_path / "vials.json").read_text(encoding="utf-8"))["method"] is None


def test_one_inversion_pulse_for_all_vials(scanned, tmp_path):
    """Shared: the mean signals tell T1 whatever the map's voxels say; the vials' own values stand beside it."""
    settings = {"model": "t1_inversion_recovery", "options": {"robust": "tukey"}, "title": "T1 of the trial"}
    own = measure(scanned, tmp_path, inversion="own", **settings)
    assert own["bias_percent"][:12].between(-6, -4).all()  # the map, whose ruler is 5 % off
    shared = measure(scanned, tmp_path, inversion="shared", **settings)
    assert shared["bias_percent"][:12].abs().max() < 2
    record = json.loads((tmp_path / "vials.json").read_text(encoding="utf-8"))
    assert record["quality"]["inversion efficiency"][0] == pytest.approx(1.0, abs=0.02)
    assert record["voxels"][0][0] == pytest.approx(own["measured"][0], rel=1e-6)


def test_a_session_has_a_page_of_its_own(scanned, tmp_path):
    """From the steps' files alone, good or failed: nothing is fitted again."""
    measure(scanned, tmp_path, model="t1_inversion_recovery", title="T1 of the trial")
    failed = tmp_path / "failed"
    failed.mkdir()
    measure(scanned, failed, serial="unknown")
    row = dict(time="10:00:00", suffix="IRT1", disposition="used", reason="", n_files="7", series_uid="1.2.3")
    settings = dict(
        site="siteA", participant="phantom1", session="01", forms={"T1": ["none", "gain", "linear"]}, scans=[row]
    )
    for folder, words in (
        (tmp_path, ["T1 of the trial", "of 14 vials used", "leave-one-out", "in the series itself", "1.2.3"]),
        (failed, ["belongs to no batch", "vials found and measured"]),
    ):
        files = {
            name: [folder / f"vials.{e}"] for name, e in (("records", "json"), ("vials", "tsv"), ("pictures", "png"))
        }
        make_phantom_page(**files, page=folder / "page.html", **settings)
        text = (folder / "page.html").read_text(encoding="utf-8")
        assert all(word in text for word in words), [word for word in words if word not in text]
        assert 'src="http' not in text


def test_a_quantity_without_a_table_is_shown_and_calibrates_nothing(tmp_path, nist):
    """T2* of the T2 array: told apart by T2, in the table without a reference, on the page, in no calibration."""
    geometry, reference = nist.geometry("T2star"), nist.reference("T2", "130-0093", 3.0, 20.4, 0.3)
    drawing = draw_plate(geometry, reference, angle=17.0)
    write_series(tmp_path / "series.nii.gz", drawing.series)
    fitted = [tmp_path / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    write_map(fitted[0], drawing.parameter_map, *fitted[1:], {"Model": "drawn"})
    table = measure(tmp_path, tmp_path, biomarker="T2s", quantity="T2star")
    assert table["vial"].tolist() == list(range(1, 15))
    assert table["reference"].isna().all()
    assert not table["used"].any()
    shown = table[table["flag"] == "no_reference"]
    assert len(shown) >= 9
    expected = np.array([r.value for r in reference if r.vial in set(shown["vial"])])
    assert shown["measured"].to_numpy() == pytest.approx(expected, rel=1e-3)
    settings = dict(site="siteA", participant="phantom1", session="01", forms={}, scans=[])
    make_phantom_page(
        [tmp_path / "vials.json"], [tmp_path / "vials.tsv"], [tmp_path / "vials.png"], page=tmp_path / "page.html",
        **settings,
    )  # fmt: skip
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("vials have a value, without a reference", "has no table for T2star", "nothing to hold it against"):
        assert words in text
    assert "vials found and measured" not in text
