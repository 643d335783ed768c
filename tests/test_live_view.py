"""While a run goes on: a live page in a terminal, and in a log a line now and then without control codes."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from isocenter import live_view
from isocenter.live_view import follow_run
from isocenter.overview import SiteStatus
from isocenter.plan import Plan
from isocenter.runner import Progress
from isocenter.settings import load_settings
from isocenter.status_view import show_site, show_status, site_table
from isocenter.terminal import console
from isocenter.unsettled import JobFailure

REPOSITORY = Path(__file__).resolve().parents[1]
FAILED = JobFailure("fit_map", {"site": "siteA", "participant": "T01", "map": "T1map"}, "a.log", "DiskError: no room")
NOW = Progress(5, 20, "fit T1map", 50.0, ("align IRT1 of siteA T01 01 run 1",), (FAILED,))


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A trial before its first run."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    shutil.copytree(REPOSITORY / "sites" / "_template", tmp_path / "sites" / "siteA")
    site = tmp_path / "sites" / "siteA" / "site.yaml"
    site.write_text(site.read_text().replace("site: template", "site: siteA"))
    monkeypatch.chdir(tmp_path)
    return Plan(load_settings(tmp_path))


def test_a_log_gets_each_failure_once_and_a_line_now_and_then(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(live_view, "QUIET", 0.0)  # a minute is long for a test
    with console.capture() as shown, follow_run(plan, tmp_path) as follow:
        follow(NOW)
        follow(NOW)
    text = shown.get()
    assert text.count("Failed: fit_map siteA T01 T1map: DiskError: no room") == 1
    assert text.count("5 of 20 jobs, about 0:02:30 left") == 2
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_log_stays_quiet_in_between(plan, tmp_path):
    with console.capture() as shown, follow_run(plan, tmp_path) as follow:
        for done in range(20):
            follow(Progress(done, 20, "fit", 1.0))
    assert shown.get() == ""


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_sites_what_runs_what_failed_and_the_bar(plan, tmp_path, monkeypatch, width):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, height=40, markup=False, _environ={})
    monkeypatch.setattr(live_view, "console", terminal)
    with follow_run(plan, tmp_path) as follow:
        follow(NOW)
    text = screen.getvalue()
    for words in ("siteA", "align IRT1 of siteA T01 01 run 1", "✗ fit_map siteA T01 T1map: DiskError", "5/20"):
        assert words in text
    assert "\x1b[?25h" in text  # the cursor is there again


def test_a_bar_whose_end_is_not_known_yet_says_so(plan, tmp_path, monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, height=40, markup=False, _environ={})
    monkeypatch.setattr(live_view, "console", terminal)
    with follow_run(plan, tmp_path) as follow:
        follow(Progress(0, 0, "planning", 1.0))
    assert "0/?" in screen.getvalue()
    assert "None" not in screen.getvalue()


def test_ten_columns_fit_into_80():
    """Whole words and the site's name, at the numbers of a large trial."""
    stages = dict.fromkeys(("visits", "aligned", "regions"), (118, 120)) | {
        "received": (480, 480),
        "intake": (470, 480),
    }
    stages |= {"fitted": (230, 240), "calibrated": (2, 2), "onboarding": (1, 1)}
    screen = io.StringIO()
    Console(file=screen, width=80).print(site_table([SiteStatus("northern", stages, "pass", 3 * 10**9)]))
    lines = screen.getvalue().splitlines()
    row = next(line for line in lines if "northern" in line)
    for words in ("118/120", "480 ✓", "470/480", "230/240", "2 ✓", "✓ pass", "3.0 GB"):
        assert words in row
    assert max(map(len, lines)) <= 80


def test_the_status_of_a_trial_before_its_first_run(plan):
    with console.capture() as shown:
        show_status(plan, None)
        show_site(plan, "siteA")
    text = shown.get()
    assert "siteA" in text
    assert "·" in text
    assert "not arrived" in text  # what the schedule plans is there from the first day
    assert "\x1b" not in text
