"""The report of the demonstration in a browser: every page opens, links lead from a value to its files."""

import re
import shutil

import pytest
from report.browser import BROWSER, WITHOUT, print_page, probe_pages

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WITHOUT)]


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    """A copy of the report: the tests write marked pages beside its own."""
    folder = tmp_path_factory.mktemp("demo") / "report"
    shutil.copytree(demo.directory / "results" / "report", folder)
    return folder


def test_every_page_of_the_demonstration_opens_cleanly(folder, tmp_path):
    pages = [*folder.glob("*.html"), *folder.glob("metrics/*.html"), *folder.glob("sites/*.html")]
    pages += [*sorted(folder.glob("visits/*.html"))[:3], *folder.glob("tables/*.html")]
    assert len(pages) > 30
    seen = probe_pages(sorted(pages), tmp_path)
    assert [page for page in seen.pages if "failed" in page] == []
    assert seen.console == []
    assert seen.requests == []
    for page in seen.pages:
        for name in ("flat", "broken", "stuck"):
            assert page[name] == 0, (name, page)
        assert page["overflow"] <= 0, page
        assert page["said"] == [], page
        assert page["pale"] == [], page


def test_a_mark_of_a_figure_leads_to_map_calibration_series_and_hashes(folder, tmp_path, demo):
    page = folder / "metrics" / "T1_white_matter_3T.html"
    text = page.read_text(encoding="utf-8")
    figure = text[text.index('id="repeats"') : text.index('id="components"')]
    links = sorted(set(re.findall(r'href="\.\./(visits/[^"]+)"', figure)))
    assert len(links) > 10
    names = [link.split("#") for link in links[:6]]
    for name, anchor in names:
        assert f'id="{anchor}"' in (folder / name).read_text(encoding="utf-8")
    name, anchor = names[0]
    target = probe_pages([folder / name], tmp_path, widths=(1280,), anchor=f"#{anchor}").pages[0]["target"]
    assert target["seen"]
    site = name.split("/")[1].split("_")[0]
    scans = demo.table(f"results/sites/{site}/intake/scans.tsv")
    series = [uid for uid in scans["series_uid"] if uid in target["text"]]
    assert series, target["text"][:500]
    assert "calibration/T1.json" in target["text"]
    assert f"results/sites/{site}/derivatives/isocenter/" in target["text"]
    assert len(re.findall(r"\b[0-9a-f]{64}\b", target["text"])) > 5


def test_pages_of_the_demonstration_print_with_whole_figures(folder, tmp_path):
    pages = ["index.html", "statistics.html", "metrics/T1_white_matter_3T.html", "sites/siteA.html"]
    pages += [f"visits/{sorted(p.name for p in (folder / 'visits').glob('*_sub-*.html'))[0]}"]
    for name in pages:
        _, places = print_page(folder / name, tmp_path)
        assert places, name
        assert {k: place for k, place in places.items() if place[0] != place[1]} == {}, name
