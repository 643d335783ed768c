"""The report of a made-up trial in a real browser: it opens, sorts, filters, explains its marks, and prints."""

import re

import pytest

from make_report import make_report

from .browser import BROWSER, WITHOUT, print_page, probe_pages
from .trial_tables import HOSTILE, write_trial

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WITHOUT)]

PAGES = (
    "index.html", "statistics.html", "metrics/T1_white_matter_3T.html", "sites/siteB.html", "methods.html",
    "visits/siteA_sub-T01_ses-01.html", "visits/index.html", "tables/index.html", "tables/measurements.html",
    "tables/exclusions.html",
)  # fmt: skip
#: runs a script in every way that text from outside could try, if anything lets it
RUN = "window.__hostile = 1"
ATTACK = f'"><script>{RUN}</script><img src=x onerror="{RUN}"><svg onload="{RUN}">'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("trial")
    folder = root / "results" / "report"
    arguments = write_trial(root, n_sites=3)
    for name in ("exclusions", "measurements"):
        text = arguments[name].read_text(encoding="utf-8")
        arguments[name].write_text(text.replace(HOSTILE, ATTACK), encoding="utf-8")
    arguments["settings"]["trial"] = ATTACK
    make_report(**arguments, report=folder / "index.html")
    return folder


@pytest.fixture(scope="module")
def seen(folder, tmp_path_factory):
    return probe_pages([folder / name for name in PAGES], tmp_path_factory.mktemp("browser"))


def test_pages_open_without_an_error_or_a_request(seen):
    assert len(seen.pages) == 2 * len(PAGES)
    assert [page for page in seen.pages if "failed" in page] == []
    assert seen.console == []
    assert seen.requests == []
    assert not any(page["hostile"] for page in seen.pages)


def test_figures_are_drawn_tables_sort_and_filter_and_text_can_be_read(seen):
    for page in seen.pages:
        for name in ("flat", "broken", "stuck"):
            assert page[name] == 0, (name, page)
        assert page["overflow"] <= 0, page
        assert page["said"] == [], page
        assert page["pale"] == [], page
    assert sum(page["drawings"] for page in seen.pages) > 40
    assert sum(page["filtered"] for page in seen.pages) > 10
    assert sum(page["saved"] for page in seen.pages) > 20
    assert sum(page["marks"] for page in seen.pages) > 500


def test_what_data_says_never_runs_even_where_escaping_were_forgotten(folder, tmp_path):
    page = folder / "statistics.html"
    other = folder / "forgotten.html"
    other.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{ATTACK}</main>"), encoding="utf-8")
    seen = probe_pages([other], tmp_path, widths=(1280,))
    other.unlink()
    assert not seen.pages[0]["hostile"]
    assert seen.pages[0]["said"] == []  # its own scripts do run
    assert any("Content Security Policy" in line for line in seen.console)


@pytest.mark.parametrize(
    "name", ["index.html", "statistics.html", "metrics/T1_white_matter_3T.html", "sites/siteB.html"]
)
def test_no_figure_is_cut_in_print(folder, tmp_path, name):
    printed, places = print_page(folder / name, tmp_path)
    assert printed.startswith(b"%PDF")
    assert len(places) >= {"index.html": 1, "statistics.html": 6}.get(name, 8)
    assert {k: place for k, place in places.items() if place[0] != place[1]} == {}


def test_a_cut_figure_a_pale_word_and_a_request_would_be_found(folder, tmp_path):
    text = (folder / "statistics.html").read_text(encoding="utf-8")
    bad = '<p style="color:#bbb">pale</p><div style="width:3000px;height:1px"></div><img src="http://nowhere.invalid/x.png">'
    cut = "<figure><p>above</p><p style='break-before:page'>below</p></figure>"
    other = folder / "bad.html"
    other.write_text(
        re.sub("<meta http-equiv[^>]*>", "", text).replace("</main>", bad + cut + "</main>"), encoding="utf-8"
    )
    seen = probe_pages([other], tmp_path, widths=(1280,))
    (page,) = seen.pages
    _, places = print_page(other, tmp_path)
    other.unlink()
    assert page["overflow"] > 0
    assert page["pale"] == ["P 1.92 pale"]
    assert seen.requests == ["http://nowhere.invalid/x.png"]
    assert sum(start != end for start, end in places.values()) == 1


def test_why_and_what_to_do_are_read_without_scrolling_aside(folder, tmp_path):
    from .webdriver import DRIVER, open_browser

    if DRIVER is None:
        pytest.skip("no driver of Chromium here")
    with open_browser(tmp_path) as browser:
        browser.open(folder / "tables" / "exclusions.html", 1280)
        box = "document.querySelector('[data-name=exclusions] .scroll')"
        assert browser.run(f"return {box}.scrollWidth <= {box}.clientWidth")


def test_what_needs_someone_is_read_on_a_phone_without_scrolling_aside(folder, tmp_path):
    from .webdriver import DRIVER, open_browser

    if DRIVER is None:
        pytest.skip("no driver of Chromium here")
    with open_browser(tmp_path) as browser:
        browser.open(folder / "index.html", 360)
        box = "document.querySelector('[data-name=needs] .scroll')"
        assert browser.run(f"return {box}.scrollWidth <= {box}.clientWidth")
        last = "document.querySelector('[data-name=needs] td:last-child')"
        assert browser.run(f"return getComputedStyle({last}, '::before').content").startswith('"What to do')
