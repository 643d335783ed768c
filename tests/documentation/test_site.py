"""The documents as a site: no link leads nowhere, and nothing asks the network."""

import re
import subprocess
import sys

import pytest
from house.source import REPOSITORY
from report.browser import BROWSER, WITHOUT, probe_pages

#: What a browser would fetch by itself; links that a reader may follow are no such thing.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|embed|video|audio)\b[^>]*\bsrc=["'](?:https?:)?//"""
    r"""|<link\b(?![^>]*rel=["'](?:canonical|search|index|next|prev|author)["'])[^>]*href=["'](?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--jobs", "2"]
    ended = subprocess.run(
        [*build, "--doctree-dir", str(folder / "trees"), "docs", str(folder / "html")],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return folder / "html"


def test_every_document_has_its_page(site):
    pages = {path.relative_to(REPOSITORY / "docs").with_suffix("").as_posix() for path in _documents()}
    made = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert pages <= made
    config = (site / "reference" / "config.html").read_text(encoding="utf-8")
    assert "plausible_range" in config, "config/README.md is taken in"
    assert "inversion_efficiency" in (site / "reference" / "models.html").read_text(encoding="utf-8")
    assert "Fit a bound model" in (site / "reference" / "python.html").read_text(encoding="utf-8") or (
        "isocenter.fitting.fit" in (site / "reference" / "python.html").read_text(encoding="utf-8")
    )


def test_no_page_loads_anything_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = LOADED.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(site)}: {found and found[0][:200]}"


def test_the_search_for_what_is_loaded_finds_it():
    for text in (
        '<script src="https://x/y.js">',
        "url(//x/font.woff)",
        '<link rel="stylesheet" href="http://x/y.css">',
    ):
        assert LOADED.search(text)
    assert not LOADED.search('<a href="https://doi.org/10.1002/mrm.22497">')


@pytest.mark.skipif(BROWSER is None, reason=WITHOUT)
def test_a_browser_opens_it_from_disk_without_a_request(site, tmp_path):
    pages = [site / name for name in ("index.html", "tutorial.html", "reference/config.html", "search.html")]
    seen = probe_pages(pages, tmp_path, widths=(1280,))
    assert len(seen.pages) == len(pages)
    assert not seen.requests


def _documents():
    from house.source import tracked_files

    return [p for p in tracked_files() if p.suffix == ".md" and p.is_relative_to(REPOSITORY / "docs")]
