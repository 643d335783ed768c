"""Pages in headless Chromium: opened, probed, sorted, filtered and printed, with what the browser says of it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WITHOUT = "no Chromium on this machine: the pages are not opened in a browser"
#: a request in the browser's log of the network; what Chromium asks for itself (time, updates) has no origin
_OF_A_PAGE = re.compile(r'"initiator":"(?!not an origin")[^"\n]*"[^\n]*?"url":"((?:https?|wss?)://[^"]*)"')
PROBE = Path(__file__).with_name("probe.js")


@dataclass
class Seen:
    """What a browser saw: one dict a page and width, what it said on its console, what it asked the network for."""

    pages: list[dict]
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def run_browser(page: Path, folder: Path, *options: str, timeout: int = 300) -> subprocess.CompletedProcess:
    """Open a page; `folder` is scratch that the browser may write to."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-component-update", "--disable-default-apps", "--disable-sync", "--disable-extensions",
        "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
        *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=folder)


def probe_pages(pages: list[Path], folder: Path, *, widths=(360, 1280), anchor: str = "") -> Seen:
    """Open every page (at an anchor) at every width, one after the other, in a frame of that width, and probe it.

    A window of Chromium is at least 500 px wide; a frame gives a page the width of a phone.
    """
    driver, netlog = folder / "driver.html", folder / "net.json"
    todo = [[page.as_uri() + anchor, width] for width in widths for page in pages]
    driver.write_text(
        f'<!doctype html><meta charset="utf-8"><iframe height="900"></iframe><pre></pre><script>var TODO = '
        f"{json.dumps(todo)};\n{PROBE.read_text(encoding='utf-8')}</script>",
        encoding="utf-8",
    )
    done = run_browser(
        driver, folder, "--window-size=1700,1000", f"--log-net-log={netlog}",
        f"--virtual-time-budget={2000 * len(todo)}", "--dump-dom",
    )  # fmt: skip
    found = re.search(r"<pre>(\[.*?\])</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout[-800:] + done.stderr[-800:]
    text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    seen = json.loads(text)
    asked = _OF_A_PAGE.findall(netlog.read_text(encoding="utf-8", errors="replace"))
    asked += [url for page in seen for url in page.get("asked", [])]
    return Seen(seen, console, sorted(set(asked)))


#: what must not be cut by the end of a sheet: figures, cards, the line of health
_WHOLE = re.compile(r"<(figure|article)\b[^>]*>")
_MARK = (
    '<a href="https://probe.invalid/{}/{}" style="display:block;height:1px;line-height:1px;font-size:1px;'
    'overflow:hidden">.</a>'
)


def print_page(page: Path, folder: Path) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """The page as PDF, and for each figure and card the sheets on which it begins and ends.

    Their first and last line get a link of their own, which a PDF names with the sheet that it is on.
    """
    n = 0

    def mark_start(found):
        nonlocal n
        n += 1
        return found.group(0) + _MARK.format(n - 1, "start")

    text = _WHOLE.sub(mark_start, page.read_text(encoding="utf-8"))
    ends = iter(range(n))
    text = re.sub(r"</(?:figure|article)>", lambda found: _MARK.format(next(ends), "end") + found.group(0), text)
    marked, target = page.with_name(f"marked-{page.name}"), folder / f"{page.stem}.pdf"
    marked.write_text(text, encoding="utf-8")
    try:
        done = run_browser(marked, folder, "--no-pdf-header-footer", f"--print-to-pdf={target}")
    finally:
        marked.unlink()
    assert target.is_file(), done.stderr[-800:]
    printed = target.read_bytes()
    return printed, _find_sheets(printed)


def _find_sheets(printed: bytes) -> dict[int, tuple[int, int]]:
    objects = {int(n): body for n, body in re.findall(rb"\n(\d+) 0 obj\s(.*?)endobj", printed, re.DOTALL)}
    sheets = [n for n in _list_kids(objects) if n in objects]
    place: dict[tuple[int, str], int] = {}
    for sheet, number in enumerate(sheets):
        told = re.search(rb"/Annots\s*\[(.*?)\]", objects[number], re.DOTALL)
        texts = [objects.get(int(r), b"") for r in re.findall(rb"(\d+) 0 R", told.group(1))] if told else []
        for text in [*texts, told.group(1) if told else b""]:
            for k, end in re.findall(rb"probe\.invalid/(\d+)/(start|end)", text):
                place.setdefault((int(k), end.decode()), sheet)
    return {k: (place[k, "start"], place[k, "end"]) for k, end in place if end == "end" and (k, "start") in place}


def _list_kids(objects: dict[int, bytes]) -> list[int]:
    """The pages of a PDF in their order, down its tree of pages."""
    roots = [n for n, body in objects.items() if re.search(rb"/Type\s*/Pages\b", body) and b"/Parent" not in body]

    def below(number: int) -> list[int]:
        body = objects[number]
        if not re.search(rb"/Type\s*/Pages\b", body):
            return [number]
        kids = re.search(rb"/Kids\s*\[(.*?)\]", body, re.DOTALL).group(1)
        return [page for kid in re.findall(rb"(\d+) 0 R", kids) for page in below(int(kid))]

    return [page for root in roots for page in below(root)]
