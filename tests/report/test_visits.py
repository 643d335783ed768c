"""The page of a session: maps with errors and flags, values, and the way back to series and hashes."""

import html
import re

import numpy as np
import pytest

from isocenter import layout
from isocenter.figures.panels import outline, render_tiles
from isocenter.io.tables import read_table
from isocenter.lineage import trace_values
from isocenter.report.origins import show_origin

from .scan_files import digest
from .trial_tables import HOSTILE, LABELS

PAGE = "visits/siteA_sub-T01_ses-01.html"


def read(built, name=PAGE):
    return (built[2] / name).read_text(encoding="utf-8")


def section(text, anchor):
    return html.unescape(re.search(rf'<section id="{anchor}".*?</section>', text, re.DOTALL).group(0))


def test_a_value_leads_to_map_calibration_series_and_hashes(built):
    root = built[0]
    told = section(read(built), "run-1-T1")
    scans = read_table(root / layout.fill(layout.SCANS, site="siteA"), text=("series_uid", "run", "session"))
    own = scans[(scans["participant_id"] == "T01") & (scans["session"] == "01") & (scans["run"] == "1")]
    (uid,) = own.loc[own["suffix"] == "IRT1", "series_uid"]
    (other,) = own.loc[own["suffix"] == "MESE", "series_uid"]
    where = {"site": "siteA", "participant": "T01", "session": "01", "run": "1"}
    for words in (
        uid, digest(f"{uid}.0"), digest(f"{uid}.1"), digest(uid), str(layout.fill(layout.MAP, **where, map="T1map")),
        "results/sites/siteA/calibration/T1.json", "form gain", "step fit_map", "2 DICOM files", HOSTILE,
        "isocenter trace siteA T01 01 1 --biomarker T1 --roi white_matter",
        str(layout.fill(layout.PHANTOM_VIALS, **where | {"participant": "phantom1"}, map="T1map")),
    ):  # fmt: skip
        assert words in told, words
    assert other not in told


def test_every_value_of_the_trial_leads_to_its_own_way_back(built):
    rows = read_table(built[0] / layout.MEASUREMENTS, text=("session", "run"))
    table = read(built, "tables/measurements.html")
    links = re.findall(r'<a href="\.\./(visits/[^"#]+)#([^"]+)">', table)
    assert len(links) == len(rows)
    for (page, anchor), row in zip(links, rows.itertuples(), strict=True):
        assert page == f"visits/{row.site}_sub-{row.participant_id}_ses-{row.session}.html"
        assert anchor == f"run-{row.run}-{row.biomarker}"
    for page, anchor in set(links):
        assert f'id="{anchor}"' in read(built, page), (page, anchor)


def test_marks_of_a_figure_name_site_participant_scan_and_value_with_error(built):
    text = html.unescape(read(built, "metrics/T1_white_matter_3T.html"))
    figure = text[text.index('id="repeats"') : text.index('id="components"')]
    marks = re.findall(
        r'<a href="\.\./visits/(\w+)_sub-(\w+)_ses-(\w+)\.html#run-2-T1"[^>]*>.*?<title>(.*?)</title>', figure
    )
    assert len(marks) == 20
    value = r"[\d.]+ ± [\d.]+ ms"
    for site, person, session, title in marks:
        who = f"{site}, sub-{person}, session {session}"
        assert re.match(rf"{who}: run 1 {value}; run 2 {value}; difference −?[\d.]+ ms$", title), title


def test_a_page_shows_maps_with_errors_flags_motion_order_and_what_is_missing(built):
    text = html.unescape(read(built))
    for words in (
        "Standard error", "not converged: 1", "has a value: ", "white matter", "Motion in IRT1, run 1", "[mm]",
        "holds", "Nothing of this session is left out." if HOSTILE not in text.split('id="left-out"')[1] else HOSTILE,
    ):  # fmt: skip
        assert words in text, words
    assert len(list((built[2] / "figures" / "visits").glob("siteA_sub-T01_ses-01_run-1_*.png"))) == 2
    left_out = html.unescape(read(built, "visits/siteA_sub-T02_ses-01.html")).split('id="left-out"')[1]
    assert HOSTILE in left_out
    assert "Ask the site for the inversion time" in left_out


