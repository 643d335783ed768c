"""The certificate as a site sees it: safe, whole, reachable by keyboard, silent on the network, one page in print."""

import re
import time
from html.parser import HTMLParser

import pytest

from isocenter.report.certificate import write_certificate

from .certificate_content import HOSTILE, PROTOCOL, make_answer, make_history, make_vials
from .webdriver import BROWSER, DRIVER, TAB, WHY_NOT, open_browser, print_page

needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason=WHY_NOT)

#: What the browser knows of the focused element: what it is, and whether the focus is seen.
FOCUSED = """var e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
var name = e.getAttribute("href") || e.getAttribute("aria-label") || e.innerText || "";
return {what: e.tagName + ":" + name.slice(0, 40),
  outline: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2, top: r.top + scrollY,
  seen: r.width > 0 && r.bottom > 0 && r.top < innerHeight};"""


def write(folder, name, n_wrong, n_verdicts, text="", vials=True):
    folder.mkdir(exist_ok=True)
    page = folder / f"{name}.html"
    rows = make_vials(text) if vials else []
    write_certificate(
        page, make_answer(n_wrong, text), make_history(n_verdicts, text), rows, PROTOCOL, trial=text or "A trial"
    )
    return page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "nothing": write(folder, "nothing", 0, 1),
        "some": write(folder, "some", 4, 3),
        "much": write(folder, "much", 24, 30),
        "six": write(folder, "six", 6, 30),
        "hostile": write(folder, "hostile", 5, 4, HOSTILE),
        "hostile and long": write(folder, "hostile and long", 4, 30, HOSTILE),
        "bare": write(folder, "bare", 1, 1, vials=False),
    }


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.headings, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.targets += [values[key] for key in ("href", "src", "action") if values.get(key)]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []


def test_a_page_stands_by_itself(pages):
    for name, path in pages.items():
        page = Page(path.read_text(encoding="utf-8"))
        assert len(set(page.ids)) == len(page.ids), name
        for target in page.targets:
            assert target == "data:," or (target.startswith("#") and target[1:] in page.ids), (name, target)
        assert page.headings[0] == 1
        assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), name
        assert "script" not in page.tags, "a certificate needs none"


def test_text_from_outside_is_text(pages):
    text = pages["hostile"].read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text, "no template is made of what a header says"


def test_it_says_whether_anybody_saw_the_consoles_words(pages):
    text = pages["some"].read_text()
    assert "GE: from general knowledge, not checked at a console" in text
    assert "Siemens: read at the Prisma of siteB, VE11E, 2026-05-02" in text


def test_it_says_verdict_changes_and_history(pages):
    some, much = (re.sub(r"\s+", " ", pages[name].read_text(encoding="utf-8")) for name in ("some", "much"))
    assert "This site cannot be used yet" in some
    assert "Set &#34;Receiver Bandwidth (± kHz)&#34; (Scan Timing) to ±29.4 kHz" in some
    assert "±16.6 kHz" in some
    assert "Verdict of <b>2026-03-03</b>" in some
    assert "SAR limit" in some
    assert "… and 17 more, on the screen and in verdict.json" in much
    assert much.count('class="beyond"') == 17
    assert "This site may scan for the trial as it is" in pages["nothing"].read_text(encoding="utf-8")
    assert "No phantom session of this site could be measured" in pages["bare"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@needs_browser
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", ["much", "hostile"])
def test_it_opens_without_error_request_or_sideways_scroll(pages, browser, name, width):
    browser.log("browser"), browser.log("performance")
    browser.open(pages[name], width)
    assert browser.run("return document.readyState") == "complete"
    assert browser.log("browser") == []
    assert browser.requests() == []
    assert browser.run("return window.hit === undefined")
    assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    table = "document.querySelector('.changes').parentElement"
    assert browser.run(f"return {table}.scrollWidth - {table}.clientWidth") <= 0  # what to change is seen whole
    assert browser.run(f"return {table}.scrollHeight - {table}.clientHeight") <= 0
    assert browser.run(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.querySelector(a.hash))"
    )
    assert browser.run(
        "return [...document.querySelectorAll('.drawing svg')].every(s => s.getBoundingClientRect().width > 100)"
    )


@needs_browser
def test_every_part_is_reached_by_the_keyboard_in_reading_order(pages, browser):
    browser.open(pages["some"])
    n_reachable = browser.run("return document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length")
    hidden = browser.run("return document.querySelectorAll('details:not([open]) [tabindex=\"0\"]').length")
    stops = []
    for _ in range(n_reachable - hidden):
        browser.press(TAB)
        stops.append(browser.run(FOCUSED))
    assert all(stop["outline"] and stop["seen"] for stop in stops), [
        s for s in stops if not (s["outline"] and s["seen"])
    ]
    assert len({stop["what"] for stop in stops}) == len(stops), "each stop once"
    assert stops[0]["what"] == "A:#main"
    tops = [stop["top"] for stop in stops[6:]]  # behind the link to skip and the five of the menu
    assert tops == sorted(tops)
    browser.open(pages["some"])
    for _ in range(2):
        browser.press(TAB)
    browser.press("\ue007")  # return: the first link of the menu
    end = time.monotonic() + 10
    while (place := browser.run("return location.hash")) == "" and time.monotonic() < end:
        time.sleep(0.05)
    assert place == "#change"


@needs_browser
@pytest.mark.parametrize("name", ["nothing", "some", "six", "much", "hostile", "hostile and long"])
def test_it_prints_on_one_page(pages, tmp_path, name):
    assert print_page(pages[name], tmp_path / "certificate.pdf", tmp_path / "profile") == 1
