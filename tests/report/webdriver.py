"""A browser as a person uses it, keys and all: Chromium through its own driver, spoken to over HTTP (W3C WebDriver)."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

BROWSER = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
DRIVER = shutil.which("chromedriver")
WHY_NOT = "no Chromium with its driver on this machine: pages are not opened in a browser"
HOST = "127.0.0.1"
TAB = "\ue004"
#: What a browser shows while it has nothing to do with the page: its own favicons and start pages.
OWN = ("chrome:", "chrome-untrusted:", "data:", "about:", "devtools:")


class Browser:
    """One window. Use as a context: ``with open_browser(folder) as browser``."""

    def __init__(self, address: str, capabilities: dict):
        self._address = address
        self._session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file in a window whose page is `width` pixels wide."""
        self._do("POST", "goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})  # fmt: skip
        self._do("POST", "url", {"url": page.as_uri()})

    def run(self, script: str):
        """What a script returns."""
        return self._do("POST", "execute/sync", {"script": script, "args": []})

    def press(self, key: str) -> None:
        """Press and release one key."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._do("POST", "actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def log(self, kind: str) -> list[dict]:
        """What was logged since the last call: ``browser`` (the console) or ``performance`` (the network)."""
        return self._do("POST", "se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Every address that the page asked for, its own file and data left out."""
        found = []
        for entry in self.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if not url.startswith(("file:", *OWN))]

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        import base64

        shot = self._do("POST", "goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": {
            "captureBeyondViewport": True, "format": "png"}})  # fmt: skip
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(OSError, RuntimeError):
            self._do("DELETE", "", None)

    def _do(self, method: str, command: str, body: dict | None):
        return self._ask(method, f"/session/{self._session}/{command}".rstrip("/"), body)

    def _ask(self, method: str, path: str, body: dict | None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:500]) from None


@contextlib.contextmanager
def open_browser(folder: Path):
    """A headless browser whose profile lies in `folder`."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [DRIVER, f"--port={port}", "--log-level=SEVERE"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    options = {
        "binary": BROWSER,
        "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"],
    }  # fmt: skip
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    browser = None
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                break
            time.sleep(0.1)
        browser = Browser(f"http://{HOST}:{port}", wanted)
        yield browser
    finally:
        if browser is not None:
            browser.close()
        process.terminate()
        process.wait(timeout=30)


def print_page(page: Path, target: Path, profile: Path) -> int:
    """Print a page to a PDF as a person would; how many pages it has."""
    import re

    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={target}", page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=180, check=True)
    return len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