def test_all_sessions_stand_in_one_table_with_what_to_look_at(built):
    text = html.unescape(read(built, "visits/index.html"))
    lines = [re.sub(r"(<[^>]*>|\s)+", " ", row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)][1:]
    assert len(lines) == 39
    (line,) = [line for line in lines if "siteA sub-T02 ses-01" in line]
    assert re.search(r"siteA sub-T02 ses-01 siteAscanner 2 12 0 ▲ 1 0\.\d\d 0", line), line
    (line,) = [line for line in lines if "siteA sub-T05 ses-02" in line]
    assert "siteAscanner 1 6 0 0 – 0" in line  # no series of it was aligned


def test_the_sessions_of_a_participant_lead_to_one_another(built):
    text = read(built)
    for name in ("siteA_sub-T01_ses-02.html", "siteB_sub-T01_ses-01.html", "siteA_sub-T01_ses-02.html"):
        assert f'href="{name}"' in text


def test_hashes_are_those_that_were_recorded_and_a_lost_table_costs_one_sentence(built, tmp_path):
    found, lost = trace_values(built[0] / layout.MEASUREMENTS)
    assert lost == []
    rows = read_table(built[0] / layout.MEASUREMENTS, text=("session", "run"))
    keys = (
        rows[["site", "participant_id", "session", "run", "biomarker"]].astype(str).itertuples(index=False, name=None)
    )
    assert set(found) == set(keys)
    origin = show_origin(found["siteA", "T01", "01", "1", "T1"], {})
    raw = next(line for line in origin.lines if line.what == "raw file")
    assert raw.sha256 == digest("bids:raw:sub-T01/ses-01/anat/sub-T01_ses-01_run-1_IRT1.nii.gz")
    assert (origin.n_series, origin.n_files) == (1, 2)
    (series,) = [line for line in origin.short if line.what == "series"]
    assert "files" not in series.facts  # their number stands beside their hashes
    leads = show_origin(found["siteA", "T01", "01", "1", "T1"], {}, "../", {("siteA", series.name): "tables/s.html#r4"})
    hrefs = {line.what: line.href for line in leads.short}
    assert hrefs["series"] == "../tables/s.html#r4"
    assert hrefs["calibration"] == "../sites/siteA.html#calibration"
    table = tmp_path / layout.MEASUREMENTS
    table.parent.mkdir(parents=True)
    table.write_bytes((built[0] / layout.MEASUREMENTS).read_bytes())
    found, lost = trace_values(table)
    assert found == {}
    assert [text.split(" cannot")[0] for text in lost] == [f"The values of site{s}" for s in "ABCD"]


def test_an_outline_runs_along_the_edges_of_a_mask():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    assert sorted(re.findall(r"M[^M]+", outline(mask))) == ["M1 1H3", "M1 1V2", "M1 2H3", "M3 1V2"]
    assert outline(np.zeros((2, 2), bool)) == ""
    assert outline(np.ones((2, 2), bool)) == "M0 0H2M0 2H2M0 0V2M2 0V2"


def test_tiles_are_the_same_twice_and_gray_where_there_is_no_value():
    values = np.linspace(0, 1, 12).reshape(3, 4)
    values[0, 0] = np.nan
    flags = np.zeros((3, 4), int)
    first = render_tiles(values, (0.0, 1.0), values, (0.0, 0.0), flags)
    assert first.startswith(b"\x89PNG")
    assert first == render_tiles(values, (0.0, 1.0), values, (0.0, 0.0), flags)
    assert len(LABELS) == 3


@pytest.mark.parametrize("name", [PAGE, "metrics/T1_white_matter_3T.html"])
def test_text_from_sidecars_is_escaped(built, name):
    assert "<script>alert" not in read(built, name)
