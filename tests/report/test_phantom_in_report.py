"""A site's page leads to the pages of its phantom sessions and says which pulses the phantom chose."""

import json

import pytest

from isocenter import layout
from make_report import make_report

from .trial_tables import HOSTILE, write_trial

CHOICE = {
    "scanner": "skyra",
    "protocol": {"EchoTime": [0.01, 0.02, 0.03], "RefocusingFlipAngle": 180.0},
    "options": {"profile": "slr", "time_bandwidth": [5.0, 5.0], "thickness_ratio": 1.1, "pulse_duration": 0.0025},
    "reason": "the smallest residual",
    "candidates": [
        {"profile": "slr", "time_bandwidth": [5.0, 5.0], "thickness_ratio": 1.1, "residual": 5.1, "fitted": 13},
        *({"profile": "sinc", "time_bandwidth": [3.0, 3.0], "thickness_ratio": 1.0 + k / 10, "residual": 6.0 + k,
           "fitted": 13} for k in range(14)),
        {"profile": "none", "residual": None, "fitted": 0},
    ],
    "trains": [{"scan": "sub-phantom1_ses-01_run-1"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The text of siteA's page, siteB's, and the report's folder."""
    root = tmp_path_factory.mktemp("trial")
    arguments = write_trial(root)
    session = {"site": "siteA", "participant": "phantom1", "session": "01", "run": "1"}
    own = root / layout.fill(layout.PHANTOM_PAGE, **session)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("<!doctype html><title>a session</title><nav><!--report--></nav>", encoding="utf-8")
    pulses = {
        "siteA": {"biomarker": "T2", "choices": [CHOICE], "left_out": []},
        "siteB": {"biomarker": "T2", "choices": [], "left_out": [{"scan": "sub-p_ses-01_run-1", "reason": HOSTILE}]},
        "siteC": {"biomarker": "T2", "choices": [], "left_out": []},
    }
    paths = []
    for site, content in pulses.items():
        paths.append(root / layout.fill(layout.TRAINS, site=site, biomarker="T2"))
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_text(json.dumps(content), encoding="utf-8")
    folder = root / "results" / "report"
    make_report(**arguments, pages=[own], pulses=paths, report=folder / "index.html")
    texts = {
        site: (folder / "sites" / f"{site}.html").read_text(encoding="utf-8") for site in ("siteA", "siteB", "siteC")
    }
    return texts, folder


def test_a_session_has_its_page_in_the_report(page):
    texts, folder = page
    name = "siteA_sub-phantom1_ses-01_run-1.html"
    assert (folder / "phantoms" / name).is_file()
    assert f'href="../phantoms/{name}"' in texts["siteA"]
    assert "phantoms/" not in texts["siteB"]
    copy = (folder / "phantoms" / name).read_text(encoding="utf-8")
    assert '<a href="../index.html">Report</a> <a href="../sites/siteA.html">siteA</a>' in copy


def test_a_physicist_finds_the_choice(page):
    text = page[0]["siteA"]
    for words in ("Pulses of the echo trains", "scanner skyra, 3 echoes", "slr, time-bandwidth 5", "Residual 5.1",
                  "sub-phantom1_ses-01_run-1", "16 candidates"):  # fmt: skip
        assert words in text
    assert text.count("refocused slab") >= 12  # the best candidates
    assert "ideal pulses" in text  # and the ideal ones, wherever they stand


def test_a_site_without_a_choice_says_why(page):
    texts, _ = page
    assert "&lt;script&gt;" in texts["siteB"].split("Pulses of the echo trains")[1][:1500]
    assert "no echo train of a phantom was received" in texts["siteC"]
