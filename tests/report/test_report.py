"""The report folder from made-up tables: complete, honest, safe, self-contained, the same to the byte."""

import hashlib
import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from isocenter.io.tables import read_table
from isocenter.report.tabulate import whole_table
from isocenter.report.wording import shorten
from make_report import make_report

from .trial_tables import HOSTILE, PEOPLE, SITES, write_trial


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    root = tmp_path_factory.mktemp("empty")
    folder = root / "results" / "report"
    make_report(**write_trial(root, is_empty=True), report=folder / "index.html")
    return folder


class Links(HTMLParser):
    """Every attribute that loads or leads somewhere, every id, every tag without its due attribute."""

    def __init__(self):
        super().__init__()
        self.targets: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.images_without_alt = 0
        self.scripts_inline = 0
        self.headings: list[int] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        for name in ("href", "src", "srcset", "action", "xlink:href", "data"):
            if values.get(name):
                self.targets.append((tag, name, values[name]))
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img" and not values.get("alt"):
            self.images_without_alt += 1
        if tag == "script" and "src" not in values:
            self.scripts_inline += 1
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.handlers += [name for name in values if name.startswith("on")]


def parse(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def test_there_is_a_page_for_every_site_metric_and_table(built):
    _, arguments, folder = built
    assert {p.stem for p in (folder / "sites").iterdir()} == set(SITES)
    assert {p.stem for p in (folder / "visits").iterdir()} == {
        f"{site}_sub-{person}_ses-{session}" for site in SITES for person in PEOPLE for session in ("01", "02")
    } - {"siteB_sub-T03_ses-02"} | {"index"}
    assert {p.stem for p in (folder / "metrics").iterdir()} == {
        f"{b}_{r}_3T" for b in ("T1", "T2") for r in ("white_matter", "gray_matter", "csf")
    }
    for path in arguments["tables"]:
        assert (folder / "tables" / path.name).read_bytes() == path.read_bytes()
    assert (folder / "methods.html").is_file()


def test_front_pages_say_each_verdict_in_its_own_sentence(built):
    root, _, folder = built
    rows = read_table(root / "results/trial/qualification.tsv", text=("sentence", "verdict", "settle", "reasons"))
    assert set(rows["verdict"]) == {"qualified", "not_qualified", "indeterminate"}
    for page in ("index.html", "statistics.html"):
        front = html.unescape((folder / page).read_text(encoding="utf-8")).replace("\u00a0", " ")
        for _, row in rows.iterrows():
            assert row["sentence"] in front
            assert row["settle"] in front
            # Why it is not qualified, beside what would settle it.
            assert row["verdict"] == "qualified" or row["reasons"] in front
        for words in (
            "Precision supports this use.",
            "Precision does not support this use.",
            "does not settle this use.",
        ):
            assert words in front


def test_each_verdict_word_stands_with_its_symbol(built):
    front = (built[2] / "statistics.html").read_text(encoding="utf-8")
    for symbol, word in (("✓", "qualified"), ("✕", "not qualified"), ("▲", "indeterminate")):
        assert f'<span aria-hidden="true">{symbol}</span> {word}</span>' in front


def test_front_page_lists_every_exclusion_with_its_action(built):
    root, _, folder = built
    front = html.unescape((folder / "index.html").read_text(encoding="utf-8"))
    for _, row in read_table(root / "results/trial/exclusions.tsv").iterrows():
        assert row["reason"] in front
        assert row["action"] in front


def test_the_flow_names_reasons_where_they_arose(built):
    drawing = re.search(
        r'<section id="flow">.*?</svg>', (built[2] / "index.html").read_text(encoding="utf-8"), re.DOTALL
    )
    text = drawing.group(0)
    words = (">Files received<", "This is no DICOM file", "alert(", ">Registration<", ">Analyzed<")
    order = [text.index(word) for word in words]
    assert order == sorted(order)
    assert ">1600 files<" in text
    assert ">116 acquisitions<" in text


def test_foreign_text_is_escaped_everywhere_and_never_a_target(built):
    front = (built[2] / "index.html").read_text(encoding="utf-8")
    assert html.escape(HOSTILE) in front.replace("&#34;", "&quot;")
    assert html.escape("dicom/<scr") in front  # a file may be called anything
    for page in pages(built[2]):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text, page
        assert "<img src=http" not in text, page
        found = parse(page)
        assert not [t for t in found.targets if "evil" in t[2]], page
        assert not found.handlers, page
        assert found.scripts_inline == 0, page


def test_long_foreign_text_is_shortened_in_the_middle(built):
    front = (built[2] / "index.html").read_text(encoding="utf-8")
    visible = re.sub(r"<[^>]*>", " ", front)
    assert "9" * 60 not in visible


def test_a_table_tells_each_reason_whole():
    sentence = "Images of the series end in empty rows; " * 5
    (row,) = whole_table(
        "exclusions", pd.DataFrame({"reason": [sentence], "action": ["Ask"], "found": [sentence]})
    ).rows
    assert [cell.text for cell in row] == [sentence.strip(), "Ask", shorten(sentence, 80)]


def test_nothing_is_loaded_from_anywhere_else(built):
    for page in pages(built[2]):
        for tag, name, target in parse(page).targets:
            assert not re.match(r"(?:[a-z]+:)?//", target, re.IGNORECASE), (page.name, tag, name, target)
            assert target == "data:," or ":" not in target, (page.name, tag, name, target)
    for name in ("style.css", "tables.js", "figures.js"):
        text = (built[2] / name).read_text(encoding="utf-8")
        for word in ("http", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "eval("):
            assert word not in text, (name, word)


def test_every_link_leads_to_a_file_and_a_place_in_it(built):
    folder = built[2].resolve()
    parsed = {page.resolve(): parse(page) for page in pages(folder)}
    for page, links in parsed.items():
        assert len(links.ids) == len(set(links.ids)), page
        for _, _, target in links.targets:
            if target == "data:,":
                continue
            path, _, anchor = unquote(target).partition("#")
            aimed = (page.parent / path).resolve() if path else page
            assert aimed.is_relative_to(folder), (page, target)
            assert aimed.is_file(), (page, target)
            if anchor:
                assert anchor in parsed[aimed].ids, (page, target)


def test_a_value_links_to_its_row(built):
    text = (built[2] / "metrics" / "T1_white_matter_3T.html").read_text(encoding="utf-8")
    found = re.search(r'<a href="\.\./tables/qualification\.html#r(\d+)">4\.67 %</a>', text)
    assert found
    row = read_table(built[0] / "results/trial/qualification.tsv").iloc[int(found.group(1))]
    assert row["estimate"] == pytest.approx(4.67, abs=0.005)


def test_pages_are_ordered_and_described(built):
    for page in pages(built[2]):
        found = parse(page)
        assert found.headings[0] == 1, page
        assert found.headings.count(1) == 1, page
        steps = [b - a for a, b in zip(found.headings, found.headings[1:], strict=False)]
        assert max(steps, default=0) <= 1, (page, found.headings)
        assert found.images_without_alt == 0, page
        text = page.read_text(encoding="utf-8")
        assert text.count("<svg viewBox") == len(re.findall(r"<svg viewBox[^>]*(?:aria-label|aria-hidden)=", text)), (
            page
        )


def test_every_figure_says_what_it_shows_and_cannot_show(built):
    for page in [*(built[2] / "metrics").iterdir(), *(built[2] / "sites").iterdir()]:
        for figure in re.findall(r"<figure.*?</figure>", page.read_text(encoding="utf-8"), re.DOTALL):
            if 'class="empty"' not in figure:
                for term in ("How computed", "What good looks like", "What it cannot show"):
                    assert term in figure, (page, term)


def test_times_are_in_milliseconds_on_pages_and_in_seconds_in_files(built):
    text = (built[2] / "metrics" / "T1_white_matter_3T.html").read_text(encoding="utf-8")
    assert "[ms]" in text
    assert "[s]" not in re.sub(r"<footer.*", "", text, flags=re.DOTALL)
    assert set(read_table(built[2] / "tables" / "measurements.tsv")["unit"]) == {"s"}


def test_site_page_shows_verdict_phantom_calibration_maps_motion_and_exclusions(built):
    text = html.unescape((built[2] / "sites" / "siteB.html").read_text(encoding="utf-8")).replace("\u00a0", " ")
    for words in (
        "Onboarding: pass with warnings", "Raise TR to 2000 ms or more", "T01 ses-01 run-1 MESE", "1.0526 ± 0.00200",
        "siteB_T1map_maps.png", "siteB_T2map_maps.png", "Largest displacement [mm]", "but no data arrived",
        "Siemens Skyra, 3 T, serial 12345",
    ):  # fmt: skip
        assert words in text, words


def test_site_page_leads_to_the_certificate_and_shows_earlier_verdicts(built):
    text = (built[2] / "sites" / "siteB.html").read_text(encoding="utf-8")
    assert '<a href="../certificates/siteB.html">Certificate for the site</a>' in text
    assert "Verdict of 2026-03-03." in text
    assert "0 fail. Verdict of" in re.sub(r"\s+", " ", text)
    assert [text.index(f"2026-0{month}-03 <span") for month in (3, 2, 1)] == sorted(
        text.index(f"2026-0{month}-03 <span") for month in (3, 2, 1)
    )
    assert (built[2] / "certificates" / "siteB.html").is_file()


def test_site_page_shows_the_field(built):
    text = html.unescape((built[2] / "sites" / "siteB.html").read_text(encoding="utf-8"))
    for words in ("Two echoes without phase", "27.3", "FWHM [Hz]", "Distortion of dwi", "_run-1_dwi_distortion.png"):
        assert words in text, words
    assert list((built[2] / "figures").glob("siteB_*_dwi_distortion.png"))
    assert len(read_table(built[2] / "tables" / "shim.tsv"))


def test_site_page_shows_the_series_that_moved_the_most(built):
    text = html.unescape((built[2] / "sites" / "siteB.html").read_text(encoding="utf-8"))
    for words in ("Residual before [a.u.]", "27.4", "After [a.u.]", "7.30", "Motion in IRT1", "_IRT1_motion.png"):
        assert words in text, words
    motion = read_table(built[2] / "tables" / "motion.tsv", text=("participant_id", "session", "run"))
    most = motion[motion["site"] == "siteB"].sort_values("max_displacement_mm", ascending=False).iloc[:3]
    names = [f"siteB_sub-{m.participant_id}_ses-{m.session}_run-{m.run}_IRT1_motion.png" for m in most.itertuples()]
    assert sorted(p.name for p in (built[2] / "figures").glob("siteB_*_motion.png")) == sorted(names)


def test_methods_say_what_ran_with_doi(built):
    text = html.unescape((built[2] / "methods.html").read_text(encoding="utf-8"))
    for words in (
        "t1_inversion_recovery",
        "10.1002/mrm.22497",
        "gain at 4 sites",
        "restricted maximum",
        "0f1e2d3c4b5a",
    ):
        assert words in text, words
    assert re.search(r"known bias</dt><dd>\S", text)


def test_every_column_of_every_table_is_in_the_dictionary(built):
    text = (built[2] / "methods.html").read_text(encoding="utf-8")
    assert "as its name says" not in text


def test_the_errors_section_stands_when_there_is_none(built, empty):
    for folder in (built[2], empty):
        for name in ("index.html", "methods.html"):
            text = (folder / name).read_text(encoding="utf-8")
            assert '<section id="errors">' in text
            assert "None: every file that the report asked for could be read." in text


def test_an_unreadable_file_costs_a_line_under_errors(tmp_path):
    arguments = write_trial(tmp_path, n_sites=1)
    arguments["calibrations"][0].write_text("{ not json")
    arguments["maps"][0].write_bytes(b"no image")
    arguments["tables"][2].write_bytes(b"")
    index = tmp_path / "results/report/index.html"
    make_report(**arguments, report=index, threads=2)
    for page in (index, index.parent / "methods.html"):
        section = page.read_text(encoding="utf-8").split('<section id="errors">')[1]
        for name in (arguments["calibrations"][0].name, arguments["maps"][0].name, arguments["tables"][2].name):
            assert section.count(name) >= 1
        assert "None: every file" not in section


def test_a_trial_without_any_data_still_has_a_report_that_says_why(empty):
    front = (empty / "index.html").read_text(encoding="utf-8")
    for words in (
        "No verdict",
        "Nothing: whatever was received is used",
        "No site has sent anything yet",
        "No counts yet",
    ):
        assert words in front, words
    assert "No statistics were computed" in (empty / "methods.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("threads", [1, 2])
def test_two_builds_are_the_same_to_the_byte_with_any_number_of_processes(built, tmp_path, threads):
    root, arguments, folder = built
    again = tmp_path / "results" / "report"
    make_report(**arguments, report=again / "index.html", threads=threads)

    def digests(where):
        return {
            p.relative_to(where): hashlib.sha256(p.read_bytes()).hexdigest() for p in where.rglob("*") if p.is_file()
        }

    assert digests(again) == digests(folder)
    assert str(root) not in (folder / "index.html").read_text(encoding="utf-8")


def test_a_page_of_a_site_that_left_the_trial_goes(tmp_path):
    folder = tmp_path / "results" / "report"
    make_report(**write_trial(tmp_path, n_sites=2), report=folder / "index.html")
    assert (folder / "sites" / "siteB.html").is_file()
    shutil.rmtree(tmp_path / "results" / "sites")
    make_report(**write_trial(tmp_path, n_sites=1), report=folder / "index.html")
    assert not (folder / "sites" / "siteB.html").exists()


def test_a_site_page_shows_its_scanner_over_time_and_every_form_tried(built):
    pages = {
        site: (built[2] / "sites" / f"{site}.html").read_text(encoding="utf-8") for site in ("siteA", "siteB", "siteC")
    }
    for page in pages.values():
        assert page.count("Control chart of bias") == 2  # T1 and T2
        assert "Control chart of inversion efficiency of T1" in page
        assert "needs 9 vials, 6 can be used" in page
    assert "out of control" in pages["siteA"]
    assert "gradient coil replaced &lt;b&gt;" in pages["siteB"]
    assert "too few sessions for limits" in pages["siteC"]


def test_reasons_that_differ_in_numbers_alone_are_counted_together():
    import pandas as pd

    from isocenter.report.flow_figure import _reasons
    from isocenter.report.gather import Trial

    words = "csf holds {} voxels with a value ({} in all); at least 20 are needed"
    reasons = [
        words.format(14, 16),
        words.format(19, 22),
        words.format(19, 21),
        "Inversion Time (0018,0082) is missing",
    ]
    rows = pd.DataFrame({"stage": "regions", "series": "map", "reason": [*reasons, "Tag (0018,0083) is missing"]})
    assert _reasons(Trial({}, {"exclusions": rows}), "regions") == [
        "3 × CSF holds 14–19 voxels with a value (16–22 in all); at least 20 are needed",
        "1 × Inversion Time (0018,0082) is missing",
        "1 × Tag (0018,0083) is missing",
    ]


def test_a_site_leads_to_the_sessions_of_its_people(built):
    text = (built[2] / "sites" / "siteA.html").read_text(encoding="utf-8")
    assert 'href="../visits/siteA_sub-T01_ses-01.html"' in text
    assert "visits/siteB" not in text


def test_no_page_counts_one_thing_a_thing(built):
    for page in pages(built[2]):
        words = re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8"))
        assert not re.search(r"\b(One|one|a|A) (row|line|card|mark|column) an? [a-z]", words), page


def test_regions_of_fluid_are_called_by_their_short_name(built):
    assert "T1, CSF, 3 T" in (built[2] / "index.html").read_text(encoding="utf-8")


def test_a_trial_without_data_claims_nothing(empty):
    methods = (empty / "methods.html").read_text(encoding="utf-8")
    assert methods.count("Nothing has been fitted or measured yet") == 2
    assert "none yet</li>" in (empty / "statistics.html").read_text(encoding="utf-8").split('id="more"')[1]
    assert "Each number counts" not in (empty / "index.html").read_text(encoding="utf-8")


def test_the_methods_of_a_trial_with_data_say_what_was_done(built):
    assert "Nothing has been fitted" not in (built[2] / "methods.html").read_text(encoding="utf-8")


def test_checks_are_counted_in_the_right_number(built):
    assert "2 checks: 1 pass, 1 warn, 0 fail." in (built[2] / "sites" / "siteB.html").read_text(encoding="utf-8")


def test_every_page_of_the_report_has_an_errors_section(built):
    for page in pages(built[2]):
        if page.parent.name not in ("certificates", "phantoms"):
            assert "errors" in parse(page).ids, page


def test_a_printed_table_that_cannot_fit_says_where_all_of_it_stands(built):
    wide = (built[2] / "tables" / "measurements.html").read_text(encoding="utf-8")
    assert re.search(
        r"On paper in small print; a column that does not fit the sheet stands in measurements\.tsv, as all \d+ do\.",
        wide,
    )
    assert ">participant_<wbr>id</th>" in wide  # or a name is as wide as its column is not
    assert "On paper" not in (built[2] / "tables" / "flow.html").read_text(encoding="utf-8")


def test_a_calibration_that_is_no_calibration_costs_lines_not_the_report(tmp_path):
    arguments = write_trial(tmp_path, n_sites=1)
    arguments["calibrations"][0].write_text("[]", encoding="utf-8")
    make_report(**arguments, report=tmp_path / "results/report/index.html")
    errors = (tmp_path / "results/report/index.html").read_text(encoding="utf-8").split('<section id="errors">')[1]
    assert "it holds a list in place of named values" in errors
    assert "The values of siteA cannot be followed" in errors


def test_what_could_not_be_read_is_counted_once_and_never_as_a_pass(tmp_path):
    arguments = write_trial(tmp_path, n_sites=2)
    arguments["verdicts"][1].write_text("{broken", encoding="utf-8")
    arguments["maps"][0].write_bytes(b"no image")  # on the site's page and on the session's
    next(p for p in arguments["tables"] if p.name == "reproducibility.tsv").unlink()
    make_report(**arguments, report=tmp_path / "results/report/index.html")
    folder = tmp_path / "results/report"
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "1 of 2 sites pass onboarding (1 without a verdict)" in text
    assert '<a href="#errors">3 errors while this report was made</a>' in text
    assert text.split('<section id="errors">')[1].count("The map ") == 1  # long paths cut its middle
    metric = (folder / "metrics/T1_white_matter_3T.html").read_text(encoding="utf-8")
    assert "no row of reproducibility.tsv is about this" in metric
