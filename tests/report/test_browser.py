"""The report in a real browser: no console error, no request, figures drawn, nothing wider than the screen."""

import json
import shutil
import subprocess

import pytest

from make_report import make_report

from .trial_tables import write_trial

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: the pages are not opened in a browser"),
]

#: reports what a page looks like to the browser, as JSON in the document's title
PROBE = """<script>addEventListener("load", function () {
  var svgs = Array.from(document.querySelectorAll("main .drawing svg"));
  var sized = svgs.map(function (s) { return s.getBoundingClientRect(); });
  var box = document.querySelector(".tablebox.tools table, .tablebox table");
  var sorted = null;
  if (box) {
    box.tHead.querySelector("button").click();
    sorted = box.tHead.rows[0].cells[0].getAttribute("aria-sort");
  }
  document.title = "PROBE" + JSON.stringify({
    errors: window.__errors || [],
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    svgs: svgs.length,
    flat: sized.filter(function (r) { return r.width < 100 || r.height < 30; }).length,
    broken: Array.from(document.images).filter(function (i) { return i.complete && i.naturalWidth === 0; }).length,
    sorted: sorted,
    requests: performance.getEntriesByType("resource").map(function (e) { return e.name; })
      .filter(function (n) { return n.slice(0, 5) !== "file:" && n.slice(0, 5) !== "data:"; }) });
});</script>"""
EARLY = """<script>window.__errors = [];
addEventListener("error", function (e) { window.__errors.push(e.message); });</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("trial")
    folder = root / "results" / "report"
    make_report(**write_trial(root, n_sites=3), report=folder / "index.html")
    return folder


def browse(page, tmp_path, *options):
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("name", ["index.html", "metrics/T1_white_matter_3T.html", "sites/siteB.html", "methods.html"])
def test_a_page_opens_cleanly(folder, tmp_path, name, width):
    page = folder / name
    probed = page.with_name(f"probe-{width}-{page.name}")
    text = page.read_text(encoding="utf-8").replace("<head>", "<head>" + EARLY).replace("</body>", PROBE + "</body>")
    # Chromium's window is at least 500 px wide: a frame gives the page the width of a phone.
    probed.write_text(text, encoding="utf-8")
    frame = page.with_name(f"frame-{width}-{page.name}")
    frame.write_text(
        f'<iframe src="{probed.name}" width="{width}" height="900" onload="setTimeout(function () {{'
        " document.title = document.querySelector('iframe').contentDocument.title; }, 100)\"></iframe>",
        encoding="utf-8",
    )
    done = browse(frame, tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom")
    probed.unlink()
    frame.unlink()
    title = done.stdout.split("<title>PROBE", 1)
    assert len(title) == 2, done.stdout[-500:] + done.stderr[-500:]
    seen = json.loads(title[1].split("</title>", 1)[0].replace("&quot;", '"').replace("&amp;", "&"))
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["overflow"] <= 0
    assert seen["flat"] == 0
    assert seen["broken"] == 0
    assert seen["sorted"] == "ascending"
    assert seen["svgs"] > 0 or name == "methods.html"


@pytest.mark.slow
def test_the_front_page_prints(folder, tmp_path):
    target = tmp_path / "front.pdf"
    browse(folder / "index.html", tmp_path, f"--print-to-pdf={target}")
    assert target.read_bytes().startswith(b"%PDF")
